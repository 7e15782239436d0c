"""Questions and effects for databases: SQLite in a file, and a real PostgreSQL."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

from demyjpy import define_event_handlers, do
from demyjpy.drivers.breaker_log import BREAKERS, Mark
from demyjpy.errors import HandlerError
from demyjpy.lookups.databases import Databases
from demyjpy.lookups.sql import SqlRead, SqlWrite
from demyjpy.lookups.sqlite import Sqlite
from demyjpy.questions import Answered, Failed, Late
from demyjpy.testing import run, session
from tests.lookups.servers import ask_once, need, outcome, postgresql, until, with_client

TABLE = "create table t (name text primary key, count integer, price numeric)"
UPSERT = (
    "insert into t (name, count) values (:name, 1) on conflict (name) do update set count = t.count + 1 "
    "returning count"
)
COUNT = "select count from t where name = :name"


@pytest.fixture(scope="module")
def server():
    with postgresql() as server:
        yield server


def url_of(server):
    return f"postgresql+asyncpg://filter@127.0.0.1:{server.address}/postgres"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=need("postgresql"))])
def client(request, tmp_path) -> Callable[..., Any]:
    """Makes a client of a database with an empty table ``t``."""
    if request.param == "sqlite":

        def made(**options):
            return Sqlite(tmp_path / "db", **options)
    else:
        server = request.getfixturevalue("server")

        def made(**options):
            return Databases(url_of(server), **options)

    answers(made, SqlWrite("drop table if exists t"), SqlWrite(TABLE))
    return made


def answers(client, *questions, within=5.0, **options):
    """What becomes of questions that are asked one after the other."""

    async def main(database):
        return [await ask_once(one, {"sql": database}, within) for one in questions]

    return with_client(lambda: client(**options), main)


def test_rows_are_tuples(client):
    """Of numbers and texts; of no rows none. What is written is there for the next."""
    assert answers(
        client,
        SqlWrite("insert into t values (:name, :count, 1.50)", {"name": "a", "count": 2}),
        SqlRead("select name, count from t where name = :name", {"name": "a"}),
        SqlRead(COUNT, {"name": "b"}),
        SqlWrite(UPSERT, {"name": "a"}),
        SqlWrite("update t set count = 7 where name = 'none'"),
    ) == [
        *(Answered(1), Answered((("a", 2),)), Answered(()), Answered(((3,),))),
        Answered(0),
    ]


def test_what_reads_changes_nothing(client):
    """A statement that writes all the same is rolled back."""
    *_, last = answers(client, SqlRead(UPSERT, {"name": "a"}), SqlRead(COUNT, {"name": "a"}))
    assert last == Answered(())


def test_parameters_are_never_part_of_the_statement(client):
    """Whatever a client sends."""
    name = "x'; drop table t; --"
    found = answers(client, SqlWrite(UPSERT, {"name": name}), SqlRead(COUNT, {"name": name}))
    assert found == [Answered(((1,),)), Answered(((1,),))]


def test_a_wrong_statement_is_a_refusal(client):
    """It says what came, without a parameter, and says nothing against the server."""
    questions = [SqlRead("select secret from nowhere where x = :x", {"x": "private"})] * 3
    *found, last, no, odd = answers(
        client,
        *questions,
        SqlRead("select 1"),
        SqlRead(COUNT, {}),
        SqlRead(COUNT, {"name": "\udcff"}),
        most_failures=1,
    )
    for one in (*found, no):
        assert one.error.startswith("RefusedError: sql")
        assert "private" not in one.error
    assert isinstance(odd, Failed)
    assert last == Answered(((1,),))


def test_more_rows_than_wanted_are_a_failure(client):
    """Else an answer would be a part of the truth."""
    three = "select 1 union all select 2 union all select 3"
    found = answers(client, SqlRead(three, most=2), SqlRead(three, most=3))
    assert "expected at most 2 rows (most=), got more" in found[0].error
    assert found[1] == Answered(((1,), (2,), (3,)))


def test_what_returns_too_many_rows_changes_nothing(client):
    """Else an effect would be done each time that it is tried again."""
    twice = "insert into t (name) values ('a'), ('b') returning name"
    found = answers(client, SqlWrite(twice, most=1), SqlRead("select * from t"), SqlWrite(twice, most=2))
    assert "RefusedError: sql" in found[0].error
    assert "expected at most 1 rows (most=), got more" in found[0].error
    assert found[1:] == [Answered(()), Answered((("a",), ("b",)))]


def test_questions_at_once_have_connections_of_their_own(client):
    """As many as the pool has; the others wait their turn, and none is lost."""

    async def main(database):
        questions = [SqlWrite(UPSERT, {"name": "a"}) for _ in range(10)]
        await asyncio.gather(*(ask_once(one, {"sql": database}) for one in questions))
        return await ask_once(SqlRead(COUNT, {"name": "a"}), {"sql": database})

    assert with_client(lambda: client(pool=2), main) == Answered(((10,),))


def test_an_effect_binds_its_key(client):
    """So that the second try changes nothing."""
    effect = SqlWrite("insert into t (name) values (:effect_key) on conflict do nothing")

    async def main(database):
        resources = {"sql": database, "effect_key": "k"}
        return [await effect.perform(resources), await effect.perform(resources)]

    assert with_client(client, main) == [1, 0]


def test_a_handler_may_ask_for_it_as_an_effect():
    """It can be compared, and has what an effect needs."""
    handlers = define_event_handlers(name="f", resources={"sql": lambda settings: Sqlite(":memory:")})
    effect = SqlWrite("insert into t values (:a)", {"a": 1})
    handlers.mail(lambda event, ctx: do(ctx, effect))
    result = run(handlers, session().mail("a@example.org").rcpt("b@example.org").message())
    assert result.done == (SqlWrite("insert into t values (:a)", {"a": 1}),)


def test_a_filter_without_a_database_is_told_what_to_declare():
    """With the line to write."""
    found = outcome(SqlRead("select 1"))
    assert """declare resources={'sql': lambda settings: Sqlite("/var/lib/filter.db")}""" in found.error


# ------------------------------------------------------------------------------------------ SQLite
def test_a_file_that_another_holds_locked_is_no_answer(tmp_path):
    """In time, and with what SQLite says; afterwards it is there again."""
    path = tmp_path / "db"

    async def main(database):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("create table t (a)")
        other.execute("begin exclusive")
        writing = SqlWrite("insert into t values (1)")
        found = [await ask_once(writing, {"sql": database}) for _ in range(2)]
        late = await ask_once(writing, {"sql": database}, within=0.02)
        other.execute("rollback")
        other.close()
        return [*found, late, await until(Answered, writing, {"sql": database})]

    options = {"timeout": 0.1, "pause": 0.05}
    first, second, late, last = with_client(lambda: Sqlite(path, **options), main)
    assert first.error.startswith(f"UnansweredError: sqlite {path}: ")
    assert type(second) is Failed
    assert (late, last) == (Late(), Answered(1))


def test_a_statement_that_takes_too_long_is_interrupted(tmp_path):
    """Its thread is free again soon, and the next statement finds a connection."""
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    started = time.monotonic()
    found = answers(
        lambda **options: Sqlite(tmp_path / "db", **options),
        *(SqlRead(endless), SqlRead("select 1")),
        timeout=0.05,
        pool=1,
    )
    assert "no answer within 0.05 s" in found[0].error
    assert found[1] == Answered(((1,),))
    assert time.monotonic() > started


def test_a_file_that_cannot_be_opened_is_an_error_when_the_filter_is_loaded(tmp_path):
    """As with any resource; a wrong setup, too. It says which file, and nothing of a URL."""
    for path, setup, said in (
        (tmp_path / "none" / "db", "", f"'db' in '{tmp_path}/none', got OperationalError: unable to"),
        (tmp_path / "db", "nonsense", f"the file 'db' in '{tmp_path}', got OperationalError: near"),
        ("none/db", "", "the file 'db' in 'none', got"),
        ("pg://u:secret@host/db", "", "open a file, not a URL, got"),
    ):
        with pytest.raises(HandlerError, match="expected SQLite to open") as raised:
            with_client(lambda path=path, setup=setup: Sqlite(path, setup=setup), lambda database: None)
        assert said in str(raised.value)
        assert "secret" not in str(raised.value)
    with pytest.raises(HandlerError, match=r"the file '' in '\.', got"):
        with_client(lambda: Sqlite("", setup="nonsense"), lambda database: None)


def test_a_setup_waits_for_a_lock_as_long_as_a_statement_does(tmp_path):
    """SQLite itself does not, before it changes the journal's mode; then the filter would not load."""
    path = tmp_path / "db"
    other = sqlite3.connect(path, isolation_level=None)

    def opened(timeout):
        return Sqlite(path, setup="pragma journal_mode=wal", timeout=timeout)

    async def main():
        opening = asyncio.create_task(opened(20).__aenter__())
        await asyncio.sleep(0.05)
        other.execute("rollback")
        return await (await opening).execute("pragma journal_mode", {}, 1, is_read=True)

    other.execute("create table t (a)")
    other.execute("begin immediate")
    other.execute("insert into t values (1)")
    with pytest.raises(HandlerError, match="database is locked"):
        with_client(lambda: opened(0.05), lambda database: None)
    assert asyncio.run(main()) == (("wal",),)
    other.close()


# -------------------------------------------------------------------------------------- PostgreSQL
@need("postgresql")
def test_dates_and_decimal_numbers_are_texts(server):
    """An answer can be recorded; an array is a tuple."""
    statement = "select 1.50::numeric, date '2026-01-02', array[1, 2], '192.0.2.1'::inet, 'x'::bytea"
    found = answers(lambda: Databases(url_of(server)), SqlRead(statement))
    assert found == [Answered((("1.50", "2026-01-02", (1, 2), "192.0.2.1", b"x"),))]


@need("postgresql")
def test_a_database_that_crashes_comes_back(server):
    """Killed, or stopped without a word: in both cases it is found again by itself."""
    reader = Mark(BREAKERS)
    read = SqlRead("select 1")

    async def main(database):
        found = [await until(Answered, read, {"sql": database})]
        server.stop()
        found.append(await until(Failed, read, {"sql": database}))
        await asyncio.to_thread(server.start)
        found.append(await until(Answered, read, {"sql": database}))
        with server.held():
            found.append(await until(Failed, read, {"sql": database}))
        return [*found, await until(Answered, read, {"sql": database})]

    options = {"timeout": 0.3, "most_failures": 2, "pause": 0.05}
    one, down, two, silent, three = with_client(lambda: Databases(url_of(server), **options), main)
    assert one == two == three == Answered(((1,),))
    assert down.error.startswith("UnansweredError: sql postgresql+asyncpg://")
    assert "no answer within 0.3 s" in silent.error
    assert isinstance(reader.take(), tuple)


@pytest.mark.parametrize("url", ["nonsense", "postgresql+nodriver://x", "mysql+aiomysql://x"])
def test_a_url_that_cannot_be_used_is_an_error(url):
    """It names what is missing."""
    with pytest.raises(HandlerError, match="expected the URL of a database and its driver, got: "):
        Databases(url)

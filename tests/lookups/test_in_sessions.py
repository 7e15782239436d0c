"""The questions in filters that serve, with both drivers; and what holds for all of them."""

import importlib
import pkgutil

import pytest

from demyjpy import Message, answer, define_event_handlers, do, reject
from demyjpy import lookups as package
from demyjpy.lookups.dns import Dns, Resolver
from demyjpy.lookups.ldap import Ldap, LdapSearch
from demyjpy.lookups.programs import RunProgram
from demyjpy.lookups.redis import Redis, RedisCount, RedisRead
from demyjpy.lookups.sleep import Sleep
from demyjpy.lookups.smtp import RecipientProbe
from demyjpy.lookups.sql import SqlRead, SqlWrite
from demyjpy.lookups.sqlite import Sqlite
from demyjpy.lookups.streams import AskLine, ClamScan
from demyjpy.questions import Answered, Question, as_answer, fault_of
from demyjpy.testing import Postfix, session
from demyjpy.testing.server import serving
from tests.lookups.servers import need, redis_server, slapd, unbound, with_client
from tests.lookups.test_ldap import BASE, ENTRIES

TABLE = "create table if not exists seen (key text primary key, sender text)"
SEEN = "insert into seen values (:effect_key, :sender)"


def filter_of(dns, redis, directory, path):
    """One that asks all kinds of clients, and keeps what it has seen."""
    handlers = define_event_handlers(
        name="f",
        resources={
            "dns": lambda settings: Resolver("127.0.0.1", port=dns.address),
            "redis": lambda settings: Redis(f"redis://127.0.0.1:{redis.address}"),
            "sql": lambda settings: Sqlite(path, setup=TABLE),
            "ldap": lambda settings: Ldap(f"ldap://127.0.0.1:{directory.address}"),
        },
    )

    def questions(event, ctx):
        return {
            "mx": Dns(event.address.partition("@")[2], "MX"),
            "count": RedisCount(event.address, 60),
            "rows": SqlRead("select count(*) from seen"),
            "program": RunProgram(("echo", "--"), (event.address,)),
            "slept": Sleep(0.01),
            "entries": LdapSearch(BASE, "(mail={address})", {"address": "u1@example.org"}, ("sn",)),
        }

    @handlers.recipient(asking=questions)
    def recipient(event, ctx):
        found = {key: answer(ctx, key) for key in questions(event, ctx)}
        assert all(isinstance(one, Answered) for one in found.values()), found
        return ctx if found["mx"].value else reject(ctx, "5.1.2", f"{found['count'].value} times")

    @handlers.end_of_message
    def end_of_message(event, ctx):
        return do(ctx, SqlWrite(SEEN, {"sender": "ann@example.org"}))

    return handlers


@need("unbound")
@need("redis")
@need("openldap")
@pytest.mark.parametrize(
    "options",
    [
        {"driver": "asyncio", "loop": "asyncio"},
        {"driver": "asyncio", "loop": "uvloop", "effects": "effects"},
        {"driver": "threads"},
    ],
    ids=lambda one: one.get("loop", "threads"),
)
def test_a_filter_asks_them_while_it_serves(options, tmp_path, monkeypatch):
    """Clients live in the loop that performs; and are closed when the milter stops."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "db"
    script = (
        session().mail("ann@example.org").rcpt("bob@here.example").rcpt("eve@none.example").message()
    )
    record = "here.example. MX 10 mx.here.example."
    with unbound(record) as dns, redis_server() as redis, slapd(ENTRIES) as directory:
        handlers = filter_of(dns, redis, directory, path)
        for _ in range(2):
            with serving(handlers, mta=Postfix(), **options) as server:
                result = server.run(script)
                assert [one.outcome.reply.code for one in result.steps[3:5]] == [250, 550]
    assert str(result.steps[4].outcome.reply) == "550 5.1.2 2 times"

    async def main(database):
        return await SqlRead("select sender from seen").perform({"sql": database})

    assert with_client(lambda: Sqlite(path), main) == (("ann@example.org",),) * 2


def kinds():
    """All classes of questions in the package."""
    for module in pkgutil.iter_modules(package.__path__):
        found = importlib.import_module(f"{package.__name__}.{module.name}")
        for name in getattr(found, "__all__", ()):
            kind = getattr(found, name)
            if isinstance(kind, type) and issubclass(kind, Question):
                yield kind


def test_each_kind_has_examples_that_can_be_recorded():
    """So that ``demyjpy check --play`` can answer; and it lives where it is imported from."""
    found = {*kinds()}
    assert {Dns, SqlRead, SqlWrite, RedisRead, ClamScan, Sleep, RecipientProbe} <= found
    for kind in found:
        assert kind.examples
        assert all(isinstance(as_answer(one), Answered) for one in kind.examples)


QUESTIONS = [
    Dns("a.example"),
    SqlRead("select :a", {"a": 1}),
    SqlWrite("delete from t where a = :a", {"a": "x"}),
    RedisRead(["get", "a"]),
    LdapSearch("dc=a", "(mail={a})", {"a": "x"}, ["cn"]),
    RunProgram(["true"], ["a"]),
    AskLine("unix:/run/x", "a"),
    ClamScan(Message.parse(b"A: b\r\n\r\n")),
    RecipientProbe("a@b", "inet:25@127.0.0.1"),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: type(one).__name__)
def test_each_can_be_asked(question):
    """It can be compared, and has a hash if it is pure."""
    assert fault_of(question) is None

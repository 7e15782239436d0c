"""The filter `greylisting`: who waits, in both stores, over sockets, and when nothing answers."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime

import pytest

from demyjpy import Client, Count, Failed, HandlerError, Late, SettingsError
from demyjpy.lookups.redis import Redis, RedisRead
from demyjpy.lookups.sqlite import Sqlite
from demyjpy.lookups.tables import Lookup
from demyjpy.testing import Postfix, run, run_job, session
from demyjpy.testing.server import serving
from samples.filters.greylisting import SETUP, FirstTry, in_redis, in_sqlite, keys_of, make
from tests.lookups.servers import need, redis_server
from tests.samples.page_filters import check, filter_of_page

START = datetime(2026, 11, 30, 12, tzinfo=UTC)
AT = int(START.timestamp())
FILTER = {"dsn": "table.db"}
CLIENT = session(client="192.0.2.7", helo="mx.example.org")
MAIL = CLIENT.mail("alice@example.org").rcpt("bob@example.net")


def played(script, first, **settings):
    """A session at noon, in which each was first tried at ``first``."""
    answers = {"greylisting": {FirstTry: first}, Lookup: None}
    return run(make, script, answers=answers, settings={**FILTER, **settings}, clock=START)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (AT, "451 4.7.1 Greylisted, please try again in 300 s"),
        (AT + 3600, "451 4.7.1 Greylisted, please try again in 300 s"),  # clocks differ
        (AT - 299, "451 4.7.1 Greylisted, please try again in 1 s"),
        (AT - 300, "250"),
        (Failed("no table"), "250"),
        (Late(), "250"),
    ],
)
def test_who_comes_too_early_waits(first, told):
    """If the table does not answer, nobody does."""
    result = played(MAIL, first)
    assert str(result.steps[3].outcome.reply).startswith(told)
    assert result.counts == ((Count("greylisted"),) if told.startswith("451") else ())


def asked(script, **settings):
    """What a session asks about."""
    return [one.question for one in played(script.message(), AT - 300, **settings).asked]


@pytest.mark.parametrize(
    ("script", "is_same"),
    [
        (session(client="192.0.2.99").mail("ALICE@example.org").rcpt("Bob@example.net"), True),
        (session(client="192.0.3.7").mail("alice@example.org").rcpt("bob@example.net"), False),
        (CLIENT.mail("").rcpt("bob@example.net"), False),
        (CLIENT.mail("alice@example.org").rcpt("carol@example.net"), False),
    ],
)
def test_network_sender_and_recipient_are_one(script, is_same):
    """Another machine of a network goes on where the first has begun; the null sender is one, too."""
    (question,), (other,) = asked(MAIL), asked(script)
    assert (question == other) is is_same
    assert question.at == AT


def test_ipv6_networks():
    """A machine has 64 bits to itself."""
    one, two, other = (
        asked(session(client=address).mail("a@example.org").rcpt("b@example.net"))
        for address in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")
    )
    assert one == two != other


@pytest.mark.parametrize(
    "script",
    [
        CLIENT.auth("ann").mail("ann@example.net"),
        session(client="127.0.0.1").mail("root@example.net"),
        session(client="::1").mail(""),
    ],
    ids=["submission", "local", "bounce from here"],
)
def test_own_mail_never_waits(script):
    """Nothing is asked about it."""
    assert asked(script.rcpt("bob@example.net")) == []


def test_strange_addresses_are_short_keys():
    """Bytes that are no text, long ones, and a recipient for each of many."""
    script = CLIENT.mail("\udcff\udcfe@example.org").rcpt("x" * 900 + "@example.net")
    for number in range(40):
        script = script.rcpt(f"user{number}@example.net")
    found = asked(script)
    assert len({one.triplet for one in found}) == 41
    assert {len(one.triplet) for one in found} == {64}


def test_known_clients_do_not_wait():
    """By address, and by name if it is verified."""
    known = {"clients": "texthash:clients"}
    address, name = (
        Lookup("clients", key, search="host", day="2026-11-30")
        for key in ("192.0.2.7", "mx.example.org")
    )

    def is_let_in(script, row):
        answers = {FirstTry: AT, Lookup: None, row: "OK"}
        result = run(make, script, answers=answers, settings=FILTER | known, clock=START)
        return result.is_delivered

    named = session(client="192.0.2.7", name="mx.example.org").mail("").rcpt("bob@example.net").message()
    assert is_let_in(MAIL.message(), address)
    assert is_let_in(named, name)
    assert not is_let_in(MAIL.message(), name)
    for outcome in (Failed("no file"), Late()):
        answers = {FirstTry: AT, Lookup: outcome}
        assert not run(make, named, answers=answers, settings=FILTER | known, clock=START).is_delivered


def test_a_name_that_is_not_verified_is_none():
    """Whoever owns an address can give it the name of another."""
    assert keys_of(Client("x", "outlook.com", True)) == {"address": "x", "name": "outlook.com"}
    assert keys_of(Client("x", "outlook.com", False)) == {"address": "x", "name": None}


def test_it_can_be_tried():
    """Nobody waits, and what would have been said is there."""
    result = played(MAIL.message(), AT, enforce=False)
    assert result.is_delivered
    assert [one.code for one in result.withheld] == [451]


def test_times_that_let_nobody_in():
    """They are an error when the filter is loaded."""
    with pytest.raises(SettingsError, match="expected delay < window <= keep, got 300, 200, 3110400"):
        played(MAIL, AT, window=200)


@pytest.mark.parametrize(
    ("dsn", "got"),
    [
        ("", "an empty text"),
        (" ", "an empty text"),
        ("mysql://u:secret@h/d", "mysql:"),
        ("sqlite:x", "sqlite:"),
    ],
)
def test_a_store_that_nobody_knows(dsn, got):
    """It is an error when the filter is loaded, which shows nothing of a password."""
    with pytest.raises(SettingsError, match=f"path of a file for SQLite, or as redis://.*got {got}$"):
        played(MAIL, AT, dsn=dsn)


def test_a_directory_that_is_not_there(tmp_path):
    """The filter is not served; the error says which, though the dsn may not be shown."""
    settings = {"dsn": f"{tmp_path}/none/table.db"}
    with (
        pytest.raises(HandlerError, match=f"'store' of greylisting.*db' in '{tmp_path}/none', got"),
        serving(make, driver="asyncio", mta=Postfix(), settings=settings),
    ):
        pass


@asynccontextmanager
async def sqlite_store(path):
    """A table in a file, and how it answers."""
    async with Sqlite(path, setup=SETUP) as store:
        yield in_sqlite, store


@asynccontextmanager
async def redis_store(server):
    """A table in Redis, and how it answers."""
    async with Redis(f"redis://127.0.0.1:{server.address}") as store:
        await store.execute("flushall")
        yield in_redis, store


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=need("redis"))])
def stored(request, tmp_path):
    """Makes an empty table."""
    with redis_server() if request.param == "redis" else nullcontext() as server:
        yield lambda: redis_store(server) if server else sqlite_store(tmp_path / "table.db")


def test_both_stores_say_when_it_began(stored):
    """The first of many at once is the first for all; another triplet begins by itself."""

    def at(number, triplet="a"):
        return FirstTry(triplet, number, 300, 1000, 5000)

    async def main():
        async with stored() as (perform, store):
            found = [await asyncio.gather(*(perform(at(100 + n), {"store": store}) for n in range(9)))]
            later = (at(399), at(350, "b"), at(400), at(1090))
            return [*found, *[await perform(one, {"store": store}) for one in later]]

    at_once, *later = asyncio.run(main())
    assert len({*at_once}) == 1
    first = at_once[0]
    assert first in range(100, 109)
    assert later == [first, 350, first, first]


def test_sqlite_forgets_who_did_not_come_again(tmp_path):
    """After the window it begins anew; who came in time is kept from then on."""

    async def main():
        async with sqlite_store(tmp_path / "table.db") as (perform, store):
            times = (100, 1100, 1101, 2500, 7500, 7501, 12_502)
            asked = (FirstTry("a", at, 300, 1000, 5000) for at in times)
            return [await perform(one, {"store": store}) for one in asked]

    assert asyncio.run(main()) == [100, 100, 100, 100, 100, 100, 12_502]


@need("redis")
def test_redis_forgets_who_did_not_come_again():
    """By the lifetimes of its keys."""

    async def main():
        with redis_server() as server:
            async with redis_store(server) as (perform, store):
                ttl = RedisRead(("ttl", "greylist:a"), using="store")
                found = []
                for at in (100, 399, 400):
                    await perform(FirstTry("a", at, 300, 1000, 5000), {"store": store})
                    found.append(await ttl.perform({"store": store}))
                return found

    early, still, late = asyncio.run(main())
    assert 0 < still <= early <= 1000 < late <= 5000


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_over_a_socket(driver, tmp_path):
    """Who has waited is let in, by another connection; the job removes only what is over."""
    path = tmp_path / "table.db"
    settings = {"dsn": str(path)}
    with serving(make, driver=driver, mta=Postfix(), settings=settings) as server:
        assert server.run(MAIL).steps[3].outcome.reply.code == 451
        with sqlite3.connect(path) as table:
            table.execute("update greylist set first = first - 300")
        table.close()
        assert server.run(MAIL.message()).is_delivered
    with sqlite3.connect(path) as table:
        table.execute("insert into greylist values ('old', 0, 1)")
    run_job(make, 60, settings=settings)
    assert table.execute("select count(*), min(first) > 1 from greylist").fetchone() == (1, 1)
    table.close()


def test_what_holds_for_every_filter(tmp_path):
    """With the settings of its page; some wait."""
    handlers = filter_of_page("greylisting", tmp_path)
    (question,) = handlers.declarations.asks
    check(handlers, {question: lambda one: 2**40 if one.triplet > "8" else 0, Lookup: None})

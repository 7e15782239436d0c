"""The filter `recipient_table`: who is refused, with real databases, and if one is away."""

import sqlite3
from pathlib import Path

import pytest
from pyrsistent import pmap

from demyjpy import Count, Failed, Late
from demyjpy.lookups.databases import Databases
from demyjpy.lookups.sql import SqlRead
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.server import serving
from samples.filters.recipient_table import QUERY, make
from tests.lookups.servers import need, postgresql, with_client
from tests.samples.page_filters import check, filter_of_page

SETTINGS = {"dsn": "/no/such/file", "domains": ["example.net", "Example.org"]}
MAIL = session(client="192.0.2.7").mail("")
NO = "550 5.1.1 No such mailbox"
LATER = "451 4.3.0 Recipients cannot be checked now"
ROWS = "insert into mailboxes values ('ann@example.net'), ('@example.org')"


def told(script, answers, count=1, **settings):
    """What the client is told to each RCPT, without the text of the server."""
    result = run(make, script, answers=answers, settings={**SETTINGS, **settings})
    replies = [str(one.outcome.reply) for one in result.steps[3 : 3 + count]]
    return [None if one.startswith("250") else one for one in replies], result


@pytest.mark.parametrize(
    ("rows", "settings", "expected", "counted"),
    [
        (((1,),), {}, None, ()),
        ((), {}, NO, (Count("unknown"),)),
        (Failed("no route"), {}, LATER, (Count("not_checked"),)),
        (Late(), {}, LATER, (Count("not_checked"),)),
        (Late(), {"away": "accept"}, None, (Count("not_checked"),)),
        ((), {"away": "accept"}, NO, (Count("unknown"),)),
        ((), {"enforce": False}, None, (Count("unknown"),)),
    ],
)
def test_who_is_in_the_table_comes_in(rows, settings, expected, counted):
    """If nobody can say, the policy decides; a null sender changes nothing."""
    found, result = told(MAIL.rcpt("ann@example.net"), {SqlRead: rows}, **settings)
    assert found == [expected]
    assert result.counts == counted


@pytest.mark.parametrize(
    ("address", "settings", "address_and_plain"),
    [
        ("Ann@Example.ORG.", {}, ("ann@example.org", "ann@example.org")),
        ("ann+a+b@example.net", {}, ("ann+a+b@example.net", "ann@example.net")),
        ("+a@example.net", {}, ("+a@example.net", "+a@example.net")),
        ("ann+a@example.net", {"delimiter": ""}, ("ann+a@example.net", "ann+a@example.net")),
        ("';drop--@example.net", {}, ("';drop--@example.net", "';drop--@example.net")),
    ],
)
def test_what_the_statement_gets(address, settings, address_and_plain):
    """Values, whatever is in them."""
    values = dict(zip(("address", "plain"), address_and_plain, strict=True))
    values["domain"] = "@" + values["plain"].partition("@")[2]
    asked = SqlRead(QUERY, values)
    assert asked.parameters == pmap(values)
    found, result = told(MAIL.rcpt(address), {asked: ((1,),)}, **settings)
    assert (found, [one.question for one in result.asked]) == ([None], [asked])


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("bob@elsewhere.example", None),
        ("PostMaster@example.net", None),
        ("postmaster", None),
        ("b\udcffb@example.net", NO),
    ],
)
def test_what_nobody_looks_up(address, expected):
    """Foreign domains, postmaster, and what no table can hold."""
    assert told(MAIL.rcpt(address), {})[0] == [expected]


def test_many_recipients():
    """Each is asked about by itself, and only the unknown ones are refused."""
    script = MAIL
    for number in range(60):
        script = script.rcpt(f"user{number}@example.net")
    rows = {SqlRead: lambda one: ((1,),) if one.parameters["address"].startswith("user1") else ()}
    found, result = told(script.message(), rows, count=60)
    assert found == [None if str(number).startswith("1") else NO for number in range(60)]
    assert len(result.recipients) == 11


def sent(server):
    """What becomes of four recipients at a filter that serves."""
    script = MAIL
    for address in (
        "Ann+box@example.net",
        "bob@example.net",
        "anybody@example.org",
        "x@foreign.example",
    ):
        script = script.rcpt(address)
    return [one.outcome.reply.code for one in server.run(script).steps[3:7]]


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_sqlite_over_a_socket(driver, tmp_path):
    """The table is made while the filter serves: nobody was refused for good before."""
    path = tmp_path / "mailboxes.db"
    options = {"settings": {**SETTINGS, "dsn": str(path)}, "driver": driver, "mta": Postfix()}
    with serving(make, **options) as server:
        assert sent(server) == [451, 451, 451, 250]
        with sqlite3.connect(path) as table:
            table.execute("create table mailboxes (address text primary key)")
            table.execute(ROWS)
        table.close()
        assert sent(server) == [250, 550, 250, 250]


@need("postgresql")
def test_postgresql_over_a_socket():
    """With a statement that needs only one of the values."""
    with postgresql() as database:
        dsn = f"postgresql+asyncpg://filter@127.0.0.1:{database.address}/postgres"

        async def fill(client):
            for one in ("create table mailboxes (address text primary key)", ROWS):
                await client.execute(one, {}, 1, is_read=False)

        with_client(lambda: Databases(dsn), fill)
        with serving(make, settings={**SETTINGS, "dsn": dsn}, mta=Postfix()) as server:
            assert sent(server) == [250, 550, 250, 250]
        query = "select 1 from mailboxes where address = :plain"
        with serving(make, settings={**SETTINGS, "dsn": dsn, "query": query}, mta=Postfix()) as server:
            assert sent(server) == [250, 550, 550, 250]


def test_what_holds_for_every_filter(tmp_path):
    """With the settings of its page."""
    handlers = filter_of_page("recipient_table", tmp_path)
    check(handlers, {SqlRead: lambda one: ((1,),) if "a" in one.parameters["plain"] else ()})
    assert QUERY in Path("docs/filter-recipient-table.md").read_text(encoding="utf-8")

"""Tables as a resource, and the question that asks them: by hand, in `run`, and over a socket."""

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from demyjpy import answer, define_event_handlers, reject
from demyjpy.errors import HandlerError, TableError
from demyjpy.lookups.tables import LONGEST_KEY, Lookup, Tables, look_up
from demyjpy.lookups.tables_shared import SharedTables
from demyjpy.testing import Postfix, at_time, context, run, session
from demyjpy.testing.server import serving

SCRIPT = (
    session(client="192.0.2.7")
    .mail("ann@example.net")
    .rcpt("bob@mx.example.org")
    .message("Subject: x\n\n")
)

TRUE = ("true",)
NIGHT = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def tables(tmp_path):
    """Three kinds; ``blocked`` has rows with terms."""
    texts = {
        "clients": "cidr:192.0.2.0/24 REJECT\n",
        "access": "texthash:example.org OK\nbob@ 550 no bob\n.example.com sub\n<> null\n",
        "blocked": "list:old.example until=2026-11-29\nnew.example until=2026-11-30\n"
        "some.example percent=50\n",
    }
    names = {}
    for name, given in texts.items():
        kind, _, text = given.partition(":")
        (tmp_path / name).write_text(text)
        names[name] = f"{kind}:{tmp_path / name}"
    return Tables(names)


def ask(tables, *args, **options):
    with tables({}) as opened:
        return Lookup(*args, **options).perform({"tables": opened})


def test_a_question_is_answered_with_the_result_of_a_row(tables):
    """A text, or None; the key may be an IP address."""
    assert ask(tables, "clients", ip_address("192.0.2.7")) == "REJECT"
    assert ask(tables, "clients", "192.0.3.7") is None
    assert ask(tables, "access", "EXAMPLE.org") == "OK"
    assert ask(tables, "access", "") is None


def test_a_question_may_search_for_the_parts_of_its_key(tables):
    """As Postfix's access(5) does."""
    assert ask(tables, "access", "bob@mx.example.org") is None
    assert ask(tables, "access", "bob@mx.example.org", search="address") == "OK"
    assert ask(tables, "access", "bob+x@example.net", search="address", delimiter="+") == "550 no bob"
    assert ask(tables, "access", "mx.example.com", search="host", dotted=True) == "sub"
    assert ask(tables, "access", "mx.example.com", search="host") is None
    assert ask(tables, "access", "", search="address") == "null"
    assert ask(tables, "clients", "192.0.2.7", search="host") == "REJECT"


def test_none_is_in_no_row(tables):
    """A client without an address is in no table; the null sender, an empty text, may be in one."""
    ctx = at_time(context(guarded(tables)), NIGHT)
    assert look_up(ctx, "clients", None) == Lookup("clients", None, day="2026-11-30")
    assert ask(tables, "access", None, search="address") is None
    with pytest.raises(TableError, match="one of the tables"):
        ask(tables, "x", None)


def test_a_row_counts_until_its_day_is_over(tables):
    """By the day that stands in the question, and `look_up` writes there what `now` says."""
    ctx = at_time(context(guarded(tables)), NIGHT)
    for key, found in (("old.example", None), ("new.example", "new.example")):
        assert ask(tables, "blocked", key, day="2026-11-30") == found
        assert look_up(ctx, "blocked", key) == Lookup("blocked", key, day="2026-11-30")
    with pytest.raises(TableError, match=r"which has rows with until=, got none: ask with look_up"):
        ask(tables, "blocked", "new.example")
    given = {"search": "host", "dotted": True, "delimiter": "+", "using": "x"}
    assert look_up(ctx, "a", "b", **given) == Lookup("a", "b", day="2026-11-30", **given)


def test_a_row_counts_for_its_share_of_the_keys(tables):
    """Of the whole keys: a domain counts for some of its addresses, always the same."""
    keys = [f"user{number}@some.example" for number in range(100)]
    found = [ask(tables, "blocked", key, search="address") for key in keys]
    assert 30 < found.count("some.example") < 70
    assert found == [ask(tables, "blocked", key.upper(), search="address") for key in keys]


def test_a_question_that_cannot_be_answered_fails(tables):
    """It says what is missing, and nothing of the key."""
    with pytest.raises(TableError, match="one of the tables clients, access, blocked, got 'x'"):
        ask(tables, "x", "secret")
    with pytest.raises(TableError, match="a key of at most 10000 characters, got 10001"):
        ask(tables, "access", "x" * (LONGEST_KEY + 1))
    with pytest.raises(HandlerError, match="the resource 'x' of the filter to be a OpenTables"):
        Lookup("access", "x", using="x").perform({})


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Lookup("a", 7), "a key as a text, an IP address or None, got 7"),
        (lambda: Lookup("a", "b", search="domain"), "search= as one of 'key', 'address'"),
        (lambda: Tables("cidr:/x"), "expected tables as a map"),
        (lambda: Tables({}), "expected tables as a map"),
        (lambda: Tables({1: "cidr:/x"}), "expected tables as a map"),
        (lambda: Tables({"a": "/x"}), "expected a table as KIND:FILE"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(make, why):
    """Before any mail is asked about."""
    with pytest.raises(HandlerError, match=why):
        make()


def test_filters_share_a_table_of_the_same_name(tables):
    """It is loaded once in a process, and ends after the last of them; then it is loaded anew."""
    other = Tables({"mine": tables.tables["access"]})
    with tables({}) as first, other({}) as second:
        assert second._tables["mine"] is first._tables["access"]
    with other({}) as third:
        assert third._tables["mine"] is not first._tables["access"]
    postmap = Tables(other.tables, postmap=["/usr/sbin/postmap"])
    with other({}) as fourth, postmap({}) as fifth:
        assert fourth._tables["mine"] is not fifth._tables["mine"]


def test_who_opens_a_shared_table_gets_it_as_its_file_is_now(tables, tmp_path):
    """So that a filter that is loaded again is not with rows from before; else it is not loaded."""
    with tables({}) as first:
        (tmp_path / "clients").write_text("10.0.0.0/8 now\n")
        with tables({}) as second:
            assert second.find(Lookup("clients", "10.0.0.1")) == "now"
            (tmp_path / "clients").write_text("10.0.0.1/8 x\n")
            with pytest.raises(TableError, match="clients:1"), tables({}):
                pass
        assert first.find(Lookup("clients", "10.0.0.1")) == "now"


def test_a_table_that_does_not_open_is_held_by_nobody(tmp_path):
    """Whoever comes next tries again."""
    shared = SharedTables()
    with pytest.raises(TableError):
        shared.take(f"list:{tmp_path / 'no'}", TRUE)
    assert shared._entries == {}


def test_a_process_that_was_forked_opens_its_own():
    """What its parent held is not its own."""
    shared = SharedTables()
    shared.take("inline:{a=b}", TRUE)
    shared.renew()
    with pytest.raises(KeyError):
        shared.give_back("inline:{a=b}", TRUE)


def test_a_table_that_cannot_be_loaded_is_an_error_that_harms_no_later_one(tables, tmp_path):
    """The file is named; when it is right again, it is opened."""
    before = (tmp_path / "clients").read_text()
    (tmp_path / "clients").write_text("10.0.0.1/8 x\n")
    with pytest.raises(TableError, match=r"clients:1: expected no bits after the first 8"), tables({}):
        pass
    (tmp_path / "clients").write_text(before)
    assert ask(tables, "clients", "192.0.2.7") == "REJECT"


def guarded(tables):
    handlers = define_event_handlers(name="access", resources={"tables": tables})

    @handlers.recipient(
        asking=lambda event, ctx: {"row": look_up(ctx, "access", event.address, search="address")}
    )
    def check(event, ctx):
        found = answer(ctx, "row")
        return reject(ctx, "5.7.1", found.value) if found.value and found.value != "OK" else ctx

    return handlers


def test_a_filter_is_tested_without_files(tables):
    """The question is data."""
    asked = Lookup("access", "bob@mx.example.org", search="address", day="2026-11-30")
    result = run(guarded(tables), SCRIPT, answers={asked: "go away"}, clock=NIGHT)
    assert str(result.steps[3].outcome.reply) == "550 5.7.1 go away"
    assert run(guarded(tables), SCRIPT, answers={Lookup: None}).is_delivered


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_a_server_asks_the_tables_of_its_filter(tables, driver):
    """It opens them before it serves."""
    path = Path(tables.tables["access"].removeprefix("texthash:"))
    with serving(guarded(tables), driver=driver, mta=Postfix()) as server:
        assert server.run(SCRIPT).is_delivered
    path.write_text("bob@mx.example.org go away\n")
    with serving(guarded(tables), driver=driver, mta=Postfix()) as server:
        assert str(server.run(SCRIPT).steps[3].outcome.reply) == "550 5.7.1 go away"


def test_a_filter_is_not_served_if_a_table_cannot_be_loaded(tables, tmp_path):
    """The error names filter, resource, file and line."""
    (tmp_path / "access").write_text("a\n")
    why = (
        r"the resource 'tables' of access to open, got .*access:1: expected a key, a space and a result"
    )
    with pytest.raises(HandlerError, match=why), serving(guarded(tables)):
        pass

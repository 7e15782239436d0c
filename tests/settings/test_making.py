"""Filters made of settings: by a map or a file, for servers, tests and resources."""

import asyncio
from contextlib import contextmanager
from pathlib import Path

import pytest

from demyjpy import (
    AddHeader,
    HandlerError,
    add_header,
    define_event_handlers,
    merge_handlers,
    only_if,
    running,
    serve,
    with_handlers,
)
from demyjpy.errors import SettingsError
from demyjpy.registry import Registry
from demyjpy.settings.making import (
    Table,
    give,
    make_filter,
    secrets_in,
    settle,
    without_secrets,
)
from demyjpy.testing import Postfix, context, run, run_job, session
from demyjpy.testing.strategies import check_filter
from demyjpy.trace import shadow
from tests.drivers.peer import Peer

LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


def make(*, text: str, times: int = 1, api_key: str = "none") -> Registry:
    """A filter that adds fields."""
    handlers = define_event_handlers(actions={"add_header"}, state={"text": text})

    @handlers.end_of_message
    def end(event, ctx):
        for _ in range(times):
            ctx = add_header(ctx, "X-Text", text)
        return ctx

    return handlers


TAKES = "make takes: text (str), times (int, default 1), api_key (str, default not shown)"


def fields_of(handlers, **options):
    """What is added to a letter."""
    message = run(handlers, LETTER, **options).message
    return [one.value for one in message.fields if one.name == "X-Text"]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a settings file into the current directory."""
    monkeypatch.chdir(tmp_path)
    return Path("rules.toml")


# ------------------------------------------------------------------------------------- by a map
def test_a_test_gives_settings_as_a_map_or_a_file(file):
    """As a server does; defaults are those of the function."""
    assert fields_of(make, settings={"text": "a"}) == ["a"]
    file.write_text("[make]\ntext = 'b'\ntimes = 2\n")
    assert fields_of(make, settings=file) == ["b", "b"]
    assert context(make, settings="rules.toml")["text"] == "b"
    assert context(make, settings={"text": "c"}, text="d")["text"] == "d"
    assert fields_of([make, make(text="e")], settings={"text": "f"}, mta=Postfix()) == ["f", "e"]
    check_filter(make, settings={"text": "g"}, max_examples=1, skip=["mtas"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (None, f"make: text: expected a text, got nothing; {TAKES}; give them as settings="),
        ({"text": 1}, f"make: text: expected a text, got 1; {TAKES}"),
        (
            {f"k{number}": 1 for number in range(9)},
            "; ".join(f"make: k{number}: there is no such key" for number in range(5)),
        ),
    ],
)
def test_wrong_settings_are_told_with_all_that_there_is(settings, said):
    """A few of them, and how they can be given."""
    with pytest.raises(SettingsError) as raised:
        run(make, LETTER, settings=settings)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("filter_", "settings", "said"),
    [
        (make, [1], "expected settings= as a mapping, got a list"),
        (define_event_handlers(), 3, "expected settings= as a mapping, got 3"),
        (lambda ctx: ctx, {"a": 1}, "got them for a function: write def <lambda>(...) -> Registry"),
    ],
)
def test_settings_that_nobody_can_have_are_an_error(filter_, settings, said):
    """They are a map; a function of a connection has no use for them."""
    with pytest.raises(HandlerError) as raised:
        settle(filter_, settings)
    assert said in str(raised.value)


def test_a_function_of_a_connection_stays_what_it_is():
    """As does what is no filter: that is for others to say."""
    handlers = make(text="a")

    def on_connect(ctx):
        return with_handlers(ctx, handlers)

    assert settle(on_connect).on_connect is on_connect
    assert fields_of(on_connect) == ["a"]
    assert settle(3).on_connect == 3


# ------------------------------------------------------------------------------------- by a file
def test_errors_have_the_line_of_the_file(file):
    """Of the key, or of the table if the key is missing, or none."""
    file.write_text("# x\n[make]\n\ntimes = 'five'\n")
    with pytest.raises(SettingsError) as raised:
        settle(make, file)
    assert str(raised.value).startswith(
        'rules.toml:4: [make] times: expected a whole number, got "five"; rules.toml:2: [make] text: '
        "expected a text, got nothing; make takes: text (str), "
    )
    file.write_text("")
    with pytest.raises(
        SettingsError, match=r"^rules.toml: \[make\] text: expected a text, got nothing;"
    ):
        settle(make, file)
    file.write_text("[mke]\n")
    with pytest.raises(
        SettingsError, match=r"rules.toml:1: .* got the table \[mke\]; did you mean \[make\]"
    ):
        settle(make, file)


def noting(notes):
    """A filter whose resource notes its settings."""

    @contextmanager
    def opened(settings):
        notes.append(dict(settings))
        yield 1

    return define_event_handlers(name="quota", resources={"table": opened}, every={60: Job()})


class Job:
    """It does nothing."""

    def perform(self, resources):
        return resources["table"]


def test_a_registry_has_a_table_by_its_name(file):
    """For its resources; without a name it is that of handlers."""
    notes = []
    file.write_text("[quota]\npath = 'a'\n")
    assert run_job(noting(notes), 60, settings=file) == 1
    assert notes == [{"path": "a"}]
    for filter_ in (make(text="a"), lambda ctx: ctx):
        with pytest.raises(
            SettingsError, match="expected no settings, because none of the filters takes"
        ):
            settle(filter_, file)
    file.write_text("")
    assert settle(len, file).on_connect is len
    file.write_text("[handlers]\na = 1\n")
    settle(merge_handlers(noting([]), make(text="a")), file)


# ------------------------------------------------------------------------------------- resources
def test_resources_get_the_settings_of_their_filter():
    """With the defaults; also in a filter that is merged, conditional or observed."""
    notes = []

    def quota(*, path: str, most: int = 3) -> Registry:
        inner = merge_handlers(only_if(lambda event, ctx: True, noting(notes)), make(text="x"))
        return shadow(inner, define_event_handlers(), report=lambda *_: None) if most == 4 else inner

    run_job(quota, 60, settings={"path": "p"})
    first, second = (settle(quota, {"path": str(n)}).on_connect for n in (1, 2))
    run_job(merge_handlers(first=first, second=second), 60)
    run_job(quota, 60, settings={"path": "s", "most": 4})
    assert notes == [{"path": "p", "most": 3}, {"path": "1", "most": 3}, {"path": "s", "most": 4}]
    run_job(noting(notes), 60, settings={"path": "q"})
    assert notes[-1] == {"path": "q"}
    assert run_job(quota, 60, settings={"path": "p"}, resources={"table": 5}) == 5


def test_a_filter_without_resources_stays_as_it_is():
    """The very same one."""
    one = make(text="a")
    assert give(one, {"a": 1}) is one


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_servers_take_functions_of_settings(file, driver):
    """Under both drivers, in a loop of one's own, with a map or a file."""

    def answer(address):
        with Peer(address) as peer:
            return peer.begin().message()[0]

    file.write_text("[make]\ntext = 'b'\n")
    with running(make, driver=driver, settings={"text": "a"}) as address:
        assert answer(address) == AddHeader("X-Text", "a")
    with running(make, driver=driver, settings="rules.toml") as address:
        assert answer(address) == AddHeader("X-Text", "b")

    async def main():
        async with serve("inet:0@127.0.0.1", make, settings={"text": "c"}) as server:
            return await asyncio.to_thread(answer, server.address)

    assert asyncio.run(main()) == AddHeader("X-Text", "c")


# ------------------------------------------------------------------------------ what goes wrong in it
def raises_value(*, token: str) -> Registry:
    """What it raises says too much."""
    raise ValueError(f"no use for {token}")


def raises_ours(*, nested: dict[str, list[str]]) -> Registry:
    """An error of this library."""
    raise HandlerError(f"not {nested}")


def ends() -> Registry:
    """It ends the program."""
    raise SystemExit("gone")


def returns_nothing() -> Registry:
    """It forgets its filter."""


@pytest.mark.parametrize(
    ("function", "settings", "said"),
    [
        (
            raises_value,
            {"token": "hunter2"},
            "raises_value: expected a filter, got ValueError: no use for (not shown)",
        ),
        (
            raises_ours,
            {"nested": {"password": ["hunter2", "abc"]}},
            "raises_ours: not {'password': ['(not shown)', 'abc']}",
        ),
        (ends, {}, "ends: expected a filter, got SystemExit: gone"),
        (returns_nothing, {}, "returns_nothing: expected a filter (define_event_handlers), got None"),
    ],
)
def test_a_function_that_makes_no_filter_is_told(function, settings, said):
    """Without the texts of secrets, if they are long enough to be some."""
    with pytest.raises(SettingsError) as raised:
        settle(function, settings)
    assert str(raised.value) == said


def test_settings_are_in_no_repr():
    """So that none is in a log by accident."""
    made = make_filter(make, Table("make", {"text": "hunter2"}))
    table = Table("make", {"api_key": "hunter2"})
    assert "hunter2" not in f"{made!r}{table!r}{settle(define_event_handlers(), {'a': 'hunter2'})!r}"
    assert without_secrets("is hunter2 it", secrets_in(table.values)) == "is (not shown) it"


def test_a_resource_that_does_not_open_tells_no_secret():
    """Whatever it raises, and whoever made the filter."""

    def refused(settings):
        raise OSError(f"not with {settings['password']}")

    def quota(*, password: str) -> Registry:
        return define_event_handlers(name="quota", resources={"table": refused})

    said = r"expected the resource 'table' of quota to open, got OSError: not with \(not shown\)$"
    with pytest.raises(HandlerError, match=said), running(quota, settings={"password": "hunter2"}):
        raise AssertionError

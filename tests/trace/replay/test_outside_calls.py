"""What handlers reach outside of their session while they are played: seen, and in a shadow stopped."""

import gc
import logging
import os
import random
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from demyjpy import add_header, define_event_handlers, tempfail, with_handlers
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.testing import Postfix, session
from demyjpy.testing import run as play
from demyjpy.trace import Trace, shadow, write
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.replay import outside_calls as reaching
from demyjpy.trace.replay.outside_calls import OutsideCall, OutsideWatch, ReachedError
from demyjpy.trace.rollout import shadow as shadowing
from tests.engine.harness import keep
from tests.trace.sessions import WHOLE, watched

Run = Callable[..., tuple[int, str, str]]
LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


def reached(function: Callable[[], object], *, is_async: bool = False) -> list[tuple[str, bool]]:
    """What a handler that calls this function reaches."""
    found: list[OutsideCall] = []
    watch = OutsideWatch(found.append)

    def plain(event: Any, ctx: Any) -> Any:
        function()
        return ctx

    async def later(event: Any, ctx: Any) -> Any:
        function()
        return ctx

    handlers = define_event_handlers({"mail": later if is_async else plain, "body": keep})
    trace = Trace.of_steps(watched(define_event_handlers({"mail": keep}), *WHOLE)[0])
    with FilterConnection(Setup(lambda ctx: watch.watched(with_handlers(ctx, handlers)))) as connection:
        for exchange in trace.exchanges:
            connection.say(exchange.sent)
        connection.end()
    return [(one.call, one.is_chance) for one in found]


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """A database that was opened before."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("create table seen (who text)")
    yield connection
    connection.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_database_that_was_opened_before_is_seen(database: sqlite3.Connection, is_async: bool) -> None:
    """By the method of its connection."""
    asked = reached(lambda: database.execute("select * from seen"), is_async=is_async)
    assert asked == [("sqlite3.execute", False)]


@pytest.mark.parametrize(
    ("function", "call"),
    [
        (time.time, "time.time"),
        (lambda: datetime.now(UTC), "datetime.now"),
        (random.random, "random.random"),
    ],
)
def test_time_and_chance_are_seen(function: Callable[[], object], call: str) -> None:
    """They leave nothing behind, which is told."""
    assert reached(function) == [(call, True)]


def test_a_collection_of_garbage_is_nobodys_call() -> None:
    """It begins in any handler, and whoever listens to it may look at the clock, as Hypothesis does."""

    def listen(phase: str, info: dict[str, int]) -> None:
        time.perf_counter()

    gc.callbacks.append(listen)
    try:
        assert reached(gc.collect) == []
    finally:
        gc.callbacks.remove(listen)


def test_the_network_and_files_are_seen(tmp_path: Path) -> None:
    """A file that is only read is the filter's own business; a log record is none of the handler's."""
    path = tmp_path / "x"
    assert reached(lambda: path.write_text("x")) == [("open, to write", False)]
    assert reached(path.read_text) == []
    assert reached(lambda: logging.getLogger("x").warning("seen")) == []

    def ask() -> None:
        with socket.socket() as one, pytest.raises(OSError):
            one.connect(("127.0.0.1", 1))

    assert ("socket.connect", False) in reached(ask)


def test_what_a_profile_function_sees_is_told_on_any_python(database: sqlite3.Connection) -> None:
    """Coverage does not see profile functions and audit hooks at work, so they are called by hand."""
    found: list[OutsideCall] = []
    watch = OutsideWatch(found.append, stops=True)
    frame = sys._getframe()
    watch._profile(frame, "c_call", time.time)  # no handler runs
    watch._running = define_event_handlers({"mail": keep})["mail"]
    watch._profile(frame, "call", None)
    watch._profile(frame, "c_call", len)
    watch._profile(frame, "c_call", time.time)
    watch._profile(frame, "c_call", datetime.now)
    with pytest.raises(ReachedError, match=r"sqlite3\.execute is not played"):
        watch._profile(frame, "c_call", database.execute)
    with pytest.raises(ReachedError):
        watch._profile(frame, "c_call", database.execute)
    assert [one.call for one in found] == ["time.time", "datetime.now", "sqlite3.execute"]
    reaching._hear("socket.connect", ())
    reaching._HEARD.watch = watch
    try:
        reaching._hear("import", ())
        reaching._hear("open", ("x", "r", os.O_RDONLY))
        for event, arguments in (("socket.connect", ()), ("open", ("x", "w", os.O_WRONLY))):
            with pytest.raises(ReachedError):
                reaching._hear(event, arguments)
    finally:
        reaching._HEARD.watch = None


def test_a_shadow_that_has_reached_outside_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """Time and chance are no reason."""
    handlers = as_on_connect({"mail": keep})
    stage = shadowing._Stage(handlers, "tempfail", lambda found: None, outside=False)
    stage._reached(OutsideCall("f", "mail", "time.time", True))
    assert not caplog.records
    stage._reached(OutsideCall("f", "mail", "sqlite3.execute"))
    assert "not played any more: f at mail calls sqlite3.execute" in caplog.text


GREYLIST = """
import sqlite3
from demyjpy import *
handlers = define_event_handlers()
database = sqlite3.connect({path!r})
database.execute("create table if not exists seen (who text)")

@handlers.mail
def mail(event, ctx):
    database.execute("select who from seen")
    return ctx
"""


def test_replay_calls_no_filter_pure_that_asks_a_database(run: Run, tmp_path: Path) -> None:
    """It answers alike each time that it is played today; status 3 says that it need not tomorrow."""
    (tmp_path / "grey.py").write_text(GREYLIST.format(path=str(tmp_path / "db")))
    write(tmp_path / "t.jsonl", [Trace.of_steps(watched({"mail": keep}, *WHOLE)[0])])
    status, output, _ = run("replay", tmp_path / "t.jsonl", f"{tmp_path}/grey.py")
    assert status == 3
    assert output.splitlines()[0] == (
        "not pure: grey.mail at mail calls sqlite3.execute, seen in 1 session: what is outside of the "
        "session may be otherwise on another day"
    )
    assert run("replay", tmp_path / "t.jsonl", f"{tmp_path}/grey.py", "--once")[0] == 0
    assert run("replay", tmp_path / "t.jsonl", "--diff", *[f"{tmp_path}/grey.py"] * 2)[0] == 3


def counting(database: sqlite3.Connection) -> Any:
    """A filter that lets everybody pass once."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        count = database.execute("select count(*) from seen").fetchone()[0]
        database.execute("insert into seen values (?)", (event.sender,))
        return tempfail(ctx) if count else ctx

    handlers.end_of_message(lambda event, ctx: add_header(ctx, "X", "y"))
    return handlers


def test_a_shadow_does_not_use_up_what_the_live_filter_counts(
    database: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """The candidate is stopped at its first question, said so once, and not played any more."""
    shadowed = shadow(counting(database), counting(database))
    assert play(shadowed, LETTER, mta=Postfix()).is_delivered
    end = time.monotonic() + 10
    while "not played any more" not in caplog.text and time.monotonic() < end:
        time.sleep(0.01)
    assert database.execute("select count(*) from seen").fetchone()[0] == 1
    play(shadowed, LETTER, mta=Postfix())
    assert database.execute("select count(*) from seen").fetchone()[0] == 2
    (record,) = [one.getMessage() for one in caplog.records if "shadow" in one.getMessage()]
    assert "counting.<locals>.mail at mail calls sqlite3.execute" in record


def test_a_candidate_that_may_reach_outside_does(database: sqlite3.Connection) -> None:
    """Whoever says so."""
    shadowed = shadow(define_event_handlers({"mail": keep}), counting(database), outside=True)
    play(shadowed, LETTER, mta=Postfix())
    end = time.monotonic() + 10
    while not database.execute("select count(*) from seen").fetchone()[0] and time.monotonic() < end:
        time.sleep(0.01)
    assert database.execute("select count(*) from seen").fetchone()[0] == 1

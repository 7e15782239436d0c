"""`demyjpy check --play`: handlers that wait, and those that do not end, are stopped."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demyjpy import Accept, Connect, define_event_handlers, send_action
from demyjpy.cli import check_watch
from demyjpy.context import new_context
from demyjpy.engine.macros import NO_MACROS
from demyjpy.registry import Handler

Run = Callable[..., tuple[int, str, str]]
Check = Callable[..., tuple[int, list[str], list[str]]]


def test_what_may_block_is_found_and_stopped(check: Check) -> None:
    """By what Python tells of; whether or not the handler sees the error."""
    text = """
        @handlers.connect
        def connect(event, ctx):
            time.sleep(1)

        @handlers.hello
        def hello(event, ctx):
            try:
                socket.create_connection(("192.0.2.1", 25))
            except OSError:
                pass
            return ctx

        @handlers.mail(blocking=True)
        def mail(event, ctx):
            try:
                subprocess.run(["true"])
            except OSError:
                pass
            return ctx

        @handlers.recipient
        async def recipient(event, ctx):
            try:
                await asyncio.open_connection("192.0.2.1", 25)
            except OSError:
                pass
            return ctx

        @handlers.end_of_message
        async def end(event, ctx):
            time.sleep(1)
            return ctx
        """
    status, problems, _ = check(text)
    assert status == 1
    advice = "; declare blocking=True, or await it"
    assert [problem.removesuffix(advice) for problem in problems] == [
        "connect: played_filter.connect may block: it calls time.sleep",
        "hello: played_filter.hello may block: it calls socket.getaddrinfo",
        "end_of_message: played_filter.end may block: it calls time.sleep",
    ]


def test_threads_may_block(check: Check) -> None:
    """Each has its own connection."""
    text = """
        @handlers.connect
        def connect(event, ctx):
            time.sleep(1)
        """
    assert check(text, "--driver", "threads")[:2] == (0, [])


def test_what_was_stopped_was_not_tried(check: Check, run: Run, tmp_path: Path) -> None:
    """A filter that asks the network: what it does with the answer is unknown, and that is said."""
    check(
        """
        @handlers.mail(blocking=True)
        def mail(event, ctx):
            socket.create_connection(("192.0.2.1", 25))
            return ctx
        """
    )
    status, output, _ = run("check", "played_filter.py", "--play")
    assert status == 0
    assert "Nothing wrong found in what was tried." in output
    assert "mail: played_filter.mail was stopped at socket.getaddrinfo: what it does" in output


def test_playing_ends_in_time(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """No session is begun after it."""
    monkeypatch.setattr(check_watch, "LONGEST", -1.0)
    text = "@handlers.mail\ndef mail(event, ctx):\n    return ctx\n"
    assert check(text)[2][-1] == "--play: time ran out after 0 sessions: too few to say much"


@pytest.mark.parametrize(
    "handler",
    [
        "def mail(event, ctx):\n    while True: pass",
        "async def mail(event, ctx):\n    while True: pass",
        "async def mail(event, ctx):\n    await asyncio.Event().wait()",
        "def mail(event, ctx):\n    while True:\n        try: int()\n        except Exception: pass",
    ],
)
def test_a_handler_that_does_not_end_is_stopped(
    check: Check, monkeypatch: pytest.MonkeyPatch, handler: str
) -> None:
    """It is named, and that nothing can be said of the others."""
    monkeypatch.setattr(check_watch, "LONGEST", 0.5)
    before = signal.getsignal(signal.SIGALRM)
    status, problems, notes = check(f"@handlers.mail\n{handler}\n")
    assert status == 1
    (problem,) = problems
    assert problem.startswith("mail: played_filter.mail fails: it had not ended after 0.")
    assert notes[-1] == (
        "--play: time ran out after 0 sessions, in played_filter.mail at mail: too few to say much"
    )
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_who_runs_when_the_time_is_over_need_not_be_wrong() -> None:
    """Many quick calls use the time up as well; between two calls nothing is stopped."""
    watch = check_watch.Watch()
    watch.ring()
    seen = watch.running = check_watch.Seen(Handler("mail", lambda event, ctx: ctx))
    watch.since = time.monotonic()
    with pytest.raises(check_watch.OutOfTimeError, match=r"no more time, and stops .*lambda> at mail"):
        watch.ring()
    assert (watch.held_up, seen.failure) == (seen, "")


def test_sleep_that_is_awaited_is_stopped_but_no_problem(check: Check) -> None:
    """It costs no time, and does not block; nor does what a handler makes of the error count."""
    status, problems, _ = check(
        """
        @handlers.mail
        async def mail(event, ctx):
            await asyncio.sleep(1_000_000)
            return ctx

        @handlers.recipient
        async def recipient(event, ctx):
            try:
                await asyncio.sleep(1_000_000)
            except OSError as error:
                raise LookupError from error
        """
    )
    assert (status, problems) == (0, [])


def test_playing_in_another_thread_has_no_alarm(check: Check) -> None:
    """Signals are for the main thread; a filter that ends by itself is played all the same."""
    found: list[Any] = []
    text = "@handlers.mail\ndef mail(event, ctx):\n    return ctx\n"
    thread = threading.Thread(target=lambda: found.append(check(text)))
    thread.start()
    thread.join()
    assert found[0][:2] == (0, [])


def test_sleep_is_stopped_on_any_python() -> None:
    """Coverage does not see profile functions at work."""
    watch = check_watch.Watch()
    frame = sys._getframe()
    watch.profile(frame, "c_call", time.sleep)
    watch.running = check_watch.Seen(Handler("mail", lambda event, ctx: ctx))
    watch.profile(frame, "c_call", len)
    with pytest.raises(check_watch.StoppedError, match=r"time\.sleep is not played"):
        watch.profile(frame, "c_call", time.sleep)
    for delay in (0, 1):
        inside = SimpleNamespace(f_code=asyncio.sleep.__code__, f_locals={"delay": delay})
        with (
            pytest.raises(check_watch.StoppedError, match=r"asyncio\.sleep") if delay else nullcontext()
        ):
            watch.profile(inside, "call", None)
    assert watch.running.waits == {"time.sleep"}
    asking = SimpleNamespace(f_code=send_action.__code__, f_locals={"actions": (Accept(),)})
    watch.profile(asking, "call", None)
    assert list(watch.asked) == [Accept()]
    watch.thread = 0
    watch.running.waits.clear()
    with pytest.raises(check_watch.StoppedError):
        watch.hear("socket.connect", ())
    assert watch.running.waits == set()


def test_a_handler_whose_questions_were_asked_does_not_run_yet() -> None:
    """While its answers are awaited, or the next session is made, no alarm stops anybody."""
    watch = check_watch.Watch()
    handlers = define_event_handlers()
    handlers.connect(lambda event, ctx: ctx, asking=lambda event, ctx: {})
    handler = watch._wrapped(0, handlers["connect"])
    assert handler.asking is not None
    for one in (handler.asking, handler.function):
        one(Connect("host"), new_context().set("macros", NO_MACROS))
        assert watch.running is None
        watch.ring()
    assert watch.seen[0, "connect"].runs == 1

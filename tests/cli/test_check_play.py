"""`demyjpy check --play`: what a filter does when sessions are played at it."""

import asyncio
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

from demyjpy import Accept, send_action
from demyjpy.cli import check_findings, check_play, check_watch
from demyjpy.registry import Handler

Run = Callable[..., tuple[int, str, str]]
Check = Callable[..., tuple[int, list[str], list[str]]]

HEAD = """
import asyncio, os, socket, subprocess, sys, time
from demyjpy import *
handlers = define_event_handlers(macros={"recipient": ("{rcpt_host}",)})
"""


@pytest.fixture
def check(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, list[str], list[str]]]]:
    """Checks a filter of that text: exit status, problems, notes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(check_play, "_GENERATED", 3)

    def check(text: str, *options: str) -> tuple[int, list[str], list[str]]:
        (tmp_path / "played_filter.py").write_text(HEAD + dedent(text))
        status, output, _ = run("check", "played_filter.py", "--play", "--json", *options)
        found = json.loads(output)
        return status, found["problems"], found["notes"]

    yield check
    sys.modules.pop("played_filter", None)


def test_a_filter_that_is_right_stays_right(check: Check) -> None:
    """Nothing but how many sessions were played; both kinds of handlers."""
    status, problems, notes = check(
        """
        macros = {"recipient": ("{rcpt_host}",)}
        handlers = define_event_handlers(actions={"add_header"}, macros=macros)

        @handlers.recipient
        def recipient(event, ctx):
            return ctx.set("host", get_macro(ctx, "rcpt_host"))

        @handlers.body
        async def body(event, ctx):
            await asyncio.sleep(0)
            return skip(ctx)

        @handlers.options
        def options(event, ctx):
            return default_event_handler(event, ctx)

        @handlers.end_of_message
        def end(event, ctx):
            return add_header(ctx, "X-Host", "x")
        """
    )
    assert (status, problems) == (0, [])
    assert notes[-1].startswith("--play: ")
    assert notes[-1].endswith(" sessions were played")


def test_no_handler_runs_unless_asked(run: Run, tmp_path: Path) -> None:
    """Without the option."""
    path = tmp_path / "silent_filter.py"
    path.write_text(HEAD + "@handlers.mail\ndef mail(event, ctx):\n    raise ValueError\n")
    assert run("check", path)[0] == 0


def test_actions_that_are_not_declared_are_found(check: Check) -> None:
    """Also those of a merged filter."""
    status, problems, _ = check(
        """
        other = define_event_handlers()

        @other.end_of_message
        def end(event, ctx):
            return send_action(add_header(ctx, "X", "y"), Quarantine("held"))

        handlers = merge_handlers(handlers, other)
        """
    )
    assert status == 1
    assert len(problems) == 2
    assert problems[1] == (
        "end_of_message: played_filter.end queues quarantine, which is not declared: add it to actions="
    )


def test_macros_that_were_not_asked_for_are_noted(check: Check) -> None:
    """Those asked for at an earlier event may be read."""
    status, _, notes = check(
        """
        @handlers.end_of_message
        def end(event, ctx):
            get_macro(ctx, "{rcpt_host}")
            return ctx if get_macro(ctx, "auth_authen") else ctx

        @handlers.disconnect
        def disconnect(event, ctx):
            get_macro(ctx, "j")
            return ctx
        """
    )
    assert status == 0
    assert notes[-3].startswith("end_of_message: played_filter.end reads {auth_authen}, not asked for")
    assert notes[-2].startswith("disconnect: played_filter.disconnect reads j, not asked for")


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


def test_handlers_that_never_run_are_noted(check: Check) -> None:
    """With the handler that has ended each message before; that is no problem: others may come."""
    status, problems, notes = check(
        """
        other = define_event_handlers()

        @handlers.mail
        def mail(event, ctx):
            return accept(ctx)

        @handlers.end_of_message
        def end(event, ctx):
            return ctx

        @other.end_of_message
        def also(event, ctx):
            return ctx

        @other.abort
        def abort(event, ctx):
            return ctx

        handlers = merge_handlers(handlers, other)
        """
    )
    assert (status, problems) == (0, [])
    count = notes[-1].split()[1]
    (note,) = [note for note in notes if " did not run " in note]
    assert note == (
        f"end_of_message: played_filter.end did not run in the {count} sessions played: "
        "played_filter.mail at mail said accept each time"
    )


def test_clients_come_from_where_a_filter_looks(check: Check) -> None:
    """Addresses and networks in its functions: else one for some network would seem to do nothing."""
    status, problems, notes = check(
        """
        import ipaddress
        far = ipaddress.ip_network("2001:db8:7::/48")

        @handlers.connect
        def connect(event, ctx):
            if not event.address:
                return accept(ctx)
            near = ipaddress.ip_network("172.16.0.0/16")
            return ctx if event.address in near or event.address in far else accept(ctx)

        @handlers.mail
        def mail(event, ctx):
            return ctx
        """
    )
    assert (status, problems) == (0, [])
    assert not [note for note in notes if " did not run " in note]


def test_a_verdict_that_falls_now_and_then_is_not_the_reason() -> None:
    """Only one that always falls is."""
    handler: Handler[Any] = Handler("mail", lambda event, ctx: ctx)
    seen = {
        (0, "mail"): check_watch.Seen(handler, 2, {"accept": 1}),
        (0, "body"): check_watch.Seen(handler),
    }
    assert list(check_findings._never(check_watch.Watch(seen=seen), (0, "body"), 2)) == []


def test_failures_are_found(check: Check) -> None:
    """An exception, the end of the program, no context; each once."""
    end_at_once = os._exit
    status, problems, _ = check(
        """
        @handlers.mail
        def mail(event, ctx):
            return {}[event.sender]

        @handlers.connect
        def connect(event, ctx):
            return None

        @handlers.hello
        async def hello(event, ctx):
            sys.exit(3)

        @handlers.data
        def data(event, ctx):
            os._exit(0)
        """
    )
    assert status == 1
    assert os._exit is end_at_once
    assert [problem.partition(" fails: ")[0] for problem in problems] == [
        "connect: played_filter.connect",
        "hello: played_filter.hello",
        "mail: played_filter.mail",
        "data: played_filter.data",
    ]
    assert problems[3].endswith("SystemExit: os._exit(0) would end the milter at once")
    assert problems[0].endswith("no context came back, but None")
    assert problems[1].endswith("SystemExit: 3")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ("mail(reply=False)|return reject(ctx)", "mail: played_filter.f fails: LocalProtocolError: "),
        ("mail|return accept(reject(ctx))", "mail: played_filter.f fails: LocalProtocolError: "),
        ("mail|return add_header(ctx, 'X', 'y')", "mail: played_filter.f fails: LocalProtocolError: "),
        ("quit|return ctx.set('queue', ('no action',))", "quit: played_filter.f fails: "),
        (
            "end_of_message|add_header(ctx, 'X', 'y'); return ctx",
            "end_of_message: played_filter.f asks",
        ),
    ],
)
def test_plans_that_can_never_be_sent_are_found(check: Check, handler: str, words: str) -> None:
    """What the engine refuses at runtime, and an action whose context is dropped."""
    event, _, body = handler.partition("|")
    end = "" if event == "end_of_message" else "handlers.end_of_message(lambda event, ctx: ctx)"
    status, problems, _ = check(
        f"""
        handlers = define_event_handlers(actions={{"add_header"}})

        @handlers.{event}
        def f(event, ctx):
            {body}

        {end}
        """
    )
    assert status == 1
    (problem,) = problems
    assert problem.startswith(words)


def test_an_action_of_another_branch_is_no_problem(check: Check) -> None:
    """Two contexts are made, and one is chosen."""
    text = """
        handlers = define_event_handlers(actions={"add_header"})

        @handlers.end_of_message
        def end(event, ctx):
            one, other = add_header(ctx, "X", "1"), add_header(ctx, "X", "2")
            return one
        """
    assert check(text)[:2] == (0, [])


def test_mutable_state_is_noted_and_its_change_a_problem(check: Check) -> None:
    """A list that a handler appends to is seen by the next client; one that is read is not wrong."""
    text = """
        handlers = define_event_handlers(state={"rcpts": [], "table": {"a": 1}, "odd": [Odd()]})

        @handlers.recipient
        def recipient(event, ctx):
            ctx["rcpts"].append(event.address)
            return ctx
        """
    odd = "class Odd:\n    def __deepcopy__(self, memo): raise TypeError\n"
    status, problems, notes = check(odd + dedent(text))
    assert status == 1
    (problem,) = problems
    assert problem == (
        "state: handlers change the list under 'rcpts', which all messages and clients share: keep an "
        "immutable value there and return ctx.set(...)"
    )
    assert [note.split(",")[0] for note in notes if note.startswith("state: ")] == [
        "state: 'odd' is a list",
        "state: 'rcpts' is a list",
        "state: 'table' is a dict",
    ]


def test_declared_actions_that_no_session_queued_are_noted(check: Check) -> None:
    """They may be for mail that was not played: it is for the author to know."""
    status, problems, notes = check(
        """
        handlers = define_event_handlers(actions={"add_header", "quarantine"})

        @handlers.end_of_message
        def end(event, ctx):
            return add_header(ctx, "X", "y")
        """
    )
    assert (status, problems) == (0, [])
    count = notes[-1].split()[1]
    assert f"declared in actions=, and queued in none of {count} sessions: quarantine" in notes


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


def test_one_session_is_told_as_one() -> None:
    """And several as several."""
    assert check_play._played(1, True, None) == "--play: 1 session was played"
    assert check_play._played(2, True, None) == "--play: 2 sessions were played"


def test_a_filter_that_is_wrong_is_not_played(check: Check) -> None:
    """There is enough to be said about it."""
    status, problems, notes = check("handlers = define_event_handlers()\n")
    assert (status, len(problems)) == (1, 1)
    assert notes[-1] == "--play: not played, for it is wrong already"


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


def test_without_hypothesis_it_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, with status 2."""
    path = tmp_path / "plain_filter.py"
    path.write_text(HEAD + "@handlers.mail\ndef mail(event, ctx):\n    return ctx\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, _, errors = run("check", path, "--play")
    assert status == 2
    assert errors == "demyjpy check: --play needs Hypothesis: pip install 'demyjpy[hypothesis]'\n"

"""`demyjpy check --play`: what a filter does when sessions are played at it."""

import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from demyjpy import Recipient, define_event_handlers
from demyjpy.cli import check_conclusions, check_play, check_watch
from demyjpy.context import new_context
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.registry import Handler
from tests.cli.filters import HEAD

Run = Callable[..., tuple[int, str, str]]
Check = Callable[..., tuple[int, list[str], list[str]]]


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


KEYS = """
    one = define_event_handlers(name="one", state={"k": 0})
    two = define_event_handlers(name="two")

    @one.mail
    def first(event, ctx):
        return remember(ctx, last=event.sender)

    @two.mail
    def second(event, ctx):
        return ctx.set("k", 1)

    @two.recipient
    def third(event, ctx):
        return remember(ctx, last=event.address)

    handlers = merge_handlers(one, two)
"""

PLACES = """
    one = define_event_handlers(name="one", actions={"add_header"})
    two = define_event_handlers(name="two", actions={"add_header"})

    @one.end_of_message
    def first(event, ctx):
        return insert_header(ctx, 2, "X", "y")

    @two.end_of_message
    def second(event, ctx):
        return add_header(ctx, "Y", "z")

    handlers = merge_handlers(one, two)
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (KEYS, ("mail: two: played_filter.second fails: .* the key 'k' alone, which belongs to one",
                "recipient: two: played_filter.third fails: .* remembered under 'last' .* to one")),
        (PLACES, ("end_of_message: one: played_filter.first fails: .* the index of X must be 0",)),
    ],
)  # fmt: skip
def test_what_merged_filters_may_not_do_is_found(
    check: Check, text: str, words: tuple[str, ...]
) -> None:
    """Keys that belong to another filter, and places of fields that a chain does not have."""
    status, problems, _ = check(text)
    assert status == 1
    assert len(problems) == len(words)
    assert all(re.match(one, problem) for one, problem in zip(words, problems, strict=True))


def test_what_only_if_reads_is_no_reading_of_the_filters(check: Check) -> None:
    """Whether the MTA refused the recipient; what the filter itself reads is noted."""
    _, problems, notes = check(
        """
        other = define_event_handlers({"recipient": lambda event, ctx: ctx})
        handlers = only_if(lambda event, ctx: hasattr(event, "address") or None, other)
        """
    )
    assert problems == []
    assert len(notes) == 1, notes


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
    assert list(check_conclusions._never(check_watch.Watch(seen=seen), (0, "body"), 2)) == []


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
        handlers = define_event_handlers(
            actions={"add_header", "quarantine"}, optional_actions={"change_body"}
        )

        @handlers.end_of_message
        def end(event, ctx):
            return add_header(ctx, "X", "y")
        """
    )
    assert (status, problems) == (0, [])
    never = f"and queued in none of {notes[-1].split()[1]} sessions"
    assert f"declared in actions=, {never}: quarantine" in notes
    assert f"declared in optional_actions=, {never}: change_body" in notes


def test_notes_of_a_pymilter_filter_have_its_names(check: Callable[..., Any]) -> None:
    """All edits are optional there: only those of set_flags are worth a note."""
    _, _, notes = check(
        """
        import demyjpy.pymilter as Milter

        class Asking(Milter.Base):
            def eom(self):
                self.getsymval("{auth_authen}")
                return Milter.CONTINUE

        handlers = Milter.filter_of(Asking, flags=Milter.ADDHDRS)
        """
    )
    assert (
        f"asked for with flags=, and queued in none of {notes[-1].split()[1]} sessions: add_header"
        in notes
    )
    assert any("not asked for with @Milter.symlist" in one for one in notes)
    assert not any("change_body" in one or "macros=" in one for one in notes)


def test_one_session_is_told_as_one() -> None:
    """And several as several."""
    assert check_play._played(1, True, None) == "--play: 1 session was played"
    assert check_play._played(2, True, None) == "--play: 2 sessions were played"


def test_a_filter_that_is_wrong_is_not_played(check: Check) -> None:
    """There is enough to be said about it."""
    status, problems, notes = check("handlers = define_event_handlers()\n")
    assert (status, len(problems)) == (1, 1)
    assert notes[-1] == "--play: no session was played, because of the problems above"


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


def test_a_handler_whose_watch_has_ended_stays_as_it_was() -> None:
    """When its time is over while ``asking=`` runs, the watch ends first."""
    watch = check_watch.Watch()
    made = define_event_handlers()

    def asking(event: Any, ctx: Any) -> Any:
        watch.end()
        return {}

    made.recipient(asking=asking)(lambda event, ctx: ctx)
    ctx = watch.watched(as_on_connect(made)(new_context()))
    wrapped = ctx["handlers"]["recipient"]
    assert wrapped.asking(Recipient("bob@example.org"), ctx) == {}
    assert [seen.runs for seen in watch.seen.values()] == [1]

"""A shadow: the candidate runs on the same events, is never felt, and differences are told."""

import queue
import threading
from typing import Any

import pytest

from demyjpy import (
    Data,
    Disconnect,
    Options,
    Reject,
    accept,
    define_event_handlers,
    merge_handlers,
    reject,
    running,
    with_handlers,
)
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.server import Server
from demyjpy.trace import shadow
from demyjpy.trace.replay.comparing import MessageDifference
from demyjpy.trace.rollout import shadow as shadowing
from tests.engine.harness import ABORT, OPENING, QUIT, Session, keep, macros
from tests.integration.ports import wait_until
from tests.trace.sessions import tagger

LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()
PATIENCE = 20.0


class Told:
    """What was reported; a last session, whose difference is known, says that all before is through."""

    def __init__(self) -> None:
        self.found: queue.SimpleQueue[MessageDifference] = queue.SimpleQueue()

    def __call__(self, difference: MessageDifference) -> None:
        self.found.put(difference)

    def next(self) -> MessageDifference:
        return self.found.get(timeout=PATIENCE)


def differing(handlers: Any, told: Told, *scripts: Any) -> list[MessageDifference]:
    """Play these, then one that differs for certain: what came before that."""
    for script in (*scripts, session().mail("last@example.org").rcpt("b@c").message()):
        run(handlers, script, mta=Postfix())
    found = []
    while (one := told.next()).old.sender != "last@example.org":
        found.append(one)
    return found


def last_refused(handlers: Any) -> Any:
    """The same filter, which refuses the last message."""
    last = define_event_handlers()

    @last.mail
    def refuse(event: Any, ctx: Any) -> Any:
        return reject(ctx) if event.sender == "last@example.org" else ctx

    return merge_handlers(handlers, last)


def test_the_live_filter_answers_and_differences_are_told() -> None:
    """What both make of a message; nothing where that is the same."""
    told = Told()
    both = shadow(tagger("live"), last_refused(tagger("other")), report=told)
    result = run(both, LETTER, mta=Postfix())
    assert result.actions == run(tagger("live"), LETTER, mta=Postfix()).actions
    (one,) = [told.next()]
    assert one.kinds == ("headers",)
    assert (one.old.sender, one.new.sender) == ("ann@example.org", "ann@example.org")
    same = Told()
    bad = session().mail("a@b").rcpt("bad@b").rcpt("c@d").message()
    again = shadow(tagger("live"), last_refused(tagger("live")), report=same)
    assert differing(again, same, LETTER, bad, session().mail("given@up").drop()) == []


def test_a_candidate_that_always_fails_is_not_felt() -> None:
    """Its failures are differences; async ones, too."""

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError("candidate")

    async def fail_late(event: Any, ctx: Any) -> Any:
        raise ValueError("candidate")

    told = Told()
    events = dict.fromkeys(("connect", "header", "abort", "disconnect"), fail)
    broken = define_event_handlers({**events, "mail": fail_late})
    result = run(shadow(tagger(), broken, report=told), LETTER, mta=Postfix())
    assert result.is_delivered
    assert result.troubles == ()
    assert (told.next().new.outcome) == "tempfailed"


def test_a_candidate_that_hangs_is_not_felt() -> None:
    """The live filter has answered long before."""
    released = threading.Event()

    def hang(event: Any, ctx: Any) -> Any:
        released.wait(PATIENCE)
        return reject(ctx)

    told = Told()
    result = run(
        shadow(tagger(), define_event_handlers({"mail": hang}), report=told), LETTER, mta=Postfix()
    )
    assert result.is_delivered
    assert told.found.empty()
    released.set()
    assert told.next().new.verdict == Reject()


def test_verdicts_of_several_live_filters_are_one() -> None:
    """The strictest; async and refusing ones; a candidate that would not is told."""

    async def refuse(event: Any, ctx: Any) -> Any:
        return reject(ctx)

    mild = define_event_handlers({"end_of_message": lambda event, ctx: accept(ctx), "mail": keep})
    strict = define_event_handlers({"end_of_message": refuse})
    told = Told()
    both = shadow(merge_handlers(mild, strict), merge_handlers(mild), report=told)
    assert run(both, LETTER, mta=Postfix()).verdict == Reject()
    one = told.next()
    assert (one.old.outcome, one.new.outcome) == ("rejected", "accepted")


def test_a_live_filter_that_fails_is_not_compared() -> None:
    """Nobody knows what it was answered with."""

    def fail(event: Any, ctx: Any) -> Any:
        if event.sender == "ann@example.org":
            raise ValueError("live")
        return ctx

    told = Told()
    both = shadow(define_event_handlers({"mail": fail}), last_refused(tagger()), report=told)
    opened = Session.open(both)
    ann = (ord("M"), b"<ann@example.org>\0")
    opened.say(*OPENING, macros("M", i="Q"), ann, ABORT, QUIT)
    opened.hang_up()
    assert differing(both, told) == []


def test_live_handlers_that_return_nonsense_are_the_engines(caplog: pytest.LogCaptureFixture) -> None:
    """As without a shadow."""
    told = Told()
    both = shadow(define_event_handlers({"mail": lambda event, ctx: 5}), tagger(), report=told)
    assert len(run(both, LETTER, mta=Postfix()).troubles) == 1


def test_a_candidate_that_cannot_begin_is_told_once_a_message() -> None:
    """It never answers: the message is as if given up."""
    needy = define_event_handlers({"mail": keep}, actions={"add_header"})
    needy.options(lambda event, ctx: 1 / 0)
    told = Told()
    assert run(shadow(tagger(), needy, report=told), LETTER, mta=Postfix()).is_delivered
    assert told.next().new.outcome == "undecided"


def test_a_report_that_fails_leaves_the_session_out(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing else."""
    told = Told()

    def fail_once(found: MessageDifference) -> None:
        told(found)
        if found.old.sender == "ann@example.org":
            raise ValueError("report")

    both = shadow(tagger("live"), last_refused(tagger("other")), report=fail_once)
    assert len(differing(both, told, LETTER)) == 1
    wait_until(lambda: "is left out" in caplog.text, "the log")


def test_a_difference_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing else is chosen; under a real server."""
    with running(shadow(tagger("live"), tagger("other"))) as address:
        Server(address).run(LETTER, mta=Postfix())
    wait_until(lambda: "with the candidate (headers)" in caplog.text, "the log")


def test_what_the_thread_cannot_keep_up_with_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once told; later sessions are compared again."""
    released = threading.Event()

    def hang(event: Any, ctx: Any) -> Any:
        released.wait(PATIENCE)
        return ctx

    told = Told()
    slow = merge_handlers(tagger("other"), define_event_handlers({"connect": hang}))
    both = shadow(tagger("live"), last_refused(slow), report=told)
    monkeypatch.setattr(shadowing, "_MOST", 4)
    assert run(both, LETTER, mta=Postfix()).is_delivered
    assert caplog.text.count("does not keep up") == 1
    monkeypatch.setattr(shadowing, "_MOST", 20_000)
    released.set()
    assert differing(both, told) == []


def test_sessions_that_are_left_out_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come while the candidate hangs; of one that had begun, the end is kept."""
    released = threading.Event()

    def begin(ctx: Any) -> Any:
        released.wait(PATIENCE)
        return with_handlers(ctx, tagger())

    monkeypatch.setattr(shadowing, "_MOST", 4)
    stage = shadowing._Stage(begin, "tempfail", Told(), outside=False)
    offered, end = Options(6, 0x1FF, 0x1FFFFF), Disconnect()
    stage._put(shadowing._Said("begun", offered, None))
    for number in range(50):
        for event in (offered, Data(), end):
            stage._put(shadowing._Said(str(number), event, None))
    assert stage._writer.waiting == 4
    stage._put(shadowing._Said("begun", Data(), None))
    stage._put(shadowing._Said("begun", end, None))
    assert stage._writer.waiting == 5
    assert stage._lost == {}
    released.set()
    assert stage._writer.wait(PATIENCE)


def test_a_session_that_began_unseen_is_passed_over() -> None:
    """There is nothing to compare it with."""
    stage = shadowing._Stage(as_on_connect(tagger()), "tempfail", Told(), outside=False)
    stage._play(shadowing._Said("unknown", Data(), None))

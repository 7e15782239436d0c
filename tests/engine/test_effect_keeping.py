"""Effects are kept before the verdict leaves, or the verdict is another one."""

from typing import Any

import pytest
from attrs import frozen

from demyjpy import (
    Message,
    accept,
    add_header,
    define_event_handlers,
    discard,
    do,
    merge_handlers,
    note,
    reject,
    tempfail,
    with_policy,
)
from demyjpy import actions as act
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.hot_path import Line
from demyjpy.engine.owed_effects import messages_in, release_messages
from demyjpy.engine.pipeline import as_on_connect, hang_up, open_connection, resume, run_call
from demyjpy.engine.tape import Stretch, Tape
from tests.engine.harness import BODY, EOM, HEADER, MAIL, MESSAGE, OPENING, QUIT, RCPT, Session, join
from tests.engine.test_tape import play, played, seen
from tests.trace.live.test_tapes import of

WHENS: Any = ("accepted", "refused", "ended")


@frozen
class Effect:
    """One of them."""

    text: str

    def perform(self, resources: Any) -> None:
        """Never called here."""
        raise AssertionError


class Place:
    """Where effects are kept, unless it is full; what has happened there, in order."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.is_full = is_full
        self.happened: list[Any] = []
        self.sessions: set[str] = set()

    def keeper(self, due: Any, session: str) -> Any:
        """What keeps these."""
        self.sessions.add(session)
        return Keeper(self, [one.request.effect.text for one in due])


class Keeper:
    """Keeps some."""

    def __init__(self, place: Place, texts: list[str]) -> None:
        self._place, self._texts = place, texts

    def keep(self) -> None:
        """Unless there is no room."""
        if self._place.is_full:
            raise OSError(28, "No space left on device")
        self._place.happened.append(self._texts)

    def leave(self) -> None:
        """They do not count."""
        self._place.happened.append("left")


def asking(event: str = "end_of_message", decide: Any = lambda ctx: ctx, **declared: Any) -> Any:
    """A filter that asks for an effect for each fate, and decides."""

    def handler(_: Any, ctx: Any) -> Any:
        for when in WHENS:
            ctx = do(ctx, Effect(when), when)
        return decide(ctx)

    return define_event_handlers({event: handler}, edits="all", **declared)


def told(handlers: Any, place: Place, *packets: Any, **setup: Any) -> tuple[Session, list[Any]]:
    """A session up to the end of a message, and the answers to that."""
    session = Session.open(handlers, keep_effects=place.keeper, **setup)
    session.say(*OPENING, *(packets or MESSAGE)[:-1])
    return session, session.answers((packets or MESSAGE)[-1])


def test_what_is_due_is_kept_before_the_verdict_leaves() -> None:
    """It is handed out as a handler that blocks; until it is back nothing is sent, and nothing done."""
    place = Place()
    session = Session.open(asking(), keep_effects=place.keeper)
    session.say(*OPENING, *MESSAGE[:-1])
    assert session.feed(join([EOM])) == b""
    call = session.connection.call
    assert call is not None
    assert call.handler.name.endswith("Ending.keep_effects")
    assert call.handler.blocking
    assert session.connection.requests == ()
    assert place.happened == []
    assert session.call() == join([(ord("c"), b"")])
    assert place.happened == [["accepted", "ended"]]
    assert place.sessions == {"session"}
    texts = [one.request.effect.text for one in session.connection.requests]  # type: ignore[attr-defined]
    assert texts == ["accepted", "ended"]


@pytest.mark.parametrize("decide", [reject, tempfail, discard])
@pytest.mark.parametrize("event", ["mail", "header", "end_of_message"])
def test_those_of_a_refusal_are_kept_too(event: str, decide: Any) -> None:
    """Before the refusal leaves."""
    place = Place()
    at = {"mail": MAIL, "header": HEADER, "end_of_message": EOM}[event]
    packets = MESSAGE[: MESSAGE.index(at) + 1]
    session, answers = told(asking(event, decide), place, *packets)
    assert len(answers) == 1
    assert place.happened == [["refused", "ended"]]
    assert session.errors == []


def test_nobody_waits_if_nothing_is_due() -> None:
    """Without effects, or with none for this fate; or without a place for them."""
    place = Place()
    quiet = define_event_handlers({"mail": lambda event, ctx: do(ctx, Effect("x"), "refused")})
    told(quiet, place)
    told(define_event_handlers({"end_of_message": lambda event, ctx: ctx}), place)
    assert play(of(asking()), [join(OPENING + MESSAGE)])
    assert place.happened == []


def test_if_they_cannot_be_kept_the_message_is_deferred() -> None:
    """No edit is sent, what is for an accepted one is dropped, and the log says why, once."""
    place = Place(is_full=True)
    handlers = asking(decide=lambda ctx: add_header(ctx, "X-A", "b"))
    session, answers = told(handlers, place)
    assert answers == [act.TemporaryFailure()]
    assert place.happened == ["left"]
    texts = [one.request.effect.text for one in session.connection.requests]  # type: ignore[attr-defined]
    assert texts == ["refused", "ended"]
    (trouble,) = session.troubles
    assert str(trouble.error) == (
        "expected effects to be kept before the verdict leaves, got OSError: [Errno 28] No space left "
        "on device"
    )
    assert trouble.event == "end_of_message"
    place.is_full = False
    assert session.answers(*MESSAGE)[-1] == act.Continue()


def failing(error: Exception, event: Any, ctx: Any) -> Any:
    """An ``on_error`` that fails."""
    raise error


POLICIES: list[tuple[Any, Any]] = [
    ("tempfail", act.TemporaryFailure()),
    ("accept", act.TemporaryFailure()),
    ("reject", act.Reject()),
    (lambda error, event, ctx: reject(note(ctx, "no"), "5.3.0", "Full", code=554), "5.3.0"),
    (lambda error, event, ctx: accept(ctx), act.TemporaryFailure()),
    (lambda error, event, ctx: ctx, act.TemporaryFailure()),
    (failing, act.TemporaryFailure()),
]


@pytest.mark.parametrize(("on_error", "expected"), POLICIES)
def test_on_error_says_how_it_is_refused(on_error: Any, expected: Any) -> None:
    """It may not let it through: its effect would be lost. That of a filter comes first."""
    for usual, handlers in ((on_error, asking()), ("accept", with_policy(asking(), on_error=on_error))):
        session, answers = told(handlers, Place(is_full=True), on_error=usual)
        (answer,) = answers
        assert expected in (answer, getattr(answer, "enhanced", None))
        assert len(session.errors) == 1 + (on_error is failing)


@pytest.mark.parametrize(
    ("decide", "expected"), [(reject, act.Reject()), (tempfail, act.TemporaryFailure())]
)
def test_a_refusal_stays_though_its_effects_cannot_be_kept(decide: Any, expected: Any) -> None:
    """The client keeps the mail. Only if it was to be discarded, it is asked to come again."""
    session, answers = told(asking(decide=decide), Place(is_full=True), on_error="reject")
    assert answers == [expected]
    assert len(session.connection.requests) == 2
    _, answers = told(asking(decide=discard), Place(is_full=True))
    assert answers == [act.TemporaryFailure()]


def test_a_filter_that_is_only_tried_refuses_nothing() -> None:
    """Its effects are left to the driver; those of another filter count."""
    tried = with_policy(asking(name="tried"), enforce=False)
    session, answers = told(tried, Place(is_full=True))
    assert answers == [act.Continue()]
    assert len(session.connection.requests) == 2
    assert len(session.errors) == 1
    session, answers = told(merge_handlers(tried, asking(name="other")), Place(is_full=True))
    assert answers == [act.TemporaryFailure()]


@pytest.mark.parametrize("outcome", ["kept", "full", "late"])
def test_a_peer_that_goes_meanwhile_changes_nothing(outcome: str) -> None:
    """What was decided counts: what is due by it is done, and no abort handler runs."""
    place = Place(is_full=outcome == "full")
    handlers = merge_handlers(asking(), define_event_handlers({"abort": lambda event, ctx: 1 / 0}))
    session = Session.open(handlers, keep_effects=place.keeper)
    session.say(*OPENING, *MESSAGE[:-1])
    session.feed(join([EOM]))
    session.connection = hang_up(session.connection)
    call = session.connection.call
    assert call is not None
    found = OSError("late") if outcome == "late" else run_call(call)
    session.connection = resume(session.connection, found)
    assert session.is_closed
    texts = [one.request.effect.text for one in session.connection.requests]  # type: ignore[attr-defined]
    assert texts == (["accepted", "ended"] if outcome == "kept" else ["refused", "ended"])
    assert place.happened == ([["accepted", "ended"]] if outcome == "kept" else ["left"])


def test_a_body_that_comes_with_the_end_is_answered_once() -> None:
    """The end is not asked about again."""
    place = Place()
    refusing = asking("body", reject)
    session, answers = told(refusing, place, MAIL, RCPT, (ord("E"), b"all of it\r\n"))
    assert answers == [act.Reject()]
    assert place.happened == [["refused", "ended"]]
    assert session.answers(*MESSAGE)[-2:] == [act.Reject(), act.Continue()]


def test_the_next_message_waits_until_they_are_kept() -> None:
    """What comes meanwhile is only kept; with several filters, too."""
    place = Place()
    several = merge_handlers(asking(name="a"), asking("message", name="b"))
    for handlers, count in ((asking(), 2), (several, 4)):
        session = Session.open(handlers, keep_effects=place.keeper)
        session.say(*OPENING)
        session.feed(join([*MESSAGE, *MESSAGE]))
        session.finish_calls()
        assert [len(texts) for texts in place.happened] == [count, count]
        place.happened.clear()


@pytest.mark.parametrize("share", [0, 1 << 16])
@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("on_error", ["reject", failing])
def test_it_is_on_the_tape(is_full: bool, share: int, on_error: Any) -> None:
    """So what is played has the same steps as an observer has seen."""
    handlers = asking(decide=lambda ctx: add_header(ctx, "X-A", "b"))
    chunks = [join([one]) for one in (*OPENING, *MESSAGE, *MESSAGE, QUIT)]
    observed: list[Step] = []
    stretches: list[Stretch] = []
    setup: dict[str, Any] = {"keep_effects": Place(is_full=is_full).keeper, "on_error": on_error}
    sent = play(of(handlers), chunks, stretches.append, share=share, **setup)
    assert sent == play(of(handlers), chunks, observer=observed.append, **setup)
    assert [*map(seen, played(stretches))] == [*map(seen, observed)]
    assert b"".join(step.sent for step in played(stretches)) == sent


def test_a_peer_that_goes_meanwhile_is_on_the_tape() -> None:
    """The answer is in the step, as it was decided."""
    stretches: list[Stretch] = []
    setup = Setup(as_on_connect(asking()), keep_effects=Place().keeper)
    line = Line(open_connection(setup, "one"), Tape(stretches.append, float, float))
    for one in (*OPENING, *MESSAGE):
        line.receive_data(join([one]))
    call = line.leave().call
    assert call is not None
    line.hang_up()
    line.resume(run_call(call))
    assert line.leave().is_closed
    assert [step.answer for step in played(stretches) if step.answer][-1] == (act.Continue(),)


# ------------------------------------------------------------------------------- messages in effects
@frozen
class Holds:
    """An effect with a message somewhere in it."""

    held: Any

    def perform(self, resources: Any) -> None:
        """Never called here."""
        raise AssertionError


def archiving(make: Any) -> Any:
    """A filter that does what is made of each message."""
    return define_event_handlers({"message": lambda event, ctx: do(ctx, make(event, ctx))}, edits="all")


def effects_of(handlers: Any, *packets: Any) -> tuple[Session, list[Any]]:
    """A session, and the effects that are due."""
    session = Session.open(handlers)
    session.say(*OPENING, *packets)
    return session, [one.request.effect for one in session.connection.requests]  # type: ignore[attr-defined]


def test_a_message_in_an_effect_can_be_read_after_its_end() -> None:
    """Wherever in the effect it is, until it is released; the event itself cannot be."""
    events: list[Message] = []
    made = archiving(
        lambda event, ctx: events.append(event) or Holds({"a": [event, event.set("X", "y")]})
    )
    _, (effect,) = effects_of(made, *MESSAGE)
    found = messages_in(effect)
    assert [bytes(one) for one in found] == [
        b"Subject:hello\r\n\r\ntext\r\n",
        b"Subject:hello\r\nX: y\r\n\r\ntext\r\n",
    ]
    assert found[0].sender == "alice@example.org"
    release_messages(effect)
    for one in (*found, *events):
        with pytest.raises(Exception, match="this message has ended"):
            bytes(one)


def test_what_does_not_lie_with_the_engine_stays() -> None:
    """A new body, a message that was parsed, one without its body."""
    parsed = Message.parse(b"A: b\r\n\r\nc\r\n")
    _, (effect,) = effects_of(
        archiving(lambda event, ctx: Holds([event.with_body(b"d\r\n"), parsed])), *MESSAGE
    )
    release_messages(effect)
    assert [one.body for one in messages_in(effect)] == [b"d\r\n", b"c\r\n"]
    handlers = define_event_handlers()
    handlers.add("message", lambda event, ctx: do(ctx, Holds(event)), limit=10)
    _, (effect,) = effects_of(handlers, *MESSAGE)
    assert not effect.held.is_whole


def test_a_message_that_has_ended_is_a_failure_of_the_handler() -> None:
    """Its body is gone."""
    events: list[Message] = []
    handlers = archiving(lambda event, ctx: events.append(event) or Holds(events[0]))
    session, found = effects_of(handlers, *MESSAGE)
    release_messages(found.pop())
    assert session.answers(*MESSAGE)[-1] == act.TemporaryFailure()
    assert "expected the Message of this event in an effect" in str(session.errors[0])


def test_who_watches_gets_a_digest() -> None:
    """No step and no tape holds the message."""
    observed: list[Step] = []
    handlers = archiving(lambda event, ctx: Holds(event))
    play(of(handlers), [join(OPENING + MESSAGE)], observer=observed.append)
    (asked,) = [one for step in observed for one in step.actions if hasattr(one, "effect")]
    assert type(asked.effect.held).__name__ == "MessageDigest"
    assert asked.effect.held.size == len(b"Subject:hello\r\n\r\ntext\r\n")
    assert BODY[1] == b"text\r\n"

"""The life of a message: a filter that saw one begin is told its end exactly once, however it ends.

It is told by its own ``end_of_message``, by its own verdict, or else by ``abort``: also when a handler
of its own failed.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy.context import Context, send_action
from demyjpy.engine.phases import IN_MESSAGE
from demyjpy.engine.pipeline import resume, run_call
from demyjpy.errors import DeadlineError
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.registry import QUIETABLE, Registry
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    DATA,
    EOH,
    EOM,
    HEADER,
    HELO,
    MAIL,
    RCPT,
    UNKNOWN,
    Session,
    join,
    macros,
    offer,
    packet,
)
from tests.examples import share_of

OF_MESSAGE = ("mail", "recipient", "data", "header", "end_of_headers", "body", "end_of_message")
FAILURES = ("raise", "return nothing", "plan what is not legal", "late")
VERDICTS = {
    "accept": act.Accept(),
    "discard": act.Discard(),
    "reject": act.Reject(),
    "tempfail": act.TemporaryFailure(),
}
BEHAVIOURS = (*["go on"] * 12, "edit", *FAILURES, *VERDICTS)


class LateError(Exception):
    """In place of a handler that takes too long: the driver says so, and the handler never ends."""


@define
class Life:
    """What one filter has been told of its messages."""

    begun: int = 0
    ends: list[str] = field(factory=list)
    is_dropped: bool = False
    """Whether the peer goes while a handler is out: what was said at that event counts for nothing."""

    def check(self) -> None:
        """Each message that has begun has ended once."""
        surplus = self.is_dropped and self.ends[-1:] == ["abort"]
        assert len(self.ends) - self.begun in (0, surplus), self

    def begin(self) -> None:
        """One begins; the one before has ended."""
        self.check()
        self.begun += 1

    def end(self, how: str) -> None:
        """It has been told of an end, which is that of an open message."""
        self.ends.append(how)
        self.check()


def behave(behaviour: str, event: str, ctx: Context, life: Life) -> Any:
    """Do it, and write down whether the filter knows by that, that the message ends."""
    if behaviour == "raise":
        raise ValueError("no")
    if behaviour == "return nothing":
        return None
    if behaviour == "late":
        raise LateError
    if behaviour == "plan what is not legal":
        return send_action(ctx, act.Accept(), act.Reject())
    if behaviour in VERDICTS:
        if event in OF_MESSAGE and (event != "recipient" or behaviour in ("accept", "discard")):
            life.end(behaviour)
        return send_action(ctx, VERDICTS[behaviour])
    if event == "end_of_message":
        life.end("end_of_message")
        if behaviour == "edit":
            return send_action(ctx, act.AddHeader("X-Note", "1"))
    return ctx.set(f"note {id(life)}", event)  # a key of its own


def living(behaviours: dict[str, tuple[str, bool]], life: Life) -> Registry:
    """A filter that does this at each event, and whether it observes only."""
    registry = define_event_handlers(optional_actions={"add_header"}, optional_events=(*QUIETABLE,))

    def handler(event: str, behaviour: str) -> Callable[[Any, Context], Any]:
        def handle(_: Any, ctx: Context) -> Any:
            if event == "mail":
                life.begin()
            if event == "abort":
                life.end("abort")
            return behave(behaviour, event, ctx, life)

        return handle

    for event, (behaviour, is_quiet) in behaviours.items():
        quiet = is_quiet and event in QUIETABLE and (behaviour in ("go on", *FAILURES[:2]))
        registry.add(event, handler(event, behaviour), **({"reply": False} if quiet else {}))
    return registry


def play_calls(session: Session) -> None:
    """Run what is handed out; what is late has its deadline instead."""
    while session.connection.call is not None:
        run_one(session)


behaviours = st.tuples(st.sampled_from(BEHAVIOURS), st.booleans())
filters = st.fixed_dictionaries(
    {"mail": behaviours, "end_of_message": behaviours, "abort": st.just(("go on", False))},
    optional=dict.fromkeys((*OF_MESSAGE[1:-1], "connect", "unknown"), behaviours),
)
WHOLE = (MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM)
parts = st.sampled_from([*WHOLE, HELO, ABORT, UNKNOWN, packet("E", b"last"), macros("M", i="1")])
messages = st.one_of(
    st.just(WHOLE),
    st.just((MAIL, EOM)),
    st.integers(1, 6).map(lambda count: WHOLE[:count]),
    st.lists(parts, max_size=5).map(tuple),
)
streams = st.lists(messages, min_size=1, max_size=4)
policies = st.sampled_from(
    ["tempfail", "accept", "reject", lambda error, event, ctx: ctx, lambda error, event, ctx: 1 / 0]
)


@settings(max_examples=share_of(300))
@given(
    st.lists(filters, min_size=1, max_size=3),
    streams,
    policies,
    st.booleans(),
    st.booleans(),
    st.one_of(st.just(1000), st.integers(0, 40)),
)
def test_each_message_that_began_has_one_end(chosen, stream, on_error, defers, is_watched, calls):
    """Whatever handlers do, whoever calls them, and wherever the peer goes."""
    lives = [Life() for _ in chosen]
    session = Session.open(
        merge_handlers(*[living(one, life) for one, life in zip(chosen, lives, strict=True)]),
        on_error=on_error,
        defers=lambda handler: defers,
        observer=(lambda step: None) if is_watched else None,
    )
    for one in (offer(), CONNECT, *chain.from_iterable(stream)):
        if one in WHOLE[1:] and session.connection.scope.phase not in IN_MESSAGE:
            continue  # what an MTA does not send after the message has been refused
        session.feed(join([one]))
        while session.connection.call is not None and calls:
            calls -= 1
            run_one(session)
        if session.connection.call is not None:
            break  # the peer goes while this one is out
    for life in lives if session.connection.call else ():
        life.is_dropped = True
    session.hang_up()
    play_calls(session)
    assert session.is_closed
    for life in lives:
        life.check()


def run_one(session: Session) -> None:
    """Run the call that is out."""
    call = session.connection.call
    outcome = run_call(call)
    if isinstance(outcome, LateError):
        outcome = DeadlineError(call.handler.name, 1.0, "it goes on")
    session._note(resume(session.connection, outcome))


def say_message(session: Session, *before: Any) -> None:
    """A message, up to where it is refused."""
    for one in (*before, *WHOLE):
        if one not in WHOLE[1:] or session.connection.scope.phase in IN_MESSAGE:
            session.feed(join([one]))
            play_calls(session)


@pytest.mark.parametrize("behaviour", FAILURES)
@pytest.mark.parametrize("event", OF_MESSAGE)
@pytest.mark.parametrize("on_error", ["tempfail", "accept", "reject"])
@pytest.mark.parametrize("defers", [True, False])
def test_a_filter_that_fails_is_told_too(behaviour, event, on_error, defers):
    """What its ``mail`` opened can be closed."""
    life = Life()
    plain = dict.fromkeys(("mail", "end_of_message", "abort"), ("go on", False))
    handlers = {**plain, event: (behaviour, False)}
    session = Session.open(living(handlers, life), on_error=on_error, defers=lambda handler: defers)
    say_message(session, offer(), CONNECT)
    goes_on = event == "recipient" and on_error != "accept"  # one recipient is refused, not the message
    assert life.ends == (["end_of_message"] if goes_on else ["abort"])
    say_message(session)
    session.hang_up()
    play_calls(session)
    life.check()
    assert life.begun == 2


def test_what_comes_when_the_peer_is_gone_is_dropped():
    """So that end was none: each filter is told by abort that the message was given up."""
    lives = [Life(), Life()]
    plain = {"mail": ("go on", False), "abort": ("go on", False)}
    session = Session.open(
        merge_handlers(
            define_event_handlers({"end_of_message": lambda event, ctx: ctx}),
            *[living(plain, life) for life in lives],
        ),
        defers=lambda handler: handler.event == "end_of_message",
    )
    session.feed(join([offer(), CONNECT, *WHOLE]))
    session.hang_up()
    play_calls(session)
    assert [life.ends for life in lives] == [["abort"], ["abort"]]

"""What follows from an answer, carried out: what is known afterwards, and whose connection ends."""

from attrs import evolve

from demyjpy import events as ev
from demyjpy.codec import encode_event
from demyjpy.mta.profile import Consequence
from demyjpy.mta.smtp_session import Exchange, Side, SmtpSession, Talk, with_side
from demyjpy.wire.framing import join_frame


def carry_out(session: SmtpSession, number: int, consequence: Consequence) -> Talk[SmtpSession]:
    """The session after what follows from one milter's answer."""
    side = evolve(session.sides[number], **consequence.changes)
    session = with_side(session, number, side)
    if consequence.drops:
        session = evolve(session, is_discarded=True)
    if consequence.bars != "nothing":
        refuses_all = consequence.bars == "transaction"
        session = evolve(session, refusal=consequence.reply, refuses_all=refuses_all)
    match consequence.closes:
        case "this":
            session = yield from _close(session, number, says_quit=consequence.says_quit)
        case "all":
            session = yield from close_all(session)
    return session


def close_all(
    session: SmtpSession, *, says_quit: bool = True, aborts: bool = False
) -> Talk[SmtpSession]:
    """Close the connections with all."""
    for number, side in enumerate(session.sides):
        if side.is_open:
            session = yield from _close(session, number, says_quit=says_quit, aborts=aborts)
    return session


def _close(
    session: SmtpSession, number: int, *, says_quit: bool, aborts: bool = False
) -> Talk[SmtpSession]:
    side = session.sides[number]
    events: tuple[ev.Event, ...] = (ev.Abort(),) * aborts + (ev.Quit(),) * says_quit
    writes = tuple(join_frame(*encode_event(event)) for event in events)
    # who is gone needs no farewell
    yield Exchange(number, writes, evolve(side.link, event=None), closes=True)
    return with_side(session, number, evolve(side, is_off=True, in_message=False))


def abort(session: SmtpSession) -> Talk[SmtpSession]:
    """Send ABORT: Postfix sends it to all milters, Sendmail to those that are in a message."""
    frame = join_frame(*encode_event(ev.Abort()))
    for number, side in enumerate(session.sides):
        if _is_to_abort(session, side):
            # if it is gone, that shows when it is asked
            yield Exchange(number, (frame,), evolve(side.link, event=None))
            session = with_side(session, number, evolve(side, in_message=False))
    return session


def _is_to_abort(session: SmtpSession, side: Side) -> bool:
    is_due = session.profile.habits.aborts_always or side.in_message
    return is_due and side.is_open and not session.is_acted

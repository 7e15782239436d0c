"""What a milter's answer means for the rest of the session, to Postfix and to Sendmail.

Protocol file, sections 8.4 to 8.6; each row of it was asked of both servers by ``tests/model``.
"""

from typing import Final

from attrs import evolve

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import encode_event
from demyjpy.mta.link import Answer
from demyjpy.mta.profile import CONTENT, Reply
from demyjpy.mta.session import Exchange, Session, Side, Talk, with_side
from demyjpy.wire.framing import join_frame

_CLIENT: Final = ("connect", "hello")


def settle(
    session: Session, number: int, name: str, answer: Answer, address: str
) -> Talk[tuple[Session, Reply | None]]:
    """After an answer: the session, and the reply if it is a refusal."""
    verdict = answer.verdict
    if isinstance(verdict, act.Shutdown):
        return (yield from _shut_down(session, number, name))
    settled = _settle_postfix if session.profile.is_postfix else _settle_sendmail
    return (yield from settled(session, number, name, verdict, address))


def _shut_down(session: Session, number: int, name: str) -> Talk[tuple[Session, Reply | None]]:
    """SHUTDOWN, which only Postfix takes for an answer."""
    if name in CONTENT:
        # cleanup(8) says that the mail is queued, and it is lost
        return _discarded(session, number, name), None
    reply = session.profile.says("shutdown")
    session = yield from close_side(session, number, says_quit=False)
    return with_side(session, number, evolve(session.sides[number], refusal=reply)), reply


def _discarded(session: Session, number: int, name: str) -> Session:
    """The message is dropped; the milter that said so may still wait for its end."""
    side = session.sides[number]
    stays = session.profile.is_postfix or name in ("recipient", "data")
    is_done = not session.profile.is_postfix and name not in ("mail", "unknown")
    side = evolve(side, in_message=side.in_message and stays, is_done=is_done)
    return evolve(with_side(session, number, side), is_discarded=True)


# ------------------------------------------------------------------------------------- Postfix
def _settle_postfix(
    session: Session, number: int, name: str, verdict: act.Verdict, address: str
) -> Talk[tuple[Session, Reply | None]]:
    side = session.sides[number]
    reply: Reply | None = None
    match verdict:
        case act.Continue():
            return session, None
        case act.Skip():
            return with_side(session, number, evolve(side, skips=frozenset({name}))), None
        case act.Discard() if name in _CLIENT:
            return session, None  # it only warns
        case act.Discard():
            return _discarded(session, number, name), None
        case act.Accept() if name not in _CLIENT:
            return with_side(session, number, evolve(side, is_silent=True)), None
        case act.Accept():
            pass
        case _:
            reply = session.profile.refusal(verdict, name, address)
            if name not in _CLIENT:
                return session, reply
    session = yield from close_side(session, number, says_quit=False)
    return with_side(session, number, evolve(session.sides[number], refusal=reply)), reply


# ------------------------------------------------------------------------------------ Sendmail
def _settle_sendmail(
    session: Session, number: int, name: str, verdict: act.Verdict, address: str
) -> Talk[tuple[Session, Reply | None]]:
    side = session.sides[number]
    match verdict:
        case act.Continue():
            in_message = side.in_message and name != "end_of_message"
            return with_side(session, number, evolve(side, in_message=in_message)), None
        case act.Skip() if name in CONTENT:
            return with_side(session, number, evolve(side, skips=side.skips | {"body"})), None
        case act.Skip():
            return with_side(session, number, evolve(side, is_deaf=True, in_message=False)), None
        case _ if name in _CLIENT:
            return (yield from _settle_client(session, number, name, verdict))
        case act.Accept() if name == "unknown":
            return session, None
        case act.Accept():
            side = evolve(side, is_silent=True, is_done=True, in_message=False)
            return with_side(session, number, side), None
        case act.Discard():
            return _discarded(session, number, name), None
        case _:
            if name not in ("recipient", "data", "unknown"):
                side = evolve(side, in_message=False)
            reply = session.profile.refusal(verdict, name, address)
            return with_side(session, number, side), reply


def _settle_client(
    session: Session, number: int, name: str, verdict: act.Verdict
) -> Talk[tuple[Session, Reply | None]]:
    """What an answer at connect or hello means to Sendmail."""
    match verdict:
        case act.Accept():
            return (yield from close_side(session, number)), None
        case act.Discard() if name == "connect":
            return (yield from close_all(session)), None  # and takes the mail unfiltered
        case act.Discard():
            return session, None
        case _:
            reply = session.profile.refusal(verdict, name)
            return (yield from refuse_client(session, name, verdict, reply))


def refuse_client(
    session: Session, name: str, verdict: act.Verdict, reply: Reply
) -> Talk[tuple[Session, Reply]]:
    """Sendmail refuses the client: what it says from now on, and to whom it says QUIT at once."""
    if name == "connect" and isinstance(verdict, act.ReplyCode):
        # it keeps no more of the text than its class
        if verdict.code == 421:
            reply = session.profile.says("greeting of farewell")
        else:
            verdict = act.TemporaryFailure() if verdict.is_temporary else act.Reject()
            reply = session.profile.refusal(verdict, name)
    # for a plain tempfail it is MAIL that fails, and the rest lacks it
    session = evolve(session, refusal=reply, refuses_all=not isinstance(verdict, act.TemporaryFailure))
    if name == "connect":
        session = yield from close_all(session)
    return session, reply


# --------------------------------------------------------------------------------- connections
def close_all(session: Session, *, says_quit: bool = True, aborts: bool = False) -> Talk[Session]:
    """Close the connections with all."""
    for number, side in enumerate(session.sides):
        if side.is_open:
            session = yield from close_side(session, number, says_quit=says_quit, aborts=aborts)
    return session


def close_side(
    session: Session, number: int, *, says_quit: bool = True, aborts: bool = False
) -> Talk[Session]:
    """Close the connection with one milter."""
    side = session.sides[number]
    events: tuple[ev.Event, ...] = (ev.Abort(),) * aborts + (ev.Quit(),) * says_quit
    writes = tuple(join_frame(*encode_event(event)) for event in events)
    # who is gone needs no farewell
    yield Exchange(number, writes, evolve(side.link, event=None), closes=True)
    return with_side(session, number, evolve(side, is_off=True, in_message=False))


def abort(session: Session) -> Talk[Session]:
    """ABORT to whom it is due: Postfix says it to all, Sendmail to those that are in a message."""
    frame = join_frame(*encode_event(ev.Abort()))
    for number, side in enumerate(session.sides):
        if _is_to_abort(session, side):
            # if it is gone, that shows when it is asked
            yield Exchange(number, (frame,), evolve(side.link, event=None))
            session = with_side(session, number, evolve(side, in_message=False))
    return session


def _is_to_abort(session: Session, side: Side) -> bool:
    if not side.is_open or session.is_acted:
        return False
    return session.profile.is_postfix or side.in_message

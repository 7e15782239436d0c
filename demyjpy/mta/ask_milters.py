"""Asking milters about an event: who is asked, in what words, and what comes of it."""

from typing import Final

from attrs import evolve

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.errors import LocalProtocolError
from demyjpy.mta.consequences import refuse_client, settle
from demyjpy.mta.macro_values import macro_packet
from demyjpy.mta.milter_link import Answer, MilterLink, overheard, say, start
from demyjpy.mta.milter_packets import MilterFailedError
from demyjpy.mta.profile import CONTENT, Reply
from demyjpy.mta.smtp_session import Exchange, Failed, Heard, SmtpSession, Talk, with_side
from demyjpy.wire.codes import ProtocolFlag

_OF_MESSAGE: Final = frozenset({"recipient", "data", *CONTENT})
_CLIENT: Final = ("connect", "hello")


def ask_all(
    session: SmtpSession, name: str, event: ev.Event, address: str = "", refused: str | None = None
) -> Talk[tuple[SmtpSession, Reply | None]]:
    """Ask all milters in order; the reply of the first that refuses ends it.

    ``refused`` is the MTA's own refusal of a recipient: then no answer changes anything.
    """
    for number in range(len(session.sides)):
        session, answer, refusal = yield from ask(session, number, name, event, address, refused)
        if refusal is not None and refused is None:
            return session, refusal
        if isinstance(answer.verdict, act.Discard) and not session.profile.is_postfix:
            break  # Sendmail has heard enough, whatever it makes of it
    return session, None


def ask(
    session: SmtpSession,
    number: int,
    name: str,
    event: ev.Event,
    address: str = "",
    refused: str | None = None,
) -> Talk[tuple[SmtpSession, Answer, Reply | None]]:
    """Ask one milter: its answer (`Continue` where it need not be asked), and what refuses."""
    side, profile = session.sides[number], session.profile
    link = side.link
    if side.skips and name not in side.skips and profile.is_postfix:
        side = evolve(side, skips=frozenset())
    wanted = link.wants(name) and name not in side.skips
    if side.failure is not None:
        return (yield from _ask_failed(session, side.failure, side.link, name, address))
    if side.refusal is not None:
        return session, Answer(), side.refusal
    if side.is_off or side.is_deaf or _is_spared(session, number, name):
        return session, Answer(), None
    wanted = wanted and (refused is None or link.has(ProtocolFlag.RCPT_REJ))
    writes = macro_packet(session, link, name, wanted, event, refused)
    if name in ("mail", "hello"):
        side = evolve(side, in_message=side.in_message or name == "mail", is_done=False)
    session = with_side(session, number, side)
    if wanted:
        try:
            link, frame = say(link, event)
        except LocalProtocolError as error:  # it fits no packet
            return _failed(session, number, name, address, MilterFailedError(name, str(error)))
        writes = (b"".join((*writes, frame)),) if profile.is_postfix else (*writes, frame)
    if not writes:
        return session, Answer(), None
    session, answer, failure = yield from exchange(session, number, writes, link)
    if failure is not None:
        session, answer, reply = _failed(session, number, name, address, failure)
        if reply is not None and name in _CLIENT and not profile.is_postfix:
            verdict = profile.default_verdict
            session, reply = yield from refuse_client(session, name, verdict, reply)
        return session, answer, reply
    if refused is not None:
        return session, answer, None
    session, reply = yield from settle(session, number, name, answer, address)
    return session, answer, reply


def _ask_failed(
    session: SmtpSession, failure: MilterFailedError, link: MilterLink, name: str, address: str
) -> Talk[tuple[SmtpSession, Answer, Reply | None]]:
    """What is said where a milter would have to be asked that cannot be used any more."""
    profile = session.profile
    if failure.event in CONTENT and not link.wants(name) and profile.is_postfix:
        return session, Answer(), None  # it was cleanup(8) that failed: smtpd(8) has yet to notice
    reply = profile.failure(failure, name, address)
    if reply is not None and name == "hello" and not profile.is_postfix:
        session, reply = yield from refuse_client(session, name, profile.default_verdict, reply)
    return session, Answer(), reply


def _is_spared(session: SmtpSession, number: int, name: str) -> bool:
    """Whether a milter has no more to do with what is going on."""
    side = session.sides[number]
    if name in _CLIENT:
        return False
    if name == "unknown" and side.is_done:
        return True
    return session.is_discarded or (side.is_silent and name in _OF_MESSAGE)


def _failed(
    session: SmtpSession, number: int, name: str, address: str, failure: MilterFailedError
) -> tuple[SmtpSession, Answer, Reply | None]:
    """A milter cannot be used any more: the reply to what was just going on."""
    profile = session.profile
    reply = profile.failure(failure, name, address)
    if profile.is_postfix and name in CONTENT and failure.kind != "lost":
        # what smtpd(8) will find is a connection that cleanup(8) has closed
        kept = MilterFailedError(failure.event, failure.reason)
    else:
        kept = failure
    side = evolve(session.sides[number], failure=kept, in_message=False)
    session = with_side(session, number, evolve(side, link=evolve(side.link, event=None)))
    session = evolve(session, failed=(*session.failed, Failed(number, failure)))
    is_late = failure.kind == "nonsense" and name not in CONTENT and name != "connect"
    if is_late and not profile.is_postfix:
        reply = None  # Sendmail: from the next command on
    # each edit is carried out when it is read (cleanup_milter.c, milter_data()), but quarantine
    # by Postfix at the end
    said = (
        edit for edit in failure.said if not isinstance(edit, act.Quarantine) or not profile.is_postfix
    )
    return session, Answer(modifications=tuple(said)), reply


def negotiate(session: SmtpSession, number: int) -> Talk[tuple[SmtpSession, Reply | None]]:
    """The offer to one milter, and its answer."""
    link, data = start(session.sides[number].link)
    session, _, failure = yield from exchange(session, number, (data,), link)
    if failure is None:
        return session, None
    session, _, reply = _failed(session, number, "connect", "", failure)
    return session, reply


def exchange(
    session: SmtpSession, number: int, writes: tuple[bytes, ...], link: MilterLink
) -> Talk[tuple[SmtpSession, Answer, MilterFailedError | None]]:
    """Have a driver write to a milter, and read what it says if that is awaited."""
    name = link.event
    if name is not None and link.surplus:
        carried_out = yield Exchange(number, writes, evolve(link, event=None))
        if isinstance(carried_out, MilterFailedError):
            return session, Answer(), carried_out
        try:
            link, answer = overheard(link, name)
        except MilterFailedError as failure:
            yield Exchange(number, (), evolve(link, event=None), closes=True)
            return session, Answer(), failure
        carried_out = (link, answer) if answer else (yield Exchange(number, (), link))
    else:
        carried_out = yield Exchange(number, writes, link)
    if isinstance(carried_out, MilterFailedError):
        return session, Answer(), carried_out
    link, answer = carried_out
    session = with_side(session, number, evolve(session.sides[number], link=link))
    if name is None or answer is None:
        return session, Answer(), None
    heard = session.heard.append(Heard(number, name, answer))
    return evolve(session, heard=heard), answer, None

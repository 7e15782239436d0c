"""Asking milters about an event: who is asked, in what words, and what comes of it."""

from typing import Final

from attrs import evolve

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.errors import LocalProtocolError
from demyjpy.mta.consequences import carry_out
from demyjpy.mta.macro_values import macro_packet
from demyjpy.mta.milter_link import Answer, MilterLink, overheard, say, start
from demyjpy.mta.milter_packets import MilterFailedError
from demyjpy.mta.profile import CLIENT, CONTENT, Consequence, Reply
from demyjpy.mta.smtp_session import Exchange, Failed, Heard, SmtpSession, Talk, with_side
from demyjpy.wire.codes import ProtocolFlag

_OF_MESSAGE: Final = frozenset({"recipient", "data", *CONTENT})


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
        if isinstance(answer.verdict, act.Discard) and session.profile.habits.stops_at_discard:
            break  # whatever the MTA makes of it
        if holds_unseen(session, number):
            break
    return session, None


def holds_unseen(session: SmtpSession, number: int) -> bool:
    """Whether a milter cannot be asked, and its mail is held without those behind it being asked."""
    profile = session.profile
    is_held = profile.default_action == "quarantine" and profile.habits.stops_at_quarantine
    return is_held and session.sides[number].failure is not None


def ask(
    session: SmtpSession,
    number: int,
    name: str,
    event: ev.Event,
    address: str = "",
    refused: str | None = None,
) -> Talk[tuple[SmtpSession, Answer, Reply | None]]:
    """Ask one milter: its answer (`Continue` if it need not be asked), and what refuses.

    A milter that has not negotiated does so first.
    """
    if name == "connect" and session.sides[number].is_new:
        session, refusal = yield from negotiate(session, number)
        if refusal is not None:
            return session, Answer(), refusal
    side, profile = session.sides[number], session.profile
    link, habits = side.link, profile.habits
    if side.skips and name not in side.skips and habits.renews_skipping:
        side = evolve(side, skips=frozenset())
    wanted = link.wants(name) and name not in side.skips
    if side.failure is not None:
        return (yield from _ask_failed(session, number, name, address, side.failure))
    if side.refusal is not None:
        return session, Answer(), side.refusal
    if side.is_off or side.is_deaf or _is_spared(session, number, name):
        return session, Answer(), None
    wanted = wanted and (refused is None or link.has(ProtocolFlag.RCPT_REJ))
    writes = macro_packet(session, link, name, wanted, event, refused)
    if name in ("mail", "hello"):
        # without MAIL Sendmail does not take it for being in a message (milter_send_command())
        is_told = name == "mail" and wanted
        side = evolve(side, in_message=side.in_message or is_told, is_done=False)
    session = with_side(session, number, side)
    if wanted:
        try:
            link, frame = say(link, event)
        except LocalProtocolError as error:  # it fits no packet
            failure = MilterFailedError(name, str(error))
            return (yield from _fail(session, number, name, address, failure))
        writes = (b"".join((*writes, frame)),) if habits.joins_macros else (*writes, frame)
    if not writes:
        return session, Answer(), None
    session, answer, failed = yield from exchange(session, number, writes, link)
    if failed is not None:
        return (yield from _fail(session, number, name, address, failed))
    if refused is not None:
        return session, answer, None
    session = _with_sender(session, answer)
    consequence = profile.consequence(answer.verdict, name, address or session.new_sender)
    return (yield from _settle(session, number, answer, consequence))


def _with_sender(session: SmtpSession, answer: Answer) -> SmtpSession:
    """The session that knows how a milter has changed the sender."""
    changes = [edit for edit in answer.modifications if isinstance(edit, act.ChangeSender)]
    return evolve(session, new_sender=f"<{changes[-1].address}>") if changes else session


def _ask_failed(
    session: SmtpSession, number: int, name: str, address: str, failure: MilterFailedError
) -> Talk[tuple[SmtpSession, Answer, Reply | None]]:
    """What follows if a milter would have to be asked that cannot be used any more."""
    profile, link = session.profile, session.sides[number].link
    if profile.habits.hands_over_content and failure.event in CONTENT and not link.wants(name):
        return session, Answer(), None  # it was cleanup(8) that failed: smtpd(8) has yet to notice
    consequence = profile.failure(failure, name, address)
    return (yield from _settle(session, number, Answer(), consequence))


def _settle(
    session: SmtpSession, number: int, answer: Answer, consequence: Consequence
) -> Talk[tuple[SmtpSession, Answer, Reply | None]]:
    session = yield from carry_out(session, number, consequence)
    return session, answer, consequence.reply


def _is_spared(session: SmtpSession, number: int, name: str) -> bool:
    """Whether a milter has no more to do with what is going on."""
    side = session.sides[number]
    if name in CLIENT:
        return False
    if name == "unknown" and side.is_done:
        return True
    return session.is_discarded or (side.is_silent and name in _OF_MESSAGE)


def _fail(
    session: SmtpSession, number: int, name: str, address: str, failure: MilterFailedError
) -> Talk[tuple[SmtpSession, Answer, Reply | None]]:
    """A milter cannot be used any more: what follows for what was just going on."""
    profile, habits = session.profile, session.profile.habits
    consequence = profile.failure(failure, name, address)
    if habits.fails_late and failure.kind == "nonsense" and name not in ("connect", *CONTENT):
        consequence = Consequence()
    kept = failure
    if habits.hands_over_content and name in CONTENT and failure.kind != "lost":
        # what smtpd(8) will find is a connection that cleanup(8) has closed
        kept = MilterFailedError(failure.event, failure.reason)
    side = session.sides[number]
    side = evolve(side, failure=kept, in_message=False, link=evolve(side.link, event=None))
    session = with_side(session, number, side)
    session = evolve(session, failed=(*session.failed, Failed(number, failure)))
    # each edit is carried out when it is read (cleanup_milter.c, milter_data())
    said = (one for one in failure.said if not (habits.holds_at_end and isinstance(one, act.Quarantine)))
    answer = Answer(modifications=tuple(said))
    return (yield from _settle(session, number, answer, consequence))


def negotiate(session: SmtpSession, number: int) -> Talk[tuple[SmtpSession, Reply | None]]:
    """The offer to one milter, and its answer."""
    link, data = start(session.sides[number].link)
    session, _, failure = yield from exchange(session, number, (data,), link)
    if failure is None:
        return session, None
    session, _, reply = yield from _fail(session, number, "connect", "", failure)
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

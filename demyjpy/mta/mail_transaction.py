"""A mail transaction: MAIL, RCPT, DATA and the message, with milters asked at each."""

from typing import Final

from attrs import evolve

from demyjpy import events as ev
from demyjpy.mta import client_steps
from demyjpy.mta.ask_milters import ask, ask_all, holds_unseen
from demyjpy.mta.consequences import abort, close_all
from demyjpy.mta.macro_values import peer_name
from demyjpy.mta.milter_link import Answer, body_chunks
from demyjpy.mta.profile import Origin, Reply
from demyjpy.mta.smtp_session import SmtpSession, Talk
from demyjpy.mta.stored_mail import Envelope, StoredMail
from demyjpy.verdicts import decides

_HELD: Final = "milter_default_action"  # why Postfix holds mail that a milter should have seen


def take_mail(session: SmtpSession, step: client_steps.Mail) -> Talk[tuple[SmtpSession, Reply]]:
    """MAIL."""
    profile = session.profile
    if session.refusal is not None:
        return session, session.refusal
    if session.envelope is not None:
        return session, profile.says("nested")
    refused = profile.refused_sender(step)
    if refused is not None:
        return session, refused
    raw = step.raw if step.raw is not None else f"<{step.sender}>"
    raw = step.sender if session.is_acted else raw
    parameters = client_steps.Mail(step.sender).parameters if session.is_acted else step.parameters
    session = evolve(
        session,
        envelope=Envelope(profile.address(step.sender), step.parameters),
        given=(),
        new_sender="",
        is_queued=profile.habits.queues_at_mail or session.is_acted,
        messages=session.messages + 1,
        sides=tuple(evolve(one, is_silent=False, skips=frozenset()) for one in session.sides),
    )
    event = ev.Mail(step.sender, parameters, raw=raw)
    session, refusal = yield from ask_all(session, "mail", event, raw)
    if refusal is not None:
        session = yield from abort(session)
        return evolve(session, envelope=None), refusal
    return session, profile.says("mail", address=raw)


def take_rcpt(session: SmtpSession, step: client_steps.Rcpt) -> Talk[tuple[SmtpSession, Reply]]:
    """RCPT."""
    profile, envelope = session.profile, session.envelope
    if session.refuses_all and session.refusal is not None:
        return session, session.refusal
    if envelope is None:
        return session, profile.says("no mail before recipient")
    limit = profile.recipient_limit
    if limit is not None and len(envelope.recipients) >= limit:  # milters are not asked
        return session, profile.says("too many recipients")
    raw = step.raw if step.raw is not None else f"<{step.address}>"
    event = ev.Recipient(step.address, step.parameters, raw=raw)
    if session.is_acted:
        event = ev.Recipient(step.address, raw=step.address)
    if step.refused is not None:
        if not (step.by_rule and profile.habits.hides_rule_refusals):
            session, _ = yield from ask_all(session, "recipient", event, raw, step.refused)
        enhanced, _, text = step.refused.partition(" ")
        return session, profile.says("refused", enhanced=enhanced, text=text, address=raw)
    session, refusal = yield from ask_all(session, "recipient", event, raw)
    if refusal is None or profile.habits.counts_refused:
        session = evolve(session, given=(*session.given, raw))
    if refusal is not None:
        return session, refusal
    envelope = profile.admit(envelope, step.address, step.parameters)
    session = evolve(session, envelope=envelope, is_queued=True)
    return session, profile.says("recipient", address=_shown(session, step.address, raw))


def _shown(session: SmtpSession, address: str, raw: str) -> str:
    """A recipient as Sendmail's reply has it: as the client first wrote the address."""
    known = session.profile.address
    same = (one for one in session.given if known(one) == known(address))
    return next(same, raw)


def ask_data(session: SmtpSession) -> Talk[tuple[SmtpSession, Reply | None]]:
    """The DATA command itself: the reply that refuses it, or None if 354 is due."""
    profile, envelope = session.profile, session.envelope
    if session.refuses_all and session.refusal is not None:
        return session, session.refusal
    if envelope is None:
        return session, profile.says("no mail before data")
    if not envelope.recipients:
        return session, profile.says("no recipient")
    return (yield from ask_all(session, "data", ev.Data()))


def take_content(
    session: SmtpSession, content: bytes
) -> Talk[tuple[SmtpSession, Reply, StoredMail | None]]:
    """The message after 354: the reply to the final dot, and the mail if it is accepted."""
    profile = session.profile
    refused = profile.refused_content(content)
    if refused is not None:
        session = yield from close_all(session, says_quit=False)
        return evolve(session, envelope=None), refused, None
    envelope = session.envelope or Envelope()
    message = profile.take_in(content, envelope.sender, session.queue_id, session.client)
    mail = StoredMail(envelope, message)
    session, refusal, accepted = yield from _show_all(session, mail)
    reply = refusal or profile.says("queued", queue_id=session.queue_id)
    is_lost = session.is_discarded or not (accepted and accepted.envelope.recipients)
    session = yield from end_transaction(session)
    return session, reply, None if refusal or is_lost else accepted


def _show_all(
    session: SmtpSession, mail: StoredMail
) -> Talk[tuple[SmtpSession, Reply | None, StoredMail | None]]:
    """The whole message to one milter after the other, each seeing what the one before made of it."""
    profile = session.profile
    own = profile.own_fields(_origin(session))
    mail = evolve(mail, message=evolve(mail.message, fields=(*own, *mail.message.fields)))
    message_id = mail.message["Resent-Message-Id"] or mail.message["Message-Id"] or ""
    session = evolve(session, message_id=message_id)
    stops = profile.habits.stops_at_quarantine
    for number in range(len(session.sides)):
        if session.is_discarded or (mail.quarantine is not None and stops):
            break
        if _sees_fields(session, number):
            mail = profile.as_shown(mail)
        session, answer, refusal = yield from _show(session, number, mail)
        if refusal is not None:
            return session, refusal, None
        mail = profile.edit(mail, answer.modifications)
        if holds_unseen(session, number):
            break
    is_unseen = any(side.failure for side in session.sides)
    if is_unseen and profile.default_action == "quarantine" and mail.quarantine is None:
        mail = evolve(mail, quarantine=_HELD)
    return session, None, profile.deliver(evolve(mail, message=mail.message.without()))


def _sees_fields(session: SmtpSession, number: int) -> bool:
    side = session.sides[number]
    return side.is_open and not side.is_silent and not side.is_deaf and side.link.wants("header")


def _origin(session: SmtpSession) -> Origin:
    envelope = session.envelope or Envelope()
    return Origin(
        greeting=session.helo,
        peer="" if session.is_acted else peer_name(session),
        queue_id=session.queue_id,
        is_esmtp=session.is_esmtp,
        is_utf8="SMTPUTF8" in envelope.parameters,
        recipient=session.given[0] if len(session.given) == 1 else None,
    )


def _show(
    session: SmtpSession, number: int, mail: StoredMail
) -> Talk[tuple[SmtpSession, Answer, Reply | None]]:
    """One message to one milter, until it has decided."""
    parts: list[tuple[str, ev.Event]] = [
        *(("header", one.event) for one in mail.message.seen_fields),
        ("end_of_headers", ev.EndOfHeaders()),
        *(("body", chunk) for chunk in body_chunks(mail.message.body)),
        ("end_of_message", ev.EndOfMessage()),
    ]
    answer, refusal = Answer(), None
    for name, event in parts:
        session, answer, refusal = yield from ask(session, number, name, event)
        if refusal is not None or decides(answer.verdict):
            break
    return session, answer, refusal


def end_transaction(session: SmtpSession) -> Talk[SmtpSession]:
    """After a message, whatever became of it."""
    session = yield from abort(session)
    habits = session.profile.habits
    is_over = habits.ends_with_message and not session.is_discarded
    sides = [evolve(one, in_message=False, is_done=one.is_done or is_over) for one in session.sides]
    if habits.hands_over_content:  # what a milter said too much to cleanup(8) is gone with its buffer
        sides = [evolve(one, link=evolve(one.link, surplus=())) for one in sides]
    return evolve(session, envelope=None, new_sender="", is_discarded=False, sides=tuple(sides))


def reset(session: SmtpSession) -> Talk[SmtpSession]:
    """RSET, or what means the same."""
    if session.envelope is not None:
        session = yield from abort(session)
    sides = tuple(evolve(one, is_done=False) for one in session.sides)
    return evolve(session, envelope=None, is_discarded=False, sides=sides)

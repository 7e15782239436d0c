"""A mail transaction: MAIL, RCPT, DATA and the message, with milters asked at each."""

from typing import Final

from attrs import evolve

from demyjpy import events as ev
from demyjpy.mta import steps
from demyjpy.mta.asking import ask, ask_all
from demyjpy.mta.link import Answer, body_chunks
from demyjpy.mta.message import Envelope, Field, Mail, Message
from demyjpy.mta.profile import Reply, Trace
from demyjpy.mta.session import Session, Side, Talk
from demyjpy.mta.values import peer_name
from demyjpy.mta.verdicts import abort, close_all
from demyjpy.verdicts import decides

HELD: Final = "milter_default_action"
"""The reason for which Postfix holds mail that a milter should have seen."""


def take_mail(session: Session, step: steps.Mail) -> Talk[tuple[Session, Reply]]:
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
    parameters = steps.Mail(step.sender).parameters if session.is_acted else step.parameters
    session = evolve(
        session,
        envelope=Envelope(profile.address(step.sender), step.parameters),
        raw_sender=raw,
        given=(),
        is_queued=not profile.is_postfix or session.is_acted,
        messages=session.messages + 1,
        sides=tuple(evolve(one, is_silent=False, skips=frozenset()) for one in session.sides),
    )
    event = ev.Mail(step.sender, parameters, raw=raw)
    session, refusal = yield from ask_all(session, "mail", event, raw)
    if refusal is not None:
        session = yield from abort(session)
        return evolve(session, envelope=None), refusal
    return session, profile.says("mail", address=raw)


def take_rcpt(session: Session, step: steps.Rcpt) -> Talk[tuple[Session, Reply]]:
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
        if profile.is_postfix or not step.by_rule:
            session, _ = yield from ask_all(session, "recipient", event, raw, step.refused)
        enhanced, _, text = step.refused.partition(" ")
        return session, profile.says("refused", enhanced=enhanced, text=text, address=raw)
    session, refusal = yield from ask_all(session, "recipient", event, raw)
    if refusal is None or not profile.is_postfix:
        session = evolve(session, given=(*session.given, raw))
    if refusal is not None:
        return session, refusal
    envelope = profile.admit(envelope, step.address, step.parameters)
    session = evolve(session, envelope=envelope, is_queued=True)
    return session, profile.says("recipient", address=_shown(session, step.address, raw))


def _shown(session: Session, address: str, raw: str) -> str:
    """A recipient as Sendmail's reply has it: as the client first wrote the address."""
    if session.profile.is_postfix:  # it names none
        return raw
    known = session.profile.address
    same = (one for one in session.given if known(one) == known(address))
    return next(same, raw)


def ask_data(session: Session) -> Talk[tuple[Session, Reply | None]]:
    """The DATA command itself: the reply that refuses it, or None where 354 is due."""
    profile, envelope = session.profile, session.envelope
    if session.refuses_all and session.refusal is not None:
        return session, session.refusal
    if envelope is None:
        return session, profile.says("no mail before data")
    if not envelope.recipients:
        return session, profile.says("no recipient")
    return (yield from ask_all(session, "data", ev.Data()))


def take_content(session: Session, content: bytes) -> Talk[tuple[Session, Reply, Mail | None]]:
    """The message after 354: the reply to the final dot, and the mail if it is accepted."""
    profile = session.profile
    refused = profile.refused_content(content)
    if refused is not None:
        session = yield from close_all(session, says_quit=False)
        return evolve(session, envelope=None), refused, None
    envelope = session.envelope or Envelope()
    message = profile.take_in(content, envelope.sender, session.queue_id, session.client)
    mail = Mail(envelope, message)
    session, refusal, accepted = yield from _show_all(session, mail)
    reply = refusal or profile.says("queued", queue_id=session.queue_id)
    is_lost = session.is_discarded or not (accepted and accepted.envelope.recipients)
    session = yield from end_transaction(session)
    return session, reply, None if refusal or is_lost else accepted


def _show_all(session: Session, mail: Mail) -> Talk[tuple[Session, Reply | None, Mail | None]]:
    """The whole message to one milter after the other, each seeing what the one before made of it."""
    profile = session.profile
    own = profile.own_fields(_trace(session), mail.message)
    mail = evolve(mail, message=evolve(mail.message, fields=(*own, *mail.message.fields)))
    if not profile.is_postfix and session.helo is None:
        mail = _with_warning(mail, f"{profile.host}: {peer_name(session)} didn't use HELO protocol")
    session = evolve(session, message_id=_message_id(mail.message))
    for number in range(len(session.sides)):
        if session.is_discarded:
            break
        session, answer, refusal = yield from _show(session, number, mail)
        if refusal is not None:
            return session, refusal, None
        mail = profile.edit(mail, answer.modifications)
    is_unseen = any(side.failure for side in session.sides)
    if is_unseen and profile.default_action == "quarantine" and mail.quarantine is None:
        mail = evolve(mail, quarantine=HELD)
    return session, None, profile.deliver(_without_deleted(mail))


def _trace(session: Session) -> Trace:
    peer = peer_name(session)
    envelope = session.envelope or Envelope()
    return Trace(
        client="" if session.is_acted else f"{session.helo or peer.partition(' ')[0]} ({peer})",
        queue_id=session.queue_id,
        is_esmtp=session.is_esmtp,
        is_utf8="SMTPUTF8" in envelope.parameters,
        recipient=session.given[0] if len(session.given) == 1 else None,
    )


def _with_warning(mail: Mail, text: str) -> Mail:
    """With Sendmail's remark below its own Received."""
    warning = Field("X-Authentication-Warning", f" {text}", owner="mta")
    fields = mail.message.fields
    return evolve(mail, message=evolve(mail.message, fields=(fields[0], warning, *fields[1:])))


def _message_id(message: Message) -> str:
    return message["Resent-Message-Id"] or message["Message-Id"] or ""


def _without_deleted(mail: Mail) -> Mail:
    return evolve(mail, message=mail.message.without())


def _show(session: Session, number: int, mail: Mail) -> Talk[tuple[Session, Answer, Reply | None]]:
    """One message to one milter, until it has decided."""
    parts: list[tuple[str, ev.Event]] = [
        *(("header", one.event) for one in mail.message.fields if _is_visible(one)),
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


def _is_visible(one: Field) -> bool:
    return one.owner == "message" and not one.is_deleted


def end_transaction(session: Session) -> Talk[Session]:
    """After a message, whatever became of it."""
    session = yield from abort(session)
    is_over = not session.profile.is_postfix and not session.is_discarded
    return evolve(
        session,
        envelope=None,
        is_discarded=False,
        sides=tuple(
            evolve(_settled(one, session), in_message=False, is_done=one.is_done or is_over)
            for one in session.sides
        ),
    )


def _settled(side: Side, session: Session) -> Side:
    """What a milter said too much to Postfix's cleanup(8) is gone with its buffer."""
    if not session.profile.is_postfix:
        return side
    return evolve(side, link=evolve(side.link, surplus=()))


def reset(session: Session) -> Talk[Session]:
    """RSET, or what means the same."""
    if session.envelope is not None:
        session = yield from abort(session)
    sides = tuple(evolve(one, is_done=False) for one in session.sides)
    return evolve(session, envelope=None, is_discarded=False, sides=sides)

"""An SMTP session as an MTA leads it with milters at its side, without I/O.

`take_step` is a generator: it yields each `Exchange` that a driver is to carry out with a milter, gets
the link and the answer back (or the failure as a value), and returns the session after the step and
what came of it. What Postfix and Sendmail do differently is asked of the profile.
"""

from collections.abc import Sequence
from typing import Generic, Protocol

from attrs import evolve, frozen
from pyrsistent import pvector

from demyjpy import events as ev
from demyjpy.mta import client_steps
from demyjpy.mta.ask_milters import ask, ask_all, negotiate
from demyjpy.mta.consequences import abort, close_all, refuse_client
from demyjpy.mta.macro_values import peer_name
from demyjpy.mta.mail_transaction import (
    ask_data,
    reset,
    take_content,
    take_mail,
    take_rcpt,
)
from demyjpy.mta.milter_link import Answer, MilterLink
from demyjpy.mta.milter_packets import MilterFailedError
from demyjpy.mta.profile import Reply
from demyjpy.mta.smtp_session import (
    CarriedOut,
    Exchange,
    Heard,
    Outcome,
    Side,
    SmtpSession,
    T,
    Talk,
    new_session,
)
from demyjpy.mta.stored_mail import StoredMail

__all__ = [
    "AsyncCarrier",
    "Carrier",
    "Exchange",
    "Heard",
    "Outcome",
    "Side",
    "SmtpSession",
    "Talk",
    "ask_data",
    "new_session",
    "play",
    "play_async",
    "take_content",
    "take_step",
]


def take_step(session: SmtpSession, step: client_steps.ClientStep) -> Talk[tuple[SmtpSession, Outcome]]:
    """Do one step: the session after it, and what came of it."""
    session = evolve(session, heard=pvector(), failed=())
    before, messages = session.is_discarded, session.messages
    mail: StoredMail | None = None
    interim: Reply | None = None
    reply: Reply | None
    if isinstance(step, client_steps.Data):
        session, reply = yield from ask_data(session)
        discarded = session.is_discarded and not before
        if reply is None:
            interim = session.profile.says("data")
            session, reply, mail = yield from take_content(session, step.content)
            discarded = mail is None and not reply.is_refusal
    else:
        session, reply = yield from _take_command(session, step)
        discarded = session.is_discarded and (not before or session.messages > messages)
    if reply is not None and reply.code == 421 and not session.is_closed:
        session = yield from _leave(session)
    outcome = Outcome(step, reply, tuple(session.heard), mail, discarded, session.failed, interim)
    return session, outcome


def _take_command(
    session: SmtpSession, step: client_steps.ClientStep
) -> Talk[tuple[SmtpSession, Reply | None]]:
    says = session.profile.says
    match step:
        case client_steps.Connect():
            return (yield from _connect(session, step))
        case client_steps.Ehlo():
            return (yield from _ehlo(session, step))
        case client_steps.Mail():
            session = yield from _act_hello(session)
            return (yield from take_mail(session, step))
        case client_steps.Rcpt():
            return (yield from take_rcpt(session, step))
        case client_steps.Command():
            return (yield from _unknown(session, step))
        case client_steps.Rset():
            return (yield from reset(session)), says("rset")
        case client_steps.StartTls():
            return (yield from _start_tls(session, step)), says("starttls")
        case client_steps.Auth():
            return evolve(session, auth=step.macros), says("auth")
        case client_steps.Quit():
            return (yield from _leave(session)), says("quit")
        case _:
            return (yield from _leave(session)), None


# --------------------------------------------------------------------------------- connection
def _connect(session: SmtpSession, step: client_steps.Connect) -> Talk[tuple[SmtpSession, Reply]]:
    session = evolve(session, client=step)
    if session.profile.is_postfix:
        session, refusal = yield from _connect_postfix(session)
    else:
        session, refusal = yield from _connect_sendmail(session)
    says = session.profile.says
    if refusal is None:
        return session, says("greeting")
    if refusal.code == 421:
        return session, says("greeting of farewell")
    return session, says("greeting of refusal" if refusal.code >= 500 else "greeting")


def _connect_postfix(session: SmtpSession) -> Talk[tuple[SmtpSession, Reply | None]]:
    """One milter after the other is connected with and asked, until one refuses."""
    event = session.profile.connect_event(session.client)
    for number in range(len(session.sides)):
        session, refusal = yield from negotiate(session, number)
        if refusal is None:
            session, _, refusal = yield from ask(session, number, "connect", event)
        if refusal is not None:
            return session, refusal
    return session, None


def _connect_sendmail(session: SmtpSession) -> Talk[tuple[SmtpSession, Reply | None]]:
    """All milters are connected with, then all are asked."""
    failed: Reply | None = None
    for number in range(len(session.sides)):
        session, failed = yield from negotiate(session, number)
        if failed is not None:
            break  # the others are not connected with
    if failed is not None:
        verdict = session.profile.default_verdict
        return (yield from refuse_client(session, "connect", verdict, failed))
    event = session.profile.connect_event(session.client)
    return (yield from ask_all(session, "connect", event))


def _ehlo(session: SmtpSession, step: client_steps.Ehlo) -> Talk[tuple[SmtpSession, Reply]]:
    profile = session.profile
    was_greeted, was_open = session.helo is not None, session.envelope is not None
    if not profile.is_postfix:
        session = yield from reset(session)
    session, refusal = yield from _hello(session, step.name)
    session = evolve(session, is_esmtp=step.verb.upper() == "EHLO")
    if profile.is_postfix:
        if was_greeted:
            session = yield from abort(session)
        if was_open:
            session = yield from reset(session)
    if refusal is not None and refusal.code == 421:
        return session, refusal
    return session, profile.says("hello", client=peer_name(session))


def _hello(session: SmtpSession, name: str) -> Talk[tuple[SmtpSession, Reply | None]]:
    session = evolve(session, helo=name)
    if session.refusal is not None:
        return session, None
    return (yield from ask_all(session, "hello", ev.Hello(name)))


def _act_hello(session: SmtpSession) -> Talk[SmtpSession]:
    """Where cleanup(8) acts a session, it says HELO too."""
    if session.is_acted and session.helo is None:
        session, _ = yield from _hello(session, "localhost")
    return session


def _start_tls(session: SmtpSession, step: client_steps.StartTls) -> Talk[SmtpSession]:
    if session.profile.is_postfix and session.helo is not None:
        session = yield from abort(session)
    session = yield from reset(session)
    return evolve(session, tls=step.macros, helo=None, is_esmtp=False)


def _unknown(session: SmtpSession, step: client_steps.Command) -> Talk[tuple[SmtpSession, Reply]]:
    profile = session.profile
    line = step.line if profile.tells_whole_command else step.line.partition(" ")[0]
    own = profile.says("unknown", line=step.line)
    if session.refusal is not None:
        return session, own
    session, refusal = yield from ask_all(session, "unknown", ev.Unknown(line))
    return session, refusal or own


def _leave(session: SmtpSession) -> Talk[SmtpSession]:
    """The end of the SMTP session: QUIT to all, after Postfix's ABORTs."""
    is_postfix = session.profile.is_postfix
    if is_postfix and session.envelope is not None:
        session = yield from abort(session)
    aborts = is_postfix and session.helo is not None and not session.is_acted
    session = yield from close_all(session, aborts=aborts)
    return evolve(session, is_closed=True, envelope=None, is_discarded=False)


# ----------------------------------------------------------------------------------- carrying out
class Carrier(Protocol):
    """What can carry out an exchange: a socket, or a filter in memory."""

    def carry_out(self, exchange: Exchange, /) -> tuple[MilterLink, Answer | None]:
        """Write, and read until the answer is complete, or raise `MilterFailedError`."""


class AsyncCarrier(Protocol):
    """The same under asyncio."""

    async def carry_out(self, exchange: Exchange, /) -> tuple[MilterLink, Answer | None]:
        """Write, and read until the answer is complete, or raise `MilterFailedError`."""


def play(talk: Talk[T], milters: Sequence[Carrier]) -> T:
    """Carry out what a session asks for, with these milters."""
    exchange = _begin(talk)
    while isinstance(exchange, Exchange):
        try:
            carried_out: CarriedOut = milters[exchange.milter].carry_out(exchange)
        except MilterFailedError as failure:
            carried_out = failure
        exchange = _go_on(talk, carried_out)
    return exchange.result


async def play_async(talk: Talk[T], milters: Sequence[AsyncCarrier]) -> T:
    """The same under asyncio."""
    exchange = _begin(talk)
    while isinstance(exchange, Exchange):
        try:
            carried_out: CarriedOut = await milters[exchange.milter].carry_out(exchange)
        except MilterFailedError as failure:
            carried_out = failure
        exchange = _go_on(talk, carried_out)
    return exchange.result


@frozen
class _Done(Generic[T]):
    """What a session came to."""

    result: T


def _begin(talk: Talk[T]) -> "Exchange | _Done[T]":
    """The first thing to carry out, or what the session came to without any."""
    try:
        return next(talk)
    except StopIteration as stop:
        return _Done(stop.value)


def _go_on(talk: Talk[T], carried_out: CarriedOut) -> "Exchange | _Done[T]":
    """The next thing to carry out, or what the session came to."""
    try:
        return talk.send(carried_out)
    except StopIteration as stop:
        return _Done(stop.value)

"""An SMTP session as an MTA leads it with milters at its side, without I/O.

`take_step` is a generator: it yields each `Exchange` that a driver is to carry out with a milter, gets
the link and the answer back (or the failure as a value), and returns the session after the step and
what came of it. What Postfix and Sendmail do differently is asked of the profile.
"""

from collections.abc import Sequence
from typing import Protocol

from attrs import evolve
from pyrsistent import pvector

from demyjpy import events as ev
from demyjpy.mta import client_steps
from demyjpy.mta.ask_milters import ask_all, negotiate
from demyjpy.mta.consequences import abort, close_all
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
    Outcome,
    SmtpSession,
    T,
    Talk,
)
from demyjpy.mta.stored_mail import StoredMail


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
    refusal: Reply | None = None
    if session.profile.habits.opens_all_first:
        for number in range(len(session.sides)):
            if refusal is None:  # else the others are not connected with
                session, refusal = yield from negotiate(session, number)
    if refusal is None:
        session, refusal = yield from ask_all(session, "connect", session.profile.connect_event(step))
    says = session.profile.says
    if refusal is None:
        return session, says("greeting")
    if refusal.code == 421:
        return session, says("greeting of farewell")
    return session, says("greeting of refusal" if refusal.code >= 500 else "greeting")


def _ehlo(session: SmtpSession, step: client_steps.Ehlo) -> Talk[tuple[SmtpSession, Reply]]:
    profile = session.profile
    was_greeted, was_open = session.helo is not None, session.envelope is not None
    if profile.habits.resets_before_hello:
        session = yield from reset(session)
    session, refusal = yield from _hello(session, step.name)
    session = evolve(session, is_esmtp=step.verb.upper() == "EHLO")
    if was_greeted and not profile.habits.resets_before_hello:
        session = yield from abort(session)
    if was_open and not profile.habits.resets_before_hello:
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
    if session.helo is not None:
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
    """The end of the SMTP session: QUIT to all, after ABORTs if the MTA says them always."""
    aborts_always = session.profile.habits.aborts_always
    if aborts_always and session.envelope is not None:
        session = yield from abort(session)
    aborts = aborts_always and session.helo is not None and not session.is_acted
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
    carried_out: CarriedOut | None = None
    while True:
        try:
            exchange = _go_on(talk, carried_out)
        except StopIteration as stop:
            result: T = stop.value
            return result
        try:
            carried_out = milters[exchange.milter].carry_out(exchange)
        except MilterFailedError as failure:
            carried_out = failure


async def play_async(talk: Talk[T], milters: Sequence[AsyncCarrier]) -> T:
    """The same under asyncio."""
    carried_out: CarriedOut | None = None
    while True:
        try:
            exchange = _go_on(talk, carried_out)
        except StopIteration as stop:
            result: T = stop.value
            return result
        try:
            carried_out = await milters[exchange.milter].carry_out(exchange)
        except MilterFailedError as failure:
            carried_out = failure


def _go_on(talk: Talk[T], carried_out: CarriedOut | None) -> Exchange:
    """The next exchange; `StopIteration` holds what the session returned."""
    return next(talk) if carried_out is None else talk.send(carried_out)

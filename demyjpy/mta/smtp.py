"""An SMTP session as an MTA leads it with milters at its side, without I/O.

`take_step` is a generator: it yields each `Exchange` that a driver is to carry out with a milter, gets
the link and the answer back, and returns the session after the step and what came of it. What Postfix
and Sendmail do differently is asked of the profile.
"""

from collections.abc import Generator, Sequence
from ipaddress import ip_address
from typing import Final, Protocol, TypeAlias, TypeVar

from attrs import evolve, field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import ROW_OF_NAME, encode_event
from demyjpy.mta import steps
from demyjpy.mta.link import Answer, Link, MilterFailedError, body_chunks, macros, say, start
from demyjpy.mta.message import Envelope, Field, Mail, Message
from demyjpy.mta.profiles import Profile, Reply
from demyjpy.wire.codes import ProtocolFlag, Stage
from demyjpy.wire.framing import join_frame

T = TypeVar("T")

_OK: Final = Reply(250, "2.0.0 Ok")
_REFUSALS: Final = (act.Reject, act.TemporaryFailure, act.ReplyCode)
_MESSAGE_EVENTS: Final = frozenset(
    {"recipient", "data", "header", "end_of_headers", "body", "end_of_message"}
)


@frozen
class Exchange:
    """For a driver: write these to a milter, each at once; read until its answer is complete.

    ``link.event`` is the event whose answer is awaited, or None where there is none. ``closes``: close
    the connection afterwards.
    """

    milter: int
    writes: tuple[bytes, ...]
    link: Link
    closes: bool = False


@frozen
class Side:
    """One milter of a session.

    ``is_off``: nothing more is said to it. ``is_silent``: nothing more about this message.
    ``in_message``: it has been told of a message whose end it has not seen.
    """

    link: Link
    is_off: bool = False
    is_silent: bool = False
    in_message: bool = False
    skips: frozenset[str] = frozenset()
    failure: MilterFailedError | None = None


@frozen
class Heard:
    """What one milter answered to one event."""

    milter: int
    event: str
    answer: Answer


@frozen
class Outcome:
    """What came of a step: the reply, who answered what, and the mail as it would be delivered."""

    step: steps.Step
    reply: Reply | None
    heard: tuple[Heard, ...] = ()
    mail: Mail | None = None
    is_discarded: bool = False
    failures: tuple[MilterFailedError, ...] = ()


@frozen
class Session:
    """All that an MTA knows about one SMTP session."""

    profile: Profile
    sides: tuple[Side, ...]
    client: steps.Connect = steps.Connect()
    helo: str | None = None
    tls: tuple[tuple[str, str], ...] = ()
    auth: tuple[tuple[str, str], ...] = ()
    refusal: Reply | None = None
    """What every command gets since the connection was refused."""
    is_closed: bool = False
    envelope: Envelope | None = None
    raw_sender: str = ""
    is_queued: bool = False
    is_discarded: bool = False
    messages: int = 0
    heard: tuple[Heard, ...] = field(default=(), repr=False)
    failures: tuple[MilterFailedError, ...] = ()


Play: TypeAlias = Generator[Exchange, tuple[Link, Answer | None], "Session"]


def new_session(profile: Profile, milters: int = 1) -> Session:
    """A session that has not begun, with so many milters."""
    link = Link(profile.offer, profile.strictness)
    return Session(profile, tuple(Side(link) for _ in range(milters)))


def take_step(
    session: Session, step: steps.Step
) -> Generator[Exchange, tuple[Link, Answer | None], tuple[Session, Outcome]]:
    """Do one step: the session after it, and what came of it."""
    session = evolve(session, heard=(), failures=())
    before = session.is_discarded
    mail: Mail | None = None
    match step:
        case steps.Connect():
            session, reply = yield from _connect(session, step)
        case steps.Quit() | steps.Drop():
            session = yield from _leave(session)
            reply = None if isinstance(step, steps.Drop) else Reply(221, "2.0.0 Bye")
        case steps.Rset():
            session = yield from _reset(session)
            reply = _OK
        case steps.StartTls():
            session = yield from _start_tls(session, step)
            reply = Reply(220, "2.0.0 Ready to start TLS")
        case steps.Auth():
            session, reply = evolve(session, auth=step.macros), Reply(235, "2.7.0 Authenticated")
        case steps.Ehlo():
            session, reply = yield from _ehlo(session, step)
        case steps.Command():
            session, reply = yield from _unknown(session, step)
        case steps.Mail():
            session, reply = yield from _mail(session, step)
        case steps.Rcpt():
            session, reply = yield from _rcpt(session, step)
        case steps.Data():
            session, reply, mail = yield from _data(session, step)
    discarded = session.is_discarded and not before
    if reply is not None and reply.code == 421 and not session.is_closed:
        session = yield from _leave(session)
    return session, Outcome(step, reply, session.heard, mail, discarded, session.failures)


StepPlay: TypeAlias = Generator[Exchange, tuple[Link, Answer | None], tuple[Session, Reply | None]]


# --------------------------------------------------------------------------------- connection
def _connect(session: Session, step: steps.Connect) -> StepPlay:
    session = evolve(session, client=step)
    for number in range(len(session.sides)):
        link, data = start(session.sides[number].link)
        session, _ = yield from _exchange(session, number, (data,), link)
    event, name = _connect_event(step), "connect"
    session, refusal = yield from _ask_all(session, name, event)
    if refusal is None:
        return session, Reply(220, f"{session.profile.host} ESMTP")
    session = evolve(session, refusal=refusal)
    for number, side in enumerate(session.sides):
        if not side.is_off:
            session = yield from _close_side(session, number)
    if refusal.code == 421:
        return session, refusal
    if refusal.code >= 500:
        return session, Reply(554, f"{session.profile.host} ESMTP not accepting messages")
    return session, Reply(220, f"{session.profile.host} ESMTP")


def _connect_event(step: steps.Connect) -> ev.Connect:
    if not step.address:
        return ev.Connect("localhost", "U")
    address = ip_address(step.address)
    family = "6" if address.version == 6 else "4"
    return ev.Connect(step.name or f"[{step.address}]", family, address, step.port)


def _ehlo(session: Session, step: steps.Ehlo) -> StepPlay:
    profile = session.profile
    was_open = session.envelope is not None
    if was_open and not profile.is_postfix:
        session = yield from _reset(session)
    session = evolve(session, helo=step.name)
    if session.refusal is None:
        session, refusal = yield from _ask_all(session, "hello", ev.Hello(step.name))
        if refusal is not None:
            session = evolve(session, refusal=refusal)
            if profile.is_postfix:
                for number, side in enumerate(session.sides):
                    if not side.is_off:
                        session = yield from _close_side(session, number)
    if was_open and profile.is_postfix:
        session = yield from _reset(session)
    if session.refusal and not profile.is_postfix and session.refusal.code < 600:
        return session, session.refusal if session.refusal.code == 421 else Reply(250, profile.host)
    return session, Reply(250, profile.host)


def _start_tls(session: Session, step: steps.StartTls) -> Play:
    if session.profile.is_postfix:
        session = yield from _abort(session)
    return evolve(session, tls=step.macros, helo=None, envelope=None)


def _unknown(session: Session, step: steps.Command) -> StepPlay:
    postfix = session.profile.is_postfix
    line = step.line.split()[0] if postfix and step.line.split() else step.line
    session, refusal = yield from _ask_all(session, "unknown", ev.Unknown(line))
    text = "5.5.2 Error: command not recognized" if postfix else "5.5.1 Command unrecognized"
    return session, refusal or Reply(500, text)


def _leave(session: Session) -> Play:
    """The end of the SMTP session: QUIT to all, after Postfix's ABORTs."""
    if session.profile.is_postfix and session.envelope is not None:
        session = yield from _abort(session)
    for number, side in enumerate(session.sides):
        if not side.is_off:
            session = yield from _close_side(session, number, abort=session.profile.is_postfix)
    return evolve(session, is_closed=True, envelope=None)


def _close_side(session: Session, number: int, *, abort: bool = False, silent: bool = False) -> Play:
    side = session.sides[number]
    events: list[ev.Event] = [ev.Abort()] if abort else []
    writes = [] if silent else [join_frame(*encode_event(event)) for event in (*events, ev.Quit())]
    if not side.failure:
        yield Exchange(number, tuple(writes), evolve(side.link, event=None), closes=True)
    return _with_side(session, number, evolve(side, is_off=True))


# --------------------------------------------------------------------------------- transactions
def _mail(session: Session, step: steps.Mail) -> StepPlay:
    if session.refusal:
        return session, session.refusal
    failure = _broken(session)
    if failure:
        return session, failure
    profile = session.profile
    session = evolve(
        session,
        envelope=Envelope(step.sender, step.parameters),
        raw_sender=step.raw if step.raw is not None else f"<{step.sender}>",
        is_queued=not profile.is_postfix,
        is_discarded=False,
        messages=session.messages + 1,
        sides=tuple(evolve(side, is_silent=False, skips=frozenset()) for side in session.sides),
    )
    event = ev.Mail(step.sender, step.parameters, raw=session.raw_sender)
    session, refusal = yield from _ask_all(session, "mail", event, step.sender)
    if refusal is not None:
        if profile.is_postfix:
            session = yield from _abort(session)
        return evolve(session, envelope=None), refusal
    return session, Reply(250, "2.1.0 Ok")


def _rcpt(session: Session, step: steps.Rcpt) -> StepPlay:
    envelope = session.envelope
    if envelope is None:
        return session, session.refusal or Reply(503, "5.5.1 Need MAIL command")
    failure = _broken(session)
    if failure:
        return session, failure
    raw = step.raw if step.raw is not None else f"<{step.address}>"
    event = ev.Recipient(step.address, step.parameters, raw=raw)
    session, refusal = yield from _ask_all(
        session, "recipient", event, step.address, refused=step.refused
    )
    if step.refused is not None:
        return session, Reply(550, step.refused)
    if refusal is not None:
        return session, refusal
    added = (*envelope.recipients, (step.address, step.parameters))
    session = evolve(session, envelope=evolve(envelope, recipients=added), is_queued=True)
    return session, Reply(250, "2.1.5 Ok")


def _data(
    session: Session, step: steps.Data
) -> Generator[Exchange, tuple[Link, Answer | None], tuple[Session, Reply, Mail | None]]:
    envelope = session.envelope
    if envelope is None or not envelope.recipients:
        reply = session.refusal or Reply(503 if envelope is None else 554, "5.5.1 No valid recipients")
        return session, reply, None
    session, refusal = yield from ask_data(session)
    if refusal is not None:
        return session, refusal, None
    return (yield from take_content(session, step.content))


def ask_data(session: Session) -> StepPlay:
    """The DATA command itself: the reply that refuses it, or None where 354 is due."""
    session, refusal = yield from _ask_all(session, "data", ev.Data())
    if refusal is not None:
        session = yield from _end_transaction(session)
    return session, refusal


def take_content(
    session: Session, content: bytes
) -> Generator[Exchange, tuple[Link, Answer | None], tuple[Session, Reply, Mail | None]]:
    """The message after 354: the reply to the final dot, and the mail if it is accepted."""
    envelope = session.envelope or Envelope()
    mail = Mail(envelope, Message.parse(content))
    session, refusal, accepted = yield from _content(session, mail)
    reply = refusal or _queued(session)
    session = yield from _end_transaction(session)
    return session, reply, None if refusal or session.is_discarded else accepted


def _queued(session: Session) -> Reply:
    return Reply(250, f"2.0.0 Ok: queued as {session.profile.queue_id(session.messages)}")


def _content(
    session: Session, mail: Mail
) -> Generator[Exchange, tuple[Link, Answer | None], tuple[Session, Reply | None, Mail | None]]:
    """The whole message to one milter after the other, each seeing what the one before made of it."""
    profile = session.profile
    queue_id = profile.queue_id(session.messages)
    own = profile.own_fields(f"{session.helo or '?'}", queue_id, mail.message)
    mail = evolve(mail, message=evolve(mail.message, fields=(*own, *mail.message.fields)))
    for number in range(len(session.sides)):
        session, answer = yield from _show(session, number, mail)
        refusal = _refusal(session, answer, "end_of_message", "") if answer else _broken(session)
        if refusal is not None:
            return session, refusal, None
        if session.is_discarded:
            return session, None, None
        if answer and answer.modifications:
            mail = profile.edit(mail, answer.modifications)
    visible = tuple(field for field in mail.message.fields if not field.is_deleted)
    return session, None, evolve(mail, message=evolve(mail.message, fields=visible))


def _show(
    session: Session, number: int, mail: Mail
) -> Generator[Exchange, tuple[Link, Answer | None], tuple[Session, Answer | None]]:
    """One message to one milter, until it has decided."""
    seen = [one for one in mail.message.fields if _is_visible(one)]
    last: Answer | None = Answer()
    parts: list[tuple[str, ev.Event]] = [
        *(("header", one.event) for one in seen),
        ("end_of_headers", ev.EndOfHeaders()),
        *(("body", chunk) for chunk in body_chunks(mail.message.body)),
        ("end_of_message", ev.EndOfMessage()),
    ]
    for name, event in parts:
        session, last = yield from _ask(session, number, name, event)
        if last is None:
            return session, None
        if not isinstance(last.verdict, (act.Continue, act.Skip)):
            return session, last
    return session, last


def _is_visible(one: Field) -> bool:
    return one.owner == "message" and not one.is_deleted


def _end_transaction(session: Session) -> Play:
    if session.profile.is_postfix:
        session = yield from _abort(session)
    return evolve(
        session,
        envelope=None,
        sides=tuple(evolve(side, in_message=False) for side in session.sides),
    )


def _reset(session: Session) -> Play:
    """RSET, or what means the same."""
    if session.envelope is not None:
        session = yield from _abort(session)
    return evolve(session, envelope=None)


def _abort(session: Session) -> Play:
    """ABORT to whom it is due: Postfix says it to all, Sendmail to those that are in a message."""
    for number, side in enumerate(session.sides):
        if not side.is_off and (session.profile.is_postfix or side.in_message):
            frame = join_frame(*encode_event(ev.Abort()))
            yield Exchange(number, (frame,), evolve(side.link, event=None))
            session = _with_side(session, number, evolve(side, in_message=False))
    return session


# -------------------------------------------------------------------------------------- asking
def _ask_all(
    session: Session, name: str, event: ev.Event, address: str = "", refused: str | None = None
) -> StepPlay:
    """Ask all milters in order; the reply of the first that refuses ends it."""
    for number in range(len(session.sides)):
        session, answer = yield from _ask(session, number, name, event, refused)
        if answer is None:
            failure = _broken(session)
            if failure:
                return session, failure
            continue
        refusal = None if refused is not None else _refusal(session, answer, name, address)
        if refusal is not None:
            return session, refusal
    return session, None


def _refusal(session: Session, answer: Answer, name: str, address: str) -> Reply | None:
    if isinstance(answer.verdict, act.Shutdown):
        return Reply(421, "4.7.0 Server closing connection")
    if isinstance(answer.verdict, _REFUSALS):
        return session.profile.refusal(answer.verdict, name, address)
    return None


def _ask(
    session: Session, number: int, name: str, event: ev.Event, refused: str | None = None
) -> Generator[Exchange, tuple[Link, Answer | None], tuple[Session, Answer | None]]:
    """Ask one milter: its answer, `Continue` where it need not be asked, None where it has failed."""
    side = session.sides[number]
    if side.failure:
        return session, None
    if side.is_off or (side.is_silent and name in _MESSAGE_EVENTS):
        return session, Answer()
    link = side.link
    wanted = link.wants(name) and name not in side.skips
    if refused is not None and not link.has(ProtocolFlag.RCPT_REJ):
        wanted = False
    writes = _macro_writes(session, link, name, wanted, event, refused)
    if name == "mail":
        side = evolve(side, in_message=True)
        session = _with_side(session, number, side)
    if wanted:
        link, frame = say(link, event)
        writes = (writes[0] + frame,) if writes and session.profile.is_postfix else (*writes, frame)
    if not writes:
        return session, Answer()
    session, answer = yield from _exchange(session, number, writes, link)
    if answer is None or not wanted or refused is not None:
        return session, answer if answer is not None or wanted else Answer()
    return (yield from _settle(session, number, name, answer)), answer


def _exchange(
    session: Session, number: int, writes: tuple[bytes, ...], link: Link
) -> Generator[Exchange, tuple[Link, Answer | None], tuple[Session, Answer | None]]:
    side = session.sides[number]
    name = link.event
    try:
        link, answer = yield Exchange(number, writes, link)
    except MilterFailedError as failure:
        failed = evolve(side, failure=failure, link=evolve(side.link, event=None))
        session = evolve(session, failures=(*session.failures, failure))
        return _with_side(session, number, failed), None
    session = _with_side(session, number, evolve(side, link=link))
    if name is None:
        return session, Answer()
    heard = Heard(number, name, answer or Answer())
    return evolve(session, heard=(*session.heard, heard)), answer


def _settle(session: Session, number: int, name: str, answer: Answer) -> Play:
    """What an answer means for what is said later."""
    side, verdict, profile = session.sides[number], answer.verdict, session.profile
    of_connection = name in ("connect", "hello")
    match verdict:
        case act.Skip():
            side = evolve(side, skips=side.skips | {name})
        case act.Accept() if of_connection:
            return (yield from _close_side(session, number, silent=profile.is_postfix))
        case act.Reject() | act.TemporaryFailure() | act.ReplyCode() if of_connection:
            if profile.is_postfix or name == "connect":
                return (yield from _close_side(session, number, silent=profile.is_postfix))
        case act.Discard() if not of_connection:
            session = evolve(session, is_discarded=True)
            sides = tuple(evolve(one, is_silent=True) for one in session.sides)
            return evolve(session, sides=sides)
        case act.Continue() if name == "end_of_message":
            side = evolve(side, in_message=False)
        case act.Continue():
            pass
        case act.Accept() | act.Shutdown():
            side = evolve(side, is_silent=True, in_message=False)
        case _ if name not in ("recipient", "unknown"):
            side = evolve(side, is_silent=True, in_message=name == "data")
    return _with_side(session, number, side)


def _with_side(session: Session, number: int, side: Side) -> Session:
    sides = session.sides
    return evolve(session, sides=(*sides[:number], side, *sides[number + 1 :]))


def _broken(session: Session) -> Reply | None:
    """The reply where a milter has failed and mail does not pass without it."""
    if any(side.failure for side in session.sides):
        return session.profile.failure()
    return None


# -------------------------------------------------------------------------------------- macros
def _macro_writes(
    session: Session, link: Link, name: str, wanted: bool, event: ev.Event, refused: str | None
) -> tuple[bytes, ...]:
    """The macro packet of an event, if one is sent."""
    profile = session.profile
    if not (wanted or profile.sends_macros_unasked(name)):
        return ()
    names = _macro_names(session, link, name)
    if names is None:
        return ()
    values = _macro_values(session, name, event, refused)
    pairs = tuple(
        (spelled, values[bare]) for spelled in names if (bare := spelled.strip("{}")) in values
    )
    return (macros(name, pairs),)


def _macro_names(session: Session, link: Link, name: str) -> tuple[str, ...] | None:
    profile = session.profile
    stage_name = profile.stage_of(name) if profile.is_postfix else name
    row = ROW_OF_NAME[stage_name or name]
    configured = profile.macros.get(stage_name or name)
    if row.stage is None:
        return configured
    asked = link.macro_names(row.stage)
    if profile.is_postfix:
        return asked or configured
    if row.stage is Stage.EOM:
        # Sendmail looks at the list for end of headers to see whether there is one for the end.
        if link.macro_names(Stage.EOH) is None:
            return configured
        return asked or None
    if asked is None:
        return configured
    return asked or None


def _macro_values(session: Session, name: str, event: ev.Event, refused: str | None) -> dict[str, str]:
    """The macros that have a value at an event, by bare name."""
    profile, client = session.profile, session.client
    values = profile.fixed_macros()
    values["_"] = _peer(session)
    values |= {
        "client_addr": client.address,
        "client_name": client.name or f"[{client.address}]",
        "client_port": str(client.port),
    }
    values |= dict((*session.tls, *session.auth))
    if session.is_queued and session.messages:
        values["i"] = profile.queue_id(session.messages)
    if name == "mail" and isinstance(event, ev.Mail):
        values["mail_addr"] = event.sender
        if not event.sender and not profile.is_postfix:
            values |= {"mail_mailer": "local", "mail_host": ""}
    if name == "recipient" and isinstance(event, ev.Recipient):
        values["rcpt_addr"] = event.address
        if refused is not None:
            values |= {"rcpt_mailer": "error", "rcpt_host": "5.1.1", "rcpt_addr": refused}
    if name == "end_of_message" and not profile.is_postfix:
        values["msg_id"] = f"<{profile.queue_id(session.messages)}@{profile.host}>"
    return values


def _peer(session: Session) -> str:
    client = session.client
    if not client.address:
        return "localhost"
    if client.name:
        return f"{client.name} [{client.address}]"
    return f"unknown [{client.address}]" if session.profile.is_postfix else f"[{client.address}]"


# ----------------------------------------------------------------------------------- carrying out
class Carrier(Protocol):
    """What can carry out an exchange: a socket, or a filter in memory."""

    def carry_out(self, exchange: Exchange, /) -> tuple[Link, Answer | None]:
        """Write, and read until the answer is complete, or raise `MilterFailedError`."""


class AsyncCarrier(Protocol):
    """The same under asyncio."""

    async def carry_out(self, exchange: Exchange, /) -> tuple[Link, Answer | None]:
        """Write, and read until the answer is complete, or raise `MilterFailedError`."""


def play(generator: Generator[Exchange, tuple[Link, Answer | None], T], milters: Sequence[Carrier]) -> T:
    """Carry out what a session asks for, with these milters."""
    result, exchange = _advance(generator, None)
    while exchange is not None:
        try:
            heard = milters[exchange.milter].carry_out(exchange)
        except MilterFailedError as failure:
            result, exchange = _advance(generator, failure)
        else:
            result, exchange = _advance(generator, heard)
    return result  # type: ignore[return-value]  # set when there is nothing more to carry out


async def play_async(
    generator: Generator[Exchange, tuple[Link, Answer | None], T], milters: Sequence[AsyncCarrier]
) -> T:
    """The same under asyncio."""
    result, exchange = _advance(generator, None)
    while exchange is not None:
        try:
            heard = await milters[exchange.milter].carry_out(exchange)
        except MilterFailedError as failure:
            result, exchange = _advance(generator, failure)
        else:
            result, exchange = _advance(generator, heard)
    return result  # type: ignore[return-value]  # set when there is nothing more to carry out


def _advance(
    generator: Generator[Exchange, tuple[Link, Answer | None], T],
    heard: tuple[Link, Answer | None] | MilterFailedError | None,
) -> tuple[T | None, Exchange | None]:
    """The next thing to carry out, or what the session came to."""
    try:
        if heard is None:
            return None, next(generator)
        if isinstance(heard, MilterFailedError):
            return None, generator.throw(heard)
        return None, generator.send(heard)
    except StopIteration as stop:
        return stop.value, None

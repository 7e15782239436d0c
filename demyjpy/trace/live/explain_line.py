"""The explain line: an observer that logs a line at the end of each message. See docs/explain.md."""

import threading
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.drivers.report import log
from demyjpy.engine.connection import Step
from demyjpy.trace.display.wording import (
    ending,
    envelope,
    plural,
    safe,
)
from demyjpy.trace.format.exchanges import Exchange, Reply
from demyjpy.trace.format.message_stories import MessageStory, reading_messages
from demyjpy.trace.format.records import queue_id_in
from demyjpy.trace.live.kept_sessions import OpenSessions
from demyjpy.verdicts import is_verdict
from demyjpy.wire.codes import Command, ProtocolFlag

_BODY: Final = int(Command.BODY)
_TOLD: Final = frozenset({Command.CONNECT, Command.HELO, Command.MAIL, Command.RCPT})

LENGTH: Final = 320  # bytes of an address that are kept: RFC 5321, 4.5.3.1

_DECIDERS: Final = 16  # verdicts of a session whose handlers are known


@define
class _SessionNotes:
    """What is known of a session until its message ends."""

    take: Callable[[Reply], list[MessageStory]]
    leading_space: bool = False
    exchange: int = 0
    reply: Reply | None = None  # to what the MTA said last, until all handlers have run
    deciders: dict[int, str] = field(factory=dict)  # the latest handlers, by hashes of their verdicts
    editors: dict[str, None] = field(factory=dict)
    errors: int = 0
    spent: float = 0.0


class Explainer:
    """An observer that logs a line at the end of each message; ``explain=True`` of `start_milter`.

    ``length``: bytes of an address or a name that are kept, and told; so a session takes some kB at
    most, whatever a peer says. It may be called from any thread.
    """

    def __init__(self, write: Callable[[str], None] | None = None, *, length: int = LENGTH) -> None:
        self._length = length
        self._write = write or (lambda line: log.info("%s", line))
        self._sessions = OpenSessions(lambda name: _SessionNotes(reading_messages(name, most=1)))
        self._lock = threading.Lock()

    def __call__(self, step: Step) -> None:
        """Take a step."""
        with self._lock:
            session = self._sessions[step.session]
            if isinstance(step.event, ev.Disconnect):
                del self._sessions[step.session]
            ended = _ended(session, step, self._length)  # a line is made before what follows counts
            lines = [self._line(session, message) for message in ended]
        for line in lines:
            self._write(line)

    def _line(self, session: _SessionNotes, message: MessageStory) -> str:
        words = [f"session {message.session}: {safe(message.name)}", envelope(message)]
        if message.client:
            words.append(f"from {safe(message.client)}")
        by = session.deciders.get(_hash(message.verdict), "")
        end = ending(message, by, session.editors)
        if session.errors:
            end += f", {plural(session.errors, 'failure')} of handlers"
        if session.spent:
            end += f", {session.spent * 1000:.1f} ms"
        session.deciders, session.editors = {}, {}
        session.errors, session.spent = 0, 0.0
        return f"{' '.join(words)}: {end}"


def _hash(verdict: object) -> int:
    return hash(repr(verdict))


def _shortened(packet: tuple[int, bytes], longest: int) -> tuple[int, bytes]:
    """A packet, cut to what the explain line shows; it can still be read."""
    letter, payload = packet
    if letter not in _TOLD or len(payload) <= longest:
        return letter, b"" if letter not in _TOLD else payload
    if letter == Command.CONNECT:
        name, _, rest = payload.partition(b"\0")
        if len(rest) > longest:
            rest = rest[:longest] + b"\0"
        return letter, name[:longest] + b"\0" + rest
    path = payload.partition(b"\0")[0]
    if len(path) > longest:
        path = path[:longest] + (b">" if path.startswith(b"<") else b"")
    return letter, path + b"\0"


def _ended(session: _SessionNotes, step: Step, longest: int) -> Iterator[MessageStory]:
    """The messages that end with this step; first those that it shows to have ended before it.

    There is a step for each handler, and the answer comes with the last of an event. Until then, or
    until the MTA says something else, what was said before is kept.
    """
    if step.exchange != session.exchange:
        yield from _finish(session)
    session.exchange = step.exchange
    _note(session, step)
    is_over = isinstance(step.event, ev.Disconnect)
    if isinstance(step.event, ev.Options) and step.answer:
        session.leading_space = bool(step.answer[-1].protocol & ProtocolFlag.HDR_LEADSPC)
    if is_over:
        session.reply = Reply(_exchange(session, step, (ord("Q"), b""), longest), b"")
    elif step.packet is not None:
        letter, payload = _shortened(step.packet, longest)
        if isinstance(step.event, ev.Body):
            letter = _BODY  # also one that came with the end, which is a step of its own
        exchange = _exchange(session, step, (letter, payload), longest)
        session.reply = Reply(exchange, step.sent, session.leading_space)
    if step.sent or is_over:
        yield from _finish(session)


def _finish(session: _SessionNotes) -> list[MessageStory]:
    """The messages that end with what was kept."""
    reply, session.reply = session.reply, None
    return [] if reply is None else session.take(reply)


def _note(session: _SessionNotes, step: Step) -> None:
    """Who asked for what."""
    session.spent += step.duration or 0.0
    session.errors += step.error is not None
    if step.handler is None:
        return
    for action in step.actions:
        if is_verdict(action):
            key = _hash(action)
            session.deciders.pop(key, None)
            session.deciders[key] = step.handler.name
            if len(session.deciders) > _DECIDERS:
                del session.deciders[next(iter(session.deciders))]
        elif not isinstance(action, act.Negotiate):
            session.editors[step.handler.name] = None


def _exchange(session: _SessionNotes, step: Step, packet: tuple[int, bytes], longest: int) -> Exchange:
    queue_id = queue_id_in(step.after)
    queue_id = queue_id and queue_id[:longest]
    sent, exact = step.sent, session.leading_space
    return Exchange(step.exchange, packet, b"", sent, sent, 0.0, exact, queue_id, {}, ())

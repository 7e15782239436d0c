"""Why did it do that to this mail? One message in full sentences, or in one line of the log.

`sentences` reads a trace; `Explainer` is an observer that logs a line at the end of each message.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from attrs import define, evolve, field

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Verdict
from demyjpy.connection import Step
from demyjpy.drivers.report import log
from demyjpy.errors import MilterError
from demyjpy.macros import Macros
from demyjpy.trace.exchanges import Exchange, actions_of
from demyjpy.trace.messages import Message, Turn, reading_messages
from demyjpy.trace.records import Record
from demyjpy.trace.session import Trace
from demyjpy.trace.words import (
    change_words,
    ending,
    envelope,
    plural,
    safe,
    shorten,
    verdict_words,
)
from demyjpy.wire.codes import Command, ProtocolFlag

_VERDICTS: Final = (
    act.Accept,
    act.Reject,
    act.TemporaryFailure,
    act.Discard,
    act.Skip,
    act.ReplyCode,
    act.Continue,
)
_BODY: Final = int(Command.BODY)
_TOLD: Final = frozenset({Command.CONNECT, Command.HELO, Command.MAIL, Command.RCPT})

LENGTH: Final = 320
"""Bytes of an address that are kept; RFC 5321, 4.5.3.1, has no longer ones."""

_DECIDERS: Final = 16  # verdicts of a session whose handlers are known

_GONE_ON: Final = ("accepted", "quarantined")


# -------------------------------------------------------------------------------- in sentences
def sentences(trace: Trace, message: Message) -> Iterator[str]:
    """A message of a trace in full sentences: who said what, who decided, what was changed."""
    own = [one for one in trace.exchanges if message.first <= one.number <= message.last]
    before = [
        one for one in trace.exchanges if one.number < message.first and one.name in ("connect", "hello")
    ]
    is_cut = _is_cut(trace, message)
    if is_cut:
        message = evolve(message, outcome="undecided", at="")
    yield f"Message {safe(message.name)}, {envelope(message)}: {ending(message)}."
    if message.client:
        hello = f" and said hello as {safe(message.helo)}" if message.helo else ""
        yield f"{safe(message.client)} connected{hello}."
    yield from _envelope_sentences(message)
    for exchange in (*before, *own):
        yield from _step_sentences(exchange, message)
    yield _cut_sentence(trace) if is_cut else _decision(message, [*before, *own])
    yield from _edit_sentences(message, own)
    spent = sum(_duration(record) for one in own for record in one.records)
    if spent:
        slowest = max(
            (record for one in own for record in one.records), key=_duration, default=dict[str, Any]()
        )
        yield (
            f"The handlers took {spent * 1000:.1f} ms, {_duration(slowest) * 1000:.1f} ms of it "
            f"{_name(slowest)} at {slowest.get('event')}."
        )


def _is_cut(trace: Trace, message: Message) -> bool:
    """Whether the recording ends before it tells what became of the message."""
    is_last = message.last == trace.exchanges[-1].number
    is_open = message.outcome == "unanswered" or (message.outcome, message.at) == (
        "given up",
        "disconnect",
    )
    return trace.how == "cut" and is_last and is_open


def _cut_sentence(trace: Trace) -> str:
    why = safe(trace.reason) or "the session was still open, or the rest is lost"
    return f"The recording ends here: {why}."


def _envelope_sentences(message: Message) -> Iterator[str]:
    if message.sender is not None:
        yield f"It gave the sender <{safe(message.sender)}>."
    taken = len(message.recipients) - len(message.refused)
    if message.recipients:
        names = ", ".join(f"<{safe(one)}>" for one in message.recipients)
        yield f"It gave {plural(len(message.recipients), 'recipient')}: {names}."
    if message.refused:
        yield f"The filter refused {len(message.refused)} of them, and {taken} stayed."


def _step_sentences(exchange: Exchange, message: Message) -> Iterator[str]:
    """What handlers asked for or did wrong at a step, where that is not only going on."""
    for record in exchange.records:
        name, error = _name(record), record.get("error")
        if isinstance(error, dict):
            what = shorten(f"{error.get('type')}: {error.get('text')}")
            yield _sentence(f"{name} failed at {exchange.name}: {what}.")
        for verdict in _verdicts(record):
            decided = exchange.name == message.at and verdict == message.verdict
            if not isinstance(verdict, act.Continue | act.Skip) and not decided:
                yield _sentence(f"{name} asked for {verdict_words(verdict)} at {_place(exchange)}.")


def _place(exchange: Exchange) -> str:
    """The step, and what it was about."""
    try:
        event = exchange.event
    except MilterError:
        return exchange.name
    match event:
        case ev.Recipient():
            return f"recipient <{safe(event.address)}>"
        case ev.Header():
            return f"header {safe(event.name)}"
        case _:
            return exchange.name


def _decision(message: Message, exchanges: Iterable[Exchange]) -> str:
    verdict = message.verdict
    if message.outcome == "unanswered":
        return "The filter never answered at its end."
    if verdict is None:
        return f"It was given up by the MTA or its client ({message.at}), not by the filter."
    if isinstance(verdict, act.Continue):
        return f"No handler objected: the answer at {message.at} was to go on."
    deciders = [
        _name(record)
        for one in exchanges
        if one.name == message.at
        for record in one.records
        if verdict in _verdicts(record)
    ]
    if deciders:
        return _sentence(f"{deciders[-1]} decided at {message.at}: {verdict_words(verdict)}.")
    return f"The answer at {message.at} was {verdict_words(verdict)}."


def _edit_sentences(message: Message, exchanges: Iterable[Exchange]) -> Iterator[str]:
    """The changes, with who asked for them; those that came to nothing, too."""
    asked = [
        (_name(record), action)
        for one in exchanges
        for record in one.records
        for action in _actions(record)
        if not isinstance(action, (*_VERDICTS, act.Progress))
    ]
    made = message.edits if message.outcome in _GONE_ON else ()
    who = {repr(action): name for name, action in asked}
    for edit in made:
        by = f", asked for by {who[repr(edit)]}" if repr(edit) in who else ""
        yield f"Change: {change_words(edit)}{by}."
    for name, edit in asked:
        if edit in made:
            continue
        why = f"the mail was {message.outcome}" if message.outcome not in _GONE_ON else "it was not sent"
        yield f"Dropped: {change_words(edit)}, asked for by {name}, for {why}."


def _sentence(text: str) -> str:
    """With a capital, unless it begins with the name of a function."""
    return f"T{text[1:]}" if text.startswith("the ") else text


def _name(record: Record) -> str:
    name = record.get("handler")
    return safe(name) if isinstance(name, str) else "the filter"


def _duration(record: Record) -> float:
    found = record.get("duration")
    return float(found) if isinstance(found, int | float) else 0.0


def _actions(record: Record) -> tuple[Any, ...]:
    """What a handler queued; of a filter that did not tell, what was said."""
    try:
        return actions_of(record, "actions" if "handler" in record else "answer")
    except MilterError:
        return ()


def _verdicts(record: Record) -> list[Verdict]:
    return [action for action in _actions(record) if isinstance(action, _VERDICTS)]


# --------------------------------------------------------------------------------- in one line
@define
class _Session:
    """What is known of a session until its message ends."""

    take: Callable[[Turn], list[Message]]
    count: int = 0
    leading_space: bool = False
    packet: Any = None
    deciders: dict[int, str] = field(factory=dict)
    """Handlers by the hash of the verdict that they asked for; the latest ones."""
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
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    def __call__(self, step: Step) -> None:
        """Take a step."""
        with self._lock:
            session = self._sessions.get(step.session)
            if session is None:
                take = reading_messages(step.session, most=1)
                session = self._sessions[step.session] = _Session(take)
            if isinstance(step.event, ev.Disconnect):
                del self._sessions[step.session]
            lines = [self._line(session, message) for message in _take(session, step, self._length)]
        for line in lines:
            self._write(line)

    def _line(self, session: _Session, message: Message) -> str:
        words = [f"session {message.session}: {safe(message.name)}", envelope(message)]
        if message.client:
            words.append(f"from {safe(message.client)}")
        by = session.deciders.get(_hash(message.verdict))
        end = ending(message) + (f" by {safe(by)}" if by else "")
        if session.editors and message.edits:
            end += f" by {safe(', '.join(session.editors))}"
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
    """A packet with as much as is told of what it says, still one that can be read."""
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


def _take(session: _Session, step: Step, longest: int) -> list[Message]:
    """The messages that end with this step."""
    _note(session, step)
    if isinstance(step.event, ev.Options) and step.answer:
        session.leading_space = bool(step.answer[-1].protocol & ProtocolFlag.HDR_LEADSPC)
    if isinstance(step.event, ev.Disconnect):
        return session.take(Turn(_exchange(session, step, (ord("Q"), b""), longest), b""))
    if step.packet is None or (step.packet is session.packet and not step.sent):
        return []
    is_new = step.packet is not session.packet
    # what was answered is over, and not kept while the peer idles
    session.packet = None if step.sent else step.packet
    letter, payload = _shortened(step.packet, longest)
    if isinstance(step.event, ev.Body):
        letter = _BODY  # also one that came with the end, which is a step of its own
    exchange = _exchange(session, step, (letter, payload), longest)
    return session.take(Turn(exchange, step.sent, session.leading_space, is_again=not is_new))


def _note(session: _Session, step: Step) -> None:
    """Who asked for what."""
    session.spent += step.duration or 0.0
    session.errors += step.error is not None
    if step.handler is None:
        return
    for action in step.actions:
        if isinstance(action, _VERDICTS):
            key = _hash(action)
            session.deciders.pop(key, None)
            session.deciders[key] = step.handler.name
            if len(session.deciders) > _DECIDERS:
                del session.deciders[next(iter(session.deciders))]
        elif not isinstance(action, act.Negotiate):
            session.editors[step.handler.name] = None


def _exchange(session: _Session, step: Step, packet: tuple[int, bytes], longest: int) -> Exchange:
    session.count += 1
    macros = step.after.get("macros")
    queue_id = macros.get("i") if isinstance(macros, Macros) else None
    queue_id = queue_id if queue_id is None else queue_id[:longest]
    return Exchange(session.count, packet, b"", step.sent, 0.0, session.leading_space, queue_id, {}, ())

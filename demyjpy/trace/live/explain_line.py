"""The explain line: from the tape, a line in the log at the end of each message. See docs/explain.md."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from attrs import define, field
from pyrsistent import PMap

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import decode_event
from demyjpy.drivers.report import log
from demyjpy.engine.connection import Step
from demyjpy.engine.letters import CONNECT, MAIL
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.engine.tape import Queued, Stretch
from demyjpy.errors import MilterError
from demyjpy.events import strip_brackets
from demyjpy.findings import Finding
from demyjpy.registry import Handler
from demyjpy.reports import Note, words_of_report
from demyjpy.requests import Request
from demyjpy.trace.display.wording import (
    ending,
    envelope,
    finding_words,
    plural,
    safe,
    withheld_words,
)
from demyjpy.trace.format.exchanges import Exchange, Reply
from demyjpy.trace.format.message_stories import Follower, MessageStory
from demyjpy.trace.format.plain_stretches import (
    CONTENT,
    about_queue_id,
    envelope_in,
    queue_id_in_heard,
)
from demyjpy.trace.format.question_words import learned_words
from demyjpy.trace.format.records import queue_id_in
from demyjpy.trace.live.kept_sessions import OpenSessions
from demyjpy.verdicts import is_verdict
from demyjpy.wire.codes import Command, ProtocolFlag
from demyjpy.wire.fields import decode_text

_BODY: Final = int(Command.BODY)
_LEADSPC: Final = int(ProtocolFlag.HDR_LEADSPC)
_TOLD: Final = frozenset({Command.CONNECT, Command.HELO, Command.MAIL, Command.RCPT})

_UNTOLD: Final = frozenset({ev.Options, ev.DefineMacros, ev.Unknown})  # they say nothing of a message

LENGTH: Final = 320  # bytes of an address that are kept: RFC 5321, 4.5.3.1

_FINDINGS: Final = 10  # of a message that stand in its line

_LEARNED: Final = 5  # answers of a message that stand in its line

_OF_CONNECTION: Final = frozenset({"connect", "hello"})

_WITHHELD: Final = 10  # of a message that stand in its line

_DECIDERS: Final = 16  # verdicts of a session whose handlers are known


@define
class _SessionNotes:
    """What is known of a session until its message ends."""

    follower: Follower
    leading_space: bool = False
    exchange: int = 0
    reply: Reply | None = None  # to what the MTA said last, until all handlers have run
    deciders: dict[int, str] = field(factory=dict)  # the latest handlers, by hashes of their verdicts
    editors: dict[str, None] = field(factory=dict)
    withheld: dict[str, None] = field(factory=dict)  # by filters that are only tried, in words
    findings: tuple[Finding, ...] = ()  # all that the context has
    learned: list[str] = field(factory=list)  # answers, in words
    learned_count: int = 0
    notes: tuple[Note, ...] = ()
    errors: int = 0
    spent: float = 0.0
    macros: Macros = NO_MACROS  # as far as they say a queue id: of the tape only


class Explainer:
    """Logs a line at the end of each message; ``explain=True`` of `start_milter`.

    It reads tapes. It is an observer, too: given all steps, it writes the same lines. ``length``: bytes
    of an address or a name that are kept, and told; so a session takes some kB at most, whatever a peer
    says. Any threads may call it, for one session one after the other.
    """

    keeps_bodies = False

    def __init__(self, write: Callable[[str], None] | None = None, *, length: int = LENGTH) -> None:
        self._length = length
        self._write = write or (lambda line: log.info("%s", line))
        # no lock: what is kept of a session is changed by the thread that serves it, and by no other
        self._sessions = OpenSessions(lambda name: _SessionNotes(Follower(name, most=1)))

    def __call__(self, step: Step) -> None:
        """Take a step."""
        for line in self._lines_of(step.session, step):
            self._write(line)

    def read(self, stretch: Stretch) -> None:
        """Take a stretch of a tape."""
        name, turned = stretch.session, stretch.turned
        if turned is None:
            session = self._sessions[name]
            # a line is made before what follows counts
            lines = [
                self._line(session, message)
                for message in _ended_plainly(session, stretch, self._length)
            ]
        else:
            lines = [line for step in turned for line in self._lines_of(name, step)]
        if stretch.is_over:
            self._sessions.pop(name, None)
        elif turned is not None and (stretch.macros is not NO_MACROS or name in self._sessions):
            # after QUIT_NC it is one more session, as for the steps
            self._sessions[name].macros = about_queue_id(stretch.macros, self._length)
        for line in lines:
            self._write(line)

    def _lines_of(self, name: str, step: Step) -> list[str]:
        """``name``: of the session; a step that was repeated has another one."""
        session = self._sessions[name]
        lines = [self._line(session, message) for message in _ended(session, step, self._length)]
        if isinstance(step.event, ev.Disconnect):
            del self._sessions[name]
        return lines

    def _line(self, session: _SessionNotes, message: MessageStory) -> str:
        words = [f"session {message.session}: {safe(message.name)}", envelope(message)]
        if message.client:
            words.append(f"from {safe(message.client)}")
        by = session.deciders.get(_hash(message.verdict), "") if session.deciders else ""
        end = ending(message, by, session.editors, says_what=True)
        if session.findings:
            end += f", found {_words_for(session.findings)}"
        if session.withheld:
            end += f", would have: {'; '.join(session.withheld)}"
        if session.learned:
            more = session.learned_count - len(session.learned)
            asked = "; ".join(session.learned) + (f"; and {more} more" if more else "")
            end += f", asked {asked}"
        if session.notes:
            said = [safe(words_of_report(one))[: self._length] for one in session.notes]
            end += f", noted {'; '.join(said)}"
        if session.errors:
            end += f", {plural(session.errors, 'failure')} of handlers"
        if session.spent:
            end += f", {session.spent * 1000:.1f} ms"
        session.deciders, session.editors, session.withheld, session.notes = {}, {}, {}, ()
        session.errors, session.spent = 0, 0.0
        session.learned, session.learned_count = [], 0
        # what was found at the beginning of the connection holds for the next message, too
        session.findings = tuple([one for one in session.findings if one.event in _OF_CONNECTION])
        return f"{' '.join(words)}: {end}"


def _words_for(found: tuple[Finding, ...]) -> str:
    """Findings in words, as many as a line can have."""
    words = "; ".join(map(finding_words, found[:_FINDINGS]))
    return words if len(found) <= _FINDINGS else f"{words}; and {len(found) - _FINDINGS} more"


def _findings_in(ctx: Any) -> tuple[Finding, ...]:
    """The findings of a context; a handler may have put anything there."""
    found = ctx.get("findings", ())
    is_known = isinstance(found, tuple) and all(isinstance(one, Finding) for one in found)
    return found if is_known else ()


def _hash(verdict: object) -> int:
    return hash(repr(verdict))


def _cut_path(path: bytes, longest: int) -> bytes:
    """An address that is not too long, with its angle brackets if it has some."""
    return path if len(path) <= longest else path[:longest] + (b">" if path.startswith(b"<") else b"")


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
    return letter, _cut_path(payload.partition(b"\0")[0], longest) + b"\0"


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
        session.leading_space = bool(int(step.answer[-1].protocol) & _LEADSPC)
    if is_over:
        session.reply = Reply(_exchange(session, step, (ord("Q"), b""), longest), b"")
    elif type(step.event) in _UNTOLD:
        session.reply = None
    elif step.packet is not None:
        letter, payload = _shortened(step.packet, longest)
        if isinstance(step.event, ev.Body) and not step.is_shown_again:
            letter = _BODY  # also one that came with the end, which is a step of its own
        exchange = _exchange(session, step, (letter, payload), longest)
        session.reply = Reply(exchange, step.sent, session.leading_space)
    if step.sent or is_over:
        yield from _finish(session)


def _finish(session: _SessionNotes) -> Iterator[MessageStory]:
    """The messages that end with what was kept."""
    reply, session.reply = session.reply, None
    if reply is not None:
        yield from session.follower.take(reply)


def _note(session: _SessionNotes, step: Step) -> None:
    """Who asked for what."""
    session.spent += step.duration or 0.0
    session.errors += step.error is not None
    session.learned_count += len(step.learned)
    for one in step.learned[: max(_LEARNED - len(session.learned), 0)]:
        session.learned.append(learned_words(one, is_short=True))
    if step.handler is None:
        return
    session.findings = _findings_in(step.after)
    if step.withheld:
        if len(session.withheld) < _WITHHELD:
            name = safe(step.handler.filter or step.handler.name)
            session.withheld[f"{name}: {withheld_words(step.withheld)}"] = None
        return
    for action in step.actions:
        if is_verdict(action):
            key = _hash(action)
            session.deciders.pop(key, None)
            session.deciders[key] = step.handler.name
            if len(session.deciders) > _DECIDERS:
                del session.deciders[next(iter(session.deciders))]
        elif isinstance(action, Note):
            session.notes = (*session.notes, action)[:_FINDINGS]
        elif not isinstance(action, act.Negotiate | Request):
            session.editors[step.handler.name] = None


def _exchange(session: _SessionNotes, step: Step, packet: tuple[int, bytes], longest: int) -> Exchange:
    # before: a handler may return a context without macros
    queue_id = queue_id_in(step.before)
    queue_id = queue_id and queue_id[:longest]
    sent, exact = step.sent, session.leading_space
    return Exchange(step.exchange, packet, b"", sent, sent, 0.0, exact, queue_id, {}, ())


# ------------------------------------------------------------------------------- on the hot path
def _ended_plainly(session: _SessionNotes, stretch: Stretch, longest: int) -> Iterator[MessageStory]:
    """The messages that end with a stretch of the hot path; first one that had ended before it.

    No handler gave a verdict or failed: it is enough to know who writes to whom, and the answer.
    """
    if session.reply is not None:
        yield from _finish(session)
    follower = session.follower
    answer, results = stretch.answer, stretch.results
    session.spent += sum(stretch.took)
    if results:
        _note_findings(session, results)
    said, last = envelope_in(stretch.heard)
    for letter, payload in said:
        if letter == CONNECT:
            _take_client(follower, payload, longest)
        elif letter == MAIL:
            follower.begin().sender = _address_in(payload, longest)
        else:
            follower.add_recipient(_address_in(payload, longest))
    queue_id = _queue_id(session, stretch, longest)
    if last in CONTENT:
        follower.begin()
    if queue_id and follower.open is not None:
        follower.open.queue_id = queue_id
    if len(answer) > 1 and (editor := _editor_in(stretch)) is not None:
        session.editors[editor.name] = None
    if answer:
        yield follower.decide(answer[-1], answer[:-1])
    elif stretch.ends_message:
        yield from follower.give_up("abort")


def _note_findings(session: _SessionNotes, results: Mapping[int, Any]) -> None:
    """What the last context of a stretch has."""
    last = results[max(results)]
    if isinstance(last, Queued):
        session.findings = last.findings or ()
    elif isinstance(last, PMap):
        session.findings = _findings_in(last)


def _editor_in(stretch: Stretch) -> Handler[Any] | None:
    """Whose edits were sent: on the hot path there is one who edits at the end of a message."""
    results = stretch.results
    editors = [stretch.handlers[at] for at in sorted(results) if _queue_in(results[at])]
    return editors[-1] if editors else None


def _queue_in(result: Any) -> Any:
    """What was queued in what a handler returned, whole or as an outline; None if that is unchanged."""
    return result.queue if isinstance(result, Queued) else result and result.get("queue")


def _queue_id(session: _SessionNotes, stretch: Stretch, longest: int) -> str | None:
    """The last one that an exchange of the message had in this stretch."""
    if stretch.answer and (found := stretch.macros.get("i")):
        session.macros = about_queue_id(stretch.macros, longest, after_message=True)
        return found[:longest]
    found, session.macros = queue_id_in_heard(stretch.heard, session.macros, longest)
    return found


def _take_client(follower: Follower, payload: bytes, longest: int) -> None:
    if len(payload) > longest:
        with suppress(MilterError):  # its address is cut
            follower.greet(decode_event(_shortened((CONNECT, payload), longest)))
        return
    name, _, rest = payload.partition(b"\0")
    address = rest[3:].partition(b"\0")[0] if rest[:1] != b"U" else b""  # after family and port
    follower.meet(decode_text(name), decode_text(address))


def _address_in(payload: bytes, longest: int) -> str:
    return strip_brackets(decode_text(_cut_path(payload.partition(b"\0")[0], longest)))

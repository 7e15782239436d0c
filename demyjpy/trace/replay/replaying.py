"""A recorded session, said again to a filter by an MTA that follows what this filter answers.

What the filter has declined is not said, and after a verdict that ends a message nothing more of it. So
another filter than the recorded one can be played, one that negotiates something else too.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import groupby
from typing import Any, Final

from attrs import field, frozen

from demyjpy import actions as act
from demyjpy.codec import EVENTS, ROW_OF_NAME, decode_event, encode_event
from demyjpy.context import Context
from demyjpy.engine.connection import Setup, Step, Trouble
from demyjpy.engine.handler_results import check_context
from demyjpy.engine.limits import Limits
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.errors import MilterError
from demyjpy.filter_policy import OnError
from demyjpy.handlers import ENVELOPE, as_registry, merge_handlers, watch_envelope
from demyjpy.known_facts import Network, as_networks
from demyjpy.merging import watched_for_facts
from demyjpy.questions import Outcome
from demyjpy.registry import Registry
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.format.exchanges import Exchange, Reply
from demyjpy.trace.format.known_answers import KnownAnswers
from demyjpy.trace.format.message_stories import MessageStory, messages_of
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.replay.outside_calls import OutsideWatch
from demyjpy.verdicts import Fate, ends_message, fate_of
from demyjpy.wire.codes import Command, ProtocolFlag, Response
from demyjpy.wire.framing import join_frame

_C: Final = Command
_CONTENT: Final = frozenset({_C.DATA, _C.HEADER, _C.EOH, _C.BODY, _C.BODYEOB})
_CONTINUE: Final = join_frame(Response.CONTINUE)
# What is said again although the rest of a message, or session, is not.
_ENDS: Final = {
    "message": frozenset({_C.MAIL, _C.HELO, _C.ABORT, _C.QUIT, _C.QUIT_NC, _C.UNKNOWN}),
    "hello": frozenset({_C.HELO, _C.ABORT, _C.QUIT, _C.QUIT_NC}),
    "connection": frozenset({_C.ABORT, _C.QUIT, _C.QUIT_NC}),
}


@frozen
class Filter:
    """A filter as it is to be played: a registry or an ``on_connect`` function, and its options.

    ``trusted_relays`` are those that the milter was given. ``watch`` sees what its handlers reach
    outside of the session. ``ask`` answers its questions now; if
    there is none, they get the answers that were recorded, and nobody is asked.
    """

    on_connect: Any
    on_error: OnError = "tempfail"
    limits: Limits = field(factory=Limits)
    watch: OutsideWatch | None = field(default=None, eq=False)
    ask: Callable[[Asked], Outcome] | None = field(default=None, eq=False)
    trusted_relays: tuple[Network, ...] = field(default=(), converter=as_networks)

    def setup(self, trace: Trace, steps: list[Step] | None, gaps: list[str]) -> Setup:
        """For the engine; ``steps`` takes the steps, ``gaps`` the events that the trace cannot have.

        The filter is played without handlers for those, and knows no facts from them: the recorded one
        had declined them.
        """
        on_connect = as_on_connect(self.on_connect)
        declined, watched = declined_in(trace), watched_in(trace)

        def connect(ctx: Context) -> Context:
            ctx = check_context(on_connect(ctx))
            registry = as_registry(ctx["handlers"])
            if watched:
                ctx = ctx.set("optional_events", ctx["optional_events"] | watched)
                registry = watch_envelope(registry, watched)
            wanted = declined & (frozenset(registry) | watched_for_facts(registry))
            if wanted:
                gaps[:] = sorted(wanted)
                registry = _without(registry, wanted)
            ctx = ctx.set("handlers", registry) if watched or wanted else ctx
            return ctx if self.watch is None else self.watch.watched(ctx)

        observer = None if steps is None else steps.append
        relays = self.trusted_relays
        return Setup(connect, self.on_error, self.limits, observer, trusted_relays=relays)


def declined_in(trace: Trace) -> frozenset[str]:
    """The events that the recorded filter had declined, and that were not said."""
    agreed = trace.agreement
    if agreed is None:
        return frozenset()
    said = {exchange.letter for exchange in trace.exchanges}
    rows = ((letter, row) for letter, row in EVENTS.items() if row.off & agreed.protocol)
    return frozenset(row.name for letter, row in rows if letter not in said)


def watched_in(trace: Trace) -> frozenset[str]:
    """Of sender and recipients those that were sent as to who only watches them.

    That is without an answer. An MTA that waits for answers in any case had none but Continue.
    """
    agreed = trace.agreement
    if agreed is None:
        return frozenset()
    can_be_quiet = _offered(trace)
    heard = {one.letter for one in trace.exchanges if one.expected not in (b"", _CONTINUE)}
    rows = (ROW_OF_NAME[name] for name in ENVELOPE)
    return frozenset(
        row.name
        for row in rows
        if not row.off & agreed.protocol
        and (row.quiet & agreed.protocol or not (row.quiet & can_be_quiet or row.letter in heard))
    )


def _offered(trace: Trace) -> ProtocolFlag:
    """What the MTA offered at the last negotiation that could be read."""
    found = ProtocolFlag.NONE
    for exchange in trace.exchanges:
        if exchange.letter == _C.OPTNEG:
            with suppress(MilterError):
                offer: Any = decode_event(exchange.packet)
                found = offer.protocol
    return found


def _without(registry: Registry, events: frozenset[str]) -> Registry:
    """The same filter without handlers for these events."""
    return merge_handlers(
        *(
            Registry({name: part[name] for name in part if name not in events}, part.declarations)
            for part in registry.parts
        )
    )


@frozen
class AskedAgain:
    """The questions of a session that was played: ``known`` got the answer that was recorded.

    ``missing`` names those to which the recording has no answer, ``more`` is how many there are beyond
    these. They fail.
    """

    known: int = 0
    missing: tuple[str, ...] = ()
    more: int = 0

    @classmethod
    def of(cls, answers: KnownAnswers) -> "AskedAgain":
        """As far as they have been given."""
        missing = tuple(answers.missing)
        return cls(answers.count, missing, answers.missing_count - len(missing))


@frozen
class Replayed:
    """What a filter said to a recorded session.

    ``replies`` are as many as the exchanges; ``steps`` those of the engine at each of them, if they
    were asked for. ``gaps`` are events that this filter wants and the recording cannot have: its
    filter had declined them. ``asked`` says what became of its questions.
    """

    trace: Trace = field(repr=False)
    replies: tuple[Reply, ...]
    troubles: tuple[Trouble, ...] = ()
    steps: tuple[tuple[Step, ...], ...] = field(default=(), repr=False)
    gaps: tuple[str, ...] = ()
    asked: AskedAgain = field(factory=AskedAgain)

    @property
    def messages(self) -> list[MessageStory]:
        """What became of each message."""
        return messages_of(self.trace.name, self.replies)


def replay(trace: Trace, played: Filter, *, observed: bool = False) -> Replayed:
    """Play a session through a filter; ``observed``: keep the engine's steps."""
    steps: list[Step] = []
    gaps: list[str] = []
    setup = played.setup(trace, steps if observed else None, gaps)
    answers = trace.known_answers()
    mta = ReplayMta(FilterConnection(setup, trace.name, played.ask or answers))
    replies: list[Reply] = []
    groups: list[tuple[Step, ...]] = []
    with mta.connection:
        for exchange in trace.exchanges:
            answers.is_cut = is_unanswered(exchange, trace.agreement)
            replies.append(mta.say(exchange))
            groups.append(tuple(steps))
            steps.clear()
        mta.connection.end(trace.ended_at)
    if groups:
        groups[-1] += tuple(steps)
    return Replayed(
        trace,
        tuple(replies),
        tuple(mta.connection.troubles),
        tuple(groups),
        tuple(gaps),
        AskedAgain.of(answers),
    )


class ReplayMta:
    """What an MTA knows of a session with the filter behind ``connection``."""

    def __init__(self, connection: FilterConnection) -> None:
        self.connection = connection
        self.leading_space = False
        self._skips: str | None = None
        self._off: frozenset[int] = frozenset()
        self._recipients = self._refused = 0

    def say(self, exchange: Exchange) -> Reply:
        """One packet of the MTA's, if it would say it; and what is said to it."""
        if self._is_skipped(exchange):
            return Reply(exchange, b"", self.leading_space, is_skipped=True)
        reply = Reply(
            exchange, self.connection.say(self._data_of(exchange), exchange.time), self.leading_space
        )
        if exchange.letter == _C.MAIL:
            self._recipients = self._refused = 0
        self._recipients += exchange.letter == _C.RCPT
        if reply.data not in (b"", _CONTINUE):
            self._hear(exchange, reply)
        return reply

    def _is_skipped(self, exchange: Exchange) -> bool:
        if self.connection.is_closed:
            return True
        letter, payload = exchange.packet
        target = payload[0] if letter == _C.MACRO and payload else letter
        if self._skips is not None:
            if target not in _ENDS[self._skips]:
                return True
            if letter != _C.MACRO and (self._skips != "connection" or letter == _C.QUIT_NC):
                self._skips = None
        if letter in _CONTENT and 0 < self._recipients == self._refused:
            return True  # nobody is left to whom it could go
        return letter in self._off

    def _data_of(self, exchange: Exchange) -> bytes:
        """What is said; header values as it was agreed with this filter."""
        if exchange.letter != _C.HEADER or exchange.leading_space == self.leading_space:
            return exchange.sent
        try:
            event = decode_event(exchange.packet, exchange.leading_space)
            return join_frame(*encode_event(event, self.leading_space))
        except MilterError:
            return exchange.sent

    def _hear(self, exchange: Exchange, reply: Reply) -> None:
        if exchange.letter == _C.OPTNEG:
            self._agree(exchange, reply)
            return
        verdict = reply.verdict
        if verdict is not None and not isinstance(verdict, act.Continue):
            self._skips = _what_ends(exchange.letter, verdict) or self._skips
            self._refused += exchange.letter == _C.RCPT

    def _agree(self, exchange: Exchange, reply: Reply) -> None:
        (agreement,) = (one for one in reply.actions if isinstance(one, act.Negotiate))
        self.leading_space = bool(agreement.protocol & ProtocolFlag.HDR_LEADSPC)
        recorded = exchange.agreement
        # what an MTA has said although it was declined, it says again
        off = int(agreement.protocol) & ~(int(recorded.protocol) if recorded else 0)
        self._off = frozenset(letter for letter, row in EVENTS.items() if row.off & off)


def _what_ends(letter: int, verdict: act.Verdict) -> str | None:
    """What an answer ends: a message, the connection, what followed HELO; or nothing."""
    if letter == _C.CONNECT or (isinstance(verdict, act.ReplyCode) and verdict.code == 421):
        return "connection"
    if letter == _C.HELO:
        return "connection" if fate_of(verdict) is Fate.ACCEPTED else "hello"
    return "message" if letter != _C.BODYEOB and ends_message(EVENTS[letter].name, verdict) else None


def replay_at_once(trace: Trace, played: Filter) -> tuple[bytes, AskedAgain]:
    """All that a filter says to all that was recorded: the fast way to see that nothing differs."""
    answers = trace.known_answers()
    setup = played.setup(trace, None, [])
    with FilterConnection(setup, trace.name, played.ask or answers) as connection:
        said = b"".join(
            [
                connection.say(data, time)
                for time, exchanges in groupby(trace.exchanges, lambda exchange: exchange.time)
                for data in _told(exchanges, at_once=not answers.has_any)
            ]
        )
        connection.end(trace.ended_at)
    return said, AskedAgain.of(answers)


def _told(exchanges: Iterable[Exchange], *, at_once: bool) -> list[bytes]:
    """What came at one time; if not ``at_once``, each question is answered before the next packet."""
    told = [exchange.sent for exchange in exchanges]
    return [b"".join(told)] if at_once else told


def recorded_answers(trace: Trace) -> Replayed:
    """The recorded filter's own answers, to be compared with those of another."""
    return Replayed(trace, tuple(one.recorded for one in trace.exchanges))


def is_unanswered(exchange: Exchange, agreement: act.Negotiate | None) -> bool:
    """Whether an answer was due and the recording has none: the filter hung, or the recording ends."""
    row = EVENTS.get(exchange.letter)
    quiet = agreement.protocol if agreement else ProtocolFlag.NONE
    return row is not None and row.replies and not exchange.expected and not quiet & row.quiet

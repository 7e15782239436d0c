"""Counts what happens, from tapes or step by step, for Prometheus (the extra ``metrics``)."""

import importlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final, Protocol, TypeAlias

from attrs import frozen

from demyjpy import events as ev
from demyjpy.actions import Negotiate, Quarantine
from demyjpy.codec import name_of
from demyjpy.drivers.breaker_log import BREAKERS, Mark
from demyjpy.engine.connection import Step
from demyjpy.engine.open_questions import Learned
from demyjpy.engine.tape import Stretch, learned_in
from demyjpy.errors import MilterError
from demyjpy.handlers import default_event_handler
from demyjpy.metrics.board import Board, Cell, Key
from demyjpy.registry import Handler
from demyjpy.reports import Count
from demyjpy.shown import safe
from demyjpy.verdicts import (
    Fate,
    decides,
    edits_made,
    ends_message,
    fate_of,
    refuses,
    verdicts_in,
)

_OF_MESSAGE: Final = (
    ev.Mail,
    ev.Recipient,
    ev.Data,
    ev.Header,
    ev.EndOfHeaders,
    ev.Body,
    ev.EndOfMessage,
)

BUCKETS: Final = (0.0001, 0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histograms, in seconds."""

_ENDS: Final = (*map(str, BUCKETS), "+Inf")

_FEW: Final = 16
"""Refusals of a message that are remembered."""

_MOST: Final = 1000
"""Handlers that are known by heart, and sessions that are remembered when they have ended."""


_MOST_COUNTS: Final = 200
"""Kinds of what filters count themselves."""

_LONGEST_LABEL: Final = 100


@frozen
class Figure:
    """One of the figures: what is counted, by which labels; of seconds it is a histogram.

    ``is_gauge``: how it is now, in all processes together.
    """

    help: str
    labels: tuple[str, ...] = ()
    is_histogram: bool = False
    is_gauge: bool = False

    @property
    def suffix(self) -> str:
        """What Prometheus puts behind its name."""
        return "" if self.is_histogram or self.is_gauge else "_total"


FIGURES: Final = {
    "sessions": Figure("Sessions negotiated"),
    "disconnects": Figure("Connections that have ended"),
    "messages": Figure("Messages by what became of them", ("verdict",)),
    "verdicts": Figure("Answers other than to go on", ("event", "verdict")),
    "refusals": Figure("Answers that refuse, by the filter that refused", ("filter",)),
    "edits": Figure("Changes to messages", ("action",)),
    "withheld": Figure("What filters that are only tried would have done", ("filter", "verdict")),
    "errors": Figure("What failed in handlers", ("kind",)),
    "received_bytes": Figure("Bytes of header and body"),
    "sent_bytes": Figure("Bytes of answers"),
    "questions": Figure("Questions by what became of them", ("filter", "question", "outcome")),
    "question_seconds": Figure("Time until an answer", ("filter", "question"), is_histogram=True),
    "breaker_openings": Figure(
        "How often a server was found not to answer questions", ("lookup", "server")
    ),
    "breakers_open": Figure(
        "Processes in which a server counts as one that does not answer",
        ("lookup", "server"),
        is_gauge=True,
    ),
    "filter_counts": Figure("What filters count themselves", ("filter", "name", "labels")),
    "handler_seconds": Figure("Time in handlers", ("event", "handler"), is_histogram=True),
    "loop_lag_seconds": Figure("How late the event loop was", is_histogram=True),
}
"""All figures by name, without ``demyjpy_``."""

GAUGES: Final = frozenset(name for name, one in FIGURES.items() if one.is_gauge)
"""Those that say how it is now."""

_MOST_SERVERS: Final = 200
"""Servers of lookups that have figures of their own."""

_Changes: TypeAlias = list[tuple[Any, Any]]
_Refusal: TypeAlias = tuple[int, Any, str, bool]
"""The number of an event, the verdict (None if a handler failed), and the filter's name.

And whether the refusal may be the answer to a later event.
"""


class Sink(Protocol):
    """Where figures are kept."""

    def cell(self, name: str, labels: tuple[str, ...] = ()) -> Any:
        """What `add` takes for the figure with these labels: it is found once, and kept."""

    def add(self, changes: Iterable[tuple[Any, float]]) -> None:
        """Add to figures: to a counter its amount, to a histogram one more of so many seconds."""


class MissingMetricsError(MilterError):
    """The extra is not installed."""


def prometheus() -> Any:
    """The module ``prometheus_client``, imported only when it is needed; `MissingMetricsError`."""
    try:
        import prometheus_client  # noqa: PLC0415  # an extra, and it looks at the environment
    except ImportError:
        raise MissingMetricsError(
            "expected prometheus-client to be installed, got none: pip install 'demyjpy[metrics]'"
        ) from None
    return prometheus_client


class _Client:
    """Figures in a registry of ``prometheus_client``."""

    def __init__(self, registry: Any) -> None:
        client = prometheus()
        to = {"registry": registry or client.REGISTRY, "namespace": "demyjpy"}
        self._figures = {
            name: client.Histogram(name, one.help, one.labels, buckets=BUCKETS, **to)
            if one.is_histogram
            else (client.Gauge if one.is_gauge else client.Counter)(name, one.help, one.labels, **to)
            for name, one in FIGURES.items()
        }

    def cell(self, name: str, labels: tuple[str, ...] = ()) -> Any:
        found = self._figures[name]
        one = found.labels(*labels) if labels else found
        return one.observe if FIGURES[name].is_histogram else one.inc

    def add(self, changes: Iterable[tuple[Any, float]]) -> None:
        for cell, amount in changes:
            cell(amount)


class Shared:
    """Figures on a `Board`, which several processes share."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def cell(self, name: str, labels: tuple[str, ...] = ()) -> Cell:
        """A figure of the board, whichever process counts it."""
        return Cell((name, *labels), BUCKETS if FIGURES[name].is_histogram else ())

    def add(self, changes: Iterable[tuple[Cell, float]]) -> None:
        """Add to figures, all at once."""
        self._board.add(changes)

    def collect(self) -> Iterator[Any]:
        """All figures, as a registry of ``prometheus_client`` asks for them."""
        core: Any = importlib.import_module("prometheus_client.core")
        found = self._board.figures()
        for name, one in FIGURES.items():
            kind = core.GaugeMetricFamily if one.is_gauge else core.CounterMetricFamily
            kind = core.HistogramMetricFamily if one.is_histogram else kind
            family = kind(f"demyjpy_{name}", one.help, labels=one.labels)
            if not one.labels:
                found.setdefault((name,), [0.0] * self.cell(name).size)
            for key in sorted(key for key in found if key[0] == name):
                total, *buckets = found[key]
                if one.is_histogram:
                    family.add_metric(key[1:], list(zip(_ENDS, accumulate(buckets), strict=True)), total)
                else:
                    family.add_metric(key[1:], total)
            yield family


class Metrics:
    """Counts what happens: ``start_milter(..., observer=Metrics())``. See also `lag`.

    It reads the tapes of the connections, which costs little; if it is given steps, it counts the same.
    ``registry``: a ``prometheus_client`` registry, its own one if there is none; ``sink``: another place
    for the figures. Labels are events, verdicts, actions, handlers and classes of questions: as many as
    the filter has, whatever comes in.
    """

    keeps_bodies: Final = False

    def __init__(self, registry: Any = None, *, sink: Sink | None = None) -> None:
        self._sink = sink or _Client(registry)
        self._cells: dict[Key, Any] = {}
        self._times: dict[int, Any] = {}
        """Cells by the identity of a handler."""
        self._handlers: list[Handler[Any]] = []
        """Those handlers: as long as they are kept, no other one has the identity of one of them."""
        self._open: set[str] = set()
        """Sessions with a message that has begun: Postfix says ABORT after each, ended or not."""
        self._last: dict[str, int] = {}
        """The number of the last event of each session in turns."""
        self._ended: deque[str] = deque()
        self._counted: set[Key] = set()
        """Labels of what filters count."""
        self._breakers = Mark(BREAKERS)
        self._servers: set[Key] = set()
        self._refusals: dict[str, list[_Refusal]] = {}
        """By session: what filters refused with in the message that is open."""

    def lag(self, seconds: float) -> None:
        """How late the event loop is: for ``start_milter(..., on_lag=metrics.lag)``."""
        self._sink.add([(self._cell("loop_lag_seconds"), seconds)])

    def __call__(self, step: Step) -> None:
        """Count a step."""
        changes: _Changes = []
        is_new = self._take_step(step, changes)
        self._take_answers(step.learned, changes)
        is_content = isinstance(step.event, ev.Header | ev.Body) and not step.is_shown_again
        if is_new and is_content and step.packet:
            size = len(step.packet[1]) + isinstance(step.event, ev.Header)
            changes.append((self._cell("received_bytes"), size))
        self._take_breakers(changes)
        self._sink.add(changes)

    def read(self, stretch: Stretch) -> None:
        """Count what is on a tape."""
        if stretch.steps is None:
            changes = self._times_in(stretch)
            self._take_hot_path(stretch, changes)
        else:
            changes = []
            for step in stretch.steps:
                self._take_step(step, changes)
            self._take_answers(learned_in(stretch.outcomes), changes)
        if stretch.received:
            changes.append((self._cell("received_bytes"), stretch.received))
        if stretch.is_over:
            self._open.discard(stretch.session)
            self._last.pop(stretch.session, None)
        self._take_breakers(changes)
        self._sink.add(changes)

    # --------------------------------------------------------------------------- what is counted
    def _take_answers(self, learned: Iterable[Learned], changes: _Changes) -> None:
        for one in learned:
            key = one.asked.name, type(one.asked.question).__name__
            outcome = type(one.outcome).__name__.lower()
            changes.append((self._cell("questions", *key, outcome), 1.0))
            if one.duration is not None:
                changes.append((self._cell("question_seconds", *key), one.duration))

    def _take_breakers(self, changes: _Changes) -> None:
        for one in self._breakers.take():
            key = one.lookup, one.server[:_LONGEST_LABEL]
            if key not in self._servers and len(self._servers) >= _MOST_SERVERS:
                key = one.lookup, "other"
            self._servers.add(key)
            changes.append((self._cell("breakers_open", *key), 1.0 if one.is_open else -1.0))
            if one.is_open:
                changes.append((self._cell("breaker_openings", *key), 1.0))

    def _times_in(self, stretch: Stretch) -> _Changes:
        times = self._times
        try:  # in one go if it has seen all of them before
            return [(times[id(handler)], seconds) for handler, _, seconds in stretch.outcomes]
        except KeyError:
            found = [(self._cell_of(handler), seconds) for handler, _, seconds in stretch.outcomes]
            return [(cell, seconds) for cell, seconds in found if cell is not None]

    def _take_hot_path(self, stretch: Stretch, changes: _Changes) -> None:
        """At most one message has ended here; there are no verdicts and no errors."""
        if stretch.left:
            changes.append((self._cell("sent_bytes"), sum(map(len, stretch.left))))
        if stretch.ends_message:
            self._open.discard(stretch.session)
            *edits, verdict = stretch.answer or (None,)
            fate = Fate.GIVEN_UP if verdict is None else fate_of(verdict, edits)
            if edits:
                self._take_edits(edits_made(verdict, edits), changes)
            changes.append((self._cell("messages", str(fate)), 1.0))
        elif stretch.is_open:
            self._open.add(stretch.session)
        if stretch.is_over:
            changes.append((self._cell("disconnects"), 1.0))

    def _take_step(self, step: Step, changes: _Changes) -> bool:
        """Whether it is the first step of its event, which may have several handlers."""
        event = step.said
        is_new = self._last.get(step.session) != step.exchange
        self._last[step.session] = step.exchange
        if step.error is not None:
            changes.append((self._cell("errors", type(step.error).__name__), 1.0))
        cell = self._cell_of(step.handler)
        if cell is not None and step.duration is not None:
            changes.append((cell, step.duration))
        if step.handler is not None and step.actions:
            self._take_counts(step, step.handler, changes)
        if step.sent:
            changes.append((self._cell("sent_bytes"), len(step.sent)))
        if step.handler is not None and step.withheld:
            self._take_withheld(step.withheld, step.handler, changes)
        elif step.handler is not None and (step.actions or step.error is not None):
            self._note_refusals(step, step.handler)
        if isinstance(event, _OF_MESSAGE):
            self._open.add(step.session)
        elif isinstance(event, ev.Abort):
            self._end_message(step.session, Fate.GIVEN_UP, changes)
        elif isinstance(event, ev.Disconnect) and is_new:
            changes.append((self._cell("disconnects"), 1.0))
            self._forget(step.session)
        if step.answer:
            self._take_answer(step, name_of(event), changes)
        return is_new

    def _take_answer(self, step: Step, name: str, changes: _Changes) -> None:
        *edits, verdict = step.answer
        if isinstance(verdict, Negotiate):
            changes.append((self._cell("sessions"), 1.0))
            return
        self._take_edits(edits_made(verdict, edits), changes)
        if refuses(verdict):
            changes.append((self._cell("refusals", self._who_refused(step, verdict)), 1.0))
        if decides(verdict):
            changes.append((self._cell("verdicts", name, str(fate_of(verdict))), 1.0))
        if isinstance(step.said, _OF_MESSAGE) and ends_message(name, verdict):
            self._end_message(step.session, fate_of(verdict, edits), changes)

    def _take_withheld(
        self, withheld: tuple[Any, ...], handler: Handler[Any], changes: _Changes
    ) -> None:
        """What a filter that is only tried would have done: its verdict, else that it edits."""
        verdict = next(iter(verdicts_in(withheld)), None)
        if verdict is None:
            is_held = any(isinstance(one, Quarantine) for one in withheld)
            what = str(Fate.QUARANTINED) if is_held else "edited"
        else:
            what = str(fate_of(verdict)) if decides(verdict) else "skipped"
        changes.append((self._cell("withheld", handler.filter or handler.name, what), 1.0))

    def _take_counts(self, step: Step, handler: Handler[Any], changes: _Changes) -> None:
        """What a filter counts itself; of too many kinds the labels are not told apart."""
        for one in step.actions:
            if isinstance(one, Count):
                labels = safe(",".join(f"{name}={text}" for name, text in one.labels))[:_LONGEST_LABEL]
                key = (safe(handler.filter or handler.name), safe(one.name)[:_LONGEST_LABEL], labels)
                if key not in self._counted and len(self._counted) >= _MOST_COUNTS:
                    key = (key[0], "other", "")
                self._counted.add(key)
                changes.append((self._cell("filter_counts", *key), float(one.amount)))

    def _note_refusals(self, step: Step, handler: Handler[Any]) -> None:
        """What a filter refused with: the answer may come later, when those before it have ended."""
        said: list[Any] = [one for one in verdicts_in(step.actions) if refuses(one)]
        if step.error is not None:
            said = [None]
        if said:
            known = self._refusals.setdefault(step.session, [])
            known[_FEW:] = []
            may_wait = not isinstance(step.event, ev.Recipient)
            known.insert(0, (step.exchange, said[0], handler.filter or handler.name, may_wait))

    def _who_refused(self, step: Step, verdict: Any) -> str:
        """The filter whose refusal is the answer; empty if it is the library's."""
        known = self._refusals.get(step.session, ())
        refused = [
            who
            for number, said, who, may_wait in known
            if said == verdict and (may_wait or number == step.exchange)
        ]
        # what was made of a failure is not known: it may have been accepted
        failed = [who for _, said, who, _ in known if said is None]
        return next(iter(refused or failed), "")

    def _take_edits(self, edits: Iterable[Any], changes: _Changes) -> None:
        changes.extend((self._cell("edits", type(edit).__name__), 1.0) for edit in edits)

    def _end_message(self, session: str, fate: Fate, changes: _Changes) -> None:
        self._refusals.pop(session, None)
        if session in self._open:
            self._open.discard(session)
            changes.append((self._cell("messages", str(fate)), 1.0))

    # ------------------------------------------------------------------------- what is remembered
    def _cell(self, *key: str) -> Any:
        found = self._cells.get(key)
        if found is None:
            found = self._cells[key] = self._sink.cell(key[0], key[1:])
        return found

    def _cell_of(self, handler: Handler[Any] | None) -> Any:
        """The cell of a handler's times; None if it is the library's own, or there is none."""
        cell = self._times.get(id(handler))
        if cell is None and handler and handler.function is not default_event_handler:
            cell = self._cell("handler_seconds", handler.event, handler.name)
            if len(self._handlers) < _MOST:  # a filter may make handlers for each connection
                self._handlers.append(handler)
                self._times[id(handler)] = cell
        return cell

    def _forget(self, session: str) -> None:
        """Its connection has ended; another step of that may still come."""
        self._open.discard(session)
        self._refusals.pop(session, None)
        self._ended.append(session)
        if len(self._ended) > _MOST:
            self._last.pop(self._ended.popleft(), None)

"""Counts what an observer sees, for Prometheus (the extra ``metrics``)."""

import importlib
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final, Protocol

from attrs import frozen

from demyjpy import events as ev
from demyjpy.actions import Negotiate
from demyjpy.codec import name_of
from demyjpy.engine.connection import Step
from demyjpy.errors import MilterError
from demyjpy.metrics.board import Board
from demyjpy.verdicts import Fate, decides, edits_made, ends_message, fate_of

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


@frozen
class Figure:
    """One of the figures: what is counted, by which labels; of seconds it is a histogram."""

    help: str
    labels: tuple[str, ...] = ()
    is_histogram: bool = False


FIGURES: Final = {
    "sessions": Figure("Sessions negotiated"),
    "disconnects": Figure("Connections that have ended"),
    "messages": Figure("Messages by what became of them", ("verdict",)),
    "verdicts": Figure("Answers other than to go on", ("event", "verdict")),
    "edits": Figure("Changes to messages", ("action",)),
    "errors": Figure("What failed in handlers", ("kind",)),
    "received_bytes": Figure("Bytes of header and body"),
    "sent_bytes": Figure("Bytes of answers"),
    "handler_seconds": Figure("Time in handlers", ("event", "handler"), is_histogram=True),
    "loop_lag_seconds": Figure("How late the event loop was", is_histogram=True),
}
"""All figures by name, without ``demyjpy_``."""


class Sink(Protocol):
    """Where figures are kept."""

    def count(self, name: str, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Add to a counter."""

    def observe(self, name: str, labels: tuple[str, ...], seconds: float) -> None:
        """Add one more to a histogram."""


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
            else client.Counter(name, one.help, one.labels, **to)
            for name, one in FIGURES.items()
        }

    def count(self, name: str, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        self._of(name, labels).inc(amount)

    def observe(self, name: str, labels: tuple[str, ...], seconds: float) -> None:
        self._of(name, labels).observe(seconds)

    def _of(self, name: str, labels: tuple[str, ...]) -> Any:
        found = self._figures[name]
        return found.labels(*labels) if labels else found


class Shared:
    """Figures on a `Board`, which several processes share."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def count(self, name: str, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Add to a counter."""
        self._board.add((name, *labels), 1, (0, amount))

    def observe(self, name: str, labels: tuple[str, ...], seconds: float) -> None:
        """Add one more to a histogram: to its bucket, and to the sum that comes first."""
        bucket = 1 + bisect_left(BUCKETS, seconds)
        self._board.add((name, *labels), len(BUCKETS) + 2, (0, seconds), (bucket, 1.0))

    def collect(self) -> Iterator[Any]:
        """All figures, as a registry of ``prometheus_client`` asks for them."""
        core: Any = importlib.import_module("prometheus_client.core")
        found = self._board.figures()
        for name, one in FIGURES.items():
            kind = core.HistogramMetricFamily if one.is_histogram else core.CounterMetricFamily
            family = kind(f"demyjpy_{name}", one.help, labels=one.labels)
            size = len(BUCKETS) + 2 if one.is_histogram else 1
            if not one.labels:
                found.setdefault((name,), [0.0] * size)
            for key in sorted(key for key in found if key[0] == name):
                total, *buckets = found[key]
                if one.is_histogram:
                    family.add_metric(key[1:], list(zip(_ENDS, accumulate(buckets), strict=True)), total)
                else:
                    family.add_metric(key[1:], total)
            yield family


class Metrics:
    """An observer that counts: ``start_milter(..., observer=Metrics())``. See also `lag`.

    ``registry``: a ``prometheus_client`` registry, its own one if there is none; ``sink``: another place
    for the figures. Labels are events,
    verdicts, actions and handlers: as many as the filter has, whatever comes in.
    """

    def __init__(self, registry: Any = None, *, sink: Sink | None = None) -> None:
        self._sink = sink or _Client(registry)
        self._open: set[str] = set()
        """Sessions with a message that has begun: Postfix says ABORT after each, ended or not."""

    def lag(self, seconds: float) -> None:
        """How late the event loop is: for ``start_milter(..., on_lag=metrics.lag)``."""
        self._sink.observe("loop_lag_seconds", (), seconds)

    def __call__(self, step: Step) -> None:
        """Count a step."""
        event = step.event
        name = name_of(event)
        if step.error is not None:
            self._sink.count("errors", (type(step.error).__name__,))
        if step.handler is not None and step.duration is not None:
            self._sink.observe("handler_seconds", (name, step.handler.name), step.duration)
        if step.sent:
            self._sink.count("sent_bytes", (), len(step.sent))
        if isinstance(event, _OF_MESSAGE):
            self._open.add(step.session)
        match event:
            case ev.Disconnect():
                self._sink.count("disconnects")
                self._open.discard(step.session)
            case ev.Header():
                self._sink.count("received_bytes", (), len(event.name) + len(event.raw) + 3)
            case ev.Body():
                self._sink.count("received_bytes", (), len(event.data))
            case ev.Abort():
                self._end_message(step.session, Fate.GIVEN_UP)
        if step.answer:
            self._count_answer(step, name)

    def _end_message(self, session: str, fate: Fate) -> None:
        if session in self._open:
            self._open.discard(session)
            self._sink.count("messages", (fate,))

    def _count_answer(self, step: Step, name: str) -> None:
        *edits, verdict = step.answer
        if isinstance(verdict, Negotiate):
            self._sink.count("sessions")
            return
        fate = fate_of(verdict, edits)
        for edit in edits_made(verdict, edits):
            self._sink.count("edits", (type(edit).__name__,))
        if decides(verdict):
            self._sink.count("verdicts", (name, fate_of(verdict)))
        if isinstance(step.event, _OF_MESSAGE) and ends_message(name, verdict):
            self._end_message(step.session, fate)

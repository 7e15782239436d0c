"""The figures: what is counted, by which labels, and where they are kept.

What happens is counted in `demyjpy.metrics.counting`. The extra ``metrics`` is needed to show figures.
"""

import importlib
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final, Protocol

from attrs import frozen

from demyjpy.errors import MilterError
from demyjpy.metrics.board import Board, Cell

BUCKETS: Final = (0.0001, 0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histograms, in seconds."""

_ENDS: Final = (*map(str, BUCKETS), "+Inf")


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


class Sink(Protocol):
    """Where figures are kept."""

    def cell(self, name: str, labels: tuple[str, ...] = ()) -> Any:
        """What `add` takes for the figure with these labels: it is found once, and kept."""

    def add(
        self, changes: Iterable[tuple[Any, float]], quick: Iterable[tuple[Any, int, float]] = ()
    ) -> None:
        """Add to figures: to a counter its amount, to a histogram one more of so many seconds.

        ``quick``: to a histogram so many more, which took so many seconds together. Each of them is in
        its first bucket.
        """


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


class Client:
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

    def add(
        self, changes: Iterable[tuple[Any, float]], quick: Iterable[tuple[Any, int, float]] = ()
    ) -> None:
        for cell, amount in changes:
            cell(amount)
        for cell, count, total in quick:
            for _ in range(count):
                cell(total / count)


class Shared:
    """Figures on a `Board`, which several processes share."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def cell(self, name: str, labels: tuple[str, ...] = ()) -> Cell:
        """A figure of the board, whichever process counts it."""
        return Cell((name, *labels), BUCKETS if FIGURES[name].is_histogram else ())

    def add(
        self, changes: Iterable[tuple[Cell, float]], quick: Iterable[tuple[Cell, int, float]] = ()
    ) -> None:
        """Add to figures, all at once."""
        self._board.add(changes, quick)

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

"""Counts what an observer sees, for Prometheus (the extra ``metrics``)."""

from typing import Any, Final

from demyjpy import events as ev
from demyjpy.actions import Continue, Negotiate, Skip
from demyjpy.codec.commands import ROW_OF_EVENT, ROW_OF_NAME
from demyjpy.connection import Step
from demyjpy.errors import MilterError
from demyjpy.session import ends_message
from demyjpy.verdicts import Fate, edits_made, fate_of

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


class Metrics:
    """An observer that counts: ``start_milter(..., observer=Metrics())``. See also `lag`.

    ``registry``: a ``prometheus_client`` registry, its own one if there is none. Labels are events,
    verdicts, actions and handlers: as many as the filter has, whatever comes in.
    """

    def __init__(self, registry: Any = None) -> None:
        client = prometheus()
        self._open: set[str] = set()
        """Sessions with a message that has begun: Postfix says ABORT after each, ended or not."""
        to = {"registry": registry or client.REGISTRY, "namespace": "demyjpy"}
        self._sessions = client.Counter("sessions", "Sessions negotiated", **to)
        self._ended = client.Counter("disconnects", "Connections that have ended", **to)
        self._messages = client.Counter("messages", "Messages by what became of them", ["verdict"], **to)
        self._verdicts = client.Counter(
            "verdicts", "Answers other than to go on", ["event", "verdict"], **to
        )
        self._edits = client.Counter("edits", "Changes to messages", ["action"], **to)
        self._errors = client.Counter("errors", "What failed in handlers", ["kind"], **to)
        self._received = client.Counter("received_bytes", "Bytes of header and body", **to)
        self._sent = client.Counter("sent_bytes", "Bytes of answers", **to)
        self._seconds = client.Histogram(
            "handler_seconds", "Time in handlers", ["event", "handler"], buckets=BUCKETS, **to
        )
        self._lag = client.Histogram(
            "loop_lag_seconds", "How late the event loop was", buckets=BUCKETS, **to
        )

    def lag(self, seconds: float) -> None:
        """How late the event loop is: for ``start_milter(..., on_lag=metrics.lag)``."""
        self._lag.observe(seconds)

    def __call__(self, step: Step) -> None:
        """Count a step."""
        event = step.event
        name = ROW_OF_EVENT[type(event)].name if type(event) in ROW_OF_EVENT else "disconnect"
        if step.error is not None:
            self._errors.labels(type(step.error).__name__).inc()
        if step.handler is not None and step.duration is not None:
            self._seconds.labels(name, step.handler.name).observe(step.duration)
        if step.sent:
            self._sent.inc(len(step.sent))
        if isinstance(event, _OF_MESSAGE):
            self._open.add(step.session)
        match event:
            case ev.Disconnect():
                self._ended.inc()
                self._open.discard(step.session)
            case ev.Header():
                self._received.inc(len(event.name) + len(event.raw) + 3)
            case ev.Body():
                self._received.inc(len(event.data))
            case ev.Abort():
                self._end_message(step.session, Fate.GIVEN_UP)
        if step.answer:
            self._count_answer(step, name)

    def _end_message(self, session: str, fate: Fate) -> None:
        if session in self._open:
            self._open.discard(session)
            self._messages.labels(fate).inc()

    def _count_answer(self, step: Step, name: str) -> None:
        *edits, verdict = step.answer
        if isinstance(verdict, Negotiate):
            self._sessions.inc()
            return
        fate = fate_of(verdict, edits)
        for edit in edits_made(verdict, edits):
            self._edits.labels(type(edit).__name__).inc()
        if not isinstance(verdict, Continue | Skip):
            self._verdicts.labels(name, fate_of(verdict)).inc()
        if isinstance(step.event, _OF_MESSAGE) and ends_message(ROW_OF_NAME[name].letter, verdict):
            self._end_message(step.session, fate)

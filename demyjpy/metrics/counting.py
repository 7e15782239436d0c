"""Counts what happens, from tapes or step by step, for Prometheus (the extra ``metrics``)."""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

from demyjpy import events as ev
from demyjpy.actions import Negotiate, Quarantine
from demyjpy.codec import name_of
from demyjpy.drivers.breaker_log import BREAKERS, Mark
from demyjpy.engine.connection import Step
from demyjpy.engine.open_questions import Learned
from demyjpy.engine.tape import Stretch, learned_in
from demyjpy.handlers import default_event_handler
from demyjpy.metrics.board import Key
from demyjpy.metrics.figures import BUCKETS, Client, Sink
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

_FEW: Final = 16
"""Refusals of a message that are remembered."""

_MOST: Final = 1000
"""Handlers that are known by heart, and sessions that are remembered when they have ended."""

_MOST_SHAPES: Final = 256
"""Sequences of handlers, and stretches that are repeated, that are known by heart."""

_LONGEST_SHAPE: Final = 100
"""Handlers of such a sequence: a read may hold thousands of packets, and each time others."""

_MOST_COUNTS: Final = 200
"""Kinds of what filters count themselves."""

_LONGEST_LABEL: Final = 100


_MOST_SERVERS: Final = 200
"""Servers of lookups that have figures of their own."""

_Changes: TypeAlias = list[tuple[Any, Any]]
_Quick: TypeAlias = list[tuple[Any, int, float]]
_Refusal: TypeAlias = tuple[int, Any, str, bool]
"""The number of an event, the verdict (None if a handler failed), and the filter's name.

And whether the refusal may be the answer to a later event.
"""


class Metrics:
    """Counts what happens: ``start_milter(..., observer=Metrics())``. See also `lag`.

    It reads the tapes of the connections, which costs little; if it is given steps, it counts the same.
    ``registry``: a ``prometheus_client`` registry, its own one if there is none; ``sink``: another place
    for the figures. Labels are events, verdicts, actions, handlers and classes of questions: as many as
    the filter has, whatever comes in.
    """

    keeps_bodies: Final = False
    wants_packets: Final = False

    def __init__(self, registry: Any = None, *, sink: Sink | None = None) -> None:
        self._sink = sink or Client(registry)
        self._cells: dict[Key, Any] = {}
        self._times: dict[int, Any] = {}
        """Cells by the identity of a handler."""
        self._handlers: list[Handler[Any]] = []
        """Those handlers: as long as they are kept, no other one has the identity of one of them."""
        self._shapes: dict[tuple[int, ...], list[tuple[Any, int, int]]] = {}
        """By the identities of handlers: whose times stand where, from one place to another."""
        self._repeated: dict[int, tuple[Stretch, _Changes]] = {}
        """By the identity of a stretch that is repeated: what is counted each time."""
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
        changes: _Changes = []
        quick: _Quick = []
        if stretch.turned is None:
            if stretch.handlers:
                quick = self._times_in(stretch, changes)
            self._take_hot_path(stretch, changes)
        elif stretch.repeats is not None:
            changes = self._again(stretch.repeats)
        else:
            for step in stretch.turned:
                self._take_step(step, changes)
            self._take_answers(learned_in(stretch.results.values()), changes)
        if stretch.received:
            changes.append((self._cell("received_bytes"), stretch.received))
        if stretch.is_over:
            self._open.discard(stretch.session)
            self._last.pop(stretch.session, None)
        self._take_breakers(changes)
        self._sink.add(changes, quick)

    # --------------------------------------------------------------------------- what is counted
    def _take_answers(self, learned: Iterable[Learned], changes: _Changes) -> None:
        for one in learned:
            key = one.asked.name, type(one.asked.question).__name__
            outcome = type(one.outcome).__name__.lower()
            changes.append((self._cell("questions", *key, outcome), 1.0))
            if one.duration is not None:
                changes.append((self._cell("question_seconds", *key), one.duration))

    def _again(self, stretch: Stretch) -> _Changes:
        """What is counted of a stretch that other sessions have had, too: it is a negotiation."""
        known = self._repeated.get(id(stretch))
        if known is None:
            changes: _Changes = []
            for step in stretch.turned or ():
                self._take_step(step, changes)
                self._last.pop(step.session, None)
            if len(self._repeated) >= _MOST_SHAPES:
                self._repeated.clear()
            known = self._repeated[id(stretch)] = stretch, changes
        return [*known[1]]

    def _take_breakers(self, changes: _Changes) -> None:
        for one in self._breakers.take():
            key = one.lookup, one.server[:_LONGEST_LABEL]
            if key not in self._servers and len(self._servers) >= _MOST_SERVERS:
                key = one.lookup, "other"
            self._servers.add(key)
            changes.append((self._cell("breakers_open", *key), 1.0 if one.is_open else -1.0))
            if one.is_open:
                changes.append((self._cell("breaker_openings", *key), 1.0))

    def _times_in(self, stretch: Stretch, changes: _Changes) -> _Quick:
        """The times of handlers: those of one that ran several times in a row in one piece."""
        took, handlers = stretch.took, stretch.handlers
        shape = self._shapes.get((*map(id, handlers),)) or self._shape_of(handlers)
        sums = [0.0, *accumulate(took)]
        if max(took) <= BUCKETS[0]:
            return [(cell, end - start, sums[end] - sums[start]) for cell, start, end in shape]
        quick: _Quick = []
        for cell, start, end in shape:
            if max(took[start:end]) <= BUCKETS[0]:
                quick.append((cell, end - start, sums[end] - sums[start]))
            else:
                changes += [(cell, seconds) for seconds in took[start:end]]
        return quick

    def _shape_of(self, handlers: Sequence[Handler[Any] | None]) -> list[tuple[Any, int, int]]:
        """Where the times of each handler are that are counted: from one place to another."""
        cells = [self._cell_of(one) for one in handlers]
        shape: list[tuple[Any, int, int]] = []
        for at, cell in enumerate(cells):
            if cell is not None:
                is_same = bool(shape) and shape[-1][0] is cell and shape[-1][2] == at
                start = shape.pop()[1] if is_same else at
                shape.append((cell, start, at + 1))
        # a handler that is not kept may leave its identity to another one
        if len(handlers) <= _LONGEST_SHAPE and all(id(one) in self._times for one in handlers):
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            self._shapes[(*map(id, handlers),)] = shape
        return shape

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
        """What a filter counts itself; if there are too many kinds, they share one label."""
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

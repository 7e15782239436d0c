"""From what happens to records: from the engine's steps, or from the bytes between an MTA and a filter.

Both know one session and what it takes to read it: what was negotiated, the macros in force. The
caller gives them the time; nothing is written here.
"""

from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import ACTIONS, EVENTS, name_of
from demyjpy.context import Context, new_context
from demyjpy.engine.connection import Step
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.findings import new_findings
from demyjpy.handlers import default_event_handler
from demyjpy.trace.format.json_context import changes, dump_finding
from demyjpy.trace.format.json_events import dump_action
from demyjpy.trace.format.json_questions import dump_learned
from demyjpy.trace.format.records import (
    LONGEST_PACKET,
    Record,
    answered,
    ended,
    of_event,
    queue_id_in,
    said,
    unreadable,
    with_found,
)
from demyjpy.verdicts import LEGAL, is_verdict
from demyjpy.wire.codes import Command, ProtocolFlag, Response
from demyjpy.wire.framing import NOTHING_UNREAD, Unread, join_frame, split_frames
from demyjpy.wire.json_bytes import dump_optional, dump_text

AFTER_LOSS: Final = "after bytes that are no packet"
"""The problem of all bytes of a direction after the first that are no packet."""

_BODYEOB: Final = int(Command.BODYEOB)
_LEADSPC: Final = ProtocolFlag.HDR_LEADSPC
_NO_STEP: Final = Step("", ev.Disconnect(), new_context(), new_context(), exchange=-1)


@define
class StepConverter:
    """One session as the engine's observer sees it.

    ``raw``: keep the packets, too.
    """

    session: str
    raw: bool = False
    leading_space: bool = False
    has_quit: bool = False
    _last: Step = _NO_STEP
    _known: Context = field(factory=new_context)
    _macros: Macros | None = None
    _queue_id: Any = None

    def take(self, step: Step, time: float) -> Iterator[Record]:
        """The records of a step."""
        last = self._last
        # the last handler of an event has answered: what a peer said is not kept while it idles
        self._last = _NO_STEP if step.sent else step
        if step.exchange != last.exchange:
            yield self._begin(step, last, time)
        if isinstance(step.event, ev.Options) and step.answer:
            self.leading_space = bool(step.answer[-1].protocol & _LEADSPC)
        is_default = step.handler is not None and step.handler.function is default_event_handler
        if step.sent or step.learned or (step.handler is not None and not is_default):
            yield self._go_on(step, time)
        if isinstance(step.event, ev.Quit):
            self.has_quit = True

    @property
    def known(self) -> Context:
        """The context as it is in the trace."""
        return self._known

    def go_on_from(self, ctx: Context) -> None:
        """Others made the records of what came meanwhile; with them, this context is in the trace."""
        self._last, self._known, self._macros = _NO_STEP, ctx, None

    def end(self, time: float) -> Record:
        """The record of the end."""
        return ended(self.session, time, "quit" if self.has_quit else "mta")

    def _begin(self, step: Step, last: Step, time: float) -> Record:
        packet = step.packet
        is_rest = isinstance(step.said, ev.EndOfMessage) and isinstance(last.event, ev.Body)
        if is_rest and last.packet is not None and last.packet[0] == _BODYEOB:
            packet = None  # it came with the last chunk of the body
        record = of_event(self.session, time, step.said, packet, self.leading_space, raw=self.raw)
        return self._with(record, step.before)

    def _go_on(self, step: Step, time: float) -> Record:
        name = EVENTS[step.packet[0]].name if step.packet else None
        record, _ = answered(self.session, time, name, step.sent, self.leading_space, raw=self.raw)
        record = with_found(
            record,
            handler=None if step.handler is None else dump_text(step.handler.name),
            again=name_of(step.event) if step.is_shown_again else None,
            actions=[dump_action(action) for action in step.actions],
            withheld=[dump_action(action) for action in step.withheld],
            error=None if step.error is None else _dump_error(step.error),
            duration=None if step.duration is None else round(step.duration, 9),
            findings=[dump_finding(one) for one in new_findings(step.before, step.after)],
            learned=[dump_learned(one) for one in step.learned],
        )
        return self._with(record, step.after)

    def _with(self, record: Record, ctx: Context) -> Record:
        """With the queue id, and with what is now in the context and was not."""
        before, self._known = self._known, ctx
        macros = ctx.get("macros")
        if macros is not self._macros:
            self._macros, self._queue_id = macros, dump_optional(queue_id_in(ctx))
        return with_found(record, changes=changes(before, ctx), queue_id=self._queue_id)


def _dump_error(error: Exception) -> Record:
    try:
        text = str(error)
    except Exception as problem:  # noqa: BLE001  # the exception is the user's
        text = f"<str failed: {type(problem).__name__}>"
    return {"type": type(error).__name__, "text": dump_text(text)}


@define
class _Side:
    """One direction of a connection: what is left over, and whether it can be read at all."""

    unread: Unread = NOTHING_UNREAD
    is_lost: bool = False


@define
class WireConverter:
    """One session as bytes between an MTA and a filter, in any language.

    What is odd about a record stands under its key ``odd``. ``milter`` is its name among several
    that are asked about the same mail, ``awaited`` the event whose answer is due.
    """

    session: str
    raw: bool = False
    milter: str = ""
    agreement: act.Negotiate | None = None
    awaited: str | None = None
    has_quit: bool = False
    _sides: dict[str, _Side] = field(factory=lambda: {"mta": _Side(), "filter": _Side()})
    _macros: Macros = NO_MACROS

    @property
    def protocol(self) -> ProtocolFlag:
        """What was negotiated about steps."""
        return self.agreement.protocol if self.agreement else ProtocolFlag.NONE

    @property
    def leading_space(self) -> bool:
        """Whether header values are exact."""
        return bool(self.protocol & _LEADSPC)

    def take(self, direction: str, data: bytes, time: float) -> Iterator[Record]:
        """The records of bytes that have come from the ``"mta"`` or the ``"filter"``."""
        side = self._sides[direction]
        if side.is_lost:
            yield unreadable(self.session, time, direction, data, AFTER_LOSS)
            return
        begun = side.unread.chunks
        packets, side.unread = split_frames(side.unread, data, LONGEST_PACKET)
        for packet in packets:
            yield self._said(packet, time) if direction == "mta" else self._answered(packet, time)
        if side.unread.error:
            side.is_lost = True
            size = sum(5 + len(payload) for _, payload in packets)
            rest = b"".join((*begun, data))[size:]
            yield unreadable(self.session, time, direction, rest, side.unread.error)

    def end(self, time: float, how: str, reason: str = "") -> Iterator[Record]:
        """The end of the connection; first what was only begun to be said."""
        for direction, side in self._sides.items():
            rest = b"".join(side.unread.chunks)
            if rest:
                problem = "expected a whole packet, got its beginning"
                yield unreadable(self.session, time, direction, rest, problem)
        yield ended(self.session, time, "quit" if self.has_quit else how, reason)

    # ------------------------------------------------------------------------------ the MTA
    def _said(self, packet: tuple[int, bytes], time: float) -> Record:
        record, event = said(self.session, time, packet, self.leading_space, raw=self.raw)
        letter, payload = packet
        row = EVENTS.get(letter)
        if isinstance(event, ev.DefineMacros):
            self._macros = self._macros.define(payload[0], payload[1:])
        elif row is not None:
            if letter in (Command.ABORT, Command.QUIT, Command.QUIT_NC):
                self._macros = self._macros.end_message()
            self._macros = self._macros.arrive(letter)
        self.has_quit = letter == Command.QUIT
        odd = []
        if row is not None and row.replies:
            if self.awaited is not None:
                odd.append(f"the answer to {self.awaited} is still due")
            self.awaited = None if self.protocol & row.quiet else row.name
            if self.protocol & row.off:
                odd.append("the filter has declined this event")
        is_begin = self.milter and isinstance(event, ev.Options)
        milter = dump_text(self.milter) if is_begin else None
        return with_found(record, milter=milter, odd=odd, queue_id=self._queue_id)

    # --------------------------------------------------------------------------- the filter
    def _answered(self, packet: tuple[int, bytes], time: float) -> Record:
        event = self.awaited
        sent = join_frame(*packet, limit=LONGEST_PACKET)
        record, actions = answered(self.session, time, event, sent, self.leading_space, raw=self.raw)
        odd = list(self._what_is_odd(packet, actions))
        row = ACTIONS.get(packet[0])
        if row is not None and row.group in (0, 5) and packet[0] != Response.PROGRESS:
            self.awaited = None
        if actions and isinstance(actions[0], act.Negotiate):
            self.agreement = actions[0]
        return with_found(record, odd=odd, queue_id=self._queue_id)

    def _what_is_odd(self, packet: tuple[int, bytes], actions: tuple[Any, ...]) -> Iterator[str]:
        row, event = ACTIONS.get(packet[0]), self.awaited
        if event is None:
            yield "no answer is due"
        elif row is None:
            yield "no filter may say this"
        elif (event == "options") != (packet[0] == Response.OPTNEG):
            yield f"no answer to {event}"
        elif row.letter == Response.PROGRESS and event != "end_of_message":
            yield "a sign of life before the end of message"
        elif row.group in range(1, 5):
            if event != "end_of_message":
                yield "a change before the end of message"
            granted = self.agreement.actions if self.agreement else 0
            if not granted & row.needs:
                yield f"a change that was not negotiated: {row.permission}"
        elif actions and is_verdict(actions[0]) and not isinstance(actions[0], LEGAL[event]):
            yield f"no answer to {event}"

    @property
    def _queue_id(self) -> Any:
        return dump_optional(self._macros.get("i"))

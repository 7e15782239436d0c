"""From records to exchanges: what the MTA said, each with what the filter said to it, as bytes.

If a record no longer has something, that is left out and named in a line.
"""

from base64 import b64decode
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import EVENTS, decode_action, decode_event, encode_action, encode_event
from demyjpy.errors import MilterError, TraceError
from demyjpy.trace.format.json_events import load_action, load_event
from demyjpy.trace.format.json_lines import number_of, seconds_of
from demyjpy.trace.format.records import LONGEST_PACKET, Record
from demyjpy.verdicts import verdicts_in
from demyjpy.wire.codes import Command, ProtocolFlag, Response
from demyjpy.wire.framing import NOTHING_UNREAD, Packet, join_frame, split_frames
from demyjpy.wire.json_bytes import load_text

_USUAL: Final[dict[bytes, act.Verdict | None]] = {b"": None, b"\0\0\0\1c": act.Continue()}


@frozen
class Unreadable:
    """A packet of the filter's that says nothing that is known here, or nothing of a change."""

    letter: str
    payload: bytes


@frozen
class Reply:
    """What the MTA said, and what a filter said to it.

    ``is_skipped``: with this filter an MTA would not have said it. ``leading_space`` is of the filter's
    own agreement.
    """

    exchange: "Exchange"
    data: bytes
    leading_space: bool = False
    is_skipped: bool = False

    @property
    def actions(self) -> tuple[Any, ...]:
        """What the filter said, without signs of life."""
        packets, _ = split_frames(NOTHING_UNREAD, self.data, LONGEST_PACKET)
        found = (_decode(packet, self.leading_space) for packet in packets)
        return tuple(one for one in found if not isinstance(one, act.Progress))

    @property
    def agreement(self) -> act.Negotiate | None:
        """What was negotiated with it, or None."""
        return next((one for one in self.actions if isinstance(one, act.Negotiate)), None)

    @property
    def verdict(self) -> act.Verdict | None:
        """The verdict in it, or None."""
        if self.data in _USUAL:  # nearly always; the rest takes longer
            return _USUAL[self.data]
        found = verdicts_in(self.actions)
        return found[-1] if found else None


def _decode(packet: Packet, leading_space: bool) -> Any:
    try:
        return decode_action(packet, leading_space)
    except MilterError:
        return Unreadable(chr(packet[0]), packet[1])


@frozen
class Exchange:
    """One thing that the MTA said, and what the filter said to it before the next.

    ``sent`` and ``reply`` are whole packets, as bytes. ``number`` counts from 1 in the session.
    ``answer`` is the part of the reply that was due: without what a recording marks as odd. ``records``
    are those of the handlers and answers.
    """

    number: int
    packet: Packet
    sent: bytes
    reply: bytes
    answer: bytes
    time: float
    leading_space: bool
    queue_id: str | None
    record: Record = field(repr=False, eq=False)
    records: tuple[Record, ...] = field(repr=False, eq=False)

    @property
    def letter(self) -> int:
        """The letter of the command."""
        return self.packet[0]

    @property
    def name(self) -> str:
        """The event's name; the letter if no event has it."""
        row = EVENTS.get(self.letter)
        return row.name if row else repr(chr(self.letter))

    @property
    def event(self) -> ev.Event:
        """What the MTA said, as a value; `MilterError` if it is none."""
        return decode_event(self.packet, self.leading_space)

    @property
    def readable_event(self) -> ev.Event | None:
        """The same, or None."""
        try:
            return self.event
        except MilterError:
            return None

    @property
    def recorded(self) -> Reply:
        """What the recorded filter answered."""
        return Reply(self, self.answer, self.leading_space)

    @property
    def expected(self) -> bytes:
        """The same, without signs of life: how many there are depends on the clock."""
        if b"\0\0\0\1p" not in self.answer:
            return self.answer
        packets, _ = split_frames(NOTHING_UNREAD, self.answer, LONGEST_PACKET)
        kept = (packet for packet in packets if packet[0] != Response.PROGRESS)
        return b"".join(join_frame(*packet, limit=LONGEST_PACKET) for packet in kept)

    @property
    def agreement(self) -> act.Negotiate | None:
        """What was negotiated here, or None."""
        return Reply(self, self.reply).agreement if self.letter == Command.OPTNEG else None


@frozen
class Understood:
    """The exchanges of a session, and what is wrong with its records."""

    exchanges: tuple[Exchange, ...]
    problems: tuple[str, ...]


def understand(records: Iterable[Record]) -> Understood:
    """The exchanges of a session, and what could not be made one."""
    exchanges: list[Exchange] = []
    problems: list[str] = []
    leading_space = False
    heard: list[bytes] = []
    due: list[bytes] = []
    answers: list[Record] = []
    begun: tuple[Record, bytes, Packet] | None = None

    def finish() -> None:
        if begun is None:
            return
        exchanges.append(
            Exchange(
                len(exchanges) + 1,
                begun[2],
                begun[1],
                b"".join(heard),
                b"".join(due),
                time_of(begun[0]),
                leading_space,
                text_in(begun[0], "queue_id"),
                begun[0],
                tuple(answers),
            )
        )

    for number, record in enumerate(records, 1):
        try:
            direction = record["direction"]
            if direction == "mta":
                data = _data_of(record, leading_space, _event_of)
                packets, unread = split_frames(NOTHING_UNREAD, data, LONGEST_PACKET)
                if len(packets) == 1 and unread is NOTHING_UNREAD:
                    finish()
                    begun, heard, due, answers = (record, data, packets[0]), [], [], []
                else:
                    raise TraceError(str(record.get("problem") or "expected one whole packet"))
            elif direction == "filter":
                data = _data_of(record, leading_space, _answer_of)
                heard.append(data)
                if "odd" not in record and _is_due(record, begun):
                    due.append(data)
                if data or record.get("event") is not None:  # else it is of the engine's own event
                    answers.append(record)
                if record.get("event") == "options":
                    leading_space = _agreed(data, leading_space)
            elif direction not in ("engine", "end"):
                raise TraceError(f"expected a direction, got {direction!r:.40}")
            if number_of(record.get("time", 0)) is None:
                raise TraceError(f"expected seconds since 1970 under time, got {record['time']!r:.60}")
        except (MilterError, KeyError) as error:
            problems.append(f"record {number}: {error}")
    finish()
    return Understood(tuple(exchanges), tuple(problems))


def _is_due(record: Record, begun: tuple[Record, bytes, Packet] | None) -> bool:
    """Whether an answer belongs to what the MTA said last, and not to what it said before.

    An MTA that has got an answer too many goes on before the next one comes.
    """
    if begun is None:
        return False
    row = EVENTS.get(begun[2][0])
    of = record.get("event")
    # the last chunk of a body may come with the end of the message
    return row is None or of in (row.name, None) or (of, row.name) == ("body", "end_of_message")


def _agreed(data: bytes, leading_space: bool) -> bool:
    """Whether header values are exact after this answer."""
    actions = map(decode_action, split_frames(NOTHING_UNREAD, data, LONGEST_PACKET)[0])
    agreement = next((one for one in actions if isinstance(one, act.Negotiate)), None)
    return bool(agreement.protocol & ProtocolFlag.HDR_LEADSPC) if agreement else leading_space


def _data_of(record: Record, leading_space: bool, encode: Callable[[Record, bool], bytes]) -> bytes:
    """The bytes that a record stands for."""
    if "raw" not in record:
        return encode(record, leading_space)
    try:
        return b64decode(record["raw"], validate=True)
    except (TypeError, ValueError) as error:
        raise TraceError(f"expected base64 under raw: {error}") from None


def _event_of(record: Record, leading_space: bool) -> bytes:
    event = load_event(record.get("event"), record.get("fields", {}))
    return join_frame(*encode_event(event, leading_space), limit=LONGEST_PACKET)


def _answer_of(record: Record, leading_space: bool) -> bytes:
    actions = actions_of(record, "answer")
    return b"".join(
        join_frame(*encode_action(action, leading_space), limit=LONGEST_PACKET) for action in actions
    )


def actions_of(record: Record, key: str) -> tuple[act.Action, ...]:
    """The actions under a key of a record; `TraceError` if they are none."""
    found = record.get(key, ())
    if not isinstance(found, list | tuple):
        raise TraceError(f"expected a list under {key}, got {found!r:.60}")
    return tuple(load_action(one) for one in found)


def readable_actions(record: Record, key: str) -> tuple[act.Action, ...]:
    """The actions under a key of a record; none if they cannot be read."""
    try:
        return actions_of(record, key)
    except MilterError:
        return ()


def time_of(record: Record) -> float:
    """When a record was written, in seconds since 1970; 0 if it has no time."""
    return seconds_of(record.get("time"))


def text_in(record: Record, key: str) -> str | None:
    """The text under a key of a record; None if there is none that can be read."""
    try:
        return load_text(record[key])
    except (KeyError, MilterError):
        return None

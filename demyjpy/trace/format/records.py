"""The records of a trace, as they are written: what each kind has in it, made from values.

A record is a ``dict`` for `json`. Its keys stand in docs/trace.md and in ``trace.schema.json``; a
record without what it could have (``changes``, ``raw``) is one in which there was nothing to say.
"""

from base64 import b64encode
from typing import Any, Final, TypeAlias

from demyjpy import events as ev
from demyjpy.actions import Action
from demyjpy.codec import decode_action, decode_event, encode_action, encode_event, name_of
from demyjpy.context import Context
from demyjpy.engine.macros import Macros
from demyjpy.errors import MilterError
from demyjpy.trace.format.json_events import dump_action, dump_event
from demyjpy.verdicts import verdicts_in
from demyjpy.wire.framing import NOTHING_UNREAD, Packet, join_frame, split_frames
from demyjpy.wire.json_bytes import dump_text

Record: TypeAlias = dict[str, Any]

FORMAT: Final = 1
"""The version of the format; a trace with a higher one is read as far as it is understood."""

LONGEST_PACKET: Final = 1 << 24  # bytes; a length beyond it is no packet


def with_found(record: Record, **found: Any) -> Record:
    """A record with what else there is to say: None and what is empty are left out."""
    return record | {key: value for key, value in found.items() if value not in (None, [], {})}


def header(by: str, time: float, version: str = "") -> Record:
    """What a file begins with: who wrote it, and when (seconds since 1970)."""
    return {"trace": FORMAT, "by": by, "demyjpy": version, "time": time}


def said(
    session: str, time: float, packet: Packet, leading_space: bool, *, raw: bool = False
) -> tuple[Record, ev.Event | None]:
    """What the MTA said, from its packet; the event is None if it cannot be read."""
    try:
        event = decode_event(packet, leading_space)
    except MilterError as error:
        return unreadable(session, time, "mta", join_frame(*packet, limit=LONGEST_PACKET), error), None
    return of_event(session, time, event, packet, leading_space, raw=raw), event


def of_event(
    session: str,
    time: float,
    event: ev.Event,
    packet: Packet | None,
    leading_space: bool,
    *,
    raw: bool = False,
) -> Record:
    """An event: of the MTA's, or (without packet) of the engine's own.

    The packet is kept if it is asked for, and if the event alone would not give it again.
    """
    direction = "engine" if packet is None else "mta"
    record: Record = {"session": session, "direction": direction, "time": time}
    return record | about_event(event, packet, leading_space, raw=raw)


def about_event(
    event: ev.Event, packet: Packet | None, leading_space: bool, *, raw: bool = False
) -> Record:
    """What the record of an event has besides whose it is, and when."""
    record: Record = {"event": name_of(event)}
    if fields := dump_event(event):
        record["fields"] = fields
    if packet is not None and (raw or encode_event(event, leading_space) != packet):
        record["raw"] = _base64(join_frame(*packet, limit=LONGEST_PACKET))
    return record


def answered(
    session: str,
    time: float,
    event: str | None,
    sent: bytes,
    leading_space: bool,
    *,
    raw: bool = False,
) -> tuple[Record, tuple[Action, ...]]:
    """What the filter said to an event, from its packets; none of them cut."""
    record: Record = {
        "session": session,
        "direction": "filter",
        "time": time,
        "event": event,
    }
    if not sent:
        return record, ()
    found, actions = about_answer(sent, leading_space, raw=raw)
    return record | found, actions


def about_answer(
    sent: bytes, leading_space: bool, *, raw: bool = False
) -> tuple[Record, tuple[Action, ...]]:
    """What the record of an answer has of its packets."""
    packets, _ = split_frames(NOTHING_UNREAD, sent, LONGEST_PACKET)
    try:
        actions = tuple(decode_action(packet, leading_space) for packet in packets)
    except MilterError as error:
        return {"problem": dump_text(str(error)), "raw": _base64(sent)}, ()
    again = b"".join(
        join_frame(*encode_action(action, leading_space), limit=LONGEST_PACKET) for action in actions
    )
    found = with_found(
        {},
        answer=[dump_action(action) for action in actions],
        verdict=next((type(one).__name__ for one in reversed(verdicts_in(actions))), None),
        raw=_base64(sent) if raw or again != sent else None,
    )
    return found, actions


def unreadable(session: str, time: float, direction: str, data: bytes, error: object) -> Record:
    """Bytes that are no packets, or none that is understood."""
    return {
        "session": session,
        "direction": direction,
        "time": time,
        "event": None,
        "problem": dump_text(str(error)),
        "raw": _base64(data),
    }


def ended(session: str, time: float, how: str, reason: str = "") -> Record:
    """The end of a session.

    ``how``: ``quit`` (the MTA said so), ``mta`` or ``filter`` (who closed the connection without
    that), ``cut`` (the recording ended before the session).
    """
    record: Record = {"session": session, "direction": "end", "time": time, "how": how}
    return with_found(record, reason=dump_text(reason) if reason else None)


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def queue_id_in(ctx: Context) -> str | None:
    """The queue id that a context has, in its macros."""
    macros = ctx.get("macros")
    return macros.get("i") if isinstance(macros, Macros) else None

"""Packets to values and back, in either direction, by the rows of `commands` and `responses`.

Decoding raises `RemoteProtocolError`, encoding `LocalProtocolError`. ``leading_space`` is whether
``SMFIP_HDR_LEADSPC`` was agreed on: header values then go over the wire as they stand after the
colon; otherwise the MTA takes off and puts on one space. What may follow what is in
`demyjpy.engine.phases` and `demyjpy.verdicts`.
"""

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec.commands import EVENTS, ROW_OF_EVENT, ROW_OF_NAME, EventRow
from demyjpy.codec.responses import ACTIONS, ROW_OF_ACTION, ActionRow
from demyjpy.errors import LocalProtocolError, RemoteProtocolError, describe
from demyjpy.wire.codes import Response
from demyjpy.wire.fields import show_bytes
from demyjpy.wire.framing import Packet

__all__ = [
    "ACTIONS",
    "EVENTS",
    "ROW_OF_NAME",
    "ActionRow",
    "EventRow",
    "action_row",
    "decode_action",
    "decode_event",
    "encode_action",
    "encode_event",
    "name_of",
    "unknown_letter",
]


def decode_event(packet: Packet, leading_space: bool = False) -> ev.Event:
    """What the MTA says with this packet; raises `RemoteProtocolError` if it says nothing."""
    letter, payload = packet
    row = EVENTS.get(letter)
    if row is None:
        raise unknown_letter("a command that the MTA sends", packet)
    return row.decode(payload, leading_space)


def encode_event(event: ev.Event, leading_space: bool = False) -> Packet:
    """The packet in which an MTA says this; `Disconnect` is never said."""
    row = ROW_OF_EVENT.get(type(event))
    if row is None:
        raise LocalProtocolError(f"expected an event that goes over the wire, got {event!r}")
    return row.letter, row.encode(event, leading_space)


def name_of(event: object) -> str:
    """The name of an event: the key under which its handler is registered.

    Two events are the engine's own: the end of a connection, and a message as a value.
    """
    row = ROW_OF_EVENT.get(type(event))
    if row is None:
        return "disconnect" if isinstance(event, ev.Disconnect) else "message"
    return row.name


def decode_action(packet: Packet, leading_space: bool = False) -> act.Action:
    """What the filter says with this packet; raises `RemoteProtocolError` if it says nothing."""
    letter, payload = packet
    row = ACTIONS.get(letter)
    if row is None:
        raise unknown_letter("a response that a filter sends", packet)
    try:
        return row.decode(payload, leading_space)
    except LocalProtocolError as error:
        raise RemoteProtocolError(
            f"a well-formed {row.letter.name}", f"{show_bytes(payload)} ({error})"
        ) from error


def encode_action(action: act.Action, leading_space: bool = False) -> Packet:
    """The packet in which a filter says this. A body over 65535 bytes needs several: see `plan`."""
    row = action_row(action)
    return row.letter, row.encode(action, leading_space)


def action_row(action: object) -> ActionRow:
    """The row of an action; what is no action raises `LocalProtocolError`."""
    row = ROW_OF_ACTION.get(type(action))
    if row is None:
        raise LocalProtocolError(f"expected an action, got {describe(action)}")
    has_parameters = isinstance(action, act.AddRecipient) and action.parameters
    return ACTIONS[Response.ADDRCPT_PAR] if has_parameters else row


def unknown_letter(expected: str, packet: Packet) -> RemoteProtocolError:
    """The error for a packet whose letter nobody knows."""
    letter, payload = packet
    return RemoteProtocolError(expected, f"{bytes((letter,))!r} with {show_bytes(payload)}")

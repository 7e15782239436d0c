"""What a stretch of the hot path says of a message, without decoding the rest.

The hot path has read these packets before: each is whole, and may come where it does.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from demyjpy.engine.letters import (
    ABORT,
    BODY,
    BODYEOB,
    CONNECT,
    DATA,
    EOH,
    HEADER,
    MACRO,
    MAIL,
    RCPT,
)
from demyjpy.engine.macros import NO_MACROS, Macros, value_in
from demyjpy.engine.tape import Heard
from demyjpy.wire.fields import encode_text
from demyjpy.wire.framing import Packet

CONTENT: Final = frozenset({DATA, HEADER, EOH, BODY, BODYEOB})
"""What is said of a message after its envelope."""

ENVELOPE: Final = frozenset({CONNECT, MAIL, RCPT})
"""What a record has of a client and of an envelope."""

_OF_MESSAGE: Final = CONTENT | {MAIL, RCPT}

_ABSENT: Final = object()

_take_length: Final = Struct("!I").unpack_from


def envelope_in(heard: Iterable[Heard]) -> tuple[list[Packet], int]:
    """Who connected, sender and recipients; and the letter of the last packet that was looked at.

    That is one of `CONTENT`, or the last of the stretch: after DATA, or whatever is said of the content
    first, no recipient comes before the message ends, which ends the stretch, too.
    """
    found: list[Packet] = []
    letter = 0
    for entry in heard:
        if not isinstance(entry, bytes):
            return found, BODY  # its size
        at, stop = 0, len(entry)
        while at < stop:
            after = at + 4 + _take_length(entry, at)[0]
            letter = entry[at + 4]
            if letter in ENVELOPE:
                found.append((letter, entry[at + 5 : after]))
            elif letter in CONTENT:
                return found, letter
            at = after
    return found, letter


def _packets_in(heard: Iterable[Heard]) -> Iterator[Packet]:
    """All packets, bodies without their bytes."""
    for entry in heard:
        if not isinstance(entry, bytes):
            yield BODY, b""
            continue
        at, stop = 0, len(entry)
        while at < stop:
            after = at + 4 + _take_length(entry, at)[0]
            letter = entry[at + 4]
            yield letter, entry[at + 5 : after] if letter == MACRO else b""
            at = after


# -------------------------------------------------------------------------------- the queue id
def about_queue_id(macros: Macros, longest: int, *, after_message: bool = False) -> Macros:
    """Macros as far as they say a queue id, of which ``longest`` characters are kept.

    ``after_message``: as they are when the message, whose end has come, is over.
    """
    if macros is NO_MACROS:
        return macros
    for one in macros.slots[:2] if after_message else macros.slots:  # except for those of a message
        if one is not None and _mentions_queue_id(one):
            break
    else:
        return NO_MACROS
    if after_message:
        macros = macros.end_message()
    slots = tuple([one and _definition(one, longest) for one in macros.slots])
    return Macros(slots, macros.fresh)


def _definition(payload: bytes, longest: int) -> bytes | None:
    """The first definition of a queue id in a macro packet; None if there is none."""
    if not _mentions_queue_id(payload):
        return None
    value = value_in(payload, "i", _ABSENT)
    if value is _ABSENT:
        return None
    return b"i\0" if value is None else encode_text(f"i\0{value[:longest]}\0")


def _mentions_queue_id(data: bytes) -> bool:
    """Whether there may be a queue id in it; often there is none though."""
    return b"i\0" in data or b"{i}\0" in data


def _are_about_queue_id(heard: Iterable[Heard]) -> bool:
    return any(isinstance(one, bytes) and _mentions_queue_id(one) for one in heard)


def queue_id_in_heard(heard: Iterable[Heard], macros: Macros, longest: int) -> tuple[str | None, Macros]:
    """The last queue id that a packet of a message had, and the macros about it at the end.

    ``macros`` are those at the beginning. There is at most one message in a stretch.
    """
    if macros is NO_MACROS and not _are_about_queue_id(heard):
        return None, macros
    queue_id: str | None = None
    for letter, payload in _packets_in(heard):
        if letter == MACRO:
            macros = macros.define(payload[0], _definition(payload[1:], longest) or b"")
            continue
        macros = macros.arrive(letter)
        if letter in _OF_MESSAGE:
            queue_id = macros.get("i") or queue_id
        if letter in (BODYEOB, ABORT):
            macros = macros.end_message()
    return queue_id, macros if any(macros.slots) else NO_MACROS

"""Macros in force: stored as the MTA sent them, scoped, looked up and cleared as libmilter does.

Two differences, both on purpose: what belongs to a message is dropped at its end, and what belongs
to a recipient after that recipient, so that nothing is carried into the next. And names are the same
with and without braces: ``auth_type`` finds ``{auth_type}``.

A macro packet is kept as bytes until somebody asks, and is read once then: Postfix sends one before
every header field and every chunk of the body, each time the same.
"""

from typing import Any, Final

from attrs import define, field

from demyjpy.engine.moment import NO_MOMENT, Moment
from demyjpy.errors import LocalProtocolError
from demyjpy.wire.codes import Command
from demyjpy.wire.fields import Definitions, decode_text, encode_text, take_strings

_C = Command

_SLOTS: Final[dict[int, int]] = {
    _C.CONNECT: 0,
    _C.HELO: 1,
    _C.MAIL: 2,
    _C.RCPT: 3,
    _C.DATA: 4,
    _C.EOH: 5,
    _C.BODYEOB: 6,
}
"""Where the macros of a command are kept. Lookup goes from the last slot to the first."""

PASSING: Final = 7
"""The slot of macros sent for any other command: in force for that one command, looked up first."""

OPENING_SLOTS: Final = 1 << _SLOTS[_C.HELO] | 1 << _SLOTS[_C.MAIL]
"""The slots of commands that end an open message, as bits like `Macros.fresh`."""

_RECIPIENT: Final = 3
_OF_MESSAGE: Final = tuple(range(2, 8))
_NONE_OF_MESSAGE: Final = (None,) * len(_OF_MESSAGE)

_DROPPED_AT: Final[dict[int, tuple[int, ...]]] = {
    _C.CONNECT: tuple(range(1, 8)),
    _C.HELO: tuple(range(2, 8)),
    _C.MAIL: tuple(range(3, 8)),
    _C.RCPT: tuple(range(3, 8)),
    # Sendmail sends the macros of a recipient that it refuses and then no RCPT: they end here
    **dict.fromkeys((_C.DATA, _C.HEADER, _C.EOH, _C.BODY, _C.BODYEOB), (_RECIPIENT, PASSING)),
}
"""Slots that end when this command comes (at others the passing one), except its own just filled."""


_LARGE: Final = 4096
"""Bytes of a macro packet beyond which only what was asked for is kept as text: all of it as text takes
ten times as many. What an MTA sends is smaller."""

_MOST_ASKED: Final = 64
"""Names that are remembered of a large packet."""

_ABSENT: Final = object()
_UNKNOWN: Final = object()


def value_in(payload: bytes, bare: str, default: Any = None) -> Any:
    """The value of a macro in what a macro packet says after its letter, without reading all of it.

    None if the name has no value, ``default`` if there is no such name. The first of a name counts.
    """
    if "\0" in bare:
        return default
    try:
        name = encode_text(bare)
    except LocalProtocolError:  # no bytes are decoded as this
        return default
    names = [b"{%b}" % name]
    if Definitions.key_of(bare) == bare:
        names.append(name)
    if not any(one in payload for one in names):
        return default
    strings = payload.split(b"\0")[:-1]
    said = strings[::2]
    place = min([said.index(one) for one in names if one in said], default=-1)
    if place < 0:
        return default
    value = strings[2 * place + 1 : 2 * place + 2]
    return decode_text(value[0]) if value else None


class _Asked(dict[str, Any]):
    """What was found of a large packet, so far as somebody asked. Any thread may ask."""

    def __init__(self, payload: bytes) -> None:
        super().__init__()
        self._payload = payload

    def __contains__(self, bare: object) -> bool:
        value = self.get(str(bare), _UNKNOWN)
        if value is _UNKNOWN:
            value = self[str(bare)]
            if len(self) < _MOST_ASKED:
                self[str(bare)] = value
        return value is not _ABSENT

    def __missing__(self, bare: str) -> Any:
        return value_in(self._payload, bare, _ABSENT)


class _Read(bytes):
    """What a macro packet says after its letter, and what was found in it."""

    found: dict[str, str | None]
    """Bare names to values; the first of a name counts."""

    @classmethod
    def of(cls, payload: bytes) -> "_Read":
        if isinstance(payload, cls):
            return payload
        read = cls(payload)
        if len(payload) > _LARGE:
            read.found = _Asked(payload)
            return read
        strings = take_strings(payload)
        names = [Definitions.key_of(name) for name in reversed(strings[::2])]
        values: list[str | None] = [*reversed(strings[1::2])]
        if len(strings) % 2:
            values.insert(0, None)  # the last name has none
        read.found = dict(zip(names, values, strict=True))
        return read


@define(unsafe_hash=True)  # frozen, its making would take 7 % of a message
class Macros:
    """The macros in force, as a value: nobody changes one.

    ``fresh`` is the set of slots, as bits, that were filled since the last command: those belong to
    the commands to come. ``moment`` is the connection's: macros are what the engine puts into contexts
    for each command in any case, and one more key there would cost every filter.
    """

    slots: tuple[bytes | None, ...] = (None,) * 8
    fresh: int = 0
    moment: Moment = field(default=NO_MOMENT, eq=False, repr=False)

    def at(self, moment: Moment) -> "Macros":
        """The same on this connection."""
        return self if self.moment is moment else Macros(self.slots, self.fresh, moment)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return sum([len(one) for one in self.slots if one])

    def define(self, letter: int, payload: bytes) -> "Macros":
        """With the macros of one packet: its target command's letter, and the strings after it."""
        slot = _SLOTS.get(letter, PASSING)
        before = self.slots[slot]
        if before == payload:
            payload = before  # which may have been read
        slots = (*self.slots[:slot], payload, *self.slots[slot + 1 :])
        return Macros(slots, self.fresh | 1 << slot, self.moment)

    def arrive(self, letter: int) -> "Macros":
        """As they are in force for the command that has now come."""
        own = self.fresh & 1 << _SLOTS.get(letter, PASSING)
        slots = self._drop(_DROPPED_AT.get(letter, (PASSING,)), own)
        is_same = slots is self.slots and not self.fresh
        return self if is_same else Macros(slots, 0, self.moment)

    def meet(self, letter: int, payload: bytes) -> "Macros":
        """As after `define` and `arrive`, in one: a command comes with the macros sent for it.

        Often nothing changes: Postfix sends the same ones before each header field.
        """
        if self.fresh:
            return self.define(letter, payload).arrive(letter)
        slots = [*self.slots]
        for one in _DROPPED_AT.get(letter, ()):
            slots[one] = None
        slots[_SLOTS.get(letter, PASSING)] = payload
        after = (*slots,)
        return self if after == self.slots else Macros(after, 0, self.moment)

    def end_message(self) -> "Macros":
        """Without those of the message, except those already sent for the next."""
        if not self.fresh:
            slots = self.slots[:2] + _NONE_OF_MESSAGE
            return self if slots == self.slots else Macros(slots, 0, self.moment)
        slots = self._drop(_OF_MESSAGE, self.fresh)
        return self if slots is self.slots else Macros(slots, self.fresh, self.moment)

    def _drop(self, dropped: tuple[int, ...], spared: int) -> tuple[bytes | None, ...]:
        """Without those slots, except the ones whose bits are set."""
        slots = self.slots
        for slot in dropped:
            if slots[slot] is not None and not spared >> slot & 1:
                slots = (*slots[:slot], None, *slots[slot + 1 :])
        return slots

    def get(self, name: str) -> str | None:
        """The value of a macro, with or without braces around its name; None if not in force."""
        bare = Definitions.key_of(name)
        for slot in range(PASSING, -1, -1):
            payload = self.slots[slot]
            if payload is not None:
                read = _Read.of(payload)
                if read is not payload:
                    self._keep(slot, read)
                if bare in read.found:
                    return read.found[bare]
        return None

    def _keep(self, slot: int, read: _Read) -> None:
        """What equals it is in its place already, here and in what comes of this value."""
        slots = (*self.slots[:slot], read, *self.slots[slot + 1 :])
        object.__setattr__(self, "slots", slots)

    @property
    def client(self) -> str | None:
        """The client, as far as the MTA has told: Postfix and Sendmail call it differently."""
        return self.get("client_addr") or self.get("_")


NO_MACROS: Final = Macros()

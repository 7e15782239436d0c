"""The file in which the effects of one message are kept: how it is written, read, and marked.

One file for each message, not one for each effect or for all: so all of its effects are kept, or none,
by one fsync and one rename; nothing has to be compacted; and what is damaged harms one message only.

It has the bytes of the messages that effects hold, as they are; then a description in JSON; then a byte
for each effect, which says what became of it, and is written in place; then a trailer of a known size,
which says where all of this is. A file without a whole trailer was never finished. What the bytes of a
message are is checked as they are read. Nothing here knows which files there are, or whose they are.
"""

import json
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import Any, BinaryIO, Final

from attrs import define, frozen

from demyjpy.effects import Do
from demyjpy.engine.connection import Requested
from demyjpy.engine.effect_values import (
    FindClass,
    UnkeepableError,
    UnreadableError,
    dump_effect,
    load_effect,
)
from demyjpy.engine.stock import origin_of
from demyjpy.errors import MilterError
from demyjpy.events import Mail, Recipient
from demyjpy.message import Kept, Message
from demyjpy.message.content import is_there, size_of
from demyjpy.wire.fields import Parameters
from demyjpy.wire.json_bytes import dump_optional, dump_text, load_optional, load_text

WAITS, DONE, FAILED = b".DF"
"""What became of an effect."""

_TRAILER: Final = Struct(">QIII8s")
"""Where the description is, its bytes, its CRC-32, how many effects there are, and `_MAGIC`."""
_MAGIC: Final = b"effects1"
_LARGEST: Final = 256 << 20  # bytes of a description
_PIECE: Final = 65_536


@frozen
class KeptEffect:
    """An effect as its file describes it.

    ``number`` is its place in the file. ``kind`` is the name of its class, ``whose`` that of its filter
    in logs; ``filter`` is the name that its filter has given itself, ``place`` its place among several.
    """

    number: int
    key: str
    kind: str
    whose: str
    filter: str | None
    place: int


class Directory:
    """An open directory, in which files are found also if it is renamed."""

    __slots__ = ("descriptor", "name")

    def __init__(self, name: str, descriptor: int) -> None:
        self.name, self.descriptor = name, descriptor

    def open(self, name: str, flags: int) -> int:
        """The descriptor of a file in it, which is not inherited.

        No link is followed, and no writer of a pipe waited for.
        """
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(name, flags, 0o600, dir_fd=self.descriptor)

    def names(self) -> list[str]:
        """What is in it, in order."""
        with os.scandir(self.descriptor) as found:
            return sorted(one.name for one in found)

    def __del__(self, close: Any = os.close) -> None:
        close(self.descriptor)


@define(eq=False)
class EffectFile:
    """A file of effects: in which directory it is, and what became of each of its effects."""

    directory: Directory
    name: str
    session: str
    effects: tuple[KeptEffect, ...]
    marks: bytearray
    marks_at: int
    described: dict[str, Any] | None = None
    """What was read from it, while it is in hand."""

    @property
    def waiting(self) -> tuple[KeptEffect, ...]:
        """Those that are to be done."""
        return tuple(one for one in self.effects if self.marks[one.number] == WAITS)

    @property
    def has_failed(self) -> bool:
        """Whether one of them is not done, and is not tried any more."""
        return FAILED in self.marks

    def mark(self, number: int, what: int) -> None:
        """What became of an effect; `write_mark` writes it down."""
        self.marks[number] = what

    def write_mark(self, number: int) -> None:
        """Write it into the file; `OSError` if that is not possible."""
        descriptor = self.directory.open(self.name, os.O_WRONLY)
        try:
            os.pwrite(descriptor, self.marks[number : number + 1], self.marks_at + number)
        finally:
            os.close(descriptor)

    def lay_down(self) -> None:
        """What was read from it is not kept in memory any more."""
        self.described = None

    def load(self, number: int, find: FindClass) -> "LoadedEffect":
        """An effect. Its messages are read from the file until it is released.

        The file is read once, until `lay_down`.
        """
        described = self.described
        if described is None:
            with _opened(self.directory, self.name) as file:
                described, _ = _describe(file)
            self.described = described
        bodies: list[_Body] = []

        def message(at: int) -> Message:
            found, body = _message_of(self, described["messages"][at])
            bodies.append(body)
            return found

        try:
            record = described["effects"][number]["effect"]
        except (LookupError, TypeError) as error:
            raise _damaged(error) from None
        return LoadedEffect(load_effect(record, find, message), tuple(bodies))


@frozen
class LoadedEffect:
    """An effect that was read from its file."""

    effect: Any
    bodies: "tuple[_Body, ...]" = ()

    def release(self) -> None:
        """It is done: the bodies of its messages cannot be read any more."""
        for one in self.bodies:
            one.release()


class FilesInHand:
    """Those whose effects are done now: what was read from them stays in memory, of so many at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._files: dict[EffectFile, None] = {}
        """The one that was not used for the longest time first."""

    def take(self, file: EffectFile) -> None:
        """An effect of it is done."""
        self._files.pop(file, None)
        self._files[file] = None
        if len(self._files) > self._most:
            self.lay_down(next(iter(self._files)))

    def lay_down(self, file: EffectFile) -> None:
        """It is read again if another effect of it is done."""
        self._files.pop(file, None)
        file.lay_down()


# ------------------------------------------------------------------------------------------ writing
def write_effects(
    file: BinaryIO, due: Sequence[Requested], key_of: Callable[[str], str], session: str
) -> tuple[tuple[KeptEffect, ...], int]:
    """Write the effects of a message; what they are, and where their marks are.

    `UnkeepableError` for what is no data, `OSError` if there is no room.
    """
    messages: list[dict[str, Any]] = []
    known: dict[tuple[int, ...], int] = {}

    def keep(message: Message) -> int:
        same = _identity_of(message)
        if same not in known:
            known[same] = len(messages)
            messages.append(_write_message(file, message))
        return known[same]

    effects, found = [], []
    for number, one in enumerate(due):
        if not isinstance(one.request, Do):
            raise UnkeepableError(f"expected an effect, got {type(one.request).__name__}")
        effect = one.request.effect
        kept = KeptEffect(
            *(number, key_of(one.key), type(effect).__name__),
            *(one.handler.filter or one.handler.name, one.declared.name, one.number),
        )
        found.append(kept)
        effects.append(
            {
                "key": kept.key,
                "kind": kept.kind,
                "whose": dump_text(kept.whose),
                "filter": dump_optional(kept.filter),
                "place": kept.place,
                "queue_id": dump_optional(one.queue_id),
                "effect": dump_effect(effect, keep),
            }
        )
    described = {"session": session, "effects": effects, "messages": messages}
    data = json.dumps(described, ensure_ascii=True, allow_nan=False).encode("ascii")
    if len(data) > _LARGEST:
        raise UnkeepableError(
            f"expected effects of a message to take at most {_LARGEST} bytes beside its body, "
            f"got {len(data)}"
        )
    at = file.tell()
    file.write(data)
    file.write(bytes([WAITS] * len(found)))
    file.write(_TRAILER.pack(at, len(data), zlib.crc32(data), len(found), _MAGIC))
    return tuple(found), at + len(data)


def _identity_of(message: Message) -> tuple[int, ...]:
    """The same for one message, which each effect holds as an object of its own. All are there still."""
    envelope = (message.sender, message.sender_parameters, message.recipients)
    return tuple([id(one) for one in (*envelope, message.fields, origin_of(message.content))])


def _write_message(file: BinaryIO, message: Message) -> dict[str, Any]:
    at, crc, head = file.tell(), 0, 0
    content = (
        message if message.is_whole else Message.of([(one.name, one.raw) for one in message.fields])
    )
    for number, piece in enumerate(content.pieces()):
        file.write(piece)
        if number == 0:
            head = len(piece)
        else:
            crc = zlib.crc32(piece, crc)
    return {
        "at": at,
        "head": head,
        "body": size_of(message.content),
        "crc": crc if is_there(message.content) else None,
        "sender": dump_text(message.sender),
        "parameters": _dump_parameters(message.sender_parameters),
        "recipients": [
            [dump_text(one.address), _dump_parameters(one.parameters), dump_text(one.raw)]
            for one in message.recipients
        ],
        "fields": [[dump_text(one.name), dump_text(one.raw)] for one in message.fields],
    }


def _dump_parameters(given: Parameters) -> list[Any]:
    return [[dump_text(key), dump_optional(value)] for key, value in given.words]


# ------------------------------------------------------------------------------------------ reading
def read_effects(directory: Directory, name: str) -> EffectFile:
    """A file as it is; `UnreadableError` if it is torn or damaged, `OSError` if it cannot be read."""
    with _opened(directory, name) as file:
        described, trailer = _describe(file)
        marks_at = trailer[0] + trailer[1]
        file.seek(marks_at)
        marks = bytearray(file.read(trailer[3]))
    try:
        effects = tuple(
            KeptEffect(
                *(number, _text(one["key"]), _text(one["kind"]), load_text(one["whose"])),
                *(load_optional(one["filter"]), _number(one["place"])),
            )
            for number, one in enumerate(described["effects"])
        )
        session = _text(described["session"])
        fits = len(effects) == trailer[3]
        fits = fits and all(_end_of(one) <= trailer[0] for one in described["messages"])
    except (LookupError, TypeError, ValueError, MilterError) as error:
        raise _damaged(error) from None
    if not fits:
        raise _damaged("what is there does not fit together")
    return EffectFile(directory, name, session, effects, marks, marks_at, described)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.60}")
    return value


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"expected a number from 0, got {value!r:.60}")
    return value


def _end_of(message: Any) -> int:
    """Where the bytes of a message end in the file."""
    head, body = _number(message["at"]) + _number(message["head"]), _number(message["body"])
    return head if message["crc"] is None else head + body


def _damaged(error: object) -> UnreadableError:
    return UnreadableError(f"expected a file of effects, got a damaged one: {error}")


def _opened(directory: Directory, name: str) -> BinaryIO:
    descriptor = directory.open(name, os.O_RDONLY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _damaged("no regular file")
    return os.fdopen(descriptor, "rb")


def _describe(file: BinaryIO) -> tuple[dict[str, Any], tuple[int, int, int, int]]:
    """The description in a file, and where it is."""
    size = os.fstat(file.fileno()).st_size
    if size < _TRAILER.size:
        raise _damaged(f"{size} bytes")
    file.seek(size - _TRAILER.size)
    at, length, crc, count, magic = _TRAILER.unpack(file.read(_TRAILER.size))
    if magic != _MAGIC or at + length + count + _TRAILER.size != size or length > _LARGEST:
        raise _damaged("no whole trailer")
    file.seek(at)
    data = file.read(length)
    if zlib.crc32(data) != crc:
        raise _damaged("another checksum")
    with suppress(ValueError, RecursionError):
        found = json.loads(data)
        if isinstance(found, dict):
            return found, (at, length, crc, count)
    raise _damaged("no JSON object")


def _message_of(file: EffectFile, record: Any) -> tuple[Message, "_Body"]:
    recipients = [
        Recipient(load_text(address), _parameters(words), raw=load_text(raw))
        for address, words, raw in record["recipients"]
    ]
    mail = Mail(load_text(record["sender"]), _parameters(record["parameters"]))
    fields = [(load_text(name), load_text(raw)) for name, raw in record["fields"]]
    size = int(record["body"])
    body = _Body(file, int(record["at"]) + int(record["head"]), size, record["crc"])
    read = None if record["crc"] is None else body
    return Message.of(fields, Kept(size, read, is_in_file=True), mail, recipients), body


def _parameters(words: Iterable[Any]) -> Parameters:
    return Parameters([(load_text(key), load_optional(value)) for key, value in words])


class _Body:
    """Reads the body of a message from its file: None when the effect is done."""

    def __init__(self, file: EffectFile, at: int, size: int, crc: int | None) -> None:
        self._file: EffectFile | None = file
        self._at, self._size, self._crc = at, size, crc

    def __call__(self) -> Iterator[bytes] | None:
        """The body in pieces; `OSError` at its end if it is not what was written."""
        return None if self._file is None else self._pieces(self._file)

    def _pieces(self, where: EffectFile) -> Iterator[bytes]:
        crc, left = 0, self._size
        with _opened(where.directory, where.name) as file:
            file.seek(self._at)
            while left and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                crc = zlib.crc32(piece, crc)
                yield piece
        if left or crc != self._crc:
            raise OSError("expected the body of a message as it was kept, got a damaged one")

    def release(self) -> None:
        """It is needed no more."""
        self._file = None

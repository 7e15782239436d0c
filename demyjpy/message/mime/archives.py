"""The names of the files in a message: of its parts, and of what is in zip files, also in each other.

All work is bounded, however a zip file was made: names, levels and bytes that are unpacked. What was
not looked into is said, because a filter that looks for something must not let that pass.
"""

from collections.abc import Iterator
from io import BytesIO
from struct import Struct
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo, is_zipfile

from attrs import frozen

from demyjpy.message.mime.part import Part

MOST_MEMBERS: Final = 5_000
"""Names in the zip files of a message that are looked at."""

UNPACKED: Final = 50_000_000
"""Bytes of zip files in zip files that are unpacked for a message."""

DEEPEST: Final = 4
"""Zip files in each other that are looked into."""

_MEMBER: Final = b"PK\1\2"
"""Each member has it in the directory of a zip file (APPNOTE.TXT, section 4.3.12)."""

_EXTRA_SIZE: Final = 30
"""Where in a member's entry the size of its extra fields stands."""

_MOST_EXTRA: Final = 500_000
"""Bytes of extra fields in the zip files of a message: 100 for each name."""

_ENCRYPTED: Final = 1

_EMPTY: Final = 2
"""Bytes of nothing, packed."""

_EXTRA: Final = Struct("<HH")
"""Before each extra field: its kind, and its size."""

_UNICODE_PATH: Final = 0x7075
_BEFORE_PATH: Final = 5
"""The version of the field, and a checksum of the other name (section 4.6.9)."""


@frozen
class FileNames:
    """The names of the files in a message, as the sender wrote them: never use one as a path.

    ``names`` are in order, those in a zip file after its own. ``unseen`` says why there may be others
    that were not looked at, as ``"a broken zip file"``; None if all were. ``has_encrypted``: there is a
    zip file with encrypted files. Their names are known, but not what is in them.
    """

    names: tuple[str, ...] = ()
    unseen: str | None = None
    has_encrypted: bool = False


class _UnseenError(Exception):
    """Why something cannot be looked into."""


def file_names(parts: tuple[Part, ...]) -> FileNames:
    """The names of the files in these parts. Nothing is raised because of a mail."""
    look = _Look()
    names: list[str] = []
    try:
        for name in look.names(parts):
            names.append(name)  # noqa: PERF402  # what was found before an error counts
    except _UnseenError as error:
        return FileNames(tuple(names), str(error), look.has_encrypted)
    except Exception:  # noqa: BLE001  # zipfile raises ten kinds of errors for a broken file
        return FileNames(tuple(names), "a broken zip file", look.has_encrypted)
    return FileNames(tuple(names), None, look.has_encrypted)


class _Look:
    """One look into a message, and how much of it may still be looked at."""

    def __init__(self) -> None:
        self.has_encrypted = False
        self._members, self._bytes, self._extra = MOST_MEMBERS, UNPACKED, _MOST_EXTRA

    def names(self, parts: tuple[Part, ...]) -> Iterator[str]:
        for part in parts:
            yield from filter(None, dict.fromkeys((part.file_name, part.parameter("name"))))
            if not part.is_container:
                yield from self._names_in(part.content, DEEPEST)
        if "PartsNotSeen" in parts[0].defects:
            raise _UnseenError("too many parts")

    def _names_in(self, data: bytes, depth: int) -> Iterator[str]:
        """Of a zip file, and of those in it; whatever its own name is."""
        if not is_zipfile(BytesIO(data)):
            if data.startswith(b"PK\3\4"):
                raise _UnseenError("a broken zip file")
            return
        self._count_members(data)
        if depth == 0:
            raise _UnseenError("too much in a zip file")
        with ZipFile(BytesIO(data)) as archive:
            for one in archive.infolist():
                names = _names_of(one)
                yield from names
                if one.flag_bits & _ENCRYPTED:
                    self.has_encrypted = True
                elif any(name.rstrip(" .").lower().endswith(".zip") for name in names):
                    yield from self._names_in(self._unpacked(archive, one), depth - 1)

    def _count_members(self, data: bytes) -> None:
        """`ZipFile` would read them all first, and needs n² time for the extra fields of each."""
        at = data.find(_MEMBER)
        while at >= 0:
            self._members -= 1
            self._extra -= int.from_bytes(data[at + _EXTRA_SIZE : at + _EXTRA_SIZE + 2], "little")
            if self._members < 0 or self._extra < 0:
                raise _UnseenError("too much in a zip file")
            at = data.find(_MEMBER, at + len(_MEMBER))

    def _unpacked(self, archive: ZipFile, one: ZipInfo) -> bytes:
        self._bytes -= one.file_size
        if self._bytes < 0 or one.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise _UnseenError("too much in a zip file")
        if not one.file_size and one.compress_size > _EMPTY:
            raise _UnseenError("a broken zip file")
        with archive.open(one) as file:
            return file.read(one.file_size)  # without the number it unpacks all that is packed first


def _names_of(one: ZipInfo) -> list[str]:
    """The name, and the one in UTF-8 in the extra field, which newer Pythons put in its place."""
    names, at = [one.orig_filename.partition("\0")[0], one.filename], 0
    while at + _EXTRA.size <= len(one.extra):
        kind, size = _EXTRA.unpack_from(one.extra, at)
        at += _EXTRA.size + size
        if kind == _UNICODE_PATH:
            name = one.extra[at - size + _BEFORE_PATH : at]
            names.append(name.decode("utf-8", "replace"))
    return list(dict.fromkeys(names))

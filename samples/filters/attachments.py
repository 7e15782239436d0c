"""Refuses, or holds back, mail with attached programs, also in zip files and in zip files in these.

It goes by names, which it reads as mail programs do. All work is bounded: what is beyond the bounds, or
cannot be looked into, is treated as a program.
"""

import io
from collections.abc import Iterator
from pathlib import PureWindowsPath
from typing import Final, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, is_zipfile

from demyjpy import Context, Message, Registry, count, define_event_handlers, note, quarantine, reject

ENDINGS: Final = "bat cmd com cpl exe hta img iso jar js jse lnk msi pif ps1 scr vbe vbs wsf"
PROGRAMS: Final = frozenset(f".{one}" for one in ENDINGS.split())
MEMBERS: Final = 5_000
"""Names in zip files that are looked at."""
UNPACKED: Final = 50_000_000
"""Bytes of zip files in zip files that are unpacked, for one mail."""
DEPTH: Final = 4


class HiddenError(Exception):
    """Something cannot be looked into."""


class Looking:
    """One look into a mail, and how much of it may still be looked at."""

    def __init__(self, *, encrypted: bool) -> None:
        self._encrypted, self._members, self._bytes = encrypted, MEMBERS, UNPACKED

    def names(self, message: Message) -> Iterator[str]:
        """The names of all files."""
        parts = message.parts()
        if "PartsNotSeen" in parts[0].defects:
            raise HiddenError("too many parts")
        for part in parts:
            if not part.is_container:
                yield from filter(None, (part.file_name, part.parameter("name")))
                yield from self._names_in(part.content, DEPTH)

    def _names_in(self, data: bytes, depth: int) -> Iterator[str]:
        """Of a zip file, and of those in it; whatever its own name is."""
        if not is_zipfile(io.BytesIO(data)):
            if data.startswith(b"PK\3\4"):
                raise HiddenError("a broken zip file")
            return
        self._members -= data.count(b"PK\1\2")  # each has one; `ZipFile` would read them all first
        if depth == 0 or self._members < 0:
            raise HiddenError("too much in a zip file")
        with ZipFile(io.BytesIO(data)) as archive:
            for one in archive.infolist():
                yield one.filename
                if one.flag_bits & 1 and not self._encrypted:
                    raise HiddenError("an encrypted zip file")
                if suffix_of(one.filename) == ".zip" and not one.flag_bits & 1:
                    self._bytes -= one.file_size  # `read` gives no more, whatever is packed
                    if self._bytes < 0 or one.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                        raise HiddenError("too much in a zip file")
                    yield from self._names_in(archive.read(one), depth - 1)


def suffix_of(name: str) -> str:
    """As Windows sees it, which leaves out dots and spaces at the end."""
    return PureWindowsPath(name.rstrip(" .").lower()).suffix


def make(
    *,
    programs: frozenset[str] = PROGRAMS,
    encrypted: bool = True,
    action: Literal["reject", "quarantine"] = "reject",
    limit: int = 50_000_000,
) -> Registry:
    """The filter. ``encrypted``: whether encrypted zip files may pass. ``limit``: bytes of a mail."""
    actions = {"quarantine"} if action == "quarantine" else set()
    handlers = define_event_handlers(name="attachments", actions=actions)

    def fault(event: Message) -> str | None:
        """Why the mail is not wanted."""
        if not event.is_whole:
            return "too large to look into"
        try:
            for name in Looking(encrypted=encrypted).names(event):
                if suffix_of(name) in programs:
                    shown = "".join(one if " " <= one <= "~" else "?" for one in name[-60:])
                    return f"attached program {shown}"
        except HiddenError as error:
            return str(error)
        except Exception:  # noqa: BLE001  # zipfile raises ten kinds of errors for a broken file
            return "a broken zip file"
        return None

    @handlers.message(limit=limit, blocking=True)
    def look_inside(event: Message, ctx: Context) -> Context:
        """The first program decides."""
        why = fault(event)
        if why is None:
            return ctx
        ctx = count(note(ctx, "attachment not wanted", why=why), "unwanted")
        return (
            quarantine(ctx, why)
            if action == "quarantine"
            else reject(ctx, "5.7.1", f"Not accepted: {why}")
        )

    return handlers

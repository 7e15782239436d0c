"""Refuses mail with an encrypted zip file, which no scanner can look into.

This is what ``no-ppap-milter`` does, which is on PyPI and uses pymilter: written anew, from what its
README says. See docs/coming-from-pymilter.md.
"""

import sys
from io import BytesIO
from typing import Final
from zipfile import BadZipFile, ZipFile

from demyjpy import Context, Message, define_event_handlers, reject, start_milter

MEMBERS: Final = 5_000
"""Files in a zip file that are looked at; one with more counts as encrypted."""

handlers = define_event_handlers(name="encrypted-zip")


@handlers.message(limit=50_000_000, beyond="reject", blocking=True)
def look(event: Message, ctx: Context) -> Context:
    """One encrypted file in one archive is enough."""
    if any(is_encrypted(part.content) for part in event.parts() if not part.is_container):
        return reject(ctx, "5.7.1", "We do not accept encrypted zip files")
    return ctx


def is_encrypted(data: bytes) -> bool:
    """Whether these bytes, whatever their name is, are a zip file with an encrypted file in it."""
    if data.count(b"PK\1\2") > MEMBERS:  # each file has one; `ZipFile` would read them all first
        return True
    try:
        with ZipFile(BytesIO(data)) as archive:
            return any(one.flag_bits & 1 for one in archive.infolist())
    except (BadZipFile, NotImplementedError, ValueError):
        return False  # no zip file, or one that no program opens


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

"""Keeps mail with an attached program back, for somebody to look at.

Quarantine is no refusal: the sender's server reads that the mail was accepted. The mail stays in the
queue until somebody releases it (Postfix: ``postsuper -H ID``; Sendmail: ``sendmail -qQ -Q -qIID``) or
deletes it. To find attachments the whole message must be read, which for a large one takes a while:
``blocking=True`` does that in a thread, and the server hears every few seconds that we are still at
work. A mail that is too large to read, or has too many parts, is kept back, too.
"""

import sys
from pathlib import PurePosixPath

from demyjpy import Context, Message, define_event_handlers, quarantine, start_milter

PROGRAMS = {
    ".bat",
    ".cmd",
    ".com",
    ".exe",
    ".hta",
    ".jar",
    ".js",
    ".lnk",
    ".msi",
    ".ps1",
    ".scr",
    ".vbs",
}

handlers = define_event_handlers(actions={"quarantine"})


@handlers.message(limit=100_000_000, blocking=True)
def look_inside(event: Message, ctx: Context) -> Context:
    """The first program decides. Names are decoded as mail programs do it."""
    if not event.is_whole:
        return quarantine(ctx, "too large to look into")
    parts = event.parts()
    for name in (part.file_name or "" for part in parts):
        if PurePosixPath(name.strip(" .").lower()).suffix in PROGRAMS:
            return quarantine(ctx, f"attached program {printable(name)}")
    return quarantine(ctx, "too many parts") if "PartsNotSeen" in parts[0].defects else ctx


def printable(name: str) -> str:
    """A name as it may stand in a log."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:60])


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

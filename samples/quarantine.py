"""Keeps mail with an attached program back, for somebody to look at.

Quarantine is no refusal: the sender's server is told that the mail was taken, and it stays in the
queue until it is released (Postfix: ``postsuper -H ID``; Sendmail: ``sendmail -qQ -Q -qIID``) or
deleted. To find attachments the whole message must be read, which for a large one takes a while:
``blocking=True`` lets that happen in a thread, and the server is told every few seconds that we are
still at work.
"""

import sys
from collections.abc import Iterator
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from pathlib import PurePosixPath

from pyrsistent import pvector

from demyjpy import (
    Body,
    Context,
    EndOfMessage,
    Header,
    define_event_handlers,
    quarantine,
    start_milter,
)

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

handlers = define_event_handlers(actions={"quarantine"}, state={"lines": pvector()})


@handlers.header(reply=False)
def keep_header(event: Header, ctx: Context) -> Context:
    """Keep the fields that say what is in the body: Content-Type and its kin."""
    if not event.name.lower().startswith("content-"):
        return ctx
    line = f"{event.name}:{event.raw}\n".encode("utf-8", "surrogateescape")
    return ctx.set("lines", ctx["lines"].append(line))


@handlers.end_of_headers(reply=False)
def end_header(event: object, ctx: Context) -> Context:
    """The empty line before the body."""
    return ctx.set("lines", ctx["lines"].append(b"\n"))


@handlers.body(reply=False)
def keep_body(event: Body, ctx: Context) -> Context:
    """Chunks are kept as they come: joining them one by one would copy the body again and again."""
    return ctx.set("lines", ctx["lines"].append(event.data))


@handlers.end_of_message(blocking=True)
def look_inside(event: EndOfMessage, ctx: Context) -> Context:
    """Parse what was kept; the first program decides."""
    for name in file_names(message_from_bytes(b"".join(ctx["lines"]))):
        if PurePosixPath(name.strip(" .").lower()).suffix in PROGRAMS:
            return quarantine(ctx, f"attached program {printable(name)}")
    return ctx


def file_names(message: Message) -> Iterator[str]:
    """The names that the parts of a message would be saved under."""
    for part in message.walk():
        name = part.get_filename()
        if name:
            try:
                yield str(make_header(decode_header(name)))  # =?utf-8?B?...?=, as many programs write
            except (HeaderParseError, LookupError, ValueError):
                yield name


def printable(name: str) -> str:
    """A name as it may stand in a log."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:60])


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

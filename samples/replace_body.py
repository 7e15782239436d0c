"""Appends a disclaimer to plain text mail, and leaves alone whatever it could break.

Most of the work is to know when not to touch a message. Left alone are:

- everything but ``text/plain``: a multipart message would need a look at its parts
- signed mail: DKIM, ARC and inline PGP signatures cover the body
- text that is itself an attachment
- character sets in which ASCII bytes may mean something else, and encodings that are not known

The filter knows at the end of the header whether a message is for it. If not, it answers *accept*:
"I am done with this message". The server then sends it no body at all; other filters go on.
"""

import base64
import binascii
import quopri
import re
import sys
from collections.abc import Iterable
from email.message import Message

from pyrsistent import pvector

from demyjpy import (
    Body,
    Context,
    EndOfHeaders,
    EndOfMessage,
    Header,
    accept,
    define_event_handlers,
    replace_body,
    start_milter,
)

# No line ends in a space or begins with ">": in format=flowed text these would join its neighbours.
DISCLAIMER = "______________________________\nExample Ltd. reads this before you do.\n"

SIGNATURES = ("dkim-signature", "arc-message-signature", "domainkey-signature")
CHARSETS = re.compile(r"us-ascii|utf-8|iso-8859-\d+|windows-125\d|koi8-[ru]")  # all contain ASCII
ENCODINGS = ("7bit", "8bit", "quoted-printable", "base64")

handlers = define_event_handlers(
    actions={"change_body"}, state={"fields": pvector(), "chunks": pvector()}
)


@handlers.header(reply=False)
def keep_header(event: Header, ctx: Context) -> Context:
    """Keep what the decision needs."""
    if event.name.lower().startswith(("content-", *SIGNATURES)):
        return ctx.set("fields", ctx["fields"].append((event.name, event.value)))
    return ctx


@handlers.end_of_headers
def decide(event: EndOfHeaders, ctx: Context) -> Context:
    """Go on, or be done with this message."""
    return ctx if may_append(as_message(ctx["fields"])) else accept(ctx)


@handlers.body(reply=False)
def keep_body(event: Body, ctx: Context) -> Context:
    """Chunks are kept as they come: joining them one by one would copy the body again and again."""
    return ctx.set("chunks", ctx["chunks"].append(event.data))


@handlers.end_of_message
def append_disclaimer(event: EndOfMessage, ctx: Context) -> Context:
    """Replace the body with itself and the disclaimer; nothing is ever sent in part."""
    message = as_message(ctx["fields"])
    body = b"".join(ctx["chunks"])
    longer = append(body, DISCLAIMER, charset_of(message), encoding_of(message))
    return ctx if longer is None else replace_body(ctx, longer)


# -------------------------------------------------------------------------- the header's meaning
def as_message(fields: Iterable[tuple[str, str]]) -> Message:
    """The fields as the standard library reads them."""
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


def charset_of(message: Message) -> str:
    """The character set in lower case."""
    return message.get_content_charset("us-ascii")


def encoding_of(message: Message) -> str:
    """How the body is encoded for its way, in lower case."""
    return str(message.get("Content-Transfer-Encoding", "7bit")).strip().lower()


def may_append(message: Message) -> bool:
    """Whether a message is plain text of a kind that can grow."""
    names = [name.lower() for name in message]
    return (
        len(names) == len(set(names))  # two of a field: nobody knows which one counts
        and not any(name in SIGNATURES for name in names)
        and message.get_content_type() == "text/plain"
        and message.get_content_disposition() != "attachment"
        and CHARSETS.fullmatch(charset_of(message)) is not None
        and encoding_of(message) in ENCODINGS
    )


# ---------------------------------------------------------------------------------- the body
def append(body: bytes, text: str, charset: str, encoding: str) -> bytes | None:
    """The encoded body with an empty line and ``text`` at its end; None if that cannot be."""
    try:
        more = f"\n{text}".encode(charset)
        plain = base64.b64decode(b"".join(body.split()), validate=True) if encoding == "base64" else body
    except (UnicodeEncodeError, LookupError, binascii.Error):
        return None
    if b"-----BEGIN PGP " in plain or (encoding == "7bit" and not more.isascii()):
        return None
    if encoding == "quoted-printable":
        more = quopri.encodestring(more)
    ended = b"" if not plain or plain.endswith(b"\n") else b"\r\n"
    longer = plain + ended + more.replace(b"\n", b"\r\n")
    return base64.encodebytes(longer).replace(b"\n", b"\r\n") if encoding == "base64" else longer


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

"""Counts the bytes of each message, writes the number into a header field, and keeps totals.

A *milter* is a program that the mail server asks at every step of an SMTP session. Here it is a map
from the names of those steps to plain functions: each gets what happened and a context, an immutable
map, and returns the next context.

Three lifetimes of a number are shown here:

- of one message: a key of the context. What a message puts there is gone when the next one begins,
  so the count needs no resetting.
- of one connection: `remember`, read from ``ctx["connection"]``.
- of the process: contexts are never shared between connections, so a total over all of them is no
  state of the filter but something outside of it, with a lock of its own. Worker processes
  (``workers=4``) have one total each.

It counts what the server sends. Neither Postfix nor Sendmail sends the ``Received`` field that it adds
itself. Postfix sends a ``Date`` or ``Message-Id`` that it has added.

Try it: ``demyjpy run samples/bytecount.py:handlers``, or run this file.
"""

import logging
import sys
from threading import Lock

from demyjpy import (
    Body,
    Context,
    EndOfMessage,
    Header,
    add_header,
    define_event_handlers,
    remember,
    start_milter,
)

log = logging.getLogger("bytecount")

# The server must grant us to add headers, and each connection's context starts with a size of 0.
handlers = define_event_handlers(actions={"add_header"}, state={"size": 0})


class Totals:
    """Messages and bytes of all connections of this process; any thread may add to them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._messages = self._bytes = 0

    def add(self, size: int) -> tuple[int, int]:
        """Count a message of ``size`` bytes; the number of messages and bytes with it."""
        with self._lock:
            self._messages += 1
            self._bytes += size
            return self._messages, self._bytes


totals = Totals()


# reply=False: an observer. The server knows that, and does not wait for us at each header and chunk.
@handlers.header(reply=False)
def count_header(event: Header, ctx: Context) -> Context:
    """A header field is its name, a colon, what follows it, and CRLF at the end of each line."""
    text = f"{event.name}:{event.raw}\n".replace("\n", "\r\n")
    return ctx.set("size", ctx["size"] + len(text.encode("utf-8", "surrogateescape")))


@handlers.body(reply=False)
def count_body(event: Body, ctx: Context) -> Context:
    """The body comes in chunks of at most 65535 bytes."""
    return ctx.set("size", ctx["size"] + len(event.data))


@handlers.end_of_message
def report(event: EndOfMessage, ctx: Context) -> Context:
    """Add the header. Only here a message may be changed, because only now it is complete."""
    size = ctx["size"] + len("\r\n")  # the empty line between header and body
    session = ctx["connection"].get("bytes", 0) + size
    messages, total = totals.add(size)
    log.info("%d bytes; connection: %d; process: %d in %d messages", size, session, total, messages)
    return add_header(remember(ctx, bytes=session), "X-Message-Size", str(size))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

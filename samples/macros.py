"""Writes down where each recipient's mail goes next, from the server's macros.

*Macros* are facts that the mail server sends beside the events: the queue id ``i``, who has logged in,
what it will do with a recipient. A filter asks for those that it wants, by event. A server that cannot
be asked sends those of its configuration, so any macro may be missing.

Here they are ``{rcpt_mailer}`` (how a recipient is delivered: ``local``, ``smtp`` ... or ``error``, if
the server has refused it) and ``{rcpt_host}`` (the next host, or why it was refused). They are logged
rather than put into a header, or everyone could read who got a blind copy.
"""

import logging
import sys

from pyrsistent import pvector

from demyjpy import (
    Context,
    EndOfMessage,
    Recipient,
    define_event_handlers,
    get_macro,
    start_milter,
)

log = logging.getLogger("macros")

handlers = define_event_handlers(
    macros={
        "recipient": ("{rcpt_mailer}", "{rcpt_host}"),
        "end_of_message": ("i",),  # Postfix has no queue id before its first recipient is through
    },
    state={"recipients": pvector()},
)


# rejected=True: tell us also of recipients that the server itself refuses, where it can.
@handlers.recipient(reply=False, rejected=True)
def note(event: Recipient, ctx: Context) -> Context:
    """A recipient's macros hold for this recipient only, so they are read now."""
    way = (event.address, get_macro(ctx, "{rcpt_mailer}"), get_macro(ctx, "{rcpt_host}"))
    return ctx.set("recipients", ctx["recipients"].append(way))


@handlers.end_of_message
def report(event: EndOfMessage, ctx: Context) -> Context:
    """Write it down, and say nothing: the message goes on as it is."""
    for address, mailer, host in ctx["recipients"]:
        log.info("%s: <%s> by %s to %s", get_macro(ctx, "i"), address, mailer or "?", host or "?")
    return ctx


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

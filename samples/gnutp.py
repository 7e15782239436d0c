"""Keeps a name alive: adds ``X-Clacks-Overhead: GNU Terry Pratchett`` if it is not there yet.

The smallest useful shape of a filter: look at the header as it passes, decide at the end. What is
seen in one message is forgotten before the next, so a mail without the header that follows one with
it gets it, on the same connection, too.
"""

import sys

from demyjpy import (
    Context,
    EndOfMessage,
    Header,
    add_header,
    define_event_handlers,
    start_milter,
)

NAME = "X-Clacks-Overhead"

handlers = define_event_handlers(actions={"add_header"}, state={"is_remembered": False})


@handlers.header(reply=False)
def look(event: Header, ctx: Context) -> Context:
    """Header names are the same in upper and lower case."""
    return ctx.set("is_remembered", True) if event.name.lower() == NAME.lower() else ctx


@handlers.end_of_message
def pass_on(event: EndOfMessage, ctx: Context) -> Context:
    """A man is not dead while his name is still spoken."""
    return ctx if ctx["is_remembered"] else add_header(ctx, NAME, "GNU Terry Pratchett")


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

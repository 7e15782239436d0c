"""Appends a disclaimer to the text that people read, and leaves alone whatever that would break.

`append_text` knows character sets, transfer encodings, HTML and attachments. It does not touch mail that
is signed (DKIM, S/MIME, PGP) or encrypted. All other bytes stay as they are.
"""

import sys

from demyjpy import Context, Message, become, define_event_handlers, start_milter

# No line ends in a space or begins with ">": in format=flowed text these would join its neighbours.
DISCLAIMER = "\n______________________________\nExample Ltd. reads this before you do.\n"

handlers = define_event_handlers(edits="headers", actions={"change_body"})


@handlers.message(blocking=True)
def append_disclaimer(event: Message, ctx: Context) -> Context:
    """Mail of more than 25 MB comes without its body; ARC signs the body, too."""
    may_append = event.is_whole and event.get("ARC-Message-Signature") is None
    return become(ctx, event.append_text(DISCLAIMER)) if may_append else ctx


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

"""Three filters as one: a list of blocked senders, a mark for outside mail, the byte count.

Each is a registry of its own that knows nothing of the others and could run alone. `merge_handlers`
runs their functions one after the other at each event, asks the server for all that any of them
needs, and answers with the strictest of their verdicts: what the first rejects is rejected, whatever
the others think of it. `scoped` gives one a corner of the context for itself, so that its keys can
never meet those of another.
"""

import sys

from bytecount import handlers as byte_count

from demyjpy import (
    Connect,
    Context,
    EndOfMessage,
    Header,
    Mail,
    add_header,
    change_header,
    define_event_handlers,
    get_macro,
    merge_handlers,
    reject,
    scoped,
    start_milter,
)

# ----------------------------------------------------------------------------- blocked senders
BLOCKED = frozenset({"spammer@example.org", "spam.example"})  # addresses and whole domains

block_list = define_event_handlers()


@block_list.mail
def check_sender(event: Mail, ctx: Context) -> Context:
    """Refuse at MAIL FROM, before any of the message is sent. The null sender ``""`` is a bounce's."""
    sender = event.sender.lower()
    if BLOCKED.isdisjoint({sender, sender.rpartition("@")[2]}):
        return ctx  # nothing to say: continue
    return reject(ctx, "5.7.1", f"<{event.sender}> may not send mail here")


# ------------------------------------------------------------------------------- outside mail
TAG = "[external]"

mark_outside = define_event_handlers(
    actions={"add_header", "change_header"},
    macros={"mail": {"{auth_authen}"}},
    state={"is_outside": True, "subject": None},
)


@mark_outside.connect(reply=False)
def see_client(event: Connect, ctx: Context) -> Context:
    """Mail from this machine is not from outside. What is set here holds for the connection."""
    is_here = event.family in ("L", "U") or getattr(event.address, "is_loopback", False)
    return ctx.set("is_outside", not is_here)


@mark_outside.mail(reply=False)
def see_login(event: Mail, ctx: Context) -> Context:
    """Nor is mail from those who have logged in: macros are facts that the server tells beside."""
    return ctx.set("is_outside", False) if get_macro(ctx, "{auth_authen}") else ctx


@mark_outside.header(reply=False)
def see_subject(event: Header, ctx: Context) -> Context:
    """Keep the first Subject."""
    if event.name.lower() == "subject" and ctx["subject"] is None:
        return ctx.set("subject", event.value)
    return ctx


@mark_outside.end_of_message
def tag_subject(event: EndOfMessage, ctx: Context) -> Context:
    """Put the tag before the subject; header fields of a name are numbered from 1."""
    if not ctx["is_outside"]:
        return ctx
    if ctx["subject"] is None:
        return add_header(ctx, "Subject", TAG)
    if TAG in ctx["subject"]:  # an answer to tagged mail
        return ctx
    return change_header(ctx, 1, "Subject", tagged(ctx["subject"]))


def tagged(subject: str) -> str:
    """The subject with the tag, folded as it was, but without empty lines, which no field may have."""
    lines = [line for line in subject.replace("\r", "").split("\n") if line.strip()]
    return f"{TAG} " + "\n".join(lines).lstrip()


# ------------------------------------------------------------------------------------ together
handlers = merge_handlers(block_list, scoped("mark", mark_outside), byte_count)

if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

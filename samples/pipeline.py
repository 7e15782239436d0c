"""Four filters as one: a list of blocked senders, the byte count, a mark for outside mail, a sum.

Each is a registry of its own that knows nothing of the others and could run alone. `merge_handlers`
asks them one after the other, as a mail server would ask four milters: the first that refuses answers,
and those behind it are not asked. Filters given by keyword have that name, in logs and traces, and a
corner of the context for themselves.

What one filter wants to tell the others it passes as a *finding*. The block list does so for senders
that are on watch only. The mark for outside mail changes the subject. The checksum must be that of
the message as it leaves, so its filter gets the header after the mark has been made: it waits for the
end of the message. `demyjpy check` shows who waits for whom.
"""

import sys
from zlib import crc32

from bytecount import handlers as byte_count

from demyjpy import (
    Body,
    Connect,
    Context,
    EndOfMessage,
    Header,
    Mail,
    add_header,
    change_header,
    define_event_handlers,
    find,
    findings,
    get_macro,
    merge_handlers,
    reject,
    start_milter,
)

# ----------------------------------------------------------------------------- blocked senders
BLOCKED = frozenset({"spammer@example.org", "spam.example"})  # addresses and whole domains
WATCHED = frozenset({"odd.example"})

block_list = define_event_handlers()


@block_list.mail
def check_sender(event: Mail, ctx: Context) -> Context:
    """Refuse at MAIL FROM, before any of the message is sent. The null sender ``""`` is a bounce's."""
    sender = event.sender.lower()
    domain = sender.rpartition("@")[2]
    if not BLOCKED.isdisjoint({sender, domain}):
        return reject(ctx, "5.7.1", f"<{event.sender}> may not send mail here")
    if domain in WATCHED:  # for those behind, and for whoever explains the mail
        return find(ctx, "sender", "watched", score=1.0, domain=domain)
    return ctx  # nothing to say: continue


# ------------------------------------------------------------------------------- outside mail
TAG = "[external]"
WATCHED_TAG = "[external, unusual sender]"

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
    tag = WATCHED_TAG if findings(ctx, "sender") else TAG
    if ctx["subject"] is None:
        return add_header(ctx, "Subject", tag)
    if tag in ctx["subject"]:  # an answer to tagged mail
        return ctx
    return change_header(ctx, 1, "Subject", tagged(ctx["subject"], tag))


def tagged(subject: str, tag: str) -> str:
    """The subject with the tag, folded as it was, but without empty lines, which no field may have."""
    lines = [line for line in subject.replace("\r", "").split("\n") if line.strip()]
    return f"{tag} " + "\n".join(lines).lstrip()


# ----------------------------------------------------------------------------------- checksum
checksum = define_event_handlers(actions={"add_header"}, state={"sum": 0})


@checksum.header(reply=False)
def take_subject(event: Header, ctx: Context) -> Context:
    """The subject as the filters before this one have made it."""
    if event.name.lower() != "subject":
        return ctx
    return ctx.set("sum", crc32(event.value.encode("utf-8", "surrogateescape")))


@checksum.body(reply=False)
def take_body(event: Body, ctx: Context) -> Context:
    """The body comes in pieces, of which nothing need be kept."""
    return ctx.set("sum", crc32(event.data, ctx["sum"]))


@checksum.end_of_message
def add_checksum(event: EndOfMessage, ctx: Context) -> Context:
    """What a signature would do, in short."""
    return add_header(ctx, "X-Checksum", f"{ctx['sum']:08x}")


# ------------------------------------------------------------------------------------ together
handlers = merge_handlers(blocked=block_list, size=byte_count, mark=mark_outside, checksum=checksum)

if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)

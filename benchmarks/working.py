"""A filter with something to do: it parses each mail and counts its different words.

What more than one process is good for is shown with it. Apart from the others, whose start should not
pay for the import of a parser.
"""

import email
import email.policy

from demyjpy import Body, Context, EndOfMessage, Header, add_header, define_event_handlers

work = define_event_handlers(actions={"add_header"}, state={"head": "", "body": b""})


@work.header(reply=False)
def keep_header(event: Header, ctx: Context) -> Context:
    """One more line of the head."""
    return ctx.set("head", f"{ctx['head']}{event.name}:{event.raw}\n")


@work.body(reply=False)
def keep_body(event: Body, ctx: Context) -> Context:
    """One more chunk; the mails of this job have one."""
    return ctx.set("body", ctx["body"] + event.data)


@work.end_of_message
def read(event: EndOfMessage, ctx: Context) -> Context:
    """Half a millisecond or so of Python."""
    data = ctx["head"].encode("utf-8", "surrogateescape") + b"\n" + ctx["body"]
    mail = email.message_from_bytes(data, policy=email.policy.default)
    words = set(mail.get_content().split()) | set(str(mail["subject"]).split())
    sized = add_header(ctx, "X-Message-Size", str(len(ctx["body"])))
    return add_header(sized, "X-Message-Words", str(len(words)))

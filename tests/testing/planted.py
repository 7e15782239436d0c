"""Filters with one planted bug each; `check_filter` must find every one of them."""

from attrs import frozen
from pyrsistent import pmap

from demyjpy import (
    ChangeHeader,
    accept,
    add_header,
    become,
    change_header,
    define_event_handlers,
    delete_header,
    get_macro,
    quarantine,
    reject,
    remember,
    replace_body,
    send_action,
    skip,
    tempfail,
)
from demyjpy.questions import Question, answer, ask


def leaks_through_a_global():
    """Keeps its recipients in a list that only the end of a message empties."""
    recipients = []
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.recipient
    def note(event, ctx):
        recipients.append(event.address)
        return ctx

    @handlers.end_of_message
    def report(event, ctx):
        ctx = add_header(ctx, "X-Recipients", str(len(recipients)))
        recipients.clear()
        return ctx

    return handlers


def keeps_by_client():
    """Keeps recipients by client, and forgets that a message may be given up."""
    recipients = {}
    handlers = define_event_handlers(actions={"add_header"}, state={"client": None})

    @handlers.connect
    def call(event, ctx):
        recipients[str(event.address)] = []
        return ctx.set("client", str(event.address))

    @handlers.recipient
    def note(event, ctx):
        recipients[ctx["client"]].append(event.address)
        return ctx

    @handlers.end_of_message
    def report(event, ctx):
        ctx = add_header(ctx, "X-Recipients", str(len(recipients[ctx["client"]])))
        recipients[ctx["client"]].clear()
        return ctx

    return handlers


def counts_forever():
    """Numbers all messages of the process."""
    numbers = iter(range(10**9))
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.end_of_message
    def report(event, ctx):
        return add_header(ctx, "X-Number", str(next(numbers)))

    return handlers


def mixes_connections():
    """Keeps the sender for the end of the message where all connections keep it."""
    seen = {}
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.mail
    def note(event, ctx):
        seen["sender"] = event.sender
        return ctx

    @handlers.end_of_message
    def report(event, ctx):
        return add_header(ctx, "X-Sender", seen["sender"] or "nobody")

    return handlers


def looks_at_one_chunk():
    """Looks for a word in each chunk by itself."""
    handlers = define_event_handlers()

    @handlers.body
    def look(event, ctx):
        return reject(ctx, "5.7.1", "No lottery here") if b"lottery" in event.data else ctx

    return handlers


def reads_the_first_chunk():
    """Takes the first chunk for the beginning of the body."""
    handlers = define_event_handlers(actions={"add_header"}, state={"start": b""})

    @handlers.body
    def look(event, ctx):
        return skip(ctx.set("start", event.data[:10]))

    @handlers.end_of_message
    def report(event, ctx):
        return add_header(ctx, "X-Start", ctx["start"].hex())

    return handlers


def answers_twice():
    """Rejects the null sender, and forgets to return there."""
    handlers = define_event_handlers()

    @handlers.mail
    def judge(event, ctx):
        if event.sender == "":
            ctx = reject(ctx, "5.7.1", "No bounces")
        return accept(ctx)

    return handlers


def answers_as_observer():
    """Said that it never answers at RCPT, and does."""
    handlers = define_event_handlers()

    @handlers.recipient(reply=False)
    def judge(event, ctx):
        return tempfail(ctx) if event.address == "postmaster" else ctx

    return handlers


def mangles_a_header():
    """Writes every Subject back in ASCII, also where there is nothing to tag."""
    handlers = define_event_handlers(actions={"change_header"}, state={"subject": None})

    @handlers.header
    def note(event, ctx):
        if event.name.lower() == "subject" and ctx["subject"] is None:
            return ctx.set("subject", event.value)
        return ctx

    @handlers.end_of_message
    def write(event, ctx):
        if not (ctx["subject"] or "").strip():
            return ctx
        return change_header(ctx, 1, "Subject", " ".join(ctx["subject"].split()))

    return handlers


def loses_characters():
    """Tags the Subject, and cannot write what is no ASCII."""
    handlers = define_event_handlers(actions={"change_header"}, state={"subject": None})

    @handlers.header
    def note(event, ctx):
        return ctx.set("subject", event.value) if event.name.lower() == "subject" else ctx

    @handlers.end_of_message
    def write(event, ctx):
        if ctx["subject"] is None:
            return ctx
        text = ctx["subject"].encode("ascii", "replace").decode()
        return send_action(ctx, ChangeHeader(1, "Subject", "[tag] " + " ".join(text.split())))

    return handlers


def mangles_a_body():
    """Appends a line, through a character set that cannot hold everything."""
    handlers = define_event_handlers(actions={"change_body"}, state={"body": b""})

    @handlers.body
    def keep(event, ctx):
        return ctx.set("body", ctx["body"] + event.data)

    @handlers.end_of_message
    def write(event, ctx):
        text = ctx["body"].decode("utf-8", "replace")
        return replace_body(ctx, f"{text}-- \r\nExample Ltd.\r\n".encode())

    return handlers


def raises():
    """Expects a domain in every address."""
    handlers = define_event_handlers()

    @handlers.recipient
    def judge(event, ctx):
        _, domain = event.address.split("@")
        return reject(ctx) if domain == "blocked.example" else ctx

    return handlers


def forgets_to_return():
    """Returns nothing where there is nothing to do."""
    handlers = define_event_handlers(state={"hello": ""})

    @handlers.hello
    def note(event, ctx):
        if event.greeting != "localhost":
            return ctx.set("hello", event.greeting)
        return None

    return handlers


def uses_what_it_did_not_declare():
    """Holds mail of the null sender without ``actions={"quarantine"}``."""
    handlers = define_event_handlers(state={"sender": None})

    @handlers.mail
    def note(event, ctx):
        return ctx.set("sender", event.sender)

    @handlers.end_of_message
    def judge(event, ctx):
        return quarantine(ctx, "bounce") if ctx["sender"] == "" else ctx

    return handlers


def uses_what_was_not_granted():
    """Would do without quarantine, but does not look whether it must."""
    handlers = define_event_handlers(optional_actions={"quarantine"})

    @handlers.end_of_message
    def judge(event, ctx):
        return quarantine(ctx, "just in case")

    return handlers


def differs_between_mtas():
    """Deletes the first two fields of a name from the top: Postfix counts anew after each."""
    handlers = define_event_handlers(actions={"change_header"})

    @handlers.end_of_message
    def clean(event, ctx):
        return delete_header(delete_header(ctx, 1, "X-Test"), 2, "X-Test")

    return handlers


def asks_too_early():
    """Wants the queue id at MAIL, where Postfix has none."""
    handlers = define_event_handlers(macros={"mail": ("i",)})

    @handlers.mail
    def look(event, ctx):
        return ctx if get_macro(ctx, "i") else tempfail(ctx, "4.3.0", "No queue id")

    return handlers


def keeps_a_message():
    """Remembers the whole message in a tuple, for the next one."""
    handlers = define_event_handlers()

    @handlers.message
    def keep(event, ctx):
        return remember(ctx, last=pmap({"seen": (event,)}))

    return handlers


def keeps_the_engines_body():
    """Reaches into the engine, and keeps what the body lies in."""
    bodies = []
    handlers = define_event_handlers()

    @handlers.message
    def keep(event, ctx):
        bodies.append(event.content.read._stock())
        return ctx

    return handlers


def counts_pieces():
    """Says in how many pieces the body came."""
    handlers = define_event_handlers(edits="headers")

    @handlers.message
    def count(event, ctx):
        return become(ctx, event.set("X-Pieces", str(len(list(event.pieces())))))

    return handlers


def wishes_for_what_it_did_not_declare():
    """Declares header edits only, and puts another body in."""
    handlers = define_event_handlers(edits="headers")

    @handlers.message
    def edit(event, ctx):
        return become(ctx, event.with_body(b"other\r\n"))

    return handlers


@frozen
class Known(Question, pure=True):
    """Whether a recipient is known."""

    address: str
    examples = (True,)


def asks_under_one_key():
    """Asks about each recipient under one key: it fails if an answer takes its time."""
    handlers = define_event_handlers()

    @handlers.recipient
    def recipient(event, ctx):
        return ask(ctx, "known", Known(event.address))

    return handlers


def does_not_think_of_failure():
    """Takes the value, although its question may fail."""
    handlers = define_event_handlers()

    @handlers.mail(asking=lambda event, ctx: {"unknown": Unanswerable(event.sender)})
    def mail(event, ctx):
        return reject(ctx) if answer(ctx, "unknown").value else ctx

    return handlers


@frozen
class Unanswerable(Question):
    """One that has no examples."""

    sender: str


PLANTED = {
    leaks_through_a_global: "leaks",
    keeps_by_client: "leaks",
    counts_forever: "leaks",
    mixes_connections: "leaks",
    looks_at_one_chunk: "chunks",
    reads_the_first_chunk: "chunks",
    answers_twice: "verdicts",
    answers_as_observer: "verdicts",
    mangles_a_header: "untouched",
    loses_characters: "untouched",
    mangles_a_body: "untouched",
    raises: "errors",
    forgets_to_return: "errors",
    uses_what_it_did_not_declare: "negotiation",
    uses_what_was_not_granted: "negotiation",
    differs_between_mtas: "mtas",
    asks_too_early: "mtas",
    keeps_a_message: "values",
    keeps_the_engines_body: "values",
    counts_pieces: "chunks",
    wishes_for_what_it_did_not_declare: "negotiation",
    asks_under_one_key: "order",
    does_not_think_of_failure: "errors",
}
"""By filter: the short name of the property that it breaks."""

"""What handlers see and say of a message: contexts, macros, recipients, the end of it."""

import pytest
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.context import get_macro, new_context, remember, send_action
from demyjpy.engine.phases import Phase
from demyjpy.engine.pipeline import resume
from demyjpy.errors import LocalProtocolError
from demyjpy.handlers import default_event_handler, define_event_handlers, merge_handlers
from demyjpy.shorthands import reject, skip
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    DATA,
    EOM,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    QUIT_NC,
    RCPT,
    Session,
    keep,
    macros,
    note,
    offer,
    packet,
    play,
)

ALL = (
    "connect",
    "hello",
    "mail",
    "recipient",
    "data",
    "header",
    "end_of_headers",
    "body",
    "end_of_message",
)


def test_each_message_starts_from_what_stood_before_mail():
    """What connect and hello put there stays; what a message puts there ends with it."""

    def count(event, ctx):
        return ctx.set("seen", (*ctx.get("seen", ()), type(event).__name__))

    seen = []
    handlers = define_event_handlers(dict.fromkeys((*ALL, "abort"), count))
    last = define_event_handlers({"end_of_message": lambda event, ctx: seen.append(ctx["seen"]) or ctx})
    session = play(
        merge_handlers(handlers, last), *OPENING, *MESSAGE, MAIL, RCPT, ABORT, MAIL, MAIL, HELO, *MESSAGE
    )
    first, second = seen
    assert first[:2] == ("Connect", "Hello")
    assert second == ("Connect", "Hello", "Hello", *first[2:])
    assert session.errors == []


def test_what_is_remembered_outlives_the_message():
    """Also from a message that was given up; QUIT_NC ends it."""
    seen = []

    def mail(event, ctx):
        seen.append(ctx["connection"].get("count", 0))
        return remember(ctx, count=seen[-1] + 1)

    handlers = define_event_handlers(
        {"mail": mail, "abort": lambda event, ctx: remember(ctx, aborted=True)}
    )
    session = play(handlers, *OPENING, MAIL, EOM, MAIL, ABORT, MAIL, EOM)
    assert session.connection.scope.context["connection"] == pmap({"count": 3, "aborted": True})
    session.say(QUIT_NC, CONNECT, MAIL)
    assert seen == [0, 1, 2, 0]


# ---------------------------------------------------------------------------------------- macros
def test_a_macro_is_seen_by_the_event_it_was_sent_for_and_later_ones():
    """Until the message ends."""
    handlers, calls = note("mail", "end_of_message", "abort")
    play(
        handlers,
        *OPENING,
        macros("M", i="1"),
        MAIL,
        EOM,
        macros("M"),
        MAIL,
        macros("M", i="3"),
        MAIL,
        EOM,
    )
    seen = [(name, get_macro(ctx, "i")) for name, ctx in calls]
    assert seen == [
        ("Mail", "1"),
        ("EndOfMessage", "1"),
        ("Mail", None),
        ("Abort", None),
        ("Mail", "3"),
        ("EndOfMessage", "3"),
    ]


ENDS = [
    ("ABORT", lambda session: session.say(ABORT), "1"),
    ("QUIT", lambda session: session.say(QUIT), "1"),
    ("the end of the connection", lambda session: session.hang_up(), "1"),
    ("another message", lambda session: session.say(macros("M", i="2"), MAIL), "1"),
]


@pytest.mark.parametrize(("what", "end", "value"), ENDS, ids=[row[0] for row in ENDS])
def test_the_abort_handler_sees_the_macros_of_its_message(what, end, value):
    """As they were in force at its last command, also where no handler ran for that."""
    handlers, calls = note("mail", "abort")
    session = play(handlers, offer(steps=0x40), CONNECT, MAIL, macros("T", i="1"), DATA)
    end(session)
    assert [get_macro(ctx, "i") for name, ctx in calls if name == "Abort"] == [value]


def test_macros_of_a_command_that_never_came_end_with_the_message():
    """Sendmail sends those of a recipient that it refuses, and then no RCPT."""
    handlers, calls = note("mail")
    play(
        handlers,
        *OPENING,
        MAIL,
        macros("R", x="1"),
        macros("L", y="1"),
        ABORT,
        MAIL,
        macros("R", x="1"),
        ABORT,
        ABORT,
    )
    play(handlers, *OPENING, macros("M", x="1"), ABORT, MAIL)
    assert [(get_macro(ctx, "x"), get_macro(ctx, "y")) for _, ctx in calls] == [(None, None)] * 3


def test_an_override_of_define_macros_may_call_the_default():
    """Or not, and then the macros are not in force."""

    def define(event, ctx):
        ctx = ctx.set("last", dict(event.definitions))
        return default_event_handler(event, ctx) if event.event == "mail" else ctx

    handlers, calls = note("mail", "end_of_message")
    handlers = merge_handlers(define_event_handlers({"define_macros": define, "mail": keep}), handlers)
    session = play({**handlers}, *OPENING, macros("M", i="1"), MAIL, macros("E", j="2"), EOM)
    assert [(get_macro(ctx, "i"), get_macro(ctx, "j"), ctx["last"]) for _, ctx in calls] == [
        ("1", None, {"i": "1"}),
        ("1", None, {"j": "2"}),
    ]
    assert session.errors == []


def test_what_a_macro_handler_stores_belongs_to_the_message_to_come():
    """It does not stay for the next one, and not where no message comes."""
    seen = []
    handlers = define_event_handlers(
        {
            "define_macros": lambda event, ctx: default_event_handler(
                event, ctx.set("n", ctx.get("n", 0) + 1)
            ),
            "mail": lambda event, ctx: seen.append(ctx.get("n", 0)) or ctx,
        }
    )
    play(
        handlers,
        *OPENING,
        macros("M", i="1"),
        MAIL,
        EOM,
        macros("M", i="2"),
        MAIL,
        EOM,
        MAIL,
        ABORT,
        macros("M"),
        HELO,
        MAIL,
    )
    assert seen == [1, 1, 0, 0]


def test_a_macro_handler_that_breaks_the_macros_keeps_the_old_ones():
    """Junk in their place is not in force."""
    handlers, calls = note("mail")
    broken = define_event_handlers(
        {"define_macros": lambda event, ctx: ctx.set("macros", 5), "mail": keep}
    )
    session = play({**merge_handlers(broken, handlers)}, *OPENING, macros("M", i="1"), MAIL)
    assert get_macro(calls[0][1], "i") is None
    assert session.errors == []


# ------------------------------------------------------------------------------------- recipients
def test_a_rejected_recipient_is_answered_continue_and_shown_to_who_asked():
    """Only rejected=True handlers get it; what they answer does not matter. Nor do others refuse it."""
    seen = {"all": [], "rejected": []}
    one, two = define_event_handlers(), define_event_handlers()
    one.recipient(lambda event, ctx: seen["all"].append(event.address) or reject(ctx))
    two.recipient(rejected=True)(
        lambda event, ctx: seen["rejected"].append(event.address) or send_action(ctx, act.Continue())
    )
    session = play(merge_handlers(one, two), *OPENING, MAIL)
    other = packet("R", b"<dan@example.org>\0")
    assert (
        session.say(macros("R", rcpt_mailer="error"), RCPT, macros("R", rcpt_mailer="smtp"), other, RCPT)
        == "crr"
    )
    assert seen == {
        "all": ["dan@example.org", "bob@example.org"],
        "rejected": ["bob@example.org"],
    }
    assert session.errors == []


def test_a_verdict_on_a_rejected_recipient_is_the_handlers_error():
    """The answer is Continue all the same, and nothing is owed."""
    handlers = define_event_handlers({"end_of_message": keep})
    handlers.recipient(rejected=True)(lambda event, ctx: reject(ctx))
    session = play(handlers, *OPENING)
    assert session.say(macros("R", rcpt_mailer="error"), RCPT, EOM) == "cc"
    (error,) = session.errors
    assert "expected no answer at recipient, because the MTA takes none" in str(error)


def test_without_the_agreement_an_error_mailer_means_nothing():
    """Where rejected recipients are not reported, the macro is only a macro."""
    handlers = define_event_handlers({"recipient": lambda event, ctx: reject(ctx)})
    assert play(handlers, *OPENING).say(macros("R", rcpt_mailer="error"), RCPT) == "r"


# ------------------------------------------------------------------------------- end of message
LAST_CHUNK = [
    (keep, "c", [b"text\r\n", b"last"]),
    (lambda event, ctx: skip(ctx), "c", [b"text\r\n"]),
    (lambda event, ctx: reject(ctx) if event.data == b"last" else ctx, "r", [b"text\r\n", b"last"]),
]


@pytest.mark.parametrize(("body", "answer", "chunks"), LAST_CHUNK)
def test_a_chunk_that_comes_with_the_end_is_a_chunk(body, answer, chunks):
    """It goes to the body handler first; there is one answer for both."""
    seen, ends = [], []
    handlers = define_event_handlers(
        {
            "mail": keep,
            "body": lambda event, ctx: seen.append(event.data) or body(event, ctx),
            "end_of_message": lambda event, ctx: ends.append(event) or ctx,
        }
    )
    session = play(handlers, *OPENING, MAIL, BODY)
    assert session.say(packet("E", b"last")) == answer
    assert seen == chunks
    assert len(ends) == (answer == "c")
    assert session.say(*OPENING[2:], *MESSAGE[:1]) == "cc"


def test_a_chunk_with_the_end_may_be_only_observed():
    """Without an answer to wait for, the end is answered alone."""
    handlers, calls = note("end_of_message", "mail")
    observer = define_event_handlers()
    observer.body(reply=False)(lambda event, ctx: ctx.set("last", event.data))
    session = play(merge_handlers(observer, handlers), *OPENING, MAIL)
    assert session.say(packet("E", b"last")) == "c"
    assert calls[-1][1]["last"] == b"last"


def test_without_body_handler_surplus_at_the_end_is_ignored():
    """As libmilter does."""
    handlers, calls = note("end_of_message")
    assert play(handlers, *OPENING).say(packet("E", b"last")) == "c"
    assert [name for name, _ in calls] == ["EndOfMessage"]


def test_modifications_go_before_the_verdict():
    """In sending order, with the leading space that was agreed on or without."""
    edits = [act.ReplaceBody(b"new"), act.AddHeader("X", "v")]
    handlers = define_event_handlers(
        {"end_of_message": lambda event, ctx: send_action(ctx, *edits)},
        actions={"add_header", "change_body"},
    )
    for steps, value in ((0x1FFFFF, b" v"), (0xFFFFF, b"v")):
        session = play(handlers, offer(steps=steps))
        assert session.say_bytes(EOM) == b"".join(
            (b"\0\0\0", bytes((4 + len(value),)), b"hX\0" + value + b"\0", b"\0\0\0\4bnew", b"\0\0\0\1c")
        )


# --------------------------------------------------------------------------------------- the end
def test_resume_belongs_to_a_call():
    """A driver that resumes without one is told."""
    with pytest.raises(
        LocalProtocolError, match="expected resume after a connection with a call, got no call"
    ):
        resume(Session.open({}).connection, new_context())


def test_a_quit_ends_the_session_without_answer():
    """quit, then disconnect; what comes after is not read."""
    handlers, calls = note("quit", "disconnect", "abort", "mail")
    session = play(handlers, *OPENING, MAIL)
    assert session.say(QUIT, MAIL) == ""
    assert [name for name, _ in calls] == ["Mail", "Abort", "Quit", "Disconnect"]
    assert session.connection.scope.phase is Phase.CLOSED


def test_quit_nc_begins_a_new_session_on_the_same_socket():
    """The old one ends with abort, quit and disconnect; nothing is negotiated again."""
    handlers, calls = note("connect", "mail", "abort", "quit", "disconnect")
    session = play(handlers, *OPENING, macros("M", i="1"), MAIL)
    assert session.say(QUIT_NC, CONNECT, MAIL, EOM, QUIT_NC) == "ccc"
    names = [name for name, _ in calls]
    assert names == [
        *("Connect", "Mail", "Abort", "QuitNewConnection", "Disconnect"),
        *("Connect", "Mail", "QuitNewConnection", "Disconnect"),
    ]
    assert get_macro(calls[6][1], "i") is None
    session.hang_up()
    assert session.is_closed
    assert len(calls) == 10
    assert session.errors == []


def test_hanging_up_twice_ends_once():
    """Also before anything was said."""
    handlers, calls = note("disconnect")
    session = Session.open(handlers)
    session.hang_up()
    session.hang_up()
    assert [name for name, _ in calls] == ["Disconnect"]


def test_macros_of_a_mail_that_is_not_sent_begin_another_message():
    """Sendmail says nothing else at RSET if the filter has no handler for MAIL."""
    seen = []

    def recipient(event, ctx):
        seen.append((event.address, "first" in ctx, get_macro(ctx, "i")))
        return ctx.set("first", event.address)

    handlers = define_event_handlers(
        {"recipient": recipient, "abort": lambda event, ctx: seen.append(ctx["first"]) or ctx}
    )
    for observer in (None, lambda step: None):
        seen.clear()
        session = play(handlers, *OPENING, observer=observer)
        begin = macros("M", i="1"), packet("R", b"<a@example.org>\0")
        assert session.say(*begin, macros("M", i="2"), packet("R", b"<b@example.org>\0")) == "cc"
        assert seen == [
            ("a@example.org", False, "1"),
            "a@example.org",
            ("b@example.org", False, "2"),
        ]
        assert session.errors == []

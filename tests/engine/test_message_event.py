"""The message event: when it comes, what it shows, its limits, verdicts, failures; one filter alone."""

from typing import Any

import pytest

from demyjpy import actions as act
from demyjpy.context import remember
from demyjpy.engine.limits import Limits
from demyjpy.errors import HandlerError, LimitError, LocalProtocolError
from demyjpy.handlers import define_event_handlers, scoped
from demyjpy.message import Message
from demyjpy.shorthands import accept, add_header, discard, reject, tempfail
from demyjpy.wire.codes import ProtocolFlag
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    DATA,
    EOH,
    EOM,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    QUIT_NC,
    RCPT,
    WAYS,
    Session,
    keep,
    letters,
    macros,
    packet,
)
from tests.engine.messages import keeping, noting

EVENTS = ("mail", "recipient", "data", "header", "end_of_headers", "body", "message", "end_of_message")
BOTH_WAYS = pytest.mark.parametrize("way", WAYS)
NEEDED = ProtocolFlag.NOMAIL | ProtocolFlag.NORCPT | ProtocolFlag.NOHDRS | ProtocolFlag.NOBODY
HEADER_SIZE = len(b"Subject:hello\r\n\r\n")


@BOTH_WAYS
def test_it_comes_when_all_has_come(way: Any) -> None:
    """After the last piece of the body and before the end; nobody is told of an abort."""
    seen: list[str] = []
    session = Session.open(noting(seen, "a", *EVENTS, "abort"), way=way)
    assert session.say(*OPENING, *MESSAGE) == "Occ" + "c" * 7
    assert seen == [f"a {one}" for one in EVENTS]
    session.say(QUIT)
    assert session.troubles == []
    assert seen == [f"a {one}" for one in EVENTS]


@BOTH_WAYS
def test_it_shows_envelope_header_and_body(way: Any) -> None:
    """All as the MTA said it, to the byte."""
    got: list[Any] = []
    session = Session.open(
        define_event_handlers({"message": lambda event, ctx: got.append((event, bytes(event))) or ctx}),
        way=way,
    )
    mail = packet("M", b"<alice@example.org>\0SIZE=100\0BODY=8BITMIME\0")
    to = (packet("R", b"<bob@example.org>\0NOTIFY=NEVER\0"), packet("R", b"<eve@example.org>\0"))
    fields = (
        *(packet("L", b"X-Folded\0 one\n\ttwo\0"), packet("L", b"x-folded\0  deep\0")),
        packet("L", b"X-Odd\0\xff\0"),
    )
    body = (packet("B", b"first\r\n"), packet("B", b"\xff\r\n.\r\n"))
    session.say(*OPENING, mail, *to, DATA, *fields, EOH, *body, EOM)
    ((message, data),) = got
    assert (message.sender, message.sender_parameters["SIZE"]) == ("alice@example.org", "100")
    assert [(one.address, one.parameters.get("NOTIFY")) for one in message.recipients] == [
        *(("bob@example.org", "NEVER"), ("eve@example.org", None))
    ]
    assert (
        data == b"X-Folded: one\r\n\ttwo\r\nx-folded:  deep\r\nX-Odd:\xff\r\n\r\nfirst\r\n\xff\r\n.\r\n"
    )
    assert (message.size, message.is_whole) == (len(data), True)


@BOTH_WAYS
@pytest.mark.parametrize(
    ("content", "data"),
    [
        ((EOH, EOM), b"\r\n"),
        ((EOH, packet("E", b"last\r\n")), b"\r\nlast\r\n"),
        ((EOH, packet("B", b"a"), packet("E", b"b\r\n")), b"\r\nab\r\n"),
        ((packet("L", b"A\0 1\0"), EOH, EOM), b"A: 1\r\n\r\n"),
        ((packet("L", b"A\0\0"), EOM), b"A:\r\n\r\n"),
        ((EOM,), b"\r\n"),
    ],
)
def test_odd_messages(way: Any, content: Any, data: bytes) -> None:
    """No header, no body, or the last piece of the body with the end: one answer then."""
    got: list[bytes] = []
    filter_ = define_event_handlers({"message": lambda event, ctx: got.append(bytes(event)) or ctx})
    session = Session.open(filter_, way=way)
    session.say(*OPENING, MAIL, RCPT, DATA)
    assert session.say(*content)[-1] == "c"
    assert session.say(ABORT) == ""
    assert got == [data]


@BOTH_WAYS
def test_nothing_of_one_message_is_in_the_next(way: Any) -> None:
    """Whether that ended at its end, by an ABORT, or by MAIL."""
    got: list[Any] = []
    session = Session.open(
        define_event_handlers(
            {"message": lambda event, ctx: got.append((event.sender, bytes(event))) or ctx}
        ),
        way=way,
    )
    second = (packet("M", b"<b@test>\0"), RCPT, DATA, packet("L", b"X\0 2\0"), EOH, EOM)
    for ending in ((EOM,), (ABORT,), ()):
        session.say(*(() if got else OPENING), *MESSAGE[:-1], *ending)
        session.say(*second)
    first = ("alice@example.org", b"Subject:hello\r\n\r\ntext\r\n")
    last = ("b@test", b"X: 2\r\n\r\n")
    assert got == [first, last, last, last]
    assert session.troubles == []


@BOTH_WAYS
@pytest.mark.parametrize("end", [(ABORT,), (QUIT,), (QUIT_NC,), (MAIL,), (HELO,), None])
def test_a_message_that_is_given_up_is_told_once(way: Any, end: Any) -> None:
    """Nobody gets it as a value; the abort handler is called once."""
    seen: list[str] = []
    session = Session.open(noting(seen, "a", "mail", "body", "message", "abort"), way=way)
    session.say(*OPENING, *MESSAGE[:-1])
    if end is None:
        session.hang_up()
    else:
        session.say(*end)
    assert [one for one in seen if one != "a mail"] == ["a body", "a abort"]
    if end == (QUIT_NC,):
        session.say(CONNECT, HELO, *MESSAGE)
        assert seen[-3:] == ["a mail", "a body", "a message"]
    assert session.troubles == []


@BOTH_WAYS
def test_a_filter_that_saw_only_the_message(way: Any) -> None:
    """It saw no beginning, so it gets no abort of what it never got."""
    seen: list[str] = []
    session = Session.open(noting(seen, "a", "message", "abort"), way=way)
    session.say(*OPENING, *MESSAGE[:-1], ABORT)
    assert seen == []
    session.say(*MESSAGE)
    assert seen == ["a message"]


@pytest.mark.parametrize("way", WAYS)
def test_two_sessions_on_one_connection(way: Any) -> None:
    """After QUIT_NC the next client's message comes as the first one's."""
    got: list[Message] = []
    session = Session.open(keeping(got), way=way)
    session.say(*OPENING, *MESSAGE, *MESSAGE, QUIT_NC, CONNECT, HELO, *MESSAGE)
    assert [one.sender for one in got] == ["alice@example.org"] * 3
    assert session.troubles == []


# ------------------------------------------------------------------------------------ recipients
def test_recipients_that_were_refused_are_not_in_it() -> None:
    """By the filter itself, or by the MTA."""
    got: list[Message] = []
    filter_ = keeping(got)

    def recipient(event: Any, ctx: Any) -> Any:
        return reject(ctx) if event.address == "no@test" else ctx

    filter_.add("recipient", recipient, rejected=True)
    session = Session.open(filter_)
    session.say(*OPENING, MAIL, RCPT, packet("R", b"<no@test>\0"))
    session.say(macros("R", rcpt_mailer="error"), packet("R", b"<unknown@test>\0"))
    session.say(macros("R", rcpt_mailer="local"), packet("R", b"<yes@test>\0"), DATA, EOM)
    assert [one.address for one in got[0].recipients] == ["bob@example.org", "yes@test"]


# ---------------------------------------------------------------------------------------- limits
@BOTH_WAYS
@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_counts_header_and_body(way: Any, more: int) -> None:
    """A message of that size is whole; of one byte more the header comes."""
    got: list[tuple[bool, int, int]] = []

    def handle(event: Message, ctx: Any) -> Any:
        got.append((event.is_whole, event.size, len(event.fields)))
        if not event.is_whole:
            with pytest.raises(LocalProtocolError, match="message is larger than limit= of the handler"):
                _ = event.body
        return ctx

    filter_ = define_event_handlers()
    filter_.add("message", handle, limit=HEADER_SIZE + 10)
    session = Session.open(filter_, way=way)
    body = (packet("B", b"12345678"), packet("B", b"90"), packet("B", b"1" * more))
    session.say(*OPENING, *MESSAGE[:5], *body[: 2 + more], EOM)
    assert got == [(not more, HEADER_SIZE + 10 + more, 1)]
    assert session.troubles == []


@BOTH_WAYS
@pytest.mark.parametrize(
    ("beyond", "answer"),
    [
        ("tempfail", act.ReplyCode(452, "4.3.4", "Message too big for this filter")),
        ("reject", act.ReplyCode(552, "5.3.4", "Message too big for this filter")),
    ],
)
@pytest.mark.parametrize("limit", [1, HEADER_SIZE + 3, HEADER_SIZE + 5])
def test_a_message_beyond_the_limit_is_refused(way: Any, beyond: Any, answer: Any, limit: int) -> None:
    """Without a call of the handler, and logged once; the next message is served."""
    seen: list[str] = []
    filter_ = noting(seen, "a", "mail", "message", "end_of_message", "abort", limit=limit, beyond=beyond)
    session = Session.open(filter_, way=way)
    assert session.answers(*OPENING, *MESSAGE)[-1] == answer
    assert seen == ["a mail", "a abort"]
    (trouble,) = session.troubles
    assert isinstance(trouble.error, LimitError)
    assert trouble.event == "message"
    assert f"at most {limit} bytes of a message (limit= of the message handler of a)" in str(
        trouble.error
    )
    short = (MAIL, RCPT, DATA, EOM)
    assert session.answers(*short)[-1] == (act.Continue() if limit > 1 else answer)


def test_the_limit_of_the_server_comes_first() -> None:
    """A message that the server does not take at all is nobody's."""
    seen: list[str] = []
    session = Session.open(noting(seen, "a", "message"), limits=Limits(message=3))
    refusal = act.ReplyCode(552, "5.3.4", "Message too big for this filter")
    assert session.answers(*OPENING, *MESSAGE[:5])[-1] == refusal
    session.say(ABORT)
    assert seen == []
    assert len(session.troubles) == 1


# -------------------------------------------------------------------------------------- verdicts
@BOTH_WAYS
@pytest.mark.parametrize(
    ("verdict", "letter"),
    [
        (accept, "a"),
        (reject, "r"),
        (tempfail, "t"),
        (discard, "d"),
        (lambda ctx: reject(ctx, "5.7.1", "no", code=554), "y"),
    ],
)
def test_verdicts(way: Any, verdict: Any, letter: str) -> None:
    """Each ends the message for the filter: there is no end of message and no abort behind it."""
    seen: list[str] = []
    filter_ = noting(
        seen, "a", "mail", "end_of_message", "abort", message=lambda event, ctx: verdict(ctx)
    )
    session = Session.open(filter_, way=way)
    assert session.say(*OPENING, *MESSAGE)[-1] == letter
    session.say(ABORT)
    assert seen == ["a mail", "a message"]
    assert session.troubles == []
    assert session.say(*MESSAGE)[-1] == letter


def test_skip_is_no_verdict_of_a_message() -> None:
    """The error says which are."""
    filter_ = define_event_handlers({"message": lambda event, ctx: ctx.set("queue", (act.Skip(),))})
    session = Session.open(filter_)
    assert session.say(*OPENING, *MESSAGE)[-1] == "t"
    assert "SKIP works at body only" in str(session.errors[0])


def test_accept_after_edits_keeps_them() -> None:
    """A filter that is done with the message has its edits made."""
    filter_ = define_event_handlers(
        {"message": lambda event, ctx: accept(add_header(ctx, "X", "1"))}, actions={"add_header"}
    )
    assert Session.open(filter_).say(*OPENING, *MESSAGE)[-2:] == "ha"


# -------------------------------------------------------------------------------------- failures
def _fails(event: Any, ctx: Any) -> Any:
    raise ValueError("odd")


@BOTH_WAYS
@pytest.mark.parametrize(
    ("on_error", "sent"),
    [
        ("tempfail", "t"),
        ("accept", "a"),
        ("reject", "r"),
        (lambda error, event, ctx: ctx, "c"),
        (lambda error, event, ctx: reject(ctx), "r"),
        (lambda error, event, ctx: add_header(ctx, "X-Failed", type(error).__name__), "hc"),
        (lambda error, event, ctx: None, "t"),
        (lambda error, event, ctx: 1 / 0, "t"),
    ],
)
@pytest.mark.parametrize("at", ["message", "end_of_message"])
def test_a_failure_and_each_policy(way: Any, on_error: Any, sent: str, at: str) -> None:
    """The edits that it asked for before are dropped, those of the policy are sent."""
    events = {
        "message": lambda event, ctx: add_header(ctx, "X-Before", "1"),
        at: _fails,
    }
    filter_ = define_event_handlers(events, actions={"add_header"})
    session = Session.open(filter_, way=way, on_error=on_error)
    session.say(*OPENING, *MESSAGE[:-1])
    answer = session.say_bytes(EOM)
    assert letters(answer) == sent
    assert b"X-Before" not in answer
    assert isinstance(session.errors[0], ValueError)
    assert session.troubles[0].event == at


@pytest.mark.parametrize("at", ["message", "end_of_message"])
def test_a_failure_is_told_once(at: str) -> None:
    """A filter whose handler failed gets the abort of a message that is refused by it."""
    seen: list[str] = []
    session = Session.open(noting(seen, "a", "mail", "message", "abort", **{at: _fails}))
    assert session.say(*OPENING, *MESSAGE)[-1] == "t"
    assert seen.count("a abort") == 1
    session.say(ABORT, QUIT)
    assert seen.count("a abort") == 1


def test_what_a_handler_may_return() -> None:
    """A context, as everywhere."""
    session = Session.open(define_event_handlers({"message": lambda event, ctx: None}))
    assert session.say(*OPENING, *MESSAGE)[-1] == "t"
    assert "is there a return at its end?" in str(session.errors[0])


def test_a_message_is_not_for_remembering() -> None:
    """It ends with the mail."""
    session = Session.open(
        define_event_handlers({"message": lambda event, ctx: remember(ctx, mail=event)})
    )
    assert session.say(*OPENING, *MESSAGE)[-1] == "t"
    assert "its body ends with the mail" in str(session.errors[0])


# ------------------------------------------------------------------------------------ the session
@pytest.mark.parametrize("flag", list(NEEDED))
def test_events_that_a_message_needs_cannot_be_switched_off(flag: Any) -> None:
    """An options handler that does so is an error of the handlers, which says what to do."""
    answer = act.Negotiate(6, 0, flag)
    handlers = define_event_handlers({"message": keep})
    handlers.add("options", lambda event, ctx: ctx.set("queue", (answer,)))
    session = Session.open(handlers)
    session.say(OPENING[0])
    assert session.is_closed
    (error,) = session.errors
    assert isinstance(error, HandlerError)
    assert "which a message handler needs: leave these events switched on" in str(error)


def test_events_that_it_does_not_need_may_be_switched_off() -> None:
    """The message comes without EOH and DATA, too."""
    got: list[Message] = []
    off = ProtocolFlag.NOEOH | ProtocolFlag.NODATA | ProtocolFlag.NOCONNECT | ProtocolFlag.NOHELO
    filter_ = keeping(got)
    filter_.add("options", lambda event, ctx: ctx.set("queue", (act.Negotiate(6, 0, off),)))
    session = Session.open(filter_)
    session.say(OPENING[0], MAIL, RCPT, MESSAGE[3], BODY, EOM)
    assert got[0].size == HEADER_SIZE + len(b" text\r\n")  # without HDR_LEADSPC a space is added


@BOTH_WAYS
def test_the_driver_calls_what_it_defers(way: Any) -> None:
    """A handler that blocks is handed out, with PROGRESS; nobody else is asked meanwhile."""
    for options, progress in (({"blocking": True}, 5.0), ({"blocking": True, "progress": None}, None)):
        seen: list[str] = []
        filter_ = noting(seen, "a", "message", "end_of_message", **options)
        session = Session.open(filter_, way=way)
        session.say(*OPENING, *MESSAGE[:-1])
        session.feed(b"\0\0\0\1E")
        assert session.connection.call is not None
        assert (session.connection.call.handler.event, session.connection.call.progress) == (
            "message",
            progress,
        )
        assert isinstance(session.connection.call.event, Message)
        assert session.finish_calls() == b"\0\0\0\1c"
        assert seen == ["a message", "a end_of_message"]


def test_the_peer_goes_while_it_is_out() -> None:
    """The handler's outcome is taken, and the end of the message is told once."""
    seen: list[str] = []
    session = Session.open(
        noting(seen, "a", "mail", "message", "end_of_message", "abort", blocking=True)
    )
    session.say(*OPENING, *MESSAGE[:-1])
    session.feed(b"\0\0\0\1E")
    session.hang_up()
    assert not session.is_closed
    session.finish_calls()
    assert session.is_closed
    assert seen == ["a mail", "a message", "a abort"]


def test_in_a_corner_of_its_own() -> None:
    """A scoped filter gets it as any other."""
    seen: list[Any] = []
    filter_ = define_event_handlers(state={"n": 0})

    @filter_.message
    def message(event: Message, ctx: Any) -> Any:
        seen.append((ctx["n"], bytes(event)))
        return ctx.set("n", ctx["n"] + 1)

    session = Session.open(scoped("mine", filter_))
    session.say(*OPENING, *MESSAGE, *MESSAGE)
    assert seen == [(0, b"Subject:hello\r\n\r\ntext\r\n")] * 2


def test_a_message_that_was_kept_has_no_body_after_the_end() -> None:
    """What was read of it before is there; the error says what to keep instead."""
    got: list[Message] = []
    session = Session.open(keeping(got))
    session.say(*OPENING, *MESSAGE[:-1])
    session.say(EOM)
    assert (got[0].size, got[0].get("Subject")) == (HEADER_SIZE + 6, "hello")
    with pytest.raises(LocalProtocolError, match="this message has ended: keep in the context what"):
        bytes(got[0])
    session.say(*MESSAGE)
    with pytest.raises(LocalProtocolError, match="this message has ended"):
        bytes(got[0])


def test_what_an_observer_sees() -> None:
    """A step for the handler, with the message; the MTA said the end of it."""
    steps: list[Any] = []
    session = Session.open(noting([], "a", "message", "end_of_message"), observer=steps.append)
    session.say(*OPENING, *MESSAGE)
    own = [one for one in steps if isinstance(one.event, Message)]
    assert [type(one.said).__name__ for one in own] == ["EndOfMessage"]
    assert own[0].is_shown_again
    assert own[0].answer == ()
    assert steps[-1].answer == (act.Continue(),)
    session.hang_up()
    assert all(one.said == one.event for one in steps if not isinstance(one.event, Message))

"""A packet's way through the engine: negotiation, answers, contexts, macros, the end."""

import pytest
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.context import new_context, send_action
from demyjpy.engine.limits import Limits
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.errors import HandlerError, LocalProtocolError, NegotiationError, RemoteProtocolError
from demyjpy.handlers import default_event_handler, define_event_handlers, merge_handlers, with_handlers
from demyjpy.shorthands import reject
from demyjpy.wire.codes import ProtocolFlag as P
from tests.engine.harness import (
    BODY,
    CONNECT,
    DATA,
    EOM,
    HEADER,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    RCPT,
    UNKNOWN,
    Session,
    keep,
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
    "unknown",
)


# ------------------------------------------------------------------------------------- a session
def test_every_command_is_answered_once():
    """A whole session: the negotiation, continue to each, nothing to QUIT."""
    session = play(define_event_handlers(dict.fromkeys(ALL, keep)), *OPENING, *MESSAGE, UNKNOWN, QUIT)
    assert session.say() == ""
    assert session.sent.count(b"\0\0\0\1c") == 10
    assert session.is_closed
    assert session.errors == []


@pytest.mark.parametrize(
    "names", [("body", "end_of_message"), ("end_of_message",), ("recipient",), ("header", "data")]
)
def test_a_filter_without_mail_handler_works(names):
    """The MTA does not send what was declined; the rest is answered, message after message."""
    handlers, calls = note(*names)
    packets = {"recipient": RCPT, "data": DATA, "header": HEADER, "body": BODY, "end_of_message": EOM}
    session = play(handlers, offer())
    message = [*(packets[name] for name in names if name != "end_of_message"), EOM]
    assert session.say(*message, *message) == "c" * len(message) * 2
    assert len(calls) == 2 * len(names)
    assert session.errors == []


def test_a_filter_without_handlers_lets_everything_pass():
    """Also one that is merged from nothing."""
    for handlers in (define_event_handlers(), merge_handlers(), {}):
        session = play(handlers, offer(steps=0x40))
        assert session.say(*OPENING[1:], *MESSAGE) == "ccccccccc"
        assert session.errors == []


def test_what_was_read_of_a_packet_waits_for_the_rest():
    """Nothing is answered before a packet is complete."""
    session = play(define_event_handlers({"hello": keep}), *OPENING[:2])
    assert session.feed(b"\0\0\0\3H") == b""
    assert session.feed(b"a\0") == b"\0\0\0\1c"


@pytest.mark.parametrize(("steps", "answer"), [(0x40, "c"), (0x440, "s")])
def test_a_body_that_nobody_reads_is_skipped_where_the_mta_understands(steps, answer):
    """Where it could not be declined the first chunk is answered with SKIP, else each with continue."""
    session = play({"mail": keep}, offer(steps=steps), CONNECT, MAIL)
    assert session.say(BODY, EOM) == f"{answer}c"


# ------------------------------------------------------------------------------------ on_connect
def test_on_connect_makes_the_context():
    """It is called once, and may choose the filter."""
    handlers, calls = note("mail")
    session = play(lambda ctx: with_handlers(ctx.set("mine", 1), handlers), *OPENING, MAIL)
    assert calls[0][1]["mine"] == 1
    assert session.connection.session == "session"


BROKEN = [
    (lambda ctx: 1 / 0, ZeroDivisionError, "division"),
    (
        lambda ctx: None,
        HandlerError,
        "expected on_connect to return a context made from the one it got, got None",
    ),
    (lambda ctx: pmap({"handlers": {}}), HandlerError, "expected on_connect to return a context"),
    (
        lambda ctx: ctx.set("handlers", 5),
        HandlerError,
        "expected a registry or a map of event names, got 5",
    ),
    (lambda ctx: (_ for _ in ()).throw(SystemExit(1)), HandlerError, "SystemExit"),
]


@pytest.mark.parametrize(("on_connect", "error", "message"), BROKEN)
def test_a_connection_without_context_is_closed_at_once(on_connect, error, message):
    """It says nothing, and what comes is not read; the reason is told once."""
    session = Session.open(on_connect)
    assert session.is_closed
    session.say(*OPENING)
    session.hang_up()
    assert session.sent == b""
    assert [type(one) for one in session.errors] == [error]
    assert message in str(session.errors[0])
    assert session.troubles[0].event == "on_connect"


@pytest.mark.parametrize("given", [5, None, "handlers"])
def test_what_makes_no_context_is_refused_at_once(given):
    """A registry, a map or a function will do."""
    with pytest.raises(HandlerError, match="expected a registry or a function ctx -> ctx, got "):
        as_on_connect(given)


def test_a_function_is_used_as_it_is():
    """A map of handlers becomes a function that puts them into the context."""
    assert as_on_connect(keep) is keep
    assert "mail" in as_on_connect({"mail": keep})(new_context())["handlers"]


# ----------------------------------------------------------------------------------- negotiation
def test_a_refused_negotiation_closes_without_answer():
    """The error lists what is missing; only disconnect is called."""
    handlers, calls = note("disconnect")
    handlers = merge_handlers(handlers, define_event_handlers({"data": keep}, actions={"quarantine"}))
    session = play(handlers, offer(2, 0x1F, 0x7F))
    assert session.sent == b""
    assert session.is_closed
    (error,) = session.errors
    assert isinstance(error, NegotiationError)
    assert (error.events, error.actions) == (("data",), ("quarantine",))
    assert session.troubles[0].event == "options"
    assert [name for name, _ in calls] == ["Disconnect"]


def test_handlers_see_what_was_agreed():
    """ctx["events"] and ctx["actions"] hold it from then on."""
    handlers = define_event_handlers({"mail": keep}, optional_actions={"quarantine", "change_sender"})
    seen, calls = note("mail", "data")
    handlers.data(seen["data"].function)
    play(merge_handlers(handlers, seen), offer(4, 0x20), CONNECT, HELO, MAIL, DATA)
    (_, at_mail), (_, of_editor), (_, of_other) = calls
    assert at_mail["events"] == {"mail", "data"}
    assert (of_editor["actions"], of_other["actions"]) == ({"quarantine"}, frozenset())


def test_an_override_of_options_may_change_the_answer():
    """It calls default_event_handler, and the last answer counts."""

    def options(event, ctx):
        ctx = default_event_handler(event, ctx)
        return send_action(ctx.set("queue", ()), act.Negotiate(4, 0, P.NOMAIL))

    session = play({"options": options}, offer())
    assert session.sent == b"\0\0\0\x0dO\0\0\0\4\0\0\0\0\0\0\0\4"


BAD_OVERRIDES = [
    (keep, HandlerError, "expected the options handler to queue Negotiate, got no answer"),
    (lambda event, ctx: reject(ctx), HandlerError, "expected the options handler to queue Negotiate"),
    (
        lambda event, ctx: send_action(ctx, act.Negotiate(7, 0, 0)),
        LocalProtocolError,
        "within version 6",
    ),
    (
        lambda event, ctx: send_action(ctx, act.Negotiate(6, 0, 0, ((-1, ()),))),
        LocalProtocolError,
        "a macro stage",
    ),
    (lambda event, ctx: 1 / 0, ZeroDivisionError, "division"),
    (
        lambda event, ctx: None,
        HandlerError,
        "to return a context, got None; is there a return at its end?",
    ),
    (
        lambda event, ctx: default_event_handler(event, ctx).set("handlers", 5),
        HandlerError,
        "expected a registry or a map",
    ),
]


@pytest.mark.parametrize(("override", "error", "message"), BAD_OVERRIDES)
def test_an_override_of_options_that_fails_refuses_the_session(override, error, message):
    """Nothing is sent, the connection is closed."""
    session = play({"options": override}, offer())
    assert (session.sent, session.is_closed) == (b"", True)
    assert [type(one) for one in session.errors] == [error]
    assert message in str(session.errors[0])


def test_a_filter_that_overrides_options_leaves_the_default_to_the_others():
    """The others' wishes are in the first answer; the override's, queued last, counts."""
    seen = []

    def options(event, ctx):
        seen.append(ctx["events"])
        return ctx

    first, other = define_event_handlers({"options": options}), define_event_handlers({"mail": keep})
    assert play(merge_handlers(first, other)).say(offer()) == "O"
    assert seen == [{"mail"}]


@pytest.mark.parametrize(
    ("wanted", "offered", "bits"),
    [(1_048_575, 0x30000000, 0x20000000), (262_143, 0x30000000, 0x10000000), (65_535, 0x30000000, 0)],
)
def test_a_larger_packet_size_is_agreed_on_where_it_was_opted_in(wanted, offered, bits):
    """limits.data_size; by default no size bit is answered."""
    session = play({}, offer(steps=0x1FFFFF | offered), limits=Limits(data_size=wanted))
    assert int.from_bytes(session.sent[-4:], "big") & 0x70000000 == bits


OUT_OF_ORDER = [
    ("anything before the negotiation", [HELO], "expected one of OPTNEG, got HELO while NEW"),
    ("a second negotiation", [*OPENING, offer()], "got OPTNEG while CONNECTED"),
    ("a recipient without sender", [*OPENING, RCPT], "got RCPT while CONNECTED"),
    ("a body before the message", [*OPENING, BODY], "got BODY while CONNECTED"),
    (
        "an unknown letter",
        [*OPENING, packet("X", b"abc")],
        "expected a command that the MTA sends, got b'X' with 3 bytes",
    ),
    ("an offer too short", [packet("O", b"\0" * 11)], "expected protocol flags of 4 bytes"),
    (
        "macros for nothing",
        [*OPENING, packet("D")],
        "expected a macro packet with the letter of its command",
    ),
    (
        "a packet that cannot be read",
        [*OPENING[:2], packet("H", b"x")],
        "a HELO argument that ends in NUL",
    ),
]


@pytest.mark.parametrize(
    ("what", "packets", "message"), OUT_OF_ORDER, ids=[row[0] for row in OUT_OF_ORDER]
)
def test_what_breaks_the_protocol_closes_the_connection(what, packets, message):
    """It is told once, disconnect is called once, and what comes after is not read."""
    handlers, calls = note("disconnect")
    handlers = merge_handlers(handlers, define_event_handlers(dict.fromkeys(ALL, keep)))
    session = play(handlers, *packets)
    assert session.is_closed
    assert len(session.errors) == 1
    assert isinstance(session.errors[0], RemoteProtocolError)
    assert message in str(session.errors[0])
    assert session.troubles[0].handler is None
    assert session.say(*OPENING) == ""
    assert len(calls) == 1


def test_a_version_that_nobody_speaks_closes_the_connection():
    """Without an answer; the MTA is to blame."""
    session = play({}, offer(1))
    assert (session.sent, session.is_closed) == (b"", True)
    (error,) = session.errors
    assert str(error) == "expected protocol version 2 or later, got version 1"


def test_a_length_that_cannot_be_closes_after_what_came_before():
    """The packets before it are answered."""
    session = play({"hello": keep}, *OPENING[:2])
    assert session.feed(b"\0\0\0\2H\0" + b"\0\0\0\0") == b"\0\0\0\1c"
    assert session.is_closed
    assert "a packet length from 1 to 1048577, got 0" in str(session.errors[0])

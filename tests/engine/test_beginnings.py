"""How connections begin: what is the same for all of a filter is worked out once, and only that."""

from typing import Any

import pytest

from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection, receive_data
from demyjpy.errors import NegotiationError
from demyjpy.handlers import (
    default_event_handler,
    define_event_handlers,
    merge_handlers,
    with_handlers,
)
from demyjpy.wire.framing import join_frame
from tests.engine.harness import (
    CONNECT,
    EOM,
    HELO,
    MAIL,
    OPENING,
    QUIT,
    Session,
    join,
    keep,
    note,
    offer,
)


def begin(setup: Setup, name: str, *said: Any) -> Session:
    """One more connection of a server, on which this was said."""
    session = Session(open_connection(setup, name))
    session.say(*(said or [offer()]))
    return session


def server(handlers: Any, **options: Any) -> Setup:
    """What a server's connections have in common."""
    return Setup(as_on_connect(handlers), **options)


def test_connections_begin_alike_and_have_names_of_their_own():
    """The second is told the same as the first, and shares what cannot change."""
    handlers, _ = note("mail", "end_of_message")
    setup = server(handlers)
    one, two = (begin(setup, name) for name in ("one", "two"))
    assert one.sent == two.sent != b""
    assert [session.connection.session for session in (one, two)] == ["one", "two"]
    assert one.connection.scope is two.connection.scope
    assert one.connection.agreed is two.connection.agreed
    assert one.say(CONNECT, HELO, MAIL, EOM) == two.say(CONNECT, HELO, MAIL, EOM) == "cccc"


def test_offers_are_told_apart():
    """Each is answered for itself, also by the same filter."""
    setup = server(define_event_handlers({"data": keep}, optional_actions={"quarantine"}))
    offers = [offer(), offer(actions=0x1F), offer(steps=0x7F), offer(version=4, steps=0x3FF)]
    first = [begin(setup, "a", one).sent for one in offers]
    assert len(set(first)) == len(offers)
    assert [begin(setup, "b", one).sent for one in offers] == first


def test_servers_are_told_apart():
    """One that reads larger pieces asks for them; one that watches sees each negotiation."""
    handlers = define_event_handlers({"mail": keep})
    seen: list[Any] = []
    plain, watched = server(handlers), server(handlers, observer=seen.append)
    for _ in range(2):
        begin(plain, "plain")
        begin(watched, "watched")
    assert [step.session for step in seen] == ["watched", "watched"]


def test_a_handler_that_is_added_is_negotiated():
    """From the next connection on."""
    handlers = define_event_handlers({"mail": keep})
    setup = server(handlers)
    before = begin(setup, "before").sent
    handlers.add("data", keep)
    after = begin(setup, "after")
    assert after.sent != before
    assert "data" in after.connection.scope.context["events"]


def test_users_functions_are_called_for_each_connection():
    """They may do anything: on_connect, and what negotiates."""
    calls: list[str] = []
    handlers = define_event_handlers({"mail": keep})

    def on_connect(ctx: Any) -> Any:
        calls.append("on_connect")
        return with_handlers(ctx, handlers)

    @handlers.options
    def negotiate(event: Any, ctx: Any) -> Any:
        calls.append("options")
        return default_event_handler(event, ctx)

    for setup in (Setup(on_connect), server(handlers), server(merge_handlers(handlers, handlers))):
        for _ in range(2):
            begin(setup, "each")
    assert calls == ["on_connect", "options"] * 2 + ["options"] * 2 + ["options"] * 4


def test_a_connection_that_is_refused_is_refused_for_itself():
    """Each has its trouble, and the end is told each time."""
    handlers, calls = note("disconnect")
    setup = server(
        merge_handlers(handlers, define_event_handlers({"data": keep}, actions={"quarantine"}))
    )
    for number in range(3):
        session = begin(setup, "each", offer(actions=0x1F))
        assert isinstance(session.errors[0], NegotiationError)
        assert session.is_closed
        assert len(calls) == number + 1


@pytest.mark.parametrize(
    "said",
    [
        join([offer(), CONNECT]),
        join([offer()])[:-1],
        join([offer()]) + b"\0",
        join_frame(ord("O"), b"\0\0\0\6" + b"\0" * 100),
        join([MAIL]),
        b"",
    ],
)
def test_what_is_not_an_offer_alone_is_not_remembered(said):
    """Handlers see what came with it; half a packet is waited for."""
    handlers, calls = note("connect")
    setup = server(handlers)
    twice = [receive_data(open_connection(setup, "each"), said) for _ in range(2)]
    assert twice[0].data_to_send == twice[1].data_to_send
    assert len(calls) == (2 if CONNECT[1] in said else 0)
    assert twice[0].backlog == twice[1].backlog


def test_an_offer_that_comes_in_pieces():
    """It is put together first."""
    setup = server(define_event_handlers({"mail": keep}))
    whole = begin(setup, "whole")
    data = join([offer()])
    pieces = receive_data(receive_data(open_connection(setup, "pieces"), data[:7]), data[7:])
    assert pieces.data_to_send == whole.sent
    assert pieces.session == "pieces"


def test_an_offer_after_half_an_offer_is_its_other_half():
    """Whatever it would be by itself: that was remembered."""
    setup = server(define_event_handlers({"mail": keep}))
    data = join([offer()])
    assert begin(setup, "whole").sent
    odd = receive_data(receive_data(open_connection(setup, "odd"), data[:7]), data)
    joined = receive_data(open_connection(setup, "odd"), data[:7] + data)
    assert (odd.data_to_send, odd.scope, odd.is_closed) == (b"", joined.scope, joined.is_closed)
    assert odd.backlog.unread.size == joined.backlog.unread.size


@pytest.mark.parametrize("more", [[], ["quit"], ["disconnect"], ["quit", "disconnect"]])
def test_a_goodbye_between_messages(more):
    """Where nobody has anything to say to it, the hot path ends the connection; else they are called."""
    handlers, calls = note("mail", "end_of_message", *more)
    line = Line(open_connection(server(handlers), "session"))
    for one in OPENING:
        line.receive_data(join([one]))
    assert line.receive_data(join([MAIL, EOM, QUIT, MAIL])) is None
    connection = line.leave()
    assert connection.data_to_send == join_frame(ord("c")) * 2
    assert connection.is_closed
    assert connection.backlog.packets == ()
    assert [name for name, _ in calls] == ["Mail", "EndOfMessage", *map(str.title, more)]


def test_a_goodbye_within_a_message_is_told_to_abort_handlers():
    """The message was given up."""
    handlers, calls = note("abort", "mail", "end_of_message")
    session = begin(server(handlers), "session", *OPENING, MAIL, QUIT)
    assert session.is_closed
    assert len(calls) == 2

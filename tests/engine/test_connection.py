"""The values of the engine: what is set up, and what a driver reads off a connection."""

import pytest

from demyjpy.engine.connection import Connection, Setup
from demyjpy.errors import HandlerError
from demyjpy.handlers import define_event_handlers
from demyjpy.registry import Handler
from tests.engine.harness import EOM, MAIL, OPENING, QUIT, Session, join, keep, play


@pytest.mark.parametrize("on_error", ["tempfail", "accept", "reject", lambda error, event, ctx: ctx])
def test_a_policy_is_a_name_or_a_function(on_error):
    """One of three names."""
    assert Setup(keep, on_error).on_error is on_error


@pytest.mark.parametrize("on_error", ["discard", None, 5, ["tempfail"]])
def test_what_is_no_policy_is_refused(on_error):
    """The message shows what is one, and what came."""
    with pytest.raises(
        HandlerError, match=r'expected on_error "tempfail", "accept", "reject" or a function .*, got '
    ):
        Setup(keep, on_error)


async def awaited(event, ctx):
    return ctx


DEFERRED = [
    (Handler("mail", keep), False),
    (Handler("mail", keep, blocking=True), True),
    (Handler("mail", awaited), True),
]


@pytest.mark.parametrize(("handler", "wanted"), DEFERRED)
def test_by_default_what_may_block_is_handed_out(handler, wanted):
    """And what is to be awaited."""
    assert Setup(keep).defers(handler) is wanted


def test_a_connection_is_idle_between_messages():
    """It may be closed without harm: nothing is open, out, or waiting."""
    handlers = define_event_handlers({"mail": keep})
    handlers.hello(blocking=True)(keep)
    session = Session.open(handlers)
    assert session.connection.is_idle
    session.say(*OPENING)
    assert session.connection.is_idle
    session.say(MAIL)
    assert not session.connection.is_idle
    session.say(EOM)
    assert session.connection.is_idle
    session.feed(join([OPENING[2]]))
    assert not session.connection.is_idle
    session.feed(join([MAIL]))
    session.call()
    assert not session.connection.is_idle


def test_a_connection_is_a_value():
    """What comes next is another one; the old one may be used again."""
    session = play({"hello": keep}, OPENING[0])
    before = session.connection
    session.say(QUIT)
    assert session.is_closed
    assert not before.is_closed
    again = Session(before)
    assert again.say(OPENING[2]) == "c"


def test_what_came_up_is_told_once():
    """data_to_send and troubles hold what is new since the connection before."""
    session = play({"mail": lambda event, ctx: None}, *OPENING)
    session.say(MAIL)
    assert session.connection.data_to_send == b"\0\0\0\1t"
    assert len(session.connection.troubles) == 1
    session.say(QUIT)
    assert (session.connection.data_to_send, session.connection.troubles) == (b"", ())


def test_a_connection_begins_with_nothing():
    """No bytes, no call, not closed."""
    connection = Connection(Setup(keep), "name")
    assert (connection.data_to_send, connection.call, connection.troubles, connection.is_closed) == (
        b"",
        None,
        (),
        False,
    )

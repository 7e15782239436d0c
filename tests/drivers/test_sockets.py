"""What is set on the socket of a connection. How much time it saves, a test cannot say."""

import socket

import pytest

from demyjpy import Continue, define_event_handlers, running
from demyjpy.drivers.sockets import acknowledge, acknowledgeable
from tests.drivers.peer import MESSAGE, Peer
from tests.engine.harness import join, macros


def test_only_tcp_has_acknowledgements():
    """On a Unix socket there is nothing to do."""
    one, other = socket.socketpair()
    with one, other:
        assert acknowledgeable(one) is None
    with socket.socket(socket.AF_INET) as sock:
        assert acknowledgeable(sock) is sock
        acknowledge(sock)


def test_a_socket_that_is_closed_cannot_acknowledge():
    """It says nothing: the driver will hear of it when it reads."""
    sock = socket.socket(socket.AF_INET)
    sock.close()
    acknowledge(sock)


@pytest.mark.parametrize("observer", [None, lambda step: None], ids=["hot path", "watched"])
@pytest.mark.parametrize("address", ["inet:0@127.0.0.1", "unix:{}/x.sock"], ids=["inet", "unix"])
def test_macros_may_come_in_a_write_of_their_own(driver, address, observer, tmp_path):
    """As Sendmail sends them: the same answers."""
    handlers = define_event_handlers()
    handlers.add("mail", lambda event, ctx: ctx)
    where = address.format(tmp_path)
    with (
        running(handlers, address=where, driver=driver, observer=observer) as found,
        Peer(found) as peer,
    ):
        peer.begin()
        for _ in range(2):
            for event in MESSAGE[:-1]:
                peer.send(join([macros("M", i="1")]))
                peer.ask(event)
            assert peer.finish_message() == (Continue(),)

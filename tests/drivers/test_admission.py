"""Who is let in, and what the others are told."""

from ipaddress import ip_address

import pytest

from demyjpy import Continue, ReplyCode, TemporaryFailure, define_event_handlers, running, tempfail
from demyjpy.drivers import admission
from demyjpy.drivers.admission import Door, peer_of, warn_if_open
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.report import Seldom
from tests.drivers.peer import CONNECT, Peer


def door(**options):
    """A door for a filter that does nothing."""
    chosen = ServerOptions(**options)
    return Door(chosen, chosen.setup({}, lambda handler: False))


def test_more_than_the_connections_that_may_be_are_told_to_come_back(driver, log):
    """With when_full="tempfail" they are refused for now at once, and served when there is room."""
    options = {"max_connections": 1, "when_full": "tempfail"}
    with running({}, driver=driver, **options) as address, Peer(address) as first:
        first.begin()
        with Peer(address) as second:
            second.negotiate()
            assert second.ask(CONNECT) == TemporaryFailure()
            second.vanish()
        assert first.message() == (Continue(),)
        first.vanish()
        with Peer(address) as third:
            assert third.begin().message() == (Continue(),)
    assert log.take_one().startswith(
        "refused a connection: 1 are open (max_connections); the last came from 127.0.0.1"
    )


def test_one_peer_may_have_so_many_connections(driver, log):
    """Beyond them that peer is refused for now; when one has ended, it is served again."""
    with running({}, driver=driver, max_connections_per_peer=1) as address, Peer(address) as first:
        first.begin()
        with Peer(address) as second:
            second.negotiate()
            assert second.ask(CONNECT) == TemporaryFailure()
        first.vanish()
        with Peer(address) as third:
            assert third.begin().message() == (Continue(),)
    assert "1 are open (max_connections_per_peer)" in log.take_one()


def test_who_is_refused_may_not_stay(driver, log):
    """A connection that is refused has no longer than the time to negotiate."""
    options = {"max_connections_per_peer": 1, "negotiate_timeout": 0.3}
    with running({}, driver=driver, **options) as address, Peer(address) as first:
        first.begin()
        with Peer(address) as second:
            second.negotiate()
            assert second.has_ended()
        assert first.message() == (Continue(),)
    assert [line.rpartition(": ")[2] for line in log.take()][1:] == ["the MTA said nothing for 0.3 s"]


def test_peers_from_elsewhere_are_left_alone(driver, log):
    """A TCP peer outside of the networks of allow= gets no word."""
    with running({}, driver=driver, allow=["192.0.2.0/24"]) as address, Peer(address) as peer:
        assert peer.has_ended()
    assert "refused a connection: expected peers in the networks of allow=" in log.take_one()


def test_peers_from_there_are_served(driver):
    """Networks and single addresses, of either family."""
    with running({}, driver=driver, allow=["::1", "127.0.0.0/8"]) as address, Peer(address) as peer:
        assert peer.begin().message() == (Continue(),)


def test_local_peers_are_of_no_network(driver, tmp_path):
    """Neither allow= nor the limit for a peer holds for a Unix socket."""
    options = {"allow": "192.0.2.1", "max_connections_per_peer": 1, "address": tmp_path / "x"}
    with (
        running({}, driver=driver, **options) as address,
        Peer(address) as first,
        Peer(address) as second,
    ):
        first.begin()
        second.begin()


def test_a_filter_is_not_asked_about_those_it_does_not_serve(driver, log):
    """The handlers of the filter see the sessions that are served, and no others."""
    handlers = define_event_handlers()
    handlers.connect(lambda event, ctx: tempfail(ctx, "4.7.1", "seen"))
    options = {"max_connections_per_peer": 1}
    with running(handlers, driver=driver, **options) as address, Peer(address) as first:
        first.negotiate()
        assert first.ask(CONNECT) == ReplyCode(451, "4.7.1", "seen")
        with Peer(address) as second:
            second.negotiate()
            assert second.ask(CONNECT) == TemporaryFailure()
    log.take_one()


def test_even_to_be_refused_there_is_a_limit(monkeypatch, log):
    """So many may be being refused; more are closed at once, and nobody else has to wait."""
    monkeypatch.setattr(admission, "REFUSED_AT_ONCE", 1)
    one = door(max_connections=1, when_full="tempfail")
    served, refused = one.enter(("192.0.2.1", 1)), one.enter(("192.0.2.1", 2))
    assert one.enter(("192.0.2.1", 3)) is None
    assert not one.is_shut
    one.leave(refused)
    assert one.enter(("192.0.2.1", 4)) == refused
    one.leave(refused)
    one.leave(served)
    assert (one.served, one.refused) == (0, 0)
    log.take_one()


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.1", 25), "192.0.2.1"),
        (("::ffff:192.0.2.1", 25, 0, 0), "192.0.2.1"),
        (("2001:db8::1", 25, 0, 0), "2001:db8::1"),
    ],
)
def test_a_peer_is_known_by_its_address(address, peer):
    """An IPv4 address is the same within IPv6."""
    assert peer_of(address) == ip_address(peer)


@pytest.mark.parametrize("address", ["", b"", None])
def test_a_local_peer_has_none(address):
    """A Unix socket tells nothing."""
    assert peer_of(address) is None


def test_what_comes_often_is_told_seldom():
    """The first at once, then what has come meanwhile, by kind."""
    seldom = Seldom(10.0)
    assert [seldom.count("a", now) for now in (0.0, 1.0, 9.0, 10.0, 11.0, 30.0)] == [1, 0, 0, 3, 0, 2]
    assert seldom.count("b", 30.0) == 1


@pytest.mark.parametrize(
    ("address", "allow", "warns"),
    [
        ("127.0.0.1", (), False),
        ("::1", (), False),
        ("0.0.0.0", (), True),  # looked at, not listened on
        ("192.0.2.1", "192.0.2.0/24", False),
        ("", (), False),
    ],
)
def test_listening_for_all_the_world_is_a_warning(address, allow, warns, log):
    """Unless it is said who may come."""
    warn_if_open((address, 25) if address else "/run/x.sock", ServerOptions(allow=allow))
    assert len(log.take()) == warns


def test_refused_peers_do_not_flood_the_log(log):
    """One line a second, whatever comes."""
    one = door(allow="192.0.2.1")
    assert [one.enter(("192.0.2.2", port)) for port in range(50)] == [None] * 50
    assert len(log.take()) == 1

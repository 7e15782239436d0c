"""Who is let in: how many connections at once, in all and from one peer, and from which networks.

What is decided here is one connection at a time; sockets are the drivers'.
"""

import time
from collections import Counter
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from attrs import frozen

from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.report import Seldom, log
from demyjpy.drivers.resources import Opened
from demyjpy.engine.connection import Setup
from demyjpy.registry import Registry
from demyjpy.shorthands import tempfail

REFUSED_AT_ONCE: Final = 256
"""Connections that may be being refused at the same time; more are closed without a word."""


@frozen
class Guest:
    """A connection that was let in.

    ``peer`` is its IP address, empty for a Unix socket. One that is not ``is_served`` was let in
    only to get a temporary failure; ``patience`` is how long it may be silent, in seconds.
    ``opened`` are the resources of its filter, which are open for as long as it is in.
    """

    peer: str
    setup: Setup
    is_served: bool
    patience: float
    opened: Opened


def _come_back_later() -> Registry:
    """A filter that refuses each session for now, as soon as it can be said."""
    handlers = Registry()
    handlers.add("connect", lambda _, ctx: tempfail(ctx))
    return handlers


class Door:
    """Counts who is in. Its callers see to it that one of them asks at a time.

    ``setup`` is what the next guest gets, ``opened`` the resources of that filter.
    """

    def __init__(self, options: ServerOptions, setup: Setup) -> None:
        self.setup = setup
        self.opened = Opened()
        self._options = options
        self._refusing = ServerOptions(limits=options.limits).setup(_come_back_later(), setup.defers)
        self._peers: Counter[str] = Counter()
        self._seldom = Seldom()
        self.served = self.refused = 0

    @property
    def is_shut(self) -> bool:
        """Whether the next connection has to wait until one of those that are in has gone."""
        return self._options.when_full == "wait" and self.served >= self._options.max_connections

    def enter(self, address: Any) -> Guest | None:
        """Somebody who connects from there, as `socket.accept` gives it; None: is to be left alone."""
        options = self._options
        peer = peer_of(address)
        if peer is not None and options.allow and not any(peer in one for one in options.allow):
            self._say("allow", "expected peers in the networks of allow=", peer)
            return None
        name = str(peer or "")
        if self.served >= options.max_connections:
            self._say("full", f"{self.served} are open (max_connections)", peer)
        elif name and self._peers[name] >= (options.max_connections_per_peer or self.served + 1):
            self._say("peer", f"{self._peers[name]} are open (max_connections_per_peer)", peer)
        else:
            self.served += 1
            self._peers[name] += 1
            self.opened.hold()
            return Guest(name, self.setup, True, options.idle_timeout, self.opened)
        if self.refused >= REFUSED_AT_ONCE:
            return None
        self.refused += 1
        return Guest(name, self._refusing, False, options.negotiate_timeout, self.opened)

    def leave(self, guest: Guest) -> None:
        """A guest has gone."""
        if not guest.is_served:
            self.refused -= 1
            return
        self.served -= 1
        guest.opened.release()
        self._peers[guest.peer] -= 1
        if not self._peers[guest.peer]:
            del self._peers[guest.peer]  # there are many addresses in the world

    def _say(self, kind: str, why: str, peer: IPv4Address | IPv6Address | None) -> None:
        count = self._seldom.count(kind, time.monotonic())
        if count:
            many = f"{count} connections" if count > 1 else "a connection"
            where = f"; the last came from {peer}" if peer else ""
            log.warning("refused %s: %s%s", many, why, where)


def warn_if_open(where: Any, options: ServerOptions) -> None:
    """Warn if a TCP socket, by its ``getsockname``, can be reached from other machines."""
    peer = peer_of(where)
    if peer is not None and not peer.is_loopback and not options.allow:
        log.warning(
            "listening on %s, where other machines can connect: milters have no passwords. Listen "
            "on localhost, or give allow= the networks of your MTAs",
            peer,
        )


def peer_of(address: Any) -> IPv4Address | IPv6Address | None:
    """The IP address of a peer, None for a Unix socket."""
    if not isinstance(address, tuple):
        return None
    return _parsed(address[0])


@lru_cache(256)  # there are few MTAs
def _parsed(address: str) -> IPv4Address | IPv6Address:
    found = ip_address(address)
    return getattr(found, "ipv4_mapped", None) or found

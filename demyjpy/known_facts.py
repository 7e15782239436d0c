"""What is known of a session for the facts that its filters read: a value in the context.

It lies under the engine's key ``facts`` if a filter declares some, and ends with the message as all of
the context does. `demyjpy.facts` reads it for handlers; the engine says when something is heard.
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, Final, Literal, TypeAlias

from attrs import frozen
from pyrsistent import PVector, pvector

from demyjpy import events as ev
from demyjpy.clients import Client, handed_over_by, is_made_there

Network: TypeAlias = IPv4Network | IPv6Network


def as_networks(given: str | Iterable[object]) -> tuple[Network, ...]:
    """Networks as people write them: ``"192.0.2.0/24"``, one or many; a single address is one, too.

    In a text commas stand between them. `ValueError` for what is none.
    """
    several = given.split(",") if isinstance(given, str) else given
    return tuple(ip_network(str(one).strip()) for one in several)


@frozen
class Source:
    """What a fact is read from: events, and macros by the event with which the MTA sends them."""

    events: tuple[str, ...]
    macros: Mapping[str, tuple[str, ...]]


_CLIENT: Final = {"connect": ("{client_ptr}", "{client_resolve}")}
_USER: Final = {"mail": ("{auth_authen}",)}

SOURCES: Final[Mapping[str, Source]] = {
    "client": Source(("connect",), _CLIENT),
    "helo": Source(("hello",), {}),
    "sender": Source(("mail",), {}),
    # without MAIL nobody knows that another message begins (Sendmail says no ABORT then)
    "recipients": Source(("mail", "recipient"), {}),
    "user": Source(("mail",), _USER),
    "tls": Source(
        (),
        {
            "connect": ("v",),
            "hello": (
                *("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"),
                "{verify}",
            ),
        },
    ),
    "origin": Source(("connect", "mail"), {"connect": ("{daemon_name}", "{daemon_port}"), **_USER}),
    "origin_client": Source(("connect", "header", "end_of_headers"), _CLIENT),
}
"""The facts that a filter may declare."""


@frozen
class Way:
    """How far the way of a mail behind trusted relays is known.

    ``last`` is who stands at the end of what is known of it; None for the client of the session.
    ``state``: whether the way goes on in fields that are still to come, ends there, or is lost because a
    relay has written what cannot be read.
    """

    last: Client | None = None
    state: Literal["open", "ended", "lost"] = "ended"

    def after(self, received: str, relays: tuple[Network, ...]) -> "Way":
        """After the next ``Received`` field, which the last of the trusted relays has written."""
        if is_made_there(received):
            return Way(self.last)
        client = handed_over_by(received)
        if client is None:
            return Way(self.last, "lost")
        return Way(client, "open" if is_trusted(client.address, relays) else "ended")

    def end(self) -> "Way":
        """There are no more fields: the mail began on the last relay."""
        return Way(self.last) if self.state == "open" else self


def is_trusted(address: object, relays: tuple[Network, ...]) -> bool:
    """Whether an address is that of a trusted relay."""
    if not isinstance(address, IPv4Address | IPv6Address):
        return False
    if isinstance(address, IPv6Address):  # an MTA that listens on both may write IPv4 as IPv6
        address = address.ipv4_mapped or address
    return any(address in network for network in relays)


_TO_NOBODY: Final[PVector[ev.Recipient]] = pvector()
_AT_CLIENT: Final = Way()
_BEFORE_HEADER: Final = Way(None, "open")


@frozen
class KnownFacts:
    """What the MTA has said, as far as some filter reads it.

    ``names`` are the facts that the filter at hand has declared. ``relays``: the networks of trusted
    relays. ``recipients`` are those that stand. ``given``: facts that a test gives, by name, in place of
    what the MTA says.
    """

    names: frozenset[str] = frozenset()
    relays: tuple[Network, ...] = ()
    connect: ev.Connect | None = None
    greeting: str | None = None
    sender: str | None = None
    recipients: PVector[ev.Recipient] = _TO_NOBODY
    way: Way = _AT_CLIENT
    given: Mapping[str, Any] | None = None

    def of(self, names: frozenset[str]) -> "KnownFacts":
        """The same as a filter sees it that has declared these."""
        return KnownFacts(
            names,
            self.relays,
            self.connect,
            self.greeting,
            self.sender,
            self.recipients,
            self.way,
            self.given,
        )

    def with_connect(self, event: ev.Connect) -> "KnownFacts":
        """A client has connected."""
        return KnownFacts(self.names, self.relays, event).before_header()

    def with_hello(self, event: ev.Hello) -> "KnownFacts":
        """It has greeted, perhaps once more."""
        return KnownFacts(self.names, self.relays, self.connect, event.greeting, way=self.way)

    def with_mail(self, event: ev.Mail) -> "KnownFacts":
        """A message begins."""
        return KnownFacts(
            self.names, self.relays, self.connect, self.greeting, event.sender, way=self.way
        )

    def with_recipient(self, event: ev.Recipient) -> "KnownFacts":
        """A recipient stands: neither a filter nor the MTA has refused it."""
        return KnownFacts(
            self.names,
            self.relays,
            self.connect,
            self.greeting,
            self.sender,
            self.recipients.append(event),
            self.way,
        )

    def on(self, way: Way) -> "KnownFacts":
        """With the way of the mail known so far."""
        if way is self.way:
            return self
        return KnownFacts(
            self.names,
            self.relays,
            self.connect,
            self.greeting,
            self.sender,
            self.recipients,
            way,
        )

    def before_header(self) -> "KnownFacts":
        """The way of the mail before the first field has come: it goes on if the client is a relay."""
        address = None if self.connect is None else self.connect.address
        return self.on(_BEFORE_HEADER if is_trusted(address, self.relays) else _AT_CLIENT)

    def with_fields(self, fields: Iterable[tuple[str, str]]) -> "KnownFacts":
        """After a header of these fields, name and value each, in place of what has come before."""
        known = self.before_header()
        for name, value in fields:
            known = known.with_field(name, value)
        return known.with_end_of_headers(None)

    def with_field(self, name: str, value: str) -> "KnownFacts":
        """A header field has come."""
        if self.way.state != "open" or name.lower() != "received":
            return self
        return self.on(self.way.after(value, self.relays))

    def with_header(self, event: ev.Header) -> "KnownFacts":
        """A header field has come."""
        return self.with_field(event.name, event.value)

    def with_end_of_headers(self, event: Any) -> "KnownFacts":
        """All of them have."""
        return self.on(self.way.end())


NO_FACTS: Final = KnownFacts()
"""What a filter reads that has declared none."""

LISTENERS: Final[Mapping[str, tuple[frozenset[str], Callable[[KnownFacts, Any], KnownFacts]]]] = {
    "connect": (frozenset({"client", "origin", "origin_client"}), KnownFacts.with_connect),
    "hello": (frozenset({"helo"}), KnownFacts.with_hello),
    "mail": (frozenset({"sender", "origin"}), KnownFacts.with_mail),
    "recipient": (frozenset({"recipients"}), KnownFacts.with_recipient),
    "header": (frozenset({"origin_client"}), KnownFacts.with_header),
    "end_of_headers": (frozenset({"origin_client"}), KnownFacts.with_end_of_headers),
}
"""By event: the facts for which it is kept, and what follows from it."""

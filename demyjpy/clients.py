"""Who hands over a mail: the client of an SMTP session, and the one that a relay's Received names.

Only values and how they are read. Which relays are trusted is for `demyjpy.known_facts` to follow.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from attrs import frozen

from demyjpy.events import Connect, PeerAddress


@frozen
class Client:
    """A machine that hands over mail.

    ``address``: an `ipaddress` object; a path for a Unix socket; None if the MTA names none, as Sendmail
    does for mail that a program on the same machine hands in. ``name``: what DNS says of the address, in
    ASCII as the MTA gave it; None if it says nothing. ``is_verified``: the MTA has looked up that name,
    too, and found the address. The owner of an address can give it any name that is not verified.
    """

    address: PeerAddress = None
    name: str | None = None
    is_verified: bool = False

    def __str__(self) -> str:
        where = "" if self.address is None else f"[{self.address}]"
        return " ".join(one for one in (self.name, where) if one)

    def network(self, ipv4: int = 24, ipv6: int = 64) -> str:
        """The network of its address, as ``"192.0.2.0/24"``: a key under which neighbours are one.

        ``ipv4``, ``ipv6``: bits of it. Empty for this machine, and if it has no IP address.
        """
        address = getattr(self.address, "ipv4_mapped", None) or self.address  # one of IPv4 in IPv6
        if not isinstance(address, IPv4Address | IPv6Address) or address.is_loopback:
            return ""
        return str(ip_network((address, ipv4 if address.version == 4 else ipv6), strict=False))


def client_of(event: Connect, macro: Callable[[str], str | None]) -> Client:
    """The client of a session, from what the MTA said of it and the macros in force.

    ``{client_resolve}`` is ``OK`` if the name is verified (Sendmail's op.me, Postfix's MILTER_README).
    An MTA that does not send it gives the name in CONNECT only if it is verified (Sendmail from 8.13.8
    on, Postfix). ``{client_ptr}`` is the name before that check.
    """
    name = _named(event.host_name)
    if name is not None:
        is_ip = isinstance(event.address, IPv4Address | IPv6Address)
        return Client(event.address, name, is_ip and macro("client_resolve") in (None, "OK"))
    return Client(event.address, _named(macro("client_ptr")))


def _named(text: str | None) -> str | None:
    """A host name; None for what stands in its place if there is none: ``[192.0.2.1]``, ``unknown``."""
    return None if not text or text[0] == "[" or text == "unknown" else text


# ------------------------------------------------------------------------------ fields of a relay
_LONGEST: Final = 5_000
"""Characters of a field that are looked at: who handed over the mail stands at its beginning."""

_FROM: Final = re.compile(
    r"\s*from\s+[^()]+"  # what the client called itself, which may be anything, with spaces, too
    r"\((?:(?P<name>[^\s()\[\]]+)\s+)?"
    r"\[(?:IPv6:)?(?P<address>[0-9a-f:.]{2,45})\](?P<forged>\s+\(may be forged\))?",
    re.IGNORECASE,
)

_MADE_HERE: Final = re.compile(r"\s*(?:by\s|\(from\s)", re.IGNORECASE)


def handed_over_by(received: str) -> Client | None:
    """The client that a ``Received`` field names; None if it cannot be read.

    ``received`` is the value of the field. Postfix writes ``from GREETING (NAME [ADDRESS])``, NAME being
    ``unknown`` if it is not verified (smtpd.c, ``common_pre_message_handling()``). Sendmail writes
    ``from GREETING (USER@NAME [ADDRESS] (may be forged))`` (proto.m4, ``HReceived``). Before an IPv6
    address stands ``IPv6:``. Neither lets parentheses into GREETING, so a client cannot put an address
    of its choice in place of its own.
    """
    found = _FROM.match(received[:_LONGEST])
    if found is None:
        return None
    address = as_ip(found["address"])
    if address is None:
        return None
    name = _named((found["name"] or "").rpartition("@")[2])
    return Client(address, name, name is not None and found["forged"] is None)


def is_made_there(received: str) -> bool:
    """Whether a ``Received`` field says that the mail began on its relay: it names no client.

    As for mail that a program hands in: ``by relay (Postfix, from userid 1000)``, and Sendmail's
    ``(from user@localhost)``.
    """
    return _MADE_HERE.match(received[:_LONGEST]) is not None


def as_ip(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address; one of IPv4 that is written as one of IPv6 is one of IPv4. None for no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped

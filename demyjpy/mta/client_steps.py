"""What an SMTP client does, one frozen class a step. Values only."""

from ipaddress import IPv6Address
from typing import TypeAlias

from attrs import field, frozen

from demyjpy.wire.fields import Parameters, Words


def _parameters(given: Words | None) -> Parameters:  # mypy takes no method for a converter
    return Parameters.of(given)


def _macros(given: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple((given or {}).items()) if not isinstance(given, tuple) else given


def _plain_address(given: str) -> str:
    """An address as Postfix sends it: IPv4 if it is mapped into IPv6, and without a zone."""
    bare = given.partition("%")[0]
    try:
        mapped = IPv6Address(bare).ipv4_mapped
    except ValueError:
        return given
    return str(mapped) if mapped else bare


@frozen
class Connect:
    """A client connects. ``name`` is its verified host name, or None if it has none.

    An address with a ``:`` is IPv6; one that is mapped (``::ffff:192.0.2.1``) becomes IPv4, a zone
    (``%eth0``) is left out. ``""`` is a client on standard input.
    """

    address: str = field(default="192.0.2.1", converter=_plain_address)
    name: str | None = None
    port: int = 40000


@frozen
class Ehlo:
    """EHLO, or HELO."""

    name: str = "client.example"
    verb: str = "EHLO"


@frozen
class StartTls:
    """STARTTLS; a new EHLO should follow. ``macros`` such as ``{"tls_version": "TLSv1.3"}``."""

    macros: tuple[tuple[str, str], ...] = field(default=None, converter=_macros)


@frozen
class Auth:
    """AUTH. ``macros`` such as ``{"auth_type": "PLAIN", "auth_authen": "joe"}``."""

    macros: tuple[tuple[str, str], ...] = field(default=None, converter=_macros)


@frozen
class Mail:
    """MAIL FROM; ``""`` is the null sender. ``raw`` is the address as the client writes it."""

    sender: str
    parameters: Parameters = field(default=None, converter=_parameters)
    raw: str | None = None


@frozen
class Rcpt:
    """RCPT TO. ``refused`` is the MTA's own reply if it refuses the recipient itself.

    ``by_rule``: it does so by an access list or rule; Sendmail never sends that to a milter.
    """

    address: str
    parameters: Parameters = field(default=None, converter=_parameters)
    raw: str | None = None
    refused: str | None = None
    by_rule: bool = False


@frozen
class Data:
    """DATA and the message, as bytes."""

    content: bytes


@frozen
class Rset:
    """RSET."""


@frozen
class Command:
    """A line that the MTA does not know."""

    line: str


@frozen
class Quit:
    """QUIT."""


@frozen
class Drop:
    """The connection ends without QUIT."""


ClientStep: TypeAlias = (
    Connect | Ehlo | StartTls | Auth | Mail | Rcpt | Data | Rset | Command | Quit | Drop
)

"""One frozen class for each thing that the MTA says, named after its event.

These are values only: what they look like on the wire is in `demyjpy.codec`, what may follow what in
`demyjpy.engine.phases`. ``raw`` keeps a text exactly as it was sent; if it is not given, it is what an
MTA would usually send for the other attributes.
"""

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import Attribute, field, fields, frozen

from demyjpy.errors import LocalProtocolError
from demyjpy.hints import attribute_hint
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.fields import Definitions, Parameters, Words

PeerAddress: TypeAlias = IPv4Address | IPv6Address | str | None


class _Event:
    """What all events have in common: an error for an attribute that they do not have."""

    __slots__ = ()

    if not TYPE_CHECKING:  # pragma: no branch  # for a type checker there must be no such name

        def __getattr__(self, name: str) -> Any:
            """Called for what is no attribute."""
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            if not name.startswith("_"):
                text += attribute_hint(name, [one.name for one in fields(type(self))])
            raise AttributeError(text, name=name, obj=self)


def strip_brackets(address: str) -> str:
    """``<a@b>`` without its angle brackets; an address without them as it is."""
    if address[:1] == "<" and address[-1:] == ">":
        return address[1:-1]
    return address


def _parameters(given: Words | None) -> Parameters:
    return given if type(given) is Parameters else Parameters.of(given)


def _definitions(given: Words | None) -> Definitions:
    return Definitions.of(given)


@frozen
class Options(_Event):
    """What the MTA offers at the start: protocol version, and all the flags it knows (OPTNEG)."""

    version: int
    actions: ActionFlag = field(converter=ActionFlag)
    protocol: ProtocolFlag = field(converter=ProtocolFlag)


@frozen
class DefineMacros(_Event):
    """Macros, sent before the command that they belong to.

    ``event`` is that command's event name, or its letter if no event has it. ``definitions`` maps
    names, with or without braces, to values.
    """

    event: str
    definitions: Definitions = field(factory=Definitions, converter=_definitions)


@frozen
class Connect(_Event):
    """An SMTP client has connected.

    ``host_name`` is its verified name or ``[address]``. ``family`` is ``"4"``, ``"6"``, ``"L"`` (a
    Unix socket) or ``"U"`` (unknown); ``address`` an `ipaddress` object, a path, or None for ``"U"``;
    ``port`` a number, 0 if it is not known, None for ``"U"``. ``raw`` is the address as sent.
    """

    host_name: str
    family: str = field(default="U")
    address: PeerAddress = None
    port: int | None = None
    raw: str = field(kw_only=True, eq=False)

    @family.validator
    def _check_family(self, attribute: "Attribute[str]", value: str) -> None:
        wanted: dict[str, type] = {
            "4": IPv4Address,
            "6": IPv6Address,
            "L": str,
            "U": type(None),
        }
        if value not in wanted:
            raise LocalProtocolError(f'expected family "4", "6", "L" or "U", got {value!r}')
        if not isinstance(self.address, wanted[value]):
            raise LocalProtocolError(
                f"expected an address of type {wanted[value].__name__} for family {value!r}, "
                f"got {self.address!r}"
            )

    @raw.default
    def _usual_raw(self) -> str:
        return "" if self.address is None else str(self.address)


@frozen
class Hello(_Event):
    """HELO or EHLO; ``greeting`` is its argument, not validated by the MTA."""

    greeting: str


@frozen
class Mail(_Event):
    """MAIL FROM: ``sender`` without angle brackets, ``""`` for the null sender."""

    sender: str = field(converter=strip_brackets)
    parameters: Parameters = field(factory=Parameters, converter=_parameters)
    raw: str = field(kw_only=True)

    @raw.default
    def _usual_raw(self) -> str:
        return f"<{self.sender}>"


@frozen
class Recipient(_Event):
    """RCPT TO: ``address`` without angle brackets."""

    address: str = field(converter=strip_brackets)
    parameters: Parameters = field(factory=Parameters, converter=_parameters)
    raw: str = field(kw_only=True)

    @raw.default
    def _usual_raw(self) -> str:
        return f"<{self.address}>"


@frozen
class Data(_Event):
    """The DATA command (or the first BDAT), before the message itself."""


@frozen
class Header(_Event):
    """One header field, in message order; continuation lines are joined with LF.

    ``value`` is the text after the colon and one optional space. ``raw`` is exactly what followed
    the colon if the MTA sends that (``SMFIP_HDR_LEADSPC``), else one space and the value.
    """

    name: str
    value: str
    raw: str = field(kw_only=True)

    @raw.default
    def _usual_raw(self) -> str:
        return f" {self.value}"

    @classmethod
    def from_raw(cls, name: str, raw: str) -> "Header":
        """The field whose text after the colon is exactly ``raw``."""
        return cls(name, raw.removeprefix(" "), raw=raw)


@frozen
class EndOfHeaders(_Event):
    """The empty line after the header; the MTA sends it also if there is no header or no body."""


@frozen
class Body(_Event):
    """A chunk of the body, at most 65535 bytes, cut anywhere; lines end in CRLF."""

    data: bytes


@frozen
class EndOfMessage(_Event):
    """The whole message has been seen; the only event at which it may be modified."""


@frozen
class Abort(_Event):
    """The message is given up; connection and HELO stay."""


@frozen
class Unknown(_Event):
    """An SMTP command that the MTA does not know: the line, or only its first word (old Postfix)."""

    command: str


@frozen
class Quit(_Event):
    """The MTA ends the session."""


@frozen
class QuitNewConnection(_Event):
    """The MTA ends the session and starts a new one on the same socket (``SMFIC_QUIT_NC``)."""


@frozen
class Disconnect(_Event):
    """The end of a connection, however it came; never on the wire."""


Event: TypeAlias = (
    Options
    | DefineMacros
    | Connect
    | Hello
    | Mail
    | Recipient
    | Data
    | Header
    | EndOfHeaders
    | Body
    | EndOfMessage
    | Abort
    | Unknown
    | Quit
    | QuitNewConnection
    | Disconnect
)

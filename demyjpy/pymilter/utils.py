"""``Milter.utils``: what pymilter's filters use to read addresses, networks and header fields."""

import binascii
import email.errors
import email.header
import email.utils
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

__all__ = [
    "MASK",
    "MASK6",
    "addr2bin",
    "bin2long6",
    "cidr",
    "dnsre",
    "inet_ntop",
    "inet_pton",
    "iniplist",
    "ip4re",
    "ip6re",
    "parse_addr",
    "parse_header",
    "parseaddr",
]

MASK: Final = 0xFFFFFFFF
MASK6: Final = (1 << 128) - 1

_BYTE: Final = r"(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])"
ip4re: Final = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}$")
"""Matches an IPv4 address."""
dnsre: Final = re.compile(r"^[a-z][-a-z\d.]+$", re.IGNORECASE)
"""Matches a host name."""

_QUOTE: Final = '"'
_ROUTE: Final = re.compile("^@[^:>]*:")


class _Ip6:
    """Matches an IPv6 address, as a pattern would."""

    @staticmethod
    def match(text: str) -> IPv6Address | None:
        try:
            return IPv6Address(text)
        except ValueError:
            return None


ip6re: Final = _Ip6()


def addr2bin(s: str) -> int:
    """An IPv4 address as a number; `OSError` for what is none."""
    try:
        return int.from_bytes(socket.inet_aton(s), "big")
    except OSError:
        raise OSError(f"Invalid IP4 address: {s}") from None


def bin2long6(s: bytes) -> int:
    """The 16 bytes of an IPv6 address as a number."""
    return int.from_bytes(s, "big")


def inet_pton(s: str) -> bytes:
    """An IPv6 address as 16 bytes; `OSError` for what is none."""
    return socket.inet_pton(socket.AF_INET6, s)


def inet_ntop(s: bytes) -> str:
    """The 16 bytes of an IPv6 address as text."""
    return socket.inet_ntop(socket.AF_INET6, s)


def cidr(i: int, n: int, mask: int = MASK) -> int:
    """The network of ``n`` bits that an address, as a number, is in."""
    return ~(mask >> n) & mask & i


def iniplist(ipaddr: str, iplist: Iterable[str]) -> bool:
    """Whether an address is in a list: of addresses, networks, shell patterns, or names of hosts.

    `ValueError` if it is no address. A name is looked up, with a network's bits behind it if it has any.
    """
    try:
        number = _number(ip_address(ipaddr))
    except ValueError:
        raise ValueError(f"Invalid ip syntax:{ipaddr}") from None
    return any(_is_in(ipaddr, number, one) for one in iplist)


def _number(address: IPv4Address | IPv6Address) -> int:
    """An address as one of IPv6."""
    return int(address) | 0xFFFF << 32 if isinstance(address, IPv4Address) else int(address)


def _is_in(text: str, number: int, listed: str) -> bool:
    if fnmatchcase(text, listed):
        return True
    host, slash, bits = listed.partition("/")
    for address in _addresses(host):
        most = 32 if isinstance(address, IPv4Address) else 128
        length = min(int(bits), most) if slash else most
        if length < 0:
            raise ValueError(f"expected a network such as 192.0.2.0/24, got {listed!r}")
        shift = most - length
        if number >> shift == _number(address) >> shift:
            return True
    return False


def _addresses(host: str) -> list[IPv4Address | IPv6Address]:
    with suppress(ValueError):
        return [ip_address(host)]
    if dnsre.match(host) is None:
        return []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(str(one[4][0]).partition("%")[0]) for one in found]


def parseaddr(t: str) -> tuple[str, str]:
    """The name and the address of a mailbox. A name may have signs in it that should be quoted."""
    name, angle, rest = t.partition("<")
    name, rest = name.strip(), _ROUTE.sub("", rest)
    if not angle:
        return email.utils.parseaddr(t)
    is_plain = name and name[0] != '"' and "(" not in name
    found = email.utils.parseaddr(f"{_quoted(name) if is_plain else name} <{rest}")
    if found[1] != email.utils.parseaddr(f"<{rest}")[1]:  # a comma behind a quoted part, or a comment
        found = email.utils.parseaddr(f"{_quoted(name.replace(_QUOTE, ' '))} <{rest}")
    return found


def _quoted(name: str) -> str:
    escaped = re.sub(r'(["\\])', r"\\\1", name)
    return f'"{escaped}"'


def parse_addr(t: str) -> list[str]:
    """The local part of an address, and its domain if there is one; without quotes and route."""
    address = t[1:-1] if t[:1] == "<" and t[-1:] == ">" else t
    if address[:1] == "@" and ":" in address:
        address = address.partition(":")[2]
    local, at, domain = address.rpartition("@")
    if not at or domain[-1:] == '"':  # an "@" within quotes
        return [_unquoted(address)]
    return [_unquoted(local), domain]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def parse_header(val: str) -> str:
    """A header value with its encoded words decoded; as it is if one cannot be.

    The text of a charset that nobody knows is read as UTF-8. What is outside of encoded words has to be
    ASCII.
    """
    try:
        return "".join(_decoded(*part) for part in email.header.decode_header(val))
    except (LookupError, binascii.Error, email.errors.HeaderParseError, UnicodeError):
        return val


def _decoded(part: str | bytes, charset: str | None) -> str:
    if isinstance(part, str):
        return part
    if charset is None:
        return part.decode("us-ascii")
    try:
        return part.decode(charset, "replace")
    except LookupError:
        return part.decode()

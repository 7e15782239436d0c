"""How the messages of LDAP lie in bytes: those that are sent, and those that come (RFC 4511). Pure.

Only what a search needs. No length that comes is trusted, and nothing that comes leads to recursion.
"""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from attrs import frozen

Scope: TypeAlias = Literal["base", "one", "subtree"]

LARGEST: Final = 1 << 20
"""Bytes of an answer."""

MOST_VALUES: Final = 10_000
"""Entries, attributes and values in an answer, together: each costs time, also if it has no bytes."""

TOO_MUCH: Final = f"expected at most {MOST_VALUES} entries, attributes and values, got more"

MOST_LENGTH_BYTES: Final = 4
"""Of a length; an indefinite one has none, and is not allowed (RFC 4511, section 5.1)."""

BOOLEAN, INTEGER, OCTETS, ENUMERATED, SEQUENCE = 0x01, 0x02, 0x04, 0x0A, 0x30
BIND, BOUND, UNBIND, SEARCH, ENTRY, DONE, REFERENCE = 0x60, 0x61, 0x42, 0x63, 0x64, 0x65, 0x73
"""Kinds of messages, by their tags (section 4.1.1)."""

SUCCESS: Final = 0
SIZE_LIMIT_EXCEEDED: Final = 4
DOWN: Final = frozenset({51, 52})
"""Results of a server that cannot answer now: busy, unavailable."""

RESULTS: Final = MappingProxyType(
    {
        1: "operationsError",
        2: "protocolError",
        3: "timeLimitExceeded",
        4: "sizeLimitExceeded",
        7: "authMethodNotSupported",
        8: "strongerAuthRequired",
        10: "referral",
        11: "adminLimitExceeded",
        13: "confidentialityRequired",
        18: "inappropriateMatching",
        32: "noSuchObject",
        34: "invalidDNSyntax",
        48: "inappropriateAuthentication",
        49: "invalidCredentials",
        50: "insufficientAccessRights",
        51: "busy",
        52: "unavailable",
        53: "unwillingToPerform",
        80: "other",
    }
)
"""Names of results (section 4.1.9). What else a server says may quote a mail, and is not shown."""

_SCOPES: Final[dict[Scope, int]] = {"base": 0, "one": 1, "subtree": 2}
_VERSION: Final = 3


Attribute: TypeAlias = tuple[str, tuple[str, ...]]
"""Its name, and its values."""

Entry: TypeAlias = tuple[str, tuple[Attribute, ...]]
"""Its name, and its attributes."""


class EncodingError(ValueError):
    """What came is no message of LDAP."""


class TooMuchError(ValueError):
    """What came is a message of LDAP, but a larger one than is read."""


# ------------------------------------------------------------------------------------- what is sent
def tlv(tag: int, *parts: bytes) -> bytes:
    """A value with its tag and its length, in the fewest bytes."""
    size = sum(map(len, parts))
    if size < 0x80:
        return b"".join((bytes((tag, size)), *parts))
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return b"".join((bytes((tag, 0x80 | len(length))), length, *parts))


def integer(value: int, tag: int = INTEGER) -> bytes:
    """A number, 0 or more."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octets(text: str) -> bytes:
    """A text; any bytes survive, as everywhere."""
    return tlv(OCTETS, text.encode("utf-8", "surrogateescape"))


def bind_request(number: int, name: str, password: str) -> bytes:
    """Log in by a name and a password (section 4.2)."""
    secret = tlv(0x80, password.encode("utf-8", "surrogateescape"))
    return tlv(SEQUENCE, integer(number), tlv(BIND, integer(_VERSION), octets(name), secret))


def unbind_request(number: int) -> bytes:
    """Say goodbye (section 4.3)."""
    return tlv(SEQUENCE, integer(number), tlv(UNBIND))


def search_request(
    number: int,
    base: str,
    scope: Scope,
    most: int,
    seconds: int,
    encoded_filter: bytes,
    attributes: tuple[str, ...],
) -> bytes:
    """Search below a base (section 4.5.1), aliases as they are. Without attributes: only names."""
    wanted = tlv(SEQUENCE, *map(octets, attributes or ("1.1",)))
    start = (octets(base), integer(_SCOPES[scope], ENUMERATED), integer(0, ENUMERATED))
    limits = (integer(most), integer(seconds), tlv(BOOLEAN, b"\0"))
    return tlv(SEQUENCE, integer(number), tlv(SEARCH, *start, *limits, encoded_filter, wanted))


# --------------------------------------------------------------------------------------- what comes
@frozen
class Incoming:
    """A message: the number of what it answers, its tag, and what is in it."""

    number: int
    tag: int
    content: bytes


def values_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The values that lie one after the other: tag and content of each. `EncodingError`."""
    at = 0
    while at < len(data):
        tag, size, start = data[at], int.from_bytes(data[at + 1 : at + 2]), at + 2
        if size >= 0x80:
            count = length_bytes(size)
            size, start = int.from_bytes(data[start : start + count]), start + count
        at = start + size
        if at > len(data):
            raise EncodingError(f"expected {size} bytes, got {max(0, len(data) - start)}")
        yield tag, data[start:at]


def length_bytes(first: int) -> int:
    """How many bytes follow the first one of a long length."""
    count = first & 0x7F
    if not 1 <= count <= MOST_LENGTH_BYTES:
        raise EncodingError(f"expected a length of 1 to {MOST_LENGTH_BYTES} bytes, got {count}")
    return count


def _of(tag: int, found: tuple[int, bytes] | None) -> bytes:
    if found is None or found[0] != tag:
        got = "none" if found is None else f"{found[0]:#04x}"
        raise EncodingError(f"expected the tag {tag:#04x}, got {got}")
    return found[1]


def parse_message(data: bytes) -> Incoming:
    """What is in a message, without its own tag and length. `EncodingError`."""
    values = values_in(data)
    number = int.from_bytes(_of(INTEGER, next(values, None))[:MOST_LENGTH_BYTES])
    tag, content = next(values, (0, b""))
    return Incoming(number, tag, content)


def parse_result(content: bytes) -> int:
    """The code of a result (section 4.1.9). `EncodingError`."""
    return int.from_bytes(_of(ENUMERATED, next(values_in(content), None))[:MOST_LENGTH_BYTES])


def parse_entry(content: bytes, most: int) -> Entry:
    """The name of an entry, and its attributes with their values (section 4.5.2). `EncodingError`.

    `TooMuchError` if it has more than ``most`` attributes and values.
    """
    values, left = values_in(content), most
    attributes: list[Attribute] = []
    name = _of(OCTETS, next(values, None))
    for one in values_in(_of(SEQUENCE, next(values, None))):
        inner = values_in(_of(SEQUENCE, one))
        kind = _of(OCTETS, next(inner, None))
        found = []
        left -= 1
        for value in values_in(_of(0x31, next(inner, None))):
            left -= 1
            if left < 0:
                break
            found.append(_text(_of(OCTETS, value)))
        if left < 0:
            raise TooMuchError(TOO_MUCH)
        attributes.append((_text(kind), tuple(found)))
    return _text(name), tuple(attributes)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")

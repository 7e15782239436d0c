"""POSIX extended regular expressions, as the C library reads them, written for RE2.

Postfix matches bytes in the C locale, and so does this: a set of characters is a set of bytes. Upper and
lower case are the same in the pattern itself, so RE2 need not know of case. From regcomp.c of glibc.
Nothing here does I/O.
"""

from typing import Final

from attrs import define

MOST_NESTED: Final = 100
"""Groups in groups."""

_CLASSES: Final = {
    "alpha": bytes(range(65, 91)) + bytes(range(97, 123)),
    "digit": bytes(range(48, 58)),
    "upper": bytes(range(65, 91)),
    "lower": bytes(range(97, 123)),
    "space": b" \t\n\v\f\r",
    "blank": b" \t",
    "cntrl": bytes(range(32)) + b"\x7f",
    "print": bytes(range(32, 127)),
    "graph": bytes(range(33, 127)),
    "xdigit": b"0123456789abcdefABCDEF",
    "alnum": bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123)),
    "punct": bytes(one for one in range(33, 127) if not chr(one).isalnum()),
}
_WORD: Final = frozenset(_CLASSES["alnum"] + b"_")
_SPACES: Final = frozenset(_CLASSES["space"])
_ALL: Final = frozenset(range(1, 256))  # NUL ends a key
_REPEATS: Final = b"*+?{"
_TWO: Final = 2


class PatternError(ValueError):
    """A pattern that the C library refuses, or that RE2 cannot do; it says why."""


@define
class _Reader:
    """Where we are in a pattern."""

    pattern: bytes
    ignore_case: bool
    newline: bool
    at: int = 0
    groups: int = 0
    depth: int = 0

    def sign(self, ahead: int = 0) -> bytes:
        """The byte ahead; empty at the end."""
        return self.pattern[self.at + ahead : self.at + ahead + 1]

    def take(self) -> int:
        """The next byte; there must be one."""
        self.at += 1
        return self.pattern[self.at - 1]


def for_re2(pattern: bytes, *, ignore_case: bool, newline: bool) -> tuple[bytes, int]:
    """A pattern for RE2 in Latin-1, with longest_match, and how many groups it has.

    ``newline``: REG_NEWLINE. `PatternError` if there is none.
    """
    reader = _Reader(pattern, ignore_case, newline)
    return _choices(reader), reader.groups


def _choices(reader: _Reader) -> bytes:
    found = [_branch(reader)]
    while reader.sign() == b"|":
        reader.at += 1
        found.append(_branch(reader))
    return b"|".join(found)


def _branch(reader: _Reader) -> bytes:
    parts: list[bytes] = []
    while (sign := reader.sign()) and sign != b"|" and not (sign == b")" and reader.depth):
        atom, may_repeat = _atom(reader)
        while may_repeat and (repeat := reader.sign()) and repeat in _REPEATS:
            # in brackets: RE2 takes a second sign for another thing, as in a+?
            atom = b"(?:" + atom + b")" + _repeat(reader)
        parts.append(atom)
    return b"".join(parts)


def _repeat(reader: _Reader) -> bytes:
    sign = bytes([reader.take()])
    if sign != b"{":
        return sign
    inside, brace, _ = reader.pattern[reader.at :].partition(b"}")
    low, comma, high = inside.partition(b",")
    are_numbers = all(len(one) < 6 and (one.isdigit() or not one) for one in (low, high))
    if not brace or not are_numbers or not (low or comma):
        raise PatternError("expected a number of times such as {2} or {2,5} after {")
    reader.at += len(inside) + 1
    low = low or b"0"
    if high and int(high) < int(low):
        raise PatternError("expected the second number in {} not to be less than the first")
    return b"{%d%s%s}" % (int(low), comma, b"%d" % int(high) if high else b"")


def _atom(reader: _Reader) -> tuple[bytes, bool]:
    """One part of a pattern, and whether a sign such as ``*`` may follow it."""
    byte = reader.take()
    sign = bytes([byte])
    if sign in _REPEATS:
        raise PatternError(f"expected something before {sign.decode()} to repeat, got nothing")
    if sign == b"(":
        return _group(reader), True
    if sign == b"[":
        return _bracket(reader), True
    if sign == b".":
        return _set(_ALL - {10} if reader.newline else _ALL), True
    if sign == b"^":
        return (b"(?m:^)" if reader.newline else b"\\A"), False
    if sign == b"$":
        return (b"(?m:$)" if reader.newline else b"\\z"), False
    if sign == b"\\":
        return _escape(reader)
    return _set(_same_as(reader, {_as_read(reader, byte)})), True


def _group(reader: _Reader) -> bytes:
    reader.depth += 1
    reader.groups += 1
    if reader.depth > MOST_NESTED:
        raise PatternError(f"expected at most {MOST_NESTED} groups in each other, got more")
    inside = _choices(reader)
    if not reader.sign():
        raise PatternError("expected a closing parenthesis, got none")
    reader.at += 1
    reader.depth -= 1
    return b"(" + inside + b")"


def _escape(reader: _Reader) -> tuple[bytes, bool]:
    if not reader.sign():
        raise PatternError("expected a character after the backslash at the end, got none")
    byte = reader.take()
    sign = chr(byte)
    if sign in "wWsS":
        known = _WORD if sign in "wW" else _SPACES
        return _set(known if sign.islower() else _ALL - known), True
    if sign in "bB":
        return f"\\{sign}".encode(), False
    if sign in "`'":
        return (b"\\A" if sign == "`" else b"\\z"), False
    if sign in "<>123456789":
        raise PatternError(f"expected no \\{sign}, which RE2 does not have")
    # it is not made upper case, and what it is compared with is: \d matches no d, as in the C library
    return _set(_same_as(reader, {byte})), True


# ---------------------------------------------------------------------------------- sets of bytes
def _bracket(reader: _Reader) -> bytes:
    """What stands in ``[]``: parse_bracket_exp of regcomp.c."""
    is_not = reader.sign() == b"^"
    reader.at += is_not
    found: set[int] = set()
    is_first = True
    while is_first or reader.sign() != b"]":
        if not reader.sign():
            raise PatternError("expected a closing ], got none")
        if reader.sign() == b"[" and reader.sign(1) == b":":
            found |= _named(reader)
        elif not is_first and reader.sign() == b"-" and reader.sign(1) != b"]":
            raise PatternError("expected a - in [] at the beginning, at the end, or between two others")
        else:
            found |= _range(reader)
        is_first = False
    reader.at += 1
    if is_not and reader.newline:
        found.add(10)
    same = _same_as(reader, found)
    return _set(_ALL - same if is_not else same)


def _range(reader: _Reader) -> set[int]:
    first = _element(reader)
    if reader.sign() != b"-" or reader.sign(1) in (b"]", b""):
        return {_as_read(reader, first)}
    reader.at += 1
    if reader.sign() == b"[" and reader.sign(1) == b":":
        raise PatternError("expected a character after the - in [], got a class")
    first, last = _as_read(reader, first), _as_read(reader, _element(reader))
    if first > last:
        raise PatternError("expected a range in [] from the lower to the higher character")
    return set(range(first, last + 1))


def _element(reader: _Reader) -> int:
    mark = reader.sign(1)
    if reader.sign() != b"[" or mark not in (b".", b"="):
        return reader.take()
    end = reader.pattern.find(mark + b"]", reader.at + _TWO)
    if end != reader.at + _TWO + 1:
        raise PatternError("expected one character between [. and .], or [= and =]")
    reader.at = end + _TWO
    return reader.pattern[end - 1]


def _named(reader: _Reader) -> set[int]:
    end = reader.pattern.find(b":]", reader.at + _TWO)
    name = reader.pattern[reader.at + _TWO : max(end, 0)].decode("latin-1")
    if name not in _CLASSES:
        raise PatternError(f"expected one of {', '.join(_CLASSES)} in [: :]")
    reader.at = end + _TWO
    if reader.ignore_case and name in ("upper", "lower"):
        name = "alpha"
    return set(_CLASSES[name])


def _upper(byte: int) -> int:
    return byte - 32 if 97 <= byte <= 122 else byte


def _as_read(reader: _Reader, byte: int) -> int:
    """A byte of the pattern: it is made upper case before it is looked at if case is ignored."""
    return _upper(byte) if reader.ignore_case else byte


def _same_as(reader: _Reader, found: set[int]) -> frozenset[int]:
    """The bytes that match one of these, which are upper case if case is ignored."""
    if not reader.ignore_case:
        return frozenset(found)
    return frozenset(one for one in _ALL if _upper(one) in found)


def _set(found: frozenset[int]) -> bytes:
    """A set of bytes for RE2."""
    if not found:
        return rb"[^\x00-\xff]"
    known = sorted(found)
    ranges: list[tuple[int, int]] = []
    for one in known:
        if ranges and ranges[-1][1] == one - 1:
            ranges[-1] = ranges[-1][0], one
        else:
            ranges.append((one, one))
    parts = [b"\\x%02x" % low + (b"-\\x%02x" % high if high > low else b"") for low, high in ranges]
    return parts[0] if len(known) == 1 else b"[" + b"".join(parts) + b"]"

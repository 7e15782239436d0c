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
class _Cursor:
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
    cursor = _Cursor(pattern, ignore_case, newline)
    return _choices(cursor), cursor.groups


def _choices(cursor: _Cursor) -> bytes:
    found = [_branch(cursor)]
    while cursor.sign() == b"|":
        cursor.at += 1
        found.append(_branch(cursor))
    return b"|".join(found)


def _branch(cursor: _Cursor) -> bytes:
    parts: list[bytes] = []
    while (sign := cursor.sign()) and sign != b"|" and not (sign == b")" and cursor.depth):
        atom, may_repeat = _atom(cursor)
        while may_repeat and (repeat := cursor.sign()) and repeat in _REPEATS:
            # in brackets: RE2 takes a second sign for another thing, as in a+?
            atom = b"(?:" + atom + b")" + _repeat(cursor)
        parts.append(atom)
    return b"".join(parts)


def _repeat(cursor: _Cursor) -> bytes:
    sign = bytes([cursor.take()])
    if sign != b"{":
        return sign
    inside, brace, _ = cursor.pattern[cursor.at :].partition(b"}")
    low, comma, high = inside.partition(b",")
    are_numbers = all(len(one) < 6 and (one.isdigit() or not one) for one in (low, high))
    if not brace or not are_numbers or not (low or comma):
        raise PatternError("expected a number of times such as {2} or {2,5} after {")
    cursor.at += len(inside) + 1
    low = low or b"0"
    if high and int(high) < int(low):
        raise PatternError("expected the second number in {} not to be less than the first")
    return b"{%d%s%s}" % (int(low), comma, b"%d" % int(high) if high else b"")


def _atom(cursor: _Cursor) -> tuple[bytes, bool]:
    """One part of a pattern, and whether a sign such as ``*`` may follow it."""
    byte = cursor.take()
    sign = bytes([byte])
    if sign in _REPEATS:
        raise PatternError(f"expected something before {sign.decode()} to repeat, got nothing")
    if sign == b"(":
        return _group(cursor), True
    if sign == b"[":
        return _bracket(cursor), True
    if sign == b".":
        return _set(_ALL - {10} if cursor.newline else _ALL), True
    if sign == b"^":
        return (b"(?m:^)" if cursor.newline else b"\\A"), False
    if sign == b"$":
        return (b"(?m:$)" if cursor.newline else b"\\z"), False
    if sign == b"\\":
        return _escape(cursor)
    return _set(_same_as(cursor, {_as_read(cursor, byte)})), True


def _group(cursor: _Cursor) -> bytes:
    cursor.depth += 1
    cursor.groups += 1
    if cursor.depth > MOST_NESTED:
        raise PatternError(f"expected at most {MOST_NESTED} groups in each other, got more")
    inside = _choices(cursor)
    if not cursor.sign():
        raise PatternError("expected a closing parenthesis, got none")
    cursor.at += 1
    cursor.depth -= 1
    return b"(" + inside + b")"


def _escape(cursor: _Cursor) -> tuple[bytes, bool]:
    if not cursor.sign():
        raise PatternError("expected a character after the backslash at the end, got none")
    byte = cursor.take()
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
    return _set(_same_as(cursor, {byte})), True


# ---------------------------------------------------------------------------------- sets of bytes
def _bracket(cursor: _Cursor) -> bytes:
    """What stands in ``[]``: parse_bracket_exp of regcomp.c."""
    is_not = cursor.sign() == b"^"
    cursor.at += is_not
    found: set[int] = set()
    is_first = True
    while is_first or cursor.sign() != b"]":
        if not cursor.sign():
            raise PatternError("expected a closing ], got none")
        if cursor.sign() == b"[" and cursor.sign(1) == b":":
            found |= _named(cursor)
        elif not is_first and cursor.sign() == b"-" and cursor.sign(1) != b"]":
            raise PatternError("expected a - in [] at the beginning, at the end, or between two others")
        else:
            found |= _range(cursor)
        is_first = False
    cursor.at += 1
    if is_not and cursor.newline:
        found.add(10)
    same = _same_as(cursor, found)
    return _set(_ALL - same if is_not else same)


def _range(cursor: _Cursor) -> set[int]:
    first = _element(cursor)
    if cursor.sign() != b"-" or cursor.sign(1) in (b"]", b""):
        return {_as_read(cursor, first)}
    cursor.at += 1
    if cursor.sign() == b"[" and cursor.sign(1) == b":":
        raise PatternError("expected a character after the - in [], got a class")
    first, last = _as_read(cursor, first), _as_read(cursor, _element(cursor))
    if first > last:
        raise PatternError("expected a range in [] from the lower to the higher character")
    return set(range(first, last + 1))


def _element(cursor: _Cursor) -> int:
    mark = cursor.sign(1)
    if cursor.sign() != b"[" or mark not in (b".", b"="):
        return cursor.take()
    end = cursor.pattern.find(mark + b"]", cursor.at + _TWO)
    if end != cursor.at + _TWO + 1:
        raise PatternError("expected one character between [. and .], or [= and =]")
    cursor.at = end + _TWO
    return cursor.pattern[end - 1]


def _named(cursor: _Cursor) -> set[int]:
    end = cursor.pattern.find(b":]", cursor.at + _TWO)
    name = cursor.pattern[cursor.at + _TWO : max(end, 0)].decode("latin-1")
    if name not in _CLASSES:
        raise PatternError(f"expected one of {', '.join(_CLASSES)} in [: :]")
    cursor.at = end + _TWO
    if cursor.ignore_case and name in ("upper", "lower"):
        name = "alpha"
    return set(_CLASSES[name])


def _upper(byte: int) -> int:
    return byte - 32 if 97 <= byte <= 122 else byte


def _as_read(cursor: _Cursor, byte: int) -> int:
    """A byte of the pattern: it is made upper case before it is looked at if case is ignored."""
    return _upper(byte) if cursor.ignore_case else byte


def _same_as(cursor: _Cursor, found: set[int]) -> frozenset[int]:
    """The bytes that match one of these, which are upper case if case is ignored."""
    if not cursor.ignore_case:
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

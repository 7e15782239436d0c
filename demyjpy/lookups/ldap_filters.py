"""Search filters of LDAP as templates (RFC 4515), and as they are sent (RFC 4511, 4.5.1.7). Pure.

A value never becomes a part of a template's text: it is put where it belongs in what is sent, with its
length before it. So no character of a mail can mean anything there.
"""

import re
from collections.abc import Mapping
from typing import Final, NoReturn, TypeAlias

from attrs import frozen

from demyjpy.errors import HandlerError, describe
from demyjpy.lookups.ldap_encoding import OCTETS, tlv

DEEPEST: Final = 20
LONGEST: Final = 10_000
"""Characters of a template."""

ATTRIBUTE: Final = r"(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)(?:;[A-Za-z0-9-]+)*"
"""The name of an attribute, or its number, with options (RFC 4512, section 2.5)."""

_ITEM: Final = re.compile(
    rf"(?P<attribute>{ATTRIBUTE})?(?P<dn>:dn)?(?::(?P<rule>[A-Za-z0-9.-]+))?"
    r"(?P<kind>:=|~=|>=|<=|=)(?P<value>[^()]*)"
)
_PIECE: Final = re.compile(r"\\([0-9A-Fa-f]{2})|\{([a-z][a-z0-9_]*)\}|(\*)|([^\\{}*\0]+)")
_COMBINED: Final = {"&": 0xA0, "|": 0xA1, "!": 0xA2}
_COMPARED: Final = {"=": 0xA3, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8, ":=": 0xA9}
_SUBSTRINGS, _PRESENT = 0xA4, 0x87
_FIRST, _ANY, _LAST = 0x80, 0x81, 0x82

Values: TypeAlias = Mapping[str, bytes]


class EmptyValueError(ValueError):
    """A value beside a ``*`` is empty: what is looked for would be in every entry."""


@frozen
class _Text:
    """What is compared: bytes as they are, and names of values."""

    pieces: tuple[bytes | str, ...]

    def fill(self, values: Values) -> bytes:
        return b"".join([one if isinstance(one, bytes) else values[one] for one in self.pieces])


@frozen
class _Combined:
    tag: int
    parts: tuple["_Node", ...]

    def encode(self, values: Values) -> bytes:
        return tlv(self.tag, *[part.encode(values) for part in self.parts])


@frozen
class _Compared:
    """``before`` and ``after`` stand around the value, which has its own tag."""

    tag: int
    before: bytes
    text: _Text
    value_tag: int = OCTETS
    after: bytes = b""

    def encode(self, values: Values) -> bytes:
        return tlv(self.tag, self.before, tlv(self.value_tag, self.text.fill(values)), self.after)


@frozen
class _Substrings:
    attribute: bytes
    texts: tuple[tuple[int, _Text], ...]

    def encode(self, values: Values) -> bytes:
        parts = []
        for tag, text in self.texts:
            found = text.fill(values)
            if not found:
                raise EmptyValueError(f"expected a value beside * that is not empty, got {text.pieces}")
            parts.append(tlv(tag, found))
        return tlv(_SUBSTRINGS, self.attribute, tlv(0x30, *parts))


@frozen
class _Present:
    attribute: bytes

    def encode(self, values: Values) -> bytes:
        return tlv(_PRESENT, self.attribute)


_Node: TypeAlias = _Combined | _Compared | _Substrings | _Present


@frozen
class Template:
    """A parsed filter: ``names`` of the values that it takes, and what is sent with them."""

    names: frozenset[str]
    node: _Node

    def encode(self, values: Values) -> bytes:
        """The filter with these values, one for each name. `EmptyValueError`."""
        return self.node.encode(values)


def parse_template(text: object) -> Template:
    """A filter such as ``(&(objectClass=person)(mail={address}))``; `HandlerError` for what is none."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise HandlerError(
            f"expected a filter as a text of at most {LONGEST} characters, got {describe(text)}"
        )
    names: set[str] = set()
    node, end = _parse(text, 0, 0, names)
    if end != len(text):
        _refuse(text, end, "its end")
    return Template(frozenset(names), node)


def _parse(text: str, at: int, depth: int, names: set[str]) -> tuple[_Node, int]:
    """The filter that begins at a place, and where it ends."""
    if text[at : at + 1] != "(":
        _refuse(text, at, "(")
    if depth > DEEPEST:
        _refuse(text, at, f"at most {DEEPEST} filters in each other")
    tag = _COMBINED.get(text[at + 1 : at + 2])
    if tag is None:
        node, at = _item(text, at + 1, names)
    else:
        at, parts = at + 2, []
        while text[at : at + 1] == "(":
            part, at = _parse(text, at, depth + 1, names)
            parts.append(part)
        if not parts or (tag == _COMBINED["!"] and len(parts) > 1):
            _refuse(text, at, "one filter after !, one or more after & and |")
        node = _Combined(tag, tuple(parts))
    if text[at : at + 1] != ")":
        _refuse(text, at, ")")
    return node, at + 1


def _item(text: str, at: int, names: set[str]) -> tuple[_Node, int]:
    found = _ITEM.match(text, at)
    if found is None:
        _refuse(text, at, "an attribute with =, >=, <=, ~= or :=")
    is_extended = found["kind"] == ":="
    has_rule = bool(found["dn"] or found["rule"])
    if not (found["attribute"] or found["rule"]) or (has_rule and not is_extended):
        _refuse(text, at, "an attribute, and := for a matching rule")
    pieces = _pieces(text, found.start("value"), found.end(), names)
    attribute = (found["attribute"] or "").encode("ascii")
    tag = _COMPARED[found["kind"]]
    if is_extended:
        before = tlv(0x81, found["rule"].encode("ascii")) if found["rule"] else b""
        before += tlv(0x82, attribute) if attribute else b""
        after = tlv(0x84, b"\xff") if found["dn"] else b""
        return _Compared(tag, before, _only(text, at, pieces), 0x83, after), found.end()
    if found["kind"] == "=" and len(pieces) > 1:
        return _starred(text, at, attribute, pieces), found.end()
    return _Compared(tag, tlv(OCTETS, attribute), _only(text, at, pieces)), found.end()


def _only(text: str, at: int, pieces: list[_Text]) -> _Text:
    if len(pieces) > 1:
        _refuse(text, at, "a * only after =, else \\2a")
    return pieces[0]


def _starred(text: str, at: int, attribute: bytes, pieces: list[_Text]) -> _Node:
    """With ``*`` in it: what lies between them."""
    first, *middle, last = pieces
    if not any(one.pieces for one in pieces):
        return _refuse(text, at, "a single *") if middle else _Present(attribute)
    if not all(one.pieces for one in middle):
        _refuse(text, at, "a text between two *")
    texts = [(_FIRST, first), *[(_ANY, one) for one in middle], (_LAST, last)]
    return _Substrings(tlv(OCTETS, attribute), tuple([one for one in texts if one[1].pieces]))


def _pieces(text: str, at: int, end: int, names: set[str]) -> list[_Text]:
    """A value, split at each ``*``."""
    texts: list[list[bytes | str]] = [[]]
    while at < end:
        found = _PIECE.match(text, at, end)
        if found is None:
            _refuse(text, at, "a text, {name} in small letters, or \\ and two hexadecimal digits")
        code, name, star, plain = found.groups()
        if star:
            texts.append([])
        elif name:
            names.add(name)
            texts[-1].append(name)
        else:
            texts[-1].append(bytes.fromhex(code) if code else plain.encode("utf-8", "surrogateescape"))
        at = found.end()
    return [_Text(tuple(one)) for one in texts]


def _refuse(text: str, at: int, expected: str) -> NoReturn:
    got = repr(text[at : at + 20]) if at < len(text) else "its end"
    raise HandlerError(f"expected {expected} at character {at} of the filter, got {got}")

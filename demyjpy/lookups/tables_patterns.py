"""Tables of regular expressions: ``regexp:`` as in Postfix's regexp_table(5), matched by RE2.

RE2 takes time in proportion to the key, whatever the pattern, and other threads run meanwhile. Python's
own `re` may take years for a key that a sender has chosen, and stops all threads.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from demyjpy.lookups.clients import library
from demyjpy.lookups.tables_networks import keyword
from demyjpy.lookups.tables_posix import PatternError, for_re2
from demyjpy.lookups.tables_rows import (
    SPACE,
    Found,
    Holds,
    RowError,
    Terms,
    logical_lines,
    split_terms,
)

MOST_ROWS: Final = 5_000
"""Rows of such a table: each is tried for a key that none matches."""

_MEMORY: Final = 1 << 19  # bytes that RE2 may use for a pattern and what it has learned of keys
_CLOSING: Final = {"(": ")", "{": "}"}
_NUMBER: Final = re.compile(r"0{0,3}[1-9][0-9]{0,2}")

Result: TypeAlias = tuple[str | int, ...]
"""The pieces of a result: texts, and numbers of groups."""


@frozen
class _Pattern:
    """A compiled pattern, and whether it should match."""

    compiled: Any
    is_match: bool
    groups: int = 0

    def matches(self, key: bytes) -> bool:
        return (self.compiled.search(key) is not None) is self.is_match


@define(eq=False)
class _Rule:
    """A row, an if, which has no result, or an endif, which has no pattern either.

    After an if that fails it goes on at ``end``.
    """

    number: int
    pattern: _Pattern | None = None
    unless: _Pattern | None = None
    result: Result | None = None
    terms: Terms = field(factory=Terms)
    end: int = 0


@frozen(eq=False)
class PatternTable:
    """Results by pattern; the first that matches counts."""

    rules: tuple[_Rule, ...]
    rows: int
    has_patterns: bool = True

    def find(self, key: str, holds: Holds) -> Found:
        data, at = key.encode("utf-8", "surrogateescape"), 0
        while at < len(self.rules):
            rule = self.rules[at]
            at += 1
            if rule.pattern is None:
                continue
            if rule.result is None:
                at = at if rule.pattern.matches(data) else rule.end
            else:
                found = _found(rule, rule.pattern, data, rule.result)
                if found is not None and holds(rule.terms):
                    return found
        return None


def _found(rule: _Rule, pattern: _Pattern, key: bytes, result: Result) -> Found:
    match = pattern.compiled.search(key)
    if (match is not None) is not pattern.is_match:
        return None
    if rule.unless is not None and not rule.unless.matches(key):
        return None
    pieces = [one if isinstance(one, str) else _text_of(match[one]) for one in result]
    return "".join(pieces)


def _text_of(group: bytes | None) -> str:
    return (group or b"").decode("utf-8", "surrogateescape")


def load_patterns(lines: Iterable[bytes]) -> PatternTable:
    """A table from its lines; `RowError` for a line that is no row.

    `ImportError` without RE2, which the extra ``tables`` installs.
    """
    rules: list[_Rule] = []
    ifs: list[int] = []
    rows = 0
    for number, text in logical_lines(lines):
        try:
            rule = _parsed(number, text.rstrip(SPACE), has_if=bool(ifs))
        except PatternError as error:
            raise RowError(number, str(error)) from None
        if rule.pattern is None:
            rules[ifs.pop()].end = len(rules)
        elif rule.result is None:
            ifs.append(len(rules))
        rows += rule.result is not None
        rules.append(rule)
        if len(rules) > MOST_ROWS:
            raise RowError(number, f"expected at most {MOST_ROWS} rows, got more")
    if ifs:
        raise RowError(rules[ifs[-1]].number, "expected an endif for this if, got none")
    return PatternTable(tuple(rules), rows)


def _parsed(number: int, text: str, *, has_if: bool) -> _Rule:
    """dict_regexp.c: dict_regexp_parseline."""
    word = keyword(text)
    if word == "endif":
        if not has_if or text[len(word) :].strip(SPACE):
            raise PatternError("expected an if before endif, and nothing behind it")
        return _Rule(number)
    if word == "if":
        pattern, rest = _take_pattern(text[len(word) :])
        if rest.strip(SPACE):
            raise PatternError(
                "expected nothing behind the pattern of if: a row in it begins without a space"
            )
        return _Rule(number, pattern)
    if text[0].isascii() and text[0].isalnum():
        raise PatternError("expected /pattern/ result, if, or endif")
    result, terms = "", Terms()
    pattern, rest = _take_pattern(text)
    unless = None
    if rest[:1] == "!":
        unless, rest = _take_pattern(rest)
    result, terms = split_terms(number, rest.strip(SPACE))
    pieces = _pieces(result)
    highest = max((one for one in pieces if isinstance(one, int)), default=0)
    if highest and not pattern.is_match:
        raise PatternError("expected no $number in the result of a pattern that must not match")
    if highest > pattern.groups:
        raise PatternError(f"expected ${pattern.groups} at most, got ${highest}")
    return _Rule(number, pattern, unless, pieces, terms)


def _take_pattern(text: str) -> tuple[_Pattern, str]:
    """A pattern with the signs before it and the flags behind it, and the rest."""
    body = text.lstrip(f"!{SPACE}")
    is_match = text[: len(text) - len(body)].count("!") % 2 == 0
    if not body:
        raise PatternError("expected a pattern, got nothing")
    sign, at = body[0], 1
    while at < len(body) and body[at] != sign:
        at += 1 + (body[at] == "\\")
    if at >= len(body):
        raise PatternError(f"expected {sign!r} at the end of the pattern, got none")
    pattern, at = body[1:at], at + 1
    ignore_case, newline = True, False
    while at < len(body) and body[at] not in f"!{SPACE}":
        if body[at] == "i":
            ignore_case = not ignore_case
        elif body[at] == "m":
            newline = not newline
        else:
            raise PatternError(
                f"expected the flags i and m behind a pattern, got {body[at]!r} "
                "(a table with the flag x, or with what RE2 cannot do: name it postmap:regexp:FILE)"
            )
        at += 1
    return _compiled(pattern, is_match, ignore_case=ignore_case, newline=newline), body[at:]


def _compiled(pattern: str, is_match: bool, *, ignore_case: bool, newline: bool) -> _Pattern:
    re2 = library("google-re2", "tables", "re2")
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match, options.log_errors, options.max_mem = True, False, _MEMORY
    text, groups = for_re2(pattern.encode(), ignore_case=ignore_case, newline=newline)
    try:
        return _Pattern(re2.compile(text, options), is_match, groups)
    except re2.error as error:
        raise PatternError(f"expected a pattern that RE2 can do, got: {error}") from None


def _pieces(result: str) -> Result:
    """A result cut at ``$1``, ``${1}`` and ``$(1)``; ``$$`` is ``$``. mac_parse.c."""
    pieces: list[str | int] = []
    literal: list[str] = []
    at = 0
    while at < len(result):
        sign = result[at]
        at += 1
        if sign != "$" or result[at : at + 1] == "$":
            literal.append(sign)
            at += sign == "$"
            continue
        name, at = _name(result, at)
        if not _NUMBER.fullmatch(name):
            raise PatternError("expected a number after $ in a result, such as $1 or ${1}; $$ is a $")
        pieces += ["".join(literal), int(name)]
        literal = []
    return (*pieces, "".join(literal))


def _name(result: str, at: int) -> tuple[str, int]:
    """What a ``$`` names, and where it ends."""
    opening = result[at : at + 1]
    if opening in _CLOSING:
        end = result.find(_CLOSING[opening], at)
        return (result[at + 1 : end], end + 1) if end >= 0 else ("", at)
    end = at
    while end < len(result) and result[end].isascii() and (result[end].isalnum() or result[end] == "_"):
        end += 1
    return result[at:end], end

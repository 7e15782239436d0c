"""Tables of networks: ``cidr:`` as in Postfix's cidr_table(5). The first row that matches counts.

Rows that stand together are kept by the length of their network, so that an address is looked up once
for each length that there is, however many rows there are.
"""

import re
from collections.abc import Iterable
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, TypeAlias

from attrs import define, field, frozen

from demyjpy.lookups.tables_rows import (
    ALWAYS,
    SPACE,
    Found,
    Holds,
    RowError,
    Terms,
    logical_lines,
    split_terms,
)

MOST_ROWS: Final = 5_000_000
"""Rows of such a table."""

MOST_NESTED: Final = 50
"""``if`` in ``if``."""

Network: TypeAlias = tuple[int, int, int]
"""Its family, how many bits of an address stand behind it, and the bits before these."""

_PLAIN: Final = re.compile(f"([0-9a-fA-F:.]+)(?:/([0-9]{{1,3}}))?[{SPACE}]+(.*)", re.DOTALL)
_LENGTH: Final = re.compile("0{0,9}[0-9]{1,3}")
_SPACES: Final = re.compile(f"[{SPACE}]")
_SIGNS: Final = f"!{SPACE}"
_Row: TypeAlias = str | tuple[str, Terms]  # a result; terms only if there are some


@frozen(eq=False)
class _Run:
    """Rows that stand together, by family and length of their networks; numbered in order."""

    numbers: dict[tuple[int, int], dict[int, int | list[int]]] = field(factory=dict)
    rows: list[_Row] = field(factory=list)

    def add(self, network: Network, row: _Row) -> None:
        family, shift, bits = network
        number = len(self.rows)
        known = self.numbers.get((family, shift))
        if known is None:
            known = self.numbers[family, shift] = {}
        before = known.setdefault(bits, number)
        if before != number:
            numbers = [before] if isinstance(before, int) else before
            if isinstance(self.rows[numbers[-1]], str):
                return  # that one always counts, so this one never does
            numbers.append(number)
            known[bits] = numbers
        self.rows.append(row)

    def find(self, family: int, address: int, holds: Holds) -> Found:
        found: list[int] = []
        for (kind, shift), known in self.numbers.items():
            if kind == family and (number := known.get(address >> shift)) is not None:
                found += [number] if isinstance(number, int) else number
        for number in sorted(found):
            result = _result(self.rows[number], holds)
            if result is not None:
                return result
        return None


@frozen(eq=False)
class _Others:
    """A row with ``!``: all addresses of a family but those of a network."""

    network: Network
    row: _Row

    def find(self, family: int, address: int, holds: Holds) -> Found:
        kind, shift, bits = self.network
        is_other = family == kind and address >> shift != bits
        return _result(self.row, holds) if is_other else None


@define(eq=False)
class _Block:
    """What stands between ``if`` and ``endif``."""

    network: Network | None = None
    is_match: bool = True
    parts: "list[_Run | _Others | _Block]" = field(factory=list)
    run: _Run | None = None

    def find(self, family: int, address: int, holds: Holds) -> Found:
        if self.network is not None:
            kind, shift, bits = self.network
            if family != kind or (address >> shift == bits) is not self.is_match:
                return None
        for part in self.parts:
            found = part.find(family, address, holds)
            if found is not None:
                return found
        return None

    def add(self, network: Network, row: _Row, *, is_match: bool) -> None:
        if not is_match:
            self.append(_Others(network, row))
            return
        if self.run is None:
            run = _Run()
            self.append(run)
            self.run = run
        self.run.add(network, row)

    def append(self, part: "_Run | _Others | _Block") -> None:
        """What comes after it is no part of the run before it."""
        self.run = None
        self.parts.append(part)


@frozen(eq=False)
class NetworkTable:
    """Results by network."""

    block: _Block
    rows: int
    has_patterns: bool = True

    def find(self, key: str, holds: Holds) -> Found:
        family, address = address_of(key)
        return None if address is None else self.block.find(family, address, holds)


def _result(row: _Row, holds: Holds) -> Found:
    if isinstance(row, str):
        return row
    result, terms = row
    return result if holds(terms) else None


def address_of(text: str) -> tuple[int, int | None]:
    """Its family and an address as a number; None if it is none."""
    family = AF_INET6 if ":" in text else AF_INET
    try:
        return family, int.from_bytes(inet_pton(family, text), "big")
    except (OSError, ValueError):  # ValueError: text that no address has, as NUL
        return family, None


def load_networks(lines: Iterable[bytes]) -> NetworkTable:
    """A table from its lines. `RowError` for a line that is no row."""
    same: dict[str, str] = {}  # equal results are kept once
    count = 0
    blocks = [(0, _Block())]
    for number, text in logical_lines(lines):
        plain = _PLAIN.match(text)
        if plain:
            is_match, result = True, plain[3].rstrip(SPACE)
            network = _network(number, plain[1], plain[2])
        elif keyword(text):
            _nest(blocks, number, text)
            continue
        else:
            is_match, rest = take_signs(text)
            network = _pattern(number, rest[: _end(rest)])
            result = rest[_end(rest) :].strip(SPACE)
        result, terms = split_terms(number, result)
        if not result:
            raise RowError(number, "expected a network, a space and a result, got no result")
        count += 1
        if count > MOST_ROWS:
            raise RowError(number, f"expected at most {MOST_ROWS} rows, got more")
        result = same.setdefault(result, result)
        row = result if terms is ALWAYS else (result, terms)
        blocks[-1][1].add(network, row, is_match=is_match)
    if len(blocks) > 1:
        raise RowError(blocks[-1][0], "expected an endif for this if, got none")
    return NetworkTable(blocks[0][1], count)


def _nest(blocks: list[tuple[int, _Block]], number: int, text: str) -> None:
    """An ``if`` begins a block, an ``endif`` ends the last one."""
    if keyword(text) == "endif":
        if text[len("endif") :].strip(SPACE):
            raise RowError(number, "expected nothing after endif")
        if len(blocks) == 1:
            raise RowError(number, "expected an if before endif, got none")
        blocks.pop()
        return
    is_match, rest = take_signs(text[len("if") :])
    block = _Block(_pattern(number, rest.rstrip(SPACE)), is_match)
    blocks[-1][1].append(block)
    blocks.append((number, block))
    if len(blocks) > MOST_NESTED + 1:
        raise RowError(number, f"expected at most {MOST_NESTED} if in each other, got more")


def keyword(text: str) -> str:
    """``if`` or ``endif`` if a row begins with that word; else nothing."""
    if text[0] not in "iIeE":
        return ""
    for word in ("if", "endif"):
        after = text[len(word) : len(word) + 1]
        if text[: len(word)].lower() == word and not (after.isascii() and after.isalnum()):
            return word
    return ""


def take_signs(text: str) -> tuple[bool, str]:
    """Whether a pattern should match (each ``!`` before it turns that), and the rest: the pattern."""
    rest = text.lstrip(_SIGNS)
    return text.count("!", 0, len(text) - len(rest)) % 2 == 0, rest


def _end(text: str) -> int:
    """Where the first word ends."""
    found = _SPACES.search(text)
    return found.start() if found else len(text)


def _pattern(number: int, pattern: str) -> Network:
    """cidr_match.c: cidr_match_parse."""
    text, slash, mask = pattern.partition("/")
    if pattern.startswith("["):
        text, bracket, after = pattern[1:].partition("]")
        if not bracket or (after and after[0] != "/"):
            raise RowError(number, f"expected [address] or [address]/length, got {pattern!r:.80}")
        text, slash, mask = (text, "/", after[1:]) if after else text.partition("/")
    return _network(number, text, mask if slash else None)


def _network(number: int, text: str, mask: str | None) -> Network:
    """A network, from its address and the length after the slash, if there is one."""
    family, address = address_of(text)
    if address is None:
        raise RowError(number, f"expected an IP address or a network, got {text!r:.80}")
    if mask is None:
        return family, 0, address
    bits = 128 if family == AF_INET6 else 32
    if not _LENGTH.fullmatch(mask) or int(mask) > bits:
        raise RowError(number, f"expected a length from 0 to {bits} after the /, got {mask!r:.80}")
    shift = bits - int(mask)
    known = address >> shift
    if known << shift != address:
        right = inet_ntop(family, (known << shift).to_bytes(bits // 8, "big"))
        raise RowError(
            number,
            f"expected no bits after the first {mask} of the address, got {text}/{mask}: the network is "
            f"{right}/{mask}",
        )
    return family, shift, known

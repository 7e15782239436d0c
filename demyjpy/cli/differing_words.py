"""In what two things differ, in words for a report: long ones begin near what differs. Text only."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from demyjpy.actions import Modification, ReplaceBody
from demyjpy.trace.display.wording import safe, shorten, whole_words, words_of
from demyjpy.verdicts import join_bodies

T = TypeVar("T", str, bytes)

_HEAD: Final = 40
_BEFORE: Final = 20
_SHOWN: Final = 120
"""Characters of the beginning, of what is the same before the difference, and where that may stand."""
_WIDEST: Final = 2000
"""Bytes of a line of a body that are looked at, before and behind what differs."""


def pair_words(old: str, new: str) -> tuple[str, str]:
    """Two lines, each made safe and short. What both have may be left out, so that one sees the rest."""
    one, other = safe(old), safe(new)
    start = _same(one, other) - _BEFORE
    if start + _BEFORE < _SHOWN:
        return shorten(one), shorten(other)
    left_out = f" [{start - _HEAD} the same] "
    return tuple(shorten(f"{text[:_HEAD]}{left_out}{text[start:]}") for text in (one, other))  # type: ignore[return-value]  # two


def answers_words(old: Sequence[Any], new: Sequence[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What two filters answered, in words: an edit that differs from its counterpart shows where."""
    ours, theirs = list(map(words_of, old)), list(map(words_of, new))
    for at, (one, other) in enumerate(zip(old, new, strict=False)):
        if one != other and isinstance(one, Modification) and isinstance(other, Modification):
            ours[at], theirs[at] = pair_words(whole_words(one), whole_words(other))
    return tuple(ours), tuple(theirs)


def edits_differ(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Edits of a message that are no more (``-``), or new (``+``); else in what they differ."""
    before, after = (list(map(whole_words, join_bodies(edits))) for edits in (old, new))
    gone = [edit for edit in before if edit not in after]
    come = [edit for edit in after if edit not in before]
    pairs = [pair_words(one, other) for one, other in zip(gone, come, strict=False)]
    yield from (("-", one) for one, _ in pairs)
    yield from (("-", shorten(one)) for one in gone[len(pairs) :])
    yield from (("+", other) for _, other in pairs)
    yield from (("+", shorten(other)) for other in come[len(pairs) :])
    bodies = tuple(_body_of(edits) for edits in (old, new))
    if None not in bodies and bodies[0] != bodies[1]:
        yield "", _lines_differ(*bodies)
    elif sorted(before) == sorted(after) and join_bodies(old) != join_bodies(new):
        yield "", "the order of the changes, or white space"


def _body_of(edits: Sequence[Any]) -> Any:
    return next((one.data for one in join_bodies(edits) if isinstance(one, ReplaceBody)), None)


def _same(one: T, other: T) -> int:
    """How long both are the same from their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _lines_differ(old: bytes, new: bytes) -> str:
    """The first line of two bodies that differs."""
    at = _same(old, new)
    start = old.rfind(b"\n", 0, at) + 1
    number = old.count(b"\n", 0, start) + 1
    one, other = pair_words(*(_line(data, max(start, at - _WIDEST), at) for data in (old, new)))
    return f"body, line {number}: {one} -> {other}"


def _line(data: bytes, start: int, at: int) -> str:
    line = data[start : at + _WIDEST].split(b"\n", 1)[0]
    is_whole = start + len(line) < len(data)
    return repr(line + b"\n" * is_whole)[1:] if start < len(data) else "no such line"

"""Where long lines are broken: those for a terminal, and the texts of ``--help``. Text only.

Lines break between words, never in one: a path, an address or a digest can be copied whole.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

LEAST: Final = 20
"""Columns of the narrowest terminal for which lines are broken."""

_HANGING: Final = 4  # columns of indent of the lines after the first
_CODE: Final = re.compile("\x1b\\[[0-9;]*m")
_SPACES: Final = re.compile("( +)")


def columns(text: str) -> int:
    """How many columns a text takes on a terminal; colours take none."""
    shown = _CODE.sub("", text)
    if shown.isascii():
        return len(shown)
    return sum(_width_of(one) for one in shown)


def _width_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def broken(line: str, width: int, hanging: int = _HANGING) -> Iterator[str]:
    """A line in pieces of so many columns; those after the first are indented by ``hanging`` more."""
    if width < LEAST or columns(line) <= width:
        yield line
        return
    indent = " " * min(len(line) - len(line.lstrip(" ")) + hanging, width // 2)
    piece, used, gap = "", 0, ""
    for part in _SPACES.split(line):
        if part.startswith(" "):
            gap = part
            continue
        size = columns(part)
        if piece.strip() and used + len(gap) + size > width:
            yield piece
            piece, used, gap = indent, len(indent), ""
        piece += gap + part
        used += len(gap) + size
        gap = ""
    yield piece


def filled(text: str, width: int) -> Iterator[str]:
    """The lines of a help text: sentences are filled, indented lines are commands and stay such.

    A line begins anew if the one before it ends with a full stop or a colon.
    """
    sentence = ""
    for line in text.splitlines():
        is_plain = bool(line) and not line.startswith(" ")
        if sentence and (not is_plain or sentence.endswith((".", ":"))):
            yield from broken(sentence, width, 0)
            sentence = ""
        if is_plain:
            sentence = f"{sentence} {line}".strip()
        else:
            yield from _command(line, width)
    if sentence:
        yield from broken(sentence, width, 0)


def _command(line: str, width: int) -> Iterator[str]:
    """A command on several lines, as a shell takes it."""
    *first, last = broken(line, width - 2)
    yield from (f"{piece} \\" for piece in first)
    yield last

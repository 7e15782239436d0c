"""Where the commands print: the one way to the terminal, on which no control character gets through.

Whatever was read from a file or a peer may be in a line. `say` escapes all that is not printable, also
where nobody has made it `safe` before; only the colours that `Paint` makes pass, and
only if colours are on.

A terminal gets no line that is longer than it is wide. A file or a pipe gets each line whole, because
programs read it, and so does a terminal if the line is for a program: JSON, a unit, a command.
"""

import re
import shutil
import sys
from collections.abc import Iterable
from typing import Final, TextIO

from attrs import frozen

from demyjpy.cli.line_breaks import broken
from demyjpy.shown import safe

_COLOUR: Final = re.compile("(\x1b\\[(?:0|1|2|3[1-6])m)")
_MOST: Final = 100
_CODES: Final = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
}


@frozen
class Paint:
    """Colours, or none."""

    is_on: bool

    def __call__(self, colour: str, text: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.is_on and text else text


def paint_for(choice: str) -> Paint:
    """What ``--color`` means: colours on a terminal, always, or never."""
    return Paint(choice == "always" or (choice == "auto" and sys.stdout.isatty()))


def say(
    *lines: str,
    to: TextIO | None = None,
    flush: bool = False,
    coloured: bool = False,
    whole: bool = False,
) -> None:
    """Print lines, to standard output if nothing else is said. A line end in one is escaped, too.

    On a terminal, lines that are too long are broken between words; ``whole``: they are not.
    """
    file = sys.stdout if to is None else to
    shown = [_coloured(line) if coloured else safe(line) for line in lines]
    if not whole and file.isatty():
        width = shutil.get_terminal_size().columns
        shown = [piece for line in shown for piece in broken(line, width)]
    print(*shown, sep="\n", file=file, flush=flush)


def _coloured(line: str) -> str:
    # split at a group gives what lies between the colours, and at odd places the colours
    parts = _COLOUR.split(line)
    return "".join(part if number % 2 else safe(part) for number, part in enumerate(parts))


def complain(command: str, what: str) -> None:
    """One line on standard error, after the command's name; more of it on lines of their own."""
    say(*f"demyjpy {command}: {what}".split("\n"), to=sys.stderr)


def complain_of_all(command: str, all_of_them: Iterable[str]) -> int:
    """A line each, the first hundred; how many there were."""
    count = 0
    for count, what in enumerate(all_of_them, 1):
        if count <= _MOST:
            say(f"demyjpy {command}: {what}", to=sys.stderr)
    if count > _MOST:
        complain(command, f"and {count - _MOST} more like these")
    return count

"""What may stand in a log: text of strangers made harmless, and exceptions made short.

A message is one line of printable characters and bounded. A traceback has the frames of the user's code,
but no local variables, and no exception of the engine's. Nothing here writes.
"""

import linecache
import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Any, Final

from demyjpy.errors import MilterError

LONGEST: Final = 8192
"""Bytes of a record, all in all."""

MARK: Final = " ... (cut)"
"""What stands at the end of a text that was cut."""

_OF_AUTHOR: Final = 200
"""Characters of the text of an exception: it is its author's, who may have put a mail into it."""

_OWN: Final = 1000
"""Characters of a text of ours, which holds no values."""

_CHAIN, _FIRST, _LAST, _BESIDES = 4, 3, 12, 3
"""At most: exceptions of a chain, outermost and innermost frames, notes or parts of a group."""

_CAUSE: Final = "The above exception was the direct cause of the following exception:"
_CONTEXT: Final = "During handling of the above exception, another exception occurred:"


def size_of(text: str) -> int:
    """Bytes of a text in any encoding, for what an encoding lacks is escaped."""
    return len(text) if text.isascii() else len(text.encode("ascii", "backslashreplace"))


def cut(text: str, most: int, size: Callable[[str], int] = size_of) -> str:
    """At most so many bytes of a text, with `MARK` at the end if there were more."""
    if len(text) <= most and size(text) <= most:
        return text
    room = most - len(MARK)
    head = text[:room]
    while (found := size(head)) > room:
        head = head[: len(head) * room // found]
    return head + MARK


def printable(text: str) -> str:
    """A text in which all that is no printable character is escaped: no line end, no ESC."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def shown(value: object, most: int = _OF_AUTHOR) -> str:
    """Any value as text for a log."""
    try:
        text = str(value)
        head = str.__getitem__(text, slice(most + 1))  # which no class of the user's has replaced
    except BaseException as error:  # noqa: BLE001  # __str__ is the user's
        return f"(no text: its __str__ raises {type(error).__name__})"
    return cut(printable(head), most)


def told(error: BaseException) -> str:
    """An exception on one line: its class and its text."""
    text = shown(error, _OWN if _is_ours(error) else _OF_AUTHOR)
    return ": ".join(filter(None, (shown(type(error).__name__), text)))


def _is_ours(error: BaseException) -> bool:
    """Whether demyjpy itself has made it, and not a handler."""
    frames = [frame for frame, _ in deque(walk_tb(error.__traceback__), 1)]
    return isinstance(error, MilterError) and all(map(_is_of_engine, frames))


def _is_of_engine(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("demyjpy.")


def traceback_of(error: BaseException, most: int) -> str:
    """The traceback of an exception and of those that led to it, as lines, in at most so many bytes."""
    chain: list[list[str]] = []
    known: set[int] = set()
    following: BaseException | None = error
    link = ""
    while following is not None and id(following) not in known and len(chain) < _CHAIN:
        known.add(id(following))
        chain.append([*_lines_of(following), *filter(None, [link])])
        following, link = _what_led_to(following)
    lines = [line for part in reversed(chain) for line in part]
    return "\n".join(_fitting(lines, most))


def _what_led_to(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, _CAUSE
    context = error.__context__
    if context is None or error.__suppress_context__ or not _frames_of(context.__traceback__):
        return None, ""
    return context, _CONTEXT


def _frames_of(trace: TracebackType | None) -> list[tuple[FrameType, int]]:
    """The frames from the user's code on: those of the engine, which has called it, are left out."""
    frames = list(walk_tb(trace))
    for at, (frame, _) in enumerate(frames):
        if not _is_of_engine(frame):
            return frames[at:]
    return []


def _lines_of(error: BaseException) -> Iterator[str]:
    frames = _frames_of(error.__traceback__)
    if not frames and not isinstance(error, MilterError):
        frames = list(walk_tb(error.__traceback__))  # a fault of ours
    if frames:
        yield "Traceback (most recent call last):"
    left_out = len(frames) - _FIRST - _LAST
    for at, (frame, number) in enumerate(frames):
        if left_out <= 0 or not _FIRST <= at < _FIRST + left_out:
            yield from _lines_of_frame(frame, number)
        elif at == _FIRST:
            yield f"  ... {left_out} more ..."
    yield told(error)
    notes = getattr(error, "__notes__", None)
    for note in islice(notes, _BESIDES) if isinstance(notes, list) else ():
        yield f"  note: {shown(note)}"
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions[:_BESIDES]:
            yield f"  + {told(one)}"


def _lines_of_frame(frame: FrameType, number: int) -> Iterator[str]:
    code = frame.f_code
    yield f'  File "{shown(code.co_filename)}", line {number}, in {shown(code.co_name)}'
    line = _source(code.co_filename, number, frame)
    if line:
        yield f"    {shown(line)}"


def _source(path: str, number: int, frame: FrameType) -> str:
    """A line of source code. Code may be named anything: what is no Python file is not opened."""
    if not path.endswith(".py"):
        return ""
    try:
        linecache.checkcache(path)
        return linecache.getline(path, number, frame.f_globals).strip()
    except Exception:  # noqa: BLE001  # a loader of the user's
        return ""


def _fitting(lines: list[str], most: int) -> list[str]:
    """The last lines, which say most, as many as fit."""
    room = most - 40
    for at in range(len(lines) - 1, -1, -1):
        room -= size_of(lines[at]) + 1
        if room < 0:
            return [f"... {at + 1} lines cut ...", *lines[at + 1 :]]
    return lines


def message_of(record: logging.LogRecord, most: int = LONGEST, *, as_it_is: bool = False) -> str:
    """The message of any record, even if its arguments do not fit it; escaped, or as it is."""
    try:
        text = record.getMessage()
    except BaseException as error:  # noqa: BLE001  # an argument's __str__ is the user's
        text = f"{shown(record.msg)} (its arguments do not fit: {type(error).__name__})"
    if type(text) is str and len(text) <= most and text.isascii() and text.isprintable():
        return text  # as nearly always
    head = str.__getitem__(text, slice(most + 1))
    return cut(head if as_it_is else printable(head), most)


def error_of(record: logging.LogRecord) -> BaseException | None:
    """The exception that a record is about."""
    found: Any = record.exc_info
    return found[1] if isinstance(found, tuple) else None


class Harmless(logging.Filter):
    """Makes the records of a logger such that any handler of any program may write them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes; message and traceback are fixed from here on."""
        error = error_of(record)
        record.msg = message_of(record, LONGEST // 4 if error else LONGEST - 400)
        record.args = ()
        if error:
            record.exc_text = traceback_of(error, LONGEST // 2)
        return True

"""Figures that processes share: memory that all of them map, and no file that a full disk could spoil.

A mapped file on a full disk ends a process with SIGBUS (mmap(2)); anonymous memory has no disk. Each
process writes in a part of its own, which it holds by a lock that the kernel takes away when it ends.
The next process goes on in that part, so what was counted there stays counted.
"""

import fcntl
import json
import mmap
import os
import threading
from bisect import bisect_left
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any, Final

from attrs import frozen

from demyjpy.drivers.report import log
from demyjpy.errors import AddressError

FIGURES_SIZE: Final = 256 << 10
"""Bytes of one process' figures: about a thousand handlers, verdicts and the like."""

NOTES: Final = 11
"""Texts of one process: the last one is what was negotiated, the others are errors."""

NOTE_SIZE: Final = 20 << 10
"""Bytes of one text."""

_PART: Final = FIGURES_SIZE + NOTES * NOTE_SIZE
_WORD: Final = 8  # bytes of a number, to which all is aligned

Key = tuple[str, ...]
"""The name of a figure and the values of its labels."""


@frozen(eq=False)  # so that it is looked up by what it is, and not by its texts
class Cell:
    """Where a figure is counted: in one number, or if it is a histogram, in a sum and its buckets.

    ``bounds`` are the upper bounds of the buckets except for the last, which has none.
    """

    key: Key
    bounds: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return len(self.bounds) + 2 if self.bounds else 1


class Board:
    """``processes``: how many may write at once. Made before they are forked.

    ``gauges``: names of figures that a process which has ended says nothing of any more.

    `AddressError` if there is no memory for it.
    """

    def __init__(self, processes: int, gauges: Collection[str] = ()) -> None:
        self._count, self._gauges = processes, gauges
        try:
            self._memory = mmap.mmap(-1, processes * _PART)
            self._locks = os.memfd_create("demyjpy-metrics")  # it stays empty: only its locks are used
        except OSError as error:
            raise AddressError(f"cannot keep figures: {error.strerror}") from error
        self._bytes = memoryview(self._memory)
        self._numbers = self._bytes.cast("d")
        self._sizes = self._bytes.cast("Q")
        self._lock = threading.Lock()
        self._process = 0
        self._part: int | None = None
        self._places: dict[Cell, int] = {}
        self._known: dict[Key, int] = {}
        """Places of this process' figures; of those before it with the same part, too."""
        self._is_full = self._is_closed = False

    def close(self) -> None:
        """Give the memory back, in this process; what is counted from now on is not."""
        with self._lock:
            self._is_closed = True
            for view in (self._numbers, self._sizes, self._bytes):
                view.release()
            self._memory.close()
            os.close(self._locks)

    # ------------------------------------------------------------------------------- one process
    def add(
        self,
        changes: Iterable[tuple[Cell, float]],
        quick: Iterable[tuple[Cell, int, float]] = (),
    ) -> None:
        """Add amounts to figures; to a histogram, one more of that amount.

        ``quick``: to a histogram so many more, with the sum of their amounts. None of these is larger
        than its first bound.
        """
        with self._lock:
            if self._is_closed:
                return
            part = self._own()
            places, numbers = self._places, self._numbers
            for cell, amount in changes:
                place = places.get(cell)
                if place is None:
                    place = self._place(part, cell)
                    if place is None:
                        continue
                numbers[place] += amount
                bounds = cell.bounds
                if bounds:
                    place += 1 if amount <= bounds[0] else 1 + bisect_left(bounds, amount)
                    numbers[place] += 1.0
            for cell, count, total in quick:
                place = places.get(cell)
                if place is None:
                    place = self._place(part, cell)
                    if place is None:
                        continue
                numbers[place] += total
                numbers[place + 1] += count

    def note(self, number: int, what: Any) -> None:
        """Put something in place of the text with this number, in `NOTE_SIZE` bytes of JSON."""
        data = json.dumps(what, ensure_ascii=False).encode("utf-8")[: NOTE_SIZE - _WORD]
        with self._lock:
            part = None if self._is_closed else self._own()
            if part is not None:
                start = part * _PART + FIGURES_SIZE + number * NOTE_SIZE
                self._sizes[start // _WORD] = 0
                self._bytes[start + _WORD : start + _WORD + len(data)] = data
                self._sizes[start // _WORD] = len(data)

    def _own(self) -> int | None:
        """This process' part; None if others have them all."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._part = next(filter(self._take, range(self._count)), None)
            self._is_full = False
            records = {} if self._part is None else self._records(self._part)
            self._known = {key: place for key, (place, _) in records.items()}
            for key, place in self._known.items():
                if key[0] in self._gauges:  # it was that of a process that has ended
                    self._numbers[place] = 0.0
            self._places = {}
        return self._part

    def _take(self, part: int) -> bool:
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, part)
        except OSError:
            return False
        return True

    def _place(self, part: int | None, cell: Cell) -> int | None:
        """Where the numbers of a figure are, made if need be; None if there is no room."""
        key, count = cell.key, cell.size
        place = self._known.get(key)
        if place is None:
            place = self._make_place(part, key, count)
        if place is not None:
            self._places[cell] = place
        return place

    def _make_place(self, part: int | None, key: Key, count: int) -> int | None:
        if part is not None:
            data = json.dumps([count, *key]).encode("ascii")
            data += b" " * (-len(data) % _WORD)
            start = part * _PART // _WORD
            used = max(1, self._sizes[start])
            place = start + used + 1 + len(data) // _WORD
            if place + count <= start + FIGURES_SIZE // _WORD:
                self._sizes[start + used] = len(data)
                self._bytes[(start + used + 1) * _WORD : place * _WORD] = data
                self._known[key] = place
                self._sizes[start] = place + count - start  # now it is seen by others
                return place
        if not self._is_full:
            self._is_full = True
            log.warning("some figures are not kept: there is no room for %s", " ".join(key)[:200])
        return None

    # ------------------------------------------------------------------------------ all processes
    def figures(self) -> dict[Key, list[float]]:
        """The sums over all processes that have been."""
        found: dict[Key, list[float]] = {}
        for part in range(self._count):
            for key, (place, count) in self._records(part).items():
                numbers = self._numbers[place : place + count].tolist()
                before = found.get(key, [0.0] * count)
                found[key] = [one + other for one, other in zip(before, numbers, strict=True)]
        return found

    def _records(self, part: int) -> dict[Key, tuple[int, int]]:
        """Where the figures of a part are, and how many numbers each has."""
        start = part * _PART // _WORD
        at, end = start + 1, start + self._sizes[start]
        found: dict[Key, tuple[int, int]] = {}
        while at < end:
            size = self._sizes[at]
            place = at + 1 + size // _WORD
            count, *key = json.loads(bytes(self._bytes[(at + 1) * _WORD : place * _WORD]))
            found[tuple(key)] = place, count
            at = place + count
        return found

    def notes(self, numbers: Iterable[int]) -> list[Any]:
        """The texts with these numbers, of all processes."""
        found = []
        for part in range(self._count):
            for number in numbers:
                start = part * _PART + FIGURES_SIZE + number * NOTE_SIZE
                size = min(self._sizes[start // _WORD], NOTE_SIZE - _WORD)
                with suppress(ValueError):  # none, or one that is just being written
                    found.append(json.loads(bytes(self._bytes[start + _WORD :][:size])))
        return found

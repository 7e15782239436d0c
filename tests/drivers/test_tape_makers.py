"""The tapes of a server: together they hold no more than there is for all of them."""

from typing import Any

import pytest

from demyjpy.drivers import tape_makers
from demyjpy.drivers.tape_makers import Tapes
from demyjpy.engine.tape import ENTRY, LONGEST


class Watcher:
    """One that does nothing."""

    keeps_bodies = False

    def read(self, stretch: Any) -> None:
        """Take a stretch."""


def test_nobody_who_watches_needs_no_tape():
    """Which would cost something."""
    assert Tapes(()).new() is None


def test_with_many_connections_each_tape_is_shorter(monkeypatch: pytest.MonkeyPatch):
    """Down to two entries; those that have gone do not count."""
    monkeypatch.setattr(tape_makers, "MOST", 10 * LONGEST)
    tapes = Tapes([Watcher()])
    made = [tapes.new() for _ in range(1000)]
    rooms = [one.room for one in made if one is not None]
    assert rooms[0] == rooms[9] == LONGEST
    assert rooms[19] == LONGEST // 2
    assert rooms[-1] == 2 * ENTRY
    made.clear()
    one = tapes.new()
    assert one is not None
    assert one.room == LONGEST


class Counter(Watcher):
    """One that reads nothing of what was heard."""

    wants_packets = False


def test_what_no_watcher_wants_is_not_on_a_tape():
    """As for the metrics alone."""
    silent, told = Tapes([Counter()]).new(), Tapes([Counter(), Watcher()]).new()
    assert silent is not None
    assert told is not None
    assert (silent.is_silent, told.is_silent) == (True, False)

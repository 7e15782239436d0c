"""Effects that take long: one line a minute names one."""

import logging
import queue
from typing import Any

import pytest

from demyjpy import define_event_handlers, do, running
from demyjpy.drivers import effect_lateness
from demyjpy.drivers.effect_lateness import LATE, Lateness
from tests.drivers.filters import wait_until
from tests.drivers.peer import MESSAGE, WAIT, Peer
from tests.drivers.test_effects import Wait

REST = "at most 3 run at once: give perform a time limit"


def test_one_that_takes_long_is_named_once_a_minute(log: Any) -> None:
    """The first of them, with how many there are."""
    lateness = Lateness(3)
    assert lateness.pause(0.0, None) is None
    assert lateness.pause(0.0, 7.0) == 7.0
    lateness.tell(1000.0)
    for number, at in enumerate((1000.0, 1001.0, 1050.0)):
        lateness.begin(number, f"the effect {number}", at)
    assert lateness.pause(1010.0, None) == 50.0
    assert lateness.pause(1010.0, 7.0) == 7.0
    lateness.tell(1059.0)
    assert log.take() == []
    lateness.tell(1061.0)
    said = "the effect 0 has run for 61 s; effects that have run for more than 60 s: 2; "
    assert log.take() == [said + REST]
    assert lateness.pause(1061.0, None) == LATE
    lateness.end(0)
    lateness.tell(1120.0)
    assert log.take() == []
    lateness.tell(1121.0)
    said = "the effect 1 has run for 120 s; effects that have run for more than 60 s: 2; "
    assert log.take() == [said + REST]
    lateness.end(1)
    lateness.end(2)
    assert lateness.pause(2000.0, None) is None
    lateness.tell(2000.0)
    assert log.take() == []


def test_a_logging_that_raises_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread goes on."""
    monkeypatch.setattr(logging.getLogger("demyjpy"), "warning", lambda *_: 1 / 0)
    lateness = Lateness(3)
    lateness.begin(1, "x", 0.0)
    lateness.tell(100.0)
    assert lateness.pause(100.0, None) == LATE


def test_the_thread_of_effects_says_so(
    driver: str, gate: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else happens meanwhile."""
    monkeypatch.setattr(effect_lateness, "LATE", 0.02)
    told: Any = queue.SimpleQueue()

    def mail(event: Any, ctx: Any) -> Any:
        return do(ctx, Wait(gate, told), "ended")

    handlers = define_event_handlers({"mail": mail}, name="acl")
    with running(handlers, driver=driver, blocking_threads=2, grace=WAIT) as address:
        with Peer(address) as peer:
            peer.begin().ask(MESSAGE[0])
        assert told.get(timeout=WAIT) == "begins"
        wait_until(lambda: len(log.records()) > 1)
        gate.set()
    assert told.get(timeout=WAIT) == "ends"
    assert {line.partition(" for ")[0] for line in log.take()} == {"the effect Wait of acl has run"}

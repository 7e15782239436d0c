"""A filter of pymilter's behind the drivers: what blocks is named, what is late has failed."""

import threading
import time

from demyjpy import AddHeader, Continue, ReplyCode, running
from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from tests.drivers.conftest import Log
from tests.drivers.peer import WAIT, Peer


def test_a_callback_that_blocks_the_event_loop_is_named(log: Log) -> None:
    """With its own name and place."""

    class Blocking(Milter.Base):
        def envfrom(self, sender, *parameters):
            time.sleep(0.4)
            return Milter.CONTINUE

    with running(Milter.filter_of(Blocking), warn_blocked=0.1) as address, Peer(address) as peer:
        assert peer.begin().message() == (Continue(),)
    message = log.take_one()
    assert "Blocking.envfrom (" in message
    assert "test_pymilter_served.py:" in message


def test_a_callback_that_takes_too_long_has_failed(log: Log) -> None:
    """Its instance is left to it: the next message of the connection gets another."""
    gate, done = threading.Event(), threading.Event()

    class Slow(Milter.Base):
        def __init__(self):
            self.count = 0

        def eom(self):
            self.count += 1
            if not gate.is_set():
                gate.wait(WAIT)
                self.addheader("X-Late", "yes")
                done.set()
            self.addheader("X-Count", str(self.count))
            return Milter.CONTINUE

    registry = Milter.filter_of(Slow, name="slow")
    with running(registry, driver="threads", handler_timeout=0.1) as address, Peer(address) as peer:
        late = ReplyCode(451, "4.3.0", "pymilter: untrapped exception in slow")
        assert peer.begin().message() == (late,)
        gate.set()
        assert done.wait(WAIT)
        assert peer.message() == (AddHeader("X-Count", "1"), Continue())
    assert "DeadlineError" in log.take_one()

"""What is asked of a driver before it has started."""

import signal
from collections.abc import Callable
from itertools import count
from queue import Queue
from typing import Any

import pytest

from demyjpy.drivers.address import Address
from demyjpy.drivers.loading import Outcome
from demyjpy.drivers.service import Service
from demyjpy.drivers.signals import RELOAD, Controls, Requests, obeyed
from tests.drivers.interruptions import interrupt


def controls(asked):
    """A driver that notes what it is asked."""
    return Controls(
        lambda at_once: asked.append(("stop", at_once)),
        lambda: asked.append("retire"),
        lambda found, ended: asked.append(("adopt", found)),
        lambda act: act(),
    )


def test_what_was_asked_early_is_not_forgotten():
    """It is done as soon as the driver has started, in this order."""
    requests, asked = Requests(), []
    requests.ask(False)
    requests.retire()
    requests.started(controls(asked))
    requests.retire()
    requests.ask(True)
    assert asked == ["retire", ("stop", False), "retire", ("stop", True)]


def test_a_second_signal_may_come_at_any_moment_of_the_first():
    """It asks to stop at once, wherever it interrupts what the first one does."""

    def tell(number: signal.Signals) -> Callable[[], None]:
        return lambda: signal.raise_signal(number)

    for place in count():
        asked: list[Any] = []
        with obeyed() as requests:
            requests.started(controls(asked))
            if not interrupt(place, tell(signal.SIGTERM), tell(signal.SIGINT)):
                break
        assert sorted(requests.asked) == [False, True]
        assert sorted(asked) == [("stop", False), ("stop", True)]
    assert place > 20  # it has instructions


@pytest.fixture
def noted():
    """What SIGHUP has done; the handler that was there before notes "own"."""
    found = []
    before = signal.signal(RELOAD, lambda *_: found.append("own"))
    yield found
    signal.signal(RELOAD, before)


def test_no_reload_is_asked_for_after_a_signal_to_stop(noted):
    """Nor after a second one; when it has stopped, a handler of the program's own is back."""
    with obeyed(lambda: noted.append("reload")) as requests:
        for number in (RELOAD, signal.SIGTERM, RELOAD, signal.SIGTERM, RELOAD):
            signal.raise_signal(number)
        assert (requests.asked, noted) == ([False, True], ["reload"])
    signal.raise_signal(RELOAD)
    assert noted == ["reload", "own"]


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_what_a_hangup_does_when_it_has_stopped(noted, number):
    """It ends the program, as it did before, but nothing if a signal has asked for the end."""
    signal.signal(RELOAD, signal.SIG_DFL)
    with obeyed(lambda: noted.append("reload")):
        if number:
            signal.raise_signal(number)
    assert signal.getsignal(RELOAD) is (signal.SIG_IGN if number else signal.SIG_DFL)


def test_a_reload_that_was_asked_early():
    """It begins as soon as the driver has started; a thread loads."""
    asked = Queue()
    service = Service(lambda: "filter", lambda found: None, 30.0)
    service.load_again()
    service.started(Controls(lambda at_once: None, lambda: None, asked.put, lambda act: act()), "here")
    assert asked.get(timeout=30) == "filter"
    service.close()


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("no thread")])
def test_a_reload_that_cannot_be_begun(error, log):
    """Changes nothing, and the next one is tried."""

    def begin(load, seconds):
        raise error

    asked = Queue()
    service = Service(lambda: "filter", lambda found: None, 20.0)
    service.begin = begin
    service.started(Controls(lambda at_once: None, lambda: None, asked.put, lambda act: act()), "here")
    service.load_again()
    said = f"the filter was not loaded again and stays as it was: cannot begin to load it: {error}"
    assert log.take() == [said]
    service.begin = None
    service.load_again()
    assert asked.get(timeout=30) == "filter"
    service.close()


def test_a_filter_that_the_driver_does_not_take(log):
    """Changes nothing, whatever the driver found when it looked at it."""

    def adopt(found, ended):
        raise ValueError(f"not {found}")

    begun = []

    class Loaded:
        left = 0.0

        def outcome(self):
            return Outcome("this one")

        def cancel(self):
            return True

    def begin(load, seconds):
        begun.append(seconds)
        return Loaded()

    service = Service(lambda: "filter", lambda found: None, 20.0)
    service.begin = begin
    service.started(Controls(lambda at_once: None, lambda: None, adopt, lambda act: act()), "here")
    service.load_if_idle()
    service.load_if_idle()  # it is being loaded by now
    assert begun == [20.0]
    service.tend()
    said = "the filter was not loaded again and stays as it was: ValueError: not this one"
    assert log.take() == [said]
    service.close()


def test_systemds_sockets_are_shown_as_they_are_written():
    """With a name or without."""
    assert str(Address("systemd")) == "systemd"
    assert str(Address("systemd", host="mail")) == "systemd:mail"

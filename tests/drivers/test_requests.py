"""What is asked of a driver before it has started."""

import pytest

from demyjpy.drivers.address import Address
from demyjpy.drivers.service import Service
from demyjpy.drivers.signals import Controls, Requests
from tests.drivers.filters import wait_until


def controls(asked):
    """A driver that notes what it is asked."""
    return Controls(
        lambda at_once: asked.append(("stop", at_once)),
        lambda: asked.append("retire"),
        lambda found: asked.append(("adopt", found)),
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


def test_a_reload_that_was_asked_early(caplog):
    """Alike."""
    asked = []
    service = Service(lambda: "filter", lambda found: None, 20.0)
    service.load_again()
    service.started(controls(asked), "here")
    wait_until(lambda: bool(asked))
    service.close()
    assert asked == [("adopt", "filter")]


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("no thread")])
def test_a_reload_that_cannot_be_begun(error, log):
    """Changes nothing, and the next one is tried."""

    def begin(load, seconds):
        raise error

    asked = []
    service = Service(lambda: "filter", lambda found: None, 20.0)
    service.begin = begin
    service.started(controls(asked), "here")
    service.load_again()
    said = f"the filter was not loaded again and stays as it was: cannot begin to load it: {error}"
    assert log.take() == [said]
    service.begin = None
    service.load_again()
    wait_until(lambda: bool(asked))
    service.close()
    assert asked == [("adopt", "filter")]


def test_systemds_sockets_are_shown_as_they_are_written():
    """With a name or without."""
    assert str(Address("systemd")) == "systemd"
    assert str(Address("systemd", host="mail")) == "systemd:mail"

"""What the tests of the drivers share. A test that expects trouble takes it from the log itself."""

import logging
import threading
from collections.abc import Iterator

import pytest

from tests.drivers.filters import WAYS, Notes, Way


class Log:
    """The troubles that were logged: records of ``demyjpy`` and of asyncio from WARNING on."""

    def __init__(self, handler: pytest.LogCaptureFixture) -> None:
        self._caplog = handler

    def records(self) -> list[logging.LogRecord]:
        """Those not yet taken."""
        # by name: at the end of a test pytest has put those of the test aside
        return [
            record
            for record in self._caplog.get_records("call")
            if record.levelno >= logging.WARNING and record.name in ("demyjpy", "asyncio")
        ]

    def take(self) -> list[str]:
        """The messages of those not yet taken."""
        messages = [record.getMessage() for record in self.records()]
        self._caplog.get_records("call").clear()
        return messages

    def take_one(self) -> str:
        """The only one."""
        (message,) = self.take()
        return message


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    """The log of this test; whatever trouble the test does not expect fails it."""
    found = Log(caplog)
    yield found
    assert found.take() == []


@pytest.fixture(autouse=True)
def _no_watch_is_left() -> Iterator[None]:
    """Every server of this test was closed: what watches its loop is gone with it."""
    before = set(threading.enumerate())
    yield
    assert [one for one in set(threading.enumerate()) - before if one.name == "demyjpy-watch"] == []


@pytest.fixture(params=["asyncio", "threads"])
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn."""
    return str(request.param)


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Each driver with each kind of handler that may be slow under it."""
    found: Way = request.param
    return found


@pytest.fixture
def notes() -> Notes:
    """What the handlers of this test note."""
    return Notes()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What slow handlers wait for; opened at the end of the test in any case."""
    found = threading.Event()
    yield found
    found.set()

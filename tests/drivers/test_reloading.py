"""SIGHUP: another filter for the sessions to come, while those that have begun keep theirs."""

import os
import signal
import time
from pathlib import Path

import pytest

from demyjpy import AddHeader, Continue, HandlerError
from demyjpy.drivers.loading import why
from tests.drivers.filters import wait_until
from tests.drivers.peer import Peer
from tests.drivers.program import Program, is_gone, program

SERVE = """
versions = []

def make():
    version = str(len(versions))
    versions.append(version)
    found = define_event_handlers(actions={"add_header"})
    found.add("mail", lambda event, ctx: ctx)  # else nobody tells it that a message has begun
    found.add("end_of_message", lambda event, ctx: add_header(ctx, "X-Version", version))
    return found

def reload():
    match sys.argv[3]:
        case "raises":
            raise ValueError("on purpose")
        case "exits":
            sys.exit(3)
        case "async":
            async def late(event, ctx):
                return ctx
            return {"mail": late}
        case "is none":
            return 42
        case "slow":
            say("loading")
            time.sleep(0.3)
        case "hangs":
            say("loading")
            time.sleep(1000)
    return make()

driver, workers = sys.argv[1], int(sys.argv[2])
options = {"driver": driver, "workers": workers, "on_ready": on_ready, "reload": reload}
start_milter("inet:0@127.0.0.1", make(), **options)
say("stopped")
"""
LOADED = "INFO the filter was loaded again"
NOT_LOADED = "ERROR the filter was not loaded again and stays as it was: (.*)"


def version(peer: Peer) -> str:
    """The version of the filter that adds its header to a message."""
    first, last = peer.message()
    assert last == Continue()
    assert isinstance(first, AddHeader)
    return first.value


def version_at(address: str) -> str:
    """The same for a new session."""
    with Peer(address) as peer:
        return version(peer.begin())


def test_sessions_to_come_have_the_new_filter(driver):
    """And those that have begun keep the old one, message after message."""
    with program(SERVE, driver, "1", "loads") as milter:
        address = milter.address()
        with Peer(address) as peer:
            assert version(peer.begin()) == "0"
            milter.tell(signal.SIGHUP)
            milter.wait_for(LOADED)
            assert version(peer) == "0"
            assert version_at(address) == "1"
            assert version(peer) == "0"
        milter.tell()
        assert milter.end()[-1] == "stopped"


BAD = {
    "raises": "ValueError: on purpose",
    "exits": "SystemExit: 3",
    "is none": "expected a registry or a function ctx -> ctx, got 42",
}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("how", BAD)
def test_a_filter_that_does_not_load_changes_nothing(driver, how, workers):
    """The old one stays, and the log says why."""
    with program(SERVE, driver, workers, how) as milter:
        address = milter.address()
        assert version_at(address) == "0"
        milter.tell(signal.SIGHUP)
        assert milter.wait_for(NOT_LOADED) == BAD[how]
        assert version_at(address) == "0"
        milter.tell()
        milter.end()


def test_a_filter_that_the_driver_cannot_run_changes_nothing():
    """Such as one with async handlers under threads."""
    with program(SERVE, "threads", "1", "async") as milter:
        address = milter.address()
        version_at(address)
        milter.tell(signal.SIGHUP)
        assert 'use driver="asyncio"' in milter.wait_for(NOT_LOADED)
        milter.tell()
        milter.end()


def test_a_signal_while_it_loads(driver):
    """It is loaded once more after that, and connections are served meanwhile."""
    with program(SERVE, driver, "1", "slow") as milter:
        address = milter.address()
        version_at(address)
        milter.tell(signal.SIGHUP)
        milter.wait_for("loading")
        milter.tell(signal.SIGHUP)
        assert version_at(address) == "0"
        milter.wait_for(LOADED)
        milter.wait_for(LOADED)
        assert version_at(address) == "2"
        milter.tell()
        milter.end()


def replaced(milter: Program, count: int) -> tuple[list[int], list[int]]:
    """Let so many workers be replaced: the new ones and the old ones."""
    new, old = [], []
    for _ in range(count):
        new.append(int(milter.wait_for(r"worker (\d+) started")))
        old.append(int(milter.wait_for(r"worker (\d+) has an old filter")))
    return new, old


def test_workers_are_replaced_one_at_a_time(driver):
    """A new one serves before an old one accepts no more; an old one ends with its last session."""
    with program(SERVE, driver, "2", "loads") as milter:
        address = milter.address()
        first = [int(milter.wait_for(r"worker (\d+) started")) for _ in range(2)]
        peers = [Peer(address).begin() for _ in range(6)]
        milter.tell(signal.SIGHUP)
        milter.wait_for(LOADED)
        new, old = replaced(milter, 2)
        assert sorted(old) == sorted(first)
        wait_until(lambda: {version_at(address) for _ in range(4)} == {"1"})
        for peer in peers:
            assert version(peer) == "0"
            peer.vanish()
            peer.socket.close()
        assert all(is_gone(pid) for pid in old)
        assert version_at(address) == "1"
        milter.tell()
        milter.end()
        assert all(is_gone(pid) for pid in new)
    assert milter.troubles() == []


def test_old_workers_are_stopped_with_the_others(driver):
    """One that still has a session when the milter stops ends like any other."""
    with program(SERVE, driver, "2", "loads") as milter:
        address = milter.address()
        for _ in range(2):
            milter.wait_for(r"worker (\d+) started")
        with Peer(address) as peer:
            peer.begin()
            milter.tell(signal.SIGHUP)
            replaced(milter, 2)
            milter.tell()
            assert peer.has_ended()
        milter.end()


def test_old_workers_do_not_pile_up():
    """Where many filters were loaded the oldest workers are asked to stop, sessions or not."""
    with program(SERVE, "asyncio", "2", "loads") as milter:
        address = milter.address()
        for _ in range(2):
            milter.wait_for(r"worker (\d+) started")
        peers = []
        for _ in range(4):
            peers += [Peer(address).begin() for _ in range(8)]
            milter.tell(signal.SIGHUP)
            replaced(milter, 2)
        assert peers[0].has_ended()
        for peer in peers:
            peer.socket.close()
        milter.tell()
        milter.end()


def test_a_new_worker_that_dies_leaves_the_old_ones():
    """Until a new one serves, the old ones go on; then it is tried again."""
    script = """
def on_ready(address):
    say("ready", address)

from demyjpy.drivers import aio
run = aio.run
def run_or_die(listener, on_connect, options, started):
    if versions[-1] == "1" and not os.path.exists(sys.argv[4]):
        open(sys.argv[4], "w").close()
        os._exit(9)
    run(listener, on_connect, options, started)
from demyjpy.drivers import start
start._RUN["asyncio"] = run_or_die
"""
    path = f"/tmp/demyjpy-died-{os.getpid()}-{time.monotonic_ns()}"
    try:
        with program(script + SERVE, "asyncio", "2", "loads", path) as milter:
            address = milter.address()
            for _ in range(2):
                milter.wait_for(r"worker (\d+) started")
            version_at(address)
            milter.tell(signal.SIGHUP)
            milter.wait_for("ended with exit status 9; starting another in 0.1 s")
            replaced(milter, 2)
            wait_until(lambda: version_at(address) == "1")
            milter.tell()
            milter.end()
    finally:
        Path(path).unlink()


@pytest.mark.parametrize("number", [signal.SIGHUP])
def test_a_hangup_of_all_is_for_the_parent(driver, number):
    """Workers themselves take no notice of it."""
    with program(SERVE, driver, "2", "loads") as milter:
        address = milter.address()
        pids = [int(milter.wait_for(r"worker (\d+) started")) for _ in range(2)]
        version_at(address)
        for pid in pids:
            os.kill(pid, number)
        with Peer(address) as peer:
            assert version(peer.begin()) == "0"
        milter.tell()
        milter.end()
    assert milter.troubles() == []


def is_refused(address: str) -> bool:
    """Whether nobody listens there."""
    try:
        Peer(address).socket.close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was closed in the midst of this
        return False
    return False


def test_nobody_accepts_in_the_grace_period_while_a_filter_is_loaded(driver):
    """The process that loads it is ended with the first signal: it holds the listening socket, too."""
    with program(SERVE, driver, "2", "hangs") as milter:
        address = milter.address()
        with Peer(address) as peer:
            peer.begin().begin_message()
            milter.tell(signal.SIGHUP)
            milter.wait_for("loading$")
            milter.tell()
            wait_until(lambda: is_refused(address))
            assert peer.finish_message()[-1] == Continue()
        milter.end()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hangup_while_it_stops_does_nothing(driver, workers):
    """Nothing is loaded in the grace period."""
    with program(SERVE, driver, workers, "slow") as milter:
        address = milter.address()
        with Peer(address) as peer:
            peer.begin().begin_message()
            milter.tell()
            wait_until(lambda: is_refused(address))
            milter.tell(signal.SIGHUP)
            assert peer.finish_message()[-1] == Continue()
        assert milter.end()[-1] == "stopped"
    assert [line for line in milter.lines if "loading" in line] == []


HANGUPS = """
from demyjpy.drivers.start import start_milter

def hang_up():
    os.kill(os.getpid(), signal.SIGHUP)

class AtTheVeryEnd:  # when Python has given up its own handlers of signals
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGHUP):
        kill(pid, number)

last = AtTheVeryEnd()
options = {"driver": sys.argv[1], "workers": int(sys.argv[2]), "reload": lambda: handlers}
start_milter("inet:0@127.0.0.1", handlers, on_ready=on_ready, on_end=hang_up, **options)
hang_up()
say("stopped")
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_hangup_when_it_has_stopped_does_nothing(driver, workers):
    """Until the process has ended, which takes its time: its exit status is 0."""
    with program(HANGUPS, driver, workers) as milter:
        milter.address()
        milter.tell()
        assert milter.end()[-1] == "stopped"
    assert milter.troubles() == []


def test_an_error_that_cannot_be_told_has_no_text():
    """What a filter raises may be of any class."""

    class Odd(Exception):  # noqa: N818  # as a filter names it
        def __str__(self):
            raise RuntimeError("on purpose")

    assert why(Odd()) == "Odd: no text, for its __str__ raised RuntimeError"
    assert why(ValueError("x")) == "ValueError: x"
    assert why(HandlerError("expected y")) == "expected y"

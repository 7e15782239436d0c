"""Attempts to load a filter again, in a thread and in a process, where they do not go well."""

import math
import os
import signal
import threading
import time

import pytest

from demyjpy.drivers.births import Births
from demyjpy.drivers.loading import LOADED, Attempt, Outcome, Reload
from demyjpy.drivers.nursery import House, Nursery
from tests.drivers.filters import wait_until


def outcome_of(reload: Reload, seconds: float) -> Outcome:
    """What becomes of an attempt."""
    ended = threading.Event()
    attempt = Attempt(reload, seconds, ended.set)
    assert ended.wait(20)
    outcome = attempt.outcome()
    assert outcome is not None
    return outcome


def test_no_process_can_be_started():
    """Then nothing is loaded."""
    outcome = outcome_of(Reload(lambda: 1, ("/no/such/program",)), 5)
    assert outcome.error.startswith("cannot start a process to load it in: ")


def test_a_process_that_does_not_end_itself():
    """Is ended, with all that it has started."""
    outcome = outcome_of(Reload(lambda: 1, ("sh", "-c", "sleep 1000 & sleep 1000")), 0.1)
    assert outcome.error.startswith("expected it to load within 0.1 s")


def test_a_process_that_says_nothing():
    """Its status is told."""
    outcome = outcome_of(Reload(lambda: 1, ("sh", "-c", "exit 3")), 5)
    assert outcome.error == "a process that loaded it ended with status 3"


def test_loading_in_a_thread_is_given_up():
    """What it was to change is put back; what it gives afterwards is of no use."""
    gate, given_up = threading.Event(), threading.Event()
    try:
        outcome = outcome_of(Reload(gate.wait, (), given_up.set), 0.1)
        assert outcome.error.startswith("expected it to load within 0.1 s")
        assert given_up.is_set()
    finally:
        gate.set()


def test_an_attempt_is_cancelled_while_a_process_tries():
    """Nothing is told; one that loads in this process has to end first."""
    gate, loading = threading.Event(), threading.Event()
    try:
        attempt = Attempt(Reload(gate.wait, ("sleep", "1000")), 50, gate.set)
        assert attempt.cancel()
        time.sleep(0.2)
        assert attempt.outcome() is None
        assert not gate.is_set()

        def load() -> None:
            loading.set()
            gate.wait()

        attempt = Attempt(Reload(load), 50, lambda: None)
        assert loading.wait(20)
        assert not attempt.cancel()
    finally:
        gate.set()


@pytest.fixture
def tries(gate):
    """Attempts that try nothing until the gate opens."""

    class Late(Attempt):
        def _try(self) -> Outcome | None:
            gate.wait()
            return super()._try()

    return Late


def test_an_attempt_is_cancelled_before_it_tries(tries, gate, tmp_path):
    """Then no process is started, and nothing is told."""
    path, told = tmp_path / "tried", threading.Event()
    before = set(threading.enumerate())
    attempt = tries(Reload(lambda: 1, ("touch", str(path))), 50, told.set)
    (thread,) = set(threading.enumerate()) - before
    assert attempt.left == math.inf
    assert attempt.cancel()
    gate.set()
    thread.join(20)
    assert not thread.is_alive()
    assert attempt.outcome() is None
    assert not told.is_set()
    assert not path.exists()


def test_there_may_be_no_thread_to_load_in(tries, gate, monkeypatch):
    """That is said; nothing is waited for."""
    ended = threading.Event()
    attempt = tries(Reload(lambda: 1, ("printf", LOADED)), 50, ended.set)
    none_left = Births()
    none_left.end()
    monkeypatch.setattr("demyjpy.drivers.loading.BIRTHS", none_left)
    gate.set()
    assert ended.wait(20)
    assert attempt.outcome() == Outcome(
        error="cannot start a thread to load it in: can't start new thread: the program ends"
    )


def nothing(*_: object) -> None:
    """Do nothing."""


def idle(*_: object) -> None:
    """Be a worker without work."""
    os._exit(0)


HOUSE = House(idle, nothing, nothing, nothing)  # type: ignore[arg-type]


def loaded(nursery: Nursery) -> Nursery:
    """One that has loaded."""
    wait_until(lambda: nursery.outcome() is not None)
    return nursery


def test_there_may_be_no_process_to_load_in(monkeypatch):
    """That is said; and then there is nothing to end."""

    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    nursery = Nursery(lambda: 1, 5.0, HOUSE)
    outcome = nursery.outcome()
    assert outcome is not None
    assert outcome.error.startswith("cannot start a process to load it in: ")
    nursery.close()


def test_a_process_that_cannot_even_say_that_it_is_late(monkeypatch):
    """Is ended by its parent."""
    monkeypatch.setattr("demyjpy.drivers.nursery._LATER", 0.0)
    nursery = Nursery(lambda: os.kill(os.getpid(), signal.SIGSTOP), 0.2, HOUSE)
    wait_until(lambda: nursery.outcome() is not None)
    outcome = nursery.outcome()
    assert outcome is not None
    assert outcome.error.startswith("expected it to load within 0.2 s")
    assert nursery.is_lost


def test_a_filter_that_closes_all_descriptors_is_not_waited_for():
    """Although it does not end by itself: the parent could say nothing more to it."""

    def load() -> None:
        os.closerange(3, 1 << 16)
        time.sleep(1000)

    nursery = Nursery(load, 500.0, HOUSE)
    wait_until(lambda: nursery.outcome() is not None)
    assert nursery.outcome() == Outcome(error="the process that loaded it ended with status -9")


def test_a_process_that_does_not_answer_is_ended(monkeypatch):
    """Neither a worker nor the end is waited for without end."""
    monkeypatch.setattr("demyjpy.drivers.nursery._ANSWER", 0.1)
    nursery = loaded(Nursery(lambda: 1, 20.0, HOUSE))
    os.kill(nursery.pid, signal.SIGSTOP)
    with pytest.raises(OSError, match="the process that holds the filter does not answer"):
        nursery.spawn()
    with pytest.raises(OSError, match="the process that holds the filter has ended"):
        nursery.spawn()
    nursery.shut()

    monkeypatch.setattr("demyjpy.drivers.nursery._PARTING", 0.1)
    nursery = loaded(Nursery(lambda: 1, 20.0, HOUSE))
    os.kill(nursery.pid, signal.SIGSTOP)
    nursery.close()
    assert nursery.is_lost


def test_a_process_that_ends_by_itself_has_said_why():
    """It is not ended before: its parent hears it afterwards."""

    def load() -> None:
        raise ValueError("on purpose")

    nursery = Nursery(load, 20.0, HOUSE)
    os.waitid(os.P_PID, nursery.pid, os.WEXITED | os.WNOWAIT)
    assert nursery.outcome() == Outcome(error="ValueError: on purpose")
    assert nursery.is_lost


def test_a_process_that_dies_before_it_has_read_what_is_asked(log):
    """Has ended, although the system calls that a connection that was reset."""
    nursery = loaded(Nursery(lambda: 1, 20.0, HOUSE))
    os.kill(nursery.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, nursery.pid, os.WSTOPPED)
    nursery.shut()
    os.kill(nursery.pid, signal.SIGKILL)
    os.waitid(os.P_PID, nursery.pid, os.WEXITED | os.WNOWAIT)
    assert nursery.ended() == {}
    assert nursery.is_lost
    assert log.take() == ["the process that holds the filter has ended with status -9"]


def test_there_may_be_no_process_for_a_worker():
    """The parent gets the system's error, and the end of those that there were."""

    def load() -> int:
        fork, count = os.fork, iter(range(2))

        def once() -> int:
            if next(count):
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return fork()

        os.fork = once
        return 1

    nursery = loaded(Nursery(load, 20.0, HOUSE))
    pid = nursery.spawn()
    with pytest.raises(BlockingIOError):
        nursery.spawn()
    found: dict[int, int] = {}
    wait_until(lambda: bool(found.update(nursery.ended()) or found))
    assert found == {pid: 0}
    nursery.close()


def test_a_house_that_fails_ends_the_process(log):
    """With a record, and the parent notices."""

    def fail() -> None:
        raise ValueError("on purpose")

    house = House(idle, nothing, nothing, fail)  # type: ignore[arg-type]
    nursery = loaded(Nursery(lambda: 1, 20.0, house))
    nursery.shut()
    wait_until(lambda: bool(nursery.ended() or nursery.is_lost))
    assert log.take() == ["the process that holds the filter has ended with status 0"]

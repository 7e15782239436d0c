"""SIGUSR1, as it is obeyed: in a thread, as often as it must be, and never as the end of the program."""

import _thread
import os
import signal
import threading
from itertools import count

from demyjpy.drivers.dumping import DUMP, obeying, passing_on
from tests.disks import fork, no_threads
from tests.drivers.filters import wait_until
from tests.drivers.interruptions import interrupt


def test_it_is_obeyed_in_a_thread_and_once_more_where_it_came_meanwhile():
    """However often it comes: no more than one thread does it."""
    before = signal.getsignal(DUMP)
    gate, threads = threading.Event(), []

    def act():
        threads.append(threading.get_ident())
        gate.wait(20.0)

    with obeying(act):
        os.kill(os.getpid(), DUMP)
        wait_until(lambda: len(threads) == 1)
        for _ in range(10):
            os.kill(os.getpid(), DUMP)
        gate.set()
        wait_until(lambda: len(threads) == 2)
        assert threading.get_ident() not in threads
    assert signal.getsignal(DUMP) is before


def test_it_is_obeyed_at_whatever_moment_of_obeying_it_comes_again(monkeypatch):
    """None is lost, also where the thread is about to end."""
    done, started, ended = [], [], []
    start = _thread.start_new_thread  # `threading` has a name of its own for it

    def start_counted(run, arguments):
        def act():
            run(*arguments)
            ended.append(1)

        started.append(1)
        return start(act, ())

    monkeypatch.setattr(_thread, "start_new_thread", start_counted)
    with obeying(lambda: done.append(1)):
        handler = signal.getsignal(DUMP)
        for place in count():
            done.clear()
            handler._is_asked = True
            if not interrupt(place, handler._run, lambda: signal.raise_signal(DUMP)):
                break
            wait_until(lambda: done and not handler._is_asked)
            wait_until(lambda: ended == started)  # or the last one does what is asked next
    assert place > 20  # it has instructions


def test_without_a_thread_to_be_had_it_is_forgotten():
    """The next one is obeyed."""
    done = []
    with obeying(lambda: done.append(1)):
        with no_threads():
            os.kill(os.getpid(), DUMP)
        assert done == []
        os.kill(os.getpid(), DUMP)
        wait_until(lambda: done == [1])


def test_it_is_passed_on_only_where_somebody_obeys(log):
    """Where nothing is kept, the parent says so itself; a child does not pass on what it gets."""
    told, done = [], []
    with obeying(), passing_on(told.append):
        os.kill(os.getpid(), DUMP)
        wait_until(lambda: len(log.records()) == 1)
    assert "SIGUSR1: nothing is written" in log.take_one()
    with obeying(lambda: done.append(1)), passing_on(told.append):
        os.kill(os.getpid(), DUMP)
        assert (told, done) == ([DUMP], [])
        child = fork()
        if child == 0:
            os.kill(os.getpid(), DUMP)
            wait_until(lambda: done == [1])
            os._exit(len(told))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        signal.raise_signal(DUMP)
    assert told == [DUMP, DUMP]


def test_only_the_main_thread_obeys():
    """In others Python allows no handling of signals."""
    before, seen = signal.getsignal(DUMP), []

    def look():
        with obeying(lambda: None):
            seen.append(signal.getsignal(DUMP))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(20.0)
    assert seen == [before]

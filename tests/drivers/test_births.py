"""Threads are started until the interpreter ends, and none after that."""

import threading

import pytest

from demyjpy.drivers.births import Births
from tests.drivers.program import program


def test_none_is_started_after_the_end():
    """Who tries is told, as by a system that has no more threads."""
    births = Births()
    ran: list[str] = []
    first = threading.Thread(target=ran.append, args=("first",))
    births.start(first)
    first.join()
    births.end()
    with pytest.raises(RuntimeError, match="the program ends"):
        births.start(threading.Thread(target=ran.append, args=("second",)))
    assert ran == ["first"]


def test_a_forked_process_starts_its_own():
    """Though a thread of its parent was being started as it was forked."""
    script = """
from demyjpy.drivers.births import BIRTHS
def fork():
    child = os.fork()
    if child == 0:
        born = threading.Thread(target=say, args=("in the child",))
        BIRTHS.start(born)
        born.join()
        os._exit(0)
    os.waitpid(child, 0)
thread = threading.Thread()
thread.start = fork  # it is forked while this one is being started
BIRTHS.start(thread)
"""
    with program(script) as parent:
        assert parent.end() == ["in the child"]


def test_a_connection_that_comes_as_the_program_ends(driver):
    """A milter in a daemon thread begins no session any more, and the program ends as it should."""
    script = """
import atexit
from demyjpy.drivers.births import BIRTHS
def talk():
    with Peer(addresses[0]) as peer:
        try:
            peer.begin()
        except (EndedError, OSError):
            say("sent away")
        else:
            say("served")
atexit.unregister(BIRTHS.end)
atexit.register(talk)
atexit.register(BIRTHS.end)  # what was registered last is called first
addresses = []
found = threading.Event()
def ready(address):
    addresses.append(address)
    found.set()
arguments = {"driver": sys.argv[1], "on_ready": ready}
threading.Thread(target=start_milter, args=(0, handlers), kwargs=arguments, daemon=True).start()
found.wait()
with Peer(addresses[0]) as peer:  # by now all its own threads run
    peer.begin()
"""
    with program(script, driver) as milter:
        lines = milter.end()
    assert lines[-1] == {"asyncio": "served", "threads": "sent away"}[driver]

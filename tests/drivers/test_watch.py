"""What a thread is at, asked without harm to the process."""

import gc
import subprocess
import sys
import threading
from typing import ClassVar

import pytest

from demyjpy.drivers import watch
from demyjpy.drivers.watch import current_frame
from tests.drivers.program import ROOT

SCRIPT = """
import faulthandler, gc, os, threading, time, weakref
import pytest

from demyjpy.drivers import watch
from demyjpy.drivers.watch import current_frame

class Node:
    pass

def make_garbage():  # whose collection lets other threads run
    first, second = Node(), Node()
    first.other, second.other = second, first
    weakref.finalize(first, time.sleep, 0.0001)

def bear_threads():
    while True:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

faulthandler.dump_traceback_later(30, exit=True)
gc.set_threshold(10)
for _ in range(3):
    threading.Thread(target=bear_threads, daemon=True).start()
for _ in range(3000):
    make_garbage()
    current_frame(threading.get_ident())
os._exit(0)
"""


def test_it_hangs_nothing():
    """If a collection lets others start threads meanwhile, CPython before 3.11.9 hangs (gh-106883)."""
    program = (sys.executable, "-c", SCRIPT)
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("hangs", [False, True])
def test_collection_is_as_it_was(monkeypatch, hangs):
    """On or off, on any CPython; and a thread that is not there is at nothing."""
    monkeypatch.setattr(watch, "_HANGS", hangs)
    try:
        for is_on in (False, True):
            (gc.enable if is_on else gc.disable)()
            assert current_frame(threading.get_ident()).f_code is current_frame.__code__
            assert gc.isenabled() is is_on
    finally:
        gc.enable()
    assert current_frame(0) is None


TWO_WATCHES = """
import gc, sys, threading
from demyjpy.drivers import watch

watch._HANGS = True
unguarded = []
def look(event, _):
    if event == "sys._current_frames" and gc.isenabled():
        unguarded.append(event)

sys.addaudithook(look)
sys.setswitchinterval(1e-6)
threads = [
    threading.Thread(target=lambda: [watch.current_frame(0) for _ in range(3000)]) for _ in range(3)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(unguarded), gc.isenabled())
"""


def test_two_watches_guard_each_other():
    """None takes what another does for the program's wish, and looks while garbage may be collected."""
    program = (sys.executable, "-c", TWO_WATCHES)
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0 True\n", "")


def test_a_stack_that_ends_while_it_is_looked_at():
    """The thread that it belongs to goes on: a frame's caller is there, and then it is not."""

    class Frame:
        f_globals: ClassVar = {}
        callers: ClassVar = [sys._getframe(), None]

        @property
        def f_back(self):
            return self.callers.pop(0)

    assert watch.call_of(Frame()) is None

"""A milter as a program of its own: a small script that is run, watched line by line, and ended."""

import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from demyjpy.drivers.nursery import NAME
from tests.drivers.filters import wait_until
from tests.drivers.peer import WAIT

ROOT = Path(__file__).parents[2]

PREAMBLE = """
import logging, os, resource, signal, sys, threading, time
from demyjpy import *
from tests.drivers.filters import *
from tests.drivers.peer import *
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(levelname)s %(message)s")
# with -X dev asyncio tells what took it more than 0.1 s: on a busy machine that is anything
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing "))
def say(*words):  # in one piece: others write lines at the same time
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
on_ready = lambda address: say("ready", address)
handlers = define_event_handlers()
"""

INTERRUPTED = """
from demyjpy.drivers.signals import Requests

ask = Requests.ask

def ask_interrupted(requests, at_once):
    Requests.ask = ask
    signal.raise_signal(signal.SIGINT)
    ask(requests, at_once)

Requests.ask = ask_interrupted  # not by sys.settrace: in a trace function nothing is traced
"""
"""SIGINT comes in the midst of what the program does for the first signal to stop."""


class Program:
    """A script that runs."""

    def __init__(self, script: str, *arguments: str, fds: tuple[int, ...] = ()) -> None:
        options = ("-u", "-W", "error", "-X", "dev", "-c")
        self.process = subprocess.Popen(
            (sys.executable, *options, PREAMBLE + script, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            pass_fds=fds,
        )
        self.lines: list[str] = []
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._is_at_end = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)
        self.process.stdout.close()

    def wait_for(self, pattern: str) -> str:
        """Read up to the next line in which this is found; gives the first group, or the line."""
        while (line := self._next_line()) is not None:
            found = re.search(pattern, line)
            if found:
                return found[found.re.groups and 1]
        raise AssertionError(f"expected {pattern!r}, got the end after {self.lines}")

    def _next_line(self) -> str | None:
        """The next line; None at the end."""
        if self._is_at_end:
            return None
        try:
            line = self._queue.get(timeout=WAIT)
        except queue.Empty:
            raise AssertionError(f"waited {WAIT} s for more than {self.lines}") from None
        if line is None:
            self._is_at_end = True
        else:
            self.lines.append(line)
        return line

    def address(self) -> str:
        """Where it listens, once it does."""
        return self.wait_for("^ready (.*)")

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def tell_until_ended(self, number: int) -> None:
        """Send it a signal again and again, until it has ended."""

        def has_ended() -> bool:
            self.tell(number)
            time.sleep(0.3)  # as a person would, not into each step of the interpreter's end
            return self.process.poll() is not None

        wait_until(has_ended)

    def end(self) -> list[str]:
        """What it has written when it has ended with exit status 0."""
        code = self.wait()
        assert code == 0, f"exit status {code} after {self.lines}"
        return self.lines

    def wait(self) -> int:
        """Its exit status, when it has ended and so has everything that writes where it writes."""
        code = self.process.wait(WAIT)
        while self._next_line() is not None:
            pass
        self._reader.join(WAIT)
        return code

    def troubles(self) -> list[str]:
        """Lines that tell of trouble."""
        return [line for line in self.lines if re.search("WARNING|ERROR|Traceback|Error|Warning", line)]


@contextmanager
def program(script: str, *arguments: str, fds: tuple[int, ...] = ()) -> Iterator[Program]:
    """One that has ended when the block is left, by force if need be."""
    found = Program(script, *arguments, fds=fds)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.kill()
        found.wait()


def is_gone(pid: int) -> bool:
    """Whether a process has ended, or does so in time."""
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or _state(pid) == "Z")
    return True


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def children(pid: int) -> list[int]:
    """Those of a process; none if it is gone."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def workers(pid: int) -> list[int]:
    """All below it that serve; after SIGHUP they are children of the process that loaded the filter."""
    found = []
    for child in children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            name = Path(f"/proc/{child}/comm").read_text().strip()
            found += children(child) if name == NAME else [child]
    return found

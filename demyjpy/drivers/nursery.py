"""The process that a filter is loaded in if there are workers, and from which its workers come.

The parent of all forks it, and executes nothing of a filter itself: whatever loading does, it can
be ended, and what an old filter held goes with its process. It forks workers when it is asked to,
and reports when they end. All messages are packets on one socket pair; it ends with that.
"""

import faulthandler
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, Final, NoReturn

from attrs import frozen

from demyjpy.drivers.loading import Outcome, too_long, why
from demyjpy.drivers.processes import HELD, flush, fork, see_off
from demyjpy.drivers.report import log
from demyjpy.drivers.resources import has_resources
from demyjpy.drivers.signals import Bell

NAME: Final = "demyjpy-filter"
"""What such a process calls itself: ``/proc/PID/comm``."""


@frozen
class House:
    """What the process does on behalf of its parent.

    ``rear``: be a worker with this filter; the signals to hold are those that were held before. ``ring``
    wakes up the parent. ``leave`` closes what is the parent's only, ``shut`` the listening socket.
    """

    rear: Callable[[Any, set[int]], NoReturn]
    ring: Callable[[], None]
    leave: Callable[[], None]
    shut: Callable[[], None]


_NAME_OF_WORKER: Final = "demyjpy-worker"
_ANSWER: Final = 5.0  # seconds to fork a worker
_PARTING: Final = 1.0
_LATER: Final = 5.0  # seconds over the time for loading, as in `loading`
_LONGEST: Final = 60_000  # bytes of a message
_REPORT: Final = Struct("=cii")
_ASK: Final = b"+"
_NO_MORE: Final = b"-"
# none begins as what faulthandler writes, in pieces
_LOADED: Final = b"\1"
_WITH_RESOURCES: Final = b"r"
_FAILED: Final = b"\2"
_BORN: Final = b"\3"
_ENDED: Final = b"\4"


class Nursery:
    """The parent's side of it. Times are in seconds. `OSError` if there are no descriptors."""

    def __init__(self, load: Callable[[], Any], seconds: float, house: House) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds + _LATER
        self._stacks = ""
        self._outcome: Outcome | None = None
        self._ended: dict[int, int] = {}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = 0
        self.has_resources = False
        """Whether a worker with this filter may find that it cannot run, though it was loaded."""

        def live(held: set[int]) -> NoReturn:
            self._socket.close()
            house.leave()
            _Side(theirs, house, held).live(load, seconds)

        with theirs:
            try:
                self.pid = fork(live)
            except OSError as error:
                self._outcome = Outcome(error=f"cannot start a process to load it in: {error}")
        self._socket.setblocking(False)

    # ------------------------------------------------------------------------------- loading
    def outcome(self) -> Outcome | None:
        """What became of loading, None while it goes on. The filter is the nursery itself."""
        self._hear()
        if self._outcome is None and time.monotonic() > self._end:
            self._outcome = Outcome(error=too_long(self._seconds, self._stacks))
        if self._outcome is not None and self._outcome.error:
            self.cancel()
        return self._outcome

    @property
    def left(self) -> float:
        """Seconds until `outcome` has to be asked for."""
        return max(0.0, self._end - time.monotonic())

    def cancel(self) -> bool:
        """End it, whatever it does. It can be."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        self._socket.close()
        return True

    def leave(self) -> None:
        """In another process: this end is the parent's only."""
        self._socket.close()

    def close(self) -> None:
        """Ask for no more workers; it ends."""
        self._socket.close()
        if self.pid:
            see_off(self.pid, _PARTING)
            self.pid = 0

    # ------------------------------------------------------------------------------- workers
    @property
    def is_lost(self) -> bool:
        """Whether it has ended though nobody asked for that."""
        return not self.pid

    def spawn(self) -> int:
        """Start a worker; its process id. `OSError` if that is not possible."""
        self._hear()
        if self.is_lost:
            raise OSError("the process that holds the filter has ended")
        self._socket.send(_ASK)
        end = time.monotonic() + _ANSWER
        while True:
            born = self._hear()
            if born > 0:
                return born
            if born:
                raise OSError(-born, os.strerror(-born))
            left = end - time.monotonic()
            if self.is_lost or left <= 0:
                self.cancel()
                raise OSError("the process that holds the filter does not answer")
            select.select([self._socket], [], [], left)

    def shut(self) -> None:
        """It accepts no connection, and starts no worker any more."""
        with suppress(OSError):  # it has ended
            self._socket.send(_NO_MORE)

    def ended(self) -> dict[int, int]:
        """Workers that have ended since it was asked last, and their status as of waitpid(2)."""
        self._hear()
        found, self._ended = self._ended, {}
        return found

    def _hear(self) -> int:
        """Take what it says; the worker that was born, an error's negative number, or 0."""
        while self.pid and self._socket.fileno() >= 0:
            try:
                said = self._socket.recv(_LONGEST)
            except BlockingIOError:
                return 0
            except ConnectionError:
                said = b""
            match said[:1]:
                case b"":
                    self._bury()
                case _ if self._outcome is None:
                    self._take(said)
                case kind:
                    _, pid, status = _REPORT.unpack(said)
                    if kind == _BORN:
                        return int(pid)
                    self._ended[pid] = status
        return 0

    def _take(self, said: bytes) -> None:
        """What it says until it has loaded."""
        if said[:1] == _LOADED:
            self._outcome = Outcome(self)
            self.has_resources = said[1:] == _WITH_RESOURCES
        elif said[:1] == _FAILED:
            self._outcome = Outcome(error=said[1:].decode(errors="backslashreplace"))
        else:  # faulthandler writes a line at a time
            self._stacks += said.decode(errors="backslashreplace")

    def _bury(self) -> None:
        """It has closed its end, so it has ended, or is about to; it is of no use without."""
        os.kill(self.pid, signal.SIGKILL)  # a filter that closes all descriptors would be waited for
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        self._socket.close()
        if self._outcome is None:
            ended = f"the process that loaded it ended with status {status}"
            self._outcome = Outcome(
                error=too_long(self._seconds, self._stacks) if self._stacks else ended
            )
        elif not self._outcome.error:  # else it has nothing to hold
            log.error("the process that holds the filter has ended with status %d", status)


class _Side:
    """The process itself."""

    def __init__(self, sock: socket.socket, house: House, held: set[int]) -> None:
        self._socket, self._house, self._held = sock, house, held
        self._living: set[int] = set()

    def live(self, load: Callable[[], Any], seconds: float) -> NoReturn:
        """Load, and then wait for what is asked."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (*HELD, signal.SIGCHLD):
                signal.signal(number, lambda *_: None)  # what stops all is for the parent
            signal.pthread_sigmask(signal.SIG_SETMASK, self._held)
            _call_it(NAME)
            found = self._load(load, seconds)
            with Bell() as bell:
                while True:
                    self._reap()
                    ready = select.select([self._socket.fileno(), bell.fileno()], [], [])[0]
                    bell.wait(0)
                    asked = self._socket.recv(1) if self._socket.fileno() in ready else None
                    if asked == _ASK:
                        self._fork(found, bell)
                    elif asked == _NO_MORE:
                        self._house.shut()
                    elif asked is not None:
                        break
        except BaseException:  # noqa: BLE001  # nothing may return into the parent's code
            log.exception("the process that holds the filter failed")
        finally:
            os._exit(0)

    def _load(self, load: Callable[[], Any], seconds: float) -> Any:
        # it ends the process, whatever that waits for, and says where it was
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._socket.fileno())
        try:
            found = load()
        except BaseException as error:  # noqa: BLE001  # it is the user's code
            self._say(_FAILED + why(error).encode(errors="backslashreplace")[: _LONGEST - 1])
            os._exit(0)
        faulthandler.cancel_dump_traceback_later()
        flush()
        gc.collect()
        gc.freeze()
        self._say(_LOADED + (_WITH_RESOURCES if has_resources(found) else b""))
        return found

    def _say(self, packet: bytes) -> None:
        with suppress(OSError):  # the parent is gone: the end of the stream says so, too
            self._socket.send(packet)
        self._house.ring()

    def _fork(self, found: Any, bell: Bell) -> None:
        def be_worker(held: set[int]) -> NoReturn:
            self._socket.close()
            bell.__exit__()
            _call_it(_NAME_OF_WORKER)
            self._house.rear(found, held)

        try:
            pid = fork(be_worker)
        except OSError as error:
            self._say(_REPORT.pack(_BORN, -(error.errno or 1), 0))
        else:
            self._living.add(pid)
            self._say(_REPORT.pack(_BORN, pid, 0))

    def _reap(self) -> None:
        for pid in tuple(self._living):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._living.remove(pid)
                self._say(_REPORT.pack(_ENDED, pid, status))


def _call_it(name: str) -> None:
    """Name this process, so that people and programs can distinguish workers."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")

"""Worker processes: several processes that serve one listening socket, and a parent that keeps them.

The parent handles no mail. A worker that dies is replaced; one that dies as soon as it starts, later
and later. What the parent is asked, the workers are asked; they end, too, when the parent is gone.
Workers with an old filter are replaced one at a time: when a new one serves, an old one accepts no
more connections, and ends with the last of its sessions. A worker that cannot open the resources of its
filter says so: if it is the first with this filter, the filter before it stays.
"""

import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any, Final, NoReturn, Self, TypeAlias

from attrs import define

from demyjpy.drivers.address import Listener
from demyjpy.drivers.dumping import passing_on
from demyjpy.drivers.nursery import House, Nursery
from demyjpy.drivers.processes import flush, fork
from demyjpy.drivers.report import log
from demyjpy.drivers.signals import (
    AT_ONCE,
    RETIRE,
    Bell,
    Controls,
    Started,
    handling,
    obey_parent,
)
from demyjpy.errors import HandlerError

Work: TypeAlias = Callable[[Any, Started], None]
"""What a worker does with a filter, until it is asked to stop."""

_QUICK: Final = 5.0  # a worker that lives shorter than this, in seconds, did not start well
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_PARTING: Final = 12.0  # seconds that a worker may take over its grace period: a driver takes up to 5,
# what watches up to 6
_MOST_RETIRED: Final = 2  # for each worker; the oldest is asked to stop if there are more
_LOOK: Final = 0.5  # seconds between two looks at workers whose end nobody reports
_WORD: Final = Struct("i500s")
"""What a worker says: its process id, and why it cannot serve, empty if it does."""


def most_at_once(count: int) -> int:
    """How many processes there may be with so many workers, those with an old filter among them."""
    return 1 if count == 1 else (2 + _MOST_RETIRED) * count + 8  # some end only after their grace


@define
class _Worker:
    """A worker as its parent knows it: when it was started, and with which filter."""

    started: float
    generation: int
    nursery: Nursery | None
    is_ready: bool = False
    is_retired: bool = False
    error: str = ""
    """Why it cannot serve."""


class Workers:
    """The parent's knowledge of its workers.

    ``work``: what a worker does with ``on_connect``, or with what was loaded later. ``grace``: seconds
    to finish messages. ``tend`` does what is due in the parent, and gives the seconds until more is due.
    ``lost`` is called if the process that holds the filter has ended.
    """

    def __init__(
        self,
        count: int,
        listener: Listener,
        work: Work,
        on_connect: Any,
        grace: float,
        tend: Callable[[], float],
        lost: Callable[[], None],
    ) -> None:
        self._count, self._listener, self._work, self._grace = count, listener, work, grace
        self._on_connect = on_connect
        self._nursery: Nursery | None = None
        """Where workers come from once the filter was loaded again."""
        self._nurseries: list[Nursery] = []
        self._trial: Nursery | None = None
        self._is_told = False
        self._tend, self._lost = tend, lost
        self._generation = self._latest = 0
        self._before: tuple[Nursery | None, int] = (None, 0)
        """What is gone back to if no worker can serve with the filter that was loaded."""
        self._adopted: Callable[[str], None] | None = None
        """Called when that is known."""
        self._has_served = False
        self._error = ""
        """Why it has to stop: no worker could ever serve."""
        self._living: dict[int, _Worker] = {}
        """By process id."""
        self._coming: int | None = None
        """One with the new filter, until it serves."""
        self._asked: deque[bool] = deque()
        self._passed: deque[int] = deque()
        """Signals that go on to the workers."""
        self._statuses: dict[int, int] = {}
        self._stopping = False
        self._pause = self._next_start = 0.0

    def run(self, started: Started) -> None:
        """Keep ``count`` workers alive until asked to stop. Returns when all have ended.

        `HandlerError` if none could ever serve.
        """
        with (
            _Lifeline() as self._lifeline,
            Bell() as self._bell,
            handling({signal.SIGCHLD: lambda *_: None}),  # the end of a child rings the bell, too
            passing_on(self._passed.append),  # the signal itself rings the bell
        ):
            started(Controls(self._asked.append, lambda: None, self._adopt, self._bell.soon))
            try:
                while not self._asked:
                    self._bell.wait(min(self._tend(), self._replace(), self._fill(), self._look_after()))
                    self._reap()
                    self._bell.do_due()
                    self._pass_on()
                self._stop(self._bell)
            finally:
                self._tell(signal.SIGKILL)  # if this has failed; else there are none
                for nursery in self._nurseries:
                    nursery.close()
        if self._error:
            raise HandlerError(self._error)

    def _fill(self) -> float:
        """Start what is missing; gives the time in seconds until that is to be tried again."""
        while len(self._serving()) < self._count:
            pause = self._next_start - time.monotonic()
            if pause > 0:
                return pause
            self._start()
        return math.inf

    def _look_after(self) -> float:
        """If the process that workers came from has died, nobody reports their end."""
        if self._nursery is not None and self._nursery.is_lost and not (self._is_told or self._stopping):
            self._is_told = True
            self._lost()
        is_any = any(one.nursery is not None and one.nursery.is_lost for one in self._living.values())
        return _LOOK if is_any else math.inf

    def _serving(self) -> list[int]:
        return [pid for pid, worker in self._living.items() if not worker.is_retired]

    # -------------------------------------------------------------------------- another filter
    def load(self, load: Callable[[], Any], seconds: float) -> Nursery:
        """Begin to load a filter, in a process of its own."""
        house = House(self._be_worker, self._bell.ring, self._leave, self._listener.socket.close)
        self._trial = Nursery(load, seconds, house)
        return self._trial

    def _leave(self) -> None:
        """In a child: close what only the parent may hold open: when it closes, the parent has ended."""
        self._lifeline.leave()
        for nursery in (*self._nurseries, *([self._trial] if self._trial else ())):
            nursery.leave()

    def _adopt(self, nursery: Nursery, ended: Callable[[str], None]) -> None:
        before = self._nursery, self._generation
        self._nursery, self._trial, self._is_told = nursery, None, False
        self._nurseries.append(nursery)
        self._generation = self._latest = self._latest + 1
        if nursery.has_resources:
            self._before, self._adopted = before, ended
        else:
            ended("")

    def _go_back(self, ended: Callable[[str], None], error: str) -> None:
        """The first worker with a filter cannot serve: the filter before it stays."""
        self._adopted = self._coming = None
        self._nursery, self._generation = self._before
        self._before = (None, 0)  # or its process is kept for nothing
        ended(error)

    def _hear(self) -> None:
        """Note who serves, and who cannot."""
        self._lifeline.hear(self._living)
        if self._has_served and self._adopted is None:
            return
        for worker in self._living.values():
            if not worker.is_ready:
                continue
            self._has_served = True
            if self._adopted is not None and worker.generation == self._generation:
                adopted, self._adopted = self._adopted, None
                self._before = (None, 0)
                adopted("")

    def _replace(self) -> float:
        """Replace the next worker with an old filter; the time until that is to be tried again."""
        while True:
            self._hear()
            serving = self._serving()
            old = [pid for pid in serving if self._living[pid].generation != self._generation]
            if not old:
                self._coming = None
                return math.inf
            coming = self._living.get(self._coming or 0)
            if coming and coming.generation == self._generation and not coming.is_ready:
                return math.inf  # it rings
            if len(serving) > self._count:
                # one that does not serve yet is the least loss
                self._retire(min(old, key=lambda pid: self._living[pid].is_ready))
                self._coming = None
                continue
            pause = self._next_start - time.monotonic()
            if pause > 0:
                return pause
            self._coming = self._start()

    def _retire(self, pid: int) -> None:
        self._living[pid].is_retired = True
        _signal(pid, RETIRE)
        log.info("worker %d has an old filter: it accepts no more connections", pid)
        retired = [one for one, worker in self._living.items() if worker.is_retired]
        for one in retired[: -_MOST_RETIRED * self._count]:  # the first ones are the oldest
            _signal(one, signal.SIGTERM)

    def _start(self) -> int | None:
        try:
            pid = self._nursery.spawn() if self._nursery else fork(self._be_first_worker)
        except OSError as error:
            log.error("cannot start a worker: %s; trying again in %.1f s", error, self._put_off())
            if self._nursery is not None and self._nursery.is_lost:
                self._lost()
            return None
        self._living[pid] = _Worker(time.monotonic(), self._generation, self._nursery)
        log.info("worker %d started", pid)
        return pid

    def _be_first_worker(self, held: set[int]) -> NoReturn:
        """With the filter that the parent has: later ones are in a nursery."""
        self._leave()
        self._be_worker(self._on_connect, held)

    def _be_worker(self, on_connect: Any, held: set[int]) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests = obey_parent()
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            self._lifeline.hold()

            def started(controls: Controls) -> None:
                self._say()
                requests.started(controls)

            try:
                self._work(on_connect, started)
                code = 0
            except HandlerError as error:
                self._say(str(error))
        except BaseException:  # noqa: BLE001  # nothing may return into the parent's code
            log.exception("worker %d failed", os.getpid())
        finally:
            flush()
            os._exit(code)

    def _say(self, error: str = "") -> None:
        """In a worker: that it serves, or why it cannot."""
        self._lifeline.say(error)
        self._bell.ring()  # the parent's: it is the same socket

    def _put_off(self) -> float:
        """Let time pass until the next worker is started, twice as much at each failure."""
        self._pause = min(2 * self._pause or _FIRST_PAUSE, _LONGEST_PAUSE)
        self._next_start = time.monotonic() + self._pause
        return self._pause

    def _reap(self) -> None:
        """See which workers have ended."""
        for nursery in self._nurseries:
            self._statuses.update(nursery.ended())
        for pid, worker in tuple(self._living.items()):
            status = self._status_of(pid, worker)
            if status is None:
                continue
            self._hear()  # what it has said last
            del self._living[pid]
            if not self._stopping:
                self._take_leave(pid, worker, os.waitstatus_to_exitcode(status))

        kept = {worker.nursery for worker in self._living.values()} | {self._nursery, self._before[0]}
        for nursery in [one for one in self._nurseries if one not in kept]:
            nursery.close()
            self._nurseries.remove(nursery)

    def _take_leave(self, pid: int, worker: _Worker, code: int) -> None:
        """A worker has ended, and nobody told it to stop."""
        if worker.is_retired:
            log.info("worker %d ended: its last session has", pid)
            return
        if worker.error and not self._has_served:
            self._error = worker.error
            self._asked.append(False)
            return
        if worker.error and self._adopted is not None and worker.generation == self._generation:
            self._go_back(self._adopted, worker.error)
            return
        how = worker.error or (f"signal {-code}" if code < 0 else f"exit status {code}")
        if time.monotonic() - worker.started < _QUICK or worker.error:
            pause = self._put_off()
        else:
            pause = self._pause = 0.0
        log.error("worker %d ended with %s; starting another in %.1f s", pid, how, pause)

    def _status_of(self, pid: int, worker: _Worker) -> int | None:
        """How a worker has ended, as waitpid(2) has it; None while it lives."""
        if worker.nursery is None:
            ended, status = os.waitpid(pid, os.WNOHANG)
            return status if ended else None
        if worker.nursery.is_lost and pid not in self._statuses:
            with suppress(ChildProcessError):  # it is a child of init's, unless that is us
                os.waitpid(pid, os.WNOHANG)
            try:
                os.kill(pid, 0)  # nobody reports how it ends
            except (ProcessLookupError, PermissionError):  # gone, and perhaps another has its number
                return 0
        return self._statuses.pop(pid, None)

    def _stop(self, bell: Bell) -> None:
        """Ask the workers what is asked, until the last has ended; none outlives its time."""
        self._stopping = True
        self._listener.close()
        for nursery in self._nurseries:
            nursery.shut()
        if self._trial is not None:
            self._trial.cancel()  # it holds the listening socket, and what it loads is of no use
        end = math.inf
        while self._living:
            self._pass_on()  # and what else is due is of no use any more, such as another filter
            while self._asked:
                at_once = self._asked.popleft()
                self._tell(AT_ONCE if at_once else signal.SIGTERM)
                end = min(end, time.monotonic() + _PARTING + (0.0 if at_once else self._grace))
            left = end - time.monotonic()
            if left <= 0:
                log.error("killed, because they did not end: workers %s", [*self._living])
                self._tell(signal.SIGKILL)
                end = left = math.inf
            bell.wait(min(left, self._look_after()))
            self._reap()

    def _pass_on(self) -> None:
        while self._passed:
            self._tell(self._passed.popleft())

    def _tell(self, number: int) -> None:
        for pid in self._living:
            _signal(pid, number)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # not our child, and its end is not known yet
        os.kill(pid, number)


class _Lifeline:
    """A pipe whose writing end only the parent holds: reading from it ends when the parent does.

    And one in which workers say that they serve.
    """

    def __enter__(self) -> Self:
        self._read_end, self._write_end = os.pipe()
        self._heard, self._said = os.pipe()
        os.set_blocking(self._heard, False)
        return self

    def __exit__(self, *exc: object) -> None:
        for descriptor in (self._read_end, self._write_end, self._heard, self._said):
            os.close(descriptor)

    def say(self, error: str) -> None:
        """In a worker: report to the parent that it serves, or why it cannot."""
        os.write(self._said, _WORD.pack(os.getpid(), error.encode(errors="backslashreplace")))

    def hear(self, workers: dict[int, "_Worker"]) -> None:
        """In the parent: note who serves, and who cannot."""
        with suppress(BlockingIOError):
            while data := os.read(self._heard, 64 * _WORD.size):
                said = dict(_WORD.iter_unpack(data))
                for pid in workers.keys() & said.keys():
                    workers[pid].error = said[pid].rstrip(b"\0").decode(errors="replace")
                    workers[pid].is_ready = not workers[pid].error

    def leave(self) -> None:
        """In another process: only the parent holds its end."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1

    def hold(self) -> None:
        """In a worker: stop as if asked to when the parent is gone."""
        self.leave()
        threading.Thread(target=self._watch, name="demyjpy-lifeline", daemon=True).start()

    def _watch(self) -> None:
        os.read(self._read_end, 1)
        os.kill(os.getpid(), signal.SIGTERM)

"""One thread that does things at their time, where each connection has a thread that may not wait."""

import threading
import time
from collections.abc import Callable

from demyjpy.drivers.births import BIRTHS


class Alarms:
    """Signs of life, deadlines and sweeps of the threads driver.

    Most alarms are switched off long before their time, because most handlers are fast. So an alarm
    that is switched on mostly does not wake the thread: if each handler's did, the thread would ask
    for the interpreter's lock once a message.
    """

    def __init__(self) -> None:
        self._due: dict[Alarm, float] = {}
        self._next = float("inf")  # when the thread looks again
        self._shortest = float("inf")  # of the periods that were asked for since it looked last
        self._lock = threading.RLock()  # that of the condition, whose methods are Python and slower
        self._changed = threading.Condition(self._lock)
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="demyjpy-alarms", daemon=True)

    def start(self) -> None:
        """Begin."""
        BIRTHS.start(self._thread)

    def stop(self) -> None:
        """Nothing is done any more when this returns."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join()

    def every(self, period: float, act: Callable[[], None], first: float | None = None) -> "Alarm":
        """While its block runs, ``act`` is called every ``period`` seconds; never after it.

        The first time is after ``first`` seconds, if given: at once if these are not more than 0.
        """
        return Alarm(self, period, act, period if first is None else first)

    def add(self, alarm: "Alarm") -> None:
        """Switch it on."""
        with self._lock:
            self._due[alarm] = due = time.monotonic() + alarm.first
            self._shortest = min(self._shortest, alarm.period)
            if due < self._next:
                self._changed.notify()

    def remove(self, alarm: "Alarm") -> None:
        """Switch it off."""
        with self._lock:
            del self._due[alarm]

    def _run(self) -> None:
        with self._changed:
            while not self._is_stopped:
                now = time.monotonic()
                for alarm, due in self._due.items():
                    if now >= due:
                        alarm.act()
                        self._due[alarm] = now + alarm.period
                # the next alarms will have such periods, too: looking then, it is woken by none of them
                self._next = min(now + self._shortest, min(self._due.values(), default=float("inf")))
                self._shortest = float("inf")
                self._changed.wait(min(self._next - now, threading.TIMEOUT_MAX))


class Alarm:
    """What is called every ``period`` seconds while its ``with`` block runs."""

    __slots__ = ("_alarms", "act", "first", "period")

    def __init__(self, alarms: Alarms, period: float, act: Callable[[], None], first: float) -> None:
        self._alarms = alarms
        self.period = period
        self.first = first
        self.act = act

    def __enter__(self) -> None:
        self._alarms.add(self)

    def __exit__(self, *exc: object) -> None:
        self._alarms.remove(self)

"""What a service says to systemd, and the sockets it got from it: sd_listen_fds(3), sd_notify(3).

Without systemd nothing is said: the variables that it sets are not there.
"""

import math
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from demyjpy.errors import AddressError

FIRST: Final = 3
"""The number of the first descriptor that systemd passes on."""

_ALIVE: Final = "WATCHDOG=1"


def inherited(name: str = "") -> int:
    """The descriptor of a socket that systemd passed on: the one of this name, or the only one."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = _number("LISTEN_FDS") if _number("LISTEN_PID") == os.getpid() else 0
    found = [number for number in range(count) if not name or names[number : number + 1] == [name]]
    if len(found) != 1:
        wanted = f"one socket {name!r} (FileDescriptorName=)" if name else "one socket"
        raise AddressError(
            f"expected {wanted} from systemd, got {len(found)} of {count}: start the service by its "
            "socket unit; where there are more, listen on systemd:NAME"
        )
    return FIRST + found[0]


def _number(variable: str) -> int:
    try:
        return int(os.environ.get(variable, ""))
    except ValueError:
        return 0


class Notifier:
    """Reports to systemd what the service does, if it wants to know."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        is_ours = _number("WATCHDOG_PID") in (0, os.getpid())
        self._period = _number("WATCHDOG_USEC") / 2_000_000 if is_ours else 0.0
        self._next_beat = 0.0
        self._stopped = threading.Event()
        self._watchdog: threading.Thread | None = None

    def say(self, *lines: str) -> None:
        """Variables as sd_notify(3) has them. What cannot be said does no harm."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = f"\0{address[1:]}"
        # also if there is no descriptor left
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), address)

    def ready(self, status: str) -> None:
        """It serves."""
        self.say("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        """It loads its filter again; `ready` follows."""
        self.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It stops."""
        self.say("STOPPING=1")

    def beat(self) -> float:
        """Say that it is alive if that is due; the seconds until it is due again."""
        if not self._address or not self._period:
            return math.inf
        left = self._next_beat - time.monotonic()
        if left > 0:
            return left
        self.say(_ALIVE)
        self._next_beat = time.monotonic() + self._period
        return self._period

    def watch(self, soon: Callable[[Callable[[], None]], None]) -> None:
        """Say that it is alive as often as systemd wants to hear it; ``soon`` has the driver do it."""
        if self._address and self._period:

            def run() -> None:
                while not self._stopped.wait(self._period):
                    soon(partial(self.say, _ALIVE))

            self._watchdog = threading.Thread(target=run, name="demyjpy-watchdog", daemon=True)
            self._watchdog.start()

    def close(self) -> None:
        """Say no more."""
        self._stopped.set()
        if self._watchdog:
            self._watchdog.join()

"""What a milter does as a service besides serving: load its filter again, keep systemd informed."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.report import log
from demyjpy.drivers.signals import Controls
from demyjpy.drivers.systemd import Notifier
from demyjpy.errors import MilterError


class Service:
    """``reload`` gives a filter, ``check`` raises if it cannot run.

    ``is_apart``: loading must not be done where the driver works, but in a thread.
    """

    def __init__(
        self, reload: Callable[[], Any], check: Callable[[Any], object], *, is_apart: bool
    ) -> None:
        self._reload, self._check, self._is_apart = reload, check, is_apart
        self._controls: Controls | None = None
        self._is_loading = self._is_asked_again = False
        self._lock = threading.Lock()
        self._status = "starting"
        self.notifier = Notifier()

    def started(self, controls: Controls, status: str) -> None:
        """The driver serves."""
        self._controls = controls
        self._status = status
        self.notifier.ready(status)
        if self._is_asked_again:
            self._is_asked_again = False
            self.load_again()

    def close(self) -> None:
        """It has stopped."""
        self.notifier.close()

    def load_again(self) -> None:
        """Load the filter again, soon. It may be called in a signal handler."""
        if self._controls is None:
            self._is_asked_again = True
        else:
            self._controls.soon(partial(self._begin, self._controls))

    def _begin(self, controls: Controls) -> None:
        if not self._is_apart:
            self._load(controls)
        elif not self._must_wait():
            name = "demyjpy-reload"
            BIRTHS.start(
                threading.Thread(target=self._load_apart, args=(controls,), name=name, daemon=True)
            )

    def _must_wait(self) -> bool:
        with self._lock:
            if self._is_loading:
                self._is_asked_again = True
                return True
            self._is_loading = True
            return False

    def _load_apart(self, controls: Controls) -> None:
        try:
            self._load(controls)
        finally:
            with self._lock:
                again, self._is_asked_again = self._is_asked_again, False
                self._is_loading = False
            if again:
                self.load_again()

    def _load(self, controls: Controls) -> None:
        self.notifier.reloading()
        try:
            found = self._reload()
            self._check(found)
            controls.adopt(found)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # it is the user's code
            what = "" if isinstance(error, MilterError) else f"{type(error).__name__}: "
            log.error("the filter was not loaded again and stays as it was: %s%s", what, error)
        else:
            log.info("the filter was loaded again: sessions that begin from now on have the new one")
        self.notifier.ready(self._status)

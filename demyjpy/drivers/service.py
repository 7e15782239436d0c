"""What a milter does as a service besides serving: load its filter again, keep systemd informed."""

import gc
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from demyjpy.drivers.loading import Attempt, Outcome, Reload, why
from demyjpy.drivers.report import log
from demyjpy.drivers.signals import Controls
from demyjpy.drivers.systemd import Notifier


class Trial(Protocol):
    """An attempt to load the filter."""

    def outcome(self) -> Outcome | None:
        """What became of it, None while it goes on."""

    def cancel(self) -> bool:
        """It is of no use any more; whether it can be ended."""

    @property
    def left(self) -> float:
        """Seconds until `outcome` has to be asked for, if nothing wakes the caller before."""


Begin: TypeAlias = Callable[[Callable[[], Any], float], Trial]
"""Begins to load: given what gives the filter, or raises, and the seconds that this may take."""


class Service:
    """``reload`` says how a filter is loaded, ``check`` raises if it cannot run.

    ``seconds`` is how long loading may take. If ``begin`` is set, it loads in another process.
    """

    def __init__(
        self, reload: Reload | Callable[[], Any], check: Callable[[Any], object], seconds: float
    ) -> None:
        self._reload = reload if isinstance(reload, Reload) else Reload(reload)
        self._check, self._seconds = check, seconds
        self._controls: Controls | None = None
        self._is_asked = self._is_adopting = False
        self._trial: Trial | None = None
        self._started = 0.0
        self._status = "starting"
        self.begin: Begin | None = None
        self.notifier = Notifier()

    def started(self, controls: Controls, status: str) -> None:
        """The driver serves."""
        self._controls = controls
        self._status = status
        self.notifier.ready(status)
        self._ask_again()

    def _ask_again(self) -> None:
        if self._is_asked:
            self._is_asked = False
            self.load_again()

    def close(self) -> None:
        """It has stopped."""
        if self._trial is not None:
            self._trial.cancel()
        self.notifier.close()

    def load_again(self) -> None:
        """Load the filter again, soon. It may be called in a signal handler."""
        if self._controls is None:
            self._is_asked = True
        else:
            self._controls.soon(partial(self._begin, self._controls))

    def load_if_idle(self) -> None:
        """Load it again, unless that is done already."""
        if self._trial is None and not self._is_adopting:
            self.load_again()

    def tend(self) -> float:
        """What is due; the seconds until something is due again, if nothing wakes the caller before."""
        self._look()
        left = self._trial.left if self._trial else math.inf
        return min(left, self.notifier.beat())

    def _begin(self, controls: Controls) -> None:
        """Where the driver works. What was begun before is of no use any more, or has to end first."""
        if self._is_adopting or (self._trial is not None and not self._trial.cancel()):
            self._is_asked = True
            return
        self.notifier.reloading()
        log.info("loading again, for at most %g s", self._seconds)
        self._started = time.monotonic()
        try:
            self._trial = self._try(controls)
        except (OSError, RuntimeError) as error:  # no descriptor, no thread
            self._conclude(f"cannot begin to load it: {error}")

    def _try(self, controls: Controls) -> Trial:
        if self.begin is not None:
            return self.begin(self._load, self._seconds)
        reload = Reload(self._load, self._reload.probe, self._reload.give_up)
        return Attempt(reload, self._seconds, partial(controls.soon, self._look))

    def _load(self) -> Any:
        found = self._reload.load()
        self._check(found)
        return found

    def _look(self) -> None:
        outcome = self._trial.outcome() if self._trial else None
        if outcome is None or self._controls is None:
            return
        self._trial = None
        if outcome.error:
            self._conclude(outcome.error)
        else:
            self._adopt(outcome.found, self._controls)

    def _conclude(self, error: str) -> None:
        self._is_adopting = False
        if error:
            log.error("the filter was not loaded again and stays as it was: %s", error)
        else:
            log.info(
                "the filter was loaded again in %.2f s: sessions that begin from now on have the new "
                "one",
                time.monotonic() - self._started,
            )
            # modules are full of cycles, and an old filter may hold files: the first was frozen, too
            gc.unfreeze()
            gc.collect()
        self.notifier.ready(self._status)
        self._ask_again()

    def _adopt(self, found: Any, controls: Controls) -> None:
        self._is_adopting = True
        try:
            controls.adopt(found, self._conclude)
        except Exception as error:  # noqa: BLE001  # as the check, it looks at the user's
            self._conclude(why(error))

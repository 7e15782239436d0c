"""A circuit breaker as a value: whether a server that does not answer is asked. Pure.

Who asks by it lives in `demyjpy.lookups.guard`. Times are seconds of any clock that only grows.
"""

from typing import Any, Final

from attrs import evolve, field, frozen

from demyjpy.questions import check_seconds

MOST_FAILURES: Final = 5
PAUSE: Final = 10.0


def _as_pause(seconds: Any) -> float:
    return check_seconds("pause=", seconds)


@frozen
class Breaker:
    """What is known of one server.

    It opens at the ``most_failures``-th failure in a row. Then nobody asks for ``pause`` seconds. After
    them one question is let through as a probe; the others fail until that one has ended. Any answer
    closes it.
    """

    most_failures: int = MOST_FAILURES
    pause: float = field(default=PAUSE, converter=_as_pause)
    failures: int = 0
    asked_again_at: float | None = None
    """When a probe may go; None while it is closed."""
    is_probing: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the server counts as one that does not answer."""
        return self.asked_again_at is not None

    @property
    def is_suspect(self) -> bool:
        """Whether one more failure opens it, or keeps it open."""
        return self.is_open or self.failures + 1 >= self.most_failures

    def admit(self, now: float) -> "Breaker | None":
        """The breaker when one more question is on its way; None if it is not to be asked."""
        if self.asked_again_at is None:
            return self
        if self.is_probing or now < self.asked_again_at:
            return None
        return evolve(self, is_probing=True)

    def succeed(self) -> "Breaker":
        """The server has answered."""
        return evolve(self, failures=0, asked_again_at=None, is_probing=False)

    def fail(self, now: float, *, is_probe: bool) -> "Breaker":
        """It has not. What was asked before it opened, and fails now, says nothing new."""
        if self.is_open and not is_probe:
            return self
        failures = self.failures + 1
        is_open = is_probe or failures >= self.most_failures
        until = now + self.pause if is_open else None
        return evolve(self, failures=failures, asked_again_at=until, is_probing=False)

    def give_up(self, *, is_probe: bool) -> "Breaker":
        """Nobody wants the answer any more, so nothing is known; the next may be the probe."""
        return evolve(self, is_probing=False) if is_probe else self

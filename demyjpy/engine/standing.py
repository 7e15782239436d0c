"""Where the filters of a connection stand: who is done, and what is still owed to the MTA. A value."""

from collections.abc import Iterable
from typing import Final

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy.actions import Verdict
from demyjpy.verdicts import fate_of, strictest

Said = Iterable[tuple[int, Verdict]]
"""Verdicts, each with the number of the filter that gave it."""

_LASTING: Final = (act.Accept, act.Skip)
"""Verdicts that are remembered."""


@frozen
class Standing:
    """What the filters have decided; their numbers are their places in a merged registry.

    ``done`` have accepted the message, ``done_for_good`` the connection, ``skipped`` want no more of
    the body. ``failed`` are those whose failure ended the message for them, which `abort` has to tell
    them, though they may be ``done``. ``owed`` is a verdict that could not be given where it fell,
    because no answer was due; ``owed_for_good`` one that holds for every message.
    """

    done: frozenset[int] = frozenset()
    done_for_good: frozenset[int] = frozenset()
    skipped: frozenset[int] = frozenset()
    owed: Verdict | None = None
    owed_for_good: Verdict | None = None
    failed: frozenset[int] = frozenset()

    def hear(self, said: Said, *, of_connection: bool) -> "Standing":
        """After these verdicts: those that accept are done, those that skip want no more body."""
        said = [(number, one) for number, one in said if isinstance(one, _LASTING)]
        if not said:
            return self
        done = self.done | {number for number, one in said if isinstance(one, act.Accept)}
        skipped = self.skipped | {number for number, one in said if isinstance(one, act.Skip)}
        for_good = done if of_connection else self.done_for_good
        return evolve(self, done=done, done_for_good=for_good, skipped=skipped)

    def fail(self, number: int) -> "Standing":
        """After a failure that ends the message for this filter."""
        return evolve(self, failed=self.failed | {number})

    def tell(self, numbers: Iterable[int]) -> "Standing":
        """After these filters have been told the end, unless they failed."""
        return evolve(self, done=self.done | (frozenset(numbers) - self.failed))

    def owe(self, verdict: Verdict, number: int | None, *, of_connection: bool) -> "Standing":
        """After a verdict that cannot be given now; ``number`` is the filter's, None the library."""
        if isinstance(verdict, act.Accept) and number is not None:
            return self.hear([(number, verdict)], of_connection=of_connection)
        if fate_of(verdict).goes_on:
            return self
        owed = strictest([verdict] if self.owed is None else [self.owed, verdict])
        for_good = owed if of_connection else self.owed_for_good
        return evolve(self, owed=owed, owed_for_good=for_good)

    def between_messages(self) -> "Standing":
        """With what holds for the connection only."""
        if not self.done_for_good and self.owed_for_good is None:
            return CLEAR
        return Standing(
            self.done_for_good, self.done_for_good, frozenset(), self.owed_for_good, self.owed_for_good
        )


CLEAR: Final = Standing()

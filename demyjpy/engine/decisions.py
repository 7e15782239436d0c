"""What the filters have decided: who is done, and which verdict is still owed to the MTA. A value."""

from collections.abc import Iterable
from typing import Final

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy.actions import Verdict
from demyjpy.engine.dispatch import OF_DONE, Chain, Dispatch
from demyjpy.engine.letters import ABORT, BODY
from demyjpy.verdicts import fate_of, strictest

Said = Iterable[tuple[int, Verdict]]
"""Verdicts, each with the number of the filter that gave it."""

_LASTING: Final = (act.Accept, act.Skip)
"""Verdicts that are remembered."""


@frozen
class Decisions:
    """What the filters have decided; their numbers are their places in a merged registry.

    ``done`` have accepted the message, ``done_for_good`` the connection, ``skipped`` want no more of
    the body. ``failed`` are those whose failure ended the message for them: they still get `abort`,
    though they may be ``done``. ``owed`` is a verdict that could not be given at its own event,
    because no answer was due; ``owed_for_good`` one that holds for every message. Of several filters
    each owes its own: ``owing`` and ``owing_for_good``, by number; ``owed`` is the library's then.
    """

    done: frozenset[int] = frozenset()
    done_for_good: frozenset[int] = frozenset()
    skipped: frozenset[int] = frozenset()
    owed: Verdict | None = None
    owed_for_good: Verdict | None = None
    failed: frozenset[int] = frozenset()
    owing: tuple[tuple[int, Verdict], ...] = ()
    owing_for_good: tuple[tuple[int, Verdict], ...] = ()

    def due(self, dispatch: Dispatch) -> Chain:
        """The handlers of a command whose filters are not done with this message, or body."""
        over = self.done | self.skipped if dispatch.letter == BODY else self.done
        if dispatch.letter == ABORT:
            over -= self.failed
        if not over or dispatch.letter not in OF_DONE:
            return dispatch.chain
        return tuple((number, handler) for number, handler in dispatch.chain if number not in over)

    def hear(self, said: Said, *, of_connection: bool) -> "Decisions":
        """After these verdicts: those that accept are done, those that skip want no more body."""
        said = [(number, one) for number, one in said if isinstance(one, _LASTING)]
        if not said:
            return self
        done = self.done | {number for number, one in said if isinstance(one, act.Accept)}
        skipped = self.skipped | {number for number, one in said if isinstance(one, act.Skip)}
        for_good = done if of_connection else self.done_for_good
        return evolve(self, done=done, done_for_good=for_good, skipped=skipped)

    def fail(self, number: int) -> "Decisions":
        """After a failure that ends the message for this filter."""
        return evolve(self, failed=self.failed | {number})

    def tell(self, numbers: Iterable[int]) -> "Decisions":
        """After these filters have got the end, unless they failed."""
        return evolve(self, done=self.done | (frozenset(numbers) - self.failed))

    def owe(self, verdict: Verdict, number: int | None, *, of_connection: bool) -> "Decisions":
        """After a verdict that cannot be given now; ``number`` is the filter's, None the library."""
        if isinstance(verdict, act.Accept) and number is not None:
            return self.hear([(number, verdict)], of_connection=of_connection)
        if fate_of(verdict).goes_on:
            return self
        owed = strictest([verdict] if self.owed is None else [self.owed, verdict])
        for_good = owed if of_connection else self.owed_for_good
        return evolve(self, owed=owed, owed_for_good=for_good)

    def owe_apart(self, verdict: Verdict, number: int, *, of_connection: bool) -> "Decisions":
        """The same if this filter is one of several: the first verdict of each counts."""
        if isinstance(verdict, act.Accept):
            return self.hear([(number, verdict)], of_connection=of_connection)
        if fate_of(verdict).goes_on or self.owes(number):
            return self
        owing = tuple(sorted((*self.owing, (number, verdict)), key=lambda one: one[0]))
        return evolve(self, owing=owing, owing_for_good=owing if of_connection else self.owing_for_good)

    def owes(self, number: int) -> Verdict | None:
        """What this filter, one of several, owes."""
        return dict(self.owing).get(number)

    def between_messages(self) -> "Decisions":
        """With what holds for the connection only."""
        if not self.done_for_good and self.owed_for_good is None and not self.owing_for_good:
            return NO_DECISIONS
        return Decisions(
            self.done_for_good,
            self.done_for_good,
            frozenset(),
            self.owed_for_good,
            self.owed_for_good,
            owing=self.owing_for_good,
            owing_for_good=self.owing_for_good,
        )


NO_DECISIONS: Final = Decisions()

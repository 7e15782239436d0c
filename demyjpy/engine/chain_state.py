"""How far one message has come through several filters in a row. A value, part of `Scope`.

It begins anew with each message. Which filter decided what is in `demyjpy.engine.decisions`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from attrs import evolve, frozen
from pyrsistent import PVector, pvector

from demyjpy.actions import Verdict
from demyjpy.engine.decisions import Decisions
from demyjpy.engine.dispatch import Chain
from demyjpy.engine.members import Waits
from demyjpy.engine.stock import EMPTY_STOCK, Stock
from demyjpy.events import Mail, Recipient
from demyjpy.message import Message
from demyjpy.message.draft import Draft

_NOTHING: Final[PVector[Any]] = pvector()
_NOBODY: Final[Mapping[int, Message]] = MappingProxyType({})
_NO_TIME: Final[Mapping[int, float]] = MappingProxyType({})


@frozen
class AtEnd:
    """A message whose end has come, on its way from filter to filter.

    ``first`` is the message as it was, ``draft`` as the filters before the present one have made it,
    ``made`` as that one makes it, with its number. ``given`` has the messages that filters got as
    values, by number; ``spent`` the seconds that their message handlers took, if these ran apart.
    """

    first: Draft
    draft: Draft
    made: tuple[int, Draft] | None = None
    given: Mapping[int, Message] = _NOBODY
    spent: Mapping[int, float] = _NO_TIME


@frozen
class ChainState:
    """One message on its way through the filters.

    ``began``: filters that saw it begin; ``told``: those that saw its end, or ended it. ``waits``: who
    waits for whom, once content has come; None before, and if nobody can have to wait. ``kept`` is a
    refusal with its filter's number, until those before it have ended. What is kept of the message:
    ``fields`` (name and raw value), ``stock`` (the body as the next filter gets it), ``mail`` and
    ``recipients`` (who stand). ``end``: how far its end is, once that has come.
    """

    began: frozenset[int] = frozenset()
    told: frozenset[int] = frozenset()
    waits: Waits | None = None
    kept: tuple[int, Verdict] | None = None
    fields: PVector[tuple[str, str]] = _NOTHING
    stock: Stock = EMPTY_STOCK
    recipients: PVector[Recipient] = _NOTHING
    mail: Mail | None = None
    end: AtEnd | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the hot path may go on with it."""
        return self.waits is None and self.kept is None

    def given_to(self, number: int) -> Message | None:
        """The message that this filter got as a value."""
        return None if self.end is None else self.end.given.get(number)

    def begin(self, numbers: Iterable[int]) -> "ChainState":
        """After these filters have seen some of it."""
        began = self.began.union(numbers)
        return self if began == self.began else evolve(self, began=began)

    def with_content(self, fields: PVector[tuple[str, str]], stock: Stock) -> "ChainState":
        """With this kept of the message, before its end."""
        return ChainState(  # evolve() takes four times as long, and this is on the way of each field
            self.began,
            self.told,
            self.waits,
            self.kept,
            fields,
            stock,
            self.recipients,
            self.mail,
        )

    def with_end(
        self, end: AtEnd, stock: Stock | None = None, waits: Waits | None = None
    ) -> "ChainState":
        """With another state of its end, and perhaps another body, or others who wait."""
        return ChainState(  # see above
            self.began,
            self.told,
            self.waits if waits is None else waits,
            self.kept,
            self.fields,
            self.stock if stock is None else stock,
            self.recipients,
            self.mail,
            end,
        )

    def tell(self, number: int) -> "ChainState":
        """After this filter has seen its end, or ended it."""
        if number in self.told:
            return self
        return ChainState(  # see above
            self.began,
            self.told | {number},
            self.waits,
            self.kept,
            self.fields,
            self.stock,
            self.recipients,
            self.mail,
            self.end,
        )

    def keep(self, number: int, verdict: Verdict) -> "ChainState":
        """With a refusal that has to wait for the filters before; the earliest filter's counts."""
        if self.kept is not None and self.kept[0] < number:
            return self
        return evolve(self.tell(number), kept=(number, verdict))


NEW_MESSAGE: Final = ChainState()


def unknowing(state: ChainState, decisions: Decisions, aborts: Chain) -> Chain:
    """The abort handlers of filters that saw a message begin, and neither its end nor ended it."""
    knowing = (state.told | decisions.done) - decisions.failed
    return tuple(one for one in aborts if one[0] in state.began and one[0] not in knowing)

"""What a replay found, equal differences in one group: those of verdicts first, then what is frequent.

Differences are equal if the same handler makes the same kind of difference at the same step; values
may differ. Of a group one example is kept, and the names of some others. All is bounded, and each rank
has room of its own: a flood of other headers leaves no verdict out.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from demyjpy.actions import ReplyCode
from demyjpy.cli.replay_report import ImpureReport, MessageReport, SessionReport, StepReport
from demyjpy.trace.display import pages
from demyjpy.trace.display.pages import Markup
from demyjpy.trace.format.message_stories import MessageStory

VERDICT, REFUSED, OTHER, IMPURE = range(4)
"""Ranks: the order in which groups are shown."""

MOST_GROUPS: Final = 100
"""Groups of one rank."""

MOST_OTHERS: Final = 50
"""Messages of a group that are named beside its example."""

MOST_ASKED: Final = 5
"""Questions of a session without an answer that are named."""

_ROOM: Final = pages.LARGEST // 4  # characters of one rank
_MOST_CHANGES: Final = 20  # of a message, that make it equal to another
_VALUE: Final = re.compile(r": .*|<[^<>]*>|\d+", re.DOTALL)


@frozen
class Difference:
    """One thing that differs: its rank, the words that name its kind, and where it was found.

    Equal ``key``: one group. ``what`` and ``who`` are for the index: what differs, and who made it so.
    ``name`` is that of the message, if it is one, else that of the session.
    """

    rank: int
    key: Hashable
    tags: tuple[str, ...]
    what: str
    who: str
    name: str
    found: SessionReport
    message: MessageReport | None = None
    why: StepReport | None = None
    impure: ImpureReport | None = None
    asked: tuple[str, ...] = ()


def differences(found: SessionReport) -> Iterator[Difference]:
    """All that differs in a session."""
    session = f"session {found.session}"
    if found.failure:
        shape = _VALUE.sub("", found.failure)
        words = "the filter refuses the session"
        yield Difference(REFUSED, shape, ("refused",), words, "", session, found)
    elif found.difference and not found.differing:
        why = found.difference
        step = _step_key(why)
        words = "other bytes, verdicts and changes are the same"
        yield Difference(OTHER, step, ("other bytes",), words, _who(why), session, found, why=why)
    for one in found.differing:
        is_verdict = "verdict" in one.kinds
        yield Difference(
            VERDICT if is_verdict else OTHER,
            (one.kinds, _message_key(one), _step_key(one.why)),
            one.kinds,
            f"{one.old.outcome} \N{RIGHTWARDS ARROW} {one.new.outcome}" if is_verdict else _what(one),
            _who(one.why),
            one.old.name,
            found,
            one,
            one.why,
        )
    if found.asked.missing:
        tags, words = ("not recorded",), "asked what the recording cannot answer"
        missing = found.asked.missing[:MOST_ASKED]
        yield Difference(OTHER, tags, tags, words, "", session, found, asked=missing)
    for impure in found.impure:
        key = impure.handler, impure.event
        name, who = impure.queue_id or session, f"{impure.handler} at {impure.event}"
        words = "answers something else when it is run again"
        yield Difference(IMPURE, key, ("not pure",), words, who, name, found, impure=impure)


def _who(why: StepReport | None) -> str:
    return "" if why is None else f"{why.handler or 'the filter'} at {why.event}"


def _what(one: MessageReport) -> str:
    """What is no more, what is new and what has another value, without the values."""
    signs: dict[str, set[str]] = {}
    for each in one.changed:
        signs.setdefault(_shape(each.words), set()).add(each.sign)
    words = (f"{_kind(found)}{shape}" for shape, found in list(signs.items())[:_MOST_CHANGES])
    return "; ".join(words)


def _kind(signs: set[str]) -> str:
    if {"-", "+"} <= signs:
        return "other value: "
    return "no more: " if "-" in signs else "new: " if "+" in signs else ""


def _step_key(why: StepReport | None) -> Hashable:
    if why is None:
        return None
    return why.event, why.handler, why.is_withheld, why.error.partition(":")[0]


def _message_key(one: MessageReport) -> Hashable:
    """Fates, or the changes without their values."""
    if "verdict" in one.kinds:
        return _fate_key(one.old), _fate_key(one.new)
    return frozenset((each.sign, _shape(each.words)) for each in one.changed[:_MOST_CHANGES])


def _fate_key(message: MessageStory) -> Hashable:
    verdict = message.verdict
    code = verdict.code if isinstance(verdict, ReplyCode) else 0
    return message.outcome, message.at, code


def _shape(words: str) -> str:
    """Words without values, addresses and numbers."""
    return _VALUE.sub("", words).rstrip()


# ------------------------------------------------------------------------------------- the groups
Shown: TypeAlias = "Callable[[Difference], Markup]"
"""How a difference is shown. It is called only if there may be a place."""


@define
class Group:
    """Equal differences: an example as it is shown, the others by name."""

    first: Difference
    example: Markup
    count: int = 1
    others: list[Markup] = field(factory=list)


@define
class Groups:
    """Differences on their way to a page: `add` them, then there are the ``groups``.

    ``left_out`` counts those that have no place, and ``room`` is what each rank may hold, in characters.
    """

    room: int = _ROOM
    left_out: int = 0
    transitions: Counter[tuple[str, str]] = field(factory=Counter)
    """How many messages had which fate, and have which one now, if these differ."""
    _found: dict[Any, Group] = field(factory=dict)
    _sizes: Counter[int] = field(factory=Counter)
    _counts: Counter[int] = field(factory=Counter)

    def add(self, one: Difference, example: Shown, other: Shown) -> None:
        """One more; ``example`` shows the first of a group, ``other`` a later one, if it has a place."""
        if one.rank == VERDICT and one.message is not None:
            self.transitions[str(one.message.old.outcome), str(one.message.new.outcome)] += 1
        key = one.rank, one.key
        group = self._found.get(key)
        if group is not None:
            group.count += 1
            if len(group.others) < MOST_OTHERS and (piece := self._piece(one, other)) is not None:
                group.others.append(piece)
            return
        piece = self._piece(one, example) if self._counts[one.rank] < MOST_GROUPS else None
        if piece is None:
            self.left_out += 1
            return
        self._counts[one.rank] += 1
        self._found[key] = Group(one, piece)

    @property
    def groups(self) -> list[Group]:
        """By rank, then the largest first, then as they were found."""
        return sorted(self._found.values(), key=lambda one: (one.first.rank, -one.count))

    def _piece(self, one: Difference, show: Shown) -> Markup | None:
        """How it is shown; None if its rank has no room for it, or had none for one before it."""
        if self._sizes[one.rank] > self.room:
            return None
        piece = show(one)
        self._sizes[one.rank] += len(piece)
        return piece if self._sizes[one.rank] <= self.room else None

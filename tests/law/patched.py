"""Faults that are put into merging with a patch: the tests try them in half a minute.

Each is a function that puts the fault in with pytest's `MonkeyPatch`. `test_patched` shows that the law
test finds every one. `tests.law.planted` changes single lines of a copy of the tree instead.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest
from attrs import evolve

from demyjpy import actions as act
from demyjpy.engine import chain_end, conclusions, turn
from demyjpy.engine.chain_edits import AT_END
from demyjpy.engine.chain_values import edits_by, message_for
from demyjpy.engine.members import Members
from demyjpy.message import AddAddress, Hold
from demyjpy.message.draft import Draft
from demyjpy.wishes import Wished

Plant = Callable[[pytest.MonkeyPatch], None]


def _in_plan(change: Callable[[list[Any]], Iterable[Any]]) -> Plant:
    """A fault in the modifications that are sent for all filters."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        made = chain_end.modifications_of
        patch.setattr(chain_end, "modifications_of", lambda *args: tuple(change([*made(*args)])))

    return plant


def _in_difference(change: Callable[[list[Any]], Iterable[Any]]) -> Plant:
    """A fault in what is taken for the difference of the message before and after."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        made = chain_end.difference
        patch.setattr(chain_end, "difference", lambda *args: tuple(change([*made(*args)])))

    return plant


def _deletes_upwards(edits: list[Any]) -> Iterable[Any]:
    deletions = iter([one for one in edits if isinstance(one, act.DeleteHeader)][::-1])
    return (next(deletions) if isinstance(one, act.DeleteHeader) else one for one in edits)


def _deletes_first(edits: list[Any]) -> Iterable[Any]:
    return sorted(edits, key=lambda one: not isinstance(one, act.DeleteHeader))


def _adds_instead_of_appending(edits: list[Any]) -> Iterable[Any]:
    for one in edits:
        is_last = isinstance(one, act.InsertHeader) and one.index == AT_END
        yield act.AddHeader(one.name, raw=one.raw) if is_last else one


def _turns_insertions_round(edits: list[Any]) -> Iterable[Any]:
    new = iter([one for one in edits if isinstance(one, act.InsertHeader)][::-1])
    return (next(new) if isinstance(one, act.InsertHeader) else one for one in edits)


def _counts_as_it_edits(patch: pytest.MonkeyPatch) -> None:
    """Numbers of one filter count what its own edits have left."""
    apply = chain_end.apply_edits

    def one_by_one(draft: Draft, edits: Iterable[Any]) -> Draft:
        for edit in edits:
            draft = apply(draft, [edit])
        return draft

    patch.setattr(chain_end, "apply_edits", one_by_one)


def _forgets_earlier_edits(patch: pytest.MonkeyPatch) -> None:
    """Each filter edits the message as it came."""
    apply = chain_end.apply_edits
    patch.setattr(
        chain_end, "apply_edits", lambda draft, edits: apply(evolve(draft, added=(), dropped=()), edits)
    )


def _set(owner: Any, name: str, value: Any) -> Plant:
    return lambda patch: patch.setattr(owner, name, value)


def _only_wishes(number: int, said: Any) -> tuple[tuple[Any, ...], bool]:
    is_wish = edits_by(number, said)[1]
    return edits_by(number, [one for one in said if isinstance(one[1], Wished) or not is_wish])


def _as_it_came(state: Any, member: Any) -> Any:
    end = state.end
    return message_for(state if end is None else state.with_end(evolve(end, draft=end.first)), member)


PLANTED: Final[dict[str, Plant]] = {
    "fields are deleted from the first to the last": _in_plan(_deletes_upwards),
    "fields are deleted before others are changed": _in_plan(_deletes_first),
    "fields at the end are added with add_header": _in_plan(_adds_instead_of_appending),
    "fields are inserted in the wrong order": _in_plan(_turns_insertions_round),
    "the last edit is lost": _in_plan(lambda edits: edits[:-1]),
    "a quarantine is lost": _in_difference(
        lambda edits: (one for one in edits if not isinstance(one, Hold))
    ),
    "added recipients are lost": _in_difference(
        lambda edits: (one for one in edits if not isinstance(one, AddAddress))
    ),
    "numbers count what the filter's own edits have left": _counts_as_it_edits,
    "recipients of earlier filters are forgotten": _forgets_earlier_edits,
    "a body keeps its open end for the next filter": _set(chain_end, "shown_body", lambda data: data),
    "nobody waits for the filters before": _set(Members, "waits", lambda self, done: {}),
    "a refusal is not kept until those before have ended": _set(
        Members, "has_more_before", lambda self, number, letter, done, waits: False
    ),
    "edits beside a wish are lost": _set(chain_end, "edits_by", _only_wishes),
    "a filter gets the message as it came": _set(chain_end, "message_for", _as_it_came),
    "filters do not get abort": _set(turn, "unknowing", lambda state, decisions, aborts: ()),
    "all filters get abort": _set(turn, "unknowing", lambda state, decisions, aborts: aborts),
    "no edits are sent": _set(conclusions, "edits_of", lambda *args: ()),
}
"""The faults, by what goes wrong."""

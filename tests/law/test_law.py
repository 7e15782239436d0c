"""The law: merged filters do what an MTA does with the same filters in a row, in the models of both."""

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from demyjpy import AddHeader, ChangeHeader, DeleteHeader, InsertHeader, ReplaceBody
from tests.examples import share_of
from tests.law.combinations import Combination, pairwise
from tests.law.draws import OF_CLIENT, SENT, Draw, draws
from tests.law.filters import CONTENT, REFUSALS, Plan
from tests.law.judging import extends, faults
from tests.law.oracle import Letter

_EVERY = 13
"""Each so many of the combinations are played here; `python -m tests.law` plays all on the real MTAs."""


@settings(max_examples=share_of(350), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draws())
def test_merged_filters_do_what_the_row_does(draw: Draw) -> None:
    """Replies, mail, aborts and what each filter sees; where the MTAs differ, what the contract says."""
    assert list(faults(draw)) == []


@pytest.mark.parametrize("combination", [*pairwise()][::_EVERY], ids=str)
def test_combination(combination: Combination) -> None:
    """{verdict x event} x {edits} x {what the second does}."""
    assert list(faults(combination.draw)) == []


_LETTER = Letter("a@test", ("b@test",), (*SENT, ("X-A", " s")), b"hello\r\n")


@pytest.mark.parametrize(("second", "third"), [*product(CONTENT, repeat=2)])
def test_of_two_that_refuse_content_the_one_before_counts(second: str, third: str) -> None:
    """Whichever says so first: the filter before both may still refuse, so both have to wait."""
    for silent in (frozenset[str](), frozenset({"header", "end_of_headers", "body"} - {second, third})):
        plans = (Plan({}), Plan({second: "550"}, silent=silent), Plan({third: "451"}, silent=silent))
        assert list(faults(Draw(plans, (_LETTER,)))) == []


@pytest.mark.parametrize("refused", ["header", "end_of_headers", "body", "message"])
@pytest.mark.parametrize(
    "heard", ["mail", "mail recipient data", "connect header", "mail end_of_headers", "mail body"]
)
def test_a_filter_that_has_heard_all_it_wants_has_had_its_end(heard: str, refused: str) -> None:
    """A filter behind it refuses the content: no abort, for in a row it has had its end."""
    plans = (Plan({}, listens=frozenset(heard.split())), Plan({refused: "reject"}))
    assert list(faults(Draw(plans, (_LETTER,)))) == []


# ------------------------------------------------------------------------- the generator's quality
def _collides(draw: Draw) -> bool:
    """The second filter edits a name that the first added or deleted."""
    first, second = draw.plans[:2]
    made = (AddHeader, InsertHeader, DeleteHeader)
    names = {edit.name.lower() for edit in first.edits if isinstance(edit, made)}
    edited = (*made, ChangeHeader)
    return any(isinstance(edit, edited) and edit.name.lower() in names for edit in second.edits)


def _both_replace(draw: Draw) -> bool:
    return all(any(isinstance(one, ReplaceBody) for one in plan.edits) for plan in draw.plans[:2])


def _first_refuses(draw: Draw) -> bool:
    return any(answer in REFUSALS for answer in draw.plans[0].answers.values())


WANTED: dict[Callable[[Draw], bool], float] = {
    _collides: 0.2,
    _both_replace: 0.1,
    _first_refuses: 0.2,
    lambda draw: any(one.differs for one in draw.foreseen): 0.2,
    lambda draw: not any(one.differs for one in draw.foreseen): 0.3,
    lambda draw: any(one.is_delivered for one in draw.foreseen): 0.4,
    lambda draw: bool(draw.plans[0].silent): 0.05,
    lambda draw: len(draw.plans) == 3: 0.1,
    lambda draw: all(plan.wish is None for plan in draw.plans): 0.3,
    lambda draw: any(plan.wish for plan in draw.plans): 0.3,
    lambda draw: sum(bool(plan.wish) for plan in draw.plans) > 1: 0.1,
    lambda draw: any(plan.wish and plan.edits for plan in draw.plans): 0.1,
    lambda draw: any("message" in plan.answers for plan in draw.plans): 0.05,
    lambda draw: any(plan.answers.get(name) for plan in draw.plans for name in OF_CLIENT): 0.02,
}
"""What the draws must have, and in how many of them at least."""


def test_the_draws_are_worth_it() -> None:
    """So many of them have filters that collide, or that refuse."""
    counts: Counter[Any] = Counter()

    @settings(max_examples=500, phases=[Phase.generate], derandomize=True, database=None,
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(draws())
    def count(draw: Draw) -> None:
        counts["all"] += 1
        counts.update(what for what in WANTED if what(draw))

    count()
    shares = [counts[what] / counts["all"] for what in WANTED]
    assert all(share >= least for share, least in zip(shares, WANTED.values(), strict=True)), shares


# ----------------------------------------------------------------------------- the judge's quality
@pytest.mark.parametrize(
    ("seen", "is_right"),
    [
        (["MAIL a", "DATA", "ABORT"], True),
        (["MAIL a", "DATA", "HEADER x", "EOH", "ABORT"], True),
        (["MAIL a", "DATA", "HEADER x", "EOH"], False),
        (["MAIL a", "DATA"], False),
        (["MAIL a", "ABORT"], False),
        (["MAIL a", "DATA", "ABORT", "ABORT"], False),
        (["MAIL a", "DATA", "HEADER x", "EOM", "ABORT"], False),
        (["MAIL a", "DATA", "HEADER x", "BODY y"], True),
        (["MAIL a", "DATA", "HEADER x", "BODY y", "ABORT"], True),
    ],
)
def test_a_filter_may_see_more_of_a_message_that_is_refused(seen: list[str], is_right: bool) -> None:
    """More content, then its end exactly once."""
    plan = Plan({"body": "accept"})
    assert extends(plan, ["MAIL a", "DATA", "ABORT"], seen) is is_right

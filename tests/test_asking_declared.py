"""What ``asks=``, ``every=``, ``resources=``, ``needs=`` and ``asking=`` take, and what is said else."""

from typing import Any

import pytest

from demyjpy import HandlerError, define_event_handlers
from demyjpy.questions import Question
from demyjpy.registry import Handler


class Job:
    """Done again and again."""

    def perform(self, resources: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (
            {"asks": {"Question": print}},
            "expected asks= as a map from classes of questions to functions",
        ),
        (
            {"asks": {Question: "print"}},
            "expected asks= as a map from classes of questions to functions",
        ),
        ({"every": {"60": Job()}}, "expected every= as a map from seconds to jobs, got '60'"),
        ({"every": {True: Job()}}, "expected every= as a map from seconds to jobs, got True"),
        ({"every": {0: Job()}}, "expected every= as a map from seconds to jobs, got 0"),
        ({"every": {float("inf"): Job()}}, "expected every= as a map from seconds to jobs, got inf"),
        ({"every": {60: Job}}, "expected a job in every=, an instance of a class with perform"),
        ({"every": {60: print}}, "expected a job in every=, an instance of a class with perform"),
        ({"resources": {"effect_key": list}}, "expected another name for a resource, got 'effect_key'"),
        (
            {"resources": {"table": []}},
            "expected under 'table' in resources= a function of the settings",
        ),
    ],
)
def test_what_a_filter_declares_is_looked_at(declared: dict[str, Any], expected: str) -> None:
    """As it is made, not when mail comes."""
    with pytest.raises(HandlerError) as raised:
        define_event_handlers(**declared)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("event", "options", "expected"),
    [
        ("quit", {"needs": ("a",)}, "expected needs= and asking= at connect, "),
        ("abort", {"asking": lambda event, ctx: {}}, "got them at 'abort'"),
        (
            "mail",
            {"asking": "spf"},
            "expected asking= as a function (event, ctx) that returns questions by key",
        ),
    ],
)
def test_what_a_handler_asks_is_looked_at(event: str, options: dict[str, Any], expected: str) -> None:
    """As it is registered."""
    with pytest.raises(HandlerError) as raised:
        Handler(event, lambda event, ctx: ctx, **options)
    assert expected in str(raised.value)

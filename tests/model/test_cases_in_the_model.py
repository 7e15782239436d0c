"""Dialogues with scripted milters, as they were recorded with the real servers, in their models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scenario import Mta
from tests.model.case import Case
from tests.model.cases import CASES
from tests.model.known import KNOWN
from tests.model.playing import play_case
from tests.model.shape import first_line, show_mail, show_packet

RECORDED = Path(__file__).with_name("recorded.jsonl")
MTAS: tuple[Mta, ...] = ("postfix", "sendmail")


def recorded() -> dict[tuple[str, str], Any]:
    """What the real servers did, by server and case."""
    rows = map(json.loads, RECORDED.read_text().splitlines())
    return {(row.pop("mta"), row.pop("case")): row for row in rows}


def modelled(case: Case, mta: Mta) -> Any:
    """What the model does, in the same shape."""
    played, heard = play_case(case, mta)
    return {
        "replies": [*map(first_line, played.replies)],
        "packets": [[*map(show_packet, one)] for one in heard],
        "delivered": [*map(show_mail, played.delivered)],
        "held": [*played.held],
    }


def runs() -> Iterator[tuple[Mta, Case]]:
    """All cases with all servers that survive them."""
    return ((mta, case) for mta in MTAS for case in CASES if mta in case.mtas)


REAL = recorded()


@pytest.mark.parametrize(
    ("mta", "case"), [pytest.param(mta, case, id=f"{mta}-{case.name}") for mta, case in runs()]
)
def test_case(mta: Mta, case: Case) -> None:
    """Replies, packets, delivered mail and quarantine are those of the real server."""
    does_agree = modelled(case, mta) == REAL[mta, case.name]
    if (mta, case.name) in KNOWN:
        assert not does_agree, "it agrees: take it out of KNOWN"
    else:
        assert modelled(case, mta) == REAL[mta, case.name]


def test_all_are_recorded() -> None:
    """What is recorded are these cases, and no others."""
    assert set(REAL) == {(mta, case.name) for mta, case in runs()}
    assert len({case.name for case in CASES}) == len(CASES)


def test_known_differences_are_cases() -> None:
    """What is known to differ is among the cases."""
    assert set(KNOWN) <= set(REAL)

"""The targets of the fuzzers with their corpora, with a little damage, and with all ever found."""

import time

import pytest

from tests.fuzz import byhypothesis, targets
from tests.fuzz.__main__ import FOUND
from tests.fuzz.targets import TARGETS, corpus


@pytest.mark.parametrize("target", TARGETS)
def test_what_real_mtas_say_breaks_no_law(target):
    """The corpus is where fuzzing begins, so it must be well."""
    entries = corpus(target)
    assert len(entries) > 1
    for entry in entries:
        TARGETS[target](entry)


@pytest.mark.parametrize("target", TARGETS)
def test_a_little_damage_breaks_no_law(target):
    """A few seconds of what `python -m tests.fuzz` does for hours."""
    assert byhypothesis.look(target, time.monotonic(), examples=150) is None


def test_what_was_found_is_mended():
    """Each finding once made a target raise."""
    for path in sorted(FOUND.glob("*-*")):
        TARGETS[path.name.partition("-")[0]](path.read_bytes())


def test_a_broken_law_is_found(monkeypatch, capsys):
    """The fuzzer itself: it comes back with bytes that do it."""

    def is_wrong(data: bytes) -> None:
        assert len(data) < 3

    monkeypatch.setitem(targets.TARGETS, "decode", is_wrong)
    found = byhypothesis.look("decode", time.monotonic() + 60)
    assert found is not None
    assert len(found) >= 3
    assert "decode: AssertionError" in capsys.readouterr().out

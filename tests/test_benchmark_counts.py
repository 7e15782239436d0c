"""What the benchmarks count: instructions of sessions beside their baselines, memory."""

import json

import pytest

from benchmarks import instructions, memory
from benchmarks.instructions import Baseline
from benchmarks.sessions import SESSIONS, WATCHERS
from benchmarks.sessions import main as play_session


@pytest.mark.parametrize("name", SESSIONS)
def test_a_counted_session_is_answered_as_it_says(name: str) -> None:
    """What is counted is the way that it should be, not that of an error."""
    play_session(name, 1)


def test_every_session_is_counted() -> None:
    """The sessions that are counted are those that there are, with every watcher."""
    assert set(instructions.TIMES) == set(SESSIONS)
    assert set(instructions.WATCHERS) == set(WATCHERS)
    assert set(instructions.GOALS) <= set(SESSIONS)
    assert {*instructions.ALONE, *instructions.ALONE.values()} <= set(SESSIONS)


def test_a_baseline_says_what_it_depends_on() -> None:
    """Each baseline of the file has the versions that its counts hold for, and no other sessions."""
    baselines = instructions.read_baselines()
    for baseline in baselines:
        assert {"python", "libc", "valgrind", "attrs", "pyrsistent"} <= set(baseline.versions)
        assert set(baseline.sessions) <= set(instructions.TIMES)
    assert len({json.dumps(one.versions, sort_keys=True) for one in baselines}) == len(baselines)


def baseline(python: str, libc: str = "2.36", **sessions: int) -> Baseline:
    """A baseline of that Python; a plus in a session's name is written as two underscores."""
    found = {name.replace("__", "+"): count for name, count in sessions.items()}
    return Baseline({"python": f"/usr/bin/python3 {python}", "libc": libc}, found)


def test_a_session_may_cost_three_per_cent_more() -> None:
    """More is refused, and so is a session that no baseline has; less asks to renew it."""
    known = baseline("3.11.2", noop=1000, bytecount=1000, merged=1000)
    counts = {"noop": 1030, "bytecount": 1031, "merged": 800, "new": 1}
    verdicts = instructions.compare(counts, known.versions, [known])
    assert [verdict.is_dearer for verdict in verdicts] == [False, True, False, True]
    assert verdicts[0].text == "noop: 1,030 instructions, +3.0%"
    assert "expected at most 3% over 1,000" in verdicts[1].text
    assert all(instructions.RENEW in verdict.text for verdict in verdicts[1:])


def test_on_another_build_ratios_are_compared() -> None:
    """With other versions a session is compared with noop, a watched one with the same one plain."""
    known = baseline("3.11.2 (May)", noop=1000, bytecount=500, merged=3000, bytecount__flight=700)
    counts = {"noop": 2000, "bytecount": 1000, "bytecount+flight": 1490, "merged": 6800}
    now = baseline("3.11.2 (June)").versions
    verdicts = instructions.compare(counts, now, [known])
    assert [verdict.is_dearer for verdict in verdicts] == [False, False, True, True]
    assert verdicts[0].text == "noop: 2,000 instructions; the others are compared with it"
    assert verdicts[1].text == "bytecount: 0.500 of noop, +0.0%"
    assert "bytecount+flight: 1.490 of bytecount, +6.4%: expected at most" in verdicts[2].text
    assert "over 1.400 (/usr/bin/python3 3.11.2 (May))" in verdicts[2].text


def test_a_session_that_its_baseline_lacks_is_compared_by_its_ratio() -> None:
    """The nearest baseline that has the session and its base is asked, not that of these versions."""
    own = baseline("3.11.2", noop=1000)
    other = baseline("3.11.7", noop=2000, noop__flight=2400)
    verdicts = instructions.compare({"noop": 1000, "noop+flight": 1200}, own.versions, [other, own])
    assert [verdict.text for verdict in verdicts] == [
        "noop: 1,000 instructions, +0.0%",
        "noop+flight: 1.200 of noop, +0.0%",
    ]


def test_ratios_of_plain_sessions_are_held_less_tightly() -> None:
    """They depend on the build of Python more than what watching costs."""
    known = baseline("3.11.2", noop=100, merged=100, noop__flight=100)
    counts = {"noop": 100, "merged": 112, "noop+flight": 104}
    verdicts = instructions.compare(counts, baseline("3.12.1").versions, [known])
    assert [verdict.is_dearer for verdict in verdicts] == [False, False, True]


def test_without_its_base_a_session_is_not_compared() -> None:
    """A ratio needs both; the command counts both."""
    (verdict,) = instructions.compare({"merged": 1000}, {}, [])
    assert verdict.text == "merged: 1,000, not compared, for noop was not counted"
    assert instructions.with_bases(["bytecount+flight"], is_known=True) == [
        "bytecount",
        "bytecount+flight",
    ]
    assert instructions.with_bases(["merged"], is_known=True) == ["merged"]
    assert instructions.with_bases(["merged"], is_known=False) == ["noop", "merged"]
    assert instructions.with_bases(["merged-bytecount"], is_known=True) == [
        "bytecount",
        "merged-bytecount",
    ]


def test_the_nearest_baseline_is_that_of_the_same_python() -> None:
    """The same version counts more than the number of differences, then fewer differences count."""
    baselines = [
        baseline("3.12.1"),
        baseline("3.11.7"),
        baseline("3.11.2 (May)", "2.35"),
        baseline("3.11.2 (April)"),
        Baseline({}, {}),
    ]
    now = baseline("3.11.2 (June)").versions
    nearest = instructions.nearest_first(now, baselines)
    assert nearest == [baselines[3], baselines[2], baselines[1], baselines[0], baselines[4]]


def test_it_is_told_what_was_compared() -> None:
    """Counts, ratios with what differs, or nothing."""
    known = baseline("3.11.2")
    assert instructions.how(known.versions, [known]).startswith("Counts are compared")
    told = instructions.how(baseline("3.12.1").versions, [known])
    assert told.startswith("Ratios are compared, not counts")
    assert "- python: expected /usr/bin/python3 3.11.2, got /usr/bin/python3 3.12.1" in told
    assert "there is no baseline" in instructions.how(known.versions, [])


def test_renewing_leaves_the_baselines_of_other_machines() -> None:
    """What was counted takes its place in the baseline of the same versions, or makes one more."""
    one, other = baseline("3.11.2", noop=1, merged=2), baseline("3.12.1", noop=3)
    new = baseline("3.11.2", noop=9)
    merged = baseline("3.11.2", noop=9, merged=2)
    assert instructions.renewed([one, other], new) == [merged, other]
    assert instructions.renewed([other], new) == [other, new]


def test_watching_has_goals_on_every_machine() -> None:
    """A watched session with 17 answers may cost so many times the plain one; the others are told."""
    counts = {"noop": 1000, "noop+metrics": 1151, "noop+flight": 1250, "noop+explain": 9000}
    verdicts = instructions.judge_goals({**counts, "merged": 1, "bytecount+flight": 1})
    assert [(verdict.text, verdict.is_dearer) for verdict in verdicts] == [
        ("noop+metrics: 1.15 of noop: missed the goal of 1.15", False),
        ("noop+flight: 1.25 of noop, at most 1.25", False),
        ("noop+explain: 9.00 of noop", False),
    ]


def test_two_merged_filters_may_cost_half_as_much_again_as_one() -> None:
    """The first of the two alone is what they are compared with, also on another build."""
    counts = {"noop": 1000, "bytecount": 400, "merged-noop": 1500, "merged-bytecount": 604}
    assert [verdict.text for verdict in instructions.judge_goals(counts)] == [
        "merged-noop: 1.50 of noop, at most 1.50",
        "merged-bytecount: 1.51 of bytecount: missed the goal of 1.50",
    ]
    known = baseline("3.11.2", noop=1000, bytecount=200, **{"merged-bytecount": 290})
    verdicts = instructions.compare(counts, baseline("3.12.1").versions, [known])
    assert verdicts[3].text == "merged-bytecount: 1.510 of bytecount, +4.1%"


def test_other_versions_are_told() -> None:
    """What is not as it was is named with both."""
    told = instructions.differences(
        {"python": "3.12", "libc": "2.36"}, {"python": "3.11", "libc": "2.36"}
    )
    assert told == ["python: expected 3.11, got 3.12"]


def test_memory_of_a_session_is_told_beside_its_goal() -> None:
    """More than the goal is told as such; what is kept after the message has none."""
    assert memory.tell("noop", 2999.6, 9000) == (
        "noop: 3,000 bytes a session in flight, at most 3,000; 9,000 after its message"
    )
    assert "missed the goal of 3,000" in memory.tell("noop", 3001, 0)


def test_memory_of_a_session_is_measured_with_a_flight_recorder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flight recorder adds to what a session holds; the exit status tells if it has grown."""
    monkeypatch.setattr(memory, "SESSIONS", 4)
    monkeypatch.setattr(memory, "FILTERS", {"bytecount": memory.FILTERS["bytecount"]})
    assert memory.main() == 0
    monkeypatch.setattr(memory, "GOAL", 0)
    monkeypatch.setattr(memory, "MOST", 0)
    assert memory.main() == 1
    assert "missed the goal of 0" in capsys.readouterr().out

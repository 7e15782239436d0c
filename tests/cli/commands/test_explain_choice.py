"""`demyjpy explain`: which messages are chosen, from files and directories."""

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve

from demyjpy import accept, define_event_handlers, reject, running
from demyjpy.actions import Reject
from demyjpy.cli.arguments import Parser, outcomes
from demyjpy.cli.chosen_messages import CHOICE, Choice, choice_of, moment
from demyjpy.cli.observers import observers_of
from demyjpy.cli.program import find_command
from demyjpy.cli.recordings import readings
from demyjpy.testing import Postfix, session
from demyjpy.testing import run as play
from demyjpy.testing.server import Server
from demyjpy.trace import Trace, write
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.verdicts import Fate

Run = Callable[..., tuple[int, str, str]]
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
STORY = MessageStory(
    "s", 1, 1, 9, Fate.REJECTED, "end_of_message", sender="Ann@Example.org", recipients=("<bob@a.net>",)
)


FILTER = define_event_handlers(
    {"mail": lambda event, ctx: reject(ctx) if event.sender == "ann@x" else accept(ctx)}
)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h", timedelta(hours=1)),
        ("1.5 h ago", timedelta(minutes=90)),
        ("2D", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_a_time_may_be_so_long_ago(text: str, ago: timedelta) -> None:
    """In seconds, minutes, hours, days or weeks."""
    assert moment(text, NOW) == (NOW - ago).timestamp()


def test_a_time_may_be_one_of_iso_8601() -> None:
    """Local if it names no zone."""
    assert moment("2026-11-30T12:00:00+00:00", NOW) == NOW.timestamp()
    local = datetime(2026, 11, 30, 3, 15).astimezone()  # that is the point
    assert moment("2026-11-30T03:15", NOW) == local.timestamp()


BEFORE_ALL = "0001-01-01T00:00+14:00"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "1y", "999999w", "-1h", "2026-13-01", BEFORE_ALL, "9999-12-31T23:59-23:00"]
)
def test_any_other_time_is_said_to_be_none(text: str) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match="expected a time as 2026-11-30T03:15, or how long ago"):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("choice", "is_one"),
    [
        (Choice(), True),
        (Choice(sender="ann@example.ORG"), True),
        (Choice(sender="@example.org"), True),
        (Choice(sender="@mple.org"), False),
        (Choice(sender="<>"), False),
        (Choice(recipient="<Bob@a.net>"), True),
        (Choice(recipient="bob@a.ne"), False),
        (Choice(since=5.0), True),
        (Choice(since=5.1), False),
        (Choice(until=5.0), False),
        (Choice(queue_id="A"), True),
        (Choice(queue_id="B"), False),
        (Choice(fates=frozenset({"rejected"})), True),
        (Choice(fates=frozenset({"accepted"}), sender="@example.org"), False),
    ],
)
def test_a_message_is_chosen_if_all_holds(choice: Choice, is_one: bool) -> None:
    """By queue id, addresses, time and fate."""
    assert choice.has(evolve(STORY, time=5.0, queue_id="A")) is is_one


def test_a_null_sender_and_refused_recipients_can_be_chosen() -> None:
    """A recipient that was refused was given, too; a message that never had a sender has none."""
    refused = evolve(STORY, sender="", refused=(("carl@b.net", Reject()),))
    assert Choice(sender="<>", recipient="carl@b.net").has(refused)
    assert not Choice(sender="<>").has(evolve(STORY, sender=None))


def test_outcomes_are_words_that_there_are() -> None:
    """Else the error has the words."""
    assert outcomes("rejected, tempfailed") == {"rejected", "tempfailed"}
    for text in ("", "refused", "rejected,refused"):
        with pytest.raises(ValueError, match="expected some of accepted, quarantined, rejected"):
            outcomes(text)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A directory with two traces: ann was refused, bob was not."""
    found = tmp_path / "traces"
    found.mkdir()
    for name, sender in (("1.jsonl.gz", "ann@x"), ("2.jsonl", "bob@y")):
        result = play(FILTER, session().mail(sender).rcpt("r@z").message("Subject: a\n\nb\n"))
        write(found / name, [Trace(sender, result.trace.records)])
    return found


def test_a_directory_stands_for_its_traces(run: Run, traces: Path) -> None:
    """In all commands that read traces."""
    status, output, errors = run("explain", traces)
    assert (status, errors) == (0, "")
    assert re.findall("Message .*<(.*?)> ->", output) == ["ann@x", "bob@y"]
    assert run("trace", traces)[1].endswith("2 sessions, 2 messages\n")
    assert run("replay", traces)[0] == 0
    assert "itself" in run("trace", traces, "--to", traces / "2.jsonl")[2]


def test_a_trace_may_go_away_while_a_directory_is_read(run: Run, traces: Path) -> None:
    """A flight recorder deletes the oldest: the others are explained."""
    options = argparse.Namespace(max_session=None)
    first, second = readings(options, [str(traces)])
    (traces / "1.jsonl.gz").unlink()
    assert ([*first], first.report()) == ([], [])
    assert len([*second]) == 1
    (traces / "1.jsonl.gz").symlink_to("gone")
    status, output, errors = run("explain", traces)
    assert (status, output.count("Message "), errors) == (0, 1, "")
    assert run("explain", traces / "1.jsonl.gz")[0] == 2


def test_a_directory_without_traces_is_an_error(run: Run, tmp_path: Path) -> None:
    """It says what was looked for."""
    status, _, errors = run("explain", tmp_path)
    assert (status, "expected traces (*.jsonl, *.jsonl.gz, *.jsonl.zst)" in errors) == (2, True)


def test_the_message_that_was_asked_for_is_explained(run: Run, traces: Path) -> None:
    """And no other; if there is none, the command says for what it looked, and among how many."""
    rejected = ("--outcome", "rejected")
    output = run("explain", traces, "--from", "ann@x", "--since", "1970-01-01", *rejected)[1]
    assert output.count("Message ") == 1
    assert "<ann@x>" in output
    status, _, errors = run("explain", traces, "--from", "@y", "--to", "<nobody@z>", *rejected)
    expected = "expected a message from <@y> to <nobody@z> that was rejected"
    assert (status, errors) == (
        1,
        f"demyjpy explain: {expected}, got none among 2 recorded messages\n",
    )
    times = ("--since", "1970-01-02T00:00+00:00", "--until", "1970-01-03T00:00+00:00")
    assert "message since 1970-01-" in run("explain", traces, *times)[2]


@pytest.mark.parametrize("option", [("--since", "noon"), ("--outcome", "lost")])
def test_a_bad_choice_is_refused(run: Run, traces: Path, option: tuple[str, str]) -> None:
    """Before anything is read."""
    status, output, errors = run("explain", traces, *option)
    assert (status, output, errors.count("expected")) == (2, "", 1)


def test_the_options_are_the_choice() -> None:
    """One for each."""
    parser = argparse.ArgumentParser()
    for one in CHOICE:
        parser.add_argument(*one.names, **one.settings)
    given = parser.parse_args(["--id", "A", "--from", "a@b", "--to", "c@d", "--outcome", "discarded"])
    assert choice_of(given) == Choice("A", "a@b", "c@d", fates=frozenset({"discarded"}))


@pytest.mark.parametrize(("options", "files"), [(("--flight-when", "rejected"), 1), ((), 0)])
def test_a_flight_is_written_when_a_message_was_refused(
    tmp_path: Path, options: tuple[str, ...], files: int
) -> None:
    """Of two sessions that of ann, whom the filter rejects, and only if it is asked for."""
    parser = Parser(lambda: find_command("run"))
    given = parser.parse_args(["f.py", "--flight", str(tmp_path), *options])
    recorder = observers_of(given)["flight"]
    with running(FILTER, observer=recorder) as address:
        for sender in ("ann@x", "bob@y"):
            Server(address).run(session().mail(sender).rcpt("r@z").message(), mta=Postfix())
    recorder.close()  # it writes in a thread
    assert len(list(tmp_path.glob("*.jsonl"))) == files

"""`demyjpy trace`, and the options by which commands record."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from demyjpy import running
from demyjpy.trace import Trace, load, write
from tests.cli.servers import answering, listening, program, read_until
from tests.engine.harness import MESSAGE, OPENING, QUIT, packet
from tests.trace.sessions import CAPTURES, ROOT, tagger, watched

Run = Callable[..., tuple[int, str, str]]


def test_trace_lists_the_messages_in_captures(run: Run) -> None:
    """A line each, and how many there were."""
    status, output, errors = run("trace", *CAPTURES)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[-1] == "52 sessions, 54 messages"
    assert (
        "1970-01-01T00:00:00Z  31855FDE071  <multi-rcpt@test> -> <b@test> and 2 more  accepted, 1 change"
        in lines
    )
    assert any("tempfailed at mail (reply 421 4.7.0 closing at mail)" in line for line in lines)


def test_trace_prints_json(run: Run, tmp_path: Path) -> None:
    """A line a message, with refused recipients and changes in words."""
    path = tmp_path / "t.jsonl"
    bad = (packet("R", b"<bad>\0"), packet("M", b"<a\xff>\0"), packet("E"))
    body = {"end_of_message": lambda event, ctx: ctx}
    write(
        path,
        [
            Trace.of_steps(watched(tagger(), *OPENING, *MESSAGE[:2], bad[0], *MESSAGE[2:], QUIT)[0]),
            Trace.of_steps(watched(body, *OPENING[:2], bad[2], QUIT)[0]),
        ],
    )
    status, output, _ = run("trace", path, "--json")
    first, second = map(json.loads, output.splitlines())
    assert status == 0
    assert first["refused"] == [{"recipient": "bad", "verdict": "reply 550 5.1.1 nobody"}]
    assert first["changes"] == ["add header X-Tag: yes 2"]
    assert (first["queue_id"], second["sender"], second["verdict"]) == (None, None, "continue")


def test_trace_joins_and_converts(run: Run, tmp_path: Path) -> None:
    """Captures into one compressed trace, which says the same."""
    path = tmp_path / "all.jsonl.gz"
    before = run("trace", *CAPTURES, "--to", path)
    assert run("trace", path) == before
    assert len(load(path)) == 52


def test_a_trace_is_not_written_over_itself(run: Run, tmp_path: Path) -> None:
    """By whatever name it is given: status 2, and it stays as it was."""
    path, link = tmp_path / "t.jsonl", tmp_path / "link.jsonl"
    write(path, [Trace.of_steps(watched(tagger(), *OPENING, *MESSAGE, QUIT)[0])])
    link.symlink_to(path)
    before = path.read_bytes()
    for to in (path, link):
        status, _, errors = run("trace", CAPTURES[0], path, "--to", to)
        told = f"demyjpy trace: expected a new file for --to, got the trace {to} itself\n"
        assert (status, errors) == (2, told)
    assert path.read_bytes() == before


def test_a_file_stays_where_writing_another_in_its_place_fails(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2, and nothing is left beside it; the second time it is replaced, its link is not."""
    path, link = tmp_path / "t.jsonl.gz", tmp_path / "link.jsonl.gz"
    path.write_bytes(b"old")
    link.symlink_to(path)

    def fail(record: object) -> bytes:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("demyjpy.trace.format.writing.dump_record", fail)
        status, _, errors = run("trace", CAPTURES[0], "--to", link)
    assert (status, errors) == (2, f"demyjpy trace: cannot write {link}: No space left on device\n")
    assert path.read_bytes() == b"old"
    assert run("trace", CAPTURES[0], "--to", link)[0] == 0
    assert link.is_symlink()
    assert len(load(path)) == 1
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_a_trace_goes_to_a_pipe_too(run: Run, tmp_path: Path) -> None:
    """As it is: nothing takes its place."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert run("trace", CAPTURES[0], "--to", path)[0] == 0
    assert os.read(reading, 65536).startswith(b'{"trace":1')
    os.close(reading)
    assert path.is_fifo()


def test_trace_names_what_cannot_be_read(run: Run, tmp_path: Path) -> None:
    """Per file and per session; the status says so, the rest is listed."""
    path = tmp_path / "t.jsonl"
    write(path, [Trace.of_steps(watched(tagger(), *OPENING, *MESSAGE, QUIT)[0])])
    with path.open("a") as stream:
        stream.write('{"session":"s","direction":"up"}\nnonsense\n')
        stream.write('{"session":"t","direction":"mta","event":null,"raw":"AAAAAk0/","time":0}\n')
        stream.write('{"session":"t","direction":"mta","event":"end_of_message"}\n')
        stream.write('{"session":"t","direction":"filter","raw":"AAAAAXoAAAABYw=="}\n')
    status, output, errors = run("trace", path)
    assert status == 1
    assert "accepted, 1 change" in output
    assert "a packet 'z' that cannot be read" in run("trace", path, "--json")[1]
    assert errors.splitlines() == [
        f"demyjpy trace: {path}: line 26: no JSON: cut off or damaged",
        f"demyjpy trace: {path}: session s: record 1: expected a direction, got 'up'",
        f"demyjpy trace: {path}: session s has no end here: it was still open, or the rest is lost",
        f"demyjpy trace: {path}: session t has no end here: it was still open, or the rest is lost",
    ]


def test_trace_names_sessions_without_an_end(run: Run, tmp_path: Path) -> None:
    """A recording may well end before they do: that alone is status 0."""
    path = tmp_path / "t.jsonl"
    records = Trace.of_steps(watched(tagger(), *OPENING, *MESSAGE)[0]).records[:-1]
    why = {"session": "session", "direction": "end", "time": 0, "how": "cut", "reason": "too long"}
    write(path, [Trace("session", (*records, why))])
    told = f"demyjpy trace: {path}: session session has no end here: too long\n"
    assert run("trace", path)[::2] == (0, told)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("trace", "/nowhere/t.jsonl"),
            "demyjpy trace: cannot read /nowhere/t.jsonl: No such file or directory",
        ),
        (
            ("trace", CAPTURES[0], "--to", "/nowhere/t.jsonl"),
            "demyjpy trace: cannot write /nowhere/t.jsonl: No such file or directory",
        ),
    ],
)
def test_trace_says_in_a_line_what_is_wrong(run: Run, arguments: tuple[str, ...], message: str) -> None:
    """Status 2."""
    status, _, errors = run(*arguments)
    assert (status, errors.splitlines()) == (2, [message])


def test_send_records(run: Run, mail: Path, tmp_path: Path) -> None:
    """What it said and was told; also where the milter is late, and with all bytes."""
    with running(tagger()) as address:
        assert run("send", mail, "--to", address, "--record", tmp_path / "traces")[0] == 0
    (path,) = (tmp_path / "traces").iterdir()
    (found,) = load(path)
    assert found.messages[0].outcome == "accepted"
    assert (found.how, found.name[:5]) == ("quit", "send-")
    with listening(answering(M=None)) as address:
        options = ("--deadline", "0.2", "--record", tmp_path / "late", "--record-raw")
        assert run("send", mail, "--to", address, *options)[0] == 69
    (path,) = (tmp_path / "late").iterdir()
    (found,) = load(path)
    assert (found.how, found.reason) == ("mta", "not done within 0.2 s")
    assert "raw" in found.records[0]


def test_send_and_run_refuse_a_directory_that_cannot_be(run: Run, mail: Path) -> None:
    """One line; the status is no verdict of the mail that was not sent."""
    told = "cannot record in /dev/null/x: Not a directory\n"
    assert run("send", mail, "--to", "1", "--record", "/dev/null/x")[::2] == (2, f"demyjpy send: {told}")
    sample = f"{ROOT}/samples/bytecount.py"
    assert run("run", "--allow-root", sample, "--listen", "0", "--record", "/dev/null/x")[::2] == (
        1,
        f"demyjpy run: {told}",
    )


def test_run_records(run: Run, mail: Path, tmp_path: Path) -> None:
    """A served session is in the directory when it is over."""
    options = ("--listen", f"unix:{tmp_path}/s", "--record", str(tmp_path / "traces"))
    with program("run", "--allow-root", f"{ROOT}/samples/bytecount.py", *options) as started:
        read_until(started, "INPUT_MAIL_FILTER")
        assert run("send", mail, "--to", f"unix:{tmp_path}/s")[0] == 0
    (path,) = (tmp_path / "traces").iterdir()
    assert load(path)[0].messages[0].outcome == "accepted"

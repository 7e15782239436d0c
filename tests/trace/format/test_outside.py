"""Traces that somebody else has made: bounded, never a traceback, and no control character printed."""

import ast
import gzip
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demyjpy.cli import output, recordings
from demyjpy.cli.output import say
from demyjpy.errors import TraceError
from demyjpy.shown import safe
from demyjpy.trace import Trace, load, write
from demyjpy.trace.format import files
from demyjpy.trace.format.json_context import LONGEST, load_value
from demyjpy.trace.format.json_lines import DEEPEST, MOST_BYTES, number_of, parse_line, weight_of
from demyjpy.trace.format.reading import Reading
from tests.trace.sessions import ROOT

Run = Callable[..., tuple[int, str, str]]

ODD = "\x1b]0;t\x07\x9b31m\u202e\u2066\x85\u2028\r\n\x7f"
"""ESC, BEL, CSI of C1, overrides of direction, line ends, DEL."""


def record(direction: str, **others: Any) -> str:
    """A line of a trace."""
    return json.dumps({"session": "s", "direction": direction, "time": 1.0, **others}) + "\n"


START = '{"trace":1,"by":"x","demyjpy":"","time":1}\n'
MAIL = record("mta", event="mail", fields={"sender": "a", "parameters": []})
WENT_ON = record("filter", event="mail", handler="m", answer=[{"action": "Continue"}])
EOM = record("mta", event="end_of_message")
END = record("end", how="quit")
NEGOTIATE = {"action": "Negotiate", "version": 6, "actions": 1, "protocol": 0, "macros": []}


def at_end(**others: Any) -> str:
    """A message whose end is answered so."""
    return MAIL + WENT_ON + EOM + record("filter", event="end_of_message", **others) + END


def nested(depth: int) -> str:
    """A record with a value that is nested so deep, which `json` reads."""
    value = '{"list":[' * depth + "1" + "]}" * depth
    return '{"session":"s","direction":"filter","event":"mail","changes":{"set":{"a":' + value + "}}}\n"


DAMAGED = {
    "nested beyond json": MAIL
    + '{"session":"s","x":'
    + "[" * 100_000
    + "]" * 100_000
    + "}\n"
    + EOM
    + END,
    "nested beyond json at once": '{"session":"s","direction":"mta","x":'
    + "[" * 9000
    + "]" * 9000
    + "}\n",
    "nested": MAIL + nested(400) + EOM + END,
    "infinite time": MAIL.replace("1.0", "1e999") + EOM + END,
    "no number for a time": MAIL.replace("1.0", "NaN") + EOM + END,
    "negative time": MAIL.replace("1.0", "-1e17") + EOM + END,
    "time beyond floats": MAIL.replace("1.0", "1" + "0" * 400) + EOM + END,
    "half a surrogate pair": MAIL.replace('"a"', '"\\ud800"') + EOM + END,
    "half a pair in bytes": MAIL + record("mta", event="body", fields={"data": "\ud800"}) + EOM + END,
    "numbers beyond a packet": MAIL
    + record("mta", event="options", fields={"version": -1, "actions": 10**50, "protocol": 1})
    + END,
    "odd types": record("mta", event=["x"], fields=3) + record("filter", event={}, answer=5) + END,
    "missing fields": record("mta") + record("mta", event="connect", fields={}) + END,
    "no event of ours": record("mta", event="define_macros", fields={"event": "zzz", "definitions": []})
    + END,
}
ODD_BUT_WHOLE = {
    "a negotiation at the end": at_end(answer=[NEGOTIATE, {"action": "Continue"}]),
    "a negotiation that a handler queued": at_end(handler="h", actions=[NEGOTIATE], answer=[]),
    "nothing but a negotiation at the end": at_end(answer=[NEGOTIATE]),
    "a shutdown at the end": at_end(answer=[{"action": "Shutdown"}]),
    "an endless duration": at_end(duration=10**400, handler="x", answer=[{"action": "Continue"}]),
    "control characters": at_end(
        handler=ODD,
        error={"type": ODD, "text": ODD},
        changes={"set": {ODD: ODD}},
        answer=[{"action": "Quarantine", "reason": "\x1b\x9b\u202e"}],
        queue_id=ODD,
    ).replace('"a"', json.dumps(ODD)),
    "control characters in what is no event": record("mta", event=ODD, raw="AAAAAUE=")
    + record("end", how=ODD, reason=ODD),
}
COMMANDS = (
    ("trace",),
    ("trace", "--json"),
    ("trace", "--to", "out.jsonl"),
    ("explain",),
    ("replay",),
    ("replay", "--json"),
    ("replay", "--html", "report.html"),
    ("replay", "--step"),
    ("replay", "--step", "--html", "session.html"),
)


def is_harmless(text: str) -> bool:
    """Whether a terminal shows it, and does nothing else."""
    return text.replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "text", [*DAMAGED.values(), *ODD_BUT_WHOLE.values()], ids=(*DAMAGED, *ODD_BUT_WHOLE)
)
def test_whatever_is_in_a_trace_no_command_ends_in_a_traceback(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, command: tuple[str, ...]
) -> None:
    """A status of those in the help; no control character, in no page either."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.jsonl").write_text(START + text)
    status, output, errors = run(command[0], "t.jsonl", *command[1:])
    assert status in (0, 1)
    assert is_harmless(output)
    assert is_harmless(errors)
    for page in tmp_path.glob("*.html"):
        assert is_harmless(page.read_text())
    for written in tmp_path.glob("out.jsonl"):
        list(Reading(str(written)))


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("command", ["trace", "explain"])
def test_damage_is_a_line_and_status_1(run: Run, tmp_path: Path, text: str, command: str) -> None:
    """With the file and what is wrong; the rest of the file is used."""
    path = tmp_path / "t.jsonl"
    path.write_text(START + text + at_end(answer=[{"action": "Continue"}]).replace('"s"', '"good"'))
    status, output, errors = run(command, path)
    assert status == 1
    assert all(line.startswith(f"demyjpy {command}: {path}: ") for line in errors.splitlines())
    assert errors
    assert "accepted" in output


def test_a_negotiation_at_the_end_is_a_change_that_nobody_can_make(run: Run, tmp_path: Path) -> None:
    """It is shown by its letter, and explained."""
    path = tmp_path / "t.jsonl"
    path.write_text(START + at_end(answer=[NEGOTIATE, {"action": "Continue"}]))
    _, output, _ = run("trace", "--json", path)
    assert json.loads(output)["changes"] == ["a packet 'O' that cannot be read"]
    assert "negotiates version 6" in run("explain", path)[1]


# ------------------------------------------------------------------------------------- bounds
def session_lines(name: str, size: int) -> Iterator[bytes]:
    """A session of about so many bytes, of 64 KiB a line."""
    part = (
        record("mta", event="body", fields={"data": "x" * 65_000}).replace('"s"', f'"{name}"').encode()
    )
    for _ in range(size // len(part)):
        yield part


def test_a_session_of_any_size_takes_bounded_memory(tmp_path: Path) -> None:
    """300 MB in a file of 1.4 MB, in a process that may have 600 MB: cut, told, status 1."""
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(START.encode())
        stream.writelines(session_lines("s", 300 << 20))
    for command in ("trace", "explain"):
        done = subprocess.run(
            [sys.executable, "-m", "demyjpy", command, str(path)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20)),
        )
        told = f"longer than {MOST_BYTES} bytes: the rest is left out; --max-session BYTES takes more"
        assert f"demyjpy {command}: {path}: session s: {told}" in done.stderr.splitlines()
        assert done.returncode == 1


def test_the_bound_of_a_session_is_an_option(run: Run, tmp_path: Path) -> None:
    """What is over it is left out, and the next session is whole; the help has the default."""
    path = tmp_path / "t.jsonl"
    good = at_end(answer=[{"action": "Continue"}])
    with path.open("wb") as stream:
        stream.write(START.encode())
        stream.writelines(session_lines("long", 300_000))
        stream.write(good.encode())
    status, output, errors = run("trace", path, "--max-session", 200_000)
    assert status == 1
    assert "session long: longer than 200000 bytes: the rest is left out" in errors
    assert "1970-01-01T00:00:01Z  s#1  <a> -> ?  accepted" in output
    assert run("trace", path, "--max-session", 600_000)[0] == 0
    (whole, cut) = load(path, longest=200_000)
    assert (len(cut.records), cut.how, whole.how) == (3, "cut", "quit")
    for command in ("trace", "explain", "replay"):
        assert f"default: {MOST_BYTES};" in run(command, "--help")[1].replace("\n", " ")


def test_lists_in_a_line_count_as_what_they_take() -> None:
    """Two bytes of a file are 64 bytes of memory."""
    assert weight_of(b'{"a":[[],[]]}') == 13 + 64 * 4


def test_all_open_sessions_together_are_bounded(tmp_path: Path) -> None:
    """The oldest end; which is told."""
    path = tmp_path / "t.jsonl"
    with path.open("wb") as stream:
        stream.write(START.encode())
        for number in range(8):
            stream.writelines(session_lines(f"s{number}", 150_000))
    found = Reading(str(path), longest=150_000)
    first, *others = [(one.name, one.damage) for one in found.lines()]
    assert first == ("s0", ("ended here, because too much is open at once in this file",))
    assert {name for name, _ in others} == {f"s{number}" for number in range(1, 8)}


def test_a_capture_is_bounded_like_a_session(tmp_path: Path) -> None:
    """It is one."""
    path = tmp_path / "capture.jsonl"
    line = json.dumps({"dir": "mta", "t": 0.1, "hex": (b"\0\0\x27\x11B" + b"x" * 10_000).hex()}) + "\n"
    path.write_text('{"scenario":"x"}\n' + line * 100)
    (trace,) = load(path, longest=50_000)
    assert len(trace.records) == 4
    assert trace.problems == (
        "longer than 50000 bytes: the rest is left out; --max-session BYTES takes more",
    )


@pytest.mark.parametrize(
    "line", ['{"dir":"mta","t":"nan","hex":""}', '{"dir":"mta","hex":"00","t":-1}', nested(90)]
)
def test_a_capture_that_is_odd_is_told(tmp_path: Path, line: str) -> None:
    """With its line."""
    path = tmp_path / "capture.jsonl"
    path.write_text('{"scenario":"x"}\n' + line + "\n")
    found = Reading(str(path))
    list(found)
    assert "line 2: expected" in found.report()[0]
    path.write_text("[" * 100_000)
    with pytest.raises(TraceError, match="within one another"):
        load(path)


def test_kinds_of_problems_are_bounded(tmp_path: Path) -> None:
    """Their texts are the file's."""
    path = tmp_path / "t.jsonl"
    path.write_text(START + "".join(f'{{"trace":"v{number}"}}\n' for number in range(300)))
    found = Reading(str(path))
    assert list(found) == []
    assert len(found.report()) == 101
    assert found.report()[-1].endswith("line 102: something else that cannot be read (200 times)")


def test_what_is_told_is_bounded(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first hundred lines, and how many more there are."""
    monkeypatch.setattr(recordings, "_MOST_KEPT", 150)
    path = tmp_path / "t.jsonl"
    path.write_text(START + record("sideways") * 200 + END)
    status, _, errors = run("trace", path)
    lines = errors.splitlines()
    assert (status, len(lines)) == (1, 101)
    assert lines[-1] == "demyjpy trace: and 51 more like these"
    assert list(recordings.FirstThousand(["a"], 151)) == ["a", "1 problems more"]


def test_a_value_is_bounded_too() -> None:
    """Hashes that are chosen to be equal make a set quadratic."""
    with pytest.raises(TraceError, match=f"expected at most {LONGEST} items in a set"):
        load_value({"set": [0] * (LONGEST + 1)})


@pytest.mark.parametrize("depth", [DEEPEST + 1, 5000, 100_000])
def test_a_line_that_is_nested_too_deep_is_refused(depth: int) -> None:
    """Before anything walks through it; what is wide is not."""
    with pytest.raises(TraceError, match=f"at most {DEEPEST} lists and objects within one another"):
        parse_line(b"[" * depth + b"]" * depth)
    assert parse_line(b"[" * DEEPEST + b"]" * DEEPEST)
    assert len(parse_line(b"[" + b"[]," * 500 + b"{}]")) == 501


@pytest.mark.parametrize("value", [None, "1", True, -1, float("nan"), float("inf"), 10**400, [1]])
def test_what_is_no_number_of_seconds_is_none(value: Any) -> None:
    """A time is one that a calendar has."""
    assert number_of(value) is None
    assert number_of(1) == 1.0


# -------------------------------------------------------------------------------- files
def test_a_pipe_to_which_nobody_writes_is_not_waited_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line, status 1."""
    monkeypatch.setattr(files, "_PATIENCE", 0.05)
    path = tmp_path / "t.jsonl"
    os.mkfifo(path)
    told = f"demyjpy trace: expected a trace in {path}, got a pipe to which nobody writes\n"
    assert run("trace", path)[::2] == (1, told)


def test_a_pipe_is_read_once(run: Run, tmp_path: Path) -> None:
    """Also one with a compressed trace."""
    text = (START + at_end(answer=[{"action": "Continue"}])).encode()
    for data in (text, gzip.compress(text)):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(data,))
        writer.start()
        status, output, errors = run("trace", path)
        writer.join()
        path.unlink()
        assert (status, errors, output.splitlines()[-1]) == (0, "", "1 session, 1 message")


def test_a_surrogate_is_written_again_as_it_came(tmp_path: Path) -> None:
    """JSON can write half of a pair, and UTF-8 cannot."""
    path = tmp_path / "t.jsonl"
    write(path, [Trace("s", ({"session": "s", "direction": "filter", "handler": "\ud800"},))])
    assert load(path)[0].records[0]["handler"] == "\ud800"


def test_greetings_without_end_are_not_told_again_at_each_message(tmp_path: Path) -> None:
    """The last twenty are; else two hundred of each would be forty thousand sentences."""
    helo = record("mta", event="hello", fields={"greeting": "x"})
    refused = record("filter", event="hello", handler="h", answer=[{"action": "Reject"}])
    trace = Trace(
        "s", tuple(map(json.loads, (helo + refused).splitlines() * 50 + at_end().splitlines()))
    )
    assert [one.number for one in trace.greetings_before(51)] == list(range(31, 51))
    assert trace.greetings_before(1) == ()


# --------------------------------------------------------------------------------- printing
def test_what_is_said_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """Each argument is a line; colours pass only if they are on."""
    say(f"a{ODD}", "b\x1b[31mc\x1b[0m", "tab\t")
    say("\x1b[31mred\x1b[0m\x1b[5m\x1b[31", coloured=True)
    lines = capsys.readouterr().out.split("\n")
    assert lines == [
        r"a\x1b]0;t\x07\x9b31m\u202e\u2066\x85\u2028\r\n\x7f",
        r"b\x1b[31mc\x1b[0m",
        "tab\t",
        "\x1b[31mred\x1b[0m" + r"\x1b[5m\x1b[31",
        "",
    ]
    assert safe("\udcff\ud800") == r"\xff\ud800"


def test_only_one_function_prints() -> None:
    """So nobody can forget to escape: `print` stands in one module of the commands, and in help."""
    printing = {
        path.name
        for path in (ROOT / "demyjpy/cli").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    }
    assert printing == {"output.py", "program.py"}
    assert output.say.__module__ == "demyjpy.cli.output"

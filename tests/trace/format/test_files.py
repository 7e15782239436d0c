"""Trace files: written for their owner, read as far as they can be, in memory that does not grow."""

import importlib
import json
import os
import stat
import subprocess
import sys
import tracemalloc
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from demyjpy import running
from demyjpy.starting import all_of
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.server import Server
from demyjpy.trace import (
    Reading,
    Recorder,
    Trace,
    TraceError,
    Tray,
    WireRecorder,
    load,
    write,
)
from demyjpy.trace.format import files, reading
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import header
from demyjpy.trace.format.writing import version
from demyjpy.trace.live import recorder as recording
from tests.disks import fork
from tests.engine.harness import join, offer
from tests.integration.ports import wait_until
from tests.trace.sessions import CAPTURES, ROOT, WHOLE, tagger, watched


@pytest.fixture
def trace() -> Trace:
    return Trace.of_steps(watched(tagger(), *WHOLE)[0])


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"])
def test_what_was_written_is_read(trace: Trace, tmp_path: Path, name: str) -> None:
    """Compressed or not; only its owner may read it."""
    path = tmp_path / name
    assert write(path, [trace, trace]) == 2
    assert [one.records for one in load(path)] == [trace.records] * 2
    assert [one.source for one in load(path)] == [str(path)] * 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_zst_without_its_library_says_what_to_install(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a damaged file of another kind is still found to be damaged."""

    def lacks(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(files, "import_module", lacks)
    with pytest.raises(TraceError, match=r"pip install 'demyjpy\[zst\]'"):
        write(tmp_path / "t.zst", [trace])
    path = tmp_path / "t.gz"
    write(path, [trace])
    assert len(load(path)) == 1
    assert importlib.import_module("demyjpy.trace.format.files") is files


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.jsonl.zst"])
def test_a_compressed_file_that_is_cut_off_is_used_as_far_as_it_goes(
    trace: Trace, tmp_path: Path, name: str
) -> None:
    """The damage is named with its place."""
    path = tmp_path / name
    many = [
        Trace(
            f"s{number}",
            tuple(
                {**one, "session": f"s{number}", "noise": os.urandom(99).hex()} for one in trace.records
            ),
        )
        for number in range(300)
    ]
    write(path, many)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    found = Reading(str(path))
    sessions = list(found)
    assert 10 < len(sessions) < 300
    assert sessions[-1].how == "cut"
    (line,) = found.report()
    assert "the compressed file is damaged" in line


def test_a_damaged_file_is_used_as_far_as_it_goes(trace: Trace, tmp_path: Path) -> None:
    """Lines that are no records are counted, each kind once, with the line of the first."""
    lines = [dump_record(one) for one in trace.records]
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        b"".join(
            [
                dump_record(header("test", 0.0)),
                *lines[:6],
                b"not json\n",
                b"\n",
                b"[]\n",
                b"\xff\xfe\n",
                lines[6][:40] + b"}\n",
                *lines[6:9],
                lines[9][:30],
            ]
        )
    )
    found = Reading(str(path))
    (one,) = found
    assert one.records == trace.records[:9]
    assert one.how == "cut"
    assert one.problems == ("a record that is no JSON: " + one.damage[0].partition(": ")[2],)
    assert found.report() == [
        f"{path}: line 8: no JSON: cut off or damaged (3 times)",
        f"{path}: line 10: no record of a trace",
    ]


def test_a_newer_trace_is_used_as_far_as_it_is_understood(trace: Trace, tmp_path: Path) -> None:
    """Its version is told; so is a version that is none. Unknown keys are passed over."""
    path = tmp_path / "t.jsonl"
    newer = [{**one, "mood": "good"} for one in trace.records]
    path.write_bytes(
        b"".join(
            dump_record(one)
            for one in (
                {"trace": 2},
                *newer,
                {"trace": "x"},
                *newer,
                {"session": "s", "direction": "up"},
            )
        )
    )
    found = Reading(str(path))
    sessions = list(found)
    assert [len(one.exchanges) for one in sessions] == [12, 12, 0]
    assert "expected a direction, got 'up'" in sessions[2].problems[0]
    assert "format 2 is newer than 1" in found.report()[0]
    assert "expected a format from 1, got 'x'" in found.report()[1]


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    """With what was expected; a file that is not there is an `OSError`."""
    path = tmp_path / "t.txt"
    path.write_text("hello\nworld\n")
    with pytest.raises(TraceError, match=r'expected a first line \{"trace": 1'):
        load(path)
    path.write_bytes(b"")
    with pytest.raises(TraceError, match="no demyjpy trace"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_captures_can_be_loaded_as_they_are(tmp_path: Path) -> None:
    """One session a file, named after it; a damaged one up to the damage."""
    (found,) = load(CAPTURES[0])
    assert found.name == f"{CAPTURES[0].parent.name}/{CAPTURES[0].stem}"
    assert found.messages
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join([*CAPTURES[0].read_bytes().splitlines()[:9], b"x"]))
    damaged = Reading(str(path))
    (found,) = damaged
    assert len(found.exchanges) > 3
    assert "line 10: expected JSON" in damaged.report()[0]


def test_sessions_may_lie_between_one_another(trace: Trace, tmp_path: Path) -> None:
    """Each comes when it ends; files may be put together; of too many the oldest is given up."""
    two = [dump_record({**one, "session": "two"}) for one in trace.records]
    odd = [
        json.dumps({"time": 1.0, **one, "session": 'odd"\\'}).encode() + b"\n" for one in trace.records
    ]
    one = [dump_record(record) for record in trace.records]
    path = tmp_path / "t.jsonl"
    mixed = [line for lines in zip(one, two, odd, strict=True) for line in lines]
    first = dump_record(header("test", 0.0))
    path.write_bytes(b"".join([first, *mixed, *one[:3], first, *one]))
    names = [(found.name, found.how, len(found.exchanges)) for found in load(path)]
    assert names == [
        ("session", "quit", 12),
        ("two", "quit", 12),
        ('odd"\\', "quit", 12),
        ("session", "cut", 2),
        ("session", "quit", 12),
    ]


def test_of_too_many_open_sessions_the_oldest_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can fill the memory with beginnings."""
    monkeypatch.setattr(reading, "MOST_OPEN", 3)
    path = tmp_path / "t.jsonl"
    lines = [{"session": f"s{number}", "direction": "mta", "event": "data"} for number in range(5)]
    path.write_bytes(b"".join(map(dump_record, (header("test", 0.0), *lines))))
    assert [one.name for one in load(path)] == ["s0", "s1", "s2", "s3", "s4"]


def test_a_line_that_is_too_long_is_left_out(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counted."""
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    path = tmp_path / "t.jsonl"
    write(path, [trace])
    with path.open("ab") as stream:
        stream.write(b"x" * 5000 + b"\n" + b"y" * 999 + b"\n" + b"z" * 2000)
    found = Reading(str(path))
    assert len(list(found)) == 1
    assert found.report() == [
        f"{path}: line 26: a line that is too long (2 times)",
        f"{path}: line 27: no JSON: cut off or damaged",
    ]


def test_memory_does_not_grow_with_the_file(trace: Trace, tmp_path: Path) -> None:
    """Twenty times the sessions take no more of it."""

    def peak(count: int) -> int:
        path = tmp_path / "t.jsonl"
        write(
            path,
            (
                Trace(f"s{number}", tuple({**one, "session": f"s{number}"} for one in trace.records))
                for number in range(count)
            ),
        )
        tracemalloc.start()
        assert sum(1 for _ in Reading(str(path))) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(400) < 1.5 * peak(20)


# --------------------------------------------------------------------------------- recorders
def ends(directory: Path) -> list[str]:
    """How the sessions in the files of a directory ended."""
    return [trace.how for path in sorted(directory.glob("*.jsonl")) for trace in Reading(str(path))]


LETTER = session().mail("a@example.net").rcpt("b@example.org").message()


def play_at(address: str) -> Any:
    """Send the letter to a milter; the bytes that it got and gave."""
    return Server(address).run(LETTER, mta=Postfix())


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_the_server_and_the_kit_record_alike(driver: Any, tmp_path: Path) -> None:
    """The same records, but for session, time and duration."""
    directory = tmp_path / "traces"
    recorder = Recorder(directory)
    with running(tagger(), driver=driver, observer=recorder) as address:
        play_at(address)
        wait_until(lambda: ends(directory) == ["quit"], "the end of the session")
    recorder.close()
    recorder.close()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (path,) = directory.iterdir()
    (found,) = load(path)
    own = {"session", "time", "duration"}
    expected = run(tagger(), LETTER).trace
    assert [{key: value for key, value in one.items() if key not in own} for one in found.records] == [
        {key: value for key, value in one.items() if key not in own} for one in expected.records
    ]
    assert found.records[0]["time"] > 1_700_000_000
    assert found.messages[0].outcome == "accepted"


def test_several_observers_are_all_told() -> None:
    """One as it is, none as None."""
    seen: list[Any] = []
    both = all_of([seen.append, seen.append])
    assert both is not None
    both("step")
    assert seen == ["step", "step"]
    one = seen.append
    assert all_of([one]) is one
    assert all_of([]) is None


def test_a_directory_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    """Before a mail is touched."""
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(TraceError, match="cannot record in"):
        Recorder(path / "inside")


def test_a_file_that_fails_is_one_line_and_another_is_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail goes on; what could be written stays as it was."""
    caplog.set_level("INFO", "demyjpy")
    recorder = Recorder(tmp_path / "traces")
    with running(tagger(), observer=recorder) as address:
        play_at(address)
        wait_until(lambda: ends(tmp_path / "traces") == ["quit"], "a session")
        recorder._tray._stream.close()
        assert play_at(address).is_delivered
        wait_until(lambda: bool(caplog.messages), "a line")
        assert play_at(address).is_delivered
        assert recorder._writer.wait(20.0)
        monkeypatch.setattr(recorder._tray, "_again", 0.0)  # time passes
        assert play_at(address).is_delivered
        wait_until(lambda: ends(tmp_path / "traces") == ["quit"] * 2, "another session")
    recorder.close()
    bad, good = caplog.messages
    assert "has ended for now" in bad
    assert "the mail goes on" in bad
    assert good.endswith("again, in a new file")


def open_full() -> Any:
    return Path("/dev/full").open("wb")  # the recorder closes it


def test_a_full_disk_ends_the_recording_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel says is told: /dev/full is one."""
    monkeypatch.setattr(recording, "open_to_write", lambda path: open_full())
    recorder = Recorder(tmp_path / "traces")
    with running(tagger(), observer=recorder) as address:
        assert play_at(address).is_delivered
    wait_until(lambda: "No space left on device" in caplog.text, "the line of the thread that writes")
    recorder.close()


def test_a_process_has_its_own_file(tmp_path: Path) -> None:
    """A fork does not write into its parent's."""
    tray = Tray(tmp_path / "traces", "test").prepare()
    tray.write([{"session": "a"}], flush=True)
    child = fork()
    if child == 0:
        tray.write([{"session": "b"}], flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    tray.close()
    assert len(list((tmp_path / "traces").iterdir())) == 2


def test_a_recording_needs_no_file(tmp_path: Path) -> None:
    """The records of bytes can be had without one."""
    recorder = WireRecorder(None, "s")
    recorder.close()
    assert len(recorder.take("mta", join([offer()]))) == 1
    assert recorder.end("mta")[0]["how"] == "mta"


def test_the_version_is_told_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from a checkout that is not installed, there is none."""

    def unknown(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    assert version() == ""
    monkeypatch.setattr(metadata, "version", lambda name: f"{name} 9")
    assert version() == "demyjpy 9"


def test_start_milter_records(tmp_path: Path) -> None:
    """As a program, with workers: each session once, whoever served it."""
    program = tmp_path / "program.py"
    program.write_text(
        "from demyjpy import start_milter\n"
        "from tests.trace.sessions import tagger\n"
        f"start_milter('inet:0@127.0.0.1', tagger(), workers=2, record={str(tmp_path / 'traces')!r}, "
        "record_raw=True, observer=lambda step: None, "
        "on_ready=lambda address: print(address, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        address = started.stdout.readline().strip()
        for _ in range(4):
            play_at(address)
        started.terminate()
        assert started.wait(30) == 0
    sessions = [one for path in (tmp_path / "traces").iterdir() for one in load(path)]
    assert [one.messages[0].outcome for one in sessions] == ["accepted"] * 4
    assert all("raw" in one.records[0] for one in sessions)

"""A thread that writes, and a directory that is bounded: what is handed over, and what is lost."""

import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.trace import (
    CapsuleMaker,
    FlightRecorder,
    Reading,
    Recorder,
    Trace,
    Tray,
    load_capsule,
    shadow,
)
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.live.background_writer import BackgroundWriter, RateLimit
from demyjpy.trace.live.bounded_directory import BoundedDirectory
from demyjpy.trace.live.explain_line import Explainer
from demyjpy.trace.replay.replaying import ReplayMta
from tests.disks import fork, no_threads, small_files
from tests.engine.harness import EOM, MAIL, MESSAGE, OPENING, QUIT, RCPT, Session, packet
from tests.integration.ports import wait_until
from tests.trace.sessions import WHOLE, tagger


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds a thread up."""
    found = threading.Event()
    yield found
    found.set()


def fail(event: Any, ctx: Any) -> Any:
    raise ValueError("on purpose")


def watch(observer: Any, handlers: Any, *packets: Any) -> None:
    """A whole session."""
    opened = Session.open(handlers, observer=observer)
    opened.say(*packets)
    opened.hang_up()


def traces(directory: Path) -> list[Trace]:
    return [trace for path in sorted(directory.glob("*.jsonl")) for trace in Reading(str(path))]


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


# --------------------------------------------------------------------------------- the writer
def test_a_writer_takes_what_has_room(gate: threading.Event) -> None:
    """What waits and what is being done count; what is more is refused, unless it must be done."""
    writer, done = BackgroundWriter("test", 100), []
    assert writer.wait()  # nothing was ever put there
    assert writer.put(60, gate.wait)
    assert not writer.put(60, lambda: done.append("refused"))
    assert writer.put(60, lambda: done.append("always"), always=True)
    assert writer.size == 120
    assert not writer.wait(0.0)
    gate.set()
    assert writer.wait(20.0)
    assert (writer.size, done) == (0, ["always"])


def test_a_writer_outlives_what_fails_there(caplog: pytest.LogCaptureFixture) -> None:
    """A line, without what the error says: it may be of a mail."""
    writer, done = BackgroundWriter("test", 100), []

    def fail_here() -> None:
        raise ValueError("secret")

    writer.put(1, fail_here)
    writer.put(1, lambda: done.append("next"))
    assert writer.wait(20.0)
    assert done == ["next"]
    assert caplog.messages == ["test: ValueError: the mail goes on"]


def test_a_writer_is_of_its_process(gate: threading.Event) -> None:
    """What waits in the parent is the parent's to do."""
    writer = BackgroundWriter("test", 100)
    writer.put(60, gate.wait)
    heard, said = os.pipe()
    child = fork()
    if child == 0:
        done: list[bytes] = []
        is_well = writer.wait() and writer.put(60, lambda: done.append(b"x")) and writer.wait(20.0)
        os.write(said, b"".join(done) if is_well else b"bad")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(said)
    assert os.read(heard, 10) == b"x"
    os.close(heard)


def test_a_writer_that_is_closed_ends_its_thread_and_begins_another(gate: threading.Event) -> None:
    """Not one that is held up: what waits there is still to be done."""
    writer, threads = BackgroundWriter("test", 100), []
    assert writer.close()
    for _ in range(2):
        writer.put(1, lambda: threads.append(threading.current_thread()))
        assert writer.close()
    assert len(set(threads)) == 2
    assert not any(thread.is_alive() for thread in threads)
    writer.put(1, gate.wait)
    assert not writer.close()
    writer.put(1, lambda: threads.append(threading.current_thread()))
    gate.set()
    assert writer.wait(20.0)
    assert threads[2].is_alive()
    assert writer.close()


def test_a_writer_that_gets_on_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A busy machine costs no recording at the end."""
    writer, waits = BackgroundWriter("test", 100), []
    gates = [threading.Event() for _ in range(3)]
    for gate in gates:
        writer.put(1, gate.wait)

    def wait(seconds: float) -> bool:
        """Each time one thing is done."""
        gates[len(waits)].set()
        waits.append(seconds)
        wait_until(lambda: writer.waiting == 3 - len(waits), "one is done")
        return not writer.waiting

    monkeypatch.setattr(writer, "wait", wait)
    monkeypatch.setattr("demyjpy.trace.live.background_writer.LONGEST_PARTING", 60.0)
    assert writer.close()
    assert len(waits) == 3
    assert not caplog.records


def test_what_a_writer_leaves_is_logged(
    monkeypatch: pytest.MonkeyPatch, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("demyjpy.trace.live.background_writer.PARTING", 0.01)
    writer = BackgroundWriter("test", 100)
    writer.put(1, gate.wait)
    assert not writer.close()
    assert [record.getMessage() for record in caplog.records] == [
        "test: ended before all was written; left: 1"
    ]


def test_a_writer_that_lags_does_many_things_at_once() -> None:
    """It waits for more, unless somebody waits for it, or a quarter of what may wait is there."""
    writer, done = BackgroundWriter("test", 100, lag=600.0), []
    for number in range(3):
        writer.put(1, lambda number=number: done.append(number))
    assert not done
    assert writer.wait(20.0)
    assert done == [0, 1, 2]
    writer.put(1, lambda: done.append(3))
    writer.put(30, lambda: done.append(4))
    wait_until(lambda: done == [0, 1, 2, 3, 4], "what waits")
    writer.put(1, lambda: done.append(5))
    assert writer.close()
    assert done[-1] == 5


def test_a_limit_lets_so_many_through() -> None:
    """At once, and again when time has passed."""
    limit = RateLimit(3, 3600.0)
    assert [limit.allows() for _ in range(5)] == [True, True, True, False, False]
    fast = RateLimit(1, 1e-9)
    assert all(fast.allows() for _ in range(5))


# -------------------------------------------------------------------------------- the directory
def test_a_directory_counts_what_is_written_and_lists_seldom(tmp_path: Path) -> None:
    """Files that others have removed are no error; what is not ours is let be."""
    for number in range(5):
        (tmp_path / f"2020010{number + 1}T000000Z-x.jsonl").write_bytes(b"x" * 10)
        os.utime(tmp_path / f"2020010{number + 1}T000000Z-x.jsonl", (number, number))
    (tmp_path / "mine.jsonl").write_bytes(b"x" * 1000)
    directory = BoundedDirectory(tmp_path, files=5, disk=100)
    directory.make_room(10)
    assert len([*tmp_path.iterdir()]) == 5
    (tmp_path / "20200102T000000Z-x.jsonl").unlink()
    directory.add("20200106T000000Z-x.jsonl", 10)
    directory.make_room(10)
    assert len([*tmp_path.iterdir()]) == 4
    assert directory.has_room(60)
    assert not directory.has_room(61)
    assert not directory.has_room(0, 2)


# -------------------------------------------------------------------- recordings that lose
def test_a_recording_that_does_not_keep_up_is_cut_and_says_so(
    tmp_path: Path, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Each session is whole, or ends where something was lost; what stands there can be replayed."""
    recorder = Recorder(tmp_path, memory=20_000)
    recorder._writer.put(0, gate.wait)  # the disk stands still
    for _ in range(8):
        watch(recorder, tagger(), *WHOLE)
    recorder.close()  # it does not wait for ever
    assert recorder._writer.size > 0
    gate.set()
    recorder.close()
    watch(recorder, tagger(), *WHOLE)
    recorder.close()
    found = traces(tmp_path)
    hows = [(trace.how, trace.reason) for trace in found]
    assert set(hows) == {("quit", ""), ("cut", "the disk did not keep up")}
    assert hows.count(("quit", "")) >= 2  # the first, and the last
    assert levels(caplog) == ["WARNING", "WARNING"]  # it is cut, and is left as it ends
    for trace in found:
        mta = ReplayMta(FilterConnection(Setup(as_on_connect(tagger())), trace.name))
        for exchange in trace.exchanges[:-1]:
            assert mta.say(exchange).data == exchange.reply


def test_a_session_of_which_something_was_lost_is_not_gone_on_with(tmp_path: Path) -> None:
    """Its file is gone meanwhile: the rest of it would be taken for a session."""
    recorder = Recorder(tmp_path / "r")
    opened = Session.open(tagger(), observer=recorder)
    opened.say(*OPENING, *MESSAGE)
    recorder._writer.wait(20.0)
    (path,) = (tmp_path / "r").iterdir()
    path.rename(tmp_path / "moved.jsonl")
    opened.say(*MESSAGE)
    recorder._writer.wait(20.0)
    recorder._tray._again = 0.0  # time passes
    watch(recorder, tagger(), *WHOLE)
    opened.say(*MESSAGE, QUIT)
    opened.hang_up()
    recorder.close()
    (whole,) = traces(tmp_path / "r")
    (cut,) = traces(tmp_path)
    assert (len(whole.messages), whole.how) == (1, "quit")
    assert (len(cut.messages), cut.how) == (1, "cut")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_failure_leaves_what_is_whole(tmp_path: Path, suffix: str) -> None:
    """Half a record is taken away again; a compressed file, which says itself where it ends, stays."""
    tray = Tray(tmp_path, "test", suffix).prepare()
    with small_files(10_000):
        for _ in range(8):
            event = secrets.token_hex(2000)
            tray.write([{"session": "a", "direction": "mta", "event": event}], flush=True)
    assert not tray.is_well
    tray.close()
    (path,) = tmp_path.iterdir()
    reading = Reading(str(path))
    assert [len(trace.records) for trace in reading] in ([2], [3], [4], [5])
    assert (reading.report() == []) is (suffix == ".jsonl")


def test_what_is_in_nobodys_way_is_not_written_by_a_child(tmp_path: Path) -> None:
    """A child lets its parent's file be, with what was not written yet."""
    tray = Tray(tmp_path, "test").prepare()
    tray.write([{"session": "parent"}])
    child = fork()
    if child == 0:
        tray.write([{"session": "child"}], flush=True)
        tray.close()
        os._exit(0)
    os.waitpid(child, 0)
    tray.close()
    texts = [path.read_text() for path in tmp_path.iterdir()]
    assert sorted(text.count("parent") for text in texts) == [0, 1]


def test_a_directory_that_is_full_is_not_recorded_into(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is removed there."""
    (tmp_path / "20200101T000000Z-x.jsonl").touch()
    recorder = Recorder(tmp_path, files=1)
    for _ in range(3):
        watch(recorder, tagger(), *WHOLE)
        recorder.close()
        recorder._tray._again = 0.0  # time passes
    assert levels(caplog) == ["ERROR"]
    assert len([*tmp_path.iterdir()]) == 1
    assert "as many files or bytes as it may have" in caplog.text


# ---------------------------------------------------------------------- no thread to be had
def test_without_threads_mail_goes_on_and_nothing_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A line for each that watches; when there are threads again, it is written."""
    failing = {"mail": fail, "body": lambda event, ctx: ctx}
    recorder, flight = Recorder(tmp_path / "r"), FlightRecorder(tmp_path / "f")
    capsules = CapsuleMaker(tmp_path / "c")

    def watch_all() -> None:
        for observer in (recorder, flight, capsules):
            watch(observer, failing, *WHOLE)

    with no_threads():
        watch_all()
        watch_all()
        opened = Session.open(tagger(), observer=recorder)
        opened.say(*OPENING, *MESSAGE)
        Session.open(failing, observer=flight).say(*OPENING)
        assert flight.dump() is None
    assert sorted(levels(caplog)) == ["ERROR", "ERROR", "WARNING"]
    watch_all()
    opened.say(QUIT)
    opened.hang_up()
    for observer in (recorder, flight, capsules):
        observer.close()
    assert [len(traces(tmp_path / name)) for name in "rfc"] == [1, 1, 1]


def test_a_shadow_without_a_thread_is_not_felt(caplog: pytest.LogCaptureFixture) -> None:
    """Nor is one that is given more than it may keep."""
    both = shadow(tagger(), tagger("no"), report=lambda found: None, memory=10)
    with no_threads():
        opened = Session.open(both)
        opened.say(*WHOLE)
        opened.hang_up()
    opened = Session.open(both)
    opened.say(*WHOLE)
    opened.hang_up()
    assert caplog.text.count("does not keep up") == 1


# ------------------------------------------------------------------------ flights, capsules
def test_a_flight_that_never_fits_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In a line; what is there stays."""
    other = tmp_path / "20200101T000000Z-error-x.jsonl"
    other.touch()
    os.utime(other)
    recorder = FlightRecorder(tmp_path, disk=1000)
    watch(recorder, {"mail": fail}, *WHOLE)
    recorder.close()
    assert "more than the directory may hold (1000)" in caplog.text
    assert [*tmp_path.iterdir()] == [other]


def test_capsules_of_open_sessions_share_one_memory(tmp_path: Path) -> None:
    """One that has no room is cut: it still tells of the failure, and of the beginning."""
    maker = CapsuleMaker(tmp_path, memory=20_000)
    handlers = {"unknown": fail, "body": lambda event, ctx: ctx}
    sessions = [Session.open(handlers, observer=maker) for _ in range(10)]
    for opened in sessions:
        opened.say(*OPENING, MAIL, *[packet("B", b"x" * 2000)] * 3)
    assert maker.size <= 20_000 + 10 * 200  # each has a line that says that it was cut
    sessions[-1].say(packet("U", b"x\0"))
    maker.close()
    (path,) = tmp_path.iterdir()
    found = load_capsule(path)
    assert (found.error, found.trace.how) == ("ValueError", "cut")
    assert found.trace.reason == "it was too long to be kept"
    for opened in sessions:
        opened.hang_up()
    assert maker.size == 0


def test_failures_of_many_kinds_are_told_apart_and_bounded(tmp_path: Path) -> None:
    """As many an hour of each; the kinds that are remembered are bounded, too."""
    maker = CapsuleMaker(tmp_path, most=10_000, rate=5000, same=1)
    for number in range(1100):
        kind = type(f"E{number}Error", (Exception,), {})

        def unknown(event: Any, ctx: Any, kind: type[Exception] = kind) -> Any:
            raise kind

        other = Session.open({"unknown": unknown}, observer=maker)
        other.say(*OPENING, packet("U", b"x\0"), packet("U", b"x\0"))
        other.hang_up()
    maker._writer.wait(60.0)
    assert len([*tmp_path.iterdir()]) == 1100
    assert len(maker._kinds) == 1000


# -------------------------------------------------------------------------------- explaining
def test_recipients_that_are_not_kept_are_counted() -> None:
    """Also where all of them were refused, and where one was not."""
    lines: list[str] = []
    bad = packet("R", b"<bad" + b"x" * 5000 + b"@example.org>\0NOTIFY=" + b"x" * 5000 + b"\0")
    short = packet("R", b"<bob@example.org>\0NOTIFY=" + b"x" * 5000 + b"\0")
    for packets in ((bad, bad, bad), (bad, short, RCPT)):
        opened = Session.open(tagger(), observer=Explainer(lines.append, length=20))
        opened.say(*OPENING, packet("M", b"<" + b"y" * 5000 + b"@example.org>\0"), *packets, QUIT)
        opened.hang_up()
    assert "-> <badxxxxxxxxxxxxxxxx> and 2 more" in lines[0]
    assert "rejected at recipient (reply 550 5.1.1 nobody)" in lines[0]
    assert "and 2 more from client.example [192.0.2.1]: given up at quit" in lines[1]


def test_a_long_name_of_a_client_is_cut() -> None:
    """And what comes behind it."""
    lines: list[str] = []
    connect = packet("C", b"n" * 9000 + b"\0L\0\0/" + b"p" * 9000 + b"\0")
    handlers = {"connect": lambda event, ctx: ctx, **tagger()}
    opened = Session.open(handlers, observer=Explainer(lines.append))
    opened.say(OPENING[0], connect, *OPENING[2:], MAIL, EOM, QUIT)
    opened.hang_up()
    assert "n" * 320 + " [/" in lines[0]
    assert len(lines[0]) < 1500

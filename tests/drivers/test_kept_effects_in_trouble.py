"""Effects in a directory when something goes wrong: a full disk, a slow one, too many, no thread."""

import queue
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from demyjpy import (
    Continue,
    HandlerError,
    LocalProtocolError,
    Progress,
    Reject,
    TemporaryFailure,
    accept,
    define_event_handlers,
    do,
    merge_handlers,
    reject,
    running,
)
from demyjpy.declarations import Declarations
from demyjpy.drivers import effect_takeover
from demyjpy.drivers import effects as effects_module
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.effect_files import Directory, EffectFile
from demyjpy.drivers.effect_journal import Journal
from tests.disks import fill, small_disk
from tests.drivers.filters import wait_until
from tests.drivers.peer import MESSAGE, WAIT, Peer
from tests.drivers.test_effect_files import requested
from tests.drivers.test_kept_effects import Archive, Nobody, Tell, asking, deliver, kept


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits half a second."""
    monkeypatch.setattr(effects_module, "FIRST_PAUSE", 0.001)


@pytest.fixture
def told() -> Any:
    """What the effects of this test tell."""
    return queue.SimpleQueue()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where they are kept."""
    return tmp_path / "effects"


@pytest.mark.parametrize("on_error", ["tempfail", "accept"])
def test_without_room_the_message_is_deferred(
    driver: str, told: Any, tmp_path: Path, log: Any, on_error: Any
) -> None:
    """No effect of it is done. With room the next one is accepted."""
    with small_disk(tmp_path / "disk") as disk:
        handlers = asking(told.put, ("accepted", Archive), event="message")
        with running(handlers, driver=driver, effects=disk / "effects", on_error=on_error) as address:
            filler = fill(disk)
            assert deliver(address) == [TemporaryFailure()]
            assert "expected effects to be kept before the verdict leaves, got OSError" in log.take_one()
            assert told.empty()
            filler.unlink()
            assert deliver(address) == [Continue()]
            told.get(timeout=WAIT)
            wait_until(lambda: not kept(disk / "effects"))


def test_what_cannot_be_kept_after_a_verdict_is_done_from_memory(
    driver: str, told: Any, directory: Path, log: Any
) -> None:
    """The log says so, once."""
    due = [("refused", Tell("a")), ("refused", Nobody("b")), ("refused", Archive)]
    asks = {Nobody: lambda effect, resources: told.put(effect.text)}
    handlers = asking(told.put, *due, asks=asks, event="message", decide=reject)
    with running(handlers, driver=driver, effects=directory) as address:
        (home,) = directory.iterdir()
        home.chmod(0o700)
        home.rename(directory / "moved")
        (directory / "moved").rmdir()
        assert deliver(address) == [Reject()]
        heard = [told.get(timeout=WAIT) for _ in range(3)]
    assert heard[0][0] == "a"
    assert heard[2][0] == b"Subject:hi\r\n\r\nhello\r\n"
    lines = log.take()
    assert "expected effects to be kept before the verdict leaves" in lines[0]
    assert len(lines) == 4
    said = "the effect Tell of acl cannot be kept, and is in memory only: FileNotFoundError"
    assert any(said in line for line in lines)


def test_other_sessions_go_on_while_the_disk_is_slow(
    driver: str, told: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, gate: Any
) -> None:
    """Only the one whose effects are written waits for its verdict, and gets signs of life."""
    is_at_it = threading.Event()
    keep = Journal.keep

    def slow(journal: Journal, *arguments: Any) -> str:
        is_at_it.set()
        assert gate.wait(WAIT)
        return keep(journal, *arguments)

    monkeypatch.setattr(Journal, "keep", slow)

    def handler(event: Any, ctx: Any) -> Any:
        return do(ctx, Tell("x")) if event.sender == "slow" else accept(ctx)

    slow_filter = define_event_handlers({"mail": handler}, asks=PERFORMS)
    slow_filter.add("end_of_message", lambda event, ctx: ctx, progress=0.01)
    handlers = merge_handlers(asking(told.put), slow_filter)
    with running(handlers, driver=driver, effects=directory) as address, Peer(address) as slow_one:
        slow_one.begin().ask(type(MESSAGE[0])("slow"))
        slow_one.say(*MESSAGE[1:])
        assert is_at_it.wait(WAIT)
        assert slow_one.hear() == Progress()
        assert deliver(address, 2) == [Continue(), Continue()]
        gate.set()
        assert slow_one.hear_answer()[-1] == Continue()


PERFORMS: Any = {Tell: lambda effect, resources: None}


def test_a_directory_that_cannot_be_used_is_an_error_at_the_start(driver: str, tmp_path: Path) -> None:
    """Nobody is served."""
    with (
        pytest.raises(HandlerError, match="expected a directory for effects="),
        running(asking(print), driver=driver, effects=tmp_path / "gone" / "effects"),
    ):
        raise AssertionError


def test_more_than_may_wait_are_refused(
    driver: str, told: Any, directory: Path, log: Any, monkeypatch: pytest.MonkeyPatch, gate: Any
) -> None:
    """The client comes again, when there is room; nothing is dropped."""
    monkeypatch.setattr(effects_module, "MOST_WAITING", 2)

    def tell(what: Any) -> None:
        told.put(what)
        assert gate.wait(WAIT)

    with running(asking(tell, ("accepted", Tell("x"))), driver=driver, effects=directory) as address:
        assert deliver(address, 3) == [Continue(), Continue(), TemporaryFailure()]
        assert "expected fewer effects that wait to be done" in log.take_one()
        gate.set()
        wait_until(lambda: not kept(directory))
        assert deliver(address) == [Continue()]


def test_what_was_left_leaves_room_for_what_comes(
    driver: str, told: Any, directory: Path, gate: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes half of it, and waits in the directory."""
    journal = Journal(directory)
    for number in range(4):
        due = [evolve(one, declared=Declarations(name="acl")) for one in requested(Tell(str(number)))]
        journal.keeper(due, "s").keep()
    journal.close()
    monkeypatch.setattr(effects_module, "MOST_WAITING", 4)
    monkeypatch.setattr(effect_takeover, "LOOK", 0.01)

    def tell(what: Any) -> None:
        told.put(what)
        assert gate.wait(WAIT)

    handlers = asking(tell, ("accepted", Tell("new")))
    with running(handlers, driver=driver, effects=directory) as address:
        assert told.get(timeout=WAIT)[0] == "0"
        verdicts = deliver(address, 4)
        assert verdicts[:2] == [Continue(), Continue()]
        assert verdicts[3] == TemporaryFailure()
        assert "expected fewer effects that wait" in log.take()[0]
        gate.set()
        heard = {told.get(timeout=WAIT)[0] for _ in range(4)}
        wait_until(lambda: not kept(directory))
    assert heard | {told.get()[0] for _ in range(told.qsize())} == {"1", "2", "3", "new"}


def test_messages_in_memory_are_counted(
    driver: str, told: Any, log: Any, monkeypatch: pytest.MonkeyPatch, gate: Any
) -> None:
    """An effect with one too many is dropped; others are not, and there is room again."""
    monkeypatch.setattr(effects_module, "MOST_HELD", 1)

    def tell(what: Any) -> None:
        told.put(what)
        assert gate.wait(WAIT)

    due = (("accepted", Archive), ("accepted", Tell("x")))
    with running(asking(tell, *due, event="message"), driver=driver, grace=WAIT) as address:
        deliver(address, 2)
        wait_until(log.records)
        assert log.take_one() == "the effect Archive of acl is dropped: 1 messages are held already"
        gate.set()
        heard = [told.get(timeout=WAIT)[0] for _ in range(3)]
        assert heard == [b"Subject:hi\r\n\r\nhello\r\n", "x", "x"]
        deliver(address)
        data, message = told.get(timeout=WAIT)
        assert data == b"Subject:hi\r\n\r\nhello\r\n"
        assert told.get(timeout=WAIT)[0] == "x"
    with pytest.raises(LocalProtocolError, match="this message has ended"):
        bytes(message)


def test_without_a_thread_what_is_left_has_to_wait(
    driver: str, told: Any, directory: Path, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says so; the milter serves."""
    start = BIRTHS.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "demyjpy-effects-left":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(BIRTHS, "start", refuse)
    with running(asking(told.put, ("accepted", Tell("x"))), driver=driver, effects=directory) as address:
        deliver(address)
        assert told.get(timeout=WAIT)[0] == "x"
    assert log.take_one() == "effects of an earlier process have to wait: can't start new thread"


def test_without_a_thread_the_loop_itself_ends_them(
    told: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in the directory goes all the same."""
    start = BIRTHS.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "demyjpy-effects-end":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(BIRTHS, "start", refuse)
    with running(asking(told.put), driver="asyncio", effects=directory):
        assert len(list(directory.iterdir())) == 1
    assert list(directory.iterdir()) == []


def test_a_directory_that_cannot_be_read_is_told_once(
    driver: str, told: Any, directory: Path, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for now is done all the same."""

    def names(_: Directory) -> list[str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Directory, "names", names)
    with running(asking(told.put, ("accepted", Tell("x"))), driver=driver, effects=directory) as address:
        deliver(address)
        assert told.get(timeout=WAIT)[0] == "x"
        wait_until(log.records)
    assert log.take_one() == "effects of an earlier process have to wait: [Errno 5] Input/output error"


def test_a_file_that_cannot_be_read_for_a_moment_is_done_later(
    driver: str, told: Any, directory: Path, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if there is no descriptor left just then; no other filter has to come."""
    monkeypatch.setattr(effect_takeover, "LOOK", 0.01)
    journal = Journal(directory)
    due = [evolve(one, declared=Declarations(name="acl")) for one in requested(Tell("x"))]
    journal.keeper(due, "s").keep()
    journal.close()
    load, troubles = EffectFile.load, [1, 1]

    def fail(file: EffectFile, *arguments: Any) -> Any:
        if troubles:
            troubles.pop()
            raise OSError(24, "Too many open files")
        return load(file, *arguments)

    monkeypatch.setattr(EffectFile, "load", fail)
    with running(asking(told.put), driver=driver, effects=directory):
        assert told.get(timeout=WAIT)[0] == "x"
    assert "is kept, and not done: [Errno 24] Too many open files" in log.take_one()


def test_a_file_that_goes_before_its_effect_is_done(
    driver: str, told: Any, directory: Path, log: Any, gate: Any
) -> None:
    """Then nothing can be written down, or read; the log says so."""

    def tell(what: Any) -> None:
        told.put(what)
        assert gate.wait(WAIT)

    due = (("accepted", Tell("x")), ("accepted", Archive))
    with running(asking(tell, *due, event="message"), driver=driver, effects=directory) as address:
        deliver(address)
        told.get(timeout=WAIT)
        (path,) = kept(directory)
        path.unlink()
        gate.set()
        wait_until(lambda: len(log.records()) >= 4)
    lines = log.take()
    assert "the effect Tell of acl cannot be written down as done, and may be done again" in lines[0]
    assert lines[1].startswith("the effect Archive of acl failed: FileNotFoundError")
    assert "it was tried 8 times" in lines[2]


@pytest.mark.parametrize("what", ["log", "load", "settle"])
def test_what_nobody_has_foreseen_stops_nobody(
    what: str, driver: str, told: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, log: Any
) -> None:
    """A logging that raises, a performer that cannot be found, a settling that fails."""

    def fail(*_: Any) -> Any:
        if what != "log":
            raise ZeroDivisionError("odd")
        return {}

    if what == "log":
        monkeypatch.setattr(effects_module.log, "error", lambda *_: 1 / 0)
        monkeypatch.setattr(Journal, "settle", lambda *_: 1 / 0)
    elif what == "load":
        monkeypatch.setattr(effects_module, "performer_of", fail)
    else:
        monkeypatch.setattr(Journal, "settle", fail)
    due = [("accepted", Tell("a")), ("accepted", Tell("b"))]
    with running(asking(told.put, *due), driver=driver, effects=directory) as address:
        deliver(address)
        if what == "load":
            wait_until(lambda: kept(directory, "failed/*.effects"))
        else:
            assert [told.get(timeout=WAIT)[0] for _ in range(2)] == ["a", "b"]
    lines = log.take()
    said = "failed: ZeroDivisionError: odd" if what == "load" else "may be done again: ZeroDivisionErr"
    assert what == "log" or said in lines[0]


def test_what_is_done_while_the_milter_stops_is_not_left(
    driver: str, told: Any, directory: Path, gate: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process does not do it again, and has what comes after it."""
    stops = effect_takeover.Takeover.wait

    def wait(takeover: Any, seconds: float) -> None:
        gate.set()
        wait_until(lambda: not kept(directory))
        stops(takeover, seconds)

    monkeypatch.setattr(effect_takeover.Takeover, "wait", wait)

    def tell(what: Any) -> None:
        told.put(what)
        assert gate.wait(WAIT)

    with running(
        asking(tell, ("accepted", Tell("a"))), driver=driver, effects=directory, grace=0.01
    ) as address:
        deliver(address)
        told.get(timeout=WAIT)
    assert list(directory.iterdir()) == []

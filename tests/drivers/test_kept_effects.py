"""Effects that are kept in a directory: on the disk before the verdict leaves, done by the next one."""

import logging
import queue
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from demyjpy import (
    Continue,
    HandlerError,
    Message,
    Reject,
    define_event_handlers,
    do,
    merge_handlers,
    note,
    reject,
    running,
)
from demyjpy.drivers import effect_takeover
from demyjpy.drivers import effects as effects_module
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.effect_journal import Journal
from demyjpy.drivers.effects import Effects
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.resources import Opened
from demyjpy.drivers.threads import ThreadServer
from tests.drivers.filters import wait_until
from tests.drivers.peer import WAIT, Peer
from tests.drivers.test_effect_files import requested

Told = "queue.SimpleQueue[Any]"


@frozen
class Tell:
    """An effect that tells its text, its key, and what is there."""

    text: str

    def perform(self, resources: Any) -> None:
        """Tell it, unless that fails."""
        resources["tell"]((self.text, resources["effect_key"]))


@frozen
class TellAsync:
    """The same in a loop."""

    text: str

    async def perform(self, resources: Any) -> None:
        """Tell it."""
        resources["tell"]((self.text, resources["effect_key"]))


@frozen
class Archive:
    """An effect that tells the message, and its bytes."""

    message: Message

    def perform(self, resources: Any) -> None:
        """Tell it."""
        resources["tell"]((bytes(self.message), self.message))


@frozen
class Nobody:
    """An effect that somebody performs, or nobody."""

    text: str


@pytest.fixture
def told() -> Any:
    """What the effects of this test tell."""
    return queue.SimpleQueue()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where they are kept."""
    return tmp_path / "effects"


def asking(
    tell: Any, *due: Any, event: str = "end_of_message", decide: Any = None, **declared: Any
) -> Any:
    """A filter that asks for these, with when they are due."""

    @contextmanager
    def open_tell(settings: Any) -> Any:
        yield tell

    def handler(got: Any, ctx: Any) -> Any:
        for when, effect in due:
            ctx = do(ctx, effect(got) if isinstance(effect, type) else effect, when)
        return ctx if decide is None else decide(ctx)

    declared = {"name": "acl", "resources": {"tell": open_tell}, **declared}
    return define_event_handlers({event: handler}, **declared)


def deliver(address: str, times: int = 1) -> list[Any]:
    """The verdicts on so many messages of one session."""
    with Peer(address) as peer:
        peer.begin()
        return [peer.message()[-1] for _ in range(times)]


def kept(directory: Path, pattern: str = "*/*.effects") -> list[Path]:
    """Files of effects."""
    return sorted(directory.glob(pattern))


def fail(told: Any) -> Any:
    """What tells, and fails."""

    def tell(what: Any) -> None:
        told.put(what)
        raise OSError("no route")

    return tell


def leave(directory: Path, driver: str, handlers: Any, log: Any, times: int = 1) -> None:
    """Have a milter keep what it cannot do, and end."""
    with running(handlers, driver=driver, effects=directory, grace=0.01) as address:
        assert set(deliver(address, times)) <= {Continue(), Reject()}
    log.take()


def test_what_is_done_was_on_the_disk_and_goes(driver: str, told: Any, directory: Path) -> None:
    """In order, each with a key of its own; then the directory is empty."""
    seen: list[int] = []

    def tell(what: Any) -> None:
        seen.append(len(kept(directory)))
        told.put(what)

    due = [("accepted", Tell("a")), ("refused", Tell("no")), ("ended", TellAsync("b"))]
    with running(asking(tell, *due), driver=driver, effects=str(directory)) as address:
        assert deliver(address, 2) == [Continue()] * 2
        heard = [told.get(timeout=WAIT) for _ in range(4)]
        wait_until(lambda: not kept(directory))
    assert [text for text, _ in heard] == [*"abab"]
    assert len({key for _, key in heard}) == 4
    assert min(seen) >= 1
    assert list(directory.iterdir()) == []


def test_what_is_left_is_done_by_the_next_with_the_same_key(
    driver: str, told: Any, directory: Path, log: Any, caplog: Any
) -> None:
    """In the order of the session; what was done is not done again. A line says how many there were."""
    caplog.set_level(logging.INFO)
    again: Any = queue.SimpleQueue()

    def tell(what: Any) -> None:
        told.put(what)
        if what[0] == "b":
            raise OSError("no route")

    due = [("accepted", Tell(text)) for text in "abc"]
    leave(directory, driver, asking(tell, *due), log, 2)
    first = dict(told.get() for _ in range(told.qsize()))
    assert set(first) == {"a", "b"}
    with running(asking(again.put, *due), driver=driver, effects=directory):
        heard = [again.get(timeout=WAIT) for _ in range(5)]
        wait_until(lambda: not kept(directory))
        said = "effects that another process has left, and that are done now: 5"
        wait_until(lambda: said in [record.getMessage() for record in caplog.records])
    assert [text for text, _ in heard] == [*"bcabc"]
    assert heard[0] == ("b", first["b"])
    assert len({key for _, key in heard}) == 5


def test_the_log_says_how_many_are_left(
    driver: str, told: Any, directory: Path, caplog: Any, gate: Any
) -> None:
    """They are not lost."""
    caplog.set_level(logging.INFO)
    due = [("accepted", Tell("a")), ("accepted", Tell("b"))]
    with running(
        asking(lambda what: (told.put(what), gate.wait(WAIT)), *due),
        driver=driver,
        effects=directory,
        grace=0.01,
    ) as address:
        deliver(address)
        told.get(timeout=WAIT)
    said = f"effects that were not done when the milter stopped, and are in {directory}: 2"
    assert said in [record.getMessage() for record in caplog.records]
    gate.set()


def test_a_message_is_read_from_the_file(driver: str, told: Any, directory: Path, log: Any) -> None:
    """By this process and by the next; not after the effect is done."""
    expected = b"Subject:hi\r\n\r\nhello\r\n"
    due = (("accepted", Archive), ("accepted", Tell("x")))
    leave(directory, driver, asking(fail(told), *due, event="message"), log)
    (path,) = kept(directory)
    assert path.read_bytes().startswith(expected)
    with running(asking(told.put, *due, event="message"), driver=driver, effects=directory) as address:
        deliver(address)
        wait_until(lambda: not kept(directory))
    heard = [told.get() for _ in range(told.qsize())]
    messages = [one for one in heard if isinstance(one[1], Message)]
    assert {data for data, _ in messages} == {expected}
    assert {one.sender for _, one in messages} == {"from@example.org"}
    for _, message in messages:
        # its file goes first, a moment before the message knows
        with pytest.raises(Exception, match=r"this message has ended|No such file"):
            bytes(message)


def test_one_that_fails_again_and_again_is_put_aside(
    driver: str, told: Any, directory: Path, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says where; the next one of its message is done."""
    monkeypatch.setattr(effects_module, "FIRST_PAUSE", 0.001)
    due = [("accepted", Tell("a")), ("accepted", Nobody("b"))]
    asks = {Nobody: lambda effect, resources: told.put("next")}
    with running(asking(fail(told), *due, asks=asks), driver=driver, effects=directory) as address:
        deliver(address)
        heard = [told.get(timeout=WAIT) for _ in range(effects_module.TRIES + 1)]
        wait_until(lambda: kept(directory, "failed/*.effects"))
    assert heard[-1] == "next"
    assert log.take()[-1] == (
        f"the effect Tell of acl failed: OSError: no route; it was tried 8 times, and is in "
        f"{directory}/failed"
    )


def test_what_is_done_without_a_verdict_is_kept_before_it_is_tried(
    driver: str, told: Any, directory: Path, log: Any
) -> None:
    """As at the end of a session; it survives, too, and a message in it is not needed in memory."""
    handlers = merge_handlers(
        asking(fail(told), ("ended", Tell("x")), event="disconnect"),
        asking(fail(told), ("ended", Archive), event="message", decide=reject, name="other"),
    )
    with running(handlers, driver=driver, effects=directory, grace=0.01) as address:
        deliver(address)
        wait_until(lambda: len(kept(directory)) == 2)
    log.take()
    quiet = merge_handlers(
        asking(told.put, event="disconnect"), asking(told.put, event="message", name="other")
    )
    heard = set()
    with running(quiet, driver=driver, effects=directory):
        while len(heard) < 2:
            what = told.get(timeout=WAIT)
            heard.add(what[0])
        wait_until(lambda: not kept(directory))


def test_what_nobody_can_do_is_kept(driver: str, told: Any, directory: Path, log: Any) -> None:
    """Until a filter comes that can; the log has a line for each cause."""
    perform = {Nobody: lambda effect, resources: told.put(effect.text)}
    refuse = {Nobody: lambda effect, resources: 1 / 0}
    due = (("accepted", Nobody("x")),)
    leave(directory, driver, asking(told.put, *due, asks=refuse), log, 3)
    for handlers, said in (
        (asking(told.put), "expected somebody who performs it, got nobody"),
        (asking(told.put, name="other"), "the filter 'acl' is not served: serve it again, or remove "),
    ):
        (first, *_) = kept(directory)
        with running(handlers, driver=driver, effects=directory):
            wait_until(log.records)
        expected = f"{said}{first}" if "remove" in said else said
        assert log.take() == [f"the effect Nobody of acl is kept, and not done: {expected}"]
        assert len(kept(directory)) == 3
    with running(asking(told.put, asks=perform), driver=driver, effects=directory):
        assert [told.get(timeout=WAIT) for _ in range(3)] == ["x"] * 3
        wait_until(lambda: not kept(directory))


def test_a_filter_among_several_is_found_by_its_name(
    driver: str, told: Any, directory: Path, log: Any
) -> None:
    """Also if it has another place now; one without a name by its place; a function by nothing."""
    leave(directory, driver, asking(fail(told), ("accepted", Tell("x"))), log)
    told.get()
    other = define_event_handlers({"mail": lambda event, ctx: ctx}, name="other")
    with running(merge_handlers(other, asking(told.put)), driver=driver, effects=directory):
        assert told.get(timeout=WAIT)[0] == "x"
        wait_until(lambda: not kept(directory))
    perform = {Nobody: lambda effect, resources: 1 / 0}
    leave(directory, driver, asking(told.put, ("accepted", Nobody("x")), name=None, asks=perform), log)
    with running(lambda ctx: ctx, driver=driver, effects=directory):
        wait_until(log.records)
    assert "expected somebody who performs it" in log.take_one()


def test_one_without_a_name_is_found_by_the_handler_that_asked(
    driver: str, told: Any, directory: Path, log: Any
) -> None:
    """Beside a filter that has jobs only; not if that is not certain."""

    def ask(event: Any, ctx: Any) -> Any:
        return do(ctx, Nobody("x"))

    def other(event: Any, ctx: Any) -> Any:
        return ctx

    def filters(of_other: Any, of_asking: Any) -> Any:
        jobs = define_event_handlers(every={3600: Tell("never")})
        asks = [{Nobody: one} for one in (of_other, of_asking)]
        return merge_handlers(
            jobs,
            define_event_handlers({"end_of_message": other}, asks=asks[0]),
            define_event_handlers({"mail": ask}, asks=asks[1]),
        )

    def fail(effect: Any, resources: Any) -> None:
        raise OSError("no route")

    def right(effect: Any, resources: Any) -> None:
        told.put("right")

    leave(directory, driver, filters(fail, fail), log)
    twice = define_event_handlers({"mail": ask})
    alone = filters(fail, right).merged[1]
    for uncertain in (alone, merge_handlers(twice, alone, define_event_handlers(twice))):
        with running(uncertain, driver=driver, effects=directory):
            wait_until(log.records)
        said = f"the filter with {__name__}.{ask.__qualname__} is not served: serve it again, or remove "
        assert said in log.take_one()
    certain = merge_handlers(*filters(fail, right).merged, twice)
    with running(certain, driver=driver, effects=directory):
        assert told.get(timeout=WAIT) == "right"
        wait_until(lambda: not kept(directory))


def test_what_nobody_could_do_is_tried_again_with_a_new_filter(
    told: Any, directory: Path, log: Any
) -> None:
    """As at SIGHUP; the resources of the old one are not held for it."""
    refuse = {Nobody: lambda effect, resources: 1 / 0}
    leave(directory, "threads", asking(told.put, ("accepted", Nobody("x")), asks=refuse), log)
    able = {Nobody: lambda effect, resources: told.put(effect.text)}
    ended: Any = queue.SimpleQueue()
    options = ServerOptions(effects=directory)
    with ThreadServer(parse_address("inet:0@127.0.0.1"), asking(told.put), options) as server:
        wait_until(log.records)
        log.take()
        server.adopt(asking(told.put, asks=able), ended.put)
        assert ended.get(timeout=WAIT) == ""
        assert told.get(timeout=WAIT) == "x"
        wait_until(lambda: not kept(directory))


def test_what_a_process_leaves_is_taken_over_while_another_serves(
    driver: str, told: Any, directory: Path, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what a worker leaves that has died."""
    monkeypatch.setattr(effect_takeover, "LOOK", 0.01)
    with running(asking(told.put), driver=driver, effects=directory):
        other: Any = queue.SimpleQueue()
        leave(directory, driver, asking(fail(other), ("accepted", Tell("x"))), log)
        assert told.get(timeout=WAIT) == other.get()
        wait_until(lambda: not kept(directory))


def test_without_a_directory_nothing_is_kept() -> None:
    """Nobody asks for it then."""
    with pytest.raises(HandlerError, match="expected the directory of effects= to be open, got none"):
        Effects(lambda: None, 1).keeper((), "s")  # type: ignore[arg-type,return-value]


def test_what_is_no_effect_is_left_to_others(driver: str, told: Any, directory: Path) -> None:
    """A note is for the log."""
    handlers = asking(told.put, ("accepted", Tell("x")), decide=lambda ctx: note(ctx, "seen"))
    with running(handlers, driver=driver, effects=directory) as address:
        deliver(address)
        assert told.get(timeout=WAIT)[0] == "x"


def test_tries_that_have_ended_when_the_milter_stops_are_looked_at(
    directory: Path, told: Any, caplog: Any
) -> None:
    """What is done goes; what has just been kept is not lost; what has failed the next process does."""
    caplog.set_level(logging.INFO)
    effects = Effects(lambda: None, 1, directory)  # type: ignore[arg-type,return-value]
    effects.open()
    due = requested(*[Tell(text) for text in "abc"])
    effects.keeper(tuple(due[:2]), "s").keep()
    effects._thread = threading.current_thread()  # nobody looks before it stops
    for one in due:
        effects.take([one], one.key, Opened())
    done, failed = Future[None](), Future[None]()
    done.set_result(None)
    failed.set_exception(OSError())
    first, second, third = [queued[0] for queued in effects._queues.values()]
    assert third.keeper is not None
    third.keeper.keep()
    for waiting, future in ((first, done), (second, failed), (third, done)):
        effects._ended(waiting, future)
    effects._thread = None
    effects.close()
    effects._ended(second, done)
    said = f"effects that were not done when the milter stopped, and are in {directory}: 2"
    assert [record.getMessage() for record in caplog.records] == [said]
    other = Journal(directory)
    assert [one.number for file in other.left(lambda: True) for one in file.waiting] == [1, 0]
    other.close()


def test_what_is_taken_after_the_end_stays_on_the_disk(directory: Path, told: Any, log: Any) -> None:
    """The next process does it; what is not on the disk is lost."""
    effects = Effects(lambda: None, 1, directory)  # type: ignore[arg-type,return-value]
    effects.open()
    due = requested(Tell("a"), Tell("b"))
    effects.keeper(tuple(due[:1]), "s").keep()
    effects.close()
    effects.take(due, "s", Opened())
    assert log.take_one() == "the effect Tell of archive is dropped: 0 wait already"
    assert len(kept(directory)) == 1

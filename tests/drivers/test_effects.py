"""Effects: done when the verdict has left, in order, again until they succeed."""

import asyncio
import queue
import threading
from contextlib import contextmanager
from typing import Any

import pytest
from attrs import frozen

from demyjpy import Continue, Reject, define_event_handlers, do, reject, running
from demyjpy.drivers import effects as effects_module
from demyjpy.drivers.births import BIRTHS
from demyjpy.effects import Do
from demyjpy.trace import Recorder, load, shadow
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter
from tests.drivers.filters import wait_until
from tests.drivers.peer import MESSAGE, WAIT, Peer


@frozen
class Tell:
    """An effect that tells what it got."""

    told: Any
    text: str

    def perform(self, resources):
        self.told.put((self.text, dict(resources)))


@frozen
class TellAsync:
    """The same in a loop."""

    told: Any
    text: str

    async def perform(self, resources):
        await asyncio.sleep(0)
        self.told.put((self.text, dict(resources), threading.current_thread().name))


@frozen
class Fails:
    """An effect that fails so often."""

    told: Any
    times: int

    def perform(self, resources):
        self.told.put(resources["effect_key"])
        if self.told.qsize() <= self.times:
            raise OSError("no route")


@frozen
class Wait:
    """An effect that waits for a gate."""

    gate: Any
    told: Any

    def perform(self, resources):
        self.told.put("begins")
        self.gate.wait(WAIT)
        self.told.put("ends")


@pytest.fixture
def told():
    """What the effects of this test tell."""
    return queue.SimpleQueue()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nobody waits half a second."""
    monkeypatch.setattr(effects_module, "FIRST_PAUSE", 0.001)


def asking(*effects, event="end_of_message", decide=lambda ctx: ctx, **declared):
    """A filter that asks for these, with when they are due, at an event."""

    def handler(_, ctx):
        for when, effect in effects:
            ctx = do(ctx, effect, when)
        return decide(ctx)

    return define_event_handlers({event: handler}, name="acl", **declared)


def deliver(address, times=1):
    """The verdicts on so many messages of one session."""
    with Peer(address) as peer:
        peer.begin()
        return [peer.message()[-1] for _ in range(times)]


def test_they_are_done_after_the_verdict_in_order_with_the_resources(driver, told):
    """And with a key of their own."""

    @contextmanager
    def open_db(settings):
        yield "DB"

    due = [("accepted", Tell(told, str(number))) for number in range(5)]
    handlers = asking(*due, ("refused", Tell(told, "no")), resources={"db": open_db})
    with running(handlers, driver=driver) as address:
        assert deliver(address, 2) == [Continue(), Continue()]
        heard = [told.get(timeout=WAIT) for _ in range(10)]
    assert [text for text, _ in heard] == [*"01234", *"01234"]
    assert {found["db"] for _, found in heard} == {"DB"}
    assert len({found["effect_key"] for _, found in heard}) == 10
    assert told.empty()


def test_those_of_a_refused_message(driver, told):
    """The others are dropped."""
    due = [(when, Tell(told, when)) for when in ("accepted", "refused", "ended")]
    with running(asking(*due, decide=reject), driver=driver) as address:
        assert deliver(address) == [Reject()]
        assert [told.get(timeout=WAIT)[0] for _ in range(2)] == ["refused", "ended"]
    assert told.empty()


def test_an_async_one_runs_in_the_loop(driver, told):
    """The driver's, or the side loop."""
    with running(asking(("accepted", TellAsync(told, "x"))), driver=driver) as address:
        deliver(address)
        name = told.get(timeout=WAIT)[2]
    assert name == ("demyjpy-asyncio" if driver == "asyncio" else "demyjpy-side-loop")


def test_a_performer_of_the_filter_does_it(driver, told):
    """It gets the effect and the resources."""

    @frozen
    class Bare:
        text: str

    asks = {Bare: lambda effect, resources: told.put(effect)}
    with running(asking(("ended", Bare("x")), asks=asks), driver=driver) as address:
        deliver(address)
        assert told.get(timeout=WAIT) == Bare("x")


def test_one_that_fails_is_tried_again_with_the_same_key(driver, told, log):
    """The log has one line a minute; those after it wait."""
    after = queue.SimpleQueue()
    handlers = asking(("accepted", Fails(told, 3)), ("accepted", Tell(after, "next")))
    with running(handlers, driver=driver) as address:
        deliver(address)
        assert after.get(timeout=WAIT)[0] == "next"
        assert told.qsize() == 4
    assert len({told.get() for _ in range(4)}) == 1
    assert log.take_one() == "the effect Fails of acl failed: OSError: no route"


def test_one_that_fails_again_and_again_is_dropped(driver, told, log):
    """The log says so, and the next one is done."""
    after = queue.SimpleQueue()
    handlers = asking(("accepted", Fails(told, 1000)), ("accepted", Tell(after, "next")))
    with running(handlers, driver=driver) as address:
        deliver(address)
        assert after.get(timeout=WAIT)[0] == "next"
    assert told.qsize() == effects_module.TRIES
    assert log.take()[1:] == [
        "the effect Fails of acl failed: OSError: no route; it was tried 8 times, and is dropped"
    ]


def test_sessions_do_not_wait_for_each_other(driver, told, gate):
    """Those of one are done while those of another take their time."""
    after = queue.SimpleQueue()

    def handler(event, ctx):
        effect = Wait(gate, told) if event.sender == "slow" else Tell(after, "quick")
        return do(ctx, effect, "ended")

    with running(define_event_handlers({"mail": handler}), driver=driver, grace=WAIT) as address:
        for sender in ("slow", "quick"):
            with Peer(address) as peer:
                peer.begin().ask(type(MESSAGE[0])(sender))
        assert after.get(timeout=WAIT)[0] == "quick"
        assert told.get(timeout=WAIT) == "begins"
        gate.set()
    assert told.get() == "ends"


def test_what_is_left_after_the_grace_period_is_lost(driver, told, gate, log):
    """The log says how many."""
    handlers = asking(*[("accepted", Wait(gate, told))] * 3)
    with running(handlers, driver=driver, grace=0.05) as address:
        deliver(address)
        told.get(timeout=WAIT)
    assert log.take_one() == "effects that were not done when the milter stopped, and are lost: 3"


def test_an_async_one_that_is_cancelled_then_is_lost(driver, told, log):
    """It is not tried again."""

    @frozen
    class Hang:
        async def perform(self, resources):
            told.put("begins")
            await asyncio.Event().wait()

    with running(asking(("accepted", Hang())), driver=driver, grace=0.05) as address:
        deliver(address)
        told.get(timeout=WAIT)
    assert log.take_one() == "effects that were not done when the milter stopped, and are lost: 1"


def test_an_async_one_that_cancels_itself_has_failed(driver, told, log):
    """What comes after it is done all the same."""

    @frozen
    class Cancels:
        async def perform(self, resources):
            raise asyncio.CancelledError

    due = [("accepted", Cancels()), ("accepted", Tell(told, "after"))]
    with running(asking(*due), driver=driver) as address:
        deliver(address)
        assert told.get(timeout=WAIT)[0] == "after"
    assert log.take()[0] == "the effect Cancels of acl failed: it was cancelled"


def test_too_many_that_wait_are_dropped(driver, told, gate, log, monkeypatch):
    """The log says so."""
    monkeypatch.setattr(effects_module, "MOST_WAITING", 2)
    handlers = asking(*[("accepted", Wait(gate, told))] * 4)
    with running(handlers, driver=driver) as address:
        deliver(address)
        told.get(timeout=WAIT)
        assert log.take_one() == "the effect Wait of acl is dropped: 2 wait already"
        gate.set()


def test_no_more_are_done_at_once_than_there_are_threads(driver, told, gate):
    """The others wait."""
    handlers = asking(("accepted", Wait(gate, told)))
    with running(handlers, driver=driver, blocking_threads=2, grace=WAIT) as address:
        for _ in range(3):
            deliver(address)
        assert [told.get(timeout=WAIT) for _ in range(2)] == ["begins", "begins"]
        assert told.empty()
        gate.set()
        assert [told.get(timeout=WAIT) for _ in range(4)].count("ends") == 3


def test_without_a_thread_they_wait(driver, told, log, monkeypatch):
    """The next effect tries again."""
    start = BIRTHS.start

    def fail(thread):
        if thread.name == missing:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(BIRTHS, "start", fail)
    missing = "demyjpy-effects"
    with running(asking(("accepted", Tell(told, "x"))), driver=driver) as address:
        deliver(address)
        wait_until(log.records)
        assert log.take_one() == "effects have to wait: can't start new thread"
        missing = "demyjpy-effect"
        deliver(address)
        wait_until(log.records)
        missing = ""
        assert [told.get(timeout=WAIT)[0] for _ in range(2)] == ["x", "x"]
    assert log.take_one() == "the effect Tell of acl failed: RuntimeError: can't start new thread"


def test_neither_a_replay_nor_a_candidate_in_the_shadow_does_any(driver, told, tmp_path):
    """Nothing is done twice, and the recording has the session."""
    live = asking(("accepted", Tell(told, "live")))
    candidate = asking(("accepted", Tell(told, "candidate")))
    recorder = Recorder(tmp_path)
    with running(live, driver=driver, watchers=(recorder,)) as address:
        deliver(address, 2)
        assert [told.get(timeout=WAIT)[0] for _ in range(2)] == ["live", "live"]
    recorder.close()
    (trace,) = [one for path in tmp_path.iterdir() for one in load(path)]
    assert compare_bytes(trace, Filter(live)).is_same
    assert told.empty()
    with running(shadow(live, candidate), driver=driver, grace=WAIT) as address:
        deliver(address, 2)
    assert [told.get()[0] for _ in range(told.qsize())] == ["live", "live"]


def test_an_observer_sees_what_was_asked_for(driver, told):
    """In the actions of the step, like all that a handler queues."""
    steps = []
    effect = Tell(told, "x")
    handlers = asking(("accepted", effect))
    with running(handlers, driver=driver, observer=steps.append) as address:
        deliver(address)
        told.get(timeout=WAIT)
    assert [
        one.actions for one in steps if one.actions and one.handler is handlers["end_of_message"]
    ] == [(Do(effect, "accepted"),)]


def test_an_async_performer_with_other_arguments_stops_nobody(driver, told, log):
    """It raises when it is called, before it is awaited. What comes after it is done all the same."""

    async def wrong(effect):
        """Takes no resources."""

    due = [("accepted", Fails(told, 0)), ("accepted", Tell(told, "after"))]
    with running(asking(*due, asks={Fails: wrong}), driver=driver) as address:
        deliver(address)
        assert told.get(timeout=WAIT)[0] == "after"
    first, last = log.take()
    assert first.startswith("the effect Fails of acl failed: TypeError: ")
    assert last.endswith("; it was tried 8 times, and is dropped")


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self):
        yield


async def later():
    """A coroutine."""


@pytest.mark.parametrize("make", [later, Later])
def test_a_plain_performer_that_returns_an_awaitable_has_failed(make, driver, told, log):
    """Nothing would be done, and nobody would know."""
    asks = {Fails: lambda effect, resources: make()}
    due = [("accepted", Fails(told, 0)), ("accepted", Tell(told, "after"))]
    with running(asking(*due, asks=asks), driver=driver) as address:
        deliver(address)
        assert told.get(timeout=WAIT)[0] == "after"
    expected = "expected a plain perform to have done it, got an awaitable: use async def"
    assert log.take()[0] == f"the effect Fails of acl failed: HandlerError: {expected}"


class MuteError(Exception):
    """An error that says nothing."""

    def __str__(self):
        raise ValueError


def test_an_error_without_words_stops_nobody(driver, told, log):
    """What comes after it is done all the same."""

    def mute(effect, resources):
        raise MuteError

    due = [("accepted", Fails(told, 0)), ("accepted", Tell(told, "after"))]
    with running(asking(*due, asks={Fails: mute}), driver=driver) as address:
        deliver(address)
        assert told.get(timeout=WAIT)[0] == "after"
    said = "MuteError: (no text: its __str__ raises ValueError)"
    assert log.take()[0] == f"the effect Fails of acl failed: {said}"


def test_the_text_of_an_error_is_cut_in_the_log(driver, told, log):
    """Its author may have put a whole mail into it."""

    def fail(effect, resources):
        raise ValueError("M" * 20_000)

    due = [("accepted", Fails(told, 0)), ("accepted", Tell(told, "after"))]
    with running(asking(*due, asks={Fails: fail}), driver=driver) as address:
        deliver(address)
        assert told.get(timeout=WAIT)[0] == "after"
    found = log.take()[0].removeprefix("the effect Fails of acl failed: ValueError: ")
    assert found == "M" * 190 + " ... (cut)"

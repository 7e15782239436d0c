"""The asker: questions are performed in a loop or in threads, and whoever asked is told."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import frozen

from demyjpy.declarations import Declarations
from demyjpy.drivers import asker as module
from demyjpy.drivers.asker import Asker, Errands
from demyjpy.engine.open_questions import Asked
from demyjpy.questions import LATE, Answered, Failed, Late, Question
from tests.drivers.filters import wait_until

DECLARED = Declarations(name="f")


@frozen
class Found(Question, pure=True, remember_for=60):
    """A pure question whose answer is remembered."""

    what: Any = ""


@frozen
class Once(Question):
    """One that is performed each time."""

    what: Any = ""


@frozen
class Bare:
    """One that nobody answers."""


def asked(question: Any, performer: Any = None, *, number: int = 1, within: float = 5.0) -> Asked:
    declared = DECLARED if performer is None else declaring(type(question), performer)
    return Asked(number, 0, "f", "k", question, within, declared=declared)


_DECLARING: dict[Any, Declarations] = {}


def declaring(kind: type, performer: Any) -> Declarations:
    """The same for the same performer, as a filter declares it once."""
    return _DECLARING.setdefault((kind, id(performer)), Declarations(asks={kind: performer}))


def answers(*all_asked: Asked, before: Callable[[Asker], Awaitable[None]] | None = None) -> list[Any]:
    """What becomes of questions that are asked at once, in the order in which they were asked."""

    async def main() -> list[Any]:
        asker = Asker(asyncio.get_running_loop)
        told: dict[int, Any] = {}
        for one in all_asked:
            asker.begin(one, lambda outcome, seconds, number=one.number: told.update({number: outcome}))
        if before is not None:
            await before(asker)
        await asyncio.to_thread(wait_until, lambda: len(told) == len(all_asked))
        asker.close()
        return [told[one.number] for one in all_asked]

    return asyncio.run(main())


# ---------------------------------------------------------------------------------- performers
async def soon(question: Any, resources: Any) -> Any:
    await asyncio.sleep(0)
    return f"{question.what}!"


def plain(question: Any, resources: Any) -> Any:
    return [question.what, threading.current_thread().name]


class AsyncObject:
    """An object that is called like an async function."""

    async def __call__(self, question: Any, resources: Any) -> Any:
        return 5


def test_performers_may_be_async_or_plain() -> None:
    """Plain ones run in a thread; what comes back is plain data that nobody can change."""
    found, other, third = answers(
        asked(Once("a"), soon), asked(Once("b"), plain, number=2), asked(Once(), AsyncObject(), number=3)
    )
    assert (found, third) == (Answered("a!"), Answered(5))
    assert other.value[0] == "b"
    assert other.value[1].startswith("demyjpy-handler")


def test_performers_get_the_resources_of_their_filter() -> None:
    """Those that the server has open for it."""

    async def main() -> Any:
        told: list[Any] = []
        asker = Asker(asyncio.get_running_loop, lambda declared: {"of": declared.name})
        asker.begin(asked(Look()), lambda outcome, seconds: told.append((outcome, seconds >= 0)))
        await asyncio.to_thread(wait_until, lambda: bool(told))
        return told

    assert asyncio.run(main()) == [(Answered("f"), True)]


@frozen
class Look(Question):
    """What a performer gets."""

    async def perform(self, resources: Any) -> Any:
        return resources["of"]


async def fail(question: Any, resources: Any) -> Any:
    raise question.what


def fail_plainly(question: Any, resources: Any) -> Any:
    raise question.what


@pytest.mark.parametrize("performer", [fail, fail_plainly])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no table"), "ValueError: no table"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_what_a_performer_raises_is_its_failure(log: Any, performer: Any, error: Any, said: str) -> None:
    """Whatever that is: the milter goes on."""
    assert answers(asked(Once(error), performer)) == [Failed(said)]
    assert log.take_one() == f"f: question Once: {said}"


def not_async(question: Any, resources: Any) -> Any:
    return soon(question, resources)


def a_future(question: Any, resources: Any) -> Any:
    class Future(Awaitable[Any]):
        def __await__(self) -> Any:
            yield

    return Future()


def text(question: Any, resources: Any) -> Any:
    return question.what


async def gone(question: Any, resources: Any) -> Any:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (asked(Once(), not_async), "an awaitable: use async def"),
        (asked(Once(), a_future), "an awaitable: use async def"),
        (asked(Once(object()), text), "expected an answer that can be recorded, got an object"),
        (asked(Bare()), "nobody answers it: give Bare a perform"),
        (asked(Found(), gone), "it was cancelled"),
        (asked(Once(), lambda question, resources: LATE), ""),
    ],
)
def test_what_is_no_answer(log: Any, one: Asked, said: str) -> None:
    """The words say what was wrong; a performer may say itself that it is late."""
    (found,) = answers(one)
    assert said in getattr(found, "error", "")
    assert isinstance(found, Late if not said else Failed)
    log.take_one()


def test_there_may_be_no_thread(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the question has failed."""

    def refuse(*arguments: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module.Pool, "submit", refuse)
    assert answers(asked(Once("a"), plain)) == [
        Failed("there is no thread for it: can't start new thread")
    ]
    log.take_one()


# ------------------------------------------------------------------------------ time and sharing
async def never(question: Any, resources: Any) -> Any:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        STOPPED.append(question.what)
        raise


STOPPED: list[Any] = []


def test_a_performer_that_never_answers_costs_its_deadline(log: Any) -> None:
    """It is cancelled then."""
    STOPPED.clear()
    assert answers(asked(Once("x"), never, within=0.05)) == [LATE]
    assert STOPPED == ["x"]
    assert log.take_one() == "f: question Once: no answer within 0.05 s"


def test_a_plain_performer_that_is_late_is_left_behind(log: Any, gate: threading.Event) -> None:
    """Its thread runs to its end, and what it returns is dropped."""

    def wait(question: Any, resources: Any) -> Any:
        gate.wait(20)

    assert answers(asked(Once("x"), wait, within=0.05)) == [LATE]
    gate.set()
    log.take_one()


def test_equal_pure_questions_in_flight_are_performed_once(log: Any) -> None:
    """Each who asks has a deadline of his own; one who leaves takes nothing from the others."""
    calls: list[Any] = []

    async def count(question: Any, resources: Any) -> Any:
        calls.append(question.what)
        await asyncio.sleep(0.2)
        return "done"

    async def leave(asker: Asker) -> None:
        cancel = asker.begin(asked(Found("a"), count), lambda outcome, seconds: calls.append("told"))
        cancel()
        cancel()

    found = answers(
        asked(Found("a"), count),
        asked(Found("a"), count, number=2, within=0.05),
        asked(Found("b"), count, number=3),
        before=leave,
    )
    assert found == [Answered("done"), LATE, Answered("done")]
    assert calls == ["a", "b"]
    log.take_one()


def test_others_are_performed_each_time() -> None:
    """Asking may change something; and the same class of two filters has two performers."""
    calls: list[Any] = []

    async def count(question: Any, resources: Any) -> Any:
        calls.append(question.what)

    async def other(question: Any, resources: Any) -> Any:
        calls.append("other")

    answers(asked(Once("a"), count), asked(Once("a"), count, number=2))
    answers(asked(Found("b"), count), asked(Found("b"), other, number=2))
    assert calls == ["a", "a", "b", "other"]


def test_one_who_breaks_when_he_hears_it_harms_no_other() -> None:
    """The loop's exception handler has it; one who left meanwhile hears nothing."""
    broken: list[Any] = []
    told: list[Any] = []

    def break_(outcome: Any, seconds: float) -> None:
        cancels[2]()
        raise ValueError("broken")

    cancels: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: broken.append(context["exception"]))
        asker = Asker(asyncio.get_running_loop)
        tellers = [
            break_,
            lambda outcome, seconds: told.append(1),
            lambda outcome, seconds: told.append(2),
        ]
        cancels.extend(asker.begin(asked(Found("a"), soon), tell) for tell in tellers)
        await asyncio.to_thread(wait_until, lambda: bool(broken and told))

    asyncio.run(main())
    assert len(told) == len(broken) == 1


def test_who_left_last_stops_it() -> None:
    """Nobody waits for it any more."""
    STOPPED.clear()

    async def main() -> None:
        asker = Asker(asyncio.get_running_loop)
        cancels = [
            asker.begin(asked(Found("y"), never), lambda outcome, seconds: None) for _ in range(2)
        ]
        await asyncio.sleep(0)
        cancels[0]()
        await asyncio.sleep(0.01)
        assert not STOPPED
        cancels[1]()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert STOPPED == ["y"]


def test_who_closes_it_tells_nobody() -> None:
    """What is on its way is stopped."""
    STOPPED.clear()
    told: list[Any] = []

    async def main() -> None:
        asker = Asker(asyncio.get_running_loop)
        asker.begin(asked(Once("z"), never), lambda outcome, seconds: told.append(outcome))
        await asyncio.sleep(0)
        asker.close()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert (STOPPED, told) == (["z"], [])


def test_a_thread_may_end_after_the_loop(gate: threading.Event) -> None:
    """Nobody hears of it, and nothing breaks."""
    done = threading.Event()

    def wait(question: Any, resources: Any) -> Any:
        gate.wait(20)
        done.set()

    async def main() -> None:
        Asker(asyncio.get_running_loop).begin(asked(Once("x"), wait), lambda outcome, seconds: None)
        await asyncio.sleep(0.05)

    asyncio.run(main())
    gate.set()
    assert done.wait(5)
    time.sleep(0.05)


def test_a_task_that_never_began_has_failed(log: Any, gate: threading.Event) -> None:
    """All threads are busy: who waits in vain is late, and his task is cancelled."""

    def wait(question: Any, resources: Any) -> Any:
        gate.wait(20)
        return "ok"

    async def main() -> list[Any]:
        told: list[Any] = []
        asker = Asker(asyncio.get_running_loop, threads=1)
        asker.begin(asked(Once("a"), wait), lambda outcome, seconds: told.append(outcome))
        asker.begin(asked(Once("b"), wait, within=0.05), lambda outcome, seconds: told.append(outcome))
        await asyncio.sleep(0.1)
        gate.set()
        await asyncio.to_thread(wait_until, lambda: len(told) == 2)
        return told

    assert asyncio.run(main()) == [LATE, Answered("ok")]
    log.take_one()


# ------------------------------------------------------------------------------------ the log
def test_one_line_a_cause_and_minute(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a flood there are few lines, and none has a value of a mail that is long or not printable."""
    monkeypatch.setattr(module, "_MOST_CAUSES", 1)
    asker = Asker(asyncio.get_running_loop)
    for number in range(5):
        asker._report(asked(Once()), Failed(f"no\n{number}" + "x" * 1_000))
    asker._report(asked(Found()), LATE)
    asker._report(asked(Look()), LATE)
    first, second = log.take()
    assert (len(first) < 300, "\n" in first, "Found" in second) == (True, False, True)
    monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + 61)
    asker._report(asked(Once()), LATE)
    asker._report(asked(Once()), Failed("again"))
    lines = log.take()
    assert any("(5 times since it was logged last)" in one for one in lines)


# ------------------------------------------------------------------------------- other threads
def test_it_may_be_asked_from_another_thread() -> None:
    """And told there that nobody wants the answer any more."""
    STOPPED.clear()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        asker = Asker(lambda: loop)
        told: list[Any] = []
        tell = lambda outcome, seconds: told.append(outcome)  # noqa: E731
        await asyncio.to_thread(asker.begin_from_thread, asked(Once("a"), soon), tell)
        cancel = await asyncio.to_thread(asker.begin_from_thread, asked(Once("b"), never), tell)
        await asyncio.to_thread(wait_until, lambda: bool(told))
        cancel()
        await asyncio.sleep(0.02)
        assert told == [Answered("a!")]
        cancels_.append(cancel)

    cancels_: list[Any] = []
    asyncio.run(main())
    assert STOPPED == ["b"]
    cancels_[0]()  # the loop has ended


def test_without_a_loop_it_has_failed() -> None:
    """Who asks is told at once."""

    def no_loop() -> Any:
        raise RuntimeError("the side loop has ended")

    told: list[Any] = []
    cancel = Asker(no_loop).begin_from_thread(
        asked(Once("a"), soon), lambda outcome, seconds: told.append(outcome)
    )
    cancel()
    assert told == [Failed("nobody can ask any more: the side loop has ended")]


def test_errands_follow_what_is_wanted() -> None:
    """What is new is begun, what is not wanted any more is stopped, once."""
    seen: list[Any] = []

    def begin(one: Asked, tell: Any) -> Any:
        seen.append(("begin", one.number))
        tell(LATE, 1.0)
        return lambda: seen.append(("stop", one.number))

    errands = Errands(begin, lambda *said: seen.append(said))
    errands.follow({1: asked(Once()), 2: asked(Once(), number=2)})
    errands.follow({2: asked(Once(), number=2)})
    errands.follow({})
    errands.follow({})
    assert seen == [
        ("begin", 1), (1, LATE, 1.0), ("begin", 2), (2, LATE, 1.0), ("stop", 1), ("stop", 2)
    ]  # fmt: skip

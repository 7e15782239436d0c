"""The circuit breaker as a value, and the guard that asks by it: no server is needed for either."""

import asyncio
import logging

import pytest

from demyjpy.drivers.asker import CANCELLED_LATE
from demyjpy.drivers.breaker_log import BREAKERS, Mark
from demyjpy.errors import HandlerError
from demyjpy.lookups import guard as module
from demyjpy.lookups.breaker import Breaker
from demyjpy.lookups.guard import Guard, RefusedError, UnansweredError
from demyjpy.lookups.places import Places

TWO = Breaker(most_failures=2, pause=10)


def failed(breaker: Breaker, *times: float, is_probe: bool = False) -> Breaker:
    for now in times:
        breaker = breaker.fail(now, is_probe=is_probe)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row():
    """An answer between them makes it forget the ones before."""
    assert not failed(TWO, 1).is_open
    assert not failed(failed(TWO, 1).succeed(), 2).is_open
    assert failed(TWO, 1, 2).is_open
    assert (TWO.is_suspect, failed(TWO, 1).is_suspect) == (False, True)


def test_one_probe_is_let_through_when_the_pause_is_over():
    """Nobody before, and no second one; if the probe fails the pause begins again."""
    opened = failed(TWO, 1, 2)
    assert opened.admit(11.9) is None
    probing = opened.admit(12)
    assert probing is not None
    assert probing.admit(13) is None
    assert probing.succeed() == TWO
    again = failed(probing, 14, is_probe=True)
    assert (again.admit(23), again.admit(24) is None) == (None, False)


def test_a_probe_that_nobody_waits_for_is_replaced():
    """Else the server would never be asked again."""
    probing = failed(TWO, 1, 2).admit(12)
    assert probing is not None
    assert probing.give_up(is_probe=True).admit(12) == probing
    assert probing.give_up(is_probe=False) is probing


def test_what_was_asked_before_it_opened_and_fails_later_changes_nothing():
    """Else a slow server would put off its own probe."""
    opened = failed(TWO, 1, 2)
    assert failed(opened, 9) is opened


@pytest.mark.parametrize(
    "wrong", [{"places": 0}, {"timeout": -1}, {"most_failures": True}, {"pause": 0}]
)
def test_options_are_checked(wrong):
    """The error names the option."""
    option = next(iter(wrong)).replace("places", "pool")
    with pytest.raises(HandlerError, match=f"expected {option}="):
        Guard("x", **{"places": 1, **wrong})


# --------------------------------------------------------------------------------------- the guard
class Clock:
    """A clock that is set."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


async def answer():
    return "answer"


async def hang():
    await asyncio.Event().wait()


def fails_with(error):
    async def work():
        raise error

    return work


def waits_then_fails(go):
    async def work():
        await go.wait()
        raise OSError("no route")

    return work


async def turns():
    """Let the loop do what it has to do."""
    for _ in range(9):
        await asyncio.sleep(0)


def guarded(main, **options):
    """Run ``main(guard, clock)``; what the breaker log says of it."""
    clock, reader = Clock(), Mark(BREAKERS)

    async def run():
        guard = Guard("dns", **{"places": 9, "most_failures": 2, "clock": clock, **options})
        await main(guard, clock)
        guard.close()

    asyncio.run(run())
    return [(one.lookup, one.server, one.is_open) for one in reader.take()]


async def fails(guard, work=None, error=UnansweredError, **options):
    with pytest.raises(error) as caught:
        await guard.ask("a", work or fails_with(OSError("no route")), **options)
    return str(caught.value)


def test_a_server_that_does_not_answer_is_left_alone_and_comes_back(caplog):
    """Each error names the server and what came; log and metrics have two changes."""

    async def main(guard, clock):
        assert await fails(guard) == "dns a: no route"
        assert await fails(guard) == "dns a: no route"
        clock.now += 4
        assert await fails(guard, answer) == (
            "dns a was not asked: it did not answer 2 times in a row, the last time: no route; it is "
            "asked again in 6 s"
        )
        assert await guard.ask("b", answer) == "answer"  # another server
        clock.now += 6
        assert await guard.ask("a", answer) == "answer"

    with caplog.at_level(logging.WARNING):
        assert guarded(main) == [("dns", "a", True), ("dns", "a", False)]
    assert caplog.messages == [
        "dns a does not answer, and is asked only every 10 s; the last time: no route",
        "dns a answers again",
    ]


def stubborn_work():
    """Work that takes up to an event to be cancelled, and that event."""
    is_over = asyncio.Event()

    async def stubborn():
        try:
            await hang()
        finally:
            await is_over.wait()

    return stubborn, is_over


def test_no_answer_in_time_is_a_failure_also_if_the_work_cannot_be_cancelled():
    """Some libraries take long to close what was cancelled: its place waits, we do not."""

    async def main(guard, clock):
        stubborn, is_over = stubborn_work()
        assert await fails(guard, stubborn) == "dns a: no answer within 0.01 s"
        second = asyncio.create_task(guard.ask("b", answer))
        await asyncio.wait((second,), timeout=0.02)
        assert not second.done()
        is_over.set()
        assert await second == "answer"

    assert guarded(main, timeout=0.01, places=1) == []


def test_a_refusal_is_an_answer():
    """And what the client itself raises says nothing about the server."""

    async def main(guard, clock):
        await fails(guard)
        assert await fails(guard, fails_with(RefusedError("no")), RefusedError) == "dns a: no"
        await fails(guard)
        await fails(guard, fails_with(KeyError("x")), KeyError)
        assert await guard.ask("a", answer) == "answer"

    assert guarded(main) == []


@pytest.mark.parametrize(("word", "is_open"), [(CANCELLED_LATE, True), (None, False)])
def test_who_is_late_was_not_answered_and_who_goes_away_says_nothing(word, is_open):
    """A client that hangs up at once could else open the breaker for all others."""

    async def main(guard, clock):
        for _ in range(2):
            asking = asyncio.create_task(guard.ask("a", hang))
            await turns()
            asking.cancel(word)
            with pytest.raises(asyncio.CancelledError):
                await asking
        assert guard._of("a").is_open == is_open

    assert len(guarded(main)) == 2 * is_open


def test_if_a_stranger_may_hold_up_an_answer_the_server_is_asked_something_else_first():
    """A sender's domain with dead name servers says nothing about our own resolver."""
    asked = []

    async def alive():
        asked.append(1)

    async def fails_and_is_judged(guard, is_alive):
        await fails(guard, is_alive=is_alive)
        await turns()

    async def main(guard, clock):
        for _ in range(4):
            await fails_and_is_judged(guard, alive)
        await fails_and_is_judged(guard, fails_with(RefusedError("no")))
        await fails_and_is_judged(guard, alive)
        assert not guard._of("a").is_open
        await fails_and_is_judged(guard, fails_with(OSError("gone")))
        assert guard._of("a").is_open
        clock.now += 10
        await fails_and_is_judged(guard, fails_with(OSError("gone")))  # the probe
        assert guard._of("a").is_open
        clock.now += 10
        await fails_and_is_judged(guard, alive)
        assert not guard._of("a").is_open

    assert len(guarded(main, most_failures=1)) == 2
    assert len(asked) == 6


def test_one_question_whether_it_is_alive_is_enough():
    """However many fail meanwhile; also if nobody waits any longer, and a failure of an open one."""
    asked = []

    async def hangs():
        asked.append(1)
        await hang()

    async def main(guard, clock):
        await fails(guard, is_alive=hangs)
        for _ in range(3):
            late = asyncio.create_task(guard.ask("a", hang, is_alive=hangs))
            await turns()
            late.cancel(CANCELLED_LATE)
            await asyncio.wait((late,))
        assert asked == [1]
        guard.close()  # which is no failure
        await turns()
        assert not guard._of("a").is_open

    assert guarded(main) == []


def test_what_was_asked_before_it_opened_is_not_asked_about():
    """It is known by then; and the probe alone is to say more."""
    asked = []

    async def alive():
        asked.append(1)

    async def main(guard, clock):
        go = asyncio.Event()
        old = asyncio.create_task(fails(guard, waits_then_fails(go), is_alive=alive))
        await turns()
        await fails(guard)
        await fails(guard)
        go.set()
        await old
        await turns()
        assert guard._of("a").is_open

    assert len(guarded(main)) == 2
    assert asked == []


def test_work_within_work_takes_no_second_place():
    """A DNS block list counts for itself, and asks the resolver."""

    async def main(guard, clock):
        assert await guard.watch("zone", lambda: guard.ask("a", answer)) == "answer"

    assert guarded(main, places=1) == []


def test_what_is_known_is_bounded(monkeypatch):
    """Servers that mail names could else fill the memory."""
    monkeypatch.setattr(module, "MOST_SERVERS", 3)

    async def main(guard, clock):
        for name in "abcde":
            with pytest.raises(UnansweredError):
                await guard.ask(name, fails_with(OSError()))
        assert [*guard._breakers] == ["c", "d", "e"]

    assert guarded(main, most_failures=1) == [
        *[("dns", name, True) for name in "abcd"],
        ("dns", "a", False),
        ("dns", "e", True),
        *[("dns", name, False) for name in "bcde"],
    ]


def test_closing_stops_what_is_on_its_way():
    """Whoever waits is told."""

    async def main(guard, clock):
        asking = asyncio.create_task(guard.ask("a", hang))
        await turns()
        guard.close()
        with pytest.raises(UnansweredError, match="it was stopped"):
            await asking

    guarded(main)


def test_a_pool_without_a_free_place_waits_its_turn():
    """Waiting is no failure of the server; who waits and goes away gives nothing back."""

    async def main(guard, clock):
        go = asyncio.Event()
        first = asyncio.create_task(guard.ask("a", go.wait))
        second = asyncio.create_task(guard.ask("a", answer))
        third = asyncio.create_task(guard.ask("a", answer))
        await turns()
        second.cancel(CANCELLED_LATE)
        go.set()
        assert (await first, await third) == (True, "answer")
        assert guard._of("a") == guard._new

    assert guarded(main, places=1, most_failures=1) == []


def test_who_waits_for_a_place_does_not_wait_for_a_server_that_does_not_answer():
    """A library may take long to give up: nobody waits for that once the breaker is open."""

    async def main(guard, clock):
        stubborn, is_over = stubborn_work()
        first = asyncio.create_task(fails(guard, stubborn))
        await turns()
        waiting = asyncio.create_task(fails(guard, answer))
        other = asyncio.create_task(guard.ask("b", answer))
        assert await first == "dns a: no answer within 0.01 s"
        assert (await asyncio.wait_for(waiting, 5)).startswith("dns a was not asked")
        assert (await fails(guard, answer)).startswith("dns a was not asked")
        assert not other.done()
        is_over.set()
        assert await other == "answer"

    assert len(guarded(main, timeout=0.01, places=1, most_failures=1)) == 2


def test_a_place_that_comes_too_late_goes_to_the_next():
    """The one for whom it was has gone away in the same moment, or was sent away."""

    async def main():
        places = Places(1)
        await places.take("a")
        takers = [asyncio.create_task(places.take(name)) for name in "abc"]
        await turns()
        takers[0].cancel()  # it waits no more, and is still in the row
        places.give_back()
        takers[1].cancel()  # it has just been given the place
        places.send_away("c", lambda: OSError("never seen"))
        takers[2].cancel()
        await asyncio.wait(takers)
        await asyncio.wait_for(places.take("d"), 1)
        return [one.cancelled() for one in takers]

    assert asyncio.run(main()) == [True] * 3


def test_what_was_begun_is_finished_if_stopping_it_would_cost_a_connection():
    """Whoever is late or goes away: the server is judged by what comes. Until then it has its place."""

    async def main(guard, clock):
        gates = [asyncio.Event() for _ in range(2)]
        first, second = (asyncio.create_task(guard.ask("a", waits_then_fails(one))) for one in gates)
        await turns()
        first.cancel(CANCELLED_LATE)
        second.cancel()
        await asyncio.wait((first, second))
        assert first.cancelled()
        assert not guard._of("a").failures
        waiting = asyncio.create_task(guard.ask("b", answer))
        await turns()
        assert not waiting.done()
        for gate in gates:
            gate.set()
        assert await waiting == "answer"
        await turns()
        assert guard._of("a").is_open

    assert len(guarded(main, places=2, finishes=True)) == 2


def test_a_place_is_given_back_if_the_breaker_opens_just_then():
    """Who gets it does not ask, and the next has it."""

    async def main(guard, clock):
        first = asyncio.create_task(guard.ask("a", hang))
        await turns()
        second = asyncio.create_task(fails(guard, answer))
        await turns()
        first.cancel()
        guard._places.give_back()  # to the second, in the same turn of the loop in which it opens
        guard._set("a", guard._of("a").fail(clock(), is_probe=False))
        assert (await second).startswith("dns a was not asked")
        assert await guard.ask("b", answer) == "answer"

    assert len(guarded(main, places=1, most_failures=1)) == 2

"""The sockets of the asyncio driver, at the ends of real pairs of sockets."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from select import select
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

import pytest

from demyjpy.drivers import transport
from demyjpy.drivers.transport import Poller, Transport

MANY = b"x" * 3_000_000


class Heard:
    """What a transport says, and what is done about it."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.then: Callable[[bytes], None] = lambda data: None

    def receive(self, data: bytes) -> None:
        self.said.append(data)
        self.then(data)

    def go_on(self) -> None:
        self.said.append("turn")
        self.then(b"")

    def lose(self) -> None:
        self.said.append("lost")

    def hold_back(self, is_full: bool) -> None:
        self.said.append("full" if is_full else "empty")


class Pair:
    """A transport, what it says, and the other end of its connection."""

    def __init__(self, poller: Poller) -> None:
        mine, self.peer = socket.socketpair()
        mine.setblocking(False)
        self.peer.settimeout(20.0)
        self.heard = Heard()
        self.sock = mine
        self.transport = Transport(poller, mine, self.heard)

    def read_all(self, size: int) -> bytes:
        """So many bytes, from a thread."""
        found = b""
        while len(found) < size:
            found += self.peer.recv(1_000_000)
        return found


@asynccontextmanager
async def pairs(count: int) -> AsyncIterator[Any]:
    """So many of them, watched by one poller."""
    poller = Poller(asyncio.get_running_loop())
    made = [Pair(poller) for _ in range(count)]
    try:
        yield made
    finally:
        for pair in made:
            pair.transport.abort()
            pair.peer.close()
        poller.close()
        await settle()


async def settle() -> None:
    """Until the loop has done what is to be done."""
    for _ in range(5):
        await asyncio.sleep(0)


def run(main: Callable[[], Any]) -> None:
    """In a loop that ends in any case."""
    asyncio.run(asyncio.wait_for(main(), 30))


def test_bytes_go_both_ways():
    """As they are, until the peer closes; the loss is said once."""

    async def main() -> None:
        async with pairs(1) as (pair,):
            pair.peer.send(b"hello")
            await settle()
            pair.transport.write(b"welcome")
            assert pair.peer.recv(100) == b"welcome"
            pair.peer.close()
            await settle()
            assert pair.heard.said == [b"hello", "lost"]
            assert pair.sock.fileno() == -1
            pair.transport.write(b"to nobody")
            pair.transport.read(False)
            pair.transport.read(True)
            pair.transport.close()
            pair.transport.abort()
            await settle()
            assert pair.heard.said == [b"hello", "lost"]

    run(main)


@pytest.mark.parametrize(("seconds", "is_sent"), [(0.0, False), (0.01, True)])
def test_an_answer_waits_for_the_others_of_its_turn_but_not_for_long(monkeypatch, seconds, is_sent):
    """It has gone out before the next is asked for, where making it took its time."""
    monkeypatch.setattr(transport, "_PATIENCE", 0.005 if is_sent else 60.0)
    came: list[bool] = []

    async def main() -> None:
        async with pairs(2) as (first, second):

            def answer(data: bytes) -> None:
                first.transport.write(data)
                time.sleep(seconds)

            first.heard.then = answer
            second.heard.then = lambda data: came.append(bool(select([first.peer], [], [], 0)[0]))
            for pair in (first, second):
                pair.peer.send(b"hello")
            await settle()
            assert first.peer.recv(100) == b"hello"

    run(main)
    assert came == [is_sent]


def test_the_loop_has_its_turn_though_there_is_always_something_to_read():
    """Serving in one turn what comes meanwhile ends, whatever comes."""
    most = 100_000

    async def main() -> None:
        async with pairs(1) as (pair,):

            def ask_again(data: bytes) -> None:
                if len(pair.heard.said) < most:
                    pair.peer.send(data)

            pair.heard.then = ask_again
            pair.peer.send(b"again")
            await settle()
            assert 1 < len(pair.heard.said) < most

    run(main)


def test_those_with_work_left_have_a_turn_each():
    """Once for each time that it was wanted, in order, and again if they want it then."""
    turns: list[int] = []

    async def main() -> None:
        is_done = asyncio.Event()
        async with pairs(3) as all_of_them:

            def work(number: int, transport: Transport) -> None:
                turns.append(number)
                if turns.count(number) < 3:
                    transport.work_later()
                if len(turns) == 9:
                    is_done.set()

            for number, pair in enumerate(all_of_them):
                pair.heard.then = lambda data, mine=(number, pair.transport): work(*mine)
                pair.transport.work_later()
                pair.transport.work_later()
            await is_done.wait()
            await settle()
            assert turns == [0, 1, 2] * 3

    run(main)


def test_what_is_said_anew_comes_before_work_that_is_left():
    """One part of it at most, whatever there is to do."""
    most = 1000

    async def main() -> None:
        async with pairs(2) as (busy, other):
            is_done = asyncio.Event()

            def work(data: bytes) -> None:
                if busy.heard.said.count("turn") == most:
                    is_done.set()
                else:
                    busy.transport.work_later()
                if busy.heard.said.count("turn") == 3:
                    other.peer.send(b"anew")

            other.heard.then = lambda data: other.heard.said.append(busy.heard.said.count("turn"))
            busy.heard.then = work
            busy.transport.work_later()
            await is_done.wait()
            assert other.heard.said == [b"anew", 3]

    run(main)


def test_one_that_is_closed_has_no_turn_any_more():
    """Nor has any when the poller is closed."""

    async def main() -> None:
        async with pairs(2) as (first, second):
            first.transport.work_later()
            first.transport.abort()
            await settle()
            assert first.heard.said == ["lost"]
            second.transport.work_later()
        assert second.heard.said == ["lost"]

    run(main)


def test_reading_is_paused():
    """What comes meanwhile waits."""

    async def main() -> None:
        async with pairs(1) as (pair,):
            pair.transport.read(False)
            pair.peer.send(b"hello")
            await settle()
            assert pair.heard.said == []
            pair.transport.read(True)
            await settle()
            assert pair.heard.said == [b"hello"]

    run(main)


def test_a_peer_that_does_not_read_is_waited_for():
    """Writing is paused over the mark, and goes on below the other; nothing is lost or out of order."""

    async def main() -> None:
        async with pairs(1) as (pair,):
            pair.transport.write(MANY)
            pair.transport.write(b"y" * 10)
            assert pair.heard.said == ["full"]
            left = pair.transport.unsent
            assert 0 < left < len(MANY) + 10
            await settle()
            assert pair.transport.unsent == left
            found = await asyncio.to_thread(pair.read_all, len(MANY) + 10)
            assert found == MANY + b"y" * 10
            assert pair.heard.said == ["full", "empty"]
            assert pair.transport.unsent == 0

    run(main)


def test_a_peer_that_takes_nothing_at_all():
    """What is written is sent when it does."""

    async def main() -> None:
        async with pairs(1) as (pair,):
            size = 0
            with suppress(BlockingIOError):
                for _ in range(1000):
                    size += pair.sock.send(MANY)
            pair.transport.write(b"at last")
            assert pair.transport.unsent == len(b"at last")
            found = await asyncio.to_thread(pair.read_all, size + len(b"at last"))
            assert found.endswith(b"xat last")

    run(main)


def test_what_was_written_is_sent_before_it_closes():
    """And nothing is read any more."""

    async def main() -> None:
        async with pairs(1) as (pair,):
            pair.transport.write(MANY)
            pair.transport.close()
            pair.peer.send(b"too late")
            await settle()
            assert pair.transport.is_closing
            found = await asyncio.to_thread(pair.read_all, len(MANY))
            assert found == MANY
            await settle()
            assert [one for one in pair.heard.said if one != "empty"] == ["full", "lost"]

    run(main)


def test_it_is_closed_at_once():
    """Where it is aborted, also while it waits to be closed; what was not sent is forgotten."""

    async def main() -> None:
        async with pairs(2) as both:
            for pair in both:
                pair.transport.write(MANY)
            both[0].transport.close()
            for pair in both:
                pair.transport.abort()
                assert pair.transport.unsent == 0
            await settle()
            assert [pair.heard.said for pair in both] == [["full", "lost"]] * 2

    run(main)


def test_a_peer_that_has_gone():
    """Is noticed by whatever is done next: writing, writing the rest, reading."""

    async def main() -> None:
        async with pairs(3) as (writing, rest, reading):
            rest.transport.write(MANY)
            rest.transport.read(False)
            reading.transport.write(b"unread")  # so that closing is a reset
            for pair in (writing, rest, reading):
                pair.peer.close()
            writing.transport.write(b"to nobody")
            assert writing.transport.is_closing
            await settle()
            assert [pair.heard.said for pair in (writing, rest, reading)] == [
                ["lost"],
                ["full", "lost"],
                ["lost"],
            ]

    run(main)


def test_one_session_may_end_another_within_a_turn():
    """Which then hears nothing any more, though bytes for it have come."""

    async def main() -> None:
        async with pairs(2) as both:
            for pair, other in zip(both, reversed(both), strict=True):
                pair.heard.then = lambda data, other=other: other.transport.abort()
                pair.peer.send(b"now")
            await settle()
            assert sorted((pair.heard.said for pair in both), key=str) == [["lost"], [b"now"]]

    run(main)


def test_answers_leave_at_the_end_of_a_turn(monkeypatch):
    """All bytes that have come are read before any is sent; what was aborted meanwhile sends nothing."""
    monkeypatch.setattr(transport, "_PATIENCE", 60.0)
    early: list[socket.socket] = []

    async def main() -> None:
        async with pairs(3) as all_of_them:

            def answer(data: bytes, pair: Any) -> None:
                pair.transport.write(data)
                pair.transport.write(b"!")
                early.extend(select([other.peer for other in all_of_them], [], [], 0)[0])
                if data == b"end":
                    pair.transport.abort()

            for pair, data in zip(all_of_them, (b"one", b"two", b"end"), strict=True):
                pair.heard.then = lambda data, pair=pair: answer(data, pair)
                pair.peer.send(data)
            await settle()
            assert [pair.peer.recv(10) for pair in all_of_them] == [b"one!", b"two!", b""]
            assert early == []

    run(main)


def test_what_was_written_in_a_turn_is_sent_though_it_closes():
    """As at any other time."""

    async def main() -> None:
        async with pairs(1) as (pair,):

            def part(data: bytes) -> None:
                pair.transport.write(b"good bye")
                pair.transport.close()

            pair.heard.then = part
            pair.peer.send(b"now")
            await settle()
            assert pair.peer.recv(100) == b"good bye"
            assert pair.heard.said == [b"now", "lost"]

    run(main)


def test_nothing_to_do_after_all():
    """The system may say that there is something, and then there is not."""

    async def main() -> None:
        async with pairs(1) as (pair,):
            pair.transport._ready(EVENT_READ)
            pair.transport.write(MANY)
            left = pair.transport.unsent
            pair.transport._ready(EVENT_READ | EVENT_WRITE)
            assert pair.transport.unsent == left
            assert pair.heard.said == ["full"]

    run(main)


@pytest.mark.parametrize("has_turn", [False, True])
def test_a_session_that_fails_is_the_end_of_no_other(has_turn):
    """It is told to the loop's handler of exceptions; others read in the same turn get their bytes."""
    told: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with pairs(2) as (bad, good):
            bad.heard.then = lambda data: 1 / 0
            for pair in (bad, good):
                pair.peer.send(b"now")
            if has_turn:
                bad.transport.read(False)
                bad.transport.work_later()
            await settle()
            assert bad.heard.said == ["turn" if has_turn else b"now", "lost"]
            assert good.heard.said == [b"now"]

    run(main)
    assert [type(one["exception"]) for one in told] == [ZeroDivisionError]


@pytest.mark.parametrize("has_turn", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_ends_it(error, has_turn):
    """It is not held back."""

    async def main() -> None:
        async with pairs(1) as (pair,):

            def stop(data: bytes) -> None:
                raise error

            pair.heard.then = stop
            if has_turn:
                pair.transport.work_later()
            else:
                pair.peer.send(b"now")
            await asyncio.sleep(20)

    with pytest.raises(error):
        run(main)

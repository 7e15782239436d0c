"""Who of the threads driver works when: a peer in step at once, those that pipeline one at a time."""

import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from demyjpy import Continue, EndOfMessage, Mail, Recipient, define_event_handlers, replace_body, running
from demyjpy.drivers import ThreadServer
from demyjpy.drivers import turns as turns_module
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.turns import LEASE, SLICE, Share, Turns
from tests.drivers.filters import wait_until
from tests.drivers.peer import WAIT, Peer, packet

BUSY = 20
MESSAGES = 400
PIPELINED = (packet(Mail("busy")) + packet(EndOfMessage())) * MESSAGES
UNFINISHED = "it had not finished when the milter stopped"


def work(seconds: float) -> None:
    """Keep the processor busy for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def thread(function: Any, *arguments: Any) -> threading.Thread:
    """One that has begun."""
    begun = threading.Thread(target=function, args=arguments, daemon=True)
    begun.start()
    return begun


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the peer's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def use_up(share: Share) -> None:
    """Work until a turn was taken, as for a peer that has always sent more."""
    while not share.is_in_turn:
        work(SLICE)
        share.spend(is_behind=True)


# ---------------------------------------------------------------------------------- one thread
def test_a_peer_in_step_needs_no_turn(pair):
    """However much was done for it, a peer that has said no more waits for nobody."""
    turns, (ours, _) = Turns(), pair
    first, second = Share(turns, ours), Share(turns, ours)
    use_up(first)
    for _ in range(3):
        work(SLICE)
        second.spend(is_behind=False)  # else it would wait here without end
        assert not second.is_in_turn


def test_a_peer_that_has_sent_more_takes_a_turn_and_gives_it_back(pair):
    """It is taken when the share is used up, and ends when there is nothing more."""
    turns, (ours, theirs) = Turns(), pair
    share = Share(turns, ours)
    theirs.send(b"more")
    share.spend(is_behind=False)
    assert not share.is_in_turn
    work(SLICE)
    share.spend(is_behind=False)
    assert share.is_in_turn
    share.spend(is_behind=False)
    assert share.is_in_turn
    ours.recv(4)
    share.spend(is_behind=False)
    assert not share.is_in_turn
    use_up(Share(turns, ours))  # which would wait without end if the first still had it


def test_a_peer_that_is_gone_has_not_sent_more(pair):
    """The next read says so; no turn is needed for that."""
    turns, (ours, theirs) = Turns(), pair
    share = Share(turns, ours)
    theirs.close()
    for _ in range(3):
        share.spend(is_behind=False)
        work(SLICE)
    assert not share.is_in_turn


# -------------------------------------------------------------------------------- several threads
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="ioctl() always gives the lock away there")
def test_to_ask_whether_there_is_more_does_not_give_the_lock_away(pair):
    """For 0.2 s no other thread runs, where none may ask for the lock."""
    share = Share(Turns(), pair[0])
    is_over = threading.Event()
    rounds = 0

    def run_now_and_then() -> None:
        nonlocal rounds
        while not is_over.wait(0.001):
            rounds += 1

    other = thread(run_now_and_then)
    wait_until(lambda: rounds > 0)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(WAIT)
    try:
        before, end = rounds, time.monotonic() + 0.2
        while rounds == before and time.monotonic() < end:
            share.spend(is_behind=False)
        given = rounds - before
    finally:
        sys.setswitchinterval(interval)
    is_over.set()
    other.join(WAIT)
    assert not given


def in_line(turns: Turns, ours: socket.socket, had: list[int], number: int) -> None:
    """Take a turn, note it, and end."""
    share = Share(turns, ours)
    use_up(share)
    had.append(number)
    share.end()


def holding(turns: Turns, ours: socket.socket, has: threading.Event, wait: Any) -> None:
    """Take the turn, and do something before it is given on."""
    share = Share(turns, ours)
    use_up(share)
    has.set()
    wait()
    share.end()


def test_none_of_those_that_wait_for_turns_gets_ahead_of_the_others(pair, monkeypatch):
    """Whoever has had one waits behind all that were there before."""
    monkeypatch.setattr(turns_module, "PATIENCE", WAIT)  # nobody loses a turn on a busy machine
    turns, (ours, _) = Turns(), pair
    had: list[int] = []
    ahead: list[bool] = []
    numbers: dict[Share, int] = {}
    holder = Share(turns, ours)
    turns.take(holder)

    def again_and_again(number: int) -> None:
        share = Share(turns, ours)
        numbers[share] = number
        for _ in range(40):
            with turns._lock:
                before, since = {numbers[one] for one in turns._first}, len(had)
            turns.take(share)
            ahead.append(before <= set(had[since:]))
            had.append(number)
            work(SLICE / 4)
            turns.leave(share)

    begun = [thread(again_and_again, number) for number in range(4)]
    wait_until(lambda: len(turns._first) == 4)
    turns.leave(holder)
    for one in begun:
        one.join(WAIT)
    assert sorted(had) == sorted([*range(4)] * 40)
    assert all(ahead)


def test_who_has_rested_does_not_wait_behind_all_that_have_not(pair):
    """Every second turn is for the first of those who have had none since."""
    turns, (ours, _) = Turns(), pair
    had: list[int] = []
    is_over = threading.Event()

    def again_and_again() -> None:
        share = Share(turns, ours)
        use_up(share)
        while not is_over.is_set():
            had.append(1)
            use_up_turn(share)
        share.end()

    def use_up_turn(share: Share) -> None:
        work(SLICE)
        share.spend(is_behind=True)

    busy = [thread(again_and_again) for _ in range(BUSY)]
    wait_until(lambda: len(had) > 2 * BUSY)
    between: list[int] = []
    for _ in range(9):
        rested = Share(turns, ours)
        before = len(had)
        turns.take(rested)
        between.append(len(had) - before)
        turns.leave(rested)
    is_over.set()
    for one in busy:
        one.join(WAIT)
    assert statistics.median(between) <= BUSY / 2, between


@pytest.mark.parametrize("kind", ["waits", "works"])
def test_a_turn_is_lost_by_who_waits_or_works_for_too_long(pair, kind):
    """A handler that waits for a database, or computes for seconds, keeps nobody from working."""
    turns, (ours, _) = Turns(), pair
    has, done = threading.Event(), threading.Event()

    def compute() -> None:
        while not done.is_set():
            work(LEASE)

    first = thread(holding, turns, ours, has, done.wait if kind == "waits" else compute)
    assert has.wait(WAIT)
    had: list[int] = []
    others = [thread(in_line, turns, ours, had, number) for number in range(3)]
    for one in others:
        one.join(WAIT)
    assert sorted(had) == [0, 1, 2]
    assert first.is_alive()
    done.set()
    first.join(WAIT)
    use_up(Share(turns, ours))


# ---------------------------------------------------------------------------------- whole sessions
def laborious(calls: list[str]) -> Any:
    """A filter that notes who sent each message, and works 1 ms for it where it is a busy peer's."""
    handlers = define_event_handlers(state={"sender": ""})

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return ctx.set("sender", event.sender)

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        calls.append(ctx["sender"])
        if ctx["sender"] == "busy":
            work(0.001)
        return ctx

    return handlers


def test_twenty_peers_that_pipeline_keep_one_in_step_waiting_for_few_of_their_messages(log):
    """Between a question of the one and its answer a handful of the others' handlers run, not 100."""
    calls: list[str] = []
    between: list[int] = []
    with (
        ThreadServer(
            parse_address("inet:0@127.0.0.1"), laborious(calls), ServerOptions(grace=0.0)
        ) as server,
        Peer(server.address) as good,
        ExitStack() as others,
    ):
        good.begin()
        for _ in range(BUSY):
            busy = others.enter_context(Peer(server.address))
            busy.negotiate()
            busy.send(PIPELINED)
        wait_until(lambda: len(calls) > BUSY)
        for _ in range(20):
            before = len(calls)
            assert good.ask(Mail("good")) == Continue()
            between.append(len(calls) - before)
            assert good.finish_message() == (Continue(),)
    assert calls.count("good") == 20
    assert len(calls) < BUSY * MESSAGES, "the busy ones were done too soon for the test to say something"
    assert statistics.median(between) <= 10, between
    assert {message.rpartition(": ")[2] for message in log.take()} <= {UNFINISHED}


def test_what_was_sent_in_one_piece_is_answered_to_its_end(driver):
    """However many slices it takes; then the peer is listened to again."""
    handlers = define_event_handlers()
    for event in ("mail", "recipient", "end_of_message"):
        handlers.add(event, lambda event, ctx: ctx)
    recipients = [Recipient("to@example.org")] * 5000
    with running(handlers, driver=driver) as address, Peer(address).begin() as peer:
        for _ in range(2):
            peer.say(Mail("ann"), *recipients)
            assert {peer.hear() for _ in range(1 + len(recipients))} == {Continue()}
        assert peer.finish_message() == (Continue(),)


def test_a_pipelining_peer_whose_handler_waits_keeps_no_other_from_working():
    """It may hold the turn meanwhile: that is given on."""
    is_over = threading.Event()
    waiting: list[int] = []
    handlers = define_event_handlers(state={"sender": ""})

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return ctx.set("sender", event.sender)

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        if ctx["sender"] == "waits":
            work(SLICE)
            waiting.append(1)
            if len(waiting) == 5:
                assert is_over.wait(WAIT)
        return ctx

    with running(handlers, driver="threads") as address, Peer(address) as slow, Peer(address) as busy:
        for peer in (slow, busy):
            peer.begin()
        slow.send((packet(Mail("waits")) + packet(EndOfMessage())) * 20)
        wait_until(lambda: len(waiting) == 5)
        busy.send(PIPELINED)
        for _ in range(2 * MESSAGES):
            assert busy.hear() == Continue()
        assert len(waiting) == 5
        is_over.set()
        for _ in range(2 * 20):
            assert slow.hear() == Continue()


def test_what_a_peer_that_reads_nothing_has_sent_is_not_worked_on(log):
    """Handlers are called for as many messages as have their answers taken by the kernel."""
    calls: list[int] = []
    handlers = define_event_handlers(actions={"change_body"})

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        calls.append(1)
        return replace_body(ctx, b"x" * 1_000_000)

    with (
        running(handlers, driver="threads", write_timeout=0.5) as address,
        Peer(address) as deaf,
        Peer(address) as good,
    ):
        deaf.negotiate()
        deaf.send(PIPELINED)
        assert good.begin().ask(Mail("good")) is None  # which this filter has no handler for
        wait_until(lambda: len(log.records()) == 1)
        assert log.take_one().endswith("closed: the MTA read nothing for 0.5 s")
        wait_until(lambda: len(calls) > 0)
        assert len(calls) < MESSAGES / 4


def test_what_is_left_of_a_read_is_given_up_when_the_milter_stops(log):
    """A peer that has sent more than can be done within the grace period keeps nobody waiting."""
    calls: list[str] = []
    with ExitStack() as peers:
        options = ServerOptions(grace=0.0)
        with ThreadServer(parse_address("inet:0@127.0.0.1"), laborious(calls), options) as server:
            for _ in range(3):
                busy = peers.enter_context(Peer(server.address))
                busy.negotiate()
                busy.send(PIPELINED)
            wait_until(lambda: len(calls) > 10)
        done = len(calls)
    assert done < 3 * MESSAGES
    assert [message.endswith(UNFINISHED) for message in log.take()] == [True] * 3


def test_a_turn_that_nobody_holds_is_not_over() -> None:
    """Nothing is taken away then."""
    assert not Turns()._is_over()

"""Policies over sockets: how long handlers and filters may take, and what is answered after that."""

import signal
import time
from typing import Any

import pytest

from demyjpy import (
    AddHeader,
    Continue,
    DeadlineError,
    HandlerError,
    Reject,
    add_header,
    define_event_handlers,
    merge_handlers,
    running,
    tempfail,
    with_policy,
)
from tests.drivers.filters import noting, without
from tests.drivers.peer import ENVELOPE, Peer
from tests.drivers.program import program
from tests.drivers.test_reloading import NOT_LOADED, SERVE, version_at


@pytest.mark.parametrize("event", ["mail", "message", "end_of_message"])
def test_a_handler_may_take_its_own_time(way, event, notes, gate, log):
    """And no more, whatever the server gives; late, it meets the policy of its filter."""
    handlers = noting(notes, without(event))
    way.add_slow(handlers, event, gate, timeout=0.2)
    late = with_policy(handlers, on_error="reject")
    with running(late, driver=way.driver, handler_timeout=60) as address, Peer(address) as peer:
        peer.begin()
        if event == "mail":
            assert peer.ask(ENVELOPE[0]) == Reject()
        else:
            assert peer.message() == (Reject(),)
        gate.set()
        assert peer.message() == (Continue(),)
    assert "within 0.2 s (the option timeout=), got nothing" in log.take_one()


def test_a_handler_may_take_more_than_the_servers_time(way, gate):
    """Its own time counts alone."""
    handlers = define_event_handlers()
    way.add_slow(handlers, "mail", gate, timeout=5)
    with running(handlers, driver=way.driver, handler_timeout=0.1) as address, Peer(address) as peer:
        peer.begin().say(ENVELOPE[0])
        time.sleep(0.3)
        gate.set()
        assert peer.hear_answer() == (Continue(),)


@pytest.mark.parametrize("own", [None, 30.0])
def test_a_filter_has_its_time_for_the_whole_end_of_a_message(way, own, gate, log):
    """What its message handler took is not left for end of message, nor is more than a handler's own."""
    errors: list[Exception] = []

    def answer(error: Exception, event: Any, ctx: Any) -> Any:
        errors.append(error)
        return tempfail(ctx, "4.3.0", "late")

    def take_time(event: Any, ctx: Any) -> Any:
        time.sleep(0.3)
        return ctx

    handlers = define_event_handlers()
    way.add(handlers, "message", take_time)
    way.add_slow(handlers, "end_of_message", gate, timeout=own)
    limited = with_policy(handlers, on_error=answer, timeout=0.8)
    with running(limited, driver=way.driver, warn_blocked=5) as address, Peer(address) as peer:
        (said,) = peer.begin().message()
        assert said.code == 451
        gate.set()
    log.take_one()
    (error,) = errors
    assert isinstance(error, DeadlineError)
    assert 0.1 < error.seconds <= 0.5


def test_a_filter_that_is_late_leaves_the_next_its_time(way, gate, log):
    """It meets its own policy, and the next one has all of its own."""
    late = define_event_handlers(name="late")
    way.add_slow(late, "end_of_message", gate)
    good = define_event_handlers(name="good", actions={"add_header"})

    def mark(event: Any, ctx: Any) -> Any:
        time.sleep(0.2)
        return add_header(ctx, "X-Good", "1")

    way.add(good, "end_of_message", mark)
    handlers = merge_handlers(
        with_policy(late, on_error="accept", timeout=0.3), with_policy(good, timeout=0.4)
    )
    with running(handlers, driver=way.driver, warn_blocked=5) as address, Peer(address) as peer:
        *edits, last = [one for one in peer.begin().message() if not _is_sign_of_life(one)]
        assert (edits, last) == ([AddHeader("X-Good", "1")], Continue())
        gate.set()
    assert "late: " in log.take_one()


def _is_sign_of_life(action: Any) -> bool:
    return type(action).__name__ == "Progress"


def test_a_filter_without_time_left_has_a_moment(way, gate, log):
    """Its last handler is called, and is late at once."""
    seen: list[float] = []

    def answer(error: Any, event: Any, ctx: Any) -> Any:
        seen.append(error.seconds)
        return ctx

    handlers = define_event_handlers()
    way.add_slow(handlers, "message", gate, timeout=0.2)
    way.add_slow(handlers, "end_of_message", gate)
    with (
        running(with_policy(handlers, on_error=answer, timeout=0.2), driver=way.driver) as address,
        Peer(address) as peer,
    ):
        assert peer.begin().message()[-1] == Continue()
        gate.set()
    assert seen == [0.2, 0.001]
    assert len(log.take()) == 2


def test_a_milter_whose_filters_may_take_too_long_does_not_start(driver):
    """The error has the sum and its parts."""
    handlers = merge_handlers(*(define_event_handlers(name=name) for name in ("a", "b")))
    for part in handlers.leaves:
        part.add("recipient", lambda event, ctx: ctx, timeout=5)
    with (
        pytest.raises(HandlerError, match=r"at recipient .* got 10 s: a 5 s, b 5 s"),
        running(handlers, driver=driver),
    ):
        pass


def test_a_filter_that_may_take_too_long_is_not_loaded(driver):
    """The old one stays, and the log says why."""
    slow = 'return {"mail": Handler("mail", lambda event, ctx: ctx, timeout=9)}'
    begun = "from demyjpy import Handler\n" + SERVE.replace('raise ValueError("on purpose")', slow)
    with program(begun, driver, "1", "raises") as milter:
        address = milter.address()
        milter.tell(signal.SIGHUP)
        assert "at mail to be at most 8 s together" in milter.wait_for(NOT_LOADED)
        assert version_at(address) == "0"
        milter.tell()
        milter.end()

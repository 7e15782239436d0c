"""What goes wrong on one connection: answered or closed, told in one record, and felt by no other."""

import asyncio
import re
import sys
from typing import Any

import pytest
from attrs import frozen
from pyrsistent import pmap

from demyjpy import (
    Continue,
    EndOfMessage,
    Limits,
    Mail,
    Options,
    Quit,
    TemporaryFailure,
    define_event_handlers,
    running,
    with_handlers,
)
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.framing import join_frame
from tests.drivers.filters import WAYS, Way, noting, wait_until, without
from tests.drivers.peer import CONNECT, ENVELOPE, MESSAGE, Peer, offer, packet

NEGOTIATION = packet(offer())

GARBAGE = {
    b"GET / HTTP/1.0\r\n\r\n": r"a packet length from 1 to 1048577, got 1195725856",
    b"\x16\x03\x01\x02\0\1\0\1\xfc": "a packet length from 1 to 1048577, got 369295618",
    b"\0\0\0\0A": "a packet length from 1 to 1048577, got 0",
    b"\0\0\0\1Z": "a command that the MTA sends, got b'Z'",
    b"\0\0\0\1Q": "one of OPTNEG, got QUIT while NEW",
    b"\0\0\0\5O\0\0\0\6": "action flags of 4 bytes, got nothing",
    NEGOTIATION + b"\0\0\0\1C": "a host name that ends in NUL, got nothing",
    NEGOTIATION * 2: "one of .*, got OPTNEG while READY",
    NEGOTIATION + packet(CONNECT) + packet(EndOfMessage()): "one of .*, got BODYEOB while CONNECTED",
}


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
def test_garbage_closes_the_connection(driver, garbage, notes, log):
    """What is no milter protocol closes the connection; one record says what was expected."""
    with running(noting(notes), driver=driver) as address, Peer(address) as witness:
        witness.begin()
        with Peer(address) as peer:
            peer.send(garbage)
            peer.drain()
        assert witness.message() == (Continue(),)
    assert notes.all().count("disconnect") == 2
    (record,) = log.records()
    assert record.exc_info is None
    pattern = rf"session \S+: queue id -: the MTA broke the protocol: expected {GARBAGE[garbage]}"
    assert re.match(pattern, log.take_one())


def test_garbage_in_mid_message(driver, notes, log):
    """Garbage in a message gives up the message, then the connection."""
    with running(noting(notes), driver=driver) as address, Peer(address) as peer:
        peer.begin().begin_message().send(b"garbage")
        peer.drain()
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    assert "broke the protocol" in log.take_one()


def test_too_much_is_no_broken_protocol(driver, log):
    """The record names the limit; the MTA did nothing wrong."""
    handlers = define_event_handlers({"body": lambda event, ctx: ctx})
    with running(handlers, driver=driver, limits=Limits(message=5)) as address, Peer(address) as peer:
        peer.begin().message()
    record = log.take_one()
    assert "over a limit: expected at most 5 bytes of message" in record
    assert "broke the protocol" not in record


def test_an_mta_that_offers_too_little(driver, notes, log):
    """An MTA that cannot do what the filter needs is left; the record says what is missing."""
    with running(noting(notes, actions={"quarantine"}), driver=driver) as address, Peer(address) as peer:
        peer.say(Options(2, ActionFlag(1), ProtocolFlag(0)))
        peer.drain()
    (record,) = log.records()
    assert (record.levelname, record.exc_info) == ("ERROR", None)
    assert re.search("session refused: the MTA does not offer .* quarantine", log.take_one())


def test_garbage_while_a_handler_runs(way, notes, gate, log):
    """Garbage is looked at when the handler has returned, whose answer is sent."""
    handlers = noting(notes, without("mail"))
    way.add_slow(handlers, "mail", gate)
    with running(handlers, driver=way.driver) as address, Peer(address) as peer:
        peer.begin().say(ENVELOPE[0])
        peer.send(b"garbage")
        gate.set()
        assert peer.hear() == Continue()
        peer.drain()
    assert notes.all() == ["connect", "abort", "disconnect"]
    assert "broke the protocol" in log.take_one()


def test_a_peer_may_vanish_at_any_byte(driver, notes, log):
    """Wherever the peer vanishes, an open message is given up and the connection ends, each once."""
    handlers = noting(notes, ("abort", "disconnect"))
    opening = NEGOTIATION + packet(CONNECT) + packet(ENVELOPE[0])
    session = opening + b"".join(map(packet, MESSAGE[1:]))
    with running(handlers, driver=driver) as address:
        for size in range(len(session) + 1):
            before = len(notes.all())
            with Peer(address) as peer:
                peer.send(session[:size])
                peer.vanish()
            is_open = len(opening) <= size < len(session)
            assert notes.all()[before:] == [*(["abort"] if is_open else []), "disconnect"]
    assert all("broke the protocol" in message for message in log.take())


def test_a_peer_may_reset_the_connection(driver, notes):
    """A connection that the peer resets in mid-message ends like any other."""
    with running(noting(notes), driver=driver) as address:
        with Peer(address) as peer:
            peer.begin().begin_message().reset()
        notes.wait_for("disconnect")
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]


def outcome(kind: str, ctx: Any) -> Any:
    """What a bad handler does."""
    if kind == "exits":
        sys.exit(3)
    if kind == "raises":
        raise ValueError("on purpose")
    return {"none": None, "number": 42, "other map": pmap()}[kind]


BAD = {
    "raises": "ValueError: on purpose",
    "exits": r"HandlerError: expected a handler to return a context, got SystemExit\(3\)",
    "none": "HandlerError: .* got None; is there a return",
    "number": "HandlerError: .* got 42",
    "other map": "HandlerError: .* got a map without the engine's keys",
}


@pytest.mark.parametrize("event", ["mail", "end_of_message"])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_handler_is_answered_for(way, event, kind, notes, log):
    """Whatever a handler does, the message is refused for now and the session goes on."""
    handlers = noting(notes, without(event), state={"sender": ""})
    if event == "end_of_message":
        handlers = noting(notes, without(event, "mail"), state={"sender": ""})
        handlers.add("mail", lambda event, ctx: ctx.set("sender", event.sender))

    def act(event: Any, ctx: Any) -> Any:
        return outcome(kind, ctx) if "bad@example.org" in (ctx["sender"], _sender(event)) else ctx

    way.add(handlers, event, act)
    bad = Mail("bad@example.org")
    with running(handlers, driver=way.driver) as address, Peer(address) as peer:
        peer.begin()
        if event == "mail":
            assert peer.ask(bad) == TemporaryFailure()
        else:
            for step in (bad, *MESSAGE[1:-1]):
                peer.ask(step)
            assert peer.finish_message() == (TemporaryFailure(),)
        assert peer.message() == (Continue(),)
    (record,) = log.records()
    assert record.exc_info is not None
    pattern = rf"session \S+: queue id -: tests\.drivers\.\S+ failed at {event}: {BAD[kind]}"
    assert re.match(pattern, log.take_one())


def _sender(event: Any) -> str:
    return event.sender if isinstance(event, Mail) else ""


@pytest.mark.parametrize("kind", ["raises", "none", "number"])
def test_on_connect_that_fails(driver, kind, notes, log):
    """Where on_connect fails the connection is closed; the next one is served."""
    to_come = [kind, "fine"]

    def on_connect(ctx: Any) -> Any:
        now = to_come.pop(0)
        return with_handlers(ctx, noting(notes)) if now == "fine" else outcome(now, ctx)

    with running(on_connect, driver=driver) as address:
        with Peer(address) as peer:
            assert peer.has_ended()
        assert "the filter failed at on_connect: " in log.take_one()
        with Peer(address) as peer:
            assert peer.begin().message() == (Continue(),)


def test_a_queue_id_cannot_forge_a_line(driver, log):
    """What a peer says to be a queue id is shown as one word."""
    handlers = define_event_handlers({"mail": lambda event, ctx: ctx})
    macros = join_frame(ord("D"), b"Mi\0a\nCRITICAL x\xff\0")
    with running(handlers, driver=driver) as address, Peer(address) as peer:
        peer.begin().send(macros + packet(ENVELOPE[0]) + b"\0\0\0\1Z")
        peer.drain()
    assert r"queue id 'a\nCRITICAL x\udcff': the MTA" in log.take_one()


@pytest.mark.parametrize("event", ["mail", "end_of_message"])
def test_a_peer_that_goes_while_a_handler_runs(way, event, notes, gate):
    """What the handler returns is dropped; abort and disconnect handlers run once, after it."""
    handlers = noting(notes, without(event))

    def act(event: Any, ctx: Any) -> Any:
        notes.add("done")
        return ctx

    options = {"progress": 0.01} if event == "end_of_message" else {}
    way.add_slow(handlers, event, gate, act, **options)
    with running(handlers, driver=way.driver) as address:
        with Peer(address) as peer:
            peer.begin()
            peer.say(*MESSAGE[: 1 if event == "mail" else None])
            notes.wait_for("connect")
            if event != "mail":
                peer.hear_answers(*MESSAGE[:-1])
                peer.hear()  # it runs
            peer.reset()
        gate.set()
        notes.wait_for("disconnect")
    assert notes.all()[-3:] == ["done", "abort", "disconnect"]
    assert notes.all().count("abort") == notes.all().count("disconnect") == 1


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_slow_handlers_see_the_end_of_a_connection(kind, notes):
    """Abort and disconnect handlers that take their time run although the peer is gone."""
    way, handlers = Way("asyncio", kind), noting(notes, ("mail",))

    def note(name: str) -> Any:
        def act(event: Any, ctx: Any) -> Any:
            notes.add(name)
            return ctx

        return act

    for name in ("abort", "disconnect"):
        way.add(handlers, name, note(name))
    with running(handlers) as address, Peer(address) as peer:
        peer.begin().begin_message().vanish()
    assert notes.all() == ["mail", "abort", "disconnect"]


async def raise_cancelled(event: Any, ctx: Any) -> Any:
    """As a handler does in which something else was cancelled."""
    raise asyncio.CancelledError("by another")


async def cancel_itself(event: Any, ctx: Any) -> Any:
    """As a handler whose task somebody got hold of."""
    task = asyncio.current_task()
    assert task
    task.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("handler", [raise_cancelled, cancel_itself])
def test_a_cancelled_handler_has_failed(handler, log):
    """An async handler that is cancelled is a handler that failed; the session goes on."""
    handlers = define_event_handlers({"mail": lambda event, ctx: ctx, "end_of_message": handler})
    with running(handlers) as address, Peer(address) as peer:
        assert peer.begin().message() == (TemporaryFailure(),)
        assert "got CancelledError(" in log.take_one()
        assert peer.ask(ENVELOPE[0]) == Continue()


def test_an_async_handler_found_late(notes, log):
    """Under threads an async handler that on_connect brings fails where it is called."""

    async def end_of_message(event: Any, ctx: Any) -> Any:
        return ctx

    handlers = noting(notes, ("mail",))
    handlers.add("end_of_message", end_of_message)
    with (
        running(lambda ctx: with_handlers(ctx, handlers), driver="threads") as address,
        Peer(address) as peer,
    ):
        assert peer.begin().message() == (TemporaryFailure(),)
        peer.say(Quit())
    assert 'async def handlers need driver="asyncio"' in log.take_one()


class OddError(BaseException):
    """What no library expects."""


@pytest.mark.parametrize("event", ["mail", "end_of_message", "abort", "disconnect"])
@pytest.mark.parametrize(
    "kind", [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, SystemExit, OddError]
)
@pytest.mark.parametrize("way", [*WAYS, Way("asyncio", "plain")], ids=str)
def test_whatever_a_handler_raises_is_its_failure(way, kind, event, notes, log):
    """It meets the policy, and is felt by no other session; the milter goes on."""
    handlers = noting(notes, without(event))

    def fail(event: Any, ctx: Any) -> Any:
        raise kind("on purpose")

    way.add(handlers, event, fail)
    with running(handlers, driver=way.driver) as address, Peer(address) as witness:
        with Peer(address) as peer:
            peer.begin()
            if event == "end_of_message":
                assert peer.message() == (TemporaryFailure(),)
            elif event == "mail":
                assert peer.ask(ENVELOPE[0]) == TemporaryFailure()
            else:
                peer.begin_message()
            peer.vanish()
        wait_until(lambda: len(log.records()) == 1)
        witness.begin()
    failed = log.take()[0]
    assert f"failed at {event}: HandlerError: expected a handler to return a context" in failed
    assert f"got {kind.__name__}(" in failed


@pytest.mark.parametrize("on_error", [KeyboardInterrupt, asyncio.CancelledError, OddError])
def test_whatever_the_policy_raises_is_its_failure(driver, on_error, log):
    """As what a handler raises; the message is refused for now."""

    def fail(*_: Any) -> Any:
        raise on_error

    handlers = define_event_handlers({"mail": lambda event, ctx: None})
    with running(handlers, driver=driver, on_error=fail) as address, Peer(address) as peer:
        assert peer.begin().ask(ENVELOPE[0]) == TemporaryFailure()
        assert peer.ask(ENVELOPE[0]) == TemporaryFailure()
    assert len(log.take()) == 4


@frozen
class FailingWatcher:
    """A watcher that is no good."""

    kind: type[BaseException]
    keeps_bodies = False

    def read(self, stretch: Any) -> None:
        raise self.kind


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, OddError])
def test_whatever_a_watcher_raises(driver, kind, notes, log):
    """It is logged once, and each message is served."""
    watchers = [FailingWatcher(kind)]
    with running(noting(notes), driver=driver, watchers=watchers) as address, Peer(address) as peer:
        assert peer.begin().message() == (Continue(),)
        assert peer.message() == (Continue(),)
    assert "FailingWatcher failed, 1 times since this was last logged" in log.take_one()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, OddError])
def test_whatever_on_connect_or_an_observer_raises(driver, kind, notes, log):
    """The first closes its connection, the second is only logged."""

    def fail(*_: Any) -> Any:
        raise kind

    with running(fail, driver=driver) as address, Peer(address) as peer:
        assert peer.has_ended()
    assert "failed at on_connect" in log.take_one()
    with running(noting(notes), driver=driver, observer=fail) as address, Peer(address) as peer:
        assert peer.begin().message() == (Continue(),)
    assert all("failed at observer" in line for line in log.take())

"""Questions over sockets, with both drivers: handlers wait for answers, and nobody else does."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from demyjpy import (
    AddHeader,
    Continue,
    Mail,
    Question,
    Recipient,
    TemporaryFailure,
    add_header,
    answer,
    ask,
    define_event_handlers,
    running,
    tempfail,
)
from tests.drivers.filters import Notes, wait_until
from tests.drivers.peer import CONTENT, ENVELOPE, Peer, packet

SENDER, RCPT = ENVELOPE[:2]


@frozen
class Table(Question):
    """A plain question: whether somebody is in a table."""

    who: str

    def perform(self, resources: Any) -> bool:
        time.sleep(0.02)
        return self.who.startswith("to")


@frozen
class Slow(Question):
    """Answered when the gate is open."""

    gate: threading.Event
    notes: Notes
    what: str = ""

    async def perform(self, resources: Any) -> str:
        self.notes.add(f"asked {self.what}")
        try:
            while not self.gate.is_set():  # noqa: ASYNC110  # it is set in another thread
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.notes.add(f"cancelled {self.what}")
            raise
        return f"answer {self.what}"


def waiting(event: str, gate: threading.Event, notes: Notes, **options: Any) -> Any:
    """A filter that waits for an answer at an event."""
    handlers = define_event_handlers(name="f", actions={"add_header"})

    def look(given: Any, ctx: Any) -> Any:
        notes.add(f"called at {event}")
        found = answer(ctx, "q", failed="failed", late="late")
        return add_header(ctx, "X-Q", found) if event == "end_of_message" else ctx

    handlers.add(event, look, asking=lambda given, ctx: {"q": Slow(gate, notes)}, **options)
    for name in ("abort", "disconnect"):
        handlers.add(name, lambda given, ctx, name=name: (notes.add(name), ctx)[1])
    return handlers


# ------------------------------------------------------------------------------------- answers
def test_a_recipient_is_looked_up(driver: str) -> None:
    """By a plain performer, which runs in a thread."""
    handlers = define_event_handlers()

    @handlers.recipient(asking=lambda event, ctx: {"known": Table(event.address)})
    def check(event: Any, ctx: Any) -> Any:
        return ctx if answer(ctx, "known", failed=False) else tempfail(ctx)

    with running(handlers, driver=driver) as address, Peer(address) as peer:
        peer.begin().ask(SENDER)
        assert peer.ask(Recipient("to@example.org")) == Continue()
        assert peer.ask(Recipient("nobody@example.org")) == TemporaryFailure()
        peer.say(Recipient("to@example.org"), Recipient("x@example.org"))  # the second waits in a queue
        assert [peer.hear(), peer.hear()] == [Continue(), TemporaryFailure()]


def test_three_are_open_before_the_first_is_answered(driver: str, gate: Any, notes: Notes) -> None:
    """What was asked early is performed while the mail comes; its handler waits for all."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.mail
    def begin(event: Any, ctx: Any) -> Any:
        for key in "abc":
            ctx = ask(ctx, key, Slow(gate, notes, key))
        return ctx

    @handlers.end_of_message(needs={"a", "b", "c"})
    def end(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-All", " ".join(answer(ctx, key, failed="no") for key in "abc"))

    with running(handlers, driver=driver) as address, Peer(address) as peer, Peer(address) as other:
        peer.begin().begin_message()
        for key in "abc":
            notes.wait_for(f"asked {key}")
        assert other.begin().ask(SENDER) == Continue()  # who is served meanwhile
        for key in "abc":
            notes.wait_for(f"asked {key}", 2)
        other.vanish()
        for key in "abc":
            notes.wait_for(f"cancelled {key}")
        gate.set()
        assert peer.finish_message() == (AddHeader("X-All", "answer a answer b answer c"), Continue())


@pytest.mark.parametrize("event", ["mail", "end_of_message"])
def test_the_peer_goes_while_a_handler_waits(driver: str, gate: Any, notes: Notes, event: str) -> None:
    """The question is cancelled, the handler is not called; abort only if the message was seen."""
    handlers = waiting(event, gate, notes)
    if event == "end_of_message":
        handlers.mail(lambda given, ctx: ctx)
    with running(handlers, driver=driver) as address, Peer(address) as peer:
        peer.begin()
        if event == "mail":
            peer.say(SENDER)
        else:
            peer.begin_message()
            peer.send(b"\0\0\0\1E")
        notes.wait_for("asked ")
        peer.socket.close()
        notes.wait_for("cancelled ")
        notes.wait_for("disconnect")
    assert [one for one in notes.all() if one in ("abort", "disconnect") or "called" in one] == (
        ["disconnect"] if event == "mail" else ["abort", "disconnect"]
    )


def test_a_peer_that_goes_is_noticed_after_the_first_answer(
    driver: str, gate: Any, notes: Notes
) -> None:
    """Of two one has come: it is still looked whether anybody waits for the other."""
    handlers = define_event_handlers()
    opened = threading.Event()
    opened.set()
    questions = {"a": Slow(opened, notes, "a"), "b": Slow(gate, notes, "b")}
    handlers.mail(lambda event, ctx: ctx, asking=lambda event, ctx: questions)
    with running(handlers, driver=driver) as address, Peer(address) as peer:
        peer.begin().say(SENDER)
        notes.wait_for("asked b")
        time.sleep(0.1)
        peer.socket.close()
        notes.wait_for("cancelled b")


# ---------------------------------------------------------------------------------------- time
def test_a_performer_that_never_answers_costs_its_deadline(
    driver: str, gate: Any, notes: Notes, log: Any
) -> None:
    """The handler is told that it is late."""
    handlers = waiting("end_of_message", gate, notes, within=0.1)
    with running(handlers, driver=driver) as address, Peer(address) as peer:
        assert peer.begin().message() == (AddHeader("X-Q", "late"), Continue())
    assert log.take_one() == "f: question Slow: no answer within 0.1 s"


@pytest.mark.parametrize("own", [None, 0.3])
def test_a_handler_waits_no_longer_than_it_may_run(
    driver: str, gate: Any, notes: Notes, own: float | None
) -> None:
    """All that it has not heard by then is late, also if one of the answers came before."""
    handlers = define_event_handlers(actions={"add_header"})
    opened = threading.Event()

    @handlers.end_of_message(
        asking=lambda event, ctx: {
            "a": Slow(opened, notes, "a"),
            "b": Slow(gate, notes, "b"),
            "c": Slow(gate, notes, "c"),
        },
        within=60,
        timeout=own,
    )
    def look(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Q", " ".join(answer(ctx, key, late="late") for key in "abc"))

    times = {"handler_timeout": 0.3} if own is None else {}
    with running(handlers, driver=driver, **times) as address, Peer(address) as peer:
        peer.begin().begin_message()
        begun = time.monotonic()
        peer.send(b"\0\0\0\1E")
        time.sleep(0.1)
        opened.set()
        assert peer.hear_answer() == (AddHeader("X-Q", "answer a late late"), Continue())
        assert time.monotonic() - begun < 5
    notes.wait_for("cancelled b")


def test_the_mta_is_kept_waiting_at_the_end_only(driver: str, gate: Any, notes: Notes) -> None:
    """PROGRESS as for a slow handler."""
    handlers = waiting("end_of_message", gate, notes, progress=0.05)
    with running(handlers, driver=driver) as address, Peer(address) as peer:
        peer.begin().begin_message().send(b"\0\0\0\1E")
        heard = [peer.hear_packet() for _ in range(2)]
        gate.set()
        assert heard == [(ord("p"), b"")] * 2
        assert peer.hear_answer()[-1] == Continue()


def test_who_waits_is_not_idle(driver: str, gate: Any, notes: Notes) -> None:
    """The MTA waits, too: its silence does not count."""
    with (
        running(waiting("mail", gate, notes), driver=driver, idle_timeout=0.3) as address,
        Peer(address) as peer,
    ):
        peer.begin().say(SENDER)
        time.sleep(0.7)
        gate.set()
        assert peer.hear() == Continue()


def test_a_peer_that_goes_on_while_a_handler_waits_is_not_read_without_end(
    driver: str, gate: Any, notes: Notes
) -> None:
    """What it sends lies in its own buffers; the rest comes when the handler has answered."""
    with running(waiting("mail", gate, notes), driver=driver) as address, Peer(address) as peer:
        peer.begin().say(SENDER)
        notes.wait_for("asked ")
        peer.socket.settimeout(0.3)
        sent = 0
        data = packet(Recipient("x" * 1_000)) * 100
        try:
            for _ in range(300):
                peer.socket.sendall(data)
                sent += len(data)
        except TimeoutError:
            pass
        assert sent < 300 * len(data)
        peer.socket.settimeout(20)
        gate.set()
        assert peer.hear() == Continue()


# ------------------------------------------------------------------------------------- endings
def test_the_milter_stops_while_a_handler_waits(driver: str, gate: Any, notes: Notes, log: Any) -> None:
    """After the grace period: nothing is left on its way."""
    with running(waiting("mail", gate, notes), driver=driver, grace=0.2) as address:
        peer = Peer(address)
        peer.begin().say(SENDER)
        notes.wait_for("asked ")
    notes.wait_for("cancelled ")
    assert "it had not finished when the milter stopped" in log.take_one()
    peer.socket.close()


def test_sessions_that_end_anywhere_leave_nothing(driver: str, gate: Any, notes: Notes) -> None:
    """Neither descriptors nor threads nor tasks: as many as before."""
    handlers = define_event_handlers()
    handlers.connect(lambda event, ctx: ask(ctx, "c", Slow(gate, notes)))
    handlers.mail(lambda event, ctx: ask(ctx, "m", Slow(gate, notes)))
    handlers.recipient(lambda event, ctx: ctx, asking=lambda event, ctx: {"r": Table(event.address)})
    handlers.end_of_message(lambda event, ctx: ctx, needs={"c", "m"})
    events = (SENDER, RCPT, *ENVELOPE[2:], *CONTENT)

    def play(address: str, number: int) -> None:
        with Peer(address) as peer:
            peer.begin()
            for event in events[: number % (len(events) + 1)]:
                peer.say(event)
            if number % 3 == 0:
                peer.reset()

    def counted() -> tuple[int, int]:
        return len([*Path("/proc/self/fd").iterdir()]), threading.active_count()

    with running(handlers, driver=driver, blocking_threads=4) as address:
        for number in range(8):  # its threads are there
            play(address, number)
        wait_until(lambda: notes.all().count("cancelled ") == notes.all().count("asked "))
        before = counted()
        for number in range(60):
            play(address, number)
        wait_until(lambda: notes.all().count("cancelled ") == notes.all().count("asked "))
        wait_until(lambda: counted()[0] <= before[0] and counted()[1] <= before[1] + 4)


def test_the_tasks_of_a_connection_end_with_its_message(driver: str, gate: Any, notes: Notes) -> None:
    """Another message begins: what the one before it asked is not wanted any more."""
    handlers = define_event_handlers()
    handlers.mail(lambda event, ctx: ask(ctx, "m", Slow(gate, notes, event.sender)))
    with running(handlers, driver=driver) as address, Peer(address) as peer:
        peer.begin().ask(Mail("a"))
        notes.wait_for("asked a")
        peer.send(b"\0\0\0\1A")
        peer.ask(Mail("b"))
        notes.wait_for("cancelled a")
        notes.wait_for("asked b")

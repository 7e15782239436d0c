"""A milter's answer without end, and how reading grows: bounded, and linear in what comes."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from demyjpy import events as ev
from demyjpy.mta import client_steps, milter_link
from demyjpy.mta.milter_link import Answer, MilterLink, hear, say, start
from demyjpy.mta.milter_packets import MilterFailedError
from demyjpy.mta.profiles import Postfix, Sendmail
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import Exchange, new_session
from demyjpy.trace.format.converters import WireConverter
from tests.cli.servers import AGREED, frame

EDIT = frame(b"h", b"X-A\0b\0")
PROGRESS = frame(b"p")
CHUNK = frame(b"b", b"x" * 1000)
ODD = frame(b"y", b"no reply\0")


def asked(**options: Any) -> MilterLink:
    """A link that awaits the answer to an end of message."""
    profile = Postfix()
    link, _ = start(MilterLink(profile.offer, profile.strictness, **options))
    link, _ = hear(link, AGREED)
    return say(link, ev.EndOfMessage())[0]


def heard(link: MilterLink, reads: list[bytes]) -> MilterLink:
    """The link after these reads."""
    for data in reads:
        link, _ = hear(link, data)
    return link


def test_an_answer_over_its_bound_is_a_failure() -> None:
    """In one packet, begun or whole, or in many; the same bytes again in the next answer are none."""
    for reads in ([CHUNK] * 11, [b"\1\0\0\0b", *[b"x" * 1000] * 11]):
        link = asked(max_answer=10_000)
        with pytest.raises(MilterFailedError, match="its answer is larger than 10000 bytes"):
            heard(link, reads)
    link = asked(max_answer=10_000)
    for _ in range(5):
        link, answer = hear(heard(link, [CHUNK] * 4), frame(b"c"))
        assert answer is not None
        assert len(answer.modifications) == 4
        link, _ = say(link, ev.EndOfMessage())


@pytest.mark.parametrize("packet", [PROGRESS, EDIT])
def test_an_answer_of_too_many_packets_is_a_failure(
    packet: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of signs of life, which say nothing."""
    monkeypatch.setattr(milter_link, "MAX_PACKETS", 100)
    link, _ = hear(asked(), packet * 99)
    link, answer = hear(link, frame(b"c"))
    assert answer is not None
    with pytest.raises(MilterFailedError, match="its answer has more than 100 packets"):
        hear(asked(), packet * 101)


def test_warnings_are_bounded() -> None:
    """The last says that there are more."""
    profile = Sendmail()
    link, _ = start(MilterLink(profile.offer, profile.strictness))
    link, _ = hear(link, AGREED)
    for _ in range(300):
        link, _ = say(link, ev.Hello("x"))
        link, _ = hear(link, ODD)
    assert len(link.warnings) == 101
    assert link.warnings[-1] == "there are more warnings, which are left out"


def test_changes_come_in_order_and_the_body_in_one() -> None:
    """Whatever is kept while they come."""
    _, answer = hear(asked(), EDIT + CHUNK + CHUNK + frame(b"c"))
    assert answer is not None
    assert [type(one).__name__ for one in answer.modifications] == [
        "AddHeader",
        "ReplaceBody",
        "ReplaceBody",
    ]
    with pytest.raises(MilterFailedError, match="without other packets in between"):
        hear(asked(), CHUNK + EDIT + CHUNK)


# ------------------------------------------------------------------------------- how it grows
def allocated(reads: Callable[[int], Callable[[], None]], count: int) -> int:
    """Bytes that so many reads have needed, each counted by itself: a copy of all so far would show."""
    read = reads(count)
    total = 0
    tracemalloc.start()
    try:
        for _ in range(count):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            read()
            total += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return total


def answers_of(packet: bytes) -> Callable[[int], Callable[[], None]]:
    """Reads of an answer, a packet each."""

    def reads(count: int) -> Callable[[], None]:
        link = asked()

        def read() -> None:
            nonlocal link
            link, _ = hear(link, packet)

        return read

    return reads


def headers(count: int) -> Callable[[], None]:
    """The answers to a message's header fields, as the box and ``send`` read them."""
    profile = Postfix()
    session = new_session(profile)

    class Milter:
        def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
            answer = AGREED if exchange.link.event == "options" else frame(b"c")
            return hear(exchange.link, answer) if exchange.link.event else (exchange.link, None)

    for step in (
        client_steps.Connect(),
        client_steps.Ehlo(),
        client_steps.Mail("a@b"),
        client_steps.Rcpt("c@d"),
    ):
        session, _ = play(take_step(session, step), [Milter()])
    talk = take_step(session, client_steps.Data(b"A: b\r\n" * count + b"\r\n"))
    exchange = next(talk)

    def read() -> None:
        nonlocal exchange
        exchange = talk.send(Milter().carry_out(exchange))

    return read


def tape(count: int) -> Callable[[], None]:
    """Pieces of one packet, as the snooper looks at them."""
    found = WireConverter("s")
    list(found.take("filter", (count * 10_000 + 2).to_bytes(4, "big") + b"b", 0.0))

    def read() -> None:
        list(found.take("filter", b"x" * 10_000, 0.0))

    return read


@pytest.mark.parametrize(
    ("reads", "count"),
    [
        (answers_of(PROGRESS), 500),
        (answers_of(EDIT), 500),
        (answers_of(CHUNK), 500),
        (headers, 300),
        (tape, 15),
    ],
    ids=["signs of life", "changes", "a new body", "header fields", "a packet in pieces"],
)
def test_reading_is_linear(reads: Callable[[int], Callable[[], None]], count: int) -> None:
    """Twice as much needs twice as much memory over all, four times as much four times, within 10 %."""
    allocated(reads, count)  # what is made once, is made now
    one, two, four = (allocated(reads, times * count) for times in (1, 2, 4))
    assert two < 2 * one * 1.1
    assert four < 4 * one * 1.1


def test_the_growth_test_sees_copies() -> None:
    """A tuple that grows is copied at each step: that is four times as much for twice as many."""

    def reads(count: int) -> Callable[[], None]:
        found: tuple[int, ...] = ()

        def read() -> None:
            nonlocal found
            found = (*found, 1)

        return read

    assert allocated(reads, 2000) > 3.5 * allocated(reads, 1000)
    assert evolve(Answer(), progress=1).progress == 1

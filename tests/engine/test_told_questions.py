"""What tapes hold of questions: digests in place of messages, and a weight that is known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from attrs import frozen
from pyrsistent import pmap, pset, pvector

from demyjpy.engine.open_questions import Asked, Learned
from demyjpy.engine.stock import Stock, lend
from demyjpy.engine.told_questions import (
    told_context,
    told_queue,
    weight_of_told,
    weight_of_value,
    without_messages,
)
from demyjpy.message import Kept, Message
from demyjpy.message.digest import MOST_HASHED, MessageDigest, digest_of
from demyjpy.questions import Answered, Ask, Question
from tests.engine.filters_that_ask import Look

MESSAGE = Message.of([("Subject", " x")], b"body")
DIGEST = digest_of(MESSAGE)


@frozen
class Scan(Question):
    """About anything."""

    what: Any


@dataclass(frozen=True)
class Old(Question):
    """The same as a dataclass."""

    what: Any


class Pair(NamedTuple):
    """Two things."""

    one: Any
    other: Any


class Bare:
    """No declared fields."""

    def __init__(self, what: Any) -> None:
        self.what = what


HOLDERS: list[Callable[[Any], Any]] = [
    lambda one: one,
    Scan,
    lambda one: Old((one, 1)),
    lambda one: Scan([one]),
    lambda one: Scan(pvector([one, "x"])),
    lambda one: Scan({"k": (1, one)}),
    lambda one: Scan(Pair(one, b"x")),
    lambda one: Scan(Scan(one)),
]


@pytest.mark.parametrize("make", HOLDERS)
def test_a_message_is_replaced_wherever_it_is(make: Callable[[Any], Any]) -> None:
    """In fields and collections; all else stays as it is."""
    assert without_messages(make(MESSAGE)) == make(DIGEST)


@pytest.mark.parametrize("kind", [frozenset, pset])
def test_a_message_in_a_set_is_replaced(kind: Any) -> None:
    """And in a plain object; the collection is a plain set then."""
    with_digest = without_messages(Scan(kind([Kind(MESSAGE)])))
    assert with_digest.what == frozenset([Kind(DIGEST)])
    assert without_messages(Bare(MESSAGE)).what == DIGEST


@frozen(hash=True)
class Kind:
    """Something with a hash that holds a message."""

    held: Any

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize("make", HOLDERS[1:])
def test_what_holds_no_message_stays_the_same_object(make: Callable[[Any], Any]) -> None:
    """Nothing is copied for it."""
    known = make("text")
    assert without_messages(known) is known
    assert without_messages(pset([1])) == pset([1])


def test_what_is_too_deep_or_too_much_is_not_looked_at() -> None:
    """The work for one question is bounded."""
    deep: Any = Look("x")
    for _ in range(50):
        deep = (deep,)
    assert without_messages(deep) is deep
    wide = tuple([(one,) for one in range(20_000)])
    assert without_messages(wide) is wide
    assert weight_of_value(wide) < 10_002 * 64


def test_a_digest_tells_messages_apart() -> None:
    """By their header fields, and by bodies that are in memory and not large."""
    assert digest_of(Message.of([("Subject", " x")], b"body")) == DIGEST
    assert digest_of(Message.of([("Subject", " y")], b"body")) != DIGEST
    assert digest_of(Message.of([("Subject", " x")], b"bodY")) != DIGEST
    assert DIGEST.size == len(b"Subject: x\r\n\r\nbody")
    large = bytes(MOST_HASHED + 1)
    one, other = (digest_of(Message.of([], large[:-1] + end)) for end in (b"a", b"b"))
    assert one == other
    one, other = (digest_of(Message.of([], large[:-2] + end)) for end in (b"a", b"b"))
    assert one != other


class File:
    """A file that nobody may read."""

    def append(self, pieces: Any) -> None:
        """Nothing is kept."""

    def read(self, at: int, size: int) -> bytes:
        """It fails."""
        raise AssertionError("expected that a file is not read")


def test_a_digest_reads_no_file_and_no_message_whose_time_is_over() -> None:
    """It is that of the header fields then."""
    stock = Stock().add(b"body")
    fields = MESSAGE.fields
    assert digest_of(Message("", fields=fields, content=lend(stock))) == DIGEST
    spooled = stock.moved_to(File())
    bare = digest_of(Message("", fields=fields, content=lend(spooled)))
    assert bare.size == DIGEST.size
    assert bare.sha256 == digest_of(Message.of([("Subject", " x")], b"")).sha256
    for over in (lend(Stock().add(b"body")), Kept(4)):
        assert digest_of(Message("", fields=fields, content=over)) == bare


def test_only_requests_are_looked_into_in_a_queue() -> None:
    """A queue without a message stays what it is, and so does what is no context."""
    ask = Ask("k", Scan(MESSAGE))
    told = told_queue((1, ask))
    assert told == (1, Ask("k", Scan(DIGEST)))
    for plain in ((), (1,), (Ask("k", Look("x")),)):
        assert told_queue(plain) is plain
    ctx = pmap({"queue": (ask,), "a": 1})
    assert told_context(ctx) == pmap({"queue": (Ask("k", Scan(DIGEST)),), "a": 1})
    for other in (pmap({"queue": (1,)}), pmap({"queue": 5}), pmap(), None, 5):
        assert told_context(other) is other


def test_the_weight_of_what_is_told() -> None:
    """Texts and bytes count, however they are nested; what is not about questions does not."""
    text = "x" * 1000
    asked = Asked(1, 0, "f", "k", Look(text), 5.0)
    assert weight_of_told(Learned(asked, Answered(text))) > 2000
    assert weight_of_told((Ask("k", Look(text)),)) > 1000
    assert weight_of_told(None) == weight_of_told(pmap({"a": text})) == 0
    assert weight_of_value(pmap({text: (text.encode(), pset([text]))})) > 3000
    assert weight_of_value(MessageDigest(5, "x")) < 1000

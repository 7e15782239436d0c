"""What is kept of packets and actions in memory: its records are those that a file may hold."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy.codec import decode_event
from demyjpy.context import new_context, remember, send_action
from demyjpy.engine.macros import Macros
from demyjpy.engine.tape import Queued
from demyjpy.errors import MilterError
from demyjpy.registry import Handler
from demyjpy.trace.format.json_events import dump_action
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.records import of_event
from demyjpy.trace.format.scrubbed_results import played
from demyjpy.trace.format.scrubbing import Scrubber
from demyjpy.trace.live.kept_sessions import weight_of
from demyjpy.wire.framing import join_frame
from tests.engine.harness import macros, packet, split
from tests.strategies import actions, packets

PRIVACIES = {
    "redacted": Privacy(redact={"X", "a"}),
    "hashed": Privacy(hash_addresses=True, salt=b"x"),
    "headers": Privacy(keep="headers", redact={"a"}),
    "envelope": Privacy(keep="envelope"),
    "hashed envelope": Privacy(keep="envelope", hash_addresses=True, salt=b"x"),
}


each = pytest.mark.parametrize("privacy", PRIVACIES.values(), ids=PRIVACIES)


def scrubbed(scrubber: Scrubber, *told: Any) -> list[Any]:
    """Packets as they come back."""
    data = b"".join(join_frame(*one) for one in told)
    (entry,) = scrubber.unpack(b"".join(scrubber.pack([data])))
    found: list[Any] = []
    for one in entry:
        found += split(one) if isinstance(one, bytes) else [packet("B", bytes(one))]
    return found


def record(one: Any, leading_space: bool) -> Any:
    """The record of a packet; the class of the error if it cannot be read."""
    try:
        event = decode_event(one, leading_space)
    except MilterError as error:
        return type(error)
    return of_event("s", 0.0, event, one, leading_space)


@each
@given(st.lists(packets, max_size=4), st.booleans())
@example([packet("L", b"Subject\0 x\0more"), packet("L", b"X-Y\0\0"), packet("L", b"\0x\0")], True)
@example([packet("C", b"a\x004\0\x19192.0.2.1\0more"), packet("C", b"a\x004\0\x191.2\0")], True)
@example(
    [packet("C", b"a\x006\0\x19IPv6:::1\0"), packet("C", b"aU\0"), packet("C", b"a\x004\0\0word\0")],
    True,
)
@example(
    [
        macros("R", rcpt_mailer="error", x="y"),
        macros("R", **{"i": "1", "{rcpt_mailer}": "error", "{cipher}": "error"}),
        macros("R", i="1", mail_addr="a@b"),
        packet("D", b"Mx\0"),
    ],
    True,
)
@example(
    [packet("E", b"text"), packet("B", b"text"), packet("M", b"<a@b>\0A=<c>\0x"), packet("R", b"a")],
    True,
)
@example(
    [packet("O", b"0123456789abcdef"), packet("?", b"x\0"), packet("T", b"x"), packet("H", b"x")], True
)
def test_records_of_what_is_kept_are_those_that_may_be_kept(privacy, told, leading_space):
    """Whatever the MTA says, and in whatever order; what cannot be read can still not be read."""
    scrubber = Scrubber(privacy)
    kept = scrubbed(scrubber, *told)
    assert len(kept) == len(told)
    for one, other in zip(told, kept, strict=True):
        expected, found = record(one, leading_space), record(other, leading_space)
        if isinstance(expected, dict):
            expected, found = privacy.of(expected), scrubber.privacy.of(found)
        assert found == expected
        assert len(other[1]) >= len(one[1])


handlers = st.sampled_from(["options", "define_macros", "connect", "end_of_message", None]).map(
    lambda event: event and Handler(event, lambda event, ctx: ctx)
)
"""None stands for ``on_error``."""


@each
@given(handlers, st.lists(actions(leading_space=True), max_size=3))
def test_so_are_those_of_actions(privacy, handler, told):
    """At whatever event they were queued."""
    scrubber = Scrubber(privacy)
    result = scrubber.outcome(handler, new_context().set("queue", tuple(told)))
    found = played(result)
    kept = found.queue if isinstance(found, Queued) else found["queue"]
    expected = privacy.of({"actions": [dump_action(one) for one in told]})
    assert scrubber.privacy.of({"actions": [dump_action(one) for one in kept]}) == expected
    assert weight_of(result) >= 64


def test_the_code_of_a_reply_stays() -> None:
    """The MTA reads it at the start of a line."""
    ctx = new_context().set("queue", (act.ReplyCode(550, None, ["5.7.1 secret", "5.7.1 a"]),))
    (reply,) = Scrubber(Privacy(keep="envelope")).outcome(None, ctx).queue
    assert reply.lines == ("5.7.1 xxxxxx", "5.7.1 x")


class Odd:
    """No action, and it cannot be written."""

    def __repr__(self) -> str:
        raise ValueError("secret")


def test_what_is_no_action_is_kept_as_it_is_written() -> None:
    """Where texts are kept; else nothing is."""
    for keep, text in (("headers", "<repr failed: ValueError>"), ("envelope", "(redacted)")):
        result = Scrubber(Privacy(keep=keep)).outcome(None, new_context().set("queue", [Odd()]))
        assert repr(result.queue) == f"({text},)"
        assert weight_of(result) == 64 + 64 + len(text)


def test_macros_that_a_handler_defines_are_kept_as_far_as_they_may_be() -> None:
    """The engine goes on with them."""
    handler = Handler("define_macros", lambda event, ctx: ctx)
    ctx = new_context().set("macros", Macros().define(ord("M"), b"i\0Q1\0x\0secret\0"))
    found = Scrubber(Privacy(keep="envelope")).outcome(handler, ctx)
    assert found.queue == ()
    assert found.macros.get("i") == "Q1"
    assert b"".join(one for one in found.macros.slots if one) == b"i\0Q1\0x\0xxxxxx\0"
    assert Scrubber(Privacy(keep="envelope")).outcome(handler, ctx.set("macros", 5)) == Queued(())


def test_of_the_context_of_a_negotiation_that_is_kept_which_decides() -> None:
    """The engine plays it again: its own keys are there, and nothing else that a handler put there."""
    handler = Handler("options", lambda event, ctx: ctx)
    macros_there = Macros().define(ord("C"), b"i\0Q1\0x\0secret\0")
    ctx = new_context({"mine": "secret"}).set("macros", macros_there).set("actions", frozenset({"x"}))
    scrubber = Scrubber(Privacy(keep="envelope"))
    found = scrubber.outcome(handler, remember(ctx, {"more": "secret"}))
    assert found == new_context().set("macros", found["macros"]).set("actions", frozenset({"x"}))
    assert found["macros"].get("i") == "Q1"
    assert b"secret" not in b"".join(one for one in found["macros"].slots if one)
    assert "macros" not in scrubber.outcome(handler, ctx.remove("macros"))
    assert (
        weight_of(Scrubber(Privacy()).outcome(handler, send_action(ctx, act.Quarantine("x" * 99)))) > 99
    )


def test_nothing_is_taken_out_if_all_is_kept() -> None:
    """Bytes as they came, errors with their texts, the context of a negotiation, no queue."""
    scrubber = Scrubber(Privacy())
    data = join_frame(*macros("M", x="y")) + join_frame(*packet("B", b"text"))
    assert scrubber.unpack(b"".join(scrubber.pack([data, data]))) == [[data], [data]]
    told = scrubber.outcome(None, ValueError("text"))
    assert (type(told).__name__, str(told)) == ("ValueError", "text")
    told = Scrubber(Privacy(keep="headers")).outcome(None, ValueError("text"))
    assert (type(told).__name__, str(told)) == ("ValueError", "")
    assert weight_of(told) == 64
    ctx = new_context().set("queue", None)
    assert played(scrubber.outcome(Handler("options", lambda event, ctx: ctx), ctx)) is ctx
    assert played(scrubber.outcome(None, ctx)) == Queued(None)


def test_usual_macros_in_many_orders_are_replaced_alike() -> None:
    """Though not every order of their names is remembered."""
    scrubber = Scrubber(Privacy(keep="envelope"))
    names = ("i", "j", "v", "{mail_addr}", "{rcpt_mailer}", "{cipher}")
    for order in permutations(names):
        told = dict.fromkeys(order, "value")
        ((_, kept),) = scrubbed(scrubber, macros("M", **told))
        strings = kept[1:].decode().split("\0")
        assert dict(zip(strings[1::2], strings[::2], strict=False)).keys() == {"value", "xxxxx"}
        assert {"i", "{mail_addr}", "{rcpt_mailer}"} < {*strings}
        assert strings.count("value") == 2


def test_of_macros_without_end_only_the_first_are_looked_at() -> None:
    """What follows takes no time: nothing of it is kept but that by which the engine decides."""
    scrubber = Scrubber(Privacy(keep="headers"))
    told = {f"m{number}": "value" for number in range(300)}
    more = {"rcpt_mailer": "error", "{rcpt_mailer}": "smtp", "x": "rcpt_mailer", "i": "1"}
    packet = macros("M", **told, **more)
    ((letter, kept),) = scrubbed(scrubber, packet)
    strings = kept[1:].decode().split("\0")
    assert (letter, len(kept)) == (packet[0], len(packet[1]))
    assert strings[:400] == packet[1][1:].decode().split("\0")[:400]
    assert {*strings[400:600]} <= {"x" * size for size in range(3, 6)}
    assert strings[600:604] == ["rcpt_mailer", "error", "{rcpt_mailer}", "xxxx"]
    assert strings[605] in ("rcpt_mailer", "x" * 11)
    assert strings[606:] == ["x", "x", ""]


def test_macros_that_came_before_take_a_byte() -> None:
    """Two, if they came for another command."""
    scrubber = Scrubber(Privacy(keep="envelope"))
    first, second = (join_frame(*macros(letter, i="4A7F3C21B0")) for letter in "LN")
    kept = b"".join(scrubber.pack([first, first, second]))
    assert scrubber.unpack(kept) == [[first], [first], [second]]
    assert len(kept) == 1 + len(first) + 1 + 1 + 1


def test_of_a_hidden_field_its_value_takes_nothing() -> None:
    """Except for its size, which a record tells."""
    scrubber = Scrubber(Privacy(keep="envelope"))
    for name, kept in ((b"Subject", b"Subject"), (b"X-Secret", b"xxxxxxxx")):
        for space in (b" ", b"\t", b""):
            data = join_frame(*packet("L", name + b"\0" + space + b"secret" * 100 + b"\0"))
            packed = b"".join(scrubber.pack([data]))
            assert len(packed) == 1 + 5 + len(name) + 1 + len(space)
            expected = kept + b"\0" + space + b"x" * 600 + b"\0"
            assert scrubber.unpack(packed) == [[join_frame(*packet("L", expected))]]

"""Laws of the codec: total on whatever comes, inverse on whatever is sent, blind to how it is cut."""

from typing import Any

import pytest
from attrs import fields
from hypothesis import example, given
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy.codec import (
    EVENTS,
    action_row,
    decode_action,
    decode_event,
    encode_action,
    encode_event,
)
from demyjpy.codec.responses import ACTIONS, ROW_OF_ACTION
from demyjpy.engine.plan import encode_answer, in_sending_order
from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.wire.codes import CHUNK_SIZE, Command
from demyjpy.wire.fields import decode_text, encode_text
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, split_frames
from tests.engine.harness import split
from tests.strategies import (
    actions,
    attempts,
    chunks_of,
    events,
    modifications,
    packets,
    payloads,
    string_bytes,
    verdicts,
)

LIMIT = 1 << 20


def exactly(value: Any) -> tuple[Any, ...]:
    """All that a value holds, also what is left out when values are compared."""
    held = (getattr(value, one.name) for one in fields(type(value)))
    return (type(value), *(getattr(one, "words", one) for one in held))


def tried(function: Any, *arguments: Any) -> Any:
    """What comes of a call: its result, or the one error that it may raise."""
    error = LocalProtocolError if isinstance(function, type) else RemoteProtocolError
    try:
        return function(*arguments)
    except error as problem:
        return problem


@given(packets, st.booleans())
@example((Command.CONNECT, b"h\x004\x00\x19256.0.0.1\0"), False)
@example((Command.CONNECT, b"h\x006\x00\x19[::1]\0"), False)
@example((Command.OPTNEG, b"\xff" * 12), False)
def test_any_packet_is_an_event_or_a_remote_protocol_error(packet, leading_space):
    """Whatever the MTA sends becomes an event or a RemoteProtocolError, nothing else."""
    found = tried(decode_event, packet, leading_space)
    if isinstance(found, RemoteProtocolError):
        assert str(found) == f"expected {found.expected}, got {found.got}"
    else:
        assert type(found) is EVENTS[packet[0]].event


@given(packets, st.booleans())
@example((ord("y"), b"000 x\0"), False)
@example((ord("y"), b"550 " + b"x" * 981 + b"\0"), False)
@example((ord("m"), b"\xff\xff\xff\xffX\0v\0"), True)
@example((ord("+"), b"<\xc2\x85a@b>\0"), False)
def test_any_packet_is_an_action_or_a_remote_protocol_error(packet, leading_space):
    """Whatever a filter sends becomes an action or a RemoteProtocolError, nothing else."""
    action = tried(decode_action, packet, leading_space)
    if isinstance(action, RemoteProtocolError):
        return
    assert packet[0] in ACTIONS
    assert action_row(action).letter == packet[0] or isinstance(action, act.AddRecipient)


@given(st.data(), st.booleans())
def test_a_damaged_packet_is_decoded_or_refused(data, leading_space):
    """A good packet with bytes taken out or put in is decoded or refused, in either direction."""
    is_event = data.draw(st.booleans())
    if is_event:
        letter, payload = encode_event(data.draw(events(leading_space)), leading_space)
    else:
        letter, payload = encode_action(data.draw(actions(leading_space)), leading_space)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(payload))] * 2)))
    damaged = payload[:start] + data.draw(st.binary(max_size=3)) + payload[end:]
    decode = decode_event if is_event else decode_action
    found = tried(decode, (letter, damaged), leading_space)
    if isinstance(found, RemoteProtocolError):
        assert found.expected
        assert found.got
    else:
        assert type(found) in {row.event for row in EVENTS.values()} | set(ROW_OF_ACTION)


@given(st.data(), st.booleans())
def test_encoding_and_decoding_an_event_are_inverse(data, leading_space):
    """An event comes out of its packet exactly as it went in."""
    event = data.draw(events(leading_space))
    again = decode_event(encode_event(event, leading_space), leading_space)
    assert exactly(again) == exactly(event)


@given(st.data(), st.booleans())
def test_encoding_and_decoding_an_action_are_inverse(data, leading_space):
    """An action comes out of its packet exactly as it went in."""
    action = data.draw(actions(leading_space))
    again = decode_action(encode_action(action, leading_space), leading_space)
    assert exactly(again) == exactly(action)


@given(packets, st.booleans())
def test_what_was_decoded_can_be_encoded(packet, leading_space):
    """An event that came from a packet, however odd, encodes to one that means the same."""
    event = tried(decode_event, packet, leading_space)
    if isinstance(event, RemoteProtocolError):
        return
    again = decode_event(encode_event(event, leading_space), leading_space)
    assert exactly(again) == exactly(event)


LAYOUTS = {
    "H": lambda first, second: first + b"\0",
    "U": lambda first, second: first + b"\0",
    "M": lambda first, second: first + b"\0" + second + b"\0",
    "R": lambda first, second: first + b"\0" + second + b"\0",
    "L": lambda first, second: b"x" + first + b"\0" + second + b"\0",
    "C": lambda first, second: first + b"\0L\0\x19" + second + b"\0",
    "D": lambda first, second: b"M" + first + b"\0" + second + b"\0",
    "B": lambda first, second: first + b"\0" + second,
}


@pytest.mark.parametrize("letter", LAYOUTS)
@given(string_bytes, string_bytes)
@example(b"\xff\xfe", b"\xed\xb3\xbf")
@example(b"=", b"==")
def test_any_byte_survives_a_round_trip(letter, first, second):
    """Strings that are not UTF-8 leave as the bytes that they came as."""
    payload = LAYOUTS[letter](first, second)
    event = decode_event((ord(letter), payload), leading_space=True)
    assert encode_event(event, leading_space=True) == (ord(letter), payload)


@given(st.binary())
def test_text_holds_any_bytes(data):
    """Any bytes are text, and that text is those bytes."""
    assert encode_text(decode_text(data)) == data


@given(st.data())
def test_a_stream_is_the_same_packets_however_it_is_cut(data):
    """The packets, and the error at the end, do not depend on how the reads fell."""
    stream = b"".join(join_frame(*one) for one in data.draw(st.lists(packets, max_size=4)))
    stream += data.draw(st.one_of(st.just(b""), st.binary(max_size=9)))
    whole, rest = split_frames(NOTHING_UNREAD, stream, LIMIT)
    unread, found = NOTHING_UNREAD, []
    for chunk in data.draw(chunks_of(stream)):
        more, unread = split_frames(unread, chunk, LIMIT)
        found += more
    assert found == whole
    assert str(unread.error) == str(rest.error) or (unread.error and rest.error)
    assert unread.error or b"".join(unread.chunks) == b"".join(rest.chunks)


@given(st.lists(packets, max_size=5))
def test_a_stream_byte_by_byte_is_the_same_packets(wanted):
    """A peer that sends one byte at a time says the same."""
    unread, found = NOTHING_UNREAD, []
    for byte in b"".join(join_frame(*one) for one in wanted):
        more, unread = split_frames(unread, bytes((byte,)), LIMIT)
        found += more
    assert found == wanted
    assert unread == NOTHING_UNREAD


@given(st.lists(modifications(leading_space=True), max_size=6), verdicts)
def test_an_answer_is_its_modifications_in_order_and_one_verdict(edits, verdict):
    """On the wire: edits in sending order, all body in one run, and the verdict at the end."""
    ordered = in_sending_order(edits)
    found = [
        decode_action(one, leading_space=True) for one in split(encode_answer(ordered, verdict, True))
    ]
    assert exactly(found.pop()) == exactly(verdict)
    bodies = [edit.data for edit in edits if isinstance(edit, act.ReplaceBody)]
    assert bodies == [] or b"".join(bodies) in [
        one.data for one in found if isinstance(one, act.ReplaceBody)
    ]
    assert [one for one in found if not isinstance(one, act.ReplaceBody)] == [
        one for one in ordered if not isinstance(one, act.ReplaceBody)
    ]
    assert [action_row(one).group for one in found] == sorted(action_row(one).group for one in found)


@given(st.integers(0, 3), st.integers(-2, 2))
def test_a_body_of_any_size_leaves_in_packets_of_at_most_a_chunk(chunks, more):
    """A replaced body is cut at 65535 bytes, and no byte of it is lost."""
    data = bytes(max(0, chunks * CHUNK_SIZE + more))
    *parts, verdict = split(encode_answer([act.ReplaceBody(data)], act.Continue(), False))
    assert verdict == (ord("c"), b"")
    assert all(len(part) == CHUNK_SIZE for _, part in parts[:-1])
    assert b"".join(part for _, part in parts) == data


@given(attempts)
@example((act.AddRecipient, ("a@b", {"ORCPT": "x" * 70_000})))
@example((act.ChangeSender, ("a" * 40_000, {"ENVID": "x" * 40_000})))
@example((act.AddRecipient, ("a@b", {5: "x"})))
def test_an_action_that_can_be_made_can_be_sent(attempt):
    """A bad value is refused where the action is made; what was made fits a packet and decodes."""
    kind, arguments = attempt
    action = tried(kind, *arguments)
    if isinstance(action, LocalProtocolError):
        assert kind.__name__ in str(action)
        return
    for leading_space in (False, True):
        sent = split(encode_answer([action], act.Continue(), leading_space))
        assert all(
            type(decode_action(one, leading_space)) in (kind, act.Continue, act.DeleteHeader)
            for one in sent
        )


@given(payloads)
def test_surplus_bytes_after_a_bare_command_are_ignored(surplus):
    """Commands without payload may carry one, as for libmilter."""
    for letter in "TNAQK":
        assert decode_event((ord(letter), surplus)) == decode_event((ord(letter), b""))

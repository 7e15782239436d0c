"""A stream of bytes to packets, and back."""

import pytest

from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.wire.framing import NOTHING_UNREAD, Frames, join_frame, split_frames

LIMIT = 65536

STREAMS = [
    (b"", [], b""),
    (b"\0\0\0\1T", [(84, b"")], b""),
    (b"\0\0\0\3Hab\0\0\0\1T", [(72, b"ab"), (84, b"")], b""),
    (b"\0\0", [], b"\0\0"),
    (b"\0\0\0\3H", [], b"\0\0\0\3H"),
    (b"\0\0\0\1T\0\0\0\3Ha", [(84, b"")], b"\0\0\0\3Ha"),
]


@pytest.mark.parametrize(("stream", "packets", "rest"), STREAMS)
def test_complete_packets_are_split_off(stream, packets, rest):
    """What is complete comes out in order; the beginning of the next is kept."""
    found, unread = split_frames(NOTHING_UNREAD, stream, LIMIT)
    assert found == packets
    assert b"".join(unread.chunks) == rest
    assert unread.size == len(rest)
    assert unread.error is None


def test_what_was_kept_is_completed_by_what_comes():
    """The next read goes on where the last ended; afterwards nothing is kept."""
    _, unread = split_frames(NOTHING_UNREAD, b"\0\0\0\5Hab", LIMIT)
    none, unread = split_frames(unread, b"c", LIMIT)
    found, unread = split_frames(unread, b"d\0\0\0\1T", LIMIT)
    assert none == []
    assert found == [(72, b"abcd"), (84, b"")]
    assert unread is NOTHING_UNREAD


BAD = [
    (b"\0\0\0\0", "0"),
    (b"\0\1\0\1", "65537"),
    (b"\x80\0\0\0", "2147483648"),
    (b"GET / HTTP/1.1", "1195725856"),
]


@pytest.mark.parametrize(("start", "length"), BAD)
def test_a_length_that_cannot_be_is_an_error_after_the_packets_before_it(start, length):
    """The packets before it come out; the error stays, and no later byte is read."""
    found, unread = split_frames(NOTHING_UNREAD, b"\0\0\0\1T" + start, LIMIT)
    assert found == [(84, b"")]
    assert isinstance(unread.error, RemoteProtocolError)
    assert str(unread.error).startswith(f"expected a packet length from 1 to 65536, got {length} ")
    assert split_frames(unread, b"\0\0\0\1T", LIMIT) == ([], unread)


def test_the_limit_counts_the_letter():
    """A length field of exactly the limit is a packet with one byte less of payload."""
    found, _ = split_frames(NOTHING_UNREAD, b"\0\1\0\0B" + bytes(65535), LIMIT)
    assert [len(payload) for _, payload in found] == [65535]


def test_a_slow_peer_does_not_pile_up_reads():
    """A packet that comes byte by byte is kept in few pieces, and is whole in the end."""
    unread = NOTHING_UNREAD
    for byte in b"\0\0\2\1B" + bytes(500):
        found, unread = split_frames(unread, bytes((byte,)), LIMIT)
        assert found == []
        assert len(unread.chunks) <= 65
    found, unread = split_frames(unread, bytes(12), LIMIT)
    assert found == [(66, bytes(512))]
    assert unread is NOTHING_UNREAD


def test_a_frame_is_length_letter_and_payload():
    """The length counts the letter and the payload."""
    assert join_frame(ord("H"), b"ab") == b"\0\0\0\3Hab"
    assert join_frame(ord("T")) == b"\0\0\0\1T"


def test_a_payload_over_the_limit_is_not_framed():
    """65535 bytes go, one more does not, unless a larger size was agreed on."""
    assert len(join_frame(66, bytes(65535))) == 65540
    with pytest.raises(
        LocalProtocolError, match="expected at most 65535 bytes in a packet 'B', got 65536"
    ):
        join_frame(66, bytes(65536))
    assert len(join_frame(66, bytes(65536), limit=262_143)) == 65541


def test_packets_are_taken_one_by_one_and_the_rest_waits():
    """What is left is kept as it came; more may come meanwhile, at any place of a packet."""
    frames = Frames(NOTHING_UNREAD, LIMIT)
    data = b"\0\0\0\3Hab\0\0\0\1T\0\0"
    frames.add(data)
    assert frames.take() == (72, b"ab")
    rest = frames.rest()
    assert (rest.chunks, rest.at, rest.size, rest.is_ready) == ((data,), 7, 7, True)
    assert rest.chunks[0] is data
    later = Frames(rest.with_chunk(b"\0\2").with_chunk(b"B"), LIMIT)
    assert [later.take(), later.take()] == [(84, b""), None]
    later.add(b"!")
    assert [later.take(), later.take()] == [(66, b"!"), None]
    assert later.rest() is NOTHING_UNREAD
    assert frames.take() == (84, b"")
    assert frames.rest().chunks == (b"\0\0",)


def test_a_length_that_cannot_be_is_found_when_it_is_its_turn():
    """Nothing is left then."""
    frames = Frames(NOTHING_UNREAD.with_chunk(b"\0\0\0\1T\0\0\0\0T\0\0\0\1T"), LIMIT)
    assert frames.take() == (84, b"")
    assert frames.rest().is_ready
    with pytest.raises(RemoteProtocolError, match="expected a packet length from 1 to 65536, got 0 "):
        frames.take()
    assert frames.rest() is NOTHING_UNREAD

"""A stream of bytes to packets, and packets to bytes. What is in a packet is not known here.

On the wire a packet is its length (4 bytes, network order, counting the letter and the payload),
the letter, the payload. Here it is the pair ``(letter, payload)``.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

from attrs import frozen

from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.wire.codes import CHUNK_SIZE

Packet: TypeAlias = tuple[int, bytes]

_take_length: Final = Struct("!I").unpack_from
_START: Final = Struct("!IB")
_FEW: Final = 8  # reads of about one size, which are then joined
_LARGE: Final = 4  # of those that are not joined: 4096 bytes, by `_magnitude`
_HEADER: Final = 4  # bytes of length, without which nothing is known of a packet


@frozen
class Unread:
    """What has come and is not read yet: packets that wait for their turn, the beginning of one.

    ``size`` is its bytes; the first ``at`` of the first chunk are read, and do not count. ``error``
    is set if no packet can begin there; nothing after that place is read.
    """

    chunks: tuple[bytes, ...] = ()
    size: int = 0
    wanted: int = _HEADER
    """With fewer bytes there is nothing to be read."""
    error: RemoteProtocolError | None = None
    at: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether there is something to be read: a packet, or a length that cannot be."""
        return self.size >= self.wanted

    def with_chunk(self, data: bytes) -> "Unread":
        """The same with one read more.

        Eight small reads of about one size are joined: a peer that sends a byte at a time costs
        neither quadratic copying nor much more memory than the packet.
        """
        if not data:
            return self
        chunks = (*self.chunks, data)
        # not the first, which may be read in part
        while len(chunks) > _FEW and _magnitude(chunks[-_FEW]) <= _magnitude(chunks[-1]) < _LARGE:
            chunks = (*chunks[:-_FEW], b"".join(chunks[-_FEW:]))
        return Unread(chunks, self.size + len(data), self.wanted, self.error, self.at)

    def joined(self) -> tuple[bytes, int]:
        """All of it in one piece, and how much of that is read."""
        if len(self.chunks) == 1:
            return self.chunks[0], self.at
        if not self.at:
            return b"".join(self.chunks), 0
        return b"".join((memoryview(self.chunks[0])[self.at :], *self.chunks[1:])), 0


NOTHING_UNREAD: Final = Unread()


def _magnitude(data: bytes) -> int:
    """How often its size can be divided by eight."""
    return (len(data).bit_length() - 1) // 3


def rest_of(data: bytes, at: int, limit: int) -> Unread:
    """What of ``data`` is left from ``at`` on, where a packet begins."""
    size = len(data) - at
    if not size:
        return NOTHING_UNREAD
    wanted = _HEADER
    if size >= _HEADER:
        (length,) = _take_length(data, at)
        if 1 <= length <= limit:
            wanted += length
    if size < wanted:
        data, at = data[at:], 0  # what is read may go
    return Unread((data,), size, wanted, None, at)


class Frames:
    """The packets in what has come, taken one by one; ``limit`` is the largest length accepted.

    It is changed by taking; what is left is a value again. Nothing is copied but the packets, and
    the bytes of a packet that has come in pieces.
    """

    __slots__ = ("_at", "_data", "_limit", "_unread")

    def __init__(self, unread: Unread, limit: int) -> None:
        self._unread = unread
        self._limit = limit
        self._data: bytes | None = None
        self._at = 0

    def take(self) -> Packet | None:
        """The next packet; None if no packet is complete.

        At a length of 0 or over the limit `RemoteProtocolError`, and nothing is left.
        """
        data = self._data
        if data is None:
            if not self._unread.is_ready:
                return None
            data, self._at = self._unread.joined()
            self._data = data
        at = self._at
        if len(data) - at < _HEADER:
            return None
        (length,) = _take_length(data, at)
        if not 1 <= length <= self._limit:
            self.drop()
            raise _bad_length(length, self._limit)
        after = at + _HEADER + length
        if after > len(data):
            return None
        self._at = after
        return data[at + 4], data[at + 5 : after]

    def rest(self) -> Unread:
        """What is left."""
        if self._data is not None:
            self._unread, self._data = rest_of(self._data, self._at, self._limit), None
        return self._unread

    def add(self, data: bytes) -> None:
        """More has come."""
        self._unread = self.rest().with_chunk(data)

    def drop(self) -> None:
        """Nothing is left."""
        self._unread, self._data = NOTHING_UNREAD, None


def split_frames(unread: Unread, data: bytes, limit: int) -> tuple[list[Packet], Unread]:
    """The packets complete now that ``data`` has come, in order, and what is left over.

    ``limit`` is the largest length field accepted, in bytes. At a length of 0 or over the limit the
    splitting ends before anything of that packet is kept: what is left over carries the error.
    """
    if unread.error:
        return [], unread
    packets: list[Packet] = []
    frames = Frames(unread.with_chunk(data), limit)
    try:
        while (packet := frames.take()) is not None:
            packets.append(packet)
    except RemoteProtocolError as error:
        return packets, Unread(error=error)
    return packets, frames.rest()


def _bad_length(length: int, limit: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"a packet length from 1 to {limit}", f"{length} (is it an MTA that connects?)"
    )


def join_frame(letter: int, payload: bytes = b"", limit: int = CHUNK_SIZE) -> bytes:
    """One packet as bytes. A payload over ``limit`` bytes raises `LocalProtocolError`."""
    if len(payload) > limit:
        raise LocalProtocolError(
            f"expected at most {limit} bytes in a packet {chr(letter)!r}, got {len(payload)}"
        )
    return _START.pack(len(payload) + 1, letter) + payload


def cut_frames(letter: int, data: bytes) -> Iterator[bytes | memoryview]:
    """Packets of at most 65535 bytes with all of ``data``, in pieces to be joined; one, if it is empty.

    The data are not copied: it may be a whole body.
    """
    whole = memoryview(data)
    for at in range(0, len(data), CHUNK_SIZE) or (0,):
        piece = whole[at : at + CHUNK_SIZE]
        yield _START.pack(len(piece) + 1, letter)
        yield piece

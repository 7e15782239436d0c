"""A stream of bytes to packets, and packets to bytes. What is in a packet is not known here.

On the wire a packet is its length (4 bytes, network order, counting the letter and the payload),
the letter, the payload. Here it is the pair ``(letter, payload)``.
"""

from struct import Struct
from typing import Final, TypeAlias

from attrs import frozen

from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.wire.codes import CHUNK_SIZE

Packet: TypeAlias = tuple[int, bytes]

_LENGTH: Final = Struct("!I")
_START: Final = Struct("!IB")
_HEADER: Final = 4  # bytes of length, without which nothing is known of a packet
_FEW: Final = 64  # so many reads are kept apart before they are joined


@frozen
class Unread:
    """The beginning of a packet whose end has not come yet.

    Reads are joined only when the packet is complete, or when they get many: a peer that sends a
    byte at a time costs neither quadratic copying nor much more memory than the packet. ``error``
    is set where no packet can begin; nothing after that place is read.
    """

    chunks: tuple[bytes, ...] = ()
    size: int = 0
    wanted: int = _HEADER
    error: RemoteProtocolError | None = None

    def with_chunk(self, data: bytes) -> "Unread":
        """The same with one read more."""
        chunks = (*self.chunks, data)
        if len(chunks) > _FEW:
            chunks = (b"".join(chunks),)
        return Unread(chunks, self.size + len(data), self.wanted)


NOTHING_UNREAD: Final = Unread()


def split_frames(unread: Unread, data: bytes, limit: int) -> tuple[list[Packet], Unread]:
    """The packets complete now that ``data`` has come, in order, and what is left over.

    ``limit`` is the largest length field accepted, in bytes. At a length of 0 or over the limit the
    splitting ends before anything of that packet is kept: what is left over carries the error.
    """
    if unread.error:
        return [], unread
    if unread.size:
        unread = unread.with_chunk(data)
        if unread.size < unread.wanted:
            return [], unread
        data = b"".join(unread.chunks)
    packets: list[Packet] = []
    at, end = 0, len(data)
    wanted = _HEADER
    while end - at >= _HEADER:
        (length,) = _LENGTH.unpack_from(data, at)
        if not 1 <= length <= limit:
            return packets, Unread(error=_bad_length(length, limit))
        wanted = 4 + length
        if end - at < wanted:
            break
        packets.append((data[at + 4], data[at + 5 : at + wanted]))
        at += wanted
        wanted = _HEADER
    if at == end:
        return packets, NOTHING_UNREAD
    rest = data[at:]
    return packets, Unread((rest,), len(rest), wanted)


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

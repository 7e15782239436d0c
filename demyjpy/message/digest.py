"""What may be kept of a message if the message itself may not: its size, and a digest.

A tape and a trace show which message a question was about, and hold nothing of it.
"""

from hashlib import sha256
from typing import Final

from attrs import frozen

from demyjpy.errors import LocalProtocolError
from demyjpy.message.content import Content, Kept, pieces_of, size_of
from demyjpy.message.fields import header_bytes
from demyjpy.message.value import Message

MOST_HASHED: Final = 64 << 10
"""Bytes: a digest covers bodies up to this size. A larger one may lie in a file, and not in a replay."""


@frozen
class MessageDigest:
    """In place of a `Message`: its size in bytes, and the SHA-256 of its header fields and its body.

    The body is left out of the digest if it has more than `MOST_HASHED` bytes, lies in a file, or is not
    there. Two equal messages have equal digests.
    """

    size: int
    sha256: str


def digest_of(message: Message) -> MessageDigest:
    """What is kept of a message. Nothing is read from a file for that."""
    found = sha256(header_bytes(message.fields) + b"\r\n")
    if is_hashed(message.content):
        try:
            for piece in pieces_of(message.content):
                found.update(piece)
        except LocalProtocolError:  # its time is over
            found = sha256(header_bytes(message.fields) + b"\r\n")
    return MessageDigest(message.size, found.hexdigest())


def is_hashed(content: Content) -> bool:
    """Whether a digest covers this body."""
    if isinstance(content, Kept) and (content.read is None or content.is_in_file):
        return False
    return size_of(content) <= MOST_HASHED

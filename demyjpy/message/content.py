"""Where the body of a message is: in memory, with the engine, or in an earlier one with changes.

A body is given out in pieces, so that a large one need not be in memory twice. No I/O: what the engine
keeps in a file it reads itself.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final, Self, TypeAlias

from attrs import evolve, field, frozen

from demyjpy.errors import LocalProtocolError

PIECE: Final = 65_536
"""The most bytes in one piece of a body that lies in memory."""


@frozen(eq=False)
class Kept:
    """A body that the engine keeps while the message lasts.

    ``size``: in bytes. ``read`` gives the body in pieces, from the beginning at each call, or None as
    soon as the message has ended. It is None if the body was larger than the limit and is not kept.
    ``is_in_file``: to read it takes a file.
    """

    size: int
    read: Callable[[], Iterable[bytes] | None] | None = field(default=None, repr=False)
    is_in_file: bool = False

    def pieces(self) -> Iterable[bytes]:
        """The body in pieces; an error if it is not there, or not there any more."""
        if self.read is None:
            raise LocalProtocolError(
                f"the message is larger than limit= of the handler, so its body ({self.size} bytes) was "
                "not kept: ask is_whole before you read it"
            )
        found = self.read()
        if found is None:
            raise LocalProtocolError(
                "the body can be read until the message has ended, and this message has ended: keep in "
                "the context what you need of it, not the Message"
            )
        return found


@frozen
class Patch:
    """Bytes that stand in place of those from ``start`` to ``end``; ``drops`` if a part goes by it."""

    start: int
    end: int
    data: bytes = field(repr=False)
    drops: bool = False

    def is_within(self, start: int, end: int) -> bool:
        """Whether all that it replaces is in that range."""
        return start <= self.start and self.end <= end


@frozen(eq=False)
class Patched:
    """A body with some of it replaced.

    ``origin`` is the body as it was, ``base`` its bytes. The patches are in order and do not overlap.
    """

    origin: "Content"
    base: bytes = field(repr=False)
    patches: tuple[Patch, ...] = ()

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.base) + sum(len(one.data) - (one.end - one.start) for one in self.patches)

    def pieces(self) -> Iterator[bytes]:
        """The body in pieces."""
        at = 0
        for patch in self.patches:
            yield from cut(self.base, at, patch.start)
            yield patch.data
            at = patch.end
        yield from cut(self.base, at, len(self.base))

    def with_patch(self, new: Patch) -> Self:
        """With one more, which takes the place of those within it."""
        first = bisect_right(self.patches, new.start, key=lambda one: one.end)
        last = bisect_left(self.patches, new.end, key=lambda one: one.start, lo=first)
        # empty places at the beginning and at the end
        while first and self.patches[first - 1].is_within(new.start, new.end):
            first -= 1
        while last < len(self.patches) and self.patches[last].is_within(new.start, new.end):
            last += 1
        if not all(one.is_within(new.start, new.end) for one in self.patches[first:last]):
            raise LocalProtocolError("the part is in another part that was replaced or dropped before")
        return evolve(self, patches=(*self.patches[:first], new, *self.patches[last:]))


Content: TypeAlias = bytes | Kept | Patched


def pieces_of(content: Content) -> Iterable[bytes]:
    """A body in pieces."""
    if isinstance(content, bytes):
        return cut(content, 0, len(content))
    return content.pieces()


def size_of(content: Content) -> int:
    """The length of a body in bytes."""
    return len(content) if isinstance(content, bytes) else content.size


def read_all(content: Content) -> bytes:
    """A body as one."""
    return content if isinstance(content, bytes) else b"".join(content.pieces())


def is_there(content: Content) -> bool:
    """Whether a body was kept."""
    return not isinstance(content, Kept) or content.read is not None


def is_equal(one: Content, other: Content) -> bool:
    """Whether two bodies are the same bytes. They are read only if their sizes are equal."""
    if one is other:
        return True
    if size_of(one) != size_of(other) or not (is_there(one) and is_there(other)):
        return False
    if isinstance(one, bytes) and isinstance(other, bytes):
        return one == other
    return _are_equal(pieces_of(one), pieces_of(other))


def _are_equal(ones: Iterable[bytes], others: Iterable[bytes]) -> bool:
    """Whether pieces of one length in all are the same bytes, however they are cut."""
    rest, left = memoryview(b""), iter(others)
    for piece in ones:
        mine = memoryview(piece)
        while mine:
            rest = rest or memoryview(next(left))
            size = min(len(mine), len(rest))
            if mine[:size] != rest[:size]:
                return False
            mine, rest = mine[size:], rest[size:]
    return True


def cut(data: bytes, start: int, end: int) -> Iterator[bytes]:
    """Bytes in pieces; a short one as it is."""
    if start == 0 and end == len(data) and end <= PIECE:
        return chain((data,) if data else ())
    return (data[at : min(at + PIECE, end)] for at in range(start, end, PIECE))

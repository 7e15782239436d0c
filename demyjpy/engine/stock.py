"""The body of a message while it lasts, kept once for all filters: in memory, or in a file.

A value, except for the file: the driver has that, as it has the clock. What a filter gets holds a
stock weakly only (`lend`), so a body is gone as soon as the engine is done with the message.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol
from weakref import ref

from attrs import evolve, field, frozen
from pyrsistent import PVector, pvector

from demyjpy.errors import HandlerError
from demyjpy.message import Kept
from demyjpy.message.content import Content
from demyjpy.wire.codes import CHUNK_SIZE

_FEW_CHUNKS: Final = 10_000
_NOTHING: Final[PVector[bytes]] = pvector()


class SpoolFile(Protocol):
    """A file without a name, which is gone when nobody holds it any more."""

    def append(self, pieces: Iterable[bytes]) -> None:
        """Write these at its end; `OSError` if that fails."""

    def read(self, at: int, size: int) -> bytes:
        """So many bytes from there, fewer at its end only."""


@frozen(eq=False)
class Spooling:
    """Where bodies go that are larger than ``size`` bytes; ``open`` makes a file."""

    size: int
    open: Callable[[], SpoolFile]

    @property
    def most_chunks(self) -> int:
        """So many chunks may be in memory: each takes some 100 bytes more than it has, if only one."""
        return _FEW_CHUNKS + self.size // 100


@frozen(eq=False)
class Stock:
    """What is kept of one body.

    ``size``: bytes that have come, kept or not. ``chunks`` are in memory, ``pending`` bytes; what came
    before them is in ``file``, ``spooled`` bytes. ``whole`` is a body that a filter has made.
    ``is_kept`` is False if it is larger than any filter wants it.
    """

    size: int = 0
    chunks: PVector[bytes] = field(default=_NOTHING, repr=False)
    pending: int = 0
    file: SpoolFile | None = None
    spooled: int = 0
    whole: bytes | None = field(default=None, repr=False)
    is_kept: bool = True

    @classmethod
    def of(cls, body: bytes) -> "Stock":
        """A body that is there as one."""
        return cls(len(body), whole=body)

    def add(self, data: bytes) -> "Stock":
        """With one more chunk, if it has a byte; if the stock is not kept, only its size grows."""
        if not data:
            return self
        size = self.size + len(data)
        if not self.is_kept:
            return Stock(size, is_kept=False)
        chunks, pending = self.chunks.append(data), self.pending + len(data)
        return Stock(size, chunks, pending, self.file, self.spooled)

    def drop(self) -> "Stock":
        """The same without the bytes."""
        return Stock(self.size, is_kept=False)

    def moved_to(self, file: SpoolFile) -> "Stock":
        """After what was in memory has gone to the file."""
        return evolve(self, chunks=_NOTHING, pending=0, file=file, spooled=self.spooled + self.pending)

    def piece(self, index: int) -> bytes | None:
        """One of the pieces in which filters get the body, from 0; None beyond the last."""
        at = index * CHUNK_SIZE
        if self.whole is not None:
            return self.whole[at : at + CHUNK_SIZE] or None
        if self.file is not None and at < self.spooled:
            return self.file.read(at, min(CHUNK_SIZE, self.spooled - at))
        index -= -(-self.spooled // CHUNK_SIZE)
        return self.chunks[index] if index < len(self.chunks) else None

    def pieces(self) -> Iterator[bytes]:
        """All pieces. They are read as they are asked for."""
        index = 0
        while (piece := self.piece(index)) is not None:
            yield piece
            index += 1


EMPTY_STOCK: Final = Stock()


def lend(stock: Stock) -> Kept:
    """The body as a filter gets it: to be read for as long as the engine holds the stock."""
    return Kept(stock.size, Lent(stock), stock.file is not None) if stock.is_kept else Kept(stock.size)


class Lent:
    """Reads a body while the engine holds it: None when it is gone."""

    __slots__ = ("_stock",)

    def __init__(self, stock: Stock) -> None:
        self._stock = ref(stock)

    def __call__(self) -> Iterator[bytes] | None:
        """The body in pieces."""
        stock = self._stock()
        return None if stock is None else stock.pieces()

    def hold(self) -> "Held | None":
        """The same for longer; None if it is gone."""
        stock = self._stock()
        return None if stock is None else Held(stock)


class Held:
    """Reads a body until `release`, also after its message: an effect needs it until it is done."""

    __slots__ = ("_stock",)

    def __init__(self, stock: Stock) -> None:
        self._stock: Stock | None = stock

    def __call__(self) -> Iterator[bytes] | None:
        """The body in pieces; None after `release`."""
        return None if self._stock is None else self._stock.pieces()

    @property
    def stock(self) -> Stock | None:
        """What it holds."""
        return self._stock

    def release(self) -> None:
        """It is needed no more."""
        self._stock = None


def is_lent(content: Content) -> bool:
    """Whether it goes with its message: see `hold`."""
    return isinstance(content, Kept) and isinstance(content.read, Lent)


def origin_of(content: Content) -> object:
    """The same object for the same body, however often it is held."""
    held = content.read if isinstance(content, Kept) else None
    return held.stock if isinstance(held, Held) else content


def hold(content: Content) -> Content:
    """A body that can be read when its message has ended; `HandlerError` if that one has ended before.

    What does not lie with the engine stays as it is.
    """
    if not isinstance(content, Kept) or not isinstance(content.read, Lent):
        return content
    held = content.read.hold()
    if held is None:
        raise HandlerError(
            "expected the Message of this event in an effect, got one whose body went with its message"
        )
    return Kept(content.size, held, content.is_in_file)

"""How a value lies in a packet: strings, numbers, lists, and the mappings made of them.

Text is bytes read as UTF-8 with ``surrogateescape``, so any byte survives a round trip. Functions
named ``take_x`` return a part and the rest. What a packet means is not known here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Self, TypeAlias

from demyjpy.errors import LocalProtocolError, RemoteProtocolError, describe


def decode_text(data: bytes) -> str:
    """Read bytes as text; bytes that are not UTF-8 become lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def encode_text(text: str) -> bytes:
    """The inverse of `decode_text`. A lone surrogate that stands for no byte is refused."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise LocalProtocolError(
            f"expected text that UTF-8 can carry, got {describe(text)}: {error.reason}"
        ) from None  # which holds the text


def encode_string(text: str) -> bytes:
    """``STR``: the text and one NUL. Text that holds a NUL cannot be sent."""
    if "\0" in text:
        raise LocalProtocolError(f"expected text without NUL, got {describe(text)}")
    return encode_text(text) + b"\0"


def take_string(data: bytes, what: str) -> tuple[str, bytes]:
    """The ``STR`` at the start of ``data``, and what follows it; ``what`` names it in errors."""
    text, nul, rest = data.partition(b"\0")
    if not nul:
        raise RemoteProtocolError(f"{what} that ends in NUL", show_bytes(data))
    return text.decode("utf-8", "surrogateescape"), rest


def take_strings(data: bytes) -> tuple[str, ...]:
    """All complete ``STR``; a trailing fragment without NUL is dropped, as libmilter does."""
    return tuple(decode_text(data).split("\0")[:-1])


def take_number(data: bytes, size: int, what: str) -> tuple[int, bytes]:
    """An unsigned number of ``size`` bytes in network order, and what follows it."""
    if len(data) < size:
        raise RemoteProtocolError(f"{what} of {size} bytes", show_bytes(data))
    return int.from_bytes(data[:size], "big"), data[size:]


def encode_number(number: int, size: int, what: str) -> bytes:
    """The inverse of `take_number`."""
    try:
        return int(number).to_bytes(size, "big")
    except OverflowError:
        raise LocalProtocolError(f"expected {what} of {size} bytes, got {number}") from None


def show_bytes(data: bytes) -> str:
    """Bytes for an error message: how many. They are of a mail, which no log may hold."""
    return describe(data) if data else "nothing"


Words: TypeAlias = Mapping[str, str | None] | Iterable[tuple[str, str | None]]
"""What a caller may give for words."""


class _Words(Mapping[str, str | None]):
    """An immutable mapping that keeps the words as they came: spelling, order, duplicates.

    The first of several equal keys is the one that is found.
    """

    __slots__ = ("_found", "words")

    words: tuple[tuple[str, str | None], ...]
    _found: dict[str, str | None]

    def __init__(self, words: Iterable[tuple[str, str | None]] = ()) -> None:
        self.words = tuple(words)

    def _by_key(self) -> dict[str, str | None]:
        """Made only when somebody looks, because most do not."""
        try:
            return self._found
        except AttributeError:
            self._found = {self.key_of(name): value for name, value in reversed(self.words)}
            return self._found

    @staticmethod
    def key_of(name: str) -> str:
        """The form in which two equal names are one."""
        raise NotImplementedError

    def __getitem__(self, name: str) -> str | None:
        return self._by_key()[self.key_of(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self.key_of(name) for name, _ in self.words))

    def __len__(self) -> int:
        return len(self._by_key())

    def __hash__(self) -> int:
        return hash(frozenset(self._by_key().items()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self._by_key() == dict(other)

    def __repr__(self) -> str:
        return repr({name: self[name] for name in self})

    @classmethod
    def of(cls, words: Words | None) -> Self:
        """Whatever a caller gives (a mapping, pairs, None) as this class."""
        if isinstance(words, cls):
            return words
        if words is None:
            return cls()
        return cls(words.items() if isinstance(words, Mapping) else words)


class Parameters(_Words):
    """ESMTP parameters: key in upper case to value, or None for a bare key, in order (RFC 5321)."""

    __slots__ = ()

    @staticmethod
    def key_of(name: str) -> str:
        return name.upper()

    @classmethod
    def parse(cls, words: Iterable[str]) -> Self:
        """From ``KEY=value`` and ``KEY``, split at the first ``=`` only."""
        pairs = [word.partition("=") for word in words]
        return cls([(key, value if equals else None) for key, equals, value in pairs])

    def as_words(self) -> tuple[str, ...]:
        """``KEY=value`` and ``KEY``, as they came."""
        return tuple(key if value is None else f"{key}={value}" for key, value in self.words)


class Definitions(_Words):
    """Macro names to values, found with or without braces; None if the MTA sent no value."""

    __slots__ = ()

    @staticmethod
    def key_of(name: str) -> str:
        return name[1:-1] if name[:1] == "{" and name[-1:] == "}" else name

    @classmethod
    def parse(cls, strings: Iterable[str]) -> Self:
        """From name, value, name, value ...; a last name without value gets None."""
        names = iter(strings)
        return cls((name, next(names, None)) for name in names)


def spell_macro(name: str) -> str:
    """A macro's name as it goes over the wire: a long one in braces, ``i`` as it is given."""
    is_bare = Definitions.key_of(name) == name
    return f"{{{name}}}" if is_bare and len(name) > 1 else name

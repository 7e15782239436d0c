"""What ``Content-Type`` and ``Content-Disposition`` say, read as Python's `email` package reads them.

Unlike there, reading takes linear time: a field with very many semicolons costs no more than another of
its length. Nothing here raises.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from attrs import frozen

from demyjpy.message.charsets import decode_charset, readable
from demyjpy.message.fields import Field, values_of
from demyjpy.message.text import cleaned, decoded_text
from demyjpy.wire.fields import encode_text

_PIECE: Final = re.compile(r'(?>[^;"\\]+|\\"?|"(?>[^"\\]+|\\"?)*+(?:"|\Z))*+')
_EXTENDED: Final = re.compile(r"(?P<name>[^*]+)\*(?:(?P<number>[0-9]{1,9})(?P<star>\*)?)?")
"""The name of a parameter in the way of RFC 2231: ``name*``, ``name*0``, ``name*0*``."""

Pairs: TypeAlias = tuple[tuple[str, str], ...]


@frozen
class Described:
    """The value of a field: its first word in lower case, and the parameters as they stand.

    ``extended`` are those in the way of RFC 2231, decoded.
    """

    word: str
    plain: Pairs = ()
    extended: Pairs = ()

    @classmethod
    def of(cls, fields: Iterable[Field], name: str) -> "Described | None":
        """What the first field of that name says, or None."""
        value = next(values_of(fields, name), None)
        return None if value is None else cls.read(value)

    @classmethod
    def read(cls, value: str) -> "Described":
        """What a text says."""
        text = value.replace("\r", "").replace("\n", "")
        _, *pieces = split_pieces(text)
        plain: list[tuple[str, str]] = []
        extended: list[tuple[re.Match[str], str]] = []
        for piece in pieces:
            key, _, said = piece.partition("=")
            name, said = key.strip().lower(), unquote(said.strip())
            if found := _EXTENDED.fullmatch(name):
                extended.append((found, said))
            else:
                plain.append((name, said))
        word = text.partition(";")[0].strip().lower()
        return cls(word, tuple(plain), tuple(_joined(extended)))

    def get(self, name: str) -> str | None:
        """A parameter, the plain one first."""
        return next((text for key, text in (*self.plain, *self.extended) if key == name), None)

    def text(self, name: str) -> str | None:
        """A parameter for people, RFC 2231 first, then as mail programs write it against RFC 2047."""
        for key, text in self.extended:
            if key == name:
                return cleaned(text)
        found = self.get(name)
        return None if found is None else decoded_text(readable(found))


def split_pieces(value: str) -> Iterator[str]:
    """A text cut at each semicolon that is not in quotes."""
    at = 0
    while True:
        found = _PIECE.match(value, at)
        end = found.end() if found else at
        yield value[at:end]
        if end >= len(value):
            return
        at = end + 1


def unquote(text: str) -> str:
    """Without the quotes, or angle brackets, around it."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace("\\\\", "\\").replace('\\"', '"')
    return text[1:-1] if text[:1] == "<" and text[-1:] == ">" and len(text) > 1 else text


def _joined(pairs: Iterable[tuple[re.Match[str], str]]) -> Iterator[tuple[str, str]]:
    """Parameters in the way of RFC 2231, put together and decoded."""
    found: dict[str, list[tuple[int, bool, str]]] = {}
    for match, text in pairs:
        number = match["number"]
        is_encoded = number is None or match["star"] is not None
        found.setdefault(match["name"], []).append((int(number or 0), is_encoded, text))
    for name, texts in found.items():
        texts.sort(key=lambda one: one[0])
        charset = "utf-8"
        if texts[0][1] and texts[0][2].count("'") >= 2:
            charset, _, rest = texts[0][2].split("'", 2)
            texts[0] = (0, True, rest)
        data = b"".join(
            unquote_to_bytes(encode_text(text)) if is_encoded else encode_text(text)
            for _, is_encoded, text in texts
        )
        yield name, decode_charset(data, charset or "utf-8") or data.decode("utf-8", "replace")

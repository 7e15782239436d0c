"""The header field Authentication-Results, read as its writers write it, and written (RFC 8601).

Some large senders leave the name of the server out or repeat a method. Nothing here raises, and what
cannot be read is left out.
"""

import re
from typing import Final

from attrs import frozen

from demyjpy.message.comments import without_comments
from demyjpy.message.mime.parameters import split_pieces, unquote
from demyjpy.message.text import cleaned

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._@+-]")
_ESCAPED: Final = re.compile(r"\\(.)")
_LONGEST: Final = 253
"""Characters of a name or a value that is written: as many as a domain may have."""

_WORD: Final = re.compile(r'(?>[^\s"]+|"(?>[^"\\]+|\\.?)*+"?)++')


@frozen
class AuthenticationResult:
    """What one method found.

    ``method``: like ``"spf"``; ``result``: like ``"pass"``, both in lower case. ``properties`` are pairs
    like ``("smtp.mailfrom", "example.org")``. ``comment`` is for people: it is written, and not read.
    """

    method: str
    result: str
    reason: str | None = None
    properties: tuple[tuple[str, str], ...] = ()
    comment: str | None = None

    def get(self, name: str) -> str | None:
        """The first property of a name, or None."""
        return next((value for key, value in self.properties if key == name.lower()), None)

    def text(self) -> str:
        """As it stands in the field; see `AuthenticationResults.text`."""
        words = [f"{_written(self.method)}={_written(self.result)}"]
        if self.comment:
            words.append(f"({_written(self.comment, '=')})")
        if self.reason:
            words.append(f"reason={_written(self.reason)}")
        words += (f"{_written(name)}={_written(value)}" for name, value in self.properties if value)
        return " ".join(words)


@frozen
class AuthenticationResults:
    """One field: which server says so (lower case; empty if it does not say), and its results."""

    server: str
    results: tuple[AuthenticationResult, ...] = ()

    def get(self, method: str) -> str | None:
        """The first result of a method, or None."""
        return next((one.result for one in self.results if one.method == method.lower()), None)

    def text(self) -> str:
        """The value of a field that says so, a line for each result.

        What is written may be of a mail: of each name and value 253 characters count, and a character
        that is no letter, digit or one of ``._@+-`` becomes ``_``. So nobody writes results but you.
        Properties without a value are left out.
        """
        results = [one.text() for one in self.results] or ["none"]
        return ";\n\t".join([_written(self.server), *results])


def parse_authentication_results(value: str) -> AuthenticationResults:
    """What the value of a field Authentication-Results says."""
    pieces = [_pairs(piece) for piece in split_pieces(without_comments(cleaned(value)))]
    server, result = pieces[0][0] if pieces[0] else ("", "")
    results = (_result(pairs) for pairs in pieces if pairs and pairs[0][1])
    return AuthenticationResults("" if result else _server(server), tuple(results))


def _server(text: str) -> str:
    """Who compares it must find his own name in it, however somebody else has written that."""
    return _ESCAPED.sub(r"\1", unquote(text)).lower()


def _written(text: str, others: str = "") -> str:
    """A text without what could end it; ``others`` may stand in it, too."""
    return "".join(one if one in others else _UNSAFE.sub("_", one) for one in text[:_LONGEST])


def _pairs(piece: str) -> list[tuple[str, str]]:
    """The words of a piece as names and values; a word without ``=`` has no value."""
    text = " ".join(piece.split()).replace(" = ", "=")
    pairs = (word.partition("=") for word in _WORD.findall(text))
    return [(name, unquote(value)) for name, _, value in pairs]


def _result(pairs: list[tuple[str, str]]) -> AuthenticationResult:
    (method, result), *others = pairs
    properties = tuple((name.lower(), value) for name, value in others if value)
    reason = next((value for name, value in properties if name == "reason"), None)
    return AuthenticationResult(
        method.partition("/")[0].lower(),
        result.lower(),
        reason,
        tuple(pair for pair in properties if pair[0] != "reason"),
    )

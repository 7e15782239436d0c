"""Where a model does not do as the real server did, and why that is left so."""

from typing import Final

from tests.integration.scenario import Mta

_BUG: Final = (
    'Postfix 3.7.11 cannot change or delete a last header field of its own: "queue file write error"'
)
_EMPTY_LINE: Final = "a `Message` always has its empty line; a mail of a header only has none"
_GARBAGE: Final = "Sendmail 8.17.1.9 sends a byte of its memory behind a reply without text"

KNOWN: Final[dict[tuple[Mta, str], str]] = {
    ("postfix", "edit: change From 1, in a bare message"): _BUG,
    ("postfix", "edit: delete From, in a bare message"): _BUG,
    ("postfix", "message: nothing"): _EMPTY_LINE,
    ("postfix", "message: header only"): _EMPTY_LINE,
    ("postfix", "says a body, then dies, accept"): (
        "Postfix 3.7.11 says 250 and loses the mail; the box keeps it"
    ),
    ("sendmail", "message: a line of 100000"): "Sendmail breaks lines of the body over 2040 bytes",
    ("sendmail", "a reply code only at T"): _GARBAGE,
    ("sendmail", "a reply code only at E"): _GARBAGE,
}
"""Cases by name."""

"""Where a model does not do as the real server did, and why that is left so."""

from typing import Final

from tests.integration.scenario import Mta

_BUG: Final = (
    "Postfix 3.7.11 cannot change or delete the last header field if it has added that itself: "
    '"queue file write error"'
)
_GARBAGE: Final = "Sendmail 8.17.1.9 sends a byte of its memory behind a reply without text"

KNOWN: Final[dict[tuple[Mta, str], str]] = {
    ("postfix", "edit: change From 1, in a bare message"): _BUG,
    ("postfix", "edit: delete From, in a bare message"): _BUG,
    ("postfix", "message: nothing"): "a `Message` always has its empty line; a mail of nothing has none",
    ("sendmail", "a reply code only at T"): _GARBAGE,
    ("sendmail", "a reply code only at E"): _GARBAGE,
}
"""Cases by name."""

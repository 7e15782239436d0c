"""Header edits at the end of a message.

The usual mail has three headers X-Three: one, two, three.
"""

from typing import Final

from demyjpy import AddHeader, ChangeHeader, DeleteHeader, InsertHeader
from tests.integration.scenario import HEADERS, OWN, Mail, PerMta, Scenario, at_end, with_headers

LAST: Final = 1_000_000
"""An index beyond any header: appends."""

_LONG: Final = "\n ".join(f"part{number}=" + "x" * 60 for number in range(50))


def _mail(*headers: str) -> tuple[Mail, ...]:
    return (Mail(headers=headers),)


def _three(*values: str) -> tuple[Mail, ...]:
    """The usual mail with these for its three headers."""
    return _mail(OWN, *HEADERS[:5], *(f"X-Three: {value}" for value in values))


SCENARIOS: Final = (
    Scenario(
        "add a header",
        at_end(AddHeader("X-Added", "value")),
        delivered=(with_headers("X-Added: value"),),
        everywhere=True,
    ),
    Scenario(
        "add two headers of one name",
        at_end(AddHeader("X-Added", "1"), AddHeader("X-Added", "2")),
        delivered=PerMta(
            (with_headers("X-Added: 1", "X-Added: 2"),),
            (with_headers("X-Added: 2", "X-Added: 1"),),
        ),
    ),
    Scenario(
        "add a header whose name is there",
        at_end(AddHeader("X-Three", "new")),
        delivered=PerMta(_three("one", "two", "three", "new"), _three("new", "one", "two", "three")),
    ),
    Scenario(
        "add a header that is empty",
        at_end(AddHeader("X-Empty", "")),
        delivered=(with_headers("X-Empty:"),),
    ),
    Scenario(
        "add a header in UTF-8",
        at_end(AddHeader("X-Added", "Grüße, 你好, 5 €")),
        delivered=(with_headers("X-Added: Grüße, 你好, 5 €"),),
    ),
    Scenario(
        "add a header with bytes that are no UTF-8",
        at_end(AddHeader("X-Added", b"gr\xfc\xdfe".decode("utf-8", "surrogateescape"))),
        delivered=(with_headers(b"X-Added: gr\xfc\xdfe".decode("utf-8", "surrogateescape")),),
    ),
    Scenario(
        "add a header that starts with spaces",
        at_end(AddHeader("X-Added", "  deep")),
        delivered=(with_headers("X-Added:   deep"),),
    ),
    Scenario(
        "add a header as it is, without a space",
        at_end(AddHeader("X-Added", raw="close")),
        delivered=(with_headers("X-Added:close"),),
    ),
    Scenario(
        "add a folded header of 3 kB",
        at_end(AddHeader("X-Long", _LONG)),
        delivered=(with_headers(f"X-Long: {_LONG}".replace("\n", "\r\n")),),
    ),
    Scenario(
        "insert a header at 0",
        at_end(InsertHeader(0, "X-Top", "value")),
        delivered=_mail("X-Top: value", OWN, *HEADERS),
    ),
    Scenario(
        "insert a header at 1",
        at_end(InsertHeader(1, "X-Top", "value")),
        delivered=_mail(OWN, "X-Top: value", *HEADERS),
    ),
    Scenario(
        "insert a header at 2",
        at_end(InsertHeader(2, "X-Mid", "value")),
        delivered=PerMta(
            _mail(OWN, HEADERS[0], "X-Mid: value", *HEADERS[1:]),
            _mail(OWN, "X-Mid: value", *HEADERS),
        ),
    ),
    Scenario(
        "insert a header at the end",
        at_end(InsertHeader(LAST, "X-Three", "new")),
        delivered=_three("one", "two", "three", "new"),
    ),
    Scenario(
        "insert two headers at 0",
        at_end(InsertHeader(0, "X-A", "1"), InsertHeader(0, "X-B", "2")),
        delivered=_mail("X-B: 2", "X-A: 1", OWN, *HEADERS),
    ),
    Scenario(
        "change the second of three",
        at_end(ChangeHeader(2, "X-Three", "changed")),
        delivered=_three("one", "changed", "three"),
    ),
    Scenario(
        "change all of three",
        at_end(*(ChangeHeader(n, "X-Three", f"new {n}") for n in (1, 2, 3))),
        delivered=_three("new 1", "new 2", "new 3"),
    ),
    Scenario(
        "change one beyond the last of three",
        at_end(ChangeHeader(4, "X-Three", "new")),
        delivered=PerMta(_three("one", "two", "three", "new"), _three("new", "one", "two", "three")),
    ),
    Scenario(
        "change a header that is not there",
        at_end(ChangeHeader(1, "X-None", "new")),
        delivered=(with_headers("X-None: new"),),
    ),
    Scenario(
        "change a header, its name in other letters",
        at_end(ChangeHeader(1, "SUBJECT", "changed")),
        delivered=PerMta(
            _mail(OWN, *HEADERS[:2], "SUBJECT: changed", *HEADERS[3:]),
            _mail(OWN, *HEADERS[:2], "Subject: changed", *HEADERS[3:]),
        ),
    ),
    Scenario(
        "change a header to nothing",
        at_end(ChangeHeader(2, "X-Three", "")),
        delivered=_three("one", "three"),
    ),
    Scenario(
        "delete the second of three",
        at_end(DeleteHeader(2, "X-Three")),
        delivered=_three("one", "three"),
    ),
    Scenario(
        "delete all three, from the last",
        at_end(*(DeleteHeader(n, "X-Three") for n in (3, 2, 1))),
        delivered=_three(),
    ),
    Scenario(
        "delete all three, from the first",
        at_end(*(DeleteHeader(n, "X-Three") for n in (1, 2, 3))),
        delivered=PerMta(_three("two"), _three()),
    ),
    Scenario(
        "delete a header that is not there",
        at_end(DeleteHeader(1, "X-None"), DeleteHeader(4, "X-Three")),
    ),
)

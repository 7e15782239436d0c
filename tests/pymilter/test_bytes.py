"""What is no UTF-8, and white space: how callbacks get header values and addresses."""

from typing import Any

import pytest

from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter import filter_of
from demyjpy.testing import run, session
from tests.pymilter.classes import LETTER, ONE, Logging, seen_in

EIGHT = "X-A: caf\udce9\nX-B: é\n\n"


@pytest.mark.parametrize(
    ("strategy", "values"),
    [
        (None, ["caf\udce9", "é"]),
        ("surrogateescape", ["caf\udce9", "é"]),
        ("bytes", [b"caf\xe9", "é".encode()]),
        ("strict", [b"caf\xe9", "é"]),
        ("ignore", ["caf", "é"]),
        ("replace", ["caf\ufffd", "é"]),
    ],
)
def test_what_is_no_utf_8_comes_as_the_filter_wants_it(strategy: str | None, values: Any) -> None:
    """In header fields."""

    class Reading(Logging):
        def header(self, name, value):
            return self.note("header", value)

    if strategy is not None:
        Milter.decode(strategy)(Reading.header)
    found = [one[1] for one in seen_in(ONE.message(EIGHT), Reading) if one[0] == "header"]
    assert found == values


def test_an_address_comes_with_its_parameters_as_text_or_all_as_bytes() -> None:
    """Strictly: what cannot be decoded is not."""

    class Reading(Logging):
        @Milter.decode("strict")
        def envrcpt(self, *given):
            return self.note("envrcpt", *given)

    script = session().mail("a@b.example").rcpt("c\udce9@d.example", NOTIFY="NEVER").rcpt("e@f.example")
    assert [one[1:] for one in seen_in(script, Reading) if one[0] == "envrcpt"] == [
        (b"<c\xe9@d.example>", b"NOTIFY=NEVER"),
        ("<e@f.example>",),
    ]


def test_a_filter_may_take_bytes_before_they_are_decoded() -> None:
    """And give them on."""

    class Reading(Logging):
        def header_bytes(self, name, value):
            self.note("bytes", name, value)
            return super().header_bytes(name, value)

        def envfrom_bytes(self, *given):
            self.note("bytes", *given)
            return super().envfrom_bytes(*given)

        def envrcpt_bytes(self, *given):
            self.note("bytes", *given)
            return super().envrcpt_bytes(*given)

    found = seen_in(ONE.message("X-A: caf\udce9\n\n"), Reading)
    assert found[:4] == [
        ("bytes", b"<ann@example.org>", b"SIZE=10", b"SMTPUTF8"),
        ("envfrom", "<ann@example.org>", "SIZE=10", "SMTPUTF8"),
        ("bytes", b"<bob@example.net>", b"NOTIFY=NEVER"),
        ("envrcpt", "<bob@example.net>", "NOTIFY=NEVER"),
    ]
    assert ("bytes", "X-A", b"caf\xe9") in found
    assert ("header", "X-A", "caf\udce9") in found


def test_header_values_with_all_their_space() -> None:
    """In what it reads and in what it writes."""

    @Milter.header_leading_space
    class Exact(Logging):
        def eom(self):
            self.addheader("X-None", "v")
            self.addheader("X-Three", "  v")
            self.chgheader("Subject", 1, "\tnew")
            return Milter.CONTINUE

    assert ("header", "X-Two", "  two") in seen_in(ONE.message(LETTER), Exact)
    ours = type("Exact", (Exact,), {"seen": []})
    found = run(filter_of(ours), ONE.message(LETTER)).message
    raws = {one.name: one.raw for one in found.fields}
    assert (raws["X-None"], raws["X-Three"], raws["Subject"]) == ("v", "  v", "\tnew")

"""Tables of networks: cidr_table(5)."""

import pytest

from demyjpy.lookups import tables_networks
from demyjpy.lookups.tables_networks import load_networks
from demyjpy.lookups.tables_rows import RowError, Terms


def lines(text):
    return text.encode().splitlines(keepends=True)


def always(terms):
    return True


def answers(text, *keys, holds=always):
    table = load_networks(lines(text))
    return [table.find(key, holds) for key in keys]


def test_the_first_network_counts():
    """However long the networks are; what is no address is in none."""
    rows = (
        "10.1.0.0/16 a\n10.0.0.0/8 b\n10.1.2.3 c\n[2001:db8::]/32 d\n[::1] e\n[10.9.0.0/16] f\n"
        "0.0.0.0/0 g\n"
    )
    keys = [
        "10.1.2.3",
        "10.9.9.9",
        "2001:DB8::7",
        "::1",
        "192.0.2.1",
        "::2",
        "x",
        "10.1.2",
        "",
        "1.1.1.1\0",
    ]
    assert answers(rows, *keys) == ["a", "b", "d", "e", "g", None, None, None, None, None]


def test_a_network_may_stand_there_again():
    """The first that holds counts; behind one without terms none does."""
    rows = "10.0.0.0/8 a until=2027-01-31\n10.0.0.0/8 b percent=5\n10.0.0.0/8 c\n10.0.0.0/8 d\n"
    assert answers(rows, "10.0.0.1") == ["a"]
    assert answers(rows, "10.0.0.1", holds=lambda terms: not terms.until) == ["b"]
    assert answers(rows, "10.0.0.1", holds=lambda terms: False) == ["c"]
    assert answers(rows.rpartition("10.0.0.0/8 c")[0], "10.0.0.1", holds=lambda terms: False) == [None]


def test_a_sign_turns_a_pattern():
    """All others of its family; twice is not at all."""
    rows = "!10.0.0.0/8 a\n!!10.1.0.0/16 b\n! 10.1.0.0/16 c percent=5\n"
    assert answers(rows, "192.0.2.1", "10.1.0.1", "10.2.0.1", "::1") == ["a", "b", "c", None]
    assert answers(rows, "10.2.0.1", holds=lambda terms: terms == Terms()) == [None]
    assert answers("10.0.0.0/8 a\n!10.0.0.0/8 b\n0.0.0.0/0 c\n", "10.0.0.1", "192.0.2.1") == ["a", "b"]


def test_if_holds_for_what_is_in_it():
    """In each other, with a sign, and what stands behind is asked if nothing in it matches."""
    rows = (
        "IF 10.0.0.0/8\nif !10.1.0.0/16\n10.0.0.0/9 a\nendif\n10.1.1.1 b\nENDIF \n"
        "10.0.0.0/8 c\nif ::/0\n::1 d\nendif\n0.0.0.0/0 e\n"
    )
    keys = ["10.2.0.1", "10.1.1.1", "10.1.1.2", "10.200.0.1", "192.0.2.1", "::1", "::2"]
    assert answers(rows, *keys) == ["a", "b", "c", "c", "e", "d", None]


def test_a_table_counts_its_rows():
    """Without if and endif."""
    table = load_networks(lines("if 10.0.0.0/8\n10.0.0.0/8 a\nendif\n!::1 b\n"))
    assert (table.rows, table.has_patterns) == (2, True)


BAD = [
    # rows, the line, what the error says
    ("10.0.0.0/8\n", 1, "got no result"),
    ("10.0.0.0/8 until=2027-01-31\n", 1, "got no result"),
    ("x y\n", 1, "an IP address or a network, got 'x'"),
    ("!\n", 1, "got ''"),
    ("example.org x\n", 1, "got 'example.org'"),
    ("10.0.0.1/8 x\n", 1, "got 10.0.0.1/8: the network is 10.0.0.0/8"),
    ("2001:db8::1/32 x\n", 1, "the network is 2001:db8::/32"),
    ("10.0.0.0/33 x\n", 1, "from 0 to 32 after the /, got '33'"),
    ("::/129 x\n", 1, "from 0 to 128"),
    ("10.0.0.0/ x\n", 1, "from 0 to 32 after the /, got ''"),
    ("10.0.0.0/+8 x\n", 1, "from 0 to 32"),
    ("[10.0.0.0 x\n", 1, r"\[address\]"),
    ("[10.0.0.0]8 x\n", 1, r"\[address\]"),
    ("if\n", 1, "got ''"),
    ("\nif 10.0.0.0/8\nif ::/0\nendif\n", 2, "an endif for this if"),
    ("endif\n", 1, "an if before endif"),
    ("if ::/0\nendif x\n", 2, "nothing after endif"),
    ("10.0.0.0/8 x percent=x\n", 1, "percent="),
    ("if ::/0\n" * 51, 51, "at most 50 if"),
]


@pytest.mark.parametrize(("text", "line", "why"), BAD)
def test_a_line_that_is_no_row_is_an_error(text, line, why):
    """Postfix skips it with a warning."""
    with pytest.raises(RowError, match=why) as caught:
        load_networks(lines(text))
    assert caught.value.line == line


def test_a_table_has_so_many_rows(monkeypatch):
    """As tables of other kinds."""
    monkeypatch.setattr(tables_networks, "MOST_ROWS", 2)
    load_networks(lines("10.0.0.0/8 a\n::1 b\n"))
    with pytest.raises(RowError, match="line 3: expected at most 2 rows"):
        load_networks(lines("10.0.0.0/8 a\n::1 b\n!::1 c\n"))

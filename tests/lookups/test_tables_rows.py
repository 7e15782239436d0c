"""Rows of a table: what is one line, what is its key, when it counts."""

import pytest

from demyjpy.lookups.tables_rows import (
    ALWAYS,
    RowError,
    Terms,
    logical_lines,
    share_of,
    split_row,
    split_terms,
)

LINES = [
    # what is in a file, and the rows with the number of their first line
    (b"", []),
    (b"\n \n\t\n# c\n  # c\n", []),
    (b"a b", [(1, "a b")]),
    (b"\na b\r\n", [(2, "a b\r")]),
    (b"a\n b\n\tc\nd e\n", [(1, "a b\tc"), (4, "d e")]),
    (b"a\n # c\n\n#c\n b\n", [(1, "a b")]),
    (b"a\n#c\n\nd\n", [(1, "a"), (4, "d")]),
    ("é ü\x85x\n".encode(), [(1, "é ü\x85x")]),  # no line ends there
]


@pytest.mark.parametrize(("data", "rows"), LINES)
def test_a_row_goes_on_in_lines_that_begin_with_a_space(data, rows):
    """Comments and empty lines are nothing, also within a row."""
    assert [*logical_lines(data.splitlines(keepends=True))] == rows


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        (b"a b\nc \xff\n", 2, "UTF-8"),
        (b"a \0\n", 1, "value 0"),
        (b"\n b\n", 2, "continues it"),
    ],
)
def test_a_line_that_is_no_row_has_a_number(data, line, why):
    """And the error says what is wrong with it."""
    with pytest.raises(RowError, match=why) as caught:
        [*logical_lines(data.splitlines(keepends=True))]
    assert caught.value.line == line


ROWS = [
    ("a b", ("a", "b")),
    ("a \t b  c \r", ("a", "b  c")),
    ("a", ("a", "")),
    ("a ", ("a", "")),
    ('"a b"@c d', ('"a b"@c', "d")),
    (r'"a \" b" c', (r'"a \" b"', "c")),
    (r"a\ b c", (r"a\ b", "c")),
    ("a\\", ("a\\", "")),
    ("a\xa0b c", ("a\xa0b", "c")),  # a space for Unicode, none for C
]


@pytest.mark.parametrize(("text", "row"), ROWS)
def test_a_key_ends_at_a_space_outside_of_quotes(text, row):
    """Both keep their quotes and backslashes."""
    assert split_row(1, text) == row


def test_a_quote_that_is_not_closed_is_no_key():
    """Postfix skips such a line."""
    with pytest.raises(RowError, match="line 7: expected a closing double quote"):
        split_row(7, '"a b c')


TERMS = [
    ("OK", ("OK", ALWAYS)),
    ("x=1 a=b", ("x=1 a=b", ALWAYS)),
    ("REJECT go away until=2027-01-31", ("REJECT go away", Terms("2027-01-31"))),
    ("OK percent=2.5  until=2027-01-31", ("OK", Terms("2027-01-31", 2.5))),
    ("percent=100", ("", ALWAYS)),
    ("percent=10 OK", ("percent=10 OK", ALWAYS)),  # only at the end
    ("x.percent=10", ("x.percent=10", ALWAYS)),
]


@pytest.mark.parametrize(("text", "found"), TERMS)
def test_terms_stand_at_the_end_of_a_row(text, found):
    """Whatever else has an equals sign belongs to the result."""
    assert split_terms(1, text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("OK until=soon", "a day such as 2027-01-31, got 'soon'"),
        ("OK until=20270131", "a day"),
        ("OK until=2027-02-30", "a day"),
        ("OK percent=101", "a number from 0 to 100, got '101'"),
        ("OK percent=-1", "a number"),
        ("OK percent=", "a number"),
        ("OK percent=1 percent=2", "percent= once"),
        ("OK until=2027-01-31 until=2027-01-31", "until= once"),
    ],
)
def test_terms_that_say_nothing_are_an_error(text, why):
    """A rule that never ends because of a slip would not be noticed."""
    with pytest.raises(RowError, match=why):
        split_terms(1, text)


def test_the_share_of_a_key_is_the_same_everywhere():
    """It is spread evenly, and says the same for a key in upper case and for bytes that are no text."""
    keys = [f"user{number}@example.org" for number in range(2000)]
    assert all(0 <= share_of(key) < 100 for key in keys)
    assert 150 < sum(share_of(key) < 10 for key in keys) < 250
    assert share_of("Ann@Example.org") == share_of("ann@example.org") == pytest.approx(44.35502687)
    assert share_of("\udcff") != share_of("\udcfe")

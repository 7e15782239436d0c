"""Tables of plain keys: hash, texthash, list."""

import pytest

from demyjpy.lookups import tables_texts
from demyjpy.lookups.tables_rows import RowError, Terms
from demyjpy.lookups.tables_texts import load_texts


def lines(text):
    return text.encode().splitlines(keepends=True)


def always(terms):
    return True


def test_the_first_row_of_a_key_counts_in_any_case():
    """Postfix warns of the second, and uses the first."""
    table = load_texts(lines("Ann@example.org  OK\nANN@example.org REJECT\nStraße x\n"))
    assert table.find("ann@EXAMPLE.org", always) == "OK"
    assert table.find("STRASSE", always) == "x"
    assert table.find("bob", always) is None
    assert (table.rows, table.has_patterns) == (3, False)


def test_of_rows_with_terms_the_first_counts_that_holds():
    """What stands behind a row without terms is never used."""
    rows = (
        "a 1 until=2027-01-01\na 2 percent=10\na 3\na 4 percent=1\nb 1\nb 2 percent=1\nc 1 percent=1\n"
    )
    table = load_texts(lines(rows))
    assert [table.find("a", one) for one in (always, lambda terms: not terms.until)] == ["1", "2"]
    assert table.find("a", lambda terms: terms == Terms()) == "3"
    assert table.find("b", lambda terms: False) == "1"
    assert table.find("c", lambda terms: False) is None
    assert len(table.results["a"]) == 3


def test_a_key_of_a_list_is_its_own_result():
    """As it is written in the list; with terms, too."""
    table = load_texts(lines("Ann@example.org\nbob until=2027-01-31\ncarol OK\n"), is_list=True)
    assert [table.find(key, always) for key in ("ANN@example.org", "bob", "carol")] == [
        *("Ann@example.org", "bob", "OK")
    ]


@pytest.mark.parametrize("row", ["ann", "ann until=2027-01-31"])
def test_elsewhere_a_row_has_a_result(row):
    """Postfix skips one that has none."""
    with pytest.raises(RowError, match="line 2: expected a key, a space and a result"):
        load_texts(lines(f"a b\n{row}\n"))


def test_a_table_has_so_many_rows(monkeypatch):
    """A file that grows without end does not fill the memory."""
    monkeypatch.setattr(tables_texts, "MOST_ROWS", 2)
    load_texts(lines("a 1\nb 2\n"))
    with pytest.raises(RowError, match="line 3: expected at most 2 rows"):
        load_texts(lines("a 1\nb 2\nc 3\n"))

"""That every row has a test, and that docs/conformance.md says which."""

import pytest

from tests.conformance.report import DOCUMENT, covering_tests, document
from tests.conformance.rows import ROWS


def test_rows_are_complete():
    """There are 170 rows, numbered without a gap, each of a known side."""
    assert [row.number for row in ROWS] == list(range(1, 171))
    assert {row.side for row in ROWS} == {"F", "B", "C"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number:03}")
def test_row_is_covered(row):
    """Each row has a test that is named after it."""
    assert covering_tests().get(row.number)


def test_tests_are_for_rows_that_exist():
    """No test is named after a row that is not in the list."""
    assert covering_tests().keys() <= {row.number for row in ROWS}


def test_document_is_up_to_date():
    """docs/conformance.md is what ``python -m tests.conformance.report`` writes."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()

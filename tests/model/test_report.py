"""The table in ``docs/``."""

from pathlib import Path

from tests.model.report import report

DOCUMENT = Path(__file__).parents[2] / "docs" / "model.md"


def test_report_is_up_to_date() -> None:
    """``docs/model.md`` says what is so: write it anew with ``python -m tests.model.report``."""
    assert DOCUMENT.read_text() == report()

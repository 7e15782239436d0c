"""Milters of others, unchanged, in the box and behind a real Postfix: `python -m tests.foreign`.

Not part of the tests: it installs some 200 packages below `tests.integration.fetch_mtas.PREFIX`.
"""

from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).with_name("table.md")
"""What came of the last whole run; docs/model.md shows it."""

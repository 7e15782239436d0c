"""The law of merging: merged filters do what an MTA does with the same filters in a row."""

from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).with_name("table.md")
"""How many combinations and sessions were right on the real servers."""

"""How many examples the property tests draw: a quarter, unless ``DEMYJPY_EXAMPLES`` says more.

Only that number is here. It is a percentage: ``DEMYJPY_EXAMPLES=100`` for a long run.
"""

import os
from typing import Final

_SHARE: Final = int(os.environ.get("DEMYJPY_EXAMPLES", "25")) / 100


def share_of(examples: int) -> int:
    """How many to draw in this run, of so many in a long run."""
    return max(1, round(examples * _SHARE))

"""The filters that ``demyjpy demo`` has to choose from, one a file: to see at work, to read, to copy.

They ask nobody and need no settings.
"""

from collections.abc import Mapping
from typing import Final

DEMOS: Final[Mapping[str, str]] = {
    "size": "counts the bytes of each body and writes them into a header field, X-Message-Size",
    "subject": "puts [external] before the subject of each mail",
    "disclaimer": "appends a text to what people read, and leaves signed mail alone",
    "recipients": "refuses recipients that are not in a list",
    "hold": "puts mail above 100 kB into quarantine",
}
"""A filter's name, which is that of its module, and what it does."""

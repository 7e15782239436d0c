"""Generated sessions for filters, and the stock properties that every filter should have.

Needs Hypothesis (``pip install demyjpy[hypothesis]``). `check_filter` tries a filter with sessions from
`sessions` and shows the shortest one that goes wrong.
"""

from demyjpy.testing.strategies.check import check_filter
from demyjpy.testing.strategies.content import bodies, headers, messages
from demyjpy.testing.strategies.filter_words import words_of
from demyjpy.testing.strategies.sessions import addresses, chunks, sessions

__all__ = [
    "addresses",
    "bodies",
    "check_filter",
    "chunks",
    "headers",
    "messages",
    "sessions",
    "words_of",
]

"""Tests for filters: a session in, an equality out. See `run`, `session` and `check_filter`."""

from typing import TYPE_CHECKING, Any

from demyjpy.mta.profiles import Postfix, Reply, Sendmail
from demyjpy.mta.stored_mail import Envelope, StoredField, StoredMail, StoredMessage
from demyjpy.testing.answers import AskedQuestion
from demyjpy.testing.direct import context
from demyjpy.testing.jobs import run_job
from demyjpy.testing.result import FilterResult, MessageResult, Played, Result
from demyjpy.testing.run import run
from demyjpy.testing.script import Script, session

if TYPE_CHECKING:
    from demyjpy.testing.strategies import check_filter as check_filter

__all__ = [
    "AskedQuestion",
    "Envelope",
    "FilterResult",
    "MessageResult",
    "Played",
    "Postfix",
    "Reply",
    "Result",
    "Script",
    "Sendmail",
    "StoredField",
    "StoredMail",
    "StoredMessage",
    "context",
    "run",
    "run_job",
    "session",
]


def __getattr__(name: str) -> Any:
    """`check_filter` needs Hypothesis, which is loaded only for it."""
    if name != "check_filter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from demyjpy.testing.strategies import check_filter  # noqa: PLC0415  # see above

    return check_filter

"""What a row of two filters is as a scenario: the filters, a session, and what should come of it.

Each `Row` is one thing that MTAs do with filters in a row, proven on the real servers
(`test_rows_on_mtas`) and in the models of them (`tests/model/test_rows_in_the_model`). Where the servers
differ, a row has a value for each.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar

from attrs import field, frozen

from tests.integration.scenario import (
    BODY,
    GREETING,
    Mail,
    Mta,
    PerMta,
    as_expected,
    envelope,
    message,
)
from tests.integration.smtp import Step
from tests.law.filters import Plan

T = TypeVar("T")
Either: TypeAlias = T | PerMta[T]


def saw(*parts: str | Iterable[str]) -> tuple[str, ...]:
    """What a filter saw since HELO, entry by entry."""
    entries: list[str] = []
    for part in parts:
        entries += [part] if isinstance(part, str) else part
    return ("CONNECT", "HELO client.test", *entries)


def content(*headers: str, body: bytes = BODY) -> tuple[str, ...]:
    """The entries of a message's content."""
    shown = [f"BODY {body.decode('latin-1')}"] if body else []
    return (*(f"HEADER {line}" for line in headers), "EOH", *shown, "EOM")


def head(*recipients: str, sender: str = "a@test") -> tuple[str, ...]:
    """The entries before a message's content."""
    return (f"MAIL {sender}", *(f"RCPT {one}" for one in recipients or ("b@test",)), "DATA")


@frozen
class Row:
    """Filters, a session, and what comes of it.

    ``replies`` are the banner and the replies, as far as they matter. ``first`` and ``second`` are what
    the filters saw; None if it does not matter. ``held``: quarantined mail.
    ``acted``: what the second saw on a second connection. Postfix's cleanup(8) acts a session with
    ``non_smtpd_milters`` if smtpd(8) told it of no milters; the models have no such milters.
    """

    name: str
    plans: tuple[Plan, Plan]
    second: Either[tuple[str, ...]]
    delivered: Either[tuple[Mail, ...]] = field(default=(Mail(),))
    replies: Either[str] = "220 | 250 | 250 | 250 | 354 | 250 | 221"
    steps: tuple[Step, ...] = (GREETING, *envelope(), message(), "QUIT")
    first: Either[tuple[str, ...] | None] = None
    held: Either[tuple[str, ...]] = ()
    acted: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def expected(self, mta: Mta, seen: list[list[str]], replies: tuple[str, ...]) -> Any:
        """What should come of it, in the shape of `outcome`."""
        first = _choose(self.first, mta)
        shown = tuple(seen[0]) if first is None else first
        wanted = tuple(_choose(self.replies, mta).split(" | "))
        told = tuple(want or got for want, got in zip(wanted, as_expected(replies, wanted), strict=True))
        return (
            (shown, _choose(self.second, mta)),
            told,
            _choose(self.delivered, mta),
            _choose(self.held, mta),
        )

    def outcome(
        self,
        mta: Mta,
        seen: list[list[str]],
        replies: tuple[str, ...],
        delivered: tuple[Mail, ...],
        held: tuple[str, ...],
    ) -> Any:
        """What came of it: what the filters saw, replies, mail."""
        told = as_expected(replies, _choose(self.replies, mta).split(" | "))
        return tuple(map(tuple, seen)), told, delivered, held


def _choose(value: Any, mta: Mta) -> Any:
    return getattr(value, mta) if isinstance(value, PerMta) else value

"""Which recorded messages a command is asked for: by queue id, sender, recipient, time and fate."""

import argparse
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from demyjpy.cli.arguments import OUTCOMES, Argument, argument, checked, grouped, outcomes
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.verdicts import ENDINGS

_AGO: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([smhdw])")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_EXPECTED: Final = "expected a time as 2026-11-30T03:15, or how long ago as 90m, 1h or 2d, got "


def moment(text: str, now: datetime) -> float:
    """Seconds since 1970 of a time in ISO 8601 (local if it has no zone), or of a span before ``now``.

    `ValueError` for anything else.
    """
    ago = _AGO.fullmatch(text.strip().lower().removesuffix("ago").rstrip())
    try:
        if ago is not None:
            found = (now - timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])).timestamp()
        else:
            found = datetime.fromisoformat(text.strip()).timestamp()
        _said(found)  # in the first and the last year it may be none of the local times
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{_EXPECTED}{text!r}") from None
    return found


def _moment_now(text: str) -> float:
    try:
        return moment(text, datetime.now().astimezone())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _plain(address: str) -> str:
    return address.strip().removeprefix("<").removesuffix(">").lower()


@frozen
class Choice:
    """Which messages are wanted: those for which all of these hold; one that is None holds for each.

    ``sender`` and ``recipient`` are addresses, or ``@`` and a domain for all in it; upper and lower case
    are the same. An empty sender is the null sender. ``since`` and ``until`` are seconds since 1970.
    """

    queue_id: str | None = None
    sender: str | None = None
    recipient: str | None = None
    since: float | None = None
    until: float | None = None
    fates: frozenset[str] | None = None

    def has(self, message: MessageStory) -> bool:
        """Whether it is one of them."""
        return (
            self.queue_id in (None, message.queue_id)
            and (self.since is None or message.time >= self.since)
            and (self.until is None or message.time < self.until)
            and (self.fates is None or message.outcome in self.fates)
            and _is_one(self.sender, () if message.sender is None else (message.sender,))
            and _is_one(self.recipient, recipients_of(message))
        )

    @property
    def words(self) -> str:
        """What was asked for, to be said if there is none."""
        said = (
            ("with queue id", self.queue_id),
            ("from", None if self.sender is None else f"<{_plain(self.sender)}>"),
            ("to", None if self.recipient is None else f"<{_plain(self.recipient)}>"),
            ("since", None if self.since is None else _said(self.since)),
            ("until", None if self.until is None else _said(self.until)),
            ("that was", None if self.fates is None else " or ".join(sorted(self.fates))),
        )
        return "".join(f" {what} {value}" for what, value in said if value is not None)


def _said(time: float) -> str:
    return datetime.fromtimestamp(time).astimezone().isoformat(timespec="seconds")


def recipients_of(message: MessageStory) -> tuple[str, ...]:
    """Those that stayed, and those that were refused."""
    return (*message.recipients, *(address for address, _ in message.refused))


def _is_one(wanted: str | None, addresses: Sequence[str]) -> bool:
    if wanted is None:
        return True
    plain = _plain(wanted)
    if plain.startswith("@"):
        return any(_plain(one).endswith(plain) for one in addresses)
    return any(_plain(one) == plain for one in addresses)


# ------------------------------------------------------------------------------------ the options
CHOICE: Final[tuple[Argument, ...]] = grouped(
    "which messages (all of these hold for each; without them: all messages)",
    (
        argument("--queue-id", "--id", metavar="ID", help="with this queue id"),
        argument(
            "--from",
            dest="sender",
            metavar="ADDRESS",
            help="from this sender; @DOMAIN: from any in it; '<>': the null sender",
        ),
        argument(
            "--to",
            dest="recipient",
            metavar="ADDRESS",
            help="to this recipient, also if it was refused; @DOMAIN: to any in it",
        ),
        argument(
            "--since",
            metavar="TIME",
            type=_moment_now,
            help="not before it: 2026-11-30T03:15 (local time), or 90m, 1h, 2d ago",
        ),
        argument("--until", metavar="TIME", type=_moment_now, help="before it"),
        argument(
            "--outcome",
            metavar=OUTCOMES,
            type=checked(outcomes),
            help=f"that were {', '.join(ENDINGS)}",
        ),
    ),
)


def choice_of(given: argparse.Namespace) -> Choice:
    """What the options say."""
    return Choice(
        given.queue_id,
        given.sender,
        given.recipient,
        given.since,
        given.until,
        None if given.outcome is None else outcomes(given.outcome),
    )

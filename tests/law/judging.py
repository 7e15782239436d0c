"""Whether merged filters did what the law says: compared with the row, or with what is foreseen.

Compared under each MTA are what the client is told, what is delivered, and what each filter sees. Where
a message touches what the MTAs do differently, `oracle` says what should be; else the same filters in a
row do.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from attrs import frozen

from demyjpy import merge_handlers
from demyjpy.mta import client_steps
from demyjpy.mta.profile import Profile
from demyjpy.mta.smtp_session import Outcome, new_session
from demyjpy.mta.stored_mail import StoredMail
from demyjpy.testing import Postfix, Sendmail, run
from demyjpy.testing.run import play_steps
from tests.law.draws import Draw
from tests.law.filters import REFUSALS, Plan, Seen, made_all
from tests.law.hot import HotFilter
from tests.law.oracle import OWN, Foreseen

MTAS: Final = (Postfix(), Sendmail())

Mail: TypeAlias = tuple[Any, ...]
"""A mail to compare: sender, recipients, fields, body."""

BEYOND_EDITS: Final = frozenset({"quarantine", "index of insert_header"})
"""Of the rules that the MTAs differ in those that hold even if one filter alone may edit."""

_CONTENT: Final = ("HEADER ", "EOH", "BODY ", "MESSAGE ")


@frozen
class Came:
    """What came of a session; of mail that is ``held`` only the sender and the reason can be told."""

    replies: tuple[str, ...]
    mails: tuple[Mail, ...]
    held: tuple[str, ...]
    seen: tuple[tuple[str, ...], ...]
    failures: tuple[Any, ...] = ()


def came_of_row(draw: Draw, mta: Profile) -> Came:
    """The filters one after another, each with a connection of its own."""
    filters, seen = made_all(draw.plans)
    return _came([one.outcome for one in run(filters, draw.script, mta=mta).steps], mta, seen)


def came_of_merged(draw: Draw, mta: Profile) -> Came:
    """The same filters merged."""
    filters, seen = made_all(draw.plans)
    steps = run(merge_handlers(*filters), draw.script, mta=mta).steps
    return _came([one.outcome for one in steps], mta, seen)


def came_on_hot_path(draw: Draw, mta: Profile) -> Came:
    """The same filters merged, as the drivers hold them."""
    filters, seen = made_all(draw.plans)
    with HotFilter(merge_handlers(*filters)) as milter:
        outcomes = [one for _, one in play_steps(draw.script, new_session(mta), [milter])]
        milter.end()
    return _came(outcomes, mta, seen)


def _came(outcomes: Sequence[Outcome], mta: Profile, seen: Sequence[Seen]) -> Came:
    mails = [one.mail for one in outcomes if one.mail is not None]
    return Came(
        tuple(str(one.reply) for one in outcomes if one.reply is not None),
        tuple(mail_of(mail) for mail in mails if mail.quarantine is None),
        tuple(held_of(one.envelope.sender, one.quarantine, mta.name) for one in mails if one.quarantine),
        tuple(map(tuple, seen)),
        tuple(failure for one in outcomes for failure in one.failures),
    )


def mail_of(mail: StoredMail) -> Mail:
    """A mail as it is compared; recipients have no order."""
    fields = tuple(
        (OWN, "") if one.owner == "mta" else (one.name, one.raw)
        for one in mail.message.fields
        if not one.is_deleted
    )
    recipients = (" ".join([address, *words.as_words()]) for address, words in mail.envelope.recipients)
    return mail.envelope.sender, tuple(sorted(recipients)), fields, mail.message.body


def foreseen_mails(foreseen: Iterable[Foreseen]) -> tuple[Mail, ...]:
    """The mails that are delivered, to compare."""
    return tuple(
        (one.sender, tuple(sorted(one.recipients)), tuple(one.fields), one.body)
        for one in foreseen
        if one.is_delivered and one.held is None
    )


def held_of(sender: str, reason: str | None, mta: str) -> str:
    """Mail in quarantine, to compare. Postfix keeps no reason."""
    return f"{sender}: {None if mta == 'postfix' else reason}"


# ----------------------------------------------------------------------------------- judgement
def faults(draw: Draw) -> Iterator[str]:
    """What is wrong under either MTA, in words; nothing if the law holds."""
    for mta in MTAS:
        row = came_of_row(draw, mta)
        for way, play in {"": came_of_merged, ", on the hot path": came_on_hot_path}.items():
            for fault in faults_of(draw, row, play(draw, mta), mta.name):
                yield f"{mta.name}{way}: {fault}"


def faults_of(draw: Draw, row: Came, merged: Came, mta: str) -> Iterator[str]:
    """What is wrong under one MTA."""
    if merged.failures:
        yield f"the MTA could not use the merged filter: {merged.failures}"
    if draw.refuses_client:
        told = slice(draw.told_of_refused_client)
        if merged.replies[told] != row.replies[told]:
            yield f"replies: {merged.replies}, in a row {row.replies}"
        yield from _other_than_row(row, merged)
        for number, (seen, in_row) in enumerate(zip(merged.seen, row.seen, strict=True)):
            if in_row[: len(seen)] != seen:
                yield f"filter {number} saw {seen}, in a row {in_row}"
        return
    foreseen = draw.foreseen
    differs = {rule for one in foreseen for rule in one.differs}
    may_edit = sum(bool(plan.actions) for plan in draw.plans)
    if differs & BEYOND_EDITS:
        yield from _other_replies(draw, foreseen, merged, mta)
    elif "reply behind a new sender" in differs and mta == "sendmail":
        if _codes(merged) != _codes(row):  # it names the new sender, of which it knows only in a row
            yield f"replies: {merged.replies}, in a row {row.replies}"
    elif merged.replies != row.replies:
        yield f"replies: {merged.replies}, in a row {row.replies}"
    if not differs or (may_edit < 2 and not differs & BEYOND_EDITS):
        yield from _other_than_row(row, merged)
    elif may_edit > 1:
        yield from _other_mails(foreseen, merged, mta, is_spelled="name in other case" in differs)
    if not differs:
        yield from (f"in a row {one}" for one in _other_mails(foreseen, row, mta, is_spelled=False))
    for number, plan in enumerate(draw.plans):
        client = [one for one in row.seen[number] if one.startswith(("CONNECT", "HELO "))]
        wanted = [*client, *(entry for one in foreseen for entry in one.seen[number])]
        seen, in_row = list(merged.seen[number]), list(row.seen[number])
        # it tells a filter without MAIL of no ABORT, but if other filters want MAIL it does
        has_aborts = mta != "sendmail" or "mail" in plan.events or plan.wish is not None
        if not has_aborts:
            wanted, seen, in_row = map(_without_aborts, (wanted, seen, in_row))
        if not differs and in_row != wanted:
            yield f"filter {number} in a row saw {in_row}, foreseen was {wanted}"
        may_see_more = any(one.came and one.refuser < number for one in foreseen)
        if seen != wanted and not (may_see_more and extends(plan, wanted, seen, has_aborts=has_aborts)):
            yield f"filter {number} saw {seen}, expected {wanted}"


def _without_aborts(seen: list[str]) -> list[str]:
    return [entry for entry in seen if entry != "ABORT"]


def _codes(came: Came) -> list[str]:
    return [reply[:3] for reply in came.replies]


def _other_replies(draw: Draw, foreseen: Sequence[Foreseen], merged: Came, mta: str) -> Iterator[str]:
    """The codes of the replies to each message's end, as the contract foresees them."""
    wanted = [_code(one, mta) for one in foreseen if one.came]
    told = [reply for reply in merged.replies if reply[:3] in ("250", "451", "550", "554")]
    datas = [one for one in draw.script.steps if isinstance(one, client_steps.Data)]
    if len(wanted) == len(datas) == 1 and told[-1][:3] != wanted[0]:
        yield f"replies: {merged.replies}, expected {wanted}"


def _code(one: Foreseen, mta: str) -> str:
    answer = one.refusal[1] if one.refusal else "250"
    codes = {"raise": "451", "tempfail": "451", "discard": "250"}
    return codes.get(answer, ("550" if mta == "postfix" else "554") if answer == "reject" else answer)


def _other_than_row(row: Came, merged: Came) -> Iterator[str]:
    if merged.mails != row.mails:
        yield f"mail: {merged.mails}, in a row {row.mails}"
    if merged.held != row.held:
        yield f"held: {merged.held}, in a row {row.held}"


def _other_mails(
    foreseen: Sequence[Foreseen], came: Came, mta: str, *, is_spelled: bool
) -> Iterator[str]:
    wanted = foreseen_mails(foreseen)
    shown, expected = came.mails, wanted
    if mta == "postfix":  # two spellings that filters add are one recipient to it
        shown, expected = (tuple(map(_in_one_case, some)) for some in (shown, expected))
    if is_spelled:
        shown, expected = (tuple(map(_in_one_spelling, some)) for some in (shown, expected))
    if shown != expected:
        yield f"mail: {came.mails}, expected {wanted}"
    held = [one for one in foreseen if one.is_delivered and one.held is not None]
    reasons = tuple(held_of(one.sender, one.held, mta) for one in held)
    if came.held != reasons:
        yield f"held: {came.held}, expected {reasons}"


def _in_one_case(mail: Mail) -> Mail:
    sender, recipients, *rest = mail
    return (sender, tuple(sorted({address.lower() for address in recipients})), *rest)


def _in_one_spelling(mail: Mail) -> Mail:
    *envelope, fields, body = mail
    return (*envelope, tuple((name.lower(), raw) for name, raw in fields), body)


def extends(plan: Plan, wanted: Sequence[str], seen: Sequence[str], *, has_aborts: bool = True) -> bool:
    """Whether a filter saw this, or more of the content of a message that a filter before it refused.

    Such a message it may have ended itself; else it sees ABORT, if ABORT is in these lists at all.
    """

    @cache
    def fits(number: int, at: int, more: str | None) -> bool:
        """From these entries on; ``more`` is the last that was too much of a message."""
        is_over = more is not None and (not has_aborts or _ends_by(plan, more))
        behind = at + (tuple(wanted[at : at + 1]) == ("ABORT",))
        if number == len(seen):
            return at == len(wanted) if more is None else is_over and behind == len(wanted)
        entry = seen[number]
        return (
            (more is None and wanted[at : at + 1] == [entry] and fits(number + 1, at + 1, None))
            or (entry.startswith(_CONTENT) and fits(number + 1, at, entry))
            or (more is not None and entry == "ABORT" and fits(number + 1, behind, None))
            or (is_over and fits(number, behind, None))
        )

    return fits(0, 0, None)


_NAMES: Final = {"HEADER": "header", "EOH": "end_of_headers", "BODY": "body", "MESSAGE": "message"}


def _ends_by(plan: Plan, entry: str) -> bool:
    """Whether a filter ends a message for itself by what it says to this entry."""
    name = _NAMES[entry.partition(" ")[0]]
    answer = plan.answers.get(entry, plan.answers.get(name))
    return answer == "accept" or (answer in REFUSALS and answer != "raise")

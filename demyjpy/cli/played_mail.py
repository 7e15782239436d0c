"""What came of a mail that was played at a milter: the verdict, and how it is said in a line."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from attrs import frozen

from demyjpy.actions import Modification, Quarantine
from demyjpy.cli.output import Paint
from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import MilterFailedError
from demyjpy.mta.profiles import Profile
from demyjpy.mta.smtp_session import Outcome
from demyjpy.mta.stored_mail import Envelope, StoredMail
from demyjpy.shown import safe
from demyjpy.trace.display.wording import plural, shorten
from demyjpy.verdicts import Fate, fate_of_refusal, join_bodies

Word: TypeAlias = Fate | Literal["failed"]

STATUSES: Final[Mapping[Word, int]] = {
    Fate.ACCEPTED: 0,
    Fate.REJECTED: 1,
    Fate.DISCARDED: 3,
    Fate.QUARANTINED: 4,
    "failed": 69,  # EX_UNAVAILABLE
    Fate.TEMPFAILED: 75,  # EX_TEMPFAIL
}


@frozen
class PlayedMail:
    """What came of a mail: every step, and ``before``, the mail as the milter got it."""

    outcomes: tuple[Outcome, ...]
    before: StoredMail
    warnings: tuple[str, ...] = ()
    failure: MilterFailedError | None = None

    @property
    def after(self) -> StoredMail | None:
        """The mail as it would be delivered."""
        return next((one.mail for one in self.outcomes if one.mail is not None), None)

    @property
    def edits(self) -> list[Modification]:
        """What the milter changed."""
        heard = [one for outcome in self.outcomes for one in outcome.heard]
        return [edit for one in heard for edit in one.answer.modifications]

    @property
    def decisive(self) -> Outcome | None:
        """The step at which it was decided; None for a milter that failed."""
        if self.failure:
            return None
        said = [one for one in self.outcomes if one.reply is not None]
        data = [one for one in said if isinstance(one.step, client_steps.Data)]
        refused = [one for one in said if one.reply and one.reply.is_refusal]
        return (data or refused or said)[-1]

    @property
    def changes(self) -> list[Modification]:
        """The edits that change the mail or its envelope; a new body counts once."""
        return [one for one in join_bodies(self.edits) if not isinstance(one, Quarantine)]

    @property
    def verdict(self) -> Word:
        """What became of it, in a word."""
        decisive, after = self.decisive, self.after
        if decisive is None:
            return "failed"
        if after is not None:
            return Fate.ACCEPTED if after.quarantine is None else Fate.QUARANTINED
        if any(one.is_discarded for one in self.outcomes):
            return Fate.DISCARDED
        return fate_of_refusal(decisive.reply.code if decisive.reply else 500)

    @property
    def status(self) -> int:
        """The exit status."""
        return STATUSES[self.verdict]


def played(
    profile: Profile,
    script: Iterable[client_steps.ClientStep],
    outcomes: Sequence[Outcome],
    warnings: tuple[str, ...] = (),
    late: MilterFailedError | None = None,
) -> PlayedMail:
    """What came of the client's ``script``; ``late`` is the failure of a milter that took too long."""
    failures = (failure for one in outcomes for failure in one.failures)
    before = _before(profile, script, outcomes)
    return PlayedMail(tuple(outcomes), before, warnings, late or next(failures, None))


def _before(
    profile: Profile, script: Iterable[client_steps.ClientStep], outcomes: Sequence[Outcome]
) -> StoredMail:
    """The mail as the milter got it, with the recipients that were not refused."""
    envelope, content, client = Envelope(), b"", client_steps.Connect()
    for step in script:
        match step:
            case client_steps.Connect():
                client = step
            case client_steps.Mail():
                envelope = Envelope(profile.address(step.sender), step.parameters)
            case client_steps.Data():
                content = step.content
    for one in outcomes:
        if (
            isinstance(one.step, client_steps.Rcpt)
            and one.reply is not None
            and not one.reply.is_refusal
        ):
            envelope = profile.admit(envelope, one.step.address, one.step.parameters)
    message = profile.take_in(content, envelope.sender, profile.queue_id(1), client)
    return StoredMail(envelope, message)


def summary(sent: PlayedMail) -> str:
    """The last line: what became of the mail, and where that was decided."""
    after, decisive = sent.after, sent.decisive
    if after is not None:
        taken = len(sent.before.envelope.recipients)
        asked = sum(isinstance(one.step, client_steps.Rcpt) for one in sent.outcomes)
        some = f" for {taken} of {plural(asked, 'recipient')}" if taken < asked else ""
        count = len(sent.changes)
        what = f"with {plural(count, 'change')}" if count else "without changes"
        held = f": {safe(after.quarantine)}" if after.quarantine is not None else ""
        return f"{sent.verdict}{some}, {what}{held}"
    if decisive is None or decisive.reply is None:
        return sent.verdict
    event = decisive.heard[-1].event if decisive.heard else type(decisive.step).__name__.lower()
    if sent.verdict is Fate.DISCARDED:
        event = next(
            heard.event for one in sent.outcomes if one.is_discarded for heard in one.heard[-1:]
        )
        return f"discarded at {event}: the client gets 250, nothing is delivered"
    return f"{sent.verdict} at {event}: {shorten(' / '.join(str(decisive.reply).split(chr(10))))}"


def verdict_line(sent: PlayedMail, paint: Paint) -> str:
    """The last line, in the colour of the verdict."""
    colours: dict[Word, str] = {
        Fate.ACCEPTED: "green",
        Fate.QUARANTINED: "yellow",
        Fate.TEMPFAILED: "yellow",
    }
    return paint(colours.get(sent.verdict, "red"), summary(sent))

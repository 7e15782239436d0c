"""What came of a played session, as values with readable differences."""

from typing import Any

from attrs import field, frozen

from demyjpy import actions as act
from demyjpy.actions import Modification, Verdict
from demyjpy.connection import Step
from demyjpy.context import Context
from demyjpy.mta.message import Mail, Message
from demyjpy.mta.profiles import Profile, Reply
from demyjpy.mta.smtp import Outcome


@frozen
class Played:
    """One step of the client: what it was told, what the filter answered, the context after it."""

    outcome: Outcome
    context: Context = field(repr=False)
    observed: tuple[Step, ...] = field(default=(), repr=False)

    @property
    def step(self) -> Any:
        """What the client did."""
        return self.outcome.step

    @property
    def reply(self) -> Reply | None:
        """What the client was told."""
        return self.outcome.reply

    @property
    def verdict(self) -> Verdict | act.Shutdown | None:
        """What the filter answered last at this step; None where it was not asked."""
        return self.outcome.heard[-1].answer.verdict if self.outcome.heard else None


@frozen
class MessageResult:
    """What became of one message.

    ``verdict`` is `Accept` for mail that is delivered, else what ended it. ``mail`` is None unless it
    is delivered (or quarantined).
    """

    verdict: Verdict | act.Shutdown
    reply: Reply
    actions: tuple[Modification, ...] = ()
    mail: Mail | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the MTA passes it on."""
        return self.mail is not None and self.mail.quarantine is None

    @property
    def quarantine(self) -> str | None:
        """The reason for which it is held, or None."""
        return self.mail.quarantine if self.mail else None

    @property
    def message(self) -> Message:
        """The message as it would be delivered, without the MTA's own fields on top."""
        if self.mail is None:
            raise AssertionError(f"expected a delivered message, got {self.verdict!r}: {self.reply}")
        fields = tuple(one for one in self.mail.message.fields if one.owner == "message")
        return Message(fields, self.mail.message.body)

    @property
    def delivered(self) -> bytes:
        """The bytes of the message as it would be delivered, with the MTA's own fields."""
        if self.mail is None:
            raise AssertionError(f"expected a delivered message, got {self.verdict!r}: {self.reply}")
        return bytes(self.mail.message)

    @property
    def sender(self) -> str:
        """The envelope sender."""
        return self.mail.envelope.sender if self.mail else ""

    @property
    def recipients(self) -> list[str]:
        """The envelope recipients."""
        return self.mail.envelope.addresses if self.mail else []


@frozen
class Result:
    """What came of a session, under one MTA.

    For a session with one message its `MessageResult` can be asked right here: ``result.verdict``,
    ``result.recipients``, ``result.message`` and the others.
    """

    mta: Profile = field(repr=False)
    steps: tuple[Played, ...]
    messages: list[MessageResult]
    observed: tuple[Step, ...] = field(repr=False)
    troubles: tuple[str, ...] = ()

    @property
    def only(self) -> MessageResult:
        """The only message of the session."""
        if len(self.messages) != 1:
            raise AssertionError(
                f"expected a session with one message, got {len(self.messages)}: use result.messages"
            )
        return self.messages[0]

    @property
    def verdict(self) -> Verdict | act.Shutdown:
        """What became of the only message; see `MessageResult`."""
        return self.only.verdict

    @property
    def reply(self) -> Reply:
        """What the client was told about the only message."""
        return self.only.reply

    @property
    def actions(self) -> tuple[Modification, ...]:
        """What the filter asked to change in the only message."""
        return self.only.actions

    @property
    def message(self) -> Message:
        """The only message as it would be delivered."""
        return self.only.message

    @property
    def delivered(self) -> bytes:
        """Its bytes, with the MTA's own fields."""
        return self.only.delivered

    @property
    def sender(self) -> str:
        """Its envelope sender."""
        return self.only.sender

    @property
    def recipients(self) -> list[str]:
        """Its envelope recipients."""
        return self.only.recipients

    @property
    def quarantine(self) -> str | None:
        """The reason for which it is held, or None."""
        return self.only.quarantine

    @property
    def replies(self) -> list[str]:
        """What the client was told, step by step."""
        return [str(played.reply) for played in self.steps if played.reply is not None]

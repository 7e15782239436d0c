"""What came of a played session, as values. How two of them differ is `demyjpy.testing.explain`'s."""

from typing import TypeAlias

from attrs import field, frozen
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.actions import Modification, Verdict
from demyjpy.codec import name_of
from demyjpy.context import Context
from demyjpy.engine.connection import Step, Trouble
from demyjpy.mta import steps
from demyjpy.mta.link import MilterFailedError
from demyjpy.mta.message import Mail, Message
from demyjpy.mta.profiles import Profile, Reply
from demyjpy.mta.smtp import Outcome
from demyjpy.testing.dialogue import dialogue
from demyjpy.trace.format.trace import Trace
from demyjpy.verdicts import Fate, fate_of_refusal

AnyVerdict: TypeAlias = Verdict | act.Shutdown


@frozen
class Played:
    """One step of the client: what it was told, what the filter answered, the context after it.

    After the end of a message ``context`` is what the next one begins with; what the filter's handlers
    made of it meanwhile is in ``observed``, the engine's steps. Neither counts when two are compared.
    """

    outcome: Outcome
    context: Context = field(default=pmap(), repr=False, eq=False)
    observed: tuple[Step, ...] = field(default=(), repr=False, eq=False)
    is_in_mail: bool = field(default=False, repr=False, eq=False)
    """Whether a message was open before it."""
    messages: int = field(default=0, repr=False, eq=False)
    """How many messages had begun before it."""

    @property
    def step(self) -> steps.Step:
        """What the client did."""
        return self.outcome.step

    @property
    def reply(self) -> Reply | None:
        """What the client was told."""
        return self.outcome.reply

    @property
    def verdict(self) -> AnyVerdict | None:
        """What the filter answered last at this step; None where it was not asked."""
        heard = [one.answer.verdict for one in self.outcome.heard if one.event != "options"]
        return heard[-1] if heard else None


@frozen
class MessageResult:
    """What became of one message.

    ``verdict`` is `Accept` for mail that goes on, else what the filter ended it with; None where the
    MTA refused it without the filter. ``reply`` is what the client was told last, ``actions`` what the
    filter asked for, ``mail`` what is delivered or held (None if it is not).
    """

    verdict: AnyVerdict | None
    reply: Reply
    actions: tuple[Modification, ...] = ()
    mail: Mail | None = None

    @property
    def fate(self) -> Fate:
        """What became of it, in a word."""
        if self.mail is not None:
            return Fate.ACCEPTED if self.mail.quarantine is None else Fate.QUARANTINED
        return fate_of_refusal(self.reply.code) if self.reply.is_refusal else Fate.DISCARDED

    @property
    def is_delivered(self) -> bool:
        """Whether the MTA passes it on."""
        return self.fate is Fate.ACCEPTED

    @property
    def quarantine(self) -> str | None:
        """The reason for which it is held, or None."""
        return self.mail.quarantine if self.mail else None

    @property
    def message(self) -> Message:
        """The message as it would be delivered, without the MTA's own fields.

        Raises `AssertionError` if it would not be delivered.
        """
        mail = self._expect_mail()
        fields = tuple(one for one in mail.message.fields if one.owner == "message")
        return Message(fields, mail.message.body)

    @property
    def delivered(self) -> bytes:
        """The bytes of the message as it would be delivered, with the MTA's own fields."""
        return bytes(self._expect_mail().message)

    @property
    def sender(self) -> str:
        """The envelope sender with which it would be delivered."""
        return self._expect_mail().envelope.sender

    @property
    def recipients(self) -> list[str]:
        """The envelope recipients; none if it is not delivered."""
        return self.mail.envelope.addresses if self.mail else []

    def _expect_mail(self) -> Mail:
        if self.mail is None:
            raise AssertionError(f"expected a delivered message, got {self.verdict!r}: {self.reply}")
        return self.mail


@frozen
class Result:
    """What came of a session, under one MTA.

    ``steps`` are the client's, ``messages`` those that came to an end: DATA, or a refusal before it.
    ``observed`` are the engine's steps, ``troubles`` what went wrong in the filter (the errors of its
    handlers), ``failures`` why the MTA could not use the filter. For a session with one message its
    `MessageResult` can be asked right here: ``result.verdict``, ``result.recipients`` ...
    """

    mta: Profile = field(repr=False)
    steps: tuple[Played, ...]
    messages: list[MessageResult]
    observed: tuple[Step, ...] = field(default=(), repr=False, eq=False)
    troubles: tuple[Trouble, ...] = field(default=(), eq=False)

    @property
    def only(self) -> MessageResult:
        """The only message of the session."""
        if len(self.messages) != 1:
            raise AssertionError(
                f"expected a session with one message, got {len(self.messages)}: use result.messages"
            )
        return self.messages[0]

    @property
    def verdict(self) -> AnyVerdict | None:
        """What became of the only message; see `MessageResult`."""
        return self.only.verdict

    @property
    def fate(self) -> Fate:
        """What became of the only message, in a word: ``"accepted"``, ``"rejected"`` ..."""
        return self.only.fate

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
    def is_delivered(self) -> bool:
        """Whether the MTA passes it on."""
        return self.only.is_delivered

    @property
    def quarantine(self) -> str | None:
        """The reason for which it is held, or None."""
        return self.only.quarantine

    @property
    def replies(self) -> list[str]:
        """What the client was told, step by step."""
        return [str(played.reply) for played in self.steps if played.reply is not None]

    @property
    def dialogue(self) -> str:
        """The SMTP session, in lines that begin with ``C:`` and ``S:``."""
        return "\n".join(dialogue(played.outcome for played in self.steps))

    @property
    def failures(self) -> tuple[MilterFailedError, ...]:
        """Why the MTA could not use the filter."""
        return tuple(failure for played in self.steps for failure in played.outcome.failures)

    @property
    def trace(self) -> Trace:
        """The session as a trace: the same as `demyjpy.trace.Recorder` writes of a running filter."""
        return Trace.of_steps(self.observed, source=f"test ({self.mta.name})")

    def at(self, event: str) -> list[Step]:
        """The engine's steps at an event: ``result.at("body")[-1].after["size"]``."""
        return [step for step in self.observed if name_of(step.event) == event]

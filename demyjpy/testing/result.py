"""What came of a played session, as values; `demyjpy.testing.differences` compares two of them."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from pyrsistent import pmap

from demyjpy.actions import Modification
from demyjpy.codec import name_of
from demyjpy.context import Context
from demyjpy.engine.connection import Happened, Step, Trouble
from demyjpy.engine.open_questions import Asked
from demyjpy.events import DefineMacros, Mail, Options, Recipient
from demyjpy.hints import RESULTS, did_you_mean
from demyjpy.message import Message
from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import MilterFailedError
from demyjpy.mta.profile import AnyVerdict
from demyjpy.mta.profiles import Profile, Reply
from demyjpy.mta.smtp_session import Outcome
from demyjpy.mta.stored_mail import StoredMail
from demyjpy.reports import Count, Note
from demyjpy.testing.answers import AskedQuestion
from demyjpy.testing.dialogue import dialogue
from demyjpy.trace.format.trace import Trace
from demyjpy.verdicts import Fate, fate_of_refusal


@frozen
class Played:
    """One step of the client: the reply to it, what the filter answered, the context after it.

    After the end of a message ``context`` is what the next one begins with; what the filter's handlers
    made of it meanwhile is in ``observed``, the engine's steps. ``is_in_mail``: a message was open
    before it; ``messages``: as many had begun before. ``asked`` are the questions that were answered
    meanwhile, ``open_questions`` those without an answer after it. None of these counts when two are
    compared.
    """

    outcome: Outcome
    context: Context = field(default=pmap(), repr=False, eq=False)
    observed: tuple[Step, ...] = field(default=(), repr=False, eq=False)
    is_in_mail: bool = field(default=False, repr=False, eq=False)
    messages: int = field(default=0, repr=False, eq=False)
    asked: tuple[AskedQuestion, ...] = field(default=(), repr=False, eq=False)
    open_questions: tuple[Asked, ...] = field(default=(), repr=False, eq=False)

    @property
    def step(self) -> client_steps.ClientStep:
        """What the client did."""
        return self.outcome.step

    @property
    def reply(self) -> Reply | None:
        """The reply to the client."""
        return self.outcome.reply

    @property
    def verdict(self) -> AnyVerdict | None:
        """What the filter answered last at this step; None if it was not asked."""
        heard = [one.answer.verdict for one in self.outcome.heard if one.event != "options"]
        return heard[-1] if heard else None


class OfMessage(ABC):
    """What can be asked about one message."""

    if not TYPE_CHECKING:  # pragma: no branch  # for a type checker there must be no such name

        def __getattr__(self, name: str) -> Any:
            """Called for what is no attribute."""
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in RESULTS:
                text += f": write result.{RESULTS[name]}"
            elif not name.startswith("_"):
                text += did_you_mean(name, [one for one in dir(self) if not one.startswith("_")])
            raise AttributeError(text, name=name, obj=self)

    @property
    def fate(self) -> Fate:
        """What became of it, in a word: ``"accepted"``, ``"rejected"`` ..."""
        mail, reply = self._one.mail, self._one.reply
        if mail is not None:
            return Fate.ACCEPTED if mail.quarantine is None else Fate.QUARANTINED
        return fate_of_refusal(reply.code) if reply.is_refusal else Fate.DISCARDED

    @property
    def is_delivered(self) -> bool:
        """Whether the MTA passes it on."""
        return self.fate is Fate.ACCEPTED

    @property
    def quarantine(self) -> str | None:
        """The reason for which it is held, or None."""
        return self._one.mail.quarantine if self._one.mail else None

    @property
    def message(self) -> Message:
        """The message as it would be delivered, without the MTA's own fields.

        It is a value as message handlers get it: ``result.message.get("Subject")``, ``.body``,
        ``.parts()``, ``bytes(result.message)``. Raises `AssertionError` if it would not be delivered.
        """
        mail = self._delivered_mail
        envelope = mail.envelope
        return Message.of(
            ((one.name, one.raw) for one in mail.message.seen_fields),
            mail.message.body,
            Mail(envelope.sender, envelope.parameters),
            (Recipient(address, parameters) for address, parameters in envelope.recipients),
        )

    @property
    def delivered(self) -> bytes:
        """The bytes of the message as it would be delivered, with the MTA's own fields."""
        return bytes(self._delivered_mail.message)

    @property
    def sender(self) -> str:
        """The envelope sender with which it would be delivered."""
        return self._delivered_mail.envelope.sender

    @property
    def recipients(self) -> list[str]:
        """The envelope recipients; none if it is not delivered."""
        return self._one.mail.envelope.addresses if self._one.mail else []

    @property
    @abstractmethod
    def _one(self) -> "MessageResult":
        """The message that is meant."""

    @property
    def _delivered_mail(self) -> StoredMail:
        one = self._one
        if one.mail is None:
            raise AssertionError(f"expected a delivered message, got {one.verdict!r}: {one.reply}")
        return one.mail


@frozen
class MessageResult(OfMessage):
    """What became of one message.

    ``verdict`` is `Accept` for mail that goes on, else the filter's verdict; None if the MTA
    refused it without the filter. ``reply`` is the last reply to the client, ``actions`` what the
    filter asked for, ``mail`` what is delivered or held (None if it is not). ``asked`` are the
    questions that the filter asked about it, from MAIL on.
    """

    verdict: AnyVerdict | None
    reply: Reply
    actions: tuple[Modification, ...] = ()
    mail: StoredMail | None = None
    asked: tuple[AskedQuestion, ...] = field(default=(), repr=False, eq=False)

    @property
    def _one(self) -> "MessageResult":
        return self


@frozen
class FilterResult:
    """What one filter did in a session.

    ``steps`` are the client's: the context of each is this filter's, and of the answers there are only
    its own. ``observed`` are the engine's steps, ``troubles`` the errors of its handlers.
    ``open_questions`` are those that were without an answer when the session was over: never any.
    ``done`` are the effects that a milter would do, in order: here nobody does them.
    """

    mta: Profile = field(repr=False)
    steps: tuple[Played, ...] = field(repr=False)
    observed: tuple[Step, ...] = field(default=(), repr=False)
    troubles: tuple[Trouble, ...] = ()
    open_questions: tuple[Asked, ...] = field(default=(), repr=False, eq=False)
    done: tuple[Any, ...] = field(default=(), repr=False, eq=False)

    @property
    def context(self) -> Context:
        """The context as the last step of the client left it."""
        return self.steps[-1].context

    @property
    def seen(self) -> tuple[Happened, ...]:
        """All events that reached it, in order; without negotiation and macros."""
        events = (step.event for step in self.observed)
        return tuple(event for event in events if not isinstance(event, DefineMacros | Options))

    @property
    def asked(self) -> tuple[AskedQuestion, ...]:
        """The questions that it asked, with their outcomes, in order."""
        return tuple(one for played in self.steps for one in played.asked)

    @property
    def actions(self) -> tuple[Modification, ...]:
        """All changes that it asked for."""
        heard = (one for played in self.steps for one in played.outcome.heard)
        return tuple(edit for one in heard for edit in one.answer.modifications)

    @property
    def withheld(self) -> tuple[Any, ...]:
        """All edits and verdicts that were dropped, in order, because a filter is not enforced.

        See `with_policy`. What each handler would have said is in the ``withheld`` of its step.
        """
        return tuple(action for step in self.observed for action in step.withheld)

    @property
    def failures(self) -> tuple[MilterFailedError, ...]:
        """Why the MTA could not use it."""
        return tuple(failure for played in self.steps for failure in played.outcome.failures)

    @property
    def trace(self) -> Trace:
        """The session as a trace: the same as `demyjpy.trace.Recorder` writes of a running filter."""
        return Trace.of_steps(self.observed, source=f"test ({self.mta.name})")

    @property
    def notes(self) -> tuple[Note, ...]:
        """What it noted with `demyjpy.note`."""
        return tuple(one for step in self.observed for one in step.actions if isinstance(one, Note))

    @property
    def counts(self) -> tuple[Count, ...]:
        """What it counted with `demyjpy.count`."""
        return tuple(one for step in self.observed for one in step.actions if isinstance(one, Count))

    def at(self, event: str) -> list[Step]:
        """The engine's steps at an event: ``result.at("body")[-1].after["size"]``."""
        return [step for step in self.observed if name_of(step.event) == event]


@frozen
class Result(OfMessage):
    """What came of a session, under one MTA.

    ``steps`` are the client's, ``messages`` those that ended: DATA, or a refusal before it.
    ``observed`` are the engine's steps, ``troubles`` what went wrong in the filter (the errors of its
    handlers), ``failures`` why the MTA could not use the filter. For a session with one message its
    `MessageResult` can be asked right here: ``result.verdict``, ``result.recipients`` ...

    ``filters`` has a `FilterResult` for each filter. If several were played in a row, ask that one for
    contexts, events and the engine's steps: here ``observed`` and the contexts of the steps are empty,
    ``troubles`` and ``failures`` are those of all.
    """

    mta: Profile = field(repr=False)
    steps: tuple[Played, ...]
    messages: list[MessageResult]
    observed: tuple[Step, ...] = field(default=(), repr=False, eq=False)
    troubles: tuple[Trouble, ...] = field(default=(), eq=False)
    filters: tuple[FilterResult, ...] = field(default=(), repr=False, eq=False)

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
    def reply(self) -> Reply:
        """The reply to the client about the only message."""
        return self.only.reply

    @property
    def asked(self) -> tuple[AskedQuestion, ...]:
        """The questions that were asked in the session, with their outcomes, in order."""
        return tuple(one for played in self.steps for one in played.asked)

    @property
    def actions(self) -> tuple[Modification, ...]:
        """What the filter asked to change in the only message."""
        return self.only.actions

    @property
    def _one(self) -> MessageResult:
        return self.only

    @property
    def replies(self) -> list[str]:
        """The replies to the client, step by step."""
        return [str(played.reply) for played in self.steps if played.reply is not None]

    @property
    def dialogue(self) -> str:
        """The SMTP session, in lines that begin with ``C:`` and ``S:``."""
        return "\n".join(dialogue(played.outcome for played in self.steps))

    @property
    def withheld(self) -> tuple[Any, ...]:
        """All edits and verdicts that were dropped, in order, because a filter is not enforced.

        See `with_policy`; what each handler would have said is in the ``withheld`` of its step. Of
        several filters that were played in a row it has those of all.
        """
        if len(self.filters) > 1:
            return tuple(action for one in self.filters for action in one.withheld)
        return self._of_one.withheld

    @property
    def failures(self) -> tuple[MilterFailedError, ...]:
        """Why the MTA could not use the filter."""
        return tuple(failure for played in self.steps for failure in played.outcome.failures)

    @property
    def trace(self) -> Trace:
        """The session as a trace: the same as `demyjpy.trace.Recorder` writes of a running filter."""
        return self._of_one.trace

    @property
    def notes(self) -> tuple[Note, ...]:
        """What the filter noted with `demyjpy.note`."""
        return self._of_one.notes

    @property
    def counts(self) -> tuple[Count, ...]:
        """What the filter counted with `demyjpy.count`."""
        return self._of_one.counts

    def at(self, event: str) -> list[Step]:
        """The engine's steps at an event: ``result.at("body")[-1].after["size"]``."""
        return self._of_one.at(event)

    @property
    def done(self) -> tuple[Any, ...]:
        """The effects that a milter would do, in order; here nobody does them."""
        return tuple(effect for one in self.filters for effect in one.done)

    @property
    def _of_one(self) -> FilterResult:
        """The part of the only filter, which a result from a socket has, too."""
        if len(self.filters) > 1:
            raise AssertionError(
                f"expected a session with one filter, got {len(self.filters)}: use result.filters"
            )
        return FilterResult(self.mta, self.steps, self.observed, self.troubles)

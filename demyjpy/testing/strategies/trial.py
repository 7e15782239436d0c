"""One filter tried with one session in several ways: what the properties look at. Values only."""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property, reduce
from operator import or_
from typing import Any, Final

from attrs import evolve, frozen

from demyjpy.codec import ROW_OF_NAME
from demyjpy.context import Context, new_context
from demyjpy.engine.connection import Setup
from demyjpy.engine.negotiation import ACTION_FLAGS, EVENT_NAMES
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.events import Options
from demyjpy.handlers import as_registry, merge_handlers
from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import Answer, MilterFailedError, MilterLink
from demyjpy.mta.profiles import Profile
from demyjpy.mta.smtp import Carrier, take_step
from demyjpy.mta.smtp_session import Exchange, new_session
from demyjpy.mta.stored_mail import StoredMessage
from demyjpy.questions import Outcome
from demyjpy.registry import Handler, Registry
from demyjpy.testing.answers import by_example
from demyjpy.testing.memory_filter import MemoryFilter
from demyjpy.testing.result import Played, Result
from demyjpy.testing.run import Past, play_script
from demyjpy.testing.script import Script, session
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wishes import become

_PIECES: Final = 500
"""How many a body is cut into at most: short ones anywhere, long ones without costing seconds."""
_ANY_SIZE: Final = 1 << 40
_OLD_STEPS: Final = ProtocolFlag(0x7F)
"""The steps that could be declined under version 2."""

CALM: Final = (
    session(client="198.51.100.7", port=50000, helo="other.example")
    .mail("other@example.net")
    .rcpt("other@example.org")
    .message("Subject: other\n\n")
)
"""An ordinary session: what a filter has behind it before each that counts, and what runs beside."""


@frozen
class Example:
    """A session, and sizes of pieces to cut its bodies into."""

    script: Script
    chunk: tuple[int, ...] = (1,)


@frozen(slots=False)
class Trial:
    """A filter with an example; every way of playing it is played once. ``answer`` answers questions."""

    setup: Setup
    profiles: tuple[Profile, ...]
    example: Example
    answer: Callable[[Asked], Outcome] = by_example()

    @cached_property
    def results(self) -> tuple[Result, ...]:
        """The session under each MTA, after an ordinary one."""
        self._play(CALM)
        return tuple(self._play(self.example.script, mta) for mta in self.profiles)

    @cached_property
    def plain(self) -> tuple[Result, ...]:
        """The session under each MTA with a filter that does nothing: what is the MTA's own doing."""
        idle = Setup(as_on_connect(Registry()))
        return tuple(play_script(idle, self.example.script, mta) for mta in self.profiles)

    @property
    def result(self) -> Result:
        """The session under the first MTA."""
        return self.results[0]

    @cached_property
    def context(self) -> Context:
        """What a connection with the filter begins with."""
        return self.setup.on_connect(new_context())

    @property
    def has_options(self) -> bool:
        """Whether the filter would like something that it does not require."""
        return bool(self.context["optional_actions"] or self.context["optional_events"])

    @property
    def gets_messages(self) -> bool:
        """Whether the filter gets messages as values."""
        return "message" in as_registry(self.context["handlers"])

    @property
    def may_be_cut(self) -> bool:
        """Whether the filter sees bodies, and one of the session's has more than a byte."""
        sees_bodies = "body" in as_registry(self.context["handlers"]) or self.gets_messages
        return sees_bodies and any(len(StoredMessage.parse(one).body) > 1 for one in self._contents)

    @property
    def _contents(self) -> list[bytes]:
        return [
            step.content for step in self.example.script.steps if isinstance(step, client_steps.Data)
        ]

    def play(self, **options: Any) -> Result:
        """The session again, after an ordinary one."""
        return self.play_other(self.example.script, **options)

    def play_other(self, script: Script, **options: Any) -> Result:
        """Another session, after an ordinary one."""
        self._play(CALM)
        return self._play(script, **options)

    def _play(self, script: Script, mta: Profile | None = None, **options: Any) -> Result:
        return play_script(self.setup, script, mta or self.profiles[0], answer=self.answer, **options)

    def play_in_pieces(self) -> Result:
        """With bodies cut as the example says, the rest of large ones in larger pieces."""
        longest = max(map(len, self._contents), default=0)
        rest = max(self.example.chunk[-1], longest // _PIECES)
        return self._play(self.example.script, chunk=(*self.example.chunk, min(rest, 65535)))

    def play_identity(self) -> Result:
        """With each message handler replaced by one that wishes for the same message; no others."""

        def of_part(part: Registry) -> Registry:
            if "message" not in part:
                return Registry(None, part.declarations)
            same: Handler[Any] = Handler(
                "message", lambda event, ctx: become(ctx, event), limit=_ANY_SIZE
            )
            return Registry({"message": same}, part.declarations)

        def begin(ctx: Context) -> Context:
            parts = as_registry(self.context["handlers"]).parts
            begun: Context = as_on_connect(merge_handlers(*map(of_part, parts)))(ctx)
            return begun

        return play_script(Setup(begin), self.example.script, self.profiles[0])

    def play_poor(self) -> Result:
        """Under an MTA that offers only what the filter requires."""
        mta = evolve(self.profiles[0], offer=poor_offer(self.context))
        return self._play(self.example.script, mta)

    def play_beside(self) -> Result:
        """With another connection served by turns, packet for packet."""
        other = _others(self.setup, self.profiles[0], self.answer)
        try:
            return self.play(beside=lambda carrier: _Beside(carrier, other))
        finally:
            other.close()


def poor_offer(ctx: Context) -> Options:
    """The least that an MTA may offer to a filter: the oldest version and no optional action."""
    events = set(as_registry(ctx["handlers"])) & set(EVENT_NAMES) - set(ctx["optional_events"])
    version = max((2, *(ROW_OF_NAME[name].since for name in events)))
    flags = (ACTION_FLAGS[name] for name in ctx["actions"])
    steps_offered = ProtocolFlag(_OLD_STEPS)
    for name in ("unknown", "data"):
        if ROW_OF_NAME[name].since <= version:
            steps_offered |= ROW_OF_NAME[name].off
    return Options(version, reduce(or_, flags, ActionFlag.SETSYMLIST), steps_offered)


# --------------------------------------------------------------------------------- beside another
class _Beside:
    """Lets another connection do one exchange before each of its own."""

    def __init__(self, carrier: Carrier, other: Iterator[None]) -> None:
        self._carrier, self._other = carrier, other

    def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        next(self._other, None)
        return self._carrier.carry_out(exchange)


def _others(
    setup: Setup, mta: Profile, answer: Callable[[Asked], Outcome]
) -> Generator[None, None, None]:
    """Ordinary sessions without end, one exchange at a time; until one fails."""
    while True:
        with MemoryFilter(setup, answer=answer) as milter:
            state = new_session(mta)
            for step in CALM.steps:
                dialogue = take_step(state, step)
                try:
                    exchange = next(dialogue)
                    while True:
                        yield
                        exchange = dialogue.send(milter.carry_out(exchange))
                except StopIteration as stop:
                    state, _ = stop.value
                except MilterFailedError:
                    return
            milter.end()


# -------------------------------------------------------------------------------- one message alone
@frozen
class Alone:
    """A message that is not the first of its session: the steps ``start`` to ``end`` of what was played.

    ``script`` is the session with only it, with ``before`` steps before it; ``past`` what its
    session begins it with.
    """

    number: int
    start: int
    end: int
    script: Script
    before: int
    past: Past


def alone(played: Sequence[Played]) -> list[Alone]:
    """Each message (or given-up one) behind another, without those before it.

    What is done outside of messages stays: EHLO, AUTH, STARTTLS, unknown commands.
    """
    found: list[Alone] = []
    kept: list[client_steps.ClientStep] = []
    at = 0
    while at < len(played):
        one = played[at]
        if not isinstance(one.step, client_steps.Mail):
            if not isinstance(one.step, client_steps.Rset) and _is_outside(one):
                kept.append(one.step)
            at += 1
            continue
        end = _end_of_message(played, at)
        if one.messages:
            script = Script((*kept, *(inside.step for inside in played[at:end])))
            past = Past(played[at - 1].context["connection"], one.messages)
            found.append(Alone(one.messages + 1, at, end, script, len(kept), past))
        at = end
    return found


def _is_outside(one: Played) -> bool:
    """Whether a step has a meaning outside of messages: EHLO always, commands if none is open."""
    return not one.is_in_mail or isinstance(one.step, (client_steps.Ehlo, client_steps.StartTls))


def _end_of_message(played: Sequence[Played], start: int) -> int:
    """The number of the first step behind a message."""
    end = start + 1
    while end < len(played):
        one = played[end]
        inside = isinstance(one.step, client_steps.Command) and one.is_in_mail
        if not inside and not isinstance(one.step, (client_steps.Rcpt, client_steps.Data)):
            break
        end += 1
    return end

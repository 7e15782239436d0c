"""One recorded session as a value: what was said, what was answered, the contexts in between.

`Trace` is made of records, and looks into them only when asked: what cannot be understood in it is left
out and told in ``problems``.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Final

from attrs import evolve, field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.exchanges import Exchange, Understood, text_in, time_of, understand
from demyjpy.trace.format.known_answers import KnownAnswers
from demyjpy.trace.format.message_stories import MessageStory, messages_of
from demyjpy.trace.format.recorded_steps import Moment, moments_of
from demyjpy.trace.format.records import Record

_FEW_GREETINGS: Final = 20  # a client says HELO again after STARTTLS; one that goes on is no use


@frozen
class Trace:
    """A recorded session. ``name`` is its name in the trace, ``source`` the file that it is from.

    ``damage`` is what could not be read of it.
    """

    name: str
    records: tuple[Record, ...] = field(repr=False)
    source: str = ""
    damage: tuple[str, ...] = ()

    @classmethod
    def of_steps(
        cls, steps: Iterable[Step], *, raw: bool = False, time: float = 0.0, source: str = ""
    ) -> "Trace":
        """The session whose steps an observer saw; ``time``: until one of them has a time."""
        seen = list(steps)
        converter = StepConverter(seen[0].session if seen else "", raw)
        records: list[Record] = []
        for step in seen:
            time = time if step.time is None else step.time
            records += converter.take(step, time)
        is_over = bool(seen) and isinstance(seen[-1].event, ev.Disconnect)
        return cls(converter.session, (*records, *([converter.end(time)] if is_over else [])), source)

    @cached_property
    def _understood(self) -> Understood:
        return understand(self.records)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What the MTA said, in order, each with what the filter said to it."""
        return self._understood.exchanges

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the recording of this session: one line each."""
        return (*self.damage, *self._understood.problems)

    @cached_property
    def moments(self) -> tuple[Moment, ...]:
        """Every step: what the MTA said, and what the engine added (a message given up, the end)."""
        return tuple(moments_of(self.records))

    @cached_property
    def messages(self) -> tuple[MessageStory, ...]:
        """What became of each message."""
        found, milter = messages_of(self.name, (one.recorded for one in self.exchanges)), self.milter
        return tuple(evolve(one, milter=milter) for one in found)

    @property
    def milter(self) -> str:
        """The filter's name, if the recording has it: that of one among several milters."""
        named = next((one for one in self.records if "milter" in one), {})
        return text_in(named, "milter") or ""

    @property
    def how(self) -> str:
        """How it ended: see `records.ended`; ``"cut"`` if the trace does not say."""
        last = self.records[-1] if self.records else {}
        found = last.get("how") if last.get("direction") == "end" else None
        return found if isinstance(found, str) else "cut"

    @property
    def ended_at(self) -> float | None:
        """When it ended (seconds since 1970); None if the trace does not say."""
        return None if self.how == "cut" else time_of(self.records[-1])

    @property
    def reason(self) -> str:
        """What the end was about, if there is something to say."""
        found = self.records[-1].get("reason") if self.records else None
        return found if isinstance(found, str) else ""

    @cached_property
    def agreement(self) -> act.Negotiate | None:
        """What the recorded filter negotiated."""
        return next(filter(None, (one.agreement for one in self.exchanges)), None)

    @property
    def leading_space(self) -> bool:
        """Whether header values are exact."""
        return any(exchange.leading_space for exchange in self.exchanges[-1:])

    @cached_property
    def _greetings(self) -> tuple[Exchange, ...]:
        return tuple(one for one in self.exchanges if one.name in ("connect", "hello"))

    def greetings_before(self, number: int) -> tuple[Exchange, ...]:
        """CONNECT and HELO before an exchange, by its number from 1: the last few of them."""
        end = bisect_left(self._greetings, number, key=lambda one: one.number)
        return self._greetings[max(0, end - _FEW_GREETINGS) : end]

    def known_answers(self) -> KnownAnswers:
        """What was learned, for a session that is played once."""
        return KnownAnswers(self.records)

    def at(self, event: str, number: int = 1) -> Moment:
        """The ``number``-th step at an event, from 1; `LookupError` if there is none."""
        found = [moment for moment in self.moments if moment.name == event]
        if not 1 <= number <= len(found):
            raise LookupError(f"expected {event} no. {number}, got {len(found)} of them in {self.name}")
        return found[number - 1]

    def step(self, handlers: Any, *, clock: Callable[[], float] | None = None) -> tuple[Step, ...]:
        """Play it through a filter now: the engine's steps, with real contexts; timed with a clock.

        Its questions get the answers that were recorded, or fail if there is none.
        """
        steps: list[Step] = []
        setup = Setup(as_on_connect(handlers), observer=steps.append, clock=clock)
        with FilterConnection(setup, self.name, self.known_answers()) as connection:
            for exchange in self.exchanges:
                connection.say(exchange.sent, exchange.time)
            connection.end(self.ended_at)
        return tuple(steps)

"""How questions are answered while `demyjpy check --play` plays, and what follows from that.

A question is answered with one of its examples. Then the sessions are played again: all questions fail,
and then all are late.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import define, field

from demyjpy.cli.check_questions import QuestionEntry, traits_of
from demyjpy.cli.check_watch import Watch
from demyjpy.engine.open_questions import Asked
from demyjpy.questions import Failed, Late, Outcome
from demyjpy.testing.answers import by_example
from demyjpy.trace.display.wording import plural, shorten

WITHOUT: Final[Mapping[str, Outcome]] = {
    "fails": Failed("demyjpy check --play lets each question fail"),
    "is late": Late(),
}
"""What becomes of each question when the sessions are played again, in words."""

AGAIN: Final = "--play: played again with all questions failing, and with all of them late"


@define
class _OfClass:
    """Questions of one class that a filter has asked."""

    keys: set[str] = field(factory=set)
    events: dict[str, None] = field(factory=dict)
    times: int = 0


@define
class AskedInPlay:
    """Keeps which questions are asked while sessions are played.

    ``always`` is what becomes of each, None for one of its examples.
    """

    always: Outcome | None = None
    seen: dict[tuple[int, type], _OfClass] = field(factory=dict)
    """By the number of the filter, and class."""
    turn: int = 0
    """The number of the session: in each the examples are others."""

    def answer(self, asked: Asked) -> Outcome:
        """What becomes of it; `Failed` if that is one of its examples and its class has none."""
        seen = self.seen.setdefault((asked.filter, type(asked.question)), _OfClass())
        seen.keys.add(asked.key)
        seen.events[asked.event] = None
        seen.times += 1
        return by_example(self.turn)(asked) if self.always is None else self.always

    def entries(self) -> Iterator[QuestionEntry]:
        """What was asked, in the order in which it was asked first."""
        for (number, kind), seen in self.seen.items():
            yield QuestionEntry(
                number + 1,
                kind.__name__,
                tuple(sorted(seen.keys)),
                tuple(seen.events),
                seen.times,
                len(tuple(getattr(kind, "examples", ()))),
                *traits_of(kind),
            )


def unanswered_problems_of(watch: Watch, worlds: Mapping[str, Watch]) -> Iterator[str]:
    """Handlers that fail only if their questions have no answer; by what became of these instead."""
    for words, world in worlds.items():
        for key, seen in world.seen.items():
            if seen.failure and not watch.seen[key].failure:
                option = "failed=" if words == "fails" else "late="
                yield (
                    f"{key[1]}: {seen.handler.name} fails if a question {words}: give {option} to "
                    "answer(), or look at the outcome before you take its value. It said: "
                    f"{shorten(seen.failure)}"
                )


def question_notes_of(watch: Watch, entries: tuple[QuestionEntry, ...], count: int) -> Iterator[str]:
    """Keys for which handlers wait and that nobody asks, and those that nobody waits for."""
    sessions = plural(count, "session")
    asked = {(one.filter - 1, key) for one in entries for key in one.keys}
    needed = {(number, name) for (number, _), seen in watch.seen.items() for name in seen.handler.needs}
    for (number, event), seen in watch.seen.items():
        missing = sorted(name for name in seen.handler.needs if (number, name) not in asked)
        if missing and seen.runs:
            yield (
                f"{event}: {seen.handler.name} waits for {', '.join(missing)}, which nobody asks in the "
                f"{sessions} played: answer() gives Unasked() then"
            )
        unread = sorted(name for name in seen.asks if (number, name) not in needed)
        if unread:
            yield (
                f"{event}: {seen.handler.name} asks under {', '.join(unread)}, and no handler of this "
                "filter waits for it with needs=: nobody can read the answer"
            )
    for kind in sorted({one.question for one in entries if not one.examples}):
        yield (
            f"questions: {kind} has no examples, so it failed each time: give the class "
            "examples = (...), the values that may come, to see what handlers do with them"
        )

"""Answers from a recording, for a session that is played again: nobody is asked for them.

A question is known again by its filter, its key, its class and its fields. If the same one was asked
several times, the answers come in the order in which they came then.
"""

import json
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from attrs import define

from demyjpy.engine.open_questions import Asked
from demyjpy.questions import Ask, Failed, Outcome
from demyjpy.shown import safe
from demyjpy.trace.format.exchanges import readable_actions, text_in
from demyjpy.trace.format.json_questions import (
    RecordedAnswer,
    RecordedQuestion,
    dump_question,
    name_of_question,
)
from demyjpy.trace.format.privacy import kept_key
from demyjpy.trace.format.question_words import question_words
from demyjpy.trace.format.recorded_steps import learned_in
from demyjpy.trace.format.records import Record

MOST_NAMED: Final = 100
"""Questions that are named because the recording has no answer to them; the others are counted."""

NOT_ASKED: Final = "it was not asked when this session was recorded, and a replay asks nobody"
NOT_KEPT: Final = "its answer was left out of the recording"


@define
class _Asked:
    """A question that was asked then, and its answer; None if it came too late for anybody."""

    answer: RecordedAnswer | None = None


class KnownAnswers:
    """Answers the questions of one session, each time it is played: it changes by answering.

    ``count`` is how many it has answered. ``missing`` names those to which the recording has no answer:
    they fail. ``is_cut``: the recording ends here, so that a question may have had no answer then.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._asked: dict[str, deque[_Asked]] = {}
        self.count = 0
        self.missing: list[str] = []
        self.missing_count = 0
        self.is_cut = False
        for record in records:
            for one in learned_in(record):
                self._note(one)
            for ask in _asks_in(record):
                place = place_of_question(_filter_of(record), ask.key, ask.question)
                self._asked.setdefault(place, deque()).append(_Asked())

    @property
    def has_any(self) -> bool:
        """Whether anything was asked then, as far as it is left."""
        return bool(self._asked)

    def _note(self, learned: RecordedAnswer) -> None:
        """An answer: to the question that was asked last. Answers of `asking=` do not come before it."""
        for name in (learned.filter, ""):
            known = self._asked.get(place_of_question(name, learned.key, learned.question))
            if known and known[-1].answer is None:
                known[-1].answer = learned
                return
        place = place_of_question(learned.filter, learned.key, learned.question)
        self._asked.setdefault(place, deque()).append(_Asked(learned))

    def __call__(self, asked: Asked) -> Outcome | None:
        """The answer that came then; None if none came before the message or the recording ended."""
        found = self._take(asked)
        if found is None:
            return None if self.is_cut else self._miss(asked, NOT_ASKED)
        if found.answer is None:
            return None
        if found.answer.outcome is None:
            return self._miss(asked, NOT_KEPT)
        self.count += 1
        return found.answer.outcome

    def _take(self, asked: Asked) -> _Asked | None:
        bare = RecordedQuestion(name_of_question(asked.question))
        for key, question in ((asked.key, asked.question), (kept_key(asked.key), bare)):
            for name in (asked.name, ""):
                known = self._asked.get(place_of_question(name, key, question))
                if known:
                    return known.popleft()
        return None

    def _miss(self, asked: Asked, why: str) -> Failed:
        self.missing_count += 1
        if len(self.missing) < MOST_NAMED:
            what = "asked what was not asked then" if why is NOT_ASKED else "asked what is left out here"
            self.missing.append(f"{what}: {safe(asked.name)} {question_words(asked.question)}")
        return Failed(why)


def _asks_in(record: Record) -> Iterable[Ask]:
    if "error" in record:  # then nothing was asked
        return
    for one in readable_actions(record, "actions"):
        action: Any = one
        if isinstance(action, Ask):
            yield action


def _filter_of(record: Record) -> str:
    """The filter of a handler, if its name has it."""
    name, colon, _ = (text_in(record, "handler") or "").partition(": ")
    return name if colon else ""


def place_of_question(filter_: str, key: str, question: Any) -> str:
    """A filter, a key and a question, told from all others."""
    record = dump_question(question)
    record.pop("words", None)
    return json.dumps([filter_, key, record], sort_keys=True)

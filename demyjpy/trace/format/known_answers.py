"""Answers from a recording, for a session that is played again: nobody is asked for them.

A question is known again by its filter, its key, its class and its fields. If the same one was asked
several times, the answers come in the order in which they came then.
"""

import json
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, Final

from demyjpy.engine.open_questions import Asked
from demyjpy.questions import Ask, Failed, Outcome
from demyjpy.shown import safe
from demyjpy.trace.format.exchanges import readable_actions
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


class KnownAnswers:
    """Answers the questions of one session, each time it is played: it changes by answering.

    ``count`` is how many it has answered. ``missing`` names those to which the recording has no answer:
    they fail. ``is_cut``: the recording ends here, so that a question may have had no answer then.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._known: dict[str, deque[RecordedAnswer]] = {}
        self._unanswered: Counter[str] = Counter()
        self.count = 0
        self.missing: list[str] = []
        self.missing_count = 0
        self.is_cut = False
        for record in records:
            for one in learned_in(record):
                place = _place(one.filter, one.key, one.question)
                self._known.setdefault(place, deque()).append(one)
                self._unanswered[_apart(one.key, one.question)] -= 1
            for action in _asks_in(record):
                self._unanswered[_apart(action.key, action.question)] += 1

    def __call__(self, asked: Asked) -> Outcome | None:
        """The answer that came then; None if none came before the message or the recording ended."""
        key, question = asked.key, asked.question
        waiting = self._known.get(_place(asked.name, key, question))
        if not waiting:
            bare = RecordedQuestion(name_of_question(question))
            waiting = self._known.get(_place(asked.name, kept_key(key), bare))
        if waiting:
            found = waiting.popleft()
            if found.outcome is None:
                return self._miss(asked, NOT_KEPT)
            self.count += 1
            return found.outcome
        if self._unanswered[_apart(key, question)] > 0:
            self._unanswered[_apart(key, question)] -= 1
            return None
        return None if self.is_cut else self._miss(asked, NOT_ASKED)

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


def _place(filter_: str, key: str, question: Any) -> str:
    return f"{filter_}\0{_apart(key, question)}"


def _apart(key: str, question: Any) -> str:
    """A key and a question, told from all others."""
    record = dump_question(question)
    record.pop("words", None)
    return json.dumps([key, record], sort_keys=True)

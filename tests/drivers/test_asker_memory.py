"""What the asker knows of answers: what is remembered, and what cannot be asked."""

import asyncio
import time
from typing import Any

import pytest
from attrs import define, frozen

from demyjpy.drivers import asker as module
from demyjpy.drivers.asker import Asker
from demyjpy.engine.open_questions import Asked
from demyjpy.message import Message
from demyjpy.questions import Answered, Failed, Question
from tests.drivers.test_asker import AsyncObject, Found, Once, answers, asked, fail, soon, text


def remembering(*all_asked: Asked) -> Asker:
    """An asker after these were answered."""
    found: list[Asker] = []

    async def keep(asker: Asker) -> None:
        found.append(asker)

    answers(*all_asked, before=keep)
    return found[0]


def test_answers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """For their time, by filter, class and value; not those of questions that change something."""
    asker = remembering(asked(Found("a"), soon), asked(Once("a"), soon, number=2))
    assert asker.known_answer(asked(Found("a"), soon)) == Answered("a!")
    assert asker.known_answer(asked(Found("b"), soon)) is None
    assert asker.known_answer(asked(Found("a"), AsyncObject())) is None
    assert asker.known_answer(asked(Once("a"), soon)) is None
    monkeypatch.setattr(module, "monotonic", lambda: time.monotonic() + 61)
    assert asker.known_answer(asked(Found("a"), soon)) is None


@frozen
class Odd(Question, pure=True, remember_for=60):
    """A question whose comparison fails."""

    what: str = "x"

    def __eq__(self, other: object) -> bool:
        raise ValueError("cannot be compared")

    def __hash__(self) -> int:
        return 1


@define
class Unhashable:
    """A performer that has no hash."""

    async def __call__(self, question: Any, resources: Any) -> Any:
        return "here"


def test_what_the_users_own_classes_do_harms_nobody() -> None:
    """A comparison that raises finds nothing; a performer needs no hash."""
    asker = remembering(asked(Odd(), soon))
    assert asker.known_answer(asked(Odd(), soon)) is None
    assert module._Key(asked(Odd())) != 5
    assert answers(asked(Found("q"), Unhashable())) == [Answered("here")]


def test_failures_are_not_remembered(log: Any) -> None:
    """The next one asks again."""
    asker = remembering(asked(Found(ValueError("x")), fail))
    assert asker.known_answer(asked(Found("a"), fail)) is None
    log.take_one()


@pytest.mark.parametrize(
    ("what", "is_kept"),
    [
        ("x" * 20_000, False),
        (("y" * 6_000, "y" * 6_000), False),
        ("x", True),
        (5, True),
    ],
)
def test_what_is_large_is_not_remembered(what: Any, is_kept: bool) -> None:
    """Neither a large answer nor a large question."""
    asker = remembering(asked(Found(what), text))
    assert (asker.known_answer(asked(Found(what), text)) is not None) is is_kept


def test_the_size_of_an_answer() -> None:
    """Characters and bytes; a message is always too large."""
    assert module._size({"ab": (b"cd", None), "e": frozenset([1])}) == 2 + 1 + 2 + 1 + 1 + 1 + 1
    assert module._size(Message()) > module.LARGEST_REMEMBERED


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first."""
    monkeypatch.setattr(module, "MOST_REMEMBERED", 2)
    asker = remembering(*[asked(Found(str(n)), soon, number=n) for n in range(4)])
    known = [asker.known_answer(asked(Found(str(n)), soon)) for n in range(4)]
    assert known == [None, None, Answered("2!"), Answered("3!")]


def test_a_question_that_cannot_be_asked_has_failed(log: Any) -> None:
    """Its class is named."""

    class Loose(Question):
        pass

    found = Asker(asyncio.get_running_loop).known_answer(asked(Loose()))
    assert isinstance(found, Failed)
    assert "cannot be asked: it cannot be compared" in found.error
    assert "Loose" in log.take_one()

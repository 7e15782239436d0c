"""What a filter does when sessions are played at it: `demyjpy check --play`.

The classic sessions of `demyjpy.testing.strategies`, then generated ones, in memory, as Postfix and
Sendmail would. What is seen of handlers meanwhile is `demyjpy.cli.check_watch`'s, what follows from it
`demyjpy.cli.check_conclusions`'. A handler that takes too long is stopped by an alarm.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from attrs import evolve
from hypothesis import HealthCheck, Phase, given, seed, settings

from demyjpy.cli import check_watch
from demyjpy.cli.check_answers import (
    AGAIN,
    WITHOUT,
    AskedInPlay,
    question_notes_of,
    unanswered_problems_of,
)
from demyjpy.cli.check_conclusions import (
    Shared,
    beyond_problems_of,
    notes_of,
    problems_of,
    untried_in,
)
from demyjpy.cli.check_report import Report
from demyjpy.cli.check_watch import OutOfTimeError, Seen, Watch, takes_headers
from demyjpy.cli.loading import Loaded
from demyjpy.cli.signals import alarm
from demyjpy.context import Context
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.testing.run import play_script, profiles_of
from demyjpy.testing.script import Script
from demyjpy.testing.strategies import sessions, words_of
from demyjpy.testing.strategies.classics import classics
from demyjpy.trace.display.wording import plural

_GENERATED: Final = 60
_AGAIN: Final = 0.5  # seconds between further alarms, for a handler that catches anything


def play(report: Report, loaded: Loaded, driver: str) -> Report:
    """The report, and what is seen when sessions are played at the filter."""
    watch, beyond = Watch(), Watch(is_beyond=True)
    asked = AskedInPlay()
    on_connect = as_on_connect(loaded.on_connect)
    shared = Shared.of(on_connect)
    words = words_of(loaded.on_connect)
    with _watched(watch):
        count, is_whole = _play_all(_setup(on_connect, watch), words, watch, asked)
    if is_whole and any(takes_headers(seen.handler) for seen in watch.seen.values()):
        with _watched(beyond):
            _play_all(_setup(on_connect, beyond), words, beyond, AskedInPlay())
    worlds = {} if not (is_whole and asked.seen) else _without_answers(on_connect, words)
    questions = tuple(asked.entries())
    problems = (
        *report.problems,
        *problems_of(watch, report, driver),
        *beyond_problems_of(watch, beyond),
        *unanswered_problems_of(watch, worlds),
        *shared.problems(),
    )
    notes = (
        *report.notes,
        *notes_of(watch, report, count),
        *question_notes_of(watch, questions, count),
        *([AGAIN] if worlds else []),
        _played(count, is_whole, watch.held_up),
    )
    return evolve(
        report,
        problems=problems,
        notes=notes,
        untried=tuple(untried_in(watch)),
        questions=questions,
    )


def _without_answers(
    on_connect: Callable[[Context], Context], words: tuple[str, ...]
) -> dict[str, Watch]:
    """The same sessions in worlds in which no question is answered."""
    worlds = {name: Watch() for name in WITHOUT}
    for name, watch in worlds.items():
        with _watched(watch):
            _play_all(_setup(on_connect, watch), words, watch, AskedInPlay(WITHOUT[name]))
    return worlds


def _setup(on_connect: Callable[[Context], Context], watch: Watch) -> Setup:
    return Setup(
        lambda ctx: watch.watched(on_connect(ctx)),
        on_error=lambda error, event, ctx: ctx,  # go on, so that the others are seen, too
        defers=lambda handler: handler.is_async,
    )


@contextmanager
def _watched(watch: Watch) -> Iterator[None]:
    """While the block runs, whatever waits is stopped, and so is who takes too long."""
    sys.addaudithook(watch.hear)  # it stays, and does nothing but while a handler runs
    with alarm(max(check_watch.LONGEST, 0.01), watch.ring, _AGAIN), _kept_alive():
        yield


@contextmanager
def _kept_alive() -> Iterator[None]:
    """A handler that ends its process would end the check as well, with a status of its own choice."""

    def refuse(status: int) -> None:
        raise SystemExit(f"os._exit({status}) would end the milter at once")

    before = os._exit
    os._exit = refuse  # type: ignore[assignment]  # it does not return either
    try:
        yield
    finally:
        os._exit = before


def _played(count: int, is_whole: bool, held_up: Seen | None) -> str:
    sessions = plural(count, "session")
    if is_whole:
        return f"--play: {sessions} {'was' if count == 1 else 'were'} played"
    where = "" if held_up is None else f", in {held_up.handler.name} at {held_up.handler.event}"
    return f"--play: time ran out after {sessions}{where}: too few to say much"


def _play_all(
    setup: Setup, words: tuple[str, ...], watch: Watch, asked: AskedInPlay
) -> tuple[int, bool]:
    """How many sessions were played to their end, and whether these are all."""
    end = time.monotonic() + check_watch.LONGEST
    count = 0
    is_whole = True

    def play_one(script: Script) -> None:
        nonlocal count, is_whole
        if time.monotonic() >= end:
            is_whole = False
            return
        with suppress(OutOfTimeError):  # while an async handler waits, it is raised in the loop
            for profile in profiles_of(None):
                watch.judge(play_script(setup, script, profile, answer=asked.answer).observed)
        if watch.held_up is None:
            count += 1
        else:
            watch.end()
            is_whole = False
        asked.turn += 1

    for example in classics(words):
        play_one(example.script)
    if watch.is_beyond:  # generated ones would show no more
        return count, is_whole
    quick = settings(
        max_examples=_GENERATED,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    seed(0)(quick(given(sessions(words=words))(play_one)))()
    return count, is_whole

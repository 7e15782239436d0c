"""Replays on all processors: batches of sessions to processes, what they found back, in order."""

import itertools
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from functools import cache
from typing import Final

from attrs import evolve, frozen

from demyjpy.cli.loading import Wanted, load_filters
from demyjpy.cli.replay_report import SessionReport
from demyjpy.drivers.ask_now import ask_now
from demyjpy.errors import TraceError
from demyjpy.filter_policy import OnError
from demyjpy.trace.format.reading import Lines
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.replay.comparing import Compared, compare_bytes, compare_filters, compare_messages
from demyjpy.trace.replay.outside_calls import OutsideCall, OutsideWatch
from demyjpy.trace.replay.recorded_filter import recorded_filter
from demyjpy.trace.replay.replaying import Filter

_WATCHED: Final = 20  # sessions at the beginning; watching makes one several times slower
_SELDOM: Final = 50  # after those one of so many
_BATCH: Final = 1 << 20  # bytes of records that are worth a trip to another process


@frozen
class Task:
    """What is to be done with each session. Filters by their names: each process loads them itself.

    ``new`` is None for the recorded answers themselves, ``old`` for the recording. ``live``: questions
    are asked now. ``trusted_relays`` as the milter was given them.
    """

    new: Wanted | None
    old: Wanted | None = None
    meaning: bool = False
    twice: bool = True
    on_error: OnError = "tempfail"
    queue_id: str | None = None
    live: bool = False
    trusted_relays: str | tuple[str, ...] = ()

    def filter_of(self, wanted: Wanted) -> Filter:
        """The filter of that name, to be played so."""
        found = evolve(filter_of(wanted, self.on_error), trusted_relays=self.trusted_relays)
        return evolve(found, ask=ask_now) if self.live else found


@cache
def filter_of(wanted: Wanted, on_error: OnError) -> Filter:
    """The filter that is wanted, loaded once in a process and those forked from it."""
    return Filter(load_filters(wanted).on_connect, on_error)


def run_task(task: Task, batch: Iterable[tuple[int, Lines]]) -> list[SessionReport]:
    """Do it with some sessions and their numbers; a report on each."""
    with redirect_stdout(sys.stderr):  # whatever a filter prints is not the report
        return list(_found(task, batch))


def _found(task: Task, batch: Iterable[tuple[int, Lines]]) -> Iterator[SessionReport]:
    for number, lines in batch:
        trace = lines.parse()
        if task.queue_id is not None and all(one.queue_id != task.queue_id for one in trace.messages):
            continue
        if task.new is None:
            compared = compare_bytes(trace, Filter(recorded_filter(trace)), twice=False)
        else:
            reached: list[OutsideCall] = []
            new = task.filter_of(task.new)
            if task.twice and (number < _WATCHED or number % _SELDOM == 0):
                new = evolve(new, watch=OutsideWatch(reached.append))
            compared = evolve(_compare(task, trace, new), reached=tuple(reached))
        yield SessionReport.of(compared)


def _compare(task: Task, trace: Trace, new: Filter) -> Compared:
    if task.old is not None:
        return compare_filters(trace, task.filter_of(task.old), new, twice=task.twice)
    compare = compare_messages if task.meaning else compare_bytes
    return compare(trace, new, twice=task.twice)


def processors() -> int:
    """How many there are for this process."""
    return len(os.sched_getaffinity(0))


def run_all(task: Task, sessions: Iterable[Lines], jobs: int) -> Iterator[SessionReport]:
    """Do it with all sessions, in ``jobs`` processes; reports in order. Few batches wait at a time."""
    batches = _batches(sessions)
    first = list(itertools.islice(batches, 2))
    if jobs == 1 or len(first) < 2:
        for batch in (*first, *batches):
            yield from run_task(task, batch)
        return
    context = multiprocessing.get_context("fork")  # the filters are loaded already
    with ProcessPoolExecutor(jobs, context) as pool:
        waiting: deque[Future[list[SessionReport]]] = deque()
        try:
            for batch in itertools.chain(first, batches):
                waiting.append(pool.submit(run_task, task, batch))
                if len(waiting) > 2 * jobs:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise TraceError("expected the filter to run, got a process that it ended") from None
        finally:
            for future in waiting:
                future.cancel()


def _batches(sessions: Iterable[Lines]) -> Iterator[list[tuple[int, Lines]]]:
    batch: list[tuple[int, Lines]] = []
    size = 0
    for number, lines in enumerate(sessions):
        batch.append((number, lines))
        size += sum(map(len, lines.lines))
        if size > _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch

"""What is to be reached (issues 4 and 14), each goal as comparisons of medians, and whether it is.

A goal with several comparisons is as good as the worst of them, and lists those that miss it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from benchmarks.figures import Figures
from benchmarks.jobs import JOBS, SUBJECTS


@dataclass(frozen=True)
class Comparison:
    """A median as it is, or its ratio to, or its difference from another subject's or job's."""

    job: str
    subject: str
    figure: str
    against: str = ""
    how: Literal["value", "ratio", "difference"] = "ratio"
    against_job: str = ""

    def value(self, figures: Figures) -> float | None:
        """What comes of it, or None where something was not measured."""
        own = figures.get(self.job, self.subject, self.figure)
        if own is None or self.how == "value":
            return own
        other = figures.get(self.against_job or self.job, self.against or self.subject, self.figure)
        if other is None:
            return None
        if self.how == "difference":
            return own - other
        return own / other if other else None

    def __str__(self) -> str:
        against = SUBJECTS[self.against].label if self.against else ""
        return JOBS[self.job].title + (f" ({against})" if against else "")


@dataclass(frozen=True)
class Goal:
    """``at_least`` or at most ``limit``, in ``unit``."""

    text: str
    subject: str
    limit: float
    comparisons: tuple[Comparison, ...]
    at_least: bool = True
    unit: str = "×"


@dataclass(frozen=True)
class Result:
    """How far a goal is reached: the worst value, and what misses. None: nothing was measured."""

    goal: Goal
    value: float | None
    missed: tuple[tuple[Comparison, float], ...]
    measured: int

    @property
    def state(self) -> Literal["reached", "missed", "not measured"]:
        """In a word."""
        if self.value is None:
            return "not measured"
        return "missed" if self.missed else "reached"


def judge(goal: Goal, figures: Figures) -> Result:
    """Compare a goal with what was measured."""
    found = [(comparison, comparison.value(figures)) for comparison in goal.comparisons]
    values = [(comparison, value) for comparison, value in found if value is not None]
    if not values:
        return Result(goal, None, (), 0)
    sign = 1 if goal.at_least else -1
    values.sort(key=lambda pair: sign * pair[1])
    missed = tuple(pair for pair in values if sign * pair[1] < sign * goal.limit)
    return Result(goal, values[0][1], missed, len(values))


def _against_libmilter(
    text: str, job: str, limits: Iterable[float], *, figure: str = "rate", at_least: bool = True
) -> Iterable[Goal]:
    """For our loops, asyncio's and uvloop."""
    for subject, limit in zip(("demyjpy", "demyjpy-uvloop"), limits, strict=False):
        comparison = Comparison(job, subject, figure, "libmilter")
        yield Goal(text, subject, limit, (comparison,), at_least)


def _loads(*filters: str) -> list[str]:
    return [job.name for job in JOBS.values() if job.kind == "load" and job.filter in filters]


def _measured_in(subject: str, jobs: Iterable[str]) -> list[str]:
    return [job for job in jobs if JOBS[job].has(SUBJECTS[subject])]


def _times_peer(peer: str, limit: float, jobs: Iterable[str], where: str) -> Goal:
    return Goal(
        f"messages a second ÷ {SUBJECTS[peer].label}'s, {where}",
        "demyjpy",
        limit,
        tuple(Comparison(job, "demyjpy", "rate", peer) for job in _measured_in(peer, jobs)),
    )


_PLM: Final = ("plm-thread", "plm-fork", "plm-async")
_PEERS: Final = ("libmilter", "pymilter", "kilter", "ppm", *_PLM)
_CROWDED: Final = [name for name in _loads("noop", "bytecount") if JOBS[name].connections in (100, 500)]
_NOOPS: Final = [name for name in _loads("noop") if name.startswith("noop")]
_MESSAGES: Final = "messages a second ÷ libmilter's"

GOALS: Final = (
    *(
        goal
        for job, limits in {
            "noop-tcp-10": (1.3, 1.6),
            "noop-tcp-100": (1.6, 2.0),
            "noop-tcp-500": (1.2, 1.6),
            "bytecount-unix-10": (1.5, 2.0),
            "bytecount-unix-100": (2.0, 2.5),
            "bytecount-unix-500": (2.0, 2.5),
            "bytecount-tcp-1": (90, 110),
            "bytecount-tcp-10": (50, 70),
            "bytecount-tcp-100": (7, 9),
        }.items()
        for goal in _against_libmilter(_MESSAGES, job, limits)
    ),
    *_against_libmilter(
        "CPU a message ÷ libmilter's", "noop-tcp-1", (2.0, 1.7), figure="cpu_us", at_least=False
    ),
    *(_times_peer(peer, 7, _NOOPS, "noop") for peer in ("kilter", "ppm")),
    *(_times_peer(peer, 1.5, _loads("noop", "bytecount"), "everywhere") for peer in ("pymilter", *_PLM)),
    Goal(
        "2 workers ÷ one process: nowhere slower",
        "demyjpy-workers",
        1.0,
        tuple(
            Comparison(job, "demyjpy-workers", "rate", "demyjpy")
            for job in _measured_in("demyjpy-workers", _loads("noop", "bytecount", "work"))
        ),
    ),
    Goal(
        "2 workers ÷ one process: faster where the filter does real work",
        "demyjpy-workers",
        1.1,
        (Comparison("work-tcp-10", "demyjpy-workers", "rate", "demyjpy"),),
    ),
    *_against_libmilter("MB a second ÷ libmilter's", "big-unix-4", (1.1,), figure="mb_s"),
    *_against_libmilter("MB a second ÷ libmilter's", "big-tcp-4", (3.0,), figure="mb_s"),
    Goal(
        "MB a second with 10 MB ÷ with 1 MB: no quadratic copying",
        "demyjpy",
        0.8,
        (Comparison("big-unix-4", "demyjpy", "mb_s", against_job="medium-unix-4"),),
    ),
    Goal(
        "Memory that four bodies of 10 MB add where the filter keeps a number",
        "demyjpy",
        10,
        (Comparison("big-unix-4", "demyjpy", "grown_mb", how="value"),),
        at_least=False,
        unit="MB",
    ),
    Goal(
        "Memory of an idle connection",
        "demyjpy",
        8,
        (Comparison("idle-2000", "demyjpy", "kb_each", how="value"),),
        at_least=False,
        unit="kB",
    ),
    Goal(
        "p99 latency ÷ any peer's at 100 and 500 connections",
        "demyjpy",
        1.0,
        tuple(
            Comparison(job, "demyjpy", "p99_ms", peer)
            for peer in _PEERS
            for job in _measured_in(peer, _CROWDED)
        ),
        at_least=False,
    ),
    *_against_libmilter(_MESSAGES, "fresh-tcp-10", (1.0,)),
    *_against_libmilter(_MESSAGES, "fresh-unix-10", (1.0,)),
    Goal(
        "Answers at end of message that came in more than one piece",
        "demyjpy",
        0,
        tuple(Comparison(job, "demyjpy", "split", how="value") for job in _loads("noop", "bytecount")),
        at_least=False,
        unit="of them",
    ),
    Goal(
        "Added to a mail through Sendmail over TCP: no delayed ACKs",
        "demyjpy",
        20,
        tuple(
            Comparison(f"sendmail-{name}-tcp", "demyjpy", "ms_a_mail", "none", "difference")
            for name in ("noop", "bytecount")
        ),
        at_least=False,
        unit="ms",
    ),
    Goal(
        "Added to a mail through Postfix over TCP: no harm from what helps Sendmail",
        "demyjpy",
        20,
        tuple(
            Comparison(f"postfix-{name}-tcp", "demyjpy", "ms_a_mail", "none", "difference")
            for name in ("noop", "bytecount")
        ),
        at_least=False,
        unit="ms",
    ),
    Goal(
        "CPU of `demyjpy run` until it listens",
        "demyjpy",
        0.25,
        (Comparison("startup", "demyjpy", "cpu_s", how="value"),),
        at_least=False,
        unit="s",
    ),
)

_COMPILED: Final = {"demyjpy": "demyjpy-compiled", "demyjpy-uvloop": "demyjpy-uvloop-compiled"}


def _compiled(goal: Goal) -> Goal:
    """The same goal for the compiled engine."""
    subject = _COMPILED[goal.subject]
    return replace(
        goal,
        subject=subject,
        comparisons=tuple(replace(one, subject=subject) for one in goal.comparisons),
    )


COMPILED_GOALS: Final = tuple(_compiled(goal) for goal in GOALS if goal.text.endswith(" ÷ libmilter's"))
"""What is compared with libmilter, once more: the compiled engine is an extra, and reaches no goal of
the package."""

WATCHED_JOBS: Final = tuple(job.name for job in JOBS.values() if job.kind == "watched")

WATCHED_GOALS: Final = (
    *(
        Goal(
            "messages a second ÷ those of the same filter that nobody watches",
            f"demyjpy-{name}",
            limit,
            tuple(Comparison(job, f"demyjpy-{name}", "rate", "demyjpy") for job in WATCHED_JOBS),
        )
        for name, limit in {
            "metrics": 0.85,
            "flight": 0.8,
            "explain": 0.7,
            "capsules": 0.95,
            "record": 0.5,
        }.items()
    ),
    Goal(
        "messages a second ÷ libmilter's, which nobody watches",
        "demyjpy-watched",
        1.0,
        (Comparison("watched-noop-tcp-10", "demyjpy-watched", "rate", "libmilter"),),
    ),
)
"""What watching may cost. They are apart, for these jobs are measured apart: in one run."""

MERGED_JOBS: Final = tuple(job.name for job in JOBS.values() if job.kind == "merged")

MERGED_GOALS: Final = tuple(
    Goal(
        "CPU a message of two filters ÷ that of the first alone",
        "demyjpy-merged",
        1.5,
        (Comparison(job, "demyjpy-merged", "cpu_us", "demyjpy"),),
        at_least=False,
    )
    for job in MERGED_JOBS
)
"""What merging two filters that wait for nothing may cost; measured apart, too."""

LAYER_JOBS: Final = tuple(job.name for job in JOBS.values() if job.kind == "layer")

LAYER_GOALS: Final = (
    Goal(
        "CPU a message of pymilter's filter ÷ that of ours",
        "demyjpy-layer",
        1.2,
        tuple(Comparison(job, "demyjpy-layer", "cpu_us", "demyjpy-threads") for job in LAYER_JOBS),
        at_least=False,
    ),
    *(
        Goal(
            "messages a second ÷ pymilter's",
            subject,
            0.85,
            tuple(Comparison(job, subject, "rate", "pymilter") for job in LAYER_JOBS),
        )
        for subject in ("demyjpy-threads", "demyjpy-layer")
    ),
)
"""What a filter written for pymilter may cost (issue 20), and threads beside pymilter (issue 19)."""

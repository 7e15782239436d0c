"""What is measured: a row for each job and for each subject. Nothing is run here.

A job is what a filter has to do, and over what; a subject is a library with one way to run it. A job
names the subjects that it is for; the rest of the code asks these tables only.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

Kind = Literal["load", "watched", "merged", "layer", "idle", "startup", "mta"]


@dataclass(frozen=True)
class Subject:
    """A server that is measured.

    In ``command`` stand ``{filter}``, ``{where}`` (a port or a path), ``{address}`` (the same as a
    milter address), ``{scratch}`` (an empty directory of the server's own) and ``{python}``, the
    interpreter of ``venv``.
    """

    name: str
    label: str
    command: tuple[str, ...]
    venv: str | None = None
    suffix: str = ""
    """What is put behind the filter's name: ``_unanswered`` is the one with ``reply=False``."""
    needs: str = ""
    """An option of ``demyjpy run`` without which there is nothing to measure."""
    filters: tuple[str, ...] = ("noop", "bytecount")
    unix: bool = True
    own: bool = False
    """Whether it is ours."""
    compiled: bool = False
    """Ours as it is built into its ``venv``; else it is that of the checkout."""
    watches: str = ""
    """What it is watched by, if it is: such a subject is measured only in jobs that name it."""
    apart: bool = False
    """Whether it is measured only in jobs that name it, too."""
    records: bool = False
    """Whether it leaves recordings in ``{scratch}``, which are checked."""


_PEER: Final = ("{filter}", "{where}")
_RUN: Final = ("{python}", "-m", "demyjpy", "run", "{filters}:{filter}")
_LISTENING: Final = ("--listen", "{address}", "--allow-root")
_OURS: Final = (*_RUN, *_LISTENING)
_SCRIPT: Final = "{peers}/pymilter_peer.py"
_LAYER: Final = (
    *("{python}", "-m", "demyjpy", "run", "--pymilter", _SCRIPT, *_LISTENING),
    *("--", *_PEER),
)


def _own(
    name: str, label: str, *options: str, suffix: str = "", needs: str = "", compiled: bool = False
) -> Subject:
    return Subject(
        name,
        label,
        (*_OURS, *options),
        "compiled" if compiled else "demyjpy",
        suffix,
        needs,
        ("noop", "bytecount") if suffix else ("noop", "bytecount", "work"),
        own=True,
        compiled=compiled,
    )


_HTTP: Final = ("--http", "127.0.0.1:0")
_EXPLAIN: Final = ("--explain", "--log-to", "{scratch}/log")
_BOTH: Final = ("--flight", "{scratch}/flight", "--capsules", "{scratch}/capsules")
_UNSEEN: Final = "--no-see-envelope"


def _watched(name: str, watches: str, *options: str) -> Subject:
    return replace(
        _own(f"demyjpy-{name}", f"demyjpy ({watches})", *options),
        filters=("noop", "bytecount"),
        watches=watches,
        records="--record" in options,
    )


SUBJECTS: Final = {
    subject.name: subject
    for subject in (
        Subject("none", "no milter", ()),
        Subject("libmilter", "libmilter (C)", ("{libmilter_peer}", *_PEER)),
        Subject("pymilter", "pymilter", ("{python}", _SCRIPT, *_PEER), "pymilter"),
        Subject("kilter", "kilter", ("{python}", "{peers}/kilter_peer.py", *_PEER), "kilter"),
        Subject(
            "ppm",
            "purepythonmilter",
            ("{python}", "{peers}/ppm_peer.py", *_PEER),
            "ppm",
            filters=("noop",),  # its bytecount repeats the first count of a session: it would not pass
            unix=False,
        ),
        *(
            Subject(
                f"plm-{model}",
                f"python-libmilter ({model})",
                ("{python}", "{peers}/plm_peer.py", model, *_PEER),
                "plm",
            )
            for model in ("thread", "fork", "async")
        ),
        _own("demyjpy", "demyjpy (asyncio)"),
        _own("demyjpy-uvloop", "demyjpy (uvloop)", "--loop", "uvloop", needs="--loop"),
        _own("demyjpy-compiled", "demyjpy (asyncio, compiled)", compiled=True),
        _own("demyjpy-uvloop-compiled", "demyjpy (uvloop, compiled)", "--loop", "uvloop", compiled=True),
        _own("demyjpy-threads", "demyjpy (threads)", "--driver", "threads"),
        _own("demyjpy-workers", "demyjpy (asyncio, 2 workers)", "--workers", "2"),
        _own("demyjpy-unanswered", "demyjpy (asyncio, reply=False)", suffix="_unanswered"),
        replace(_own("demyjpy-merged", "demyjpy (two filters)", suffix="_merged"), apart=True),
        replace(
            _own("demyjpy-layer", "demyjpy (threads, pymilter's filter)"),
            command=_LAYER,
            filters=("noop", "bytecount"),
            apart=True,
        ),
        _watched("metrics", "metrics", *_HTTP, _UNSEEN),
        _watched("flight", "flight recorder", "--flight", "{scratch}", _UNSEEN),
        _watched("explain", "explain line", *_EXPLAIN, _UNSEEN),
        _watched("explain-envelope", "explain line, --see-envelope", *_EXPLAIN, "--see-envelope"),
        _watched("capsules", "capsules", "--capsules", "{scratch}", _UNSEEN),
        _watched("record", "recording", "--record", "{scratch}", _UNSEEN),
        _watched("watched", "all but recording", *_HTTP, *_BOTH, *_EXPLAIN, _UNSEEN),
    )
}

WATCHED: Final = tuple(name for name, subject in SUBJECTS.items() if subject.watches)
"""The subjects that are watched."""

QUICK: Final = ("none", "libmilter", "pymilter", *(name for name in SUBJECTS if SUBJECTS[name].own))
"""Those that ``--quick`` measures."""


@dataclass(frozen=True)
class Job:
    """What is done to each of its subjects, once in a round."""

    name: str
    title: str
    kind: Kind = "load"
    filter: str = "noop"
    unix: bool = False
    connections: int = 10
    messages: int = 50
    body: int = 2048
    subjects: tuple[str, ...] = ()
    mta: str = ""
    stretch: float = 1.0
    """How much longer than others it is measured: many connections need time to get going."""

    @property
    def socket(self) -> str:
        """How it is told."""
        return "Unix socket" if self.unix else "TCP"

    def has(self, subject: Subject) -> bool:
        """Whether a subject is measured in it."""
        if self.subjects:
            return subject.name in self.subjects
        if subject.name == "none" or subject.watches or subject.apart:
            return False
        return self.filter in subject.filters and (subject.unix or not self.unix)


def _load(filter_name: str, connections: int, *, unix: bool = False) -> Job:
    kind = "unix" if unix else "tcp"
    plural = "s" if connections > 1 else ""
    return Job(
        f"{filter_name}-{kind}-{connections}",
        f"{filter_name}, {'Unix socket' if unix else 'TCP'}, {connections} connection{plural}",
        filter=filter_name,
        unix=unix,
        connections=connections,
        stretch=3 if connections >= 500 else 1,
    )


_MB: Final = 1_000_000
_BIG: Final = ("libmilter", "pymilter", "plm-thread", "kilter")
_COMPILED: Final = ("demyjpy-compiled", "demyjpy-uvloop-compiled")
_EVERY_DRIVER: Final = ("demyjpy", "demyjpy-uvloop", *_COMPILED, "demyjpy-threads")
_WATCHED_JOB: Final = ("libmilter", "demyjpy", *WATCHED)
_LAYER_JOB: Final = ("libmilter", "pymilter", "demyjpy-threads", "demyjpy-layer")
_MERGED_JOB: Final = ("libmilter", "demyjpy", "demyjpy-merged")
_MTA_SUBJECTS: Final = ("none", "libmilter", "pymilter", "demyjpy", "demyjpy-compiled")


def _watched_job(filter_name: str, *, unix: bool) -> Job:
    plain = _load(filter_name, 10, unix=unix)
    name, title = f"watched-{plain.name}", f"Watched: {plain.title}"
    return replace(plain, name=name, title=title, kind="watched", subjects=_WATCHED_JOB)


def _merged_job(filter_name: str, *, unix: bool) -> Job:
    plain = _load(filter_name, 10, unix=unix)
    name, title = f"merged-{plain.name}", f"Merged: {plain.title}"
    return replace(plain, name=name, title=title, kind="merged", subjects=_MERGED_JOB)


def _layer_job(filter_name: str, connections: int, *, unix: bool) -> Job:
    plain = _load(filter_name, connections, unix=unix)
    name, title = f"layer-{plain.name}", f"pymilter's filter: {plain.title}"
    return replace(plain, name=name, title=title, kind="layer", subjects=_LAYER_JOB)


def _mta(mta: str, filter_name: str, *, unix: bool = False) -> Job:
    return Job(
        f"{mta}-{filter_name}-{'unix' if unix else 'tcp'}",
        f"{mta.capitalize()}, {filter_name}, {'Unix socket' if unix else 'TCP'}",
        "mta",
        filter_name,
        unix=unix,
        connections=4,
        subjects=_MTA_SUBJECTS,
        mta=mta,
    )


JOBS: Final = {
    job.name: job
    for job in (
        *(_load("noop", connections) for connections in (1, 10, 100, 500)),
        *(_load("bytecount", connections, unix=True) for connections in (10, 100, 500)),
        *(_load("bytecount", connections) for connections in (1, 10, 100)),
        *(_watched_job(name, unix=unix) for name in ("noop", "bytecount") for unix in (False, True)),
        *(_merged_job(name, unix=unix) for name in ("noop", "bytecount") for unix in (False, True)),
        *(
            _layer_job(name, connections, unix=unix)
            for name in ("noop", "bytecount")
            for unix in (False, True)
            for connections in (10, 100)
        ),
        *(
            Job(
                f"fresh-{'unix' if unix else 'tcp'}-10",
                f"A connection a message, noop, {'Unix socket' if unix else 'TCP'}, 10 connections",
                unix=unix,
                messages=1,
            )
            for unix in (False, True)
        ),
        *(
            Job(
                f"big-{'unix' if unix else 'tcp'}-4",
                f"Bodies of 10 MB, bytecount, {'Unix socket' if unix else 'TCP'}, 4 connections",
                filter="bytecount",
                unix=unix,
                connections=4,
                messages=5,
                body=10 * _MB,
                subjects=(*_BIG, *_EVERY_DRIVER, "demyjpy-workers", "demyjpy-unanswered"),
                stretch=1.5,
            )
            for unix in (True, False)
        ),
        Job(
            "medium-unix-4",
            "Bodies of 1 MB, bytecount, Unix socket, 4 connections",
            filter="bytecount",
            unix=True,
            connections=4,
            messages=20,
            body=_MB,
            subjects=("libmilter", *_EVERY_DRIVER),
        ),
        Job(
            "work-tcp-10",
            "A filter that parses each mail (Python's email package), TCP, 10 connections",
            filter="work",
            subjects=("demyjpy", "demyjpy-compiled", "demyjpy-workers"),
        ),
        Job(
            "idle-2000",
            "2,000 idle connections, noop, TCP",
            "idle",
            connections=2000,
            subjects=(
                *("libmilter", "pymilter", "kilter", "ppm", "plm-thread", "plm-async"),
                *_EVERY_DRIVER,
            ),
        ),
        Job("startup", "Start of `demyjpy run` until it listens", "startup", subjects=_EVERY_DRIVER),
        *(_mta(mta, name) for mta in ("postfix", "sendmail") for name in ("noop", "bytecount")),
        *(_mta(mta, "noop", unix=True) for mta in ("postfix", "sendmail")),
    )
}

"""Records and their medians: reading, keeping, asking. What they mean is for others to say."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.jobs import JOBS, SUBJECTS, Job, Subject

Record = dict[str, Any]
"""One measurement (`benchmarks.measure`), or how a job was measured: ``job about``."""


@dataclass(frozen=True)
class Figures:
    """All records that there are."""

    records: tuple[Record, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Figures":
        """Those of a file of JSON lines; none if it is not there."""
        if not path.exists():
            return cls()
        return cls(tuple(json.loads(line) for line in path.read_text().splitlines() if line))

    def write(self, path: Path) -> None:
        """All of them; a reader never sees half a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text("".join(f"{json.dumps(record)}\n" for record in self.records))
        partial.replace(path)

    def with_job(self, job: Job, records: Iterable[Record]) -> "Figures":
        """These records in place of those that there are of a job."""
        others = tuple(record for record in self.records if record["job"] != job.name)
        return Figures((*others, *records))

    def jobs(self) -> list[Job]:
        """Those measured, in the order of their table."""
        names = {record["job"] for record in self.records}
        return [job for job in JOBS.values() if job.name in names]

    def subjects(self, job: Job) -> list[Subject]:
        """Those measured in a job, in the order of their table."""
        names = {record.get("subject") for record in self.records if record["job"] == job.name}
        return [subject for subject in SUBJECTS.values() if subject.name in names]

    def about(self) -> list[Record]:
        """How the jobs were measured: what differs, once each."""
        found: list[Record] = []
        for record in self.records:
            if "about" in record and record["about"] not in found:
                found.append(record["about"])
        return found

    def of(self, job: str, subject: str) -> list[Record]:
        """The records of a subject in a job, round by round."""
        return [
            record
            for record in self.records
            if record["job"] == job and record.get("subject") == subject
        ]

    def get(self, job: str, subject: str, figure: str) -> float | None:
        """The median over the rounds, or None where nothing was measured."""
        values = [record[figure] for record in self.of(job, subject) if figure in record]
        return median(values) if values else None

    def span(self, job: str, subject: str, figure: str) -> tuple[float, float] | None:
        """The least and the most."""
        values = [record[figure] for record in self.of(job, subject) if figure in record]
        return (min(values), max(values)) if values else None

    def ratio(self, job: str, subject: str, figure: str, against: str = "libmilter") -> float | None:
        """How many times the other's median."""
        own, other = self.get(job, subject, figure), self.get(job, against, figure)
        return own / other if own is not None and other else None

    def troubles(self, job: str, subject: str) -> str:
        """What went wrong, or nothing."""
        records = self.of(job, subject)
        absent = next((record["absent"] for record in records if "absent" in record), "")
        if absent:
            return f"not measured: {absent}"
        failed = [record["failed"] for record in records if "failed" in record]
        errors = sum(record.get("errors", 0) for record in records)
        parts = [f"{errors} errors"] if errors else []
        if cut := sum(record.get("cut", 0) for record in records):
            recorded, answered = (
                sum(record.get(name, 0) for record in records) for name in ("recorded", "answered")
            )
            parts.append(f"{cut:,} sessions cut, {recorded:,} of {answered:,} messages recorded")
        if failed:
            reason = " ".join(failed[-1].split())[-160:]
            parts.append(f"{len(failed)} of {len(records)} runs failed: {reason}")
        return "; ".join(parts)

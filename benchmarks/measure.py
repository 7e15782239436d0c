"""One measurement: a subject does a job once. What comes of it is a flat dict, a line of JSON.

Keys of all: ``job subject round``; of a failure ``failed``; of a subject that cannot be measured
``absent``. The others are figures, named with their units.
"""

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.home import LOAD, ROOT, venv_python
from benchmarks.jobs import Job, Subject
from benchmarks.processes import (
    cpu_seconds,
    exact_cpu_seconds,
    machine_seconds,
    memory_kb,
    peak_kb,
)
from benchmarks.recordings import Recorded, read_recordings
from benchmarks.servers import Server, ServerError

Record = dict[str, Any]

_SIZED: Final = ("bytecount", "work")
"""Filters that add X-Message-Size."""

_IDLE_SECONDS: Final = 4
_LIMIT: Final = 120
"""Seconds after which a run of the load generator ends, whatever comes."""


@dataclass(frozen=True)
class Timing:
    """How long a job is measured: seconds, and seconds before; mails through an MTA."""

    seconds: float = 2.5
    warm: float = 0.5
    mails: int = 200


def measure(subject: Subject, job: Job, timing: Timing) -> Record:
    """The figures, or ``failed``."""
    if job.kind == "mta" and subject.name == "none":
        return _run_mta(None, job, timing)
    try:
        with Server(subject, job) as server:
            return _measure_server(server, job, timing)
    except ServerError as error:
        return {"failed": str(error)}


def _measure_server(server: Server, job: Job, timing: Timing) -> Record:
    if job.kind == "startup":
        return {"cpu_s": exact_cpu_seconds(server.pids)}
    time.sleep(0.2)  # a listening peer may not be quite ready
    if job.kind == "mta":
        return _run_mta(server.address, job, timing)
    if job.kind == "idle":
        return _run_idle(server, job)
    record = _run_load(server, job, timing)
    if not server.records or "failed" in record:
        return record
    server.finish()
    return check_recordings(read_recordings(server.scratch), record)


def load_command(job: Job, timing: Timing, address: str) -> list[str]:
    """The load generator's command line."""
    seconds, warm = timing.seconds * job.stretch, timing.warm * job.stretch
    command = [str(LOAD), "-c", str(job.connections), "-b", str(job.body), "-T", str(_LIMIT)]
    if job.kind == "idle":
        return [*command, "-I", str(_IDLE_SECONDS), "-e", "1", address]
    command += ["-m", str(job.messages), "-t", str(seconds), "-w", str(warm)]
    if job.filter in _SIZED:  # bodies of changing sizes: a count of the last message is seen
        command += ["-J", "97", "-X", "X-Message-Size"]
    if job.messages == 1:
        command += ["-e", "500"]  # some peers lose connections, and would have no figures at all
    return [*command, address]


def _last_json(text: str) -> Record:
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {}


def _run_load(server: Server, job: Job, timing: Timing) -> Record:
    base_kb = memory_kb(server.pids)
    cpu, machine = cpu_seconds(server.pids), machine_seconds()
    done = subprocess.run(
        load_command(job, timing, server.address),
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT + 60,
    )
    machine = machine_seconds() - machine
    pids = server.pids
    cpu = cpu_seconds(pids) - cpu
    load = _last_json(done.stdout)
    if not server.is_alive():
        return {"failed": f"it died: {server.output()}"}
    if not load.get("messages"):
        return {"failed": f"no message came through: {done.stderr.strip()}"}
    record = {
        "rate": load["msgs_per_s"],
        "mb_s": load["MB_per_s"],
        "cpu_us": cpu * 1e6 / load["total_messages"],
        "p50_ms": load["msg_us"]["p50"] / 1e3,
        "p99_ms": load["msg_us"]["p99"] / 1e3,
        "split": load["split"] / load["messages"],
        "base_mb": base_kb / 1024,
        "peak_mb": peak_kb(pids) / 1024,
        "grown_mb": (peak_kb(pids) - base_kb) / 1024,
        "load_cpu": load["cpu_share"],
        "other_cpu_s": max(0.0, machine - cpu - load["cpu_total_s"]),
        "errors": load["errors"] + load["timed_out"],
        "answered": load["total_messages"],
    }
    return {**record, "complaint": done.stderr.strip()[:200]} if record["errors"] else record


def check_recordings(found: Recorded, record: Record) -> Record:
    """What was recorded beside what was answered; less is a failure unless sessions were cut."""
    answered = record["answered"]
    if found.messages != answered and not found.cut:
        return {"failed": f"expected {answered} messages in the recordings, got {found.messages}"}
    return {**record, "recorded": found.messages, "cut": found.cut}


def _run_idle(server: Server, job: Job) -> Record:
    base_kb = memory_kb(server.pids)
    with subprocess.Popen(
        load_command(job, Timing(), server.address), stdout=subprocess.PIPE, text=True
    ) as load:
        if load.stdout is None:
            raise RuntimeError("expected a pipe from the load generator, got none")
        ready = _last_json(load.stdout.readline())
        time.sleep(0.5)
        pids = server.pids
        idle_kb = memory_kb(pids)
        cpu = cpu_seconds(pids)
        time.sleep(2)
        cpu = cpu_seconds(pids) - cpu
        end = _last_json(load.stdout.read()) or ready
    up = ready.get("idle_ready", 0)
    if up != job.connections:
        return {
            "failed": f"expected {job.connections} connections, got {up} and "
            f"{end.get('errors', 0)} errors; the server wrote: {server.output()}"
        }
    return {
        "kb_each": (idle_kb - base_kb) / job.connections,
        "base_mb": base_kb / 1024,
        "open_s": ready["seconds"],
        "cpu_share": cpu / 2,
        "errors": end.get("errors", 0),
    }


def _run_mta(address: str | None, job: Job, timing: Timing) -> Record:
    command = [str(venv_python("mta")), "-m", "benchmarks.mtas", "--mta", job.mta]
    command += ["--mails", str(timing.mails), "--sessions", str(job.connections)]
    command += ["--milter", address] if address else []
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_LIMIT * 3
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"{job.mta} did not end within {_LIMIT * 3} s"}
    return _last_json(done.stdout) or {"failed": f"{job.mta}: {done.stderr.strip()[-400:]}"}

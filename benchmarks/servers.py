"""Starting and stopping what is measured: a milter on a loopback address of its own."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.home import HERE, LIBMILTER_PEER, ROOT, venv_python
from benchmarks.jobs import Job, Subject
from benchmarks.processes import family

_PATIENCE: Final = 20.0
"""Seconds until it must listen."""


class ServerError(Exception):
    """A server that did not start, or has died; the text is what it wrote."""


def free_port() -> int:
    """A TCP port that is free on loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_of(subject: Subject, job: Job, where: str, address: str, scratch: Path) -> list[str]:
    """The command line of a subject with a job's filter."""
    names = {
        "filter": job.filter + subject.suffix,
        "filters": str(HERE / ("working.py" if job.filter == "work" else "filters.py")),
        "where": where,
        "address": address,
        "scratch": str(scratch),
        "peers": str(HERE / "peers"),
        "libmilter_peer": str(LIBMILTER_PEER),
        "python": str(venv_python(subject.venv)) if subject.venv else "",
    }
    return [part.format(**names) for part in subject.command]


class Server:
    """A subject with a job's filter, up for the length of a ``with`` block.

    ``address`` is where it listens, as the load generator and the MTAs take it; ``scratch`` a directory
    for what it writes.
    """

    def __init__(self, subject: Subject, job: Job) -> None:
        # Sendmail trusts no socket below a world-writable directory, so not /tmp
        parent = "/run" if os.access("/run", os.W_OK) else None
        self._directory = tempfile.TemporaryDirectory(prefix="demyjpy-bench-", dir=parent)
        Path(self._directory.name).chmod(0o755)
        self.scratch = Path(self._directory.name) / "scratch"
        self.scratch.mkdir()
        self._where = f"{self._directory.name}/milter.sock" if job.unix else str(free_port())
        self._is_unix = job.unix
        self._is_compiled = subject.compiled
        self.records = subject.records
        self.address = f"unix:{self._where}" if job.unix else f"inet:{self._where}@127.0.0.1"
        address = f"{self.address}?mode=666" if job.unix else self.address
        self.command = command_of(subject, job, self._where, address, self.scratch)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)

    def __enter__(self) -> Self:
        # away from the checkout, whose demyjpy is not the compiled one
        place = Path(self._directory.name) if self._is_compiled else ROOT
        self._process = subprocess.Popen(
            self.command,
            cwd=place,
            env={**os.environ, "PYTHONPATH": str(place)},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            umask=0,  # Postfix's user must be able to write to the socket
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self) -> None:
        end = time.monotonic() + _PATIENCE
        while not self._listens():
            if not self.is_alive():
                raise ServerError(f"it ended: {self.output()}")
            if time.monotonic() > end:
                raise ServerError(f"it did not listen within {_PATIENCE:.0f} s: {self.output()}")
            time.sleep(0.01)

    def _listens(self) -> bool:
        """Whether the kernel knows of it; a connection would be a session, and cost CPU."""
        if self._is_unix:
            listening = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
            return any(line[-1] == self._where and line[3] == "00010000" for line in listening)
        wanted = f"0100007F:{int(self._where):04X}"
        lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        return any(line[1] == wanted and line[3] == "0A" for line in lines)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        return family(self._process.pid)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def output(self) -> str:
        """The end of what it wrote."""
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - 600))
        return self._output.read().decode(errors="replace").strip()

    def finish(self) -> None:
        """Ask it to end and wait until it has, so that all is written; `ServerError` if it does not."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise ServerError(f"it did not end within {_PATIENCE:.0f} s: {self.output()}") from None

    def stop(self) -> None:
        """Ask it to end, then make it; with all that it started."""
        pids = self.pids
        for number, seconds in ((signal.SIGTERM, 0.3), (signal.SIGKILL, 5.0)):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
            if len(pids) == 1:
                break
        self._output.close()
        self._directory.cleanup()

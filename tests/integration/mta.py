"""What `Postfix` and `Sendmail` share: a real mail server, private in all that it reads and writes.

A server is told its milters and the port of a `Sink`, and is up for the length of a ``with`` block::

    with running_sink() as sink, Postfix(["inet:20025@127.0.0.1"], sink.port) as server:
        converse(server.port, ["EHLO client.test", "MAIL FROM:<a@test>", ...])
        server.settle()
        sink.take()

Where its milter does not answer, a server tempfails unless it is told otherwise; it waits 10 s for an
answer (Sendmail's default). RCPT to ``@refused.test`` is refused by the server itself. It runs in a
process namespace of its own, so that killing the first process of that ends all of it, and the kernel
does so when the test run dies.
Sendmail trusts no milter socket below a world-writable directory, hence all lies below /run.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Literal, Self, TypeAlias

from attrs import frozen

from tests.integration.fetch_mtas import PREFIX
from tests.integration.ports import free_port, wait_until

DefaultAction: TypeAlias = Literal["tempfail", "accept", "reject"]
"""What a server does where its milter does not answer."""

ANSWER_SECONDS: Final = 10
"""How long a server waits for each answer of its milter."""


@frozen
class Held:
    """A message in a server's quarantine. Postfix keeps no reason."""

    sender: str
    recipients: tuple[str, ...]
    reason: str | None


class Server(ABC):
    """A mail server that is up between ``__enter__`` and ``__exit__``."""

    name: ClassVar[str]
    host_name: ClassVar[str]

    def __init__(
        self,
        milters: Sequence[str],
        sink_port: int,
        default_action: DefaultAction | Literal["quarantine"] = "tempfail",
    ) -> None:
        # Postfix knows quarantine, too
        self.milters = tuple(milters)
        self.default_action = default_action
        self.sink_port = sink_port
        self.port = free_port()
        self.root = PREFIX / self.name
        self.base = Path(tempfile.mkdtemp(prefix=f"demyjpy-{self.name}-", dir="/run"))
        self.base.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self._shown = 0

    def __enter__(self) -> Self:
        try:
            self._configure()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self) -> None:
        with (self.base / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("unshare", "--uts", "--pid", "--fork", "--kill-child=KILL"),
                    *("sh", "-c", 'hostname "$0"; "$@"; exit $?', self.host_name, *self._command()),
                ],
                cwd=self.base,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(self._greets, f"{self.name} greets")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self._describe()}") from error

    def _greets(self) -> bool:
        """Whether a client gets a banner; any will do, for there may be no milter yet."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended\n{self._describe()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as client:
                banner = client.recv(100)
                client.sendall(b"QUIT\r\n")
                client.recv(100)
                return bool(banner)
        except OSError:
            return False

    def stop(self) -> None:
        """Kill the server and all that it started, and remove its files."""
        if self._process is not None:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            # the namespace's first process: gone only when all others in it are
            for pid in children.read_text().split() if children.exists() else ():
                os.kill(int(pid), signal.SIGKILL)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None
        shutil.rmtree(self.base, ignore_errors=True)

    def settle(self) -> None:
        """Wait until all mail is delivered, held or gone."""
        wait_until(lambda: not self._waiting(), f"{self.name} delivers its mail")

    def new_log_lines(self) -> str:
        """What the server has logged since the last call."""
        lines = self._read("log").splitlines()
        new, self._shown = lines[self._shown :], len(lines)
        return "\n".join(new)

    def _describe(self) -> str:
        return f"{self._read('output')}\n{self._read('log')}"

    def _read(self, name: str) -> str:
        path = self.base / name
        return path.read_text(errors="replace") if path.exists() else ""

    def _environment(self) -> Mapping[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "TZ": "UTC"}

    def _tool(self, *command: str | Path, stdin: bytes = b"") -> bytes:
        """What one of the server's own programs prints."""
        done = subprocess.run(
            ["unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', self.host_name, *command],
            env=self._environment(),
            input=stdin,
            capture_output=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    @abstractmethod
    def _configure(self) -> None:
        """Write the configuration below ``base``."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """What runs the server in the foreground."""

    @abstractmethod
    def _waiting(self) -> bool:
        """Whether mail is on its way through the queue."""

    @abstractmethod
    def held(self) -> tuple[Held, ...]:
        """The mail in quarantine."""

    @abstractmethod
    def purge(self) -> None:
        """Throw away what is in the queue, the quarantine included."""

    @abstractmethod
    def submit(self, sender: str, recipient: str, message: bytes) -> None:
        """Hand in a message as a local user does, with the server's own sendmail(1)."""

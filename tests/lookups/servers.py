"""Real servers on loopback ports, for the tests of `demyjpy.lookups`: started, stopped, started again.

Each is a child of the test and is stopped by its own pid. They are unpacked by
``python -m tests.integration.fetch_servers``; without them the tests are skipped.
"""

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from attrs import define, field

from demyjpy.declarations import Declarations
from demyjpy.drivers.asker import Asker
from demyjpy.engine.open_questions import Asked
from tests.integration import fetch_servers
from tests.integration.ports import free_port, wait_until


def need(name: str) -> pytest.MarkDecorator:
    """Skips a module if the server is not there, which is a failure with ``DEMYJPY_NO_SKIPS``."""
    reason = fetch_servers.what_is_missing(name)
    if name == "postgresql" and os.geteuid() != 0:
        reason = "only root can start it as another user"
    told = f"{reason}: run `python -m tests.integration.fetch_servers`"
    return pytest.mark.skipif(reason is not None, reason=told)


@define
class Server:
    """A program that listens at ``address``: a port on loopback, or a Unix socket."""

    command: list[Any]
    address: int | Path
    options: dict[str, Any] = field(factory=dict)
    process: Any = None

    def start(self) -> None:
        """Begin, and wait until it listens."""
        self.process = subprocess.Popen(
            [*map(str, self.command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self.options,
        )
        wait_until(self.is_listening, f"{self.command[0]} listens")

    def is_listening(self) -> bool:
        """Whether one can connect."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.command[0]} has ended with status {self.process.returncode}")
        family = socket.AF_INET if isinstance(self.address, int) else socket.AF_UNIX
        where: Any = ("127.0.0.1", self.address) if family == socket.AF_INET else str(self.address)
        with socket.socket(family) as probe:
            return probe.connect_ex(where) == 0

    def stop(self) -> None:
        """End it at once, as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this runs it accepts connections, and answers nothing."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for one in (pid, *map(int, children)):
            os.kill(one, signal.SIGSTOP)
        try:
            yield
        finally:
            for one in (pid, *map(int, children)):
                os.kill(one, signal.SIGCONT)


@contextmanager
def running(name: str, *arguments: Any, address: int | Path, **options: Any) -> Iterator[Server]:
    """One of the servers that were unpacked."""
    server = Server([fetch_servers.program(name), *arguments], address, options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def directory() -> Iterator[Path]:
    """A directory with a short name, as a Unix socket needs."""
    with tempfile.TemporaryDirectory(prefix="lk") as found:
        Path(found).chmod(0o755)
        yield Path(found)


@contextmanager
def unbound(data: str, *more: str) -> Iterator[Server]:
    """A resolver that knows these records, a line each, and no others; ``more``: more settings."""
    port = free_port()
    records = "".join(f"local-data: '{line}'\n" for line in data.strip().splitlines())
    with directory() as where:
        text = f"""
server:
interface: 127.0.0.1
port: {port}
do-daemonize: no
chroot: ""
directory: "{where}"
username: ""
pidfile: ""
use-syslog: no
module-config: "iterator"
do-not-query-address: 127.0.0.2
local-zone: "." static
{records}
"""
        (where / "conf").write_text(text + "\n".join(more), encoding="utf-8")
        with running("unbound", "-d", "-c", where / "conf", address=port) as server:
            yield server


def outcome(question: Any, resources: dict[str, Any] | None = None, within: float = 5.0) -> Any:
    """What becomes of a question with resources that are open already, in a loop of its own."""

    async def main() -> Any:
        return await ask_once(question, resources or {}, within)

    return asyncio.run(main())


async def ask_once(question: Any, resources: dict[str, Any], within: float = 5.0) -> Any:
    """What becomes of a question that is asked as a driver asks it, in the running loop."""
    loop = asyncio.get_running_loop()
    asker = Asker(lambda: loop, lambda declared: resources)
    told = loop.create_future()
    declared = Declarations(name="f", asks={})
    one = Asked(1, 0, "f", "k", question, within, declared=declared)
    asker.begin(one, lambda outcome, seconds: told.set_result(outcome))
    try:
        return await told
    finally:
        asker.close()


async def until(kind: type, question: Any, resources: dict[str, Any], within: float = 5.0) -> Any:
    """What becomes of a question as soon as that is of this kind: it is asked again and again."""
    for _ in range(1_000):
        found = await ask_once(question, resources, within)
        if isinstance(found, kind):
            return found
        await asyncio.sleep(0.005)
    raise TimeoutError(f"expected {kind.__name__}, got {found!r}")


def with_client(client: Callable[[], Any], main: Callable[[Any], Awaitable[Any]]) -> Any:
    """Open a client as a resource, run ``main(client)``, close it."""

    async def run() -> Any:
        async with client() as opened:
            return await main(opened)

    return asyncio.run(run())


@contextmanager
def postgresql() -> Iterator[Server]:
    """A database server in which the user ``filter`` may do all."""
    port = free_port()
    with directory() as where:
        template = fetch_servers.database_template()
        subprocess.run(["cp", "-a", template, where / "data"], check=True)  # with its owner
        settings = (
            "-F",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "shared_buffers=1MB",
            "-k",
            where / "data",
        )
        place = ("-D", where / "data", "-p", port)
        nobody = {"user": "nobody", "group": "nogroup"}
        status = where / "data/postmaster.pid"  # it listens some time before it answers
        with running("postgresql", *place, *settings, address=port, cwd=where, **nobody) as server:
            wait_until(lambda: status.read_text().split()[-1] == "ready", "PostgreSQL is ready")
            yield server


@contextmanager
def redis_server() -> Iterator[Server]:
    """A Redis that keeps nothing on disk."""
    port = free_port()
    program = fetch_servers.program("redis")  # by its first argument it is the server
    options = ("--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    with directory() as where:
        server = Server(
            ["redis-server", *options, "--dir", where], port, {"executable": program, "cwd": where}
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()


SLAPD = """
include {root}/etc/ldap/schema/core.schema
include {root}/etc/ldap/schema/cosine.schema
include {root}/etc/ldap/schema/inetorgperson.schema
modulepath {root}/usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {where}/certificate
TLSCertificateKeyFile {where}/key
sizelimit 5
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw secret
directory {where}
dbnosync
access to attrs=title by users read by * none
access to * by * read
"""
"""The title is shown only to those who have logged in; it gives at most 5 entries."""


@contextmanager
def slapd(entries: str, *urls: str, tls: tuple[str, str] | None = None) -> Iterator[Server]:
    """A directory with these entries (LDIF) on a port, and at more URLs.

    ``{where}`` in a URL is its own directory. ``tls``: a certificate and its key, in PEM.
    """
    port, root = free_port(), fetch_servers.PREFIX / "openldap"
    program, options = fetch_servers.program("openldap"), {"env": fetch_servers.environment("openldap")}
    with directory() as where:
        text = SLAPD.format(root=root, where=where)
        if tls is None:
            text = "\n".join(line for line in text.splitlines() if not line.startswith("TLS"))
        else:
            (where / "certificate").write_text(tls[0], encoding="ascii")
            (where / "key").write_text(tls[1], encoding="ascii")
        (where / "conf").write_text(text, encoding="utf-8")
        (where / "entries").write_text(entries, encoding="utf-8")
        filling = [program, "-T", "add", "-q", "-f", where / "conf", "-l", where / "entries"]
        subprocess.run(filling, check=True, **options)
        listening = [
            f"ldap://127.0.0.1:{port}",
            *(one.format(where=quote(str(where), "")) for one in urls),
        ]
        command = ("-f", where / "conf", "-h", " ".join(listening), "-d", "0")
        with running("openldap", *command, address=port, **options) as server:
            yield server


@contextmanager
def clamd(*signatures: str) -> Iterator[Server]:
    """A virus scanner with these signatures (``name:kind:offset:hex``) on a Unix socket."""
    with directory() as where:
        socket_file = where / "clamd"
        (where / "test.ndb").write_text("\n".join(signatures) + "\n", encoding="ascii")
        settings = (
            f"LocalSocket {socket_file}",
            f"DatabaseDirectory {where}",
            "Foreground yes",
            "FixStaleSocket yes",
            "StreamMaxLength 1M",
            "MaxThreads 2",
            f"TemporaryDirectory {where}",
        )
        (where / "conf").write_text("\n".join(settings) + "\n", encoding="utf-8")
        with running("clamav", "-c", where / "conf", address=socket_file) as server:
            yield server

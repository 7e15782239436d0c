"""A headless Chromium, spoken to by its pipe (DevTools protocol): no library and no port is needed.

What is asked of pages does not live here, see `screenshots`.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
PATIENCE: Final = 60.0
"""Seconds for one answer."""

_OPTIONS: Final = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)
_START: Final = """\
import fcntl, os, sys
pipes = [fcntl.fcntl(int(one), fcntl.F_DUPFD_CLOEXEC, 10) for one in sys.argv[1:3]]
[os.close(int(one)) for one in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts the browser, which reads descriptor 3 and writes 4."""


class ChromiumError(Exception):
    """The browser is not there, does not answer, or says that something failed."""


def find_chromium() -> str:
    """The program. `ChromiumError` if there is none."""
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    raise ChromiumError(f"expected one of {', '.join(NAMES)} on PATH: apt-get install chromium")


@define
class Chromium:
    """A running browser: what is sent to it, what came, and the events that nobody has read."""

    _reading: int
    _writing: int
    session: str = ""
    events: list[dict[str, Any]] = field(factory=list)
    _count: int = 0
    _rest: bytes = b""

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method, of the page if there is one; its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        _write(self._writing, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            came = self._next(end)
            if came.get("id") == self._count:
                break
            self.events.append(came)
        if "error" in came:
            raise ChromiumError(f"{method}: {came['error'].get('message')}")
        result: dict[str, Any] = came["result"]
        return result

    def wait(self, method: str) -> None:
        """Wait for an event; those before it stay among ``events``."""
        end = time.monotonic() + PATIENCE
        while not any(one.get("method") == method for one in self.events):
            self.events.append(self._next(end))

    def open_page(self) -> None:
        """Open a tab, which `ask` speaks to from now on."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def evaluate(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise ChromiumError(f"{script}: {result['exceptionDetails'].get('text')}")
        return result["result"].get("value")

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._reading, 1 << 20) if ready else b""
            if not data:
                raise ChromiumError(f"expected an answer within {PATIENCE:g} s, got none")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


def _write(to: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(to, data) :]
    except BrokenPipeError:
        raise ChromiumError("expected a browser that reads, got one that has ended") from None


@contextmanager
def chromium(program: str, options: Sequence[str] = ()) -> Iterator[Chromium]:
    """A browser with one tab, ended with the block. Its profile is a directory that goes, too."""
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    its_in, writing = os.pipe()
    reading, its_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [program, *_OPTIONS, *root, *options, f"--user-data-dir={home}"]
        start = [sys.executable, "-c", _START, str(its_in), str(its_out), *command]
        with (Path(home) / "errors").open("wb") as errors:
            running = subprocess.Popen(  # noqa: S603  # the program is Debian's, the rest stands above
                start, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=(its_in, its_out)
            )
        os.close(its_in)
        os.close(its_out)
        try:
            browser = Chromium(reading, writing)
            browser.open_page()
            yield browser
        finally:
            os.close(writing)
            running.kill()  # its children go with it
            running.wait()
            os.close(reading)

"""Chromium without a window, over a pair of pipes: the DevTools protocol, and no library for it.

https://chromedevtools.github.io/devtools-protocol/ says what can be asked. Messages are JSON, each with
a zero byte at its end (``--remote-debugging-pipe``). Nothing is loaded but files.
"""

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
MOST = 10_000
"""Messages of the browser that are read for one answer."""


class Browser:
    """A tab of a browser that is asked over its pipes."""

    def __init__(self, to: int, come_from: int) -> None:
        self._to, self._from = os.fdopen(to, "wb", buffering=0), os.fdopen(come_from, "rb")
        self._number = 0
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        found = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        self.ask("Page.enable")

    def close(self) -> None:
        """Give the pipes back."""
        self._to.close()
        self._from.close()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What is answered to a method; `RuntimeError` if that is an error."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda one: one.get("id") == self._number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def _wait(self, is_it: Any) -> dict[str, Any]:
        for _ in range(MOST):
            data = bytearray()
            while (one := self._from.read(1)) not in (b"\0", b""):
                data += one
            if not data:
                raise RuntimeError("the browser has ended")
            message = json.loads(data)
            if is_it(message):
                return dict(message)
        raise RuntimeError(f"no answer among {MOST} messages")

    def show(self, page: Path, width: int, scheme: str, media: str = "") -> None:
        """Load a file, as wide as this, ``light`` or ``dark``."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)
        self.ask("Page.navigate", url=page.resolve().as_uri())
        self._wait(lambda one: one.get("method") == "Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page; its policy does not hold for us."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def picture(self, path: Path, height: int | None = None) -> None:
        """Save the page as PNG: all of it, or only its first pixels."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "scale": 1}
        clip["height"] = min(size["height"], height or 8000)
        found = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path) -> None:
        """Save it as it is printed, A4."""
        found = self.ask("Page.printToPDF", preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """One, while the block runs; its files are gone after it."""
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()

    start = f'exec chromium "$@" 3<&{their_in} 4>&{their_out}'  # these are the two that it uses
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            ["bash", "-c", start, "bash", *FLAGS, f"--user-data-dir={home}"],
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            os.close(their_in)
            os.close(their_out)
            one = Browser(our_out, our_in)
            yield one
            one.close()
        finally:
            process.terminate()
            process.wait(30)

"""Loopback ports, and waiting with an end."""

import os
import random
import socket
import time
from collections.abc import Callable
from typing import Final

_FIRST: Final = 20_000
_LAST: Final = 32_000
"""Below the range from which the kernel numbers outgoing connections: those would get in the way."""


def free_port() -> int:
    """A TCP port that is free on loopback now and that no outgoing connection takes."""
    generator = random.Random(os.urandom(8))
    while True:
        port = generator.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def wait_until(is_done: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Poll until ``is_done()``; `TimeoutError` names ``what`` if that takes too long."""
    end = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)

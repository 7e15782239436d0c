"""Mail servers in a box, in a thread of the test."""

import asyncio
import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demyjpy.cli.mail_journal import Journal
from demyjpy.cli.output import Paint
from demyjpy.mta.box import Box
from demyjpy.mta.box_settings import Store
from tests.cli.conftest import MAIL as MAIL_LF
from tests.cli.servers import PATIENCE

MAIL = MAIL_LF.replace(b"\n", b"\r\n")


class Server:
    """A box in a thread: its port and its Maildir."""

    def __init__(self, box: Box, path: Path) -> None:
        self.box = box
        self.journal: Journal
        self.port = box.address.port
        self.path = path

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, "c.example", timeout=PATIENCE)

    def stored(self, folder: str = "") -> list[bytes]:
        """All that is in the Maildir."""
        return [path.read_bytes() for path in sorted((self.path / folder / "new").iterdir())]


@contextmanager
def serving(path: Path, *milters: str, **options: Any) -> Iterator[Server]:
    """A box on a free port while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    names = {f"m{number}": milter for number, milter in enumerate(milters, 1)}
    box = Box(options.pop("address", "inet:0@127.0.0.1"), names, Store(path), **options)
    call(box.__aenter__())
    server = Server(box, path)

    box.report = server.journal = Journal(list(names), Paint(is_on=False), print)
    try:
        yield server
    finally:
        call(box.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()

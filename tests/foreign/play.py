"""One conversation in the box and behind a real Postfix, with the same milters; and what comes of it."""

import asyncio
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from attrs import evolve, frozen

from demyjpy.mta.box import Box
from demyjpy.mta.box_settings import Store
from demyjpy.trace import Trace, load
from tests.foreign.scenarios import Conversation
from tests.integration.postfix import Postfix
from tests.integration.scenario import Mail, ordered
from tests.integration.smtp import Delivery, Sink, converse

_ID: Final = re.compile(r"queued as (\w+)")
_VOLATILE: Final = (
    (re.compile(r"\b(t|x)=\d{10}"), r"\1="),
    (re.compile(r"\bb=[A-Za-z0-9+/=\s]+"), "b="),
    (re.compile(r"\w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}( \(\w+\))?"), "DATE"),
    (re.compile(r"^(Message-Id: <)[^@>]*(@postfix.test>)", re.IGNORECASE), r"\1ID\2"),
    (re.compile(r"id=\d+-\d+"), "id="),
)
"""What differs from one time to the next: signatures, times."""


@frozen
class Came:
    """What came of a conversation: replies, what was delivered, and what was held, as it would be."""

    replies: tuple[str, ...]
    delivered: tuple[Mail, ...]
    held: tuple[Mail, ...]

    def plain(self) -> "Came":
        """Without what is another each time."""
        ids = [found[1] for reply in self.replies for found in _ID.finditer(reply)]

        def same(text: str) -> str:
            for one in ids:
                text = text.replace(one, "QUEUE-ID")
            for pattern, instead in _VOLATILE:
                text = pattern.sub(instead, text)
            return text

        def mails(found: Sequence[Mail]) -> tuple[Mail, ...]:
            return ordered(evolve(one, headers=tuple(map(same, one.headers))) for one in found)

        replies = tuple(same(_capabilities_apart(reply)) for reply in self.replies)
        return Came(replies, mails(self.delivered), mails(self.held))


def _capabilities_apart(reply: str) -> str:
    """The box offers less than Postfix; the first line is the same."""
    first, *rest = reply.split("\n")
    return first if rest and first.startswith("250 postfix.test") else reply


class Mta(Protocol):
    """Where a conversation is led."""

    def play(self, conversation: Conversation) -> Came:
        """Lead it, and wait for what comes of it."""


# -------------------------------------------------------------------------------------- the box
class BoxMta:
    """The mail server in a box, in a thread."""

    def __init__(self, port: int, store: Store) -> None:
        self._port, self._store = port, store

    def play(self, conversation: Conversation) -> Came:
        """Lead it there."""
        replies = converse(self._port, conversation.steps)
        delivered = tuple(self._take(self._store.path / "new"))
        return Came(replies, delivered, tuple(self._take(self._store.path / ".quarantine/new")))

    @staticmethod
    def _take(directory: Path) -> Iterator[Mail]:
        for path in sorted(directory.glob("*")):
            content = path.read_bytes()
            path.unlink()
            envelope, recipients = content.split(b"\n", 1), []
            sender = envelope[0].removeprefix(b"Return-Path: ").strip(b"<>").decode()
            while envelope[1].startswith(b"Delivered-To: "):
                first, rest = envelope[1].split(b"\n", 1)
                recipients.append(first.removeprefix(b"Delivered-To: ").decode())
                envelope = [b"", rest]
            message = envelope[1].replace(b"\n", b"\r\n")
            yield _sorted(Mail.from_delivery(Delivery(sender, tuple(recipients), message)))


def _sorted(mail: Mail) -> Mail:
    bare = tuple(sorted(one.split(" ")[0] for one in mail.recipients))
    return evolve(mail, sender=mail.sender.split(" ")[0], recipients=bare)


@contextmanager
def box(milters: Sequence[str]) -> Iterator[BoxMta]:
    """A box that asks these milters."""
    begun, ending = threading.Event(), asyncio.Event()
    found: list[BoxMta] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve(directory: str) -> None:
        store = Store(directory)
        async with Box("inet:0@127.0.0.1", milters, store, host="postfix.test") as one:
            found.append(BoxMta(one.address.port or 0, store))
            loops.append(asyncio.get_running_loop())
            begun.set()
            await ending.wait()

    with tempfile.TemporaryDirectory() as directory:
        thread = threading.Thread(target=lambda: asyncio.run(serve(directory)))
        thread.start()
        if not begun.wait(10):
            raise RuntimeError("the box does not listen")
        try:
            yield found[0]
        finally:
            loops[0].call_soon_threadsafe(ending.set)
            thread.join(10)


# -------------------------------------------------------------------------------------- Postfix
class PostfixMta:
    """A real Postfix."""

    def __init__(self, server: Postfix, sink: Sink) -> None:
        self.server, self._sink = server, sink

    def play(self, conversation: Conversation) -> Came:
        """Lead it there; held mail is let go, to be seen."""
        self._sink.take()
        replies = converse(self.server.port, conversation.steps)
        self.server.settle()
        delivered = self._delivered()
        held: tuple[Mail, ...] = ()
        if self.server.held():
            self.server.release()
            self.server.settle()
            held = self._delivered()
        return Came(replies, delivered, held)

    def _delivered(self) -> tuple[Mail, ...]:
        return tuple(_sorted(Mail.from_delivery(one)) for one in self._sink.take())


# ------------------------------------------------------------------------------------- watching
@contextmanager
def snooper(address: str, milter: str, directory: Path) -> Iterator[None]:
    """``demyjpy snoop`` in front of a milter, on this interpreter."""
    command = ("snoop", "--listen", address, "--to", milter, "--record", str(directory), "--quiet")
    with subprocess.Popen(
        [sys.executable, "-m", "demyjpy", *command], stdout=subprocess.PIPE
    ) as started:
        assert started.stdout is not None
        started.stdout.readline()
        try:
            yield
        finally:
            started.terminate()
            started.wait(60)


def recorded(directory: Path) -> list[Trace]:
    """The sessions in a directory of traces."""
    return [trace for path in sorted(directory.glob("*.jsonl")) for trace in load(path)]


def marked_as_odd(traces: Sequence[Trace]) -> list[str]:
    """What the snooper found odd, and what it could not read."""
    records = [record for trace in traces for record in trace.records]
    odd = [str(one["odd"]) for one in records if "odd" in one]
    return [*odd, *(str(one["problem"]) for one in records if "problem" in one)]


def replayed(directory: Path) -> str:
    """What ``demyjpy replay TRACE`` says that differs; nothing if all is equal."""
    command = [sys.executable, "-m", "demyjpy", "replay", *map(str, sorted(directory.glob("*.jsonl")))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[:2000]


def fates(traces: Sequence[Trace]) -> list[str]:
    """What ``explain`` says became of each message, in order."""
    return [str(message.outcome) for trace in traces for message in trace.messages]

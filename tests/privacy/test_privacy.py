"""Nothing of a mail is in anything that a milter writes, whatever fails: but its envelope and queue id.

Each place of a session has a word of its own; then all that was written is searched for these words.
"""

import asyncio
import io
import json
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import prometheus_client
import pytest

from demyjpy import (
    Body,
    Connect,
    Data,
    EndOfHeaders,
    EndOfMessage,
    Header,
    Hello,
    Limits,
    Quit,
    Unknown,
    define_event_handlers,
    merge_handlers,
    running,
    send_action,
)
from demyjpy.actions import Accept, AddHeader, ChangeHeader, InsertHeader, ReplaceBody, ReplyCode
from demyjpy.cli import logs
from demyjpy.cli.logs import logging_to
from demyjpy.engine.tape import Watcher
from demyjpy.metrics.board import Board
from demyjpy.metrics.counting import Metrics
from demyjpy.metrics.notes import Notes, last_errors
from demyjpy.metrics.page import Status, page
from demyjpy.starting import all_of
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.live.explain_line import Explainer
from demyjpy.trace.live.flight import FlightRecorder, Triggers
from demyjpy.trace.live.recorder import Recorder
from demyjpy.wire.framing import join_frame
from tests.drivers.peer import Peer, packet

ALLOWED: Final = ("senderword", "recipientword", "queueword")
SECRET: Final = (
    "heloword", "helomacroword", "mailparamword", "mailmacroword", "rcptparamword", "rcptmacroword",
    "headernameword", "headervalueword", "secondnameword", "secondvalueword", "bodyword", "moreword",
    "unknownword", "eommacroword", "connectmacroword", "garbageword", "datamacroword",
)  # fmt: skip


def defined(letter: str, **macros: str) -> bytes:
    """Macros for a command."""
    names = {name: f"{{{name}}}" if len(name) > 1 else name for name in macros}
    pairs = "".join(f"{names[name]}\0{value}\0" for name, value in macros.items())
    return join_frame(ord("D"), f"{letter}{pairs}".encode())


SESSION: Final = {
    "connect": defined("C", j="connectmacroword", client_addr="192.0.2.1")
    + packet(Connect("[192.0.2.1]")),
    "hello": defined("H", tls_version="helomacroword") + packet(Hello("heloword")),
    "unknown": packet(Unknown("unknownword x")),
    "mail": defined("M", i="queueword", mail_host="mailmacroword")
    + join_frame(ord("M"), b"<senderword@example.org>\0X=mailparamword\0"),
    "recipient": defined("R", rcpt_mailer="rcptmacroword")
    + join_frame(ord("R"), b"<recipientword@example.org>\0Y=rcptparamword\0"),
    "data": defined("T", x="datamacroword") + packet(Data()),
    "header": packet(Header("headernameword", "headervalueword"))
    + packet(Header("secondnameword", "secondvalueword")),
    "end_of_headers": packet(EndOfHeaders()),
    "body": packet(Body(b"bodyword\r\n")) + packet(Body(b"moreword\r\n")),
    "end_of_message": defined("E", e="eommacroword") + packet(EndOfMessage()),
}  # fmt: skip
EVENTS: Final = (*SESSION, "abort", "disconnect")


def filter_of(act: Callable[[Any, Any], Any], *events: str, **options: Any) -> Any:
    """A filter with this handler at these events, by default at all; others keep what they get."""
    handlers = define_event_handlers(actions={"add_header", "change_header"}, state={"seen": ()})
    for name in EVENTS:
        is_bad = name in (events or EVENTS)
        handlers.add(name, act if is_bad else keep, **(options if is_bad else {}))
    return handlers


def keep(event: Any, ctx: Any) -> Any:
    """A handler after which the context has the mail in it."""
    return ctx.set("seen", (*ctx["seen"], event))


def go_on(error: Exception, event: Any, ctx: Any) -> Any:
    """A policy with which all of a session is seen whatever fails."""
    return keep(event, ctx)


def words_of(event: Any, ctx: Any) -> str:
    """What a bad filter puts into its actions: all that it has seen."""
    return repr((event, ctx["seen"], ctx["macros"]))


def refusal(text: str) -> Any:
    """A reply with a text of the mail."""
    return ReplyCode(550, "5.7.1", text)


def raises(kind: type[BaseException]) -> Callable[[Any, Any], Any]:
    """A handler that raises; its text holds nothing."""

    def fail(event: Any, ctx: Any) -> Any:
        raise kind("on purpose")

    return fail


def raises_in_chain(event: Any, ctx: Any) -> Any:
    """One exception out of another."""
    try:
        raises(ValueError)(event, ctx)
    except ValueError as error:
        raise LookupError("on purpose, too") from error


BAD: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "returns nothing": lambda event, ctx: None,
    "returns the event": lambda event, ctx: event,
    "returns a text": words_of,
    "returns a dict": lambda event, ctx: dict(ctx),
    "raises": raises(ValueError),
    "interrupts": raises(KeyboardInterrupt),
    "raises in a chain": raises_in_chain,
    "two verdicts": lambda event, ctx: send_action(ctx, Accept(), refusal(words_of(event, ctx)[:90])),
    "a reply of the wrong class": lambda event, ctx: send_action(
        ctx, ReplyCode(550, "4.7.1", words_of(event, ctx))
    ),
    "a field of the mail": lambda event, ctx: send_action(ctx, AddHeader("X", words_of(event, ctx))),
    "a bad field": lambda event, ctx: send_action(ctx, AddHeader("X", words_of(event, ctx) + "\0")),
    "a bad name": lambda event, ctx: send_action(ctx, AddHeader(words_of(event, ctx), "x")),
    "a bad index": lambda event, ctx: send_action(ctx, ChangeHeader(words_of(event, ctx), "x", "x")),  # type: ignore[arg-type]
    "undeclared": lambda event, ctx: send_action(ctx, ReplaceBody(words_of(event, ctx).encode())),
    "no action": lambda event, ctx: ctx.set("queue", (words_of(event, ctx),)),
    "no queue": lambda event, ctx: ctx.set("queue", words_of(event, ctx)),
    "no context": lambda event, ctx: ctx.remove("connection"),
}  # fmt: skip


class Written:
    """All that is written while it is entered: the log everywhere, and what observers keep."""

    def __init__(self, directory: Path, *, is_watched: bool) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._screen = io.BytesIO()
        self._registry = prometheus_client.CollectorRegistry()
        self._board = Board(1)
        self.observer: Any = None
        self.watchers: tuple[Any, ...] = ()
        if is_watched:
            privacy, triggers = Privacy(keep="envelope"), Triggers(sample=1)
            self._flights = FlightRecorder(directory / "flights", privacy=privacy, triggers=triggers)
            self._recorder = Recorder(directory / "recordings")
            self._stack.callback(self._flights.close)
            self._stack.callback(self._recorder.close)
            metrics, notes = Metrics(self._registry), Notes(self._board)
            watching = [Explainer(), self._flights, metrics, notes, self._recorder]
            self.observer = all_of([one for one in watching if not isinstance(one, Watcher)])
            self.watchers = tuple(one for one in watching if isinstance(one, Watcher))

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        self._device = enter(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._device.bind(str(self._directory / "device"))
        self._device.setblocking(False)
        patch = enter(pytest.MonkeyPatch.context())
        patch.setattr(logs, "DEVICE", str(self._directory / "device"))
        patch.setattr(sys, "stderr", io.TextIOWrapper(self._screen, "utf-8"))
        for as_json in (False, True):
            for place in ("stderr", "syslog", str(self._directory / f"log-{as_json}")):
                enter(logging_to(place, "debug", as_json=as_json))
        return self

    def __exit__(self, *exc: object) -> None:
        self.log = self._screen.getvalue() + self._datagrams()
        self._stack.close()

    def _datagrams(self) -> bytes:
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self._device.recv(1 << 20))
        return b"".join(found)

    def _contents(self, pattern: str) -> list[bytes]:
        while True:
            with suppress(FileNotFoundError):  # a file got its last name just now
                return [one.read_bytes() for one in self._directory.glob(pattern)]

    def everything(self) -> str:
        """All of it, as text."""
        found = [self.log, *(one.read_bytes() for one in self._directory.glob("log-*"))]
        found += self._contents("*.json")
        found += [prometheus_client.generate_latest(self._registry)]
        errors = last_errors(self._board)
        status = Status({"filter": "x"}, now=0.0, started=0.0, is_ready=True, last_errors=errors)
        found += [page(status).encode()]
        found += self._contents("flights/*")
        for path in self._directory.glob("recordings/*"):
            found += [
                dump_record(ENVELOPE.of(json.loads(line))) for line in path.read_text().splitlines()
            ]
        return b"\n".join(found).decode("utf-8", "replace")


ENVELOPE: Final = Privacy(keep="envelope")


def found_in(text: str) -> set[str]:
    """The words of the mail that are in a text, in any disguise that a trace or a log knows."""
    return {
        word
        for word in SECRET
        for data in [word.encode()]
        if any(form in text for form in (word, word.upper(), *(_base64(data, at) for at in range(3))))
    }


def _base64(data: bytes, at: int) -> str:
    """What is always in the base64 of something that has these bytes at such an offset."""
    return b64encode(b"x" * at + data)[4 if at else 0 : -4].decode()


def play(
    handlers: Any, tmp_path: Path, parts: Iterable[bytes] = SESSION.values(), **options: Any
) -> str:
    """A session with this filter, once in the hot path and once watched; all that was written."""
    found = ""
    for is_watched in (False, True):
        directory = tmp_path / f"watched-{is_watched}"
        directory.mkdir()
        with (
            Written(directory, is_watched=is_watched) as written,
            running(
                handlers, observer=written.observer, watchers=written.watchers, **options
            ) as address,
            Peer(address) as peer,
        ):
            peer.negotiate()
            for part in parts:
                peer.send(part)
            peer.send(packet(Quit()))
            peer.drain()
        found += written.everything()
    return found


@pytest.fixture(params=["asyncio", "threads"])
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver in turn."""
    return str(request.param)


@pytest.mark.parametrize("kind", BAD)
def test_handlers_that_fail_tell_nothing_of_the_mail(driver, kind, tmp_path):
    """Whatever is wrong with them, at every event of a session."""
    text = play(filter_of(BAD[kind]), tmp_path, driver=driver, on_error=go_on)
    assert found_in(text) == set()
    assert text.count(" failed at ") >= 6 * len(EVENTS)


@pytest.mark.parametrize("kind", sorted(BAD.keys() - {"a field of the mail"}))
@pytest.mark.parametrize("on_error", ["tempfail", BAD["returns the event"], BAD["raises in a chain"]])
def test_nor_does_the_policy(driver, kind, on_error, tmp_path):
    """Whatever the policy is, and if it fails itself."""

    def policy(error: Exception, event: Any, ctx: Any) -> Any:
        return on_error(event, ctx)

    chosen = policy if callable(on_error) else on_error
    text = play(filter_of(BAD[kind], "end_of_message"), tmp_path, driver=driver, on_error=chosen)
    assert found_in(text) == set()
    assert text.count(" failed at ") >= 6


async def dawdle(event: Any, ctx: Any) -> Any:
    """A handler that takes too long."""
    await asyncio.sleep(20)


async def lose(event: Any, ctx: Any) -> Any:
    """An async handler that fails."""
    await asyncio.sleep(0)


def linger(event: Any, ctx: Any) -> Any:
    """A plain handler that takes too long."""
    time.sleep(0.3)
    return ctx


@pytest.mark.parametrize(
    ("chosen", "act", "options"),
    [
        ("asyncio", dawdle, {}),
        ("asyncio", lose, {}),
        ("asyncio", linger, {"blocking": True}),
        ("threads", linger, {"blocking": True}),
    ],
)
def test_nor_do_handlers_that_run_apart(chosen, act, options, tmp_path):
    """Late ones, and tasks."""
    handlers = filter_of(act, "end_of_message", **options)
    text = play(handlers, tmp_path, driver=chosen, handler_timeout=0.1)
    assert found_in(text) == set()
    assert text.count(" failed at end_of_message") >= 6


def test_nor_do_merged_filters(driver, tmp_path):
    """Two that edit, of which the second wants an index that several filters cannot have."""

    def replace(event: Any, ctx: Any) -> Any:
        words = words_of(event, {**ctx, "seen": ()})
        return send_action(ctx, ReplaceBody(words.encode()), InsertHeader(2, "X-Words", words[:200]))

    kinds = {"change_body", "add_header"}
    filters = [
        define_event_handlers({"body": lambda event, ctx: ctx, "end_of_message": then}, actions=kinds)
        for then in (lambda event, ctx: ctx, replace)
    ]
    text = play(merge_handlers(filter_of(keep), *filters), tmp_path, driver=driver)
    assert found_in(text) == set()
    assert (
        "InsertHeader: in a chain of filters, or beside become, the index of X-Words must be 0" in text
    )


@pytest.mark.parametrize("limits", [Limits(headers=1), Limits(message=10), Limits(recipients=1)])
def test_nor_do_limits(driver, limits, tmp_path):
    """That a message passes."""
    parts = [part for name, part in SESSION.items() for _ in range(1 + (name == "recipient"))]
    text = play(filter_of(keep), tmp_path, parts, driver=driver, limits=limits)
    assert found_in(text) == set()
    assert "the option limits=" in text


BROKEN: Final = {
    "an unknown letter": join_frame(ord("Z"), b"garbageword"),
    "a bad length": b"garbageword",
    "out of order": join_frame(ord("H"), b"garbageword") + packet(EndOfMessage()),
    "no end": join_frame(ord("M"), b"garbageword"),
    "half a field": join_frame(ord("L"), b"garbageword"),
    "a field without end": join_frame(ord("L"), b"garbageword\0garbageword"),
    "an address of no family": join_frame(ord("C"), b"garbageword\0garbageword\0"),
    "no address": join_frame(ord("C"), b"garbageword\x004\0\x19garbageword\0"),
    "macros": join_frame(ord("D"), b"Mgarbageword") + join_frame(ord("D"), b"Zgarbageword\0x\0"),
    "no offer": join_frame(ord("O"), b"garbageword"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("before", [0, 1, 5, 9])
def test_nor_does_a_peer_that_breaks_the_protocol(driver, broken, before, tmp_path):
    """At the start and in the middle of a message."""
    parts = [*list(SESSION.values())[:before], BROKEN[broken], packet(EndOfHeaders())]
    text = play(filter_of(keep), tmp_path, parts, driver=driver)
    assert found_in(text) == set()


def test_the_envelope_is_found(driver, tmp_path):
    """What may be written is: else this test would find nothing anywhere."""
    text = play(filter_of(BAD["raises"], "end_of_message"), tmp_path, driver=driver)
    assert all(word in text for word in ALLOWED)
    assert found_in(text + "bodyword") == {"bodyword"}
    assert found_in(b64encode(b"abMOREWORD".lower() + b"cd").decode()) == {"moreword"}

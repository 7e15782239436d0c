"""``demyjpy snoop``: what an MTA and a milter say to each other, live and recorded."""

import argparse
import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Self

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.cli.arguments import (
    ADDRESS,
    COLOR,
    RECORDING,
    SECONDS_OR_0,
    TO_MILTER,
    Command,
    argument,
    flag,
    limit,
)
from demyjpy.cli.errors import InputError
from demyjpy.cli.output import Paint, paint_for, say
from demyjpy.cli.signals import until_signal
from demyjpy.drivers.address import Address, parse_address
from demyjpy.drivers.report import log
from demyjpy.errors import MilterError
from demyjpy.shown import safe
from demyjpy.trace.display.wording import flag_words, plural, shorten, words_of
from demyjpy.trace.format.converters import AFTER_LOSS
from demyjpy.trace.format.json_events import load_action, load_event
from demyjpy.trace.format.records import Record
from demyjpy.trace.live.recorder import Tray
from demyjpy.trace.live.wire_recorder import WireRecorder
from demyjpy.trace.snoop.snooper import AWAY, STOPPED, Snooper

_EPILOG: Final = """\
examples:
  demyjpy snoop --listen inet:20026@localhost --to inet:20025@localhost
  demyjpy snoop --listen 'unix:/run/demyjpy/snoop.sock?group=postfix' --to unix:/run/opendkim.sock
  demyjpy snoop --listen 20026 --to 20025 --record traces --quiet

Put it in front of any milter, in any language, and give the MTA its address instead of the milter's.
Bytes go through at once, and unchanged. While the milter is down, snoop does not listen either. It
marks odd things with !!: an answer that the MTA does not expect, a change that was not negotiated, 8
seconds without an answer.
SIGTERM and SIGINT end it when the sessions are over (see --grace), a second one at once.
Exit status: 0 after a signal, 1 if it cannot listen or record, 2 if the arguments are wrong.
"""

_LOCAL: Final = ("127.0.0.1", "::1")
_MOST_WAITING: Final = 100_000  # lines or records


class Outbox:
    """A thread that writes: a terminal that stands still, or a slow disk, holds up no mail.

    A context manager. What comes while too much is waiting is dropped, and counted.
    """

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="demyjpy-outbox", daemon=True)
        self.dropped = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._waiting.put(None)
        self._thread.join(_PARTING)
        if self.dropped:
            log.warning(
                "%d lines or records were dropped, because nobody read them in time", self.dropped
            )

    def put(self, write: Callable[[], object]) -> None:
        """Have something written, in order."""
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(write)
        else:
            self.dropped += 1

    def _run(self) -> None:
        while (write := self._waiting.get()) is not None:
            try:
                write()
            except Exception:  # noqa: BLE001  # what is lost is no mail
                log.exception("cannot write")


_PARTING: Final = 5.0  # seconds


class LateTray:
    """A `Tray` that is written to by an `Outbox`."""

    def __init__(self, tray: Tray, outbox: Outbox) -> None:
        self._tray, self._outbox = tray, outbox

    def write(self, records: Any, *, flush: bool = False) -> None:
        """Have records written."""
        found = list(records)
        self._outbox.put(lambda: self._tray.write(found, flush=flush))

    def close(self) -> None:
        """Have what is left written."""
        self._outbox.put(self._tray.close)


class Screen:
    """Prints records, each session in its colour."""

    def __init__(self, paint: Paint, outbox: Outbox) -> None:
        self._paint, self._outbox = paint, outbox
        self._numbers = defaultdict[str, int](partial(next, count(1)))
        self._is_read = True

    def __call__(self, session: str, records: list[Record]) -> None:
        """Show what has come."""
        number = self._numbers[session]
        # what cannot be read is shown once in each direction; all of it is in the recording
        told = (record for record in records if record.get("problem") != AFTER_LOSS)
        lines = [record_line(record, number, self._paint) for record in told]
        if any(record.get("direction") == "end" for record in records):
            del self._numbers[session]
        if lines:
            self._outbox.put(lambda: self._print(lines))

    def _print(self, lines: list[str]) -> None:
        if self._is_read:
            try:
                say(*lines, flush=True, coloured=self._paint.is_on)
            except OSError:  # nobody reads it any more, but the mail goes on
                self._is_read = False


def snoop(arguments: argparse.Namespace) -> int:
    """``demyjpy snoop``: 0 when a signal has ended it."""
    listen, to = parse_address(arguments.listen), parse_address(arguments.to)
    if _place(listen) == _place(to) and (listen.port or listen.path):
        raise InputError(
            f"expected two addresses, got {listen} for --listen and --to: it would be its own milter"
        )
    logging.basicConfig(format="%(message)s", level="INFO")
    tray = Tray(arguments.record, "demyjpy snoop").prepare() if arguments.record else None
    with Outbox() as outbox:
        late = None if tray is None else LateTray(tray, outbox)
        asyncio.run(_serve(arguments, late, outbox))
        if late is not None:
            late.close()
    return 0


def _place(address: Address) -> tuple[str | int, ...]:
    """The same for addresses at which the same socket is reached."""
    if address.kind == "unix":
        return ("unix", str(Path(address.path).resolve()))
    host = address.host.lower()
    with suppress(ValueError):
        found = ip_address(host)
        host = "localhost" if found.is_unspecified or str(found) in _LOCAL else str(found)
    return (address.kind.removesuffix("6"), host, address.port)


async def _serve(arguments: argparse.Namespace, late: LateTray | None, outbox: Outbox) -> None:
    screen = Screen(paint_for(arguments.color), outbox)

    def ignore(session: str, records: list[Record]) -> None:
        """Nothing is shown."""

    snooper = Snooper(
        parse_address(arguments.listen),
        parse_address(arguments.to),
        ignore if arguments.quiet else screen,
        lambda session: WireRecorder(late, session, raw=arguments.record_raw),
    )
    async with until_signal() as told, snooper:
        where = f"{snooper.address}, in front of {snooper.to}"
        if snooper.is_listening:
            say(f"snooping on {where}", flush=True)
        else:
            say(f"will listen on {where}, when the milter is there", flush=True)
        await told
        async with until_signal() as again:
            closing = asyncio.ensure_future(snooper.close(arguments.grace))
            await asyncio.wait({closing, again}, return_when=asyncio.FIRST_COMPLETED)
            closing.cancel()


# --------------------------------------------------------------------------- a record as a line
COLOURS: Final = ("cyan", "magenta", "blue", "green", "yellow")
"""One a session, in turn."""


def record_line(record: Record, number: int, paint: Paint) -> str:
    """A record of session ``number``."""
    when = record.get("time")
    clock = _clock(when) if isinstance(when, float) else " " * 12
    colour = COLOURS[number % len(COLOURS)]
    who = {"mta": "MTA    >", "filter": "filter <", "end": "end     "}.get(
        str(record.get("direction")), "        "
    )
    line = f"{clock} {paint(colour, f'#{number} {who}')} {_words(record)}"
    odd = "; ".join(map(str, record.get("odd", ())))
    return line.rstrip() + (f"  {paint('red', f'!! {safe(odd)}')}" if odd else "")


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds % 1 * 1000):03}"


def _words(record: Record) -> str:
    if "problem" in record:
        return f"cannot be read: {shorten(str(record['problem']))}"
    match record.get("direction"):
        case "mta":
            return shorten(f"{record['event']}  {_event_words(record)}".rstrip())
        case "filter":
            return shorten("; ".join(_answer_words(record)))
        case "end":
            return shorten(_end_words(record["how"], record.get("reason", "")))
        case _:
            return ""


_ENDS: Final = {
    "quit": "the MTA has said quit",
    "mta": "the MTA has closed the connection",
    "filter": "the filter has closed the connection",
}


def _end_words(how: str, reason: str) -> str:
    """Who has ended it and why; the snooper's own reasons say both."""
    if not reason or reason.startswith((AWAY, STOPPED)):
        return reason or _ENDS[how]
    return f"{_ENDS[how]}: {reason}"


def _event_words(record: Record) -> str:
    event = load_event(record["event"], record.get("fields", {}))
    match event:
        case ev.Options():
            return f"version {event.version}, offers {flag_words(event.actions, event.protocol)}"
        case ev.DefineMacros():
            words = (f"{name}={value}" for name, value in event.definitions.words)
            return f"for {event.event}: {' '.join(words)}"
        case ev.Connect():
            where = f" [{event.raw}]" if event.raw else ""
            return f"{event.host_name}{where}" + (f" port {event.port}" if event.port else "")
        case ev.Hello():
            return event.greeting
        case ev.Mail() | ev.Recipient():
            return " ".join((event.raw, *event.parameters.as_words()))
        case ev.Header():
            return f"{event.name}:{event.raw}"
        case ev.Body():
            return plural(len(event.data), "byte")
        case ev.Unknown():
            return event.command
        case _:
            return ""


def _answer_words(record: Record) -> Iterator[str]:
    for one in record.get("answer", ()):
        try:
            action = load_action(one)
        except MilterError:
            yield str(one.get("action"))
        else:
            yield _action_words(action)


def _action_words(action: Any) -> str:
    if isinstance(action, act.Negotiate):
        words = f"version {action.version}, wants {flag_words(action.actions, action.protocol)}"
        asked = (f"{' '.join(names)} at stage {stage}" for stage, names in action.macros)
        return "; ".join((words, *(f"macros {one}" for one in asked)))
    return "still at work" if isinstance(action, act.Progress) else words_of(action)


COMMAND: Final = Command(
    snoop,
    "Stand between an MTA and a milter; show and record what they send to each other.",
    _EPILOG,
    (
        argument(
            "--listen",
            metavar="ADDRESS",
            type=ADDRESS,
            required=True,
            help="where the MTA finds it: inet:PORT@HOST, inet6:PORT@HOST, "
            "unix:PATH[?mode=660&user=NAME&group=NAME], fd:NUMBER",
        ),
        TO_MILTER,
        *RECORDING,
        flag("--quiet", "show nothing; for recording only"),
        limit(
            "--grace",
            "SECONDS",
            SECONDS_OR_0,
            30.0,
            "at SIGTERM: how long open sessions may take to finish",
        ),
        COLOR,
    ),
)

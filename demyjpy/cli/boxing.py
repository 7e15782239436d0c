"""``demyjpy mta``: the mail server in a box as a program, which prints each session as it goes."""

import argparse
import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext

from attrs import define, field

from demyjpy.cli.output import Paint, paint_for, say
from demyjpy.cli.signals import tell, until_signal
from demyjpy.cli.step_lines import step_lines
from demyjpy.drivers.address import Address
from demyjpy.errors import AddressError
from demyjpy.mta import steps
from demyjpy.mta.box import Box, Store, Tapping
from demyjpy.mta.channel import Tap, Timeouts, untapped
from demyjpy.mta.smtp import Outcome
from demyjpy.shown import safe
from demyjpy.trace.display.wording import plural
from demyjpy.trace.live.recorder import Tray, WireRecorder


@define
class Journal:
    """Prints what the box reports, and counts it. ``on_error`` is told if nobody reads it any more."""

    names: Sequence[str]
    paint: Paint
    on_error: Callable[[OSError], None]
    sessions: set[int] = field(factory=set)
    tried: dict[int, bool] = field(factory=dict)  # sessions with recipients: whether one was taken
    stored: int = 0
    refused: int = 0
    discarded: int = 0

    def __call__(self, number: int, what: Outcome | str) -> None:
        """Take a report: see `demyjpy.mta.dialogue.Report`."""
        self.sessions.add(number)
        if isinstance(what, Outcome):
            self._count(number, what)
            lines = list(step_lines(what, self.names, self.paint))
        else:
            lines = [f"    {safe(what)}"]
        mark = self.paint("dim", f"#{number} ")
        try:
            say(*(f"{mark}{line}" for line in lines), flush=True, coloured=self.paint.is_on)
        except OSError as error:
            self.on_error(error)

    def _count(self, number: int, outcome: Outcome) -> None:
        """A mail is refused as a whole, or at all its recipients."""
        is_refused = outcome.reply is not None and outcome.reply.is_refusal
        match outcome.step:
            case steps.Command():
                return
            case steps.Rcpt():
                self.tried[number] = self.tried.get(number, False) or not is_refused
                return
            case steps.Data() if not is_refused:
                self.stored += outcome.mail is not None
                self.discarded += outcome.mail is None
        is_given_up = not self.tried.pop(number, True)
        is_whole = is_refused and isinstance(outcome.step, (steps.Mail, steps.Data))
        self.refused += is_given_up or is_whole

    def summary(self) -> str:
        """What has been counted."""
        return (
            f"{plural(len(self.sessions), 'session')}: {plural(self.stored, 'mail')} stored, "
            f"{self.refused} refused, {self.discarded} discarded"
        )


def open_store(directory: str) -> Store:
    """The Maildir, made if there is none."""
    try:
        return Store(directory)
    except OSError as error:
        raise AddressError(f"cannot store mail in {directory}: {error.strerror or error}") from error


def smtp_server(address: Address) -> str:
    """An address as swaks and people write it."""
    if address.kind == "unix":
        return address.path
    return (
        f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    )


def swaks_line(address: Address) -> str:
    """The command that sends a mail there."""
    option = "--socket" if address.kind == "unix" else "--server"
    return f"swaks {option} {smtp_server(address)} --from ann@example.org --to bob@example.net"


def mta(arguments: argparse.Namespace) -> int:
    """``demyjpy mta``: 0 when a signal has ended it."""
    asyncio.run(_serve(arguments, open_store(arguments.maildir)))
    return 0


@asynccontextmanager
async def recording(arguments: argparse.Namespace, names: Sequence[str]) -> AsyncIterator[Tapping]:
    """What taps sessions: into traces, where that is asked for. ``names``: those of the milters."""
    if arguments.record is None:
        yield lambda number, name: nullcontext(untapped)
        return
    run = secrets.token_hex(4)

    @contextmanager
    def tapped(number: int, name: str) -> Iterator[Tap]:
        recorder = WireRecorder(
            tray,
            f"box-{run}-{number}-{names.index(name) + 1}",
            raw=arguments.record_raw,
            milter=name if len(names) > 1 else "",
        )
        try:
            yield recorder.take
        finally:
            recorder.end("mta")

    with closing(Tray(arguments.record, "demyjpy mta").prepare()) as tray:
        yield tapped


async def _serve(arguments: argparse.Namespace, store: Store) -> None:
    milters = dict(arguments.milters or ())
    async with until_signal() as told, recording(arguments, list(milters)) as tap:
        journal = Journal(list(milters), paint_for(arguments.color), lambda error: tell(told, error))
        box = Box(
            arguments.listen,
            milters,
            store,
            host=arguments.host,
            default_action=arguments.default_action,
            max_message=arguments.max_message,
            max_answer=arguments.max_answer,
            max_recipients=arguments.max_recipients,
            timeouts=Timeouts(
                arguments.connect_timeout, arguments.command_timeout, arguments.content_timeout
            ),
            report=journal,
            tap=tap,
        )
        async with box:
            say(f"SMTP on {smtp_server(box.address)}, mail to {store.path}", flush=True)
            for name, address in box.milters.items():
                shown = safe(name) if name == str(address) else f"{safe(name)} ({address})"
                say(f"milter {shown}", flush=True)
            if not milters:
                say("no milter is asked: give --milter ADDRESS", flush=True)
            say(f"try: {swaks_line(box.address)}", flush=True)
            await told
        say(journal.summary(), flush=True)

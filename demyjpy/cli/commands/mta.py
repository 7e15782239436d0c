"""``demyjpy mta``: the mail server in a box as a program, which prints each session as it goes."""

import argparse
import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from demyjpy.cli.arguments import (
    ADDRESS,
    COLOR,
    COUNT,
    FAILURES,
    PATIENCE,
    RECORDING,
    Command,
    argument,
    choice,
    limit,
    reachable,
)
from demyjpy.cli.mail_journal import Journal, open_store, smtp_server, swaks_line
from demyjpy.cli.output import paint_for, say
from demyjpy.cli.signals import tell, until_signal
from demyjpy.mta.channel import Tap, Timeouts, untapped
from demyjpy.shown import safe
from demyjpy.trace.live.recorder import Tray
from demyjpy.trace.live.wire_recorder import WireRecorder

if TYPE_CHECKING:
    from demyjpy.mta.box_settings import Store, Tapping


def mta(arguments: argparse.Namespace) -> int:
    """``demyjpy mta``: 0 when a signal has ended it."""
    asyncio.run(_serve(arguments, open_store(arguments.maildir)))
    return 0


_EPILOG: Final = """\
examples:
  demyjpy mta --milter inet:20025@localhost
  demyjpy mta --listen 2525 --milter dkim=unix:/run/opendkim.sock --milter inet:20025@localhost
  swaks --server localhost:2525 --from a@example.org --to b@example.net

Use it to try filters. It takes mail for anyone from anyone, relays nothing, and offers neither STARTTLS
nor AUTH. It stores mail below --maildir, and quarantined mail in the folder quarantine there. It prints
each session as it goes. SIGTERM and SIGINT end it.
Exit status: 0 after a signal, 1 if it cannot listen, 2 if the arguments are wrong or aiosmtpd is not
there: pip install 'demyjpy[box]'
"""


@asynccontextmanager
async def recording(arguments: argparse.Namespace, names: Sequence[str]) -> AsyncIterator["Tapping"]:
    """What taps sessions: into traces, if that is asked for. ``names``: those of the milters."""
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


async def _serve(arguments: argparse.Namespace, store: "Store") -> None:
    from demyjpy.mta.box import Box  # noqa: PLC0415  # it needs aiosmtpd, and --help does not

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
            shown = [
                f"milter {safe(name)}" + (f" ({address})" if name != str(address) else "")
                for name, address in box.milters.items()
            ]
            say(
                f"SMTP on {smtp_server(box.address)}, mail to {store.path}",
                *(shown or ["no milter is asked: give --milter ADDRESS"]),
                f"try: {swaks_line(box.address)}",
                flush=True,
            )
            await told
        say(journal.summary(), flush=True)


def read_milter(text: str) -> tuple[str, str]:
    """``ADDRESS`` or ``NAME=ADDRESS``: the name under which a milter is shown, and where it listens."""
    found = re.fullmatch(r"([\w.-]+)=(.*)", text)
    return (found[1], reachable(found[2])) if found else (text, reachable(text))


COMMAND: Final = Command(
    mta,
    "A mail server that asks milters as Postfix does, and stores the mail.",
    _EPILOG,
    (
        argument(
            "--listen",
            metavar="ADDRESS",
            type=ADDRESS,
            default="inet:2525@localhost",
            help="PORT, inet:PORT@HOST, inet6:PORT@HOST or unix:PATH (default: %(default)s)",
        ),
        argument(
            "--milter",
            dest="milters",
            metavar="[NAME=]ADDRESS",
            type=read_milter,
            action="append",
            help="a milter to ask, and a name to show it by; several are asked in the order given",
        ),
        argument(
            "--maildir",
            metavar="DIRECTORY",
            default="mail",
            help="where mail is stored; created if it does not exist (default: %(default)s)",
        ),
        choice("--default-action", FAILURES, "tempfail", "what happens to mail if a milter fails"),
        argument(
            "--host",
            metavar="NAME",
            default="box.example",
            help="name of the server (default: %(default)s)",
        ),
        limit("--max-message", "BYTES", COUNT, 10_240_000, "size of a message; a larger one is refused"),
        argument(
            "--max-recipients",
            metavar="N",
            type=COUNT,
            default=1000,
            help="recipients of a message; further ones are refused (452; default: %(default)s)",
        ),
        *RECORDING,
        *PATIENCE,
        COLOR,
    ),
    extra="box",
)

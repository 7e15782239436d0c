"""``demyjpy demo``: a filter, the mail server in a box, and a handful of mails through both."""

import argparse
import asyncio
import logging
import shlex
import signal
import smtplib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from attrs import define, field

from demyjpy.cli.arguments import (
    COLOR,
    DRIVERS,
    FILTER_NAME,
    SETTINGS,
    Command,
    argument,
    choice,
    flag,
)
from demyjpy.cli.demos import DEMOS
from demyjpy.cli.errors import InputError
from demyjpy.cli.loading import Loaded, Wanted, load_filters
from demyjpy.cli.mail_diff import diff_lines
from demyjpy.cli.mail_journal import Journal, open_store, smtp_server, swaks_line
from demyjpy.cli.output import Paint, paint_for, say
from demyjpy.cli.played_mail import STATUSES, PlayedMail, played, verdict_line
from demyjpy.cli.program_name import program_name
from demyjpy.cli.sample_mails import Sample, samples
from demyjpy.cli.signals import tell, until_signal
from demyjpy.cli.step_lines import failure_words, smtp_line
from demyjpy.drivers import running
from demyjpy.drivers.address import Address
from demyjpy.drivers.pool import DaemonExecutor
from demyjpy.mta import client_steps
from demyjpy.mta.profiles import Postfix
from demyjpy.mta.smtp_session import Outcome
from demyjpy.shown import safe
from demyjpy.trace.display.wording import plural, shorten

if TYPE_CHECKING:
    from demyjpy.mta.box import Box
    from demyjpy.mta.box_settings import Store

_EPILOG: Final = """\
examples:
  demyjpy demo
  demyjpy demo --list
  demyjpy demo --filter subject
  demyjpy demo samples/bytecount.py:handlers
  demyjpy demo mycompany.filters --stay

All of it runs on this machine: the filter and the mail server listen on free ports of 127.0.0.1.
Exit status: 0 when all mails were played, whatever the filter said to them; 2 if the filter cannot be
loaded or aiosmtpd is not there (pip install 'demyjpy[box]'); 69 if the filter failed at a mail.
"""

_ANYWHERE: Final = "inet:0@127.0.0.1"
_SMTP_TIMEOUT: Final = 900.0  # seconds; the filter's own timeouts are shorter
_DEFAULT: Final = "size"


@define
class MailReports:
    """Keeps what the box reports about one mail."""

    outcomes: list[Outcome] = field(factory=list)
    notes: list[str] = field(factory=list)

    def __call__(self, number: int, what: Outcome | str) -> None:
        """Take a report: see `demyjpy.mta.box_settings.Report`."""
        if isinstance(what, Outcome):
            self.outcomes.append(what)
        elif not what.startswith("stored "):
            self.notes.append(what)


def demo(arguments: argparse.Namespace) -> int:
    """``demyjpy demo``: 0, or 69 if the filter failed."""
    logging.basicConfig(format="%(levelname)s %(message)s", level="WARNING")
    if arguments.list:
        say(*(f"{name:{max(map(len, DEMOS))}}  {what}" for name, what in DEMOS.items()))
        return 0
    loaded = _load(arguments)
    with ExitStack() as stack:
        stack.callback(logging.disable, logging.NOTSET)
        where = arguments.maildir or stack.enter_context(tempfile.TemporaryDirectory(prefix="demyjpy-"))
        store = open_store(where)
        address = stack.enter_context(running(loaded.on_connect, driver=arguments.driver))
        return asyncio.run(_demonstrate(arguments, loaded, address, store))


def _load(arguments: argparse.Namespace) -> Loaded:
    """The filters that were given, or one of ours."""
    wanted = Wanted(arguments.filters, arguments.settings)
    if not wanted.filters:
        if wanted.settings is not None:
            raise InputError("--settings needs a FILTER")
        return load_filters(Wanted([f"demyjpy.cli.demos.{arguments.filter or _DEFAULT}:handlers"]))
    if arguments.filter is not None:
        raise InputError(f"expected FILTER or --filter, got both: leave out --filter {arguments.filter}")
    return load_filters(wanted)


async def _demonstrate(
    arguments: argparse.Namespace, loaded: Loaded, address: str, store: "Store"
) -> int:
    from demyjpy.mta.box import Box  # noqa: PLC0415  # it needs aiosmtpd, and --help does not

    # a client that still waits for its server does not keep a signal waiting
    asyncio.get_running_loop().set_default_executor(DaemonExecutor(1))
    paint = paint_for(arguments.color)
    async with until_signal() as told, Box(_ANYWHERE, {"filter": address}, store) as box:
        what = [] if arguments.filters else [f"        {DEMOS[arguments.filter or _DEFAULT]}"]
        kept = "" if arguments.maildir else ", until the end"
        say(
            "A filter and a mail server, both on this machine. Mail goes to the server by SMTP; the",
            "server asks the filter about it by the milter protocol, as Postfix would.",
            "",
            f"filter  {safe(loaded.name)} on {address}",
            *what,
            f"server  SMTP on {smtp_server(box.address)}, mail to {store.path}{kept}",
            flush=True,
        )
        mailing = asyncio.create_task(_send_all(box, paint))
        await asyncio.wait((mailing, told), return_when=asyncio.FIRST_COMPLETED)
        if not mailing.done():
            mailing.cancel()
            logging.disable()  # that what is on its way does not get its answer is no news
            return 0 if arguments.stay else 128 + signal.SIGINT
        status = mailing.result()
        if arguments.stay:
            box.report = journal = Journal(["filter"], paint, lambda error: tell(told, error))
            say("", "up until Ctrl-C, for more mail:", f"  {swaks_line(box.address)}", "", flush=True)
            await told
            say(journal.summary(), flush=True)
        else:
            say("", "next:", *_next_lines(arguments), flush=True)
    return status


def _next_lines(arguments: argparse.Namespace) -> Iterator[str]:
    """What a new user may do now, as it can be typed."""
    options = {"--settings": arguments.settings, "--filter": arguments.filter}
    given = [word for option, value in options.items() if value for word in (option, value)]
    words = "".join(f" {shlex.quote(one)}" for one in (*arguments.filters, *given))
    rows = [
        (f"demo{words} --stay", "stays up, for mail that you send"),
        ("demo --list", "other filters to see at work"),
        ("new NAME", "makes a filter of your own, with tests"),
        ("demo FILE.py:NAME", "the same with a filter of yours"),
        ("send --to ADDRESS MAIL", "plays one mail at any milter"),
    ]
    if arguments.filters:
        del rows[1:4]
    longest = max(len(command) for command, _ in rows)
    yield from (f"  {program_name()} {command:{longest}}  {text}" for command, text in rows)


async def _send_all(box: "Box", paint: Paint) -> int:
    """Send the mails one by one and show what comes of each; the exit status."""
    begun = time.monotonic()
    results: list[PlayedMail] = []
    mails = samples()
    for number, sample in enumerate(mails, 1):
        box.report = reports = MailReports()
        await asyncio.to_thread(_send, sample, box.address)
        sent = played(Postfix(), [one.step for one in reports.outcomes], reports.outcomes)
        results.append(sent)
        title = paint("bold", f"{number}/{len(mails)} {sample.title}")
        say("", f"{title}, {len(sample.content)} bytes", coloured=paint.is_on)
        notes = [f"  {paint('red', safe(note))}" for note in reports.notes]
        say(*_lines(sent, paint), *notes, flush=True, coloured=paint.is_on)
    took = time.monotonic() - begun
    sent_all = paint("bold", f"{plural(len(mails), 'mail')} in {took:.1f} s")
    say("", f"{sent_all}: {_tally(results)}", flush=True, coloured=paint.is_on)
    return STATUSES["failed"] if any(sent.failure for sent in results) else 0


def _send(sample: Sample, address: Address) -> None:
    """One mail by SMTP; the server reports what it made of it."""
    with (
        suppress(OSError),
        smtplib.SMTP(address.host, address.port, "demo.example", _SMTP_TIMEOUT) as client,
    ):
        options = sample.options if client.has_extn("8bitmime") else ()
        client.sendmail(sample.sender, sample.recipients, sample.content, options)


def _lines(sent: PlayedMail, paint: Paint) -> Iterator[str]:
    """What became of a mail: SMTP, what the filter said in the end, what it changed."""
    for outcome in sent.outcomes:
        if isinstance(outcome.step, (client_steps.Mail, client_steps.Rcpt, client_steps.Data)):
            replied = shorten(str(outcome.reply).replace("\n", " / "))
            yield f"  {smtp_line(outcome.step):<40} {replied}"
    if sent.failure is not None:
        yield f"  {paint('red', failure_words(sent.failure))}"
        return
    yield f"  {verdict_line(sent, paint)}"
    if sent.after is not None:
        yield from (f"    {line}" for line in diff_lines(sent.before, sent.after, paint))


def _tally(results: Sequence[PlayedMail]) -> str:
    """How many mails met which end."""
    counts = Counter(sent.verdict for sent in results)
    changed = sum(sent.after is not None and bool(sent.changes) for sent in results)
    words = [f"{count} {verdict}" for verdict, count in counts.items()]
    return f"{', '.join(words)}; {changed} changed by the filter"


COMMAND: Final = Command(
    demo,
    "Start a filter and a mail server, send real mails through both, show what changed.",
    _EPILOG,
    (
        argument(
            "filters",
            metavar="FILTER",
            nargs="*",
            help=f"{FILTER_NAME}, or several (default: see --filter)",
            is_file=True,
        ),
        argument(
            "--filter",
            choices=DEMOS,
            help=f"a filter that comes with demyjpy, see --list (default: {_DEFAULT})",
        ),
        flag("--list", "list the filters for --filter, and end"),
        SETTINGS,
        choice("--driver", DRIVERS, "asyncio", "how the filter is served"),
        flag("--stay", "stay up for more mail (swaks, a mail program) until Ctrl-C"),
        argument(
            "--maildir",
            metavar="DIRECTORY",
            help="where mail is stored (default: a temporary directory, removed at the end)",
        ),
        COLOR,
    ),
    extra="box",
)

"""``demyjpy send``: one mail, played at a running milter as an MTA would do it."""

import argparse
import asyncio
import email.policy
import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from demyjpy.cli.arguments import (
    COLOR,
    DEADLINE,
    JSON,
    PATIENCE,
    RECORDING,
    TO_MILTER,
    Command,
    argument,
    choice,
)
from demyjpy.cli.errors import InputError, failing_to
from demyjpy.cli.mail_diff import diff_lines
from demyjpy.cli.output import Paint, complain, complain_of_all, paint_for, say
from demyjpy.cli.played_mail import PlayedMail, played, verdict_line
from demyjpy.cli.played_mail_json import as_json
from demyjpy.cli.step_lines import failure_words, step_lines
from demyjpy.errors import TraceError
from demyjpy.mta import client_steps
from demyjpy.mta.channel import Timeouts, untapped
from demyjpy.mta.milter_link import MilterFailedError
from demyjpy.mta.profiles import MTAS, Postfix, Profile, Sendmail
from demyjpy.mta.smtp import play_async, take_step
from demyjpy.mta.smtp_path import split_path
from demyjpy.mta.smtp_session import Outcome, new_session
from demyjpy.mta.tolerant_channel import TolerantChannel
from demyjpy.trace.live.recorder import Tray
from demyjpy.trace.live.wire_recorder import WireRecorder
from demyjpy.wire.fields import Parameters, decode_text, spell_macro

_EPILOG: Final = """\
examples:
  demyjpy send --to inet:20025@localhost mail.eml
  demyjpy send --to unix:/run/opendkim.sock mail.eml --from a@example.org --rcpt b@example.net
  demyjpy send --to 20025 - --mta sendmail --macro i=Q1 --macro '{auth_authen}=ann' < mail.eml
  demyjpy send --to 20025 mail.eml --client 'mx.example[192.0.2.7]' --json | jq .verdict

Without --from or --rcpt, the addresses are those in the message's From, To and Cc. The changes shown
are the difference between the message that the milter got and the one that an MTA would deliver.
Nothing is delivered.

Exit status:
   0  accepted, for at least one recipient, with or without changes
   1  rejected (5xx)
   2  wrong arguments, no such mail, or a directory for --record that cannot be written
   3  discarded: the client gets 250, nothing is delivered
   4  accepted and put into quarantine
  69  the milter failed: nothing listens, it is no milter, it hangs, it closed the connection, it
      broke the protocol, its answer is too large
  70  demyjpy itself failed, or could not write its output: there is no verdict on the mail
  75  a temporary failure (4xx)
"""

EX_SOFTWARE: Final = 70  # sysexits.h
SENDER: Final = "sender@example.org"
RECIPIENT: Final = "recipient@example.net"


class _Given:
    """A profile in which some macros have the values that the user wants."""

    given: Mapping[str, str]

    def fixed_macros(self) -> dict[str, str]:
        known: dict[str, str] = super().fixed_macros()  # type: ignore[misc]  # the profile's
        return {**known, **self.given}

    def queue_id(self, number: int) -> str:
        own: str = super().queue_id(number)  # type: ignore[misc]  # the profile's
        return self.given.get("i", own)


@frozen(kw_only=True)
class GivenPostfix(_Given, Postfix):
    """Postfix, with ``given`` macros by bare name."""

    given: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class GivenSendmail(_Given, Sendmail):
    """Sendmail, with ``given`` macros by bare name."""

    given: Mapping[str, str] = field(factory=dict)


def profile_of(mta: str, given: Mapping[str, str]) -> Profile:
    """An MTA that sends these macros too: those that it never sends, with the connection."""
    profile: Profile = GivenPostfix(given=given) if mta == "postfix" else GivenSendmail(given=given)
    known = {name.strip("{}") for names in profile.macros.values() for name in names}
    more = tuple(spell_macro(name) for name in given if name not in known)
    macros = {**profile.macros, "connect": (*profile.macros.get("connect", ()), *more)}
    return evolve(profile, macros=macros)


# --------------------------------------------------------------------------------------- playing
def steps_of(arguments: argparse.Namespace, content: bytes) -> list[client_steps.ClientStep]:
    """What the client does."""
    address, name = arguments.client
    sender, recipients = _from_header(content)
    raw, sender, parameters = _split(arguments.sender or sender)
    to = [_split(recipient) for recipient in arguments.recipients or recipients]
    is_ascii = all(path.isascii() for path in (raw, *(path for path, _, _ in to)))
    if not is_ascii and "SMTPUTF8" not in parameters:  # RFC 6531, section 3.4
        parameters = Parameters((*parameters.words, ("SMTPUTF8", None)))
    return [
        client_steps.Connect(address, name),
        client_steps.Ehlo(arguments.helo),
        client_steps.Mail(sender, parameters, raw),
        *(client_steps.Rcpt(recipient, words, path) for path, recipient, words in to),
        client_steps.Data(content),
        client_steps.Quit(),
    ]


def _split(text: str) -> Any:
    raw, address, parameters = split_path(text) or ("", "", Parameters())
    return (raw if raw.startswith("<") else f"<{raw}>"), address, parameters


def _from_header(content: bytes) -> tuple[str, list[str]]:
    """The envelope that the header suggests: From, and To and Cc."""
    header = BytesHeaderParser(policy=email.policy.compat32).parsebytes(content)

    def found(*names: str) -> list[str]:
        # as bytes: a value that is no ASCII would be a Header, with U+FFFD in it
        values = [
            decode_text(value.encode("ascii", "surrogateescape"))
            for wanted in names
            for name, value in header.raw_items()
            if name.lower() == wanted.lower()
        ]
        addresses = [f"<{address}>" for _, address in getaddresses(values) if "@" in address]
        return list(dict.fromkeys(one for one in addresses if split_path(one) and "\0" not in one))

    return (found("From") or [SENDER])[0], found("To", "Cc") or [RECIPIENT]


def _is_over(outcomes: Sequence[Outcome], step: client_steps.ClientStep) -> bool:
    """Whether a step is left out because of what came before."""
    last = outcomes[-1]
    refused = last.reply is not None and last.reply.is_refusal
    if isinstance(step, client_steps.Data):
        recipients = [one for one in outcomes if isinstance(one.step, client_steps.Rcpt)]
        return all(one.reply is None or one.reply.is_refusal for one in recipients)
    if isinstance(step, client_steps.Quit):
        return bool(last.failures) or (last.reply is not None and last.reply.code == 421)
    return bool(last.failures) or (refused and not isinstance(last.step, client_steps.Rcpt))


async def play_mail(
    arguments: argparse.Namespace,
    content: bytes,
    profile: Profile,
    report: Callable[[Outcome], None],
) -> PlayedMail:
    """Play a mail; ``report`` is called with each step as soon as it is done."""
    script = steps_of(arguments, content)
    timeouts = Timeouts(arguments.connect_timeout, arguments.command_timeout, arguments.content_timeout)
    session = new_session(profile, max_answer=arguments.max_answer)
    outcomes: list[Outcome] = []
    recorder = recorder_of(arguments)
    channel = TolerantChannel(arguments.to, timeouts, recorder.take if recorder else untapped)
    late: MilterFailedError | None = None
    try:
        async with asyncio.timeout(arguments.deadline), channel:
            for step in script:
                if outcomes and _is_over(outcomes, step):
                    continue
                session, outcome = await play_async(take_step(session, step), [channel])
                outcomes.append(outcome)
                report(outcome)
    except TimeoutError:
        late = MilterFailedError(channel.waits_for, f"not done within {arguments.deadline:g} s")
    if recorder is not None:
        recorder.end("mta", late.reason if late else "")
        recorder.close()
    return played(profile, script, outcomes, session.sides[0].link.warnings, late)


def recorder_of(arguments: argparse.Namespace) -> WireRecorder | None:
    """What records the session, if that is asked for."""
    if arguments.record is None:
        return None
    try:
        tray = Tray(arguments.record, "demyjpy send").prepare()
    except TraceError as error:
        raise InputError(str(error)) from error  # status 1 would be a verdict
    return WireRecorder(tray, f"send-{secrets.token_hex(4)}", raw=arguments.record_raw)


# --------------------------------------------------------------------------------------- showing
def show_sent(sent: PlayedMail, paint: Paint) -> None:
    """Print what changed, and what became of the mail."""
    after = sent.after
    if after is not None:
        lines = diff_lines(sent.before, after, paint)
        words = "changed:" if lines else "nothing is changed"
        say("", words, *lines, "", coloured=paint.is_on)
    else:
        say("")
    say(verdict_line(sent, paint), flush=True, coloured=paint.is_on)


def read_mail(name: str) -> bytes:
    """The mail in a file or on standard input, with CRLF; a mailbox's line above it is left out."""
    with failing_to(f"read {name}"):
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    if content.startswith(b"From "):
        content = content.partition(b"\n")[2]
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def send(arguments: argparse.Namespace) -> int:
    """``demyjpy send``: the verdict as an exit status."""
    content = read_mail(arguments.mail)
    profile = profile_of(arguments.mta, dict(arguments.macros or ()))
    paint = paint_for(arguments.color)
    names = ["milter"]

    def report(outcome: Outcome) -> None:
        has_begun = all(failure.event != "connecting" for failure in outcome.failures)
        if has_begun and not arguments.json:
            lines = step_lines(outcome, names, paint, failures=False)
            say(*lines, flush=True, coloured=paint.is_on)

    sent = asyncio.run(play_mail(arguments, content, profile, report))
    if arguments.json:
        say(*as_json(sent, arguments.to, profile).split("\n"), flush=True)
    complain_of_all("send", (f"warning: {warning}" for warning in sent.warnings))
    if sent.failure is not None:
        complain("send", f"{arguments.to}: {failure_words(sent.failure)}")
    elif not arguments.json:
        show_sent(sent, paint)
    return sent.status


# ------------------------------------------------------------------------------------- arguments
def read_macro(text: str) -> tuple[str, str]:
    """``NAME=VALUE``; the name may be in braces."""
    name, equals, value = text.partition("=")
    name = name.removeprefix("{").removesuffix("}")
    if not name or not equals or "\0" in value:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def read_client(text: str) -> tuple[str, str | None]:
    """``ADDRESS``, ``NAME[ADDRESS]`` or ``local``: the client's address, and its verified name."""
    if text == "local":
        return "", None
    found = re.fullmatch(r"([^\[\]]*)\[([^\[\]]*)\]", text)
    name, where = (found[1] or None, found[2]) if found else (None, text)
    try:
        return str(ip_address(where)), name
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected an IP address, NAME[ADDRESS] or local, got {text!r}"
        ) from None


def read_path(text: str) -> str:
    """An envelope address, which ESMTP parameters may follow."""
    if split_path(text) is None or "\0" in text:
        raise argparse.ArgumentTypeError(
            f"expected an address such as a@example.org, <> or '<a@example.org> SIZE=100', got {text!r}"
        )
    return text


COMMAND: Final = Command(
    send,
    "Play one mail at a running milter, in any language, as Postfix or Sendmail would.",
    _EPILOG,
    (
        argument(
            "mail", metavar="MAIL", help="the file with the mail; - is standard input", is_file=True
        ),
        TO_MILTER,
        argument(
            "--from",
            dest="sender",
            metavar="ADDRESS",
            type=read_path,
            help="envelope sender; <> is the null sender; may have ESMTP parameters: '<a@b> SIZE=100'",
        ),
        argument(
            "--rcpt",
            dest="recipients",
            metavar="ADDRESS",
            type=read_path,
            action="append",
            help="envelope recipient; may be given several times",
        ),
        argument(
            "--client",
            metavar="ADDRESS",
            type=read_client,
            default=("192.0.2.1", None),
            help="the SMTP client: an IP address, NAME[ADDRESS], or local (default: 192.0.2.1)",
        ),
        argument(
            "--helo",
            metavar="NAME",
            default="client.example",
            help="the name that the client gives at EHLO (default: %(default)s)",
        ),
        argument(
            "--macro",
            dest="macros",
            metavar="NAME=VALUE",
            type=read_macro,
            action="append",
            help="give a macro this value; may be given several times",
        ),
        choice(
            "--mta",
            tuple(MTAS),
            "postfix",
            "whose macros, replies and ways to apply changes",
        ),
        JSON,
        *RECORDING,
        *PATIENCE,
        *DEADLINE,
        COLOR,
    ),
    failed=EX_SOFTWARE,  # 1 would be a verdict
)

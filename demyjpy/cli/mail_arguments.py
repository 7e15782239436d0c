"""The words of the commands that play the mail server: ``send``, ``mta`` and ``demo``."""

import argparse
from typing import Any, Final

from demyjpy.cli.words import COUNT, SECONDS, Parser, address, client, macro, milter, path, reachable
from demyjpy.mta.milter_link import MAX_ANSWER, MAX_PACKETS

_SEND_EPILOG: Final = """\
examples:
  demyjpy send --to inet:20025@localhost mail.eml
  demyjpy send --to unix:/run/opendkim.sock mail.eml --from a@example.org --rcpt b@example.net
  demyjpy send --to 20025 - --mta sendmail --macro i=Q1 --macro '{auth_authen}=ann' < mail.eml
  demyjpy send --to 20025 mail.eml --client 'mx.example[192.0.2.7]' --json | jq .verdict

--from and --rcpt are those of the message's From, To and Cc where not given. What is shown as changed
is the message as the milter got it against what would be delivered; nothing is delivered anywhere.

Exit status:
   0  accepted, for at least one recipient, with or without changes
   1  rejected (5xx)
   2  wrong arguments, no such mail, or a directory for --record that cannot be written
   3  discarded: the client is told that all is well, nothing is delivered
   4  accepted and put into quarantine
  69  the milter failed: nothing listens, it is no milter, it hangs, it closed, it broke the protocol,
      its answer is too large
  70  demyjpy itself failed, or its output was not taken: that says nothing of the mail
  75  a temporary failure (4xx)
"""
_MTA_EPILOG: Final = """\
examples:
  demyjpy mta --milter inet:20025@localhost
  demyjpy mta --listen 2525 --milter dkim=unix:/run/opendkim.sock --milter inet:20025@localhost
  swaks --server localhost:2525 --from a@example.org --to b@example.net

It is for trying filters: it takes mail for anyone from anyone, relays nothing, offers neither STARTTLS
nor AUTH, and stores what would be delivered below --maildir (held mail in the folder quarantine). Each
session is printed as it goes. SIGTERM and SIGINT end it.
Exit status: 0 after a signal, 1 if it cannot listen, 2 if the arguments are wrong or aiosmtpd is not
there: pip install 'demyjpy[box]'
"""
_DEMO_EPILOG: Final = """\
examples:
  demyjpy demo
  demyjpy demo samples/bytecount.py:handlers
  demyjpy demo mycompany.filters --stay

All of it runs on this machine: the filter and the mail server listen on free ports of 127.0.0.1.
Exit status: 0 when all mails were played, whatever the filter said to them; 2 if the filter cannot be
loaded or aiosmtpd is not there (pip install 'demyjpy[box]'); 69 if the filter failed at a mail.
"""


def add_mail_commands(commands: "argparse._SubParsersAction[Parser]", file: object) -> None:
    """Add the commands; ``file`` is what shtab wants at arguments that are files."""
    send = commands.add_parser(
        "send",
        help="play one mail at a running milter, and show what it did",
        description="Play one mail at a running milter, in any language, as Postfix or Sendmail would.",
        epilog=_SEND_EPILOG,
    )
    _add_sending(send, file)
    mta = commands.add_parser(
        "mta",
        help="a mail server in a box: SMTP in, milters asked, Maildir out",
        description="A mail server that asks milters as Postfix does, and stores the mail.",
        epilog=_MTA_EPILOG,
    )
    _add_serving(mta)
    demo = commands.add_parser(
        "demo",
        help="see a filter at work: a mail server, a filter and a handful of mails",
        description="Start a filter and a mail server, send real mails through both, show what changed.",
        epilog=_DEMO_EPILOG,
    )
    _add_demonstrating(demo, file)
    for command in (send, mta, demo):
        command.add_argument(
            "--color",
            choices=("auto", "always", "never"),
            default="auto",
            help="colours: auto is on a terminal only (default: %(default)s)",
        )


def _add_sending(send: Parser, file: object) -> None:
    mail = send.add_argument("mail", metavar="MAIL", help="the file with the mail; - is standard input")
    mail.complete = file  # type: ignore[attr-defined]  # read by shtab
    send.add_argument(
        "--to",
        metavar="ADDRESS",
        type=reachable,
        required=True,
        help="the milter: inet:PORT@HOST, inet6:PORT@HOST, unix:PATH",
    )
    send.add_argument(
        "--from",
        dest="sender",
        metavar="ADDRESS",
        type=path,
        help="envelope sender; <> is the null sender; may have ESMTP parameters: '<a@b> SIZE=100'",
    )
    send.add_argument(
        "--rcpt",
        dest="recipients",
        metavar="ADDRESS",
        type=path,
        action="append",
        help="envelope recipient, alike; may be given several times",
    )
    send.add_argument(
        "--client",
        metavar="ADDRESS",
        type=client,
        default=("192.0.2.1", None),
        help="the SMTP client: an IP address, NAME[ADDRESS], or local (default: 192.0.2.1)",
    )
    send.add_argument(
        "--helo",
        metavar="NAME",
        default="client.example",
        help="what it says at EHLO (default: %(default)s)",
    )
    send.add_argument(
        "--macro",
        dest="macros",
        metavar="NAME=VALUE",
        type=macro,
        action="append",
        help="give a macro this value; may be given several times",
    )
    send.add_argument(
        "--mta",
        choices=("postfix", "sendmail"),
        default="postfix",
        help="whose macros, replies and ways to apply changes (default: %(default)s)",
    )
    send.add_argument("--json", action="store_true", help="print JSON")
    add_recording(send)
    group = _add_timeouts(send)
    group.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=SECONDS,
        default=900.0,
        help="for the whole session, however busy the milter seems (default: 900)",
    )


def add_recording(command: Parser) -> None:
    """Add the options by which sessions are recorded."""
    command.add_argument(
        "--record",
        metavar="DIRECTORY",
        help="record the sessions there, one file a process (see docs/trace.md)",
    )
    command.add_argument("--record-raw", action="store_true", help="record all packets as bytes, too")


def _add_timeouts(command: Parser) -> Any:
    group = command.add_argument_group("how long the milter may take, in seconds (as Postfix has it)")
    for name, default, text in (
        ("connect", 30.0, "to take the connection"),
        ("command", 30.0, "to answer at the negotiation and at a command"),
        ("content", 300.0, "to answer at the message; a sign of life starts it again"),
    ):
        group.add_argument(
            f"--{name}-timeout",
            metavar="SECONDS",
            type=SECONDS,
            default=default,
            help=f"{text} (default: {default:g})",
        )
    command.add_argument(
        "--max-answer",
        metavar="BYTES",
        type=COUNT,
        default=MAX_ANSWER,
        help="size of a milter's answer to one event; one with a larger one has failed "
        f"(default: {MAX_ANSWER}), as has one with more than {MAX_PACKETS} packets",
    )
    return group


def _add_serving(mta: Parser) -> None:
    mta.add_argument(
        "--listen",
        metavar="ADDRESS",
        type=address,
        default="inet:2525@localhost",
        help="PORT, inet:PORT@HOST, inet6:PORT@HOST or unix:PATH (default: %(default)s)",
    )
    mta.add_argument(
        "--milter",
        dest="milters",
        metavar="[NAME=]ADDRESS",
        type=milter,
        action="append",
        help="a milter to ask, and a name to show it by; several are asked in the order given",
    )
    mta.add_argument(
        "--maildir",
        metavar="DIRECTORY",
        default="mail",
        help="where mail is stored; made if there is none (default: %(default)s)",
    )
    mta.add_argument(
        "--default-action",
        choices=("tempfail", "accept", "reject"),
        default="tempfail",
        help="what becomes of mail where a milter fails (default: %(default)s)",
    )
    mta.add_argument(
        "--host", metavar="NAME", default="box.example", help="its own name (default: %(default)s)"
    )
    mta.add_argument(
        "--max-message",
        metavar="BYTES",
        type=COUNT,
        default=10_240_000,
        help="size of a message; a larger one is refused (default: %(default)s)",
    )
    mta.add_argument(
        "--max-recipients",
        metavar="N",
        type=COUNT,
        default=1000,
        help="recipients of a message; further ones are refused (452; default: %(default)s)",
    )
    add_recording(mta)
    _add_timeouts(mta)


def _add_demonstrating(demo: Parser, file: object) -> None:
    chosen = demo.add_argument(
        "filter",
        metavar="FILTER",
        nargs="?",
        help="FILE.py[:NAME] or package.module[:NAME] (default: one that counts bytes)",
    )
    chosen.complete = file  # type: ignore[attr-defined]  # read by shtab
    demo.add_argument(
        "--driver",
        choices=("asyncio", "threads"),
        default="asyncio",
        help="how the filter is served (default: %(default)s)",
    )
    demo.add_argument(
        "--stay", action="store_true", help="stay up for more mail (swaks, a mail program) until Ctrl-C"
    )
    demo.add_argument(
        "--maildir",
        metavar="DIRECTORY",
        help="where mail is stored (default: a temporary directory, removed at the end)",
    )

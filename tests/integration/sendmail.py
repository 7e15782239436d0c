"""Sendmail: its configuration, its queue, and mail handed in on its standard input.

From the README of the cf directory and the Operation Guide. It makes no DNS query.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.integration.mta import ANSWER_SECONDS, Held, Server
from tests.integration.smtp import Client

_SENDMAIL_MC: Final = """\
divert(0)dnl
OSTYPE(`linux')dnl
undefine(`PROCMAIL_MAILER_PATH')dnl
define(`confDOMAIN_NAME', `{host_name}')dnl
define(`QUEUE_DIR', `{base}/queue')dnl
define(`confPID_FILE', `{base}/pid')dnl
define(`STATUS_FILE', `{base}/statistics')dnl
define(`HELP_FILE', `{root}/etc/mail/helpfile')dnl
define(`ALIAS_FILE', `')dnl
define(`confSERVICE_SWITCH_FILE', `{base}/service.switch')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confTO_IDENT', `0')dnl
define(`confQUEUE_LA', `10000')dnl
define(`confREFUSE_LA', `10000')dnl
define(`confDELAY_LA', `0')dnl
define(`confMAX_MESSAGE_SIZE', `100000000')dnl
define(`confMAX_HEADERS_LENGTH', `200000')dnl
define(`confLOG_LEVEL', `14')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {sink_port}')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Name=MTA, Port={port}, Addr=127.0.0.1')dnl
DAEMON_OPTIONS(`Name=MTA6, Port={port}, Addr=::1, Family=inet6')dnl
{milters}
MAILER(`smtp')dnl
LOCAL_RULESETS
SLocal_check_rcpt
R$* @refused.test $*\t$#error $@ 5.1.1 $: "550 refused by the server"
"""


class Sendmail(Server):
    """Sendmail's daemon; ``-D`` with ``-d89.99`` is its log file where no syslogd runs."""

    name = "sendmail"
    host_name = "sendmail.test"

    @property
    def _program(self) -> Path:
        return self.root / "usr/libexec/sendmail/sendmail"

    def _configure(self) -> None:
        (self.base / "queue").mkdir(mode=0o700)
        (self.base / "statistics").touch()
        (self.base / "service.switch").write_text("hosts\tfiles\naliases\tfiles\n")  # no DNS
        source = _SENDMAIL_MC.format(
            root=self.root,
            base=self.base,
            host_name=self.host_name,
            port=self.port,
            sink_port=self.sink_port,
            milters=self._filters(),
        )
        macros = self.root / "usr/share/sendmail/cf"
        made = subprocess.run(
            ["m4", f"-D_CF_DIR_={macros}/", macros / "m4/cf.m4", "-"],
            input=source.encode(),
            capture_output=True,
            check=True,
        )
        (self.base / "sendmail.cf").write_bytes(made.stdout)

    def _filters(self) -> str:
        """The lines of its milters."""
        seconds = f"C:{ANSWER_SECONDS}s;S:{ANSWER_SECONDS}s;R:{ANSWER_SECONDS}s;E:60s"
        without = {"tempfail": ", F=T", "reject": ", F=R", "accept": ""}[self.default_action]
        return "\n".join(
            f"INPUT_MAIL_FILTER(`milter{number}', `S={milter}{without}, T={seconds}')dnl"
            for number, milter in enumerate(self.milters)
        )

    def _command(self) -> Sequence[str | Path]:
        log = ("-D", self.base / "log", "-d89.99")  # in this order
        return (self._program, "-bD", "-C", self.base / "sendmail.cf", *log)

    def _waiting(self) -> bool:
        return any(path.name.startswith(("qf", "tf")) for path in (self.base / "queue").iterdir())

    def held(self) -> tuple[Held, ...]:
        return tuple(
            self._read_held(path.read_text(errors="surrogateescape"))
            for path in sorted((self.base / "queue").glob("hf*"))
        )

    @staticmethod
    def _read_held(control_file: str) -> Held:
        """A queue control file: each line a letter and its value."""
        values = [(line[:1], line[1:]) for line in control_file.split("\n")]
        return Held(
            next((value.strip("<>") for letter, value in values if letter == "S"), ""),
            tuple(value.partition(":")[2].strip("<>") for letter, value in values if letter == "R"),
            next((value for letter, value in values if letter == "q"), None),
        )

    def purge(self) -> None:
        for path in (self.base / "queue").iterdir():
            path.unlink(missing_ok=True)

    def submit(self, sender: str, recipient: str, message: bytes) -> None:
        # SMTP on stdin: with the recipient as an argument Sendmail asks no milter
        command = ("sh", "-c", 'hostname "$0"; exec "$@"', self.host_name, self._program)
        with subprocess.Popen(
            ["unshare", "--uts", *command, "-C", self.base / "sendmail.cf", "-bs"],
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        ) as process:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("sendmail -bs without its pipes")
            client = Client(process.stdout, process.stdin.write)
            envelope = ("EHLO localhost", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>")
            for step in (*envelope, message, "QUIT"):
                client.say(step)

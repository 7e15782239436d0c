"""Postfix: its configuration, its queue, and sendmail(1) as it has it.

From postconf(5), master(5) and MILTER_README. All services run unchrooted, and as few as a relay needs.
"""

import grp
import json
import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.integration.fetch_mtas import library_path
from tests.integration.mta import ANSWER_SECONDS, Held, Server

_MAIN_CF: Final = """\
compatibility_level = 3.6
command_directory = {root}/usr/sbin
daemon_directory = {root}/usr/lib/postfix/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {base}
queue_directory = {base}/queue
data_directory = {base}/data
import_environment = LD_LIBRARY_PATH MAIL_CONFIG LANG TZ POSTLOG_SERVICE POSTLOG_HOSTNAME
export_environment = LD_LIBRARY_PATH MAIL_CONFIG LANG TZ
maillog_file = {base}/log
maillog_file_prefixes = {base}
mail_owner = postfix
setgid_group = postdrop
myhostname = {host_name}
mydomain = test
mydestination =
mynetworks = 127.0.0.0/8 [::1]/128 203.0.113.0/24
smtpd_authorized_xclient_hosts = 127.0.0.1
inet_interfaces = 127.0.0.1, [::1]
inet_protocols = all
relayhost = [127.0.0.1]:{sink_port}
default_transport = smtp
local_recipient_maps =
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_connection_cache_on_demand = no
smtp_tls_security_level = none
smtp_destination_recipient_limit = 1000
smtp_line_length_limit = 0
smtpd_tls_security_level = none
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{refused.test = 550 5.1.1 refused by the server}} }}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
in_flow_delay = 0
message_size_limit = 100000000
mailbox_size_limit = 0
smtpd_milters = {milters}
non_smtpd_milters = {milters}
milter_default_action = {default_action}
milter_command_timeout = {seconds}s
milter_content_timeout = {seconds}s
"""

_MASTER_CF: Final = """\
127.0.0.1:{port} inet n - n - - smtpd
[::1]:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def _ensure_account(name: str) -> None:
    """Postfix refuses to run without its own user and groups."""
    try:
        grp.getgrnam(name)
    except KeyError:
        subprocess.run(["groupadd", "--system", name], check=False)  # another run may be faster
    try:
        pwd.getpwnam(name)
    except KeyError:
        nowhere = ("--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin")
        subprocess.run(["useradd", "--system", *nowhere, "--gid", name, name], check=False)


class Postfix(Server):
    """Postfix: master(8) and the services that a relay with milters needs."""

    name = "postfix"
    host_name = "postfix.test"

    def _environment(self) -> Mapping[str, str]:
        own = {"LD_LIBRARY_PATH": library_path(), "MAIL_CONFIG": str(self.base)}
        return {**super()._environment(), **own}

    def _configure(self) -> None:
        _ensure_account("postfix")
        _ensure_account("postdrop")
        user = pwd.getpwnam("postfix").pw_uid
        group = grp.getgrnam("postdrop").gr_gid
        private = "active bounce corrupt defer deferred flush hold incoming private saved trace"
        directories = [
            *(("queue", 0o755, 0, 0), ("queue/pid", 0o755, 0, 0), ("data", 0o700, user, 0)),
            *((f"queue/{name}", 0o700, user, 0) for name in private.split()),
            *(("queue/maildrop", 0o730, user, group), ("queue/public", 0o710, user, group)),
        ]
        for name, mode, owner, owning_group in directories:
            (self.base / name).mkdir()
            os.chown(self.base / name, owner, owning_group)
            (self.base / name).chmod(mode)
        text = _MAIN_CF.format(
            root=self.root,
            base=self.base,
            host_name=self.host_name,
            sink_port=self.sink_port,
            milters=", ".join(map(self._milter, self.milters)),
            default_action=self.default_action,
            seconds=ANSWER_SECONDS,
        )
        services = _MASTER_CF.format(port=self.port)
        for name, content in {"main.cf": text, "master.cf": services}.items():
            (self.base / name).write_text(content)
            os.utime(self.base / name, (0, 0))  # Postfix lets younger files cool down for 2 s

    @staticmethod
    def _milter(address: str) -> str:
        """An address as Postfix writes it: ``inet:host:port``."""
        kind, _, rest = address.partition(":")
        port, _, host = rest.partition("@")
        return f"inet:{host}:{port}" if kind == "inet" else address

    def _command(self) -> Sequence[str | Path]:
        return (self.root / "usr/lib/postfix/sbin/master", "-c", self.base, "-s")

    def _waiting(self) -> bool:
        # in the order in which a message wanders, or one could slip by
        names = ("maildrop", "incoming", "deferred", "active", "deferred")
        return any(files for name in names for _, _, files in os.walk(self.base / "queue" / name))

    def held(self) -> tuple[Held, ...]:
        if not any((self.base / "queue/hold").iterdir()):
            return ()
        lines = self._tool(self.root / "usr/sbin/postqueue", "-j").splitlines()
        return tuple(
            Held(entry["sender"], tuple(to["address"] for to in entry["recipients"]), None)
            for entry in map(json.loads, lines)
            if entry["queue_name"] == "hold"
        )

    def purge(self) -> None:
        self._tool(self.root / "usr/sbin/postsuper", "-d", "ALL")

    def release(self) -> None:
        """Let go of held mail, which is then delivered."""
        self._tool(self.root / "usr/sbin/postsuper", "-H", "ALL")

    def submit(self, sender: str, recipient: str, message: bytes) -> None:
        program = self.root / "usr/sbin/sendmail"
        self._tool(program, "-i", "-f", sender, recipient, stdin=message)

"""A Postfix and a Sendmail with many doors: each port asks a milter of its own, in a way of its own.

So many faults share one server. A door is a port; what is odd about its milter (nobody listens, the
socket is out of reach, the time is short) is configured there. What is provoked at the doors is in
`tests.integration.symptoms`.
"""

import os
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from tests.integration.ports import free_port
from tests.integration.postfix import Postfix
from tests.integration.sendmail import Sendmail


@frozen
class Door:
    """A port of a server, and the milter that is asked there, by its address without ``?mode=...``.

    ``options`` are those of Postfix's smtpd(8), ``equates`` those of Sendmail's filter. ``is_chrooted``:
    that smtpd sees the queue directory only.
    """

    address: str
    options: Mapping[str, str] = field(factory=dict)
    equates: str = ""
    is_chrooted: bool = False
    port: int = field(factory=free_port)


class PostfixOfDoors(Postfix):
    """Postfix, where each door is an smtpd(8) of its own; its main port asks nobody."""

    def __init__(self, doors: Mapping[str, Door], sink_port: int) -> None:
        super().__init__((), sink_port)
        self._doors = doors

    def _configure(self) -> None:
        super()._configure()
        master = self.base / "master.cf"
        modified = master.stat().st_mtime
        master.write_text(master.read_text() + "".join(map(self._service, self._doors.values())))
        os.utime(master, (modified, modified))  # as Postfix has it: a young file cools down for 2 s

    def _service(self, door: Door) -> str:
        options = {"smtpd_milters": self._milter(door.address), **door.options}
        lines = [f"  -o {name}={value}\n" for name, value in options.items()]
        chroot = "y" if door.is_chrooted else "n"
        return f"127.0.0.1:{door.port} inet n - {chroot} - - smtpd\n{''.join(lines)}"

    def listed(self) -> str:
        """What ``postqueue -p`` prints."""
        return self.administer("postqueue", "-p")

    def administer(self, program: str, *arguments: str) -> str:
        """What one of its programs prints."""
        return self._tool(self.root / "usr/sbin" / program, *arguments).decode()


_DOOR: Final = """\
MAIL_FILTER(`{name}', `{equates}')dnl
DAEMON_OPTIONS(`Name={name}, Port={port}, Addr=127.0.0.1, InputMailFilters={name}')dnl
"""


class SendmailOfDoors(Sendmail):
    """Sendmail, where each door is a daemon's port with one filter; its main port asks nobody.

    It logs as much as it does by default, unlike the one in the other tests.
    """

    def __init__(self, doors: Mapping[str, Door], sink_port: int) -> None:
        super().__init__((), sink_port)
        self._doors = doors

    def _filters(self) -> str:
        lines = ["define(`confLOG_LEVEL', `9')dnl\n"]
        for name, door in self._doors.items():
            equates = ", ".join(filter(None, (f"S={door.address}", door.equates)))
            lines.append(_DOOR.format(name=name, equates=equates, port=door.port))
        return "".join(lines)

    def listed(self) -> str:
        """What ``mailq -qQ`` prints: the quarantine."""
        return self.administer("sendmail", "-bp", "-qQ")

    def administer(self, program: str, *arguments: str) -> str:
        """What sendmail(8), its only program here, prints."""
        if program != self._program.name:
            raise ValueError(f"expected {self._program.name}, got {program}")
        return self._tool(self._program, "-C", self.base / "sendmail.cf", *arguments).decode()

"""The units with which systemd starts a filter: a socket and a service. Text only.

Sources: systemd.socket(5), systemd.service(5), systemd.exec(5), systemd.syntax(7).
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import field, frozen

_SOCKET: Final = """\
[Unit]
Description=Socket of the mail filter {name}

[Socket]
ListenStream={socket}
SocketUser=root
SocketGroup={group}
SocketMode=0660
DirectoryMode=0755

[Install]
WantedBy=sockets.target
"""

_SERVICE: Final = """\
[Unit]
Description=Mail filter {name}
Requires={name}.socket
After=network.target {name}.socket

[Service]
Type=notify
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=30
Restart=on-failure
TimeoutStopSec=60
Environment=TMPDIR=/var/tmp
DynamicUser=yes
StateDirectory={name}
StateDirectoryMode=0700
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def like(pattern: str, expected: str) -> Callable[[Any, Any, str], None]:
    """A validator for texts; ``expected`` is what the pattern means."""

    def check(instance: Any, attribute: Any, value: str) -> None:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"expected as {attribute.name} {expected}, got {value!r}")

    return check


@frozen
class Units:
    """A filter as a service. ``command`` is what the service runs; its first word is a path.

    ``name`` is that of both units, and of the directory below ``/var/lib`` in which the service may
    write. ``group`` may connect to ``socket``, which systemd makes.
    """

    name: str = field(
        validator=like("[a-z][a-z0-9-]{0,60}", "small letters, digits and hyphens, a letter first")
    )
    command: Sequence[str]
    socket: str
    group: str = field(validator=like("[a-z_][a-z0-9_-]{0,30}", "the name of a group"))

    def files(self) -> dict[str, str]:
        """The texts, by the name of the file. `ValueError` if a word or path has a line end in it."""
        command = " ".join(quoted(word) for word in self.command)
        names = {"name": self.name, "group": self.group}
        return {
            f"{self.name}.socket": _SOCKET.format(**names, socket=_percented(self.socket)),
            f"{self.name}.service": _SERVICE.format(**names, command=command),
        }


def service_options(name: str) -> tuple[str, ...]:
    """Options of ``demyjpy run`` in a service: it gets its socket, and keeps what was refused."""
    kept = ("--flight", f"/var/lib/{name}/flight", "--flight-when", "rejected,tempfailed", "--explain")
    return ("--listen", "systemd", *kept)


def quoted(word: str) -> str:
    """A word of a command, as systemd reads it: no specifier, no variable, no quote means anything."""
    plain = _percented(word).replace("$", "$$")
    if plain and not set(plain) & set(" \t;\\\"'"):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _percented(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"expected a word without line ends and control characters, got {text!r}")
    return text.replace("%", "%%")

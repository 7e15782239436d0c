"""Addresses: how they are spelled, and how a listening socket comes from one.

`parse_address` is pure; `listen` is the only function here that touches the system.
"""

import errno
import os
import re
import shutil
import socket
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl

from attrs import evolve, field, frozen

from demyjpy.drivers.roles import Role
from demyjpy.drivers.systemd import inherited
from demyjpy.errors import AddressError

Kind: TypeAlias = Literal["inet", "inet6", "unix", "fd", "systemd"]

SPELLINGS: Final = (
    "inet:20025@localhost (Sendmail), inet:localhost:20025 (Postfix), inet6:20025@::1, "
    "unix:/run/x.sock, local:/run/x.sock, /run/x.sock, 20025, fd:3, systemd, systemd:NAME; "
    "a Unix socket may have options: unix:/run/x.sock?mode=660&user=filter&group=postfix"
)
"""What may be written for an address."""

_MOST_LINKS: Final = 40  # as many as the system follows

BACKLOG: Final = 1024
"""Connections that may wait to be accepted (the system may allow fewer)."""

_KINDS: Final = ("inet", "inet6", "unix", "local", "fd", "systemd")
_HOST_PORT: Final = re.compile(
    r"(?P<host>[\w.-]*|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})|(?P<port_first>[0-9]{1,5})@(?P<host_last>\S+)"
)
_PORT: Final = re.compile("[0-9]{1,5}")
_FD: Final = re.compile("[0-9]{1,9}")
_MODE: Final = re.compile("0?[0-7]{3}")


@frozen
class Address:
    """Where a milter listens.

    ``host`` and ``port`` for ``inet`` and ``inet6`` (port 0: any free one), ``path`` for ``unix``,
    ``fd`` for an inherited socket, ``host`` for the name that systemd gave to one. ``mode``, ``user``
    and ``group`` are those of a Unix socket.
    """

    kind: Kind
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1
    mode: int | None = None
    user: str | None = None
    group: str | None = None

    def __str__(self) -> str:
        """As Sendmail and `parse_address` read it."""
        match self.kind:
            case "unix":
                return f"unix:{self.path}"
            case "fd":
                return f"fd:{self.fd}"
            case "systemd":
                return f"systemd:{self.host}" if self.host else "systemd"
            case kind:
                return f"{kind}:{self.port}@{self.host}"


def parse_address(text: str | int) -> Address:
    """Read an address in any of `SPELLINGS`, or raise `AddressError`.

    Without a host, TCP means ``localhost``: a milter has no authentication.
    """
    text = str(text).strip()
    if text.isascii() and text.isdigit():
        return Address("inet", host="localhost", port=_port(text, text))
    if text[:1] in ("/", "."):
        return _unix(text, text)
    kind, _, rest = text.partition(":")
    if kind.lower() == "systemd":
        return Address("systemd", host=rest)
    match kind.lower() if rest else "":
        case "unix" | "local":
            return _unix(rest, text)
        case "inet":
            return _inet("inet", rest, text)
        case "inet6":
            return _inet("inet6", rest, text)
        case "fd" if _FD.fullmatch(rest):
            return Address("fd", fd=int(rest))
    raise AddressError(
        f"expected an address such as inet:20025@localhost or unix:/run/x.sock, got {text!r}"
        f"{_meant(text)}"
    )


def _meant(text: str) -> str:
    """What was probably meant, as a question."""
    found = _HOST_PORT.fullmatch(text)
    if found is not None:
        port = found["port"] or found["port_first"]
        host = (found["host"] or found["host_last"] or "localhost").strip("[]")
        return f"; did you mean inet{'6' if ':' in host else ''}:{port}@{host}?"
    kind, colon, rest = text.partition(":")
    near = get_close_matches(kind.lower(), _KINDS, 1)
    if near and colon and kind.lower() not in _KINDS:
        return f"; did you mean {near[0]}:{rest}?"
    return ""


def http_address(text: str) -> Address:
    """``[HOST]:PORT``, or `AddressError`."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = "", text
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise AddressError(
            f"expected a port from 0 to 65535, as in 9100, :9100 or 192.0.2.1:9100, got {port!r}"
        )
    return Address("inet6" if ":" in host else "inet", host=host or "127.0.0.1", port=int(port))


def _inet(kind: Kind, rest: str, text: str) -> Address:
    port, at, host = rest.partition("@")
    if not at:
        host, _, port = rest.rpartition(":")
        if ":" in host and host[0] != "[":
            port = rest  # an IPv6 address without brackets: nobody knows where it ends
    host = host.removeprefix("[").removesuffix("]")
    local = "::1" if kind == "inet6" else "localhost"
    return Address(kind, host=host or local, port=_port(port, text))


def _port(port: str, text: str) -> int:
    if _PORT.fullmatch(port) and int(port) <= 65535:
        return int(port)
    raise AddressError(f"expected a port from 0 to 65535, got {port!r} in {text!r}")


def _unix(rest: str, text: str) -> Address:
    path, _, query = rest.partition("?")
    address = Address("unix", path=path)
    if not path or "\0" in path:
        raise AddressError(f"expected a path, got {path!r} in {text!r}")
    for key, value in parse_qsl(query, keep_blank_values=True):
        match key:
            case "mode" if _MODE.fullmatch(value):
                address = evolve(address, mode=int(value, 8))
            case "user" if value:
                address = evolve(address, user=value)
            case "group" if value:
                address = evolve(address, group=value)
            case _:
                raise AddressError(
                    f"expected options mode=660, user=NAME or group=NAME, got {key}={value} in {text!r}"
                )
    return address


def as_postfix(address: Address) -> str:
    """The same as Postfix spells it in main.cf."""
    if address.kind in ("inet", "inet6"):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"inet:{host}:{address.port}"
    return str(address)


@frozen
class Listener:
    """A listening socket, not blocking, and the file that goes with a Unix socket.

    ``address`` is where it listens, with the port that the system chose. ``file`` is the identity of
    the file to remove with it: by the time, another program may listen at the same path.
    ``is_shared``: other processes accept from it, too. ``role`` says which of them does the jobs.
    """

    socket: socket.socket
    address: Address
    file: tuple[int, int] | None = None
    is_shared: bool = False
    role: Role = field(factory=Role, eq=False)

    def close(self) -> None:
        """Listen no more. Once is enough, twice does no harm."""
        if self.socket.fileno() < 0:
            return
        with suppress(OSError):
            # before the socket is closed: until then the system gives the file's number to no other
            if self.file and self.file == _identity(self.address.path):
                Path(self.address.path).unlink()
        self.socket.close()


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def listen(address: Address) -> Listener:
    """Listen there; `AddressError` says why that is not possible.

    The file of a Unix socket that nobody listens on is replaced; one that is in use, or that is no
    socket, is refused.
    """
    try:
        match address.kind:
            case "unix":
                return _listen_unix(address)
            case "fd":
                return _adopt(address)
            case "systemd":
                return _adopt(evolve(address, fd=inherited(address.host)))
            case _:
                return _listen_inet(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AddressError(f"cannot listen on {address}: {reason}{_way_out(address, error)}") from error


def _way_out(address: Address, error: Exception) -> str:
    """What to do about it."""
    match getattr(error, "errno", None):
        case errno.ENOENT:
            return f": make the directory {Path(address.path).parent} for the user of the milter"
        case errno.EADDRINUSE:
            return ": another program listens there; stop it (ss -ltnp names it) or choose another port"
        case errno.EADDRNOTAVAIL:
            return ": no network interface here has this address; ip address shows them"
        case errno.EACCES if address.kind != "unix":
            return ": only root may listen below 1024; choose another port, or start as root with --user"
        case errno.EACCES:
            return f": the user of the milter needs the right to write in {Path(address.path).parent}"
    return ""


def _listen_inet(address: Address) -> Listener:
    family = socket.AF_INET6 if address.kind == "inet6" or ":" in address.host else socket.AF_INET
    found = socket.getaddrinfo(
        address.host, address.port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as undo:
        sock = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        # or connections in TIME_WAIT would keep the port from a milter that is started again, socket(7)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # or net.ipv6.bindv6only would decide whether IPv4 peers may come, too, ipv6(7)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(found[0][4])
        _begin(sock)
        undo.pop_all()
        return Listener(sock, evolve(address, port=sock.getsockname()[1]))


def _listen_unix(address: Address) -> Listener:
    _check_directories(address.path)
    _make_way(address.path)
    with ExitStack() as undo:
        sock = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        # nobody may connect before mode and owner are as they should be
        before = os.umask(0o177)
        try:
            sock.bind(address.path)
        finally:
            os.umask(before)
        undo.callback(Path(address.path).unlink)
        _give(address)
        _begin(sock)
        listener = Listener(sock, address, _identity(address.path))
        undo.pop_all()
        return listener


def _make_way(path: str) -> None:
    """Remove the file of a dead socket; refuse anything else that is there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressError(f"cannot listen on unix:{path}: the file there is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full, so it has one
    raise AddressError(f"cannot listen on unix:{path}: another program listens there")


def _give(address: Address) -> None:
    """Owner and mode of a new socket file: by default only its owner may connect.

    They are set on the file that was opened, not on a name under which another may be by now.
    """
    number = os.open(address.path, os.O_PATH | os.O_NOFOLLOW)
    try:
        found = os.fstat(number)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise AddressError(
                f"cannot listen on {address}: expected the socket just made, got another file: "
                "somebody else may write to its directory"
            )
        same = f"/proc/self/fd/{number}"
        shutil.chown(same, address.user or -1, address.group or -1)  # -1: it stays as it is, chown(2)
        default = 0o660 if address.group else 0o600
        Path(same).chmod(default if address.mode is None else address.mode)
    except LookupError as error:
        raise AddressError(f"cannot listen on {address}: {error}") from None
    finally:
        os.close(number)


def _check_directories(path: str) -> None:
    """Refuse a place in which others may put another socket for ours, anywhere on the way there.

    As Sendmail's safedirpath() does, which refuses such sockets (libsmutil/safefile.c); but the sticky
    bit is trusted, root's group and our own may write, and links are to be root's or ours.
    """
    for place, found in _way_to(Path(path).absolute().parent):
        mode = found.st_mode
        may_write = ""
        if stat.S_ISLNK(mode):
            if found.st_uid not in (0, os.geteuid()):
                may_write = f"user {found.st_uid}, whose link it is,"
        elif not mode & stat.S_ISVTX:
            if mode & stat.S_IWOTH:
                may_write = "everybody"
            elif mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
                may_write = f"group {found.st_gid}"
        if may_write:
            raise AddressError(
                f"cannot listen on unix:{path}: expected a place where nobody else can put another "
                f"socket, got {place} with mode {stat.S_IMODE(mode):o}, which {may_write} can change; "
                "give it 755 or less, or take a directory below /run"
            )


def _way_to(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All directories and links through which a path leads, from the root on."""
    place, parts, links = Path("/"), deque(directory.parts), 0
    yield place, place.lstat()
    while parts:
        part = parts.popleft()
        there = place.parent if part == ".." else place / part
        found = there.lstat()
        if part not in ("/", ".."):
            yield there, found
        if not stat.S_ISLNK(found.st_mode):
            place = there
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        parts.extendleft(reversed(there.readlink().parts))


def _adopt(address: Address) -> Listener:
    """The inherited socket, which must listen already (as one from systemd does)."""
    if not stat.S_ISSOCK(os.fstat(address.fd).st_mode):
        raise AddressError(f"cannot listen on {address}: expected a socket, got another kind of file")
    with ExitStack() as undo:
        sock = undo.enter_context(socket.socket(fileno=os.dup(address.fd)))
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise AddressError(f"cannot listen on {address}: expected a socket that listens")
        _begin(sock)
        undo.pop_all()
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Listener(sock, Address("unix", path=os.fsdecode(name)))
    return Listener(sock, Address("inet6" if sock.family == socket.AF_INET6 else "inet", *name[:2]))


def _begin(sock: socket.socket) -> None:
    sock.listen(BACKLOG)
    sock.setblocking(False)

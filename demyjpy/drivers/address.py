"""Addresses: how they are spelled, and how a listening socket comes from one.

`parse_address` is pure; `listen` is the only function here that touches the system.
"""

import os
import re
import shutil
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl

from attrs import evolve, frozen

from demyjpy.errors import AddressError

Kind: TypeAlias = Literal["inet", "inet6", "unix", "fd"]

SPELLINGS: Final = (
    "inet:20025@localhost (Sendmail), inet:localhost:20025 (Postfix), inet6:20025@::1, "
    "unix:/run/x.sock, local:/run/x.sock, /run/x.sock, 20025, fd:3; a Unix socket may have "
    "options: unix:/run/x.sock?mode=660&user=filter&group=postfix"
)
"""What may be written for an address."""

BACKLOG: Final = 1024
"""Connections that may wait to be accepted (the system may allow fewer)."""


@frozen
class Address:
    """Where a milter listens.

    ``host`` and ``port`` for ``inet`` and ``inet6`` (port 0: any free one), ``path`` for ``unix``,
    ``fd`` for an inherited socket. ``mode``, ``user`` and ``group`` are those of a Unix socket.
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
            case kind:
                return f"{kind}:{self.port}@{self.host}"


def parse_address(text: str | int) -> Address:
    """Read an address in any of `SPELLINGS`, or raise `AddressError` that lists them.

    Without a host, TCP means ``localhost``: a milter has no authentication.
    """
    text = str(text).strip()
    if text.isascii() and text.isdigit():
        return Address("inet", host="localhost", port=_port(text, text))
    if text[:1] in ("/", "."):
        return _unix(text, text)
    kind, colon, rest = text.partition(":")
    match kind.lower() if colon and rest else "":
        case "unix" | "local":
            return _unix(rest, text)
        case "inet":
            return _inet("inet", rest, text)
        case "inet6":
            return _inet("inet6", rest, text)
        case "fd" if rest.isascii() and rest.isdigit():
            return Address("fd", fd=int(rest))
    raise AddressError(f"expected an address such as {SPELLINGS}; got {text!r}")


def _inet(kind: Kind, rest: str, text: str) -> Address:
    port, at, host = rest.partition("@")
    if not at:
        host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    local = "::1" if kind == "inet6" else "localhost"
    return Address(kind, host=host or local, port=_port(port, text))


def _port(port: str, text: str) -> int:
    if port.isascii() and port.isdigit() and int(port) <= 65535:
        return int(port)
    raise AddressError(f"expected a port from 0 to 65535, got {port!r} in {text!r}: {SPELLINGS}")


def _unix(rest: str, text: str) -> Address:
    path, _, query = rest.partition("?")
    address = Address("unix", path=path)
    if not path:
        raise AddressError(f"expected a path, got none in {text!r}: {SPELLINGS}")
    for key, value in parse_qsl(query, keep_blank_values=True):
        match key:
            case "mode" if re.fullmatch("0?[0-7]{3}", value):
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


def listen(address: Address, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket, not blocking; `AddressError` says why there is none.

    The file of a Unix socket that nobody listens on is replaced; one that is in use, or that is no
    socket, is refused.
    """
    try:
        match address.kind:
            case "unix":
                return _listen_unix(address)
            case "fd":
                return _adopt(address)
            case _:
                return _listen_inet(address, reuse_port)
    except OSError as error:
        raise AddressError(f"cannot listen on {address}: {error.strerror or error}") from error


def _listen_inet(address: Address, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if address.kind == "inet6" or ":" in address.host else socket.AF_INET
    found = socket.getaddrinfo(
        address.host, address.port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sock = socket.socket(found[0][0], socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(found[0][4])
        return _ready(sock)
    except OSError:
        sock.close()
        raise


def _listen_unix(address: Address) -> socket.socket:
    _make_way(address.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # nobody may connect before mode and owner are as they should be
        before = os.umask(0o177)
        try:
            sock.bind(address.path)
        finally:
            os.umask(before)
        _give(address)
        return _ready(sock)
    except OSError:
        sock.close()
        raise


def _make_way(path: str) -> None:
    """Remove the file of a dead socket; refuse anything else that is there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressError(f"cannot listen on unix:{path}: the file there is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise AddressError(f"cannot listen on unix:{path}: another program listens there")


def _give(address: Address) -> None:
    """Owner and mode of a new socket file: by default only its owner may connect."""
    if address.user is not None or address.group is not None:
        try:
            shutil.chown(address.path, address.user, address.group)
        except LookupError as error:
            raise AddressError(f"cannot listen on {address}: {error}") from None
    mode = address.mode
    if mode is None:
        mode = 0o660 if address.group else 0o600
    Path(address.path).chmod(mode)


def _adopt(address: Address) -> socket.socket:
    """The inherited socket, which must listen already (as one from systemd does)."""
    sock = socket.socket(fileno=os.dup(address.fd))
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise AddressError(f"cannot listen on {address}: expected a stream socket")
    return _ready(sock)


def _ready(sock: socket.socket) -> socket.socket:
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def bound_address(address: Address, sock: socket.socket) -> Address:
    """The address as it turned out: with the port that the system chose."""
    name = sock.getsockname()
    if address.kind in ("inet", "inet6"):
        return evolve(address, port=name[1])
    if address.kind == "unix":
        return address
    if sock.family == socket.AF_UNIX:
        return Address("unix", path=str(name))
    return Address("inet6" if sock.family == socket.AF_INET6 else "inet", name[0], name[1])


def forget(address: Address) -> None:
    """Remove the file of a Unix socket that we listened on."""
    if address.kind == "unix":
        with suppress(OSError):
            Path(address.path).unlink()

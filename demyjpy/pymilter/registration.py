"""What a script says before it serves: policy, address, callbacks; and ``runmilter``.

pymilter's functions say it to the process, so there is one `Registration` in it. Whoever wants to take
the filter over says so with `Registration.taking`; else it is served here.
"""

import operator
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from attrs import frozen

from demyjpy.drivers.address import parse_address
from demyjpy.errors import AddressError
from demyjpy.pymilter.constants import TEMPFAIL
from demyjpy.pymilter.errors import error
from demyjpy.pymilter.filters import POLICIES, filter_of
from demyjpy.registry import Registry
from demyjpy.starting import start_milter

_FAMILIES: Final = {"inet": "0.0.0.0", "inet6": "::"}  # noqa: S104  # nosec B104  # as libmilter does


@frozen
class Registered:
    """A filter that is ready to be served: its name, where it wants to listen, and itself."""

    name: str
    address: str
    registry: Registry


Take: TypeAlias = Callable[[Registered], object]


def address_of(socketname: str) -> str:
    """An address of libmilter's as one of ours; `AddressError` for one that is neither.

    Without a host it is each address of the machine. The mode of a Unix socket follows from the umask.
    """
    before, colon, rest = socketname.partition(":")
    kind = before.lower()
    if kind in _FAMILIES:
        port, _, host = rest.partition("@")
        address = f"{kind}:{_port(port, socketname)}@{host or _FAMILIES[kind]}"
    else:
        path = rest if colon and kind in ("unix", "local") else socketname
        if path is socketname and colon and "/" not in before:  # such as tcp:8800
            advice = f"did you mean inet:{rest}?" if rest[:1].isdigit() else "a path needs a /"
            raise AddressError(f"expected inet:, inet6:, unix: or local:, got {socketname!r}; {advice}")
        if not path or "?" in path:
            raise AddressError(
                "expected an address such as inet:PORT, or unix:PATH with a path without '?', "
                f"got {socketname!r}"
            )
        address = f"unix:{path}?mode={0o777 & ~_umask():o}"
    parse_address(address)
    return address


def _port(port: str, socketname: str) -> str:
    """The number of a port, which may be given as the name of a service such as ``submission``."""
    if port.isdigit():
        return port
    try:
        return str(socket.getservbyname(port, "tcp"))
    except (OSError, UnicodeError):
        raise AddressError(
            f"expected a port as a number, or the name of a service, got {port!r} in {socketname!r}"
        ) from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def serve(found: Registered) -> None:
    """Serve it in this process until a signal, one thread a connection."""
    start_milter(found.address, found.registry, driver="threads")


class Registration:
    """What a script has said so far."""

    def __init__(self) -> None:
        self._take: Take = serve
        self.policy = TEMPFAIL
        self.failed = ""
        """Why its last call of ``runmilter`` failed, which scripts catch."""

    @contextmanager
    def taking(self, take: Take) -> Iterator["Registration"]:
        """All is as if nothing had been said. Who serves in the block calls ``take`` in place of that.

        The script goes on when that returns.
        """
        self.policy, self.failed = TEMPFAIL, ""
        before, self._take = self._take, take
        try:
            yield self
        finally:
            self._take = before

    def set_flags(self, flags: int) -> None:
        """What the filter does to messages: like pymilter, it asks the MTA for all edits in any case."""
        operator.index(flags)

    def set_exception_policy(self, i: int) -> None:
        """What is answered if a callback raises: TEMPFAIL, REJECT, CONTINUE or ACCEPT, else `error`."""
        if i not in POLICIES:
            raise error(
                "invalid exception policy: expected Milter.TEMPFAIL, REJECT, CONTINUE or ACCEPT, "
                f"got {i!r}"
            )
        self.policy = int(i)

    def run(self, name: str, socketname: str, factory: Callable[[], Any]) -> None:
        """Serve what ``factory`` makes until told to stop; `error` for an address that is none."""
        try:
            address = address_of(socketname)
        except AddressError as problem:
            self.failed = f"cannot set socket: {problem}"
            raise error(self.failed) from problem
        registry = filter_of(factory, name=name, flags=0, policy=self.policy)  # whatever set_flags said
        self._take(Registered(name, address, registry))


REGISTRATION: Final = Registration()
"""What the script of this process has said: pymilter's functions belong to no object."""

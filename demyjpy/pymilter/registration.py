"""What a script says before it serves: flags, policy, address, callbacks; and ``runmilter``.

pymilter's functions say it to the process, so there is one `Registration` in it. Whoever wants to take
the filter over says so with `Registration.taking`; else it is served here.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from attrs import frozen

from demyjpy.drivers.address import parse_address
from demyjpy.errors import AddressError
from demyjpy.pymilter.constants import TEMPFAIL
from demyjpy.pymilter.errors import error
from demyjpy.pymilter.filters import filter_of
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
    kind, colon, rest = socketname.partition(":")
    kind = kind.lower()
    if kind in _FAMILIES:
        port, _, host = rest.partition("@")
        address = f"{kind}:{port}@{host or _FAMILIES[kind]}" if port.isdigit() else socketname
    else:
        path = rest if colon and kind in ("unix", "local") else socketname
        if path is socketname and colon and "/" not in kind:  # libmilter: unknown socket type
            advice = f"did you mean inet:{rest}?" if rest[:1].isdigit() else "a path needs a /"
            raise AddressError(f"expected inet:, inet6:, unix: or local:, got {socketname!r}; {advice}")
        if not path:
            raise AddressError(f"expected an address such as unix:PATH or inet:PORT, got {socketname!r}")
        address = f"unix:{path}?mode={0o777 & ~_umask():o}"
    parse_address(address)
    return address


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
        self.flags = 0
        self.policy = TEMPFAIL

    @contextmanager
    def taking(self, take: Take) -> Iterator[None]:
        """All is as if nothing had been said. Whoever serves in the block calls ``take`` for that.

        The script goes on when that returns.
        """
        self.flags, self.policy = 0, TEMPFAIL
        before, self._take = self._take, take
        try:
            yield
        finally:
            self._take = before

    def set_flags(self, flags: int) -> None:
        """What the filter does to messages, which the MTA has to grant."""
        self.flags = int(flags)

    def set_exception_policy(self, i: int) -> None:
        """What is answered if a callback raises: TEMPFAIL, REJECT, CONTINUE or ACCEPT."""
        self.policy = int(i)

    def run(self, name: str, socketname: str, factory: Callable[[], Any]) -> None:
        """Serve what ``factory`` makes until told to stop; `error` for an address that is none."""
        try:
            address = address_of(socketname)
        except AddressError as problem:
            raise error(f"cannot set socket: {problem}") from problem
        registry = filter_of(factory, name=name, flags=self.flags, policy=self.policy)
        self._take(Registered(name, address, registry))


REGISTRATION: Final = Registration()
"""What the script of this process has said: pymilter's functions belong to no object."""

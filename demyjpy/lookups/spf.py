"""The question what SPF says of a client (RFC 7208), with pyspf (the extra ``spf``).

pyspf checks in a thread, and asks the resolver of the filter. It keeps the limits of RFC 7208: ten terms
that need DNS, ten names for each, two that do not exist. What it was not made for does not reach it:
long records, and DNS that takes long.
"""

import warnings
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, ClassVar, Final, TypeAlias

from attrs import field, frozen

from demyjpy.lookups.clients import client_of, library
from demyjpy.lookups.dns import Resolver
from demyjpy.questions import Question, check_seconds

__all__ = ["CheckSpf"]

with warnings.catch_warnings():
    # pyspf has escapes in texts that newer Pythons warn of when they compile it
    warnings.filterwarnings("ignore", ".*invalid escape sequence")
    spf: Final = library("pyspf", "spf", "spf")

LONGEST_RECORD: Final = 4_000
"""Characters of a record that is given to pyspf. A longer one counts as none."""

TIMEOUT: Final = 10.0
"""Seconds for all that DNS is asked for one check; RFC 7208 demands no more than 20 (section 4.6.4)."""

_Base: Final[Any] = spf.query

Ask: TypeAlias = Callable[[str, str, float], tuple[Any, ...]]
"""Finds the records of a name and a kind, within so many seconds."""


class _Query(_Base):  # type: ignore[misc]  # it has no types
    """One check by pyspf, with another way to DNS."""

    def __init__(self, ask: Ask, client: str, sender: str, helo: str, seconds: float) -> None:
        super().__init__(i=client, s=sender, h=helo)
        self._ask, self._until = ask, monotonic() + seconds
        self._known: dict[tuple[str, str], list[Any]] = {}

    def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
        """The records of a name. Aliases are followed already."""
        key = name.lower().removesuffix("."), qtype
        if key not in self._known:
            self._known[key] = self._asked(*key)
            self.void_lookups += not self._known[key] and not ignore_void
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError("too many names that do not exist")
        return self._known[key]

    def _asked(self, name: str, kind: str) -> list[Any]:
        left = self._until - monotonic()
        if left <= 0:
            raise spf.TempError("DNS takes too long")
        try:
            found = self._ask(name, kind, left)
        except Exception as error:
            raise spf.TempError("DNS does not answer") from error
        if kind != "TXT":
            return list(found)
        texts = (one.encode("utf-8", "surrogateescape") for one in found if len(one) <= LONGEST_RECORD)
        return [[text] for text in texts]


def _seconds(value: Any) -> float:
    return check_seconds("timeout=", value)


@frozen
class CheckSpf(Question, pure=True):
    """What SPF says: ``pass fail softfail neutral none``, ``permerror`` or ``temperror``.

    ``client``: its IP address. ``sender``: as in MAIL; of the null sender the name in HELO is asked.
    ``timeout``: seconds for DNS, after which the answer is ``temperror``; give ``within=`` some more.
    ``using``: the name of the resource, a `Resolver`.
    """

    client: str = field(converter=str)
    helo: str
    sender: str
    timeout: float = field(default=TIMEOUT, converter=_seconds)
    using: str = "dns"
    examples: ClassVar[tuple[Any, ...]] = ("pass", "fail", "softfail", "none", "temperror")

    def perform(self, resources: Mapping[str, Any]) -> str:
        """Have it checked."""
        resolver = client_of(resources, self.using, Resolver)
        ask = resolver.find_in_thread
        return str(_Query(ask, self.client, self.sender, self.helo, self.timeout).check()[0])

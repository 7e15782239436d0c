"""Questions to DNS, with dnspython (the extra ``dns``): records, names of a client, block lists.

A name that does not exist is an answer, an empty one. What the mail says is never more than a name: one
that cannot be a name does not exist. Search domains are not used.
"""

import asyncio
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, ip_address
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from attrs import field, frozen, validators

from demyjpy.errors import HandlerError
from demyjpy.lookups.clients import client_of, library
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError, UnansweredError
from demyjpy.questions import Question

__all__ = ["Dns", "Dnsbl", "Resolver", "VerifiedNames", "dnsbl_name"]

dns: Final = library(
    "dnspython",
    "dns",
    *("dns", "dns.asyncbackend", "dns.asyncresolver", "dns.exception", "dns.name", "dns.rcode"),
)

POOL: Final = 200
MOST_NAMES: Final = 10
"""PTR records of a client that are verified (RFC 7208, section 4.6.4)."""

LONGEST_NAME: Final = 254
"""Characters of a name with a dot at its end (RFC 1035, section 2.3.4). A longer text is never parsed.

That would take seconds in the event loop, before anybody is asked.
"""

_LISTED: Final = IPv4Network("127.0.0.0/8")
_CANNOT_SAY: Final = IPv4Network("127.255.255.0/24")


def _name(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True))


def _text(record: Any) -> str:
    return b"".join(record.strings).decode("utf-8", "surrogateescape")


_KINDS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "A": lambda record: record.address,
        "AAAA": lambda record: record.address,
        "CNAME": lambda record: _name(record.target),
        "MX": lambda record: (record.preference, _name(record.exchange)),
        "NS": lambda record: _name(record.target),
        "PTR": lambda record: _name(record.target),
        "SRV": lambda one: (one.priority, one.weight, one.port, _name(one.target)),
        "TLSA": lambda record: record.to_text(),
        "TXT": _text,
    }
)
"""By kind of record: what of it is the answer."""


class Resolver:
    """Asks the name servers at these addresses, by default those of ``/etc/resolv.conf``.

    It is a resource, as in ``resources={"dns": lambda settings: Resolver("127.0.0.1")}``; a filter
    without one has the default. ``pool``: questions on their way at once. ``timeout``: seconds for each.
    The other options are those of `demyjpy.lookups.guard.Guard`.
    """

    def __init__(
        self, *servers: str, port: int = 53, pool: int = POOL, timeout: float = TIMEOUT, **breaker: Any
    ) -> None:
        self._guard = Guard("dns", places=pool, timeout=timeout, **breaker)
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not servers)
            if servers:
                self._resolver.nameservers = [str(ip_address(one)) for one in servers]
        except (dns.exception.DNSException, ValueError) as error:
            raise HandlerError(f"expected addresses of name servers, got {error}") from error
        self._resolver.port = port
        self._timeout = self._guard.timeout
        # one that is silent must leave time for the next, and for asking again
        self._resolver.timeout = self._timeout / max(2, len(self._resolver.nameservers))
        self._server = ", ".join(map(str, self._resolver.nameservers))
        self._backend = dns.asyncbackend.get_backend("asyncio")
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()

    async def find(self, name: str, kind: str, *, of_macros: bool = False) -> tuple[Any, ...]:
        """The records of a name, in order; none if there is no such name. Errors as of `Guard.ask`.

        ``of_macros``: what a macro of SPF writes of an address (RFC 7208, section 7.2), such as an ``@``
        or a space, may stand in it.
        """
        wanted = _as_name(name, "\\" if of_macros else '\\@" ')
        if wanted is None:
            return ()
        return await self._guard.ask(
            self._server, lambda: self._resolve(wanted, kind), is_alive=self._is_alive
        )

    def find_in_thread(self, name: str, kind: str, seconds: float) -> tuple[Any, ...]:
        """As `find` with ``of_macros``, for a performer that is no ``async def``: its thread waits.

        `UnansweredError` also if there is no answer within so many ``seconds``. The resolver must have
        been opened, as a resource of a filter is.
        """
        if self._loop is None:
            raise HandlerError(
                "expected a resolver that is a resource of the filter, got one that nobody has opened: "
                'declare resources={"dns": lambda settings: Resolver()}'
            )
        finding = self.find(name, kind, of_macros=True)
        try:
            asked = asyncio.run_coroutine_threadsafe(finding, self._loop)
        except RuntimeError as error:  # the loop has ended, and nobody waits for this performer
            finding.close()
            raise UnansweredError(f"nobody can ask any more: {error}") from None
        try:
            return asked.result(seconds)
        except TimeoutError:
            asked.cancel()
            raise UnansweredError(f"no answer within {seconds:g} s") from None

    async def find_in_zone(self, name: str, zone: str) -> tuple[Any, ...]:
        """The addresses of a name in a zone whose servers have a circuit breaker of their own."""

        async def find() -> tuple[Any, ...]:
            try:
                return await self.find(name, "A")
            except RefusedError as error:  # of this zone it means that its servers do not answer
                raise UnansweredError(str(error)) from error

        return await self._guard.watch(zone, find)

    async def _is_alive(self) -> None:
        await self._resolve(dns.name.root, "NS")

    async def _resolve(self, name: Any, kind: str) -> tuple[Any, ...]:
        try:
            found = await self._resolver.resolve(
                name,
                kind,
                raise_on_no_answer=False,
                search=False,
                lifetime=self._timeout,
                backend=self._backend,
            )
        except dns.resolver.NXDOMAIN:
            return ()
        except dns.resolver.NoNameservers as error:
            raise _fault(error.kwargs["errors"], kind) from None
        except dns.exception.Timeout:
            raise UnansweredError(f"no answer within {self._timeout:g} s") from None
        except dns.exception.DNSException as error:  # as a chain of aliases that has no end
            raise RefusedError(f"no use of its answer for {kind}: {type(error).__name__}") from None
        return tuple(sorted(_KINDS[kind](record) for record in found.rrset or ()))


def _fault(errors: list[Any], kind: str) -> UnansweredError | RefusedError:
    """Why no name server has answered: it has said so, or cannot be reached.

    The name stays out of it: it may be of a mail.
    """
    *_, error, response = errors[-1]
    if any(one[-1] is not None for one in errors):
        what = error if response is None else dns.rcode.to_text(response.rcode())
        return RefusedError(f"{what} for {kind}")
    return UnansweredError(str(error))


def _as_name(text: str, refused: str) -> Any:
    """A name, from its root; None for what cannot be one. Nothing in it is taken for an escape."""
    if (
        not text
        or len(text) > LONGEST_NAME
        or not text.isprintable()
        or any(one in refused for one in text)
    ):
        return None
    try:
        return dns.name.from_text(text.removesuffix(".") + ".")
    except (dns.exception.DNSException, UnicodeError):
        return None


@frozen
class Dns(Question, pure=True, remember_for=30):
    """The records of a name, as a tuple in order; empty if there are none, or no such name.

    ``kind``: ``A``, ``AAAA`` (addresses as texts), ``MX`` (pairs of preference and name; a null MX is
    ``(0, ".")``, RFC 7505), ``TXT`` (texts), ``PTR`` (names; ``name`` may be an IP address), ``NS``,
    ``CNAME``, ``SRV`` (priority, weight, port, name), ``TLSA`` (its text). Names have no dot at the end.
    ``using``: the name of the resource.

    SERVFAIL, REFUSED and no answer are failures.
    """

    name: str
    kind: str = field(default="A", validator=validators.in_(tuple(_KINDS)))
    using: str = "dns"
    examples: ClassVar[tuple[Any, ...]] = (("192.0.2.1",), ())

    async def perform(self, resources: Mapping[str, Any]) -> tuple[Any, ...]:
        """Ask for them."""
        name = _pointer(self.name) if self.kind == "PTR" else self.name
        return await resolver_of(resources, self.using).find(name, self.kind)


@frozen
class VerifiedNames(Question, pure=True, remember_for=30):
    """The names of a client that lead back to it: of its PTR records, those with its address.

    This is ``iprev`` of RFC 8601. A tuple in order, empty if there are none. ``client``: an IP address.
    At most `MOST_NAMES` are looked at. One that cannot be looked up does not count, unless none does.
    """

    client: str = field(converter=str)
    using: str = "dns"
    examples: ClassVar[tuple[Any, ...]] = (("client.example.org",), ())

    async def perform(self, resources: Mapping[str, Any]) -> tuple[str, ...]:
        """Ask for its names, then for the addresses of each, at once."""
        resolver = resolver_of(resources, self.using)
        client = ip_address(self.client)
        names = (await resolver.find(_pointer(self.client), "PTR"))[:MOST_NAMES]
        kind = "A" if client.version == 4 else "AAAA"
        found = await asyncio.gather(
            *(resolver.find(name, kind) for name in names), return_exceptions=True
        )
        good = []
        for name, addresses in zip(names, found, strict=True):
            if not isinstance(addresses, BaseException) and str(client) in addresses:
                good.append(name)
        errors = [one for one in found if isinstance(one, BaseException)]
        if errors and not good:
            raise errors[0]
        return tuple(good)


@frozen
class Dnsbl(Question, pure=True, remember_for=60):
    """What a DNS block list says of a client or a domain: its codes (``127.0.0.2``); empty: not listed.

    ``what``: an IP address, or a domain name (RFC 5782). Each zone has a circuit breaker of its own.
    What is no code fails: a zone that is gone, or does not serve this resolver, would else list all.
    """

    what: str = field(converter=str)
    zone: str
    using: str = "dns"
    examples: ClassVar[tuple[Any, ...]] = ((), ("127.0.0.2",))

    async def perform(self, resources: Mapping[str, Any]) -> tuple[str, ...]:
        """Ask the list."""
        resolver = resolver_of(resources, self.using)
        codes = await resolver.find_in_zone(dnsbl_name(self.what, self.zone), self.zone)
        for code in map(ip_address, codes):
            if code not in _LISTED or code in _CANNOT_SAY:
                raise RefusedError(
                    f"expected codes in 127.0.0.0/8 of the list {self.zone}, got {code}: see whether it "
                    "still exists, and serves the name server that asks"
                )
        return tuple(codes)


def dnsbl_name(what: str, zone: str) -> str:
    """The name under which a list has an IP address or a domain (RFC 5782, section 2).

    ``Dns(dnsbl_name(client, zone), "TXT")`` asks for the reasons.
    """
    pointer = _pointer(what)
    for suffix in (".in-addr.arpa", ".ip6.arpa"):
        pointer = pointer.removesuffix(suffix)
    return f"{pointer}.{zone}"


def _pointer(text: str) -> str:
    """The name that has the PTR records of an IP address; any other text stays as it is."""
    if len(text) > LONGEST_NAME:  # no address is; and what parses it may take long
        return text
    try:
        return ip_address(text).reverse_pointer
    except ValueError:
        return text


def resolver_of(resources: Mapping[str, Any], name: str) -> Resolver:
    """The resource of this name, or the default."""
    return client_of(resources, name, Resolver, Resolver)

"""Questions to LDAP directories: entries that a filter finds, by a client of its own (no extra).

Of the libraries on PyPI, ldap3 has had no release since 2021, bonsai keeps the event loop busy while it
waits, and python-ldap needs a C compiler and blocks. A search is a small part of LDAP: what is sent, and
what comes, stands in `ldap_encoding`, filters in `ldap_filters`.
"""

import asyncio
import math
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self, get_args
from urllib.parse import unquote, urlsplit

from attrs import field, frozen, validators
from pyrsistent import PMap, pmap

from demyjpy.errors import HandlerError, describe
from demyjpy.lookups import ldap_encoding as encoding
from demyjpy.lookups.clients import client_of
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError, UnansweredError
from demyjpy.lookups.ldap_filters import ATTRIBUTE, EmptyValueError, parse_template
from demyjpy.questions import Question

__all__ = ["Ldap", "LdapSearch"]

POOL: Final = 10
MOST_ENTRIES: Final = 100

_AT_ONCE: Final = 100
"""Messages that are read before others have their turn."""

_PORTS: Final = MappingProxyType({"ldap": 389, "ldaps": 636})
_WANTED: Final = re.compile(rf"{ATTRIBUTE}|[*+]")
_ALIVE: Final = MappingProxyType(
    {
        "base": "",
        "scope": "base",
        "encoded_filter": parse_template("(objectClass=*)").encode({}),
        "attributes": (),
    }
)
"""What any server answers at once: whether it has a root (RFC 4512, section 5.1)."""


class _Connection:
    """One connection, on which one thing is asked at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._number = reader, writer, 0

    def close(self) -> None:
        """Say goodbye, and do not wait, as a proper end of TLS would."""
        self._writer.write(encoding.unbind_request(self._next()))
        self.abort()

    def abort(self) -> None:
        """Go without a word: what a silent server has not read must not stay in memory."""
        self._writer.transport.abort()

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def has_ended(self) -> None:
        """Until the server has closed it, or says something that nobody has asked for."""
        with suppress(OSError):
            await self._reader.read(1)

    async def bind(self, user: str, password: str) -> None:
        """Log in."""
        self._writer.write(encoding.bind_request(self._next(), user, password))
        found = await self._hear(encoding.LARGEST)
        if found.tag != encoding.BOUND:
            raise encoding.EncodingError(f"expected an answer to bind, got the tag {found.tag:#04x}")
        _check(encoding.parse_result(found.content), 0)

    async def search(self, most: int, **what: Any) -> tuple[list[encoding.Entry], int]:
        """The entries of a search, and the code of its result."""
        self._writer.write(encoding.search_request(self._next(), most=most, **what))
        entries: list[encoding.Entry] = []
        left, count, values = encoding.LARGEST, 0, encoding.MOST_VALUES
        while (found := await self._hear(left)).tag != encoding.DONE:
            left, values = left - len(found.content), values - 1
            if found.tag == encoding.ENTRY:
                if len(entries) == most:
                    raise RefusedError(_too_many(most))
                entry = encoding.parse_entry(found.content, values)
                values -= sum(1 + len(one) for _, one in entry[1])
                entries.append(entry)
            elif found.tag != encoding.REFERENCE:  # to other servers, which nobody asks
                raise encoding.EncodingError(f"expected an entry, got the tag {found.tag:#04x}")
            if values < 0:
                raise encoding.TooMuchError(encoding.TOO_MUCH)
            count += 1
            if not count % _AT_ONCE:
                await asyncio.sleep(0)  # what has come already is read without a pause
        return entries, encoding.parse_result(found.content)

    async def _hear(self, most: int) -> encoding.Incoming:
        """The next message, which must answer what was sent last."""
        first, size = await self._reader.readexactly(2)
        if first != encoding.SEQUENCE:
            raise encoding.EncodingError(f"expected a message, got the tag {first:#04x}")
        if size >= 0x80:
            size = int.from_bytes(await self._reader.readexactly(encoding.length_bytes(size)))
        if size > most:
            raise RefusedError(f"expected an answer of at most {encoding.LARGEST} bytes, got more")
        found = encoding.parse_message(await self._reader.readexactly(size))
        if found.number != self._number:  # 0 is what a server says before it closes (4.4.1)
            raise encoding.EncodingError(
                f"expected the answer to {self._number}, got one to {found.number}"
            )
        return found


class Ldap:
    """A directory by its URL, as in ``resources={"ldap": lambda settings: Ldap("ldaps://192.0.2.1")}``.

    ``url``: ``ldap://host:389``, ``ldaps://host:636``, or a Unix socket: ``ldapi://%2Frun%2Fldapi``.
    ``user`` and ``password``: the name of an entry to log in with, else it asks as nobody. ``tls``: the
    context of ``ldaps``, by default one that checks certificates by those of the system. It connects
    when it is first asked. ``pool``: connections, and searches at once. ``timeout``: seconds for a
    search. The other options are those of `demyjpy.lookups.guard.Guard`. `HandlerError` for what cannot
    be used.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: str = "",
        tls: ssl.SSLContext | None = None,
        pool: int = POOL,
        timeout: float = TIMEOUT,
        **breaker: Any,
    ) -> None:
        if bool(user) != bool(password):  # a name alone would be accepted as nobody (RFC 4513, 5.1.2)
            raise HandlerError("expected user= and password= together, got one of them")
        self._guard = Guard("ldap", places=pool, timeout=timeout, finishes=True, **breaker)
        self._user, self._password = user, password
        self._place, self._server = _place(url)
        is_safe = self._server.startswith("ldaps:")
        if tls is not None and not is_safe:
            raise HandlerError("expected tls= only with a URL of ldaps:, got it with another one")
        self._tls = (tls or ssl.create_default_context()) if is_safe else None
        self._idle: dict[_Connection, asyncio.Task[None]] = {}
        """Those that nobody uses, each with what sees that it is closed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()
        for connection, watching in tuple(self._idle.items()):
            watching.cancel()
            connection.close()
        self._idle.clear()

    async def search(self, most: int, **what: Any) -> list[encoding.Entry]:
        """The entries that are found, ``most`` of them. Errors as of `Guard.ask`.

        ``what``: ``base``, ``scope``, ``encoded_filter``, ``attributes``, as `ldap_encoding` takes them.
        """
        # what a stranger writes may make a search slow
        return await self._guard.ask(
            self._server,
            partial(self._search, most, **what),
            is_alive=partial(self._search, 1, **_ALIVE),
        )

    async def _search(self, most: int, **what: Any) -> list[encoding.Entry]:
        seconds = max(1, math.ceil(self._guard.timeout))
        try:
            async with self._connection() as connection:
                entries, code = await connection.search(most, seconds=seconds, **what)
        except encoding.EncodingError as error:
            raise UnansweredError(f"no answer in LDAP: {error}") from None
        except encoding.TooMuchError as error:
            raise RefusedError(str(error)) from None
        except asyncio.IncompleteReadError:
            raise UnansweredError("it has closed the connection") from None
        _check(code, most)
        return entries

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Connection]:
        """One that is used by nobody else, and kept for the next if all of an answer was read."""
        connection = await self._idle_one() or await self._new_one()
        try:
            yield connection
        except BaseException:
            connection.abort()
            raise
        self._idle[connection] = asyncio.get_running_loop().create_task(self._watch(connection))

    async def _watch(self, connection: _Connection) -> None:
        await connection.has_ended()
        self._idle.pop(connection, None)
        connection.abort()

    async def _idle_one(self) -> _Connection | None:
        """One that is still good."""
        while self._idle:
            connection, watching = self._idle.popitem()
            watching.cancel()
            try:
                await asyncio.wait((watching,))  # two cannot read at once
            except BaseException:
                connection.abort()
                raise
            if watching.cancelled():
                return connection
        return None

    async def _new_one(self) -> _Connection:
        if isinstance(self._place, str):
            connection = _Connection(*await asyncio.open_unix_connection(self._place))
        else:
            connection = _Connection(*await asyncio.open_connection(*self._place, ssl=self._tls))
        try:
            if self._user:
                await connection.bind(self._user, self._password)
        except BaseException:
            connection.abort()
            raise
        return connection


def _place(url: str) -> tuple[str | tuple[str, int], str]:
    """Where to connect to, and what errors call it."""
    try:
        found = urlsplit(url)
        host, port, is_bare = found.netloc, found.port, found.path in ("", "/") and not found.query
    except ValueError:  # a port that is none
        is_bare = False
    if is_bare and found.scheme == "ldapi" and host.startswith("%2F"):
        return unquote(host), f"ldapi:{unquote(host)}"
    if is_bare and found.scheme in _PORTS and found.hostname and "@" not in host:
        place = found.hostname, port or _PORTS[found.scheme]
        return place, f"{found.scheme}://{place[0]}:{place[1]}"
    raise HandlerError(
        "expected a URL such as ldap://192.0.2.1, ldaps://ldap.example.org:636 or "
        f"ldapi://%2Frun%2Fldapi, got {describe(url)}"
    )


def _check(code: int, most: int) -> None:
    """`RefusedError` or `UnansweredError` for any result but success."""
    if code == encoding.SIZE_LIMIT_EXCEEDED:
        raise RefusedError(_too_many(most))
    if code != encoding.SUCCESS:
        kind = UnansweredError if code in encoding.DOWN else RefusedError
        raise kind(f"{encoding.RESULTS.get(code, 'a result without a name')} ({code})")


def _too_many(most: int) -> str:
    return f"expected at most {most} entries (most=), got more, or more than the server gives"


def _values(given: Mapping[str, Any]) -> PMap[str, str]:
    found = dict(given)
    for name, value in found.items():
        if not isinstance(value, str):
            raise HandlerError(f"expected values= that are texts, got {describe(value)} for {name}")
    return pmap(found)


def _attributes(given: Any) -> tuple[str, ...]:
    is_good = isinstance(given, tuple | list)
    if not is_good or not all(isinstance(one, str) and _WANTED.fullmatch(one) for one in given):
        raise HandlerError(f'expected attributes= as names, as in ("mail", "cn"), got {describe(given)}')
    return tuple(given)


def _most(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise HandlerError(f"expected most= as a number, 1 or more, got {describe(value)}")
    return value


@frozen
class LdapSearch(Question, pure=True):
    """The entries that a filter finds, as a tuple of maps of ``dn`` and ``attributes``; empty if none.

    ``filter`` is written by the author of the filter (RFC 4515), with ``{name}`` for each of ``values``:
    ``LdapSearch(base, "(mail={address})", {"address": event.address}, ("mail", "memberOf"))``. No
    character of a value has a meaning there. ``attributes``: which ones come; none if it is left out. In
    an answer it is a map from the names that were asked for to tuples of texts, empty if the entry has
    none.
    ``scope``: ``base``, ``one`` or ``subtree``. More than ``most`` entries are a failure, and so is an
    answer of more than 1 MiB, or of more than 10,000 entries, attributes and values. References to other
    servers are left out. ``using``: the name of the resource. `HandlerError` for a filter that is none,
    and if ``values`` are not those that it names.

    A base that does not exist is a failure: else a mistake in it would mean that nobody exists.
    """

    base: str = field(validator=validators.instance_of(str))
    filter: str
    values: PMap[str, str] = field(factory=pmap, converter=_values)
    attributes: tuple[str, ...] = field(default=(), converter=_attributes)
    scope: encoding.Scope = field(default="subtree", validator=validators.in_(get_args(encoding.Scope)))
    most: int = field(default=MOST_ENTRIES, converter=_most)
    using: str = "ldap"
    examples: ClassVar[tuple[Any, ...]] = (
        (),
        ({"dn": "uid=bob,dc=example,dc=org", "attributes": {"mail": ("bob@example.org",)}},),
    )

    def __attrs_post_init__(self) -> None:
        names = parse_template(self.filter).names
        if names != set(self.values):
            raise HandlerError(
                f"expected values= for {', '.join(sorted(names)) or 'nothing'}, as the filter says, got "
                f"{', '.join(sorted(self.values)) or 'none'}"
            )

    async def perform(self, resources: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Ask the directory."""
        ldap = client_of(resources, self.using, Ldap, example='Ldap("ldap://localhost")')
        values = {key: one.encode("utf-8", "surrogateescape") for key, one in self.values.items()}
        try:
            encoded = parse_template(self.filter).encode(values)
        except EmptyValueError as error:
            raise RefusedError(str(error)) from None
        found = await ldap.search(
            self.most,
            base=self.base,
            scope=self.scope,
            encoded_filter=encoded,
            attributes=self.attributes,
        )
        return [self._answer(*entry) for entry in found]

    def _answer(self, name: str, attributes: tuple[encoding.Attribute, ...]) -> dict[str, Any]:
        """By the names that were asked for: the server's differ in case at most.

        `RefusedError` for a part of the values: Active Directory gives ``member;range=0-1499``.
        """
        wanted = {one.lower(): one for one in self.attributes}
        known: dict[str, tuple[str, ...]] = {
            one: () for one in self.attributes if one not in ("*", "+", "1.1")
        }
        for kind, values in attributes:
            plain, _, is_part = kind.lower().partition(";range=")
            if is_part and plain in wanted:
                raise RefusedError(f"expected all values of {wanted[plain]}, got a part: {kind[:100]}")
            known[wanted.get(kind.lower(), kind)] = values
        return {"dn": name, "attributes": known}

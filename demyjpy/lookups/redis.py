"""Questions and effects for Redis and what speaks like it, with redis-py (the extra ``redis``).

A command goes out as a list of arguments with their lengths, so no key can become another command.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, Self

from attrs import field, frozen

from demyjpy.errors import HandlerError, describe
from demyjpy.lookups.clients import client_of, library
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError, UnansweredError
from demyjpy.questions import Question, check_seconds

__all__ = ["Redis", "RedisCount", "RedisRead", "RedisWrite"]

redis: Final = library(
    "redis",
    "redis",
    "redis",
    "redis.asyncio",
    "redis.asyncio.retry",
    "redis.backoff",
    "redis.exceptions",
)

POOL: Final = 20

READS: Final = frozenset(
    {
        *("BITCOUNT", "EXISTS", "GEODIST", "GET", "GETBIT", "GETRANGE", "HEXISTS", "HGET", "HGETALL"),
        *("HKEYS", "HLEN", "HMGET", "HVALS", "LINDEX", "LLEN", "LRANGE", "MGET", "PFCOUNT", "PING"),
        *("PTTL", "SCARD", "SISMEMBER", "SMEMBERS", "SMISMEMBER", "STRLEN", "TTL", "TYPE", "XLEN"),
        *("ZCARD", "ZCOUNT", "ZRANGE", "ZRANK", "ZSCORE"),
    }
)
"""Commands of `RedisRead`: they change nothing."""

REFUSED: Final = frozenset(
    {
        *("AUTH", "BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN"),
        *("CLIENT", "DISCARD", "EXEC", "HELLO", "MONITOR", "MULTI", "PSUBSCRIBE", "QUIT", "RESET"),
        *("SELECT", "SHUTDOWN", "SSUBSCRIBE", "SUBSCRIBE", "SYNC", "PSYNC", "UNWATCH", "WAIT", "WATCH"),
    }
)
"""Commands that change or block the connection, which others use, too."""

_DOWN: Final = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
)

_OURS: Final = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
"""Errors, themselves and not what derives from them, whose text is redis-py's own."""

_KNOWN: Final = re.compile(
    r"[A-Z]{2,20}(?= )|syntax error|unknown command|value is not an integer|wrong number of arguments"
)
"""How the refusals of Redis begin: a code, or for the code ERR, which redis-py takes away, a text."""


class Redis:
    """A server by its URL, as in ``resources={"redis": lambda settings: Redis("redis://192.0.2.1/0")}``.

    It connects when it is first asked. ``pool``: connections, and commands at once. ``timeout``: seconds
    for a command. The other options are those of `demyjpy.lookups.guard.Guard`.
    """

    def __init__(self, url: str, *, pool: int = POOL, timeout: float = TIMEOUT, **breaker: Any) -> None:
        self._guard = Guard("redis", places=pool, timeout=timeout, finishes=True, **breaker)
        try:
            self._client = redis.asyncio.Redis.from_url(
                url,
                max_connections=pool,
                decode_responses=True,
                protocol=2,  # with 3, redis-py does not see that a kept connection was closed (8.1)
                encoding_errors="surrogateescape",  # any bytes survive, as in what events hold
                retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),  # it may have counted
            )
        except ValueError as error:
            raise HandlerError(f"expected the URL of a Redis, got an error: {error}") from error
        known = self._client.connection_pool.connection_kwargs
        self._server = str(
            known.get("path") or f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()
        await self._client.aclose()

    async def execute(self, *command: Any) -> Any:
        """What the server answers to a command. Errors as of `Guard.ask`."""
        return await self._ask(lambda: self._client.execute_command(*command))

    async def count(self, key: str, seconds: float) -> int:
        """One more under a key, which goes after so many seconds; how many there are."""

        async def count() -> int:
            async with self._client.pipeline(transaction=True) as commands:
                commands.set(key, 0, px=round(1000 * seconds), nx=True)
                commands.incr(key)
                return int((await commands.execute())[-1])

        found: int = await self._ask(count)
        return found

    async def _ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        async def ask() -> Any:
            try:
                return await work()
            except redis.exceptions.RedisError as error:
                kind = UnansweredError if isinstance(error, _DOWN) else RefusedError
                raise kind(_reason(error)) from None

        return await self._guard.ask(self._server, ask)


def _reason(error: Exception) -> str:
    """What an error is, in known words: a server may quote what was sent, which may be of a mail."""
    name = type(error).__name__
    if type(error) in _OURS:
        return f"{name}: {error}"
    known = _KNOWN.match(str(error))
    return f"{name}: {known[0]}" if known else name


def _command(given: Any) -> tuple[Any, ...]:
    if isinstance(given, str) or not isinstance(given, tuple | list) or not given:
        raise HandlerError(f'expected a command as in ("get", key), got {describe(given)}')
    for one in given:
        if not isinstance(one, str | bytes | int | float) or isinstance(one, bool):
            raise HandlerError(
                f"expected arguments that are texts, bytes or numbers, got {describe(one)}"
            )
    name = given[0].upper() if isinstance(given[0], str) else ""
    if name.split() != [name]:  # redis-py would make several words of it: a name and arguments
        raise HandlerError(
            'expected the name of a command in one word, and its arguments behind it, as in ("get", '
            f"key), got {describe(given[0])}"
        )
    if name in REFUSED:
        raise HandlerError(f"expected a command that leaves its connection as it was, got {name}")
    return (name, *given[1:])


def _reading_command(given: Any) -> tuple[Any, ...]:
    command = _command(given)
    if command[0] not in READS:
        raise HandlerError(
            f"expected a command that only reads, got {command[0]}: use RedisWrite if it changes "
            f"something; known are {', '.join(sorted(READS))}"
        )
    return command


@frozen
class RedisRead(Question, pure=True):
    """What Redis answers to a command that changes nothing, as ``RedisRead(("get", key))``.

    Texts are decoded as everywhere, so any bytes survive; None if there is none. ``using``: the name of
    the resource. `HandlerError` if the command is none of `READS`.
    """

    command: tuple[Any, ...] = field(converter=_reading_command)
    using: str = "redis"
    examples: ClassVar[tuple[Any, ...]] = (None, "1", 1, 0)

    async def perform(self, resources: Mapping[str, Any]) -> Any:
        """Ask."""
        return await _client(resources, self.using).execute(*self.command)


@frozen
class RedisWrite(Question):
    """A command that changes something: a question, or an effect (``do(ctx, RedisWrite(...))``).

    The answer is what Redis answers. It is not sent a second time: it may have been done. `HandlerError`
    if the command would change or block the connection itself.
    """

    command: tuple[Any, ...] = field(converter=_command)
    using: str = "redis"
    examples: ClassVar[tuple[Any, ...]] = (1, True)

    async def perform(self, resources: Mapping[str, Any]) -> Any:
        """Have it done."""
        return await _client(resources, self.using).execute(*self.command)


def _seconds(value: Any) -> float:
    return check_seconds("seconds=", value)


@frozen
class RedisCount(Question):
    """How often this was asked with this key, now included, in a window of so many seconds.

    The window begins with the first. It is for limits, as of mails of a user in an hour.
    """

    key: str
    seconds: float = field(converter=_seconds)
    using: str = "redis"
    examples: ClassVar[tuple[Any, ...]] = (1, 1_000_000)

    async def perform(self, resources: Mapping[str, Any]) -> int:
        """Count one more."""
        return await _client(resources, self.using).count(self.key, self.seconds)


def _client(resources: Mapping[str, Any], name: str) -> Redis:
    return client_of(resources, name, Redis, example='Redis("redis://localhost/0")')

"""Greylisting: the first mail of a network and sender to a recipient must wait; a second try is let in.

The table is in Redis or in a file of SQLite, as ``dsn`` says. Of client, sender and recipient it holds
only a hash: so a key is short whatever a client sends, and nobody reads there who writes to whom.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from attrs import asdict, frozen

from demyjpy import (
    Client,
    Context,
    Mail,
    Question,
    Recipient,
    Registry,
    answer,
    count,
    define_event_handlers,
    facts,
    now,
    tempfail,
    with_policy,
)
from demyjpy.lookups.redis import Redis, RedisWrite
from demyjpy.lookups.sql import SqlWrite
from demyjpy.lookups.sqlite import Sqlite
from demyjpy.lookups.tables import Lookup, Tables, look_up

SETUP: Final = """
pragma journal_mode = wal; pragma synchronous = normal; pragma max_page_count = 250000;
create table if not exists greylist
    (triplet text primary key, first integer, until integer) without rowid;
create index if not exists greylist_until on greylist (until);
"""  # at most 250,000 pages of 4 KiB: if the file is full, the answer is a failure, and mail is let in
SQL: Final = """
insert into greylist values (:triplet, :at, :at + :window) on conflict do update set
first = iif(until < :at, :at, first),
until = iif(until < :at, :at + :window, iif(first + :delay <= :at, :at + :keep, until)) returning first
"""
LUA: Final = """
local first = redis.call('get', KEYS[1])
if not first then redis.call('set', KEYS[1], ARGV[1], 'ex', ARGV[3]) return ARGV[1] end
if first + ARGV[2] <= ARGV[1] + 0 then redis.call('expire', KEYS[1], ARGV[4]) end
return first
"""
SCHEMES: Final = ("redis", "rediss", "unix")
EXPIRE: Final = SqlWrite(
    "delete from greylist where triplet in "
    "(select triplet from greylist where until < unixepoch() limit 20000)",
    using="store",
)


@frozen
class FirstTry(Question):
    """When was this first tried, in seconds since 1970? It is not pure: asking writes it down.

    It is kept for ``window`` seconds, or for ``keep`` after a try that came ``delay`` after the first.
    """

    triplet: str
    at: int
    delay: int
    window: int
    keep: int
    examples = (0, 2**40)


async def in_sqlite(question: FirstTry, resources: Mapping[str, Any]) -> Any:
    """One statement, so two workers cannot both be the first."""
    return (await SqlWrite(SQL, asdict(question), using="store").perform(resources))[0][0]  # type: ignore[index]


async def in_redis(question: FirstTry, resources: Mapping[str, Any]) -> int:
    """One script, for the same reason. What is over, Redis removes by itself."""
    _, *numbers = asdict(question).values()
    command = ("eval", LUA, 1, f"greylist:{question.triplet}", *numbers)
    return int(await RedisWrite(command, using="store").perform(resources))


def keys_of(client: Client) -> dict[str, Any]:
    """Under what a client may stand in the table; a name that is not verified is anybody's."""
    return {"address": client.address, "name": client.name if client.is_verified else None}


def is_redis(dsn: str) -> bool:
    """Whether a ``dsn`` is a URL of Redis, and not the path of a file; `ValueError` if it is neither."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", dsn)
    if not dsn.strip() or (scheme and scheme[1] not in SCHEMES):
        got = f"{scheme[1]}:" if scheme else "an empty text"
        raise ValueError(
            "expected dsn as the path of a file for SQLite, or as redis://, rediss:// or unix://, got "
            f"{got}"
        )
    return scheme is not None


def make(
    *,
    dsn: str,
    clients: str | None = None,
    delay: int = 300,
    window: int = 86_400,
    keep: int = 36 * 86_400,
    enforce: bool = True,
) -> Registry:
    """``clients``: a table of those who are let in at once, by address or verified name."""
    if not 0 < delay < window <= keep:
        raise ValueError(f"expected delay < window <= keep, got {delay}, {window}, {keep} seconds")
    redis = is_redis(dsn)
    resources = {"store": lambda settings: Redis(dsn) if redis else Sqlite(dsn, setup=SETUP)}
    handlers = define_event_handlers(
        name="greylisting",
        state={"is_known": False},
        facts={"client", "sender", "origin"},
        asks={FirstTry: in_redis if redis else in_sqlite},
        every={} if redis else {60: EXPIRE},
        resources=resources | ({"tables": Tables({"clients": clients})} if clients else {}),
    )

    def in_table(event: Mail, ctx: Context) -> dict[str, Lookup]:
        keys = keys_of(facts(ctx).client or Client()) if clients else {}
        return {by: look_up(ctx, "clients", str(key), search="host") for by, key in keys.items() if key}

    @handlers.mail(asking=in_table, needs={"address", "name"})
    def see_client(event: Mail, ctx: Context) -> Context:
        rows = (answer(ctx, by, failed=None, late=None, unasked=None) for by in ("address", "name"))
        return ctx.set("is_known", any(row is not None for row in rows))

    def first_try(event: Recipient, ctx: Context) -> dict[str, FirstTry]:
        """A large sender tries again from another machine of its network."""
        known = facts(ctx)
        place = known.client.network() if known.client else ""
        if ctx["is_known"] or known.origin in ("submission", "local") or not place:
            return {}
        triplet = f"{place} <{known.sender}> <{event.address}>".lower()
        digest = sha256(triplet.encode("utf-8", "surrogateescape")).hexdigest()
        return {"first": FirstTry(digest, int(now(ctx).timestamp()), delay, window, keep)}

    @handlers.recipient(asking=first_try, needs={"first"})
    def judge(event: Recipient, ctx: Context) -> Context:
        """If the table does not answer, mail is let in."""
        first = answer(ctx, "first", failed=0, late=0, unasked=0)
        wait = min(delay, first + delay - int(now(ctx).timestamp()))
        if wait <= 0:
            return ctx
        return tempfail(count(ctx, "greylisted"), "4.7.1", f"Greylisted, please try again in {wait} s")

    return with_policy(handlers, enforce=enforce)

"""The filter of `tests.chaos.servers`: of each recipient it asks Redis, a database and DNS.

Its policy: without Redis or DNS the mail is taken, and a field says so; without the database 451.
"""

from demyjpy import Answered, Registry, add_header, answer, define_event_handlers, tempfail
from demyjpy.lookups.databases import Databases
from demyjpy.lookups.dns import Dns, Resolver
from demyjpy.lookups.redis import Redis, RedisCount
from demyjpy.lookups.sql import SqlRead

MAILBOX = "select 1 from mailboxes where address <> :address limit 1"


def make(
    *, redis: int, sql: int, dns: int, timeout: float = 3.0, pause: float = 10.0, within: float = 5.0
) -> Registry:
    """Ports on 127.0.0.1, and the times of a client and of a question."""
    times = {"timeout": timeout, "pause": pause}
    handlers = define_event_handlers(
        name="asking",
        actions={"add_header"},
        state={"heard": ""},
        resources={
            "redis": lambda settings: Redis(f"redis://127.0.0.1:{redis}/0", **times),
            "sql": lambda settings: Databases(
                f"postgresql+asyncpg://filter@127.0.0.1:{sql}/postgres", **times
            ),
            "dns": lambda settings: Resolver("127.0.0.1", port=dns, **times),
        },
    )

    def questions(event, ctx):
        return {
            "redis": RedisCount(event.address, 3600),
            "sql": SqlRead(MAILBOX, {"address": event.address}),
            "dns": Dns(event.address.partition("@")[2], "MX"),  # each mail has a domain of its own
        }

    @handlers.recipient(asking=questions, within=within)
    def recipient(event, ctx):
        found = {key: answer(ctx, key) for key in ("redis", "sql", "dns")}
        heard = " ".join(f"{key}={type(one).__name__.lower()}" for key, one in found.items())
        if not isinstance(found["sql"], Answered):
            return tempfail(ctx, "4.3.0", heard)
        return ctx.set("heard", heard)

    @handlers.end_of_message
    def end_of_message(event, ctx):
        return add_header(ctx, "X-Heard", ctx["heard"])

    return handlers

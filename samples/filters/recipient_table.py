"""Refuses recipients who are not in a database: SQLite, or PostgreSQL, MySQL and what SQLAlchemy knows.

Only domains that are named are looked at; other recipients are for other rules to let in or to refuse.
"""

from typing import Any, Final, Literal

from demyjpy import (
    Context,
    Recipient,
    Registry,
    answer,
    count,
    define_event_handlers,
    reject,
    tempfail,
    with_policy,
)
from demyjpy.lookups.sql import SqlRead
from demyjpy.lookups.sqlite import Sqlite

QUERY: Final = "select 1 from mailboxes where address in (:address, :plain, :domain) limit 1"


def make(
    *,
    dsn: str,
    domains: frozenset[str],
    query: str = QUERY,
    delimiter: str = "+",
    away: Literal["tempfail", "accept"] = "tempfail",
    enforce: bool = True,
) -> Registry:
    """``query`` gives a row for ``:address``, ``:plain`` (no ``+box``) or ``:domain`` (``@domain``).

    ``away``: what is done if the database does not answer.
    """
    ours = {domain.lower() for domain in domains}

    def database(settings: Any) -> Any:
        if "://" not in dsn:
            return Sqlite(dsn)
        from demyjpy.lookups.databases import Databases  # noqa: PLC0415  # it needs an extra

        return Databases(dsn)

    def split(address: str) -> tuple[str, str]:
        """Local part and domain; ``""`` for both if nobody has to look."""
        local, _, domain = address.lower().removesuffix(".").rpartition("@")
        is_asked = domain in ours and local != "postmaster"  # RFC 5321 section 4.5.1
        return (local, domain) if is_asked else ("", "")

    def in_table(event: Recipient, ctx: Context) -> dict[str, SqlRead]:
        local, domain = split(event.address)
        if not local.isprintable() or not domain:  # bytes that are no text are in no table
            return {}
        plain = local[:1] + local[1:].partition(delimiter)[0] if delimiter else local
        addresses = {"address": f"{local}@{domain}", "plain": f"{plain}@{domain}"}
        return {"rows": SqlRead(query, {**addresses, "domain": f"@{domain}"})}

    handlers = define_event_handlers(name="recipient_table", resources={"sql": database})

    @handlers.recipient(asking=in_table, needs={"rows"})
    def check(event: Recipient, ctx: Context) -> Context:
        if split(event.address) == ("", ""):
            return ctx
        rows = answer(ctx, "rows", failed=None, late=None, unasked=())
        if rows is None:
            ctx = count(ctx, "not_checked")
            return (
                ctx if away == "accept" else tempfail(ctx, "4.3.0", "Recipients cannot be checked now")
            )
        return ctx if rows else reject(count(ctx, "unknown"), "5.1.1", "No such mailbox")

    return with_policy(handlers, enforce=enforce)

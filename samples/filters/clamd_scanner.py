"""Has clamd scan each mail, and refuses or holds back what has a virus in it."""

from typing import Literal

from demyjpy import (
    Context,
    Message,
    Registry,
    answer,
    count,
    define_event_handlers,
    note,
    quarantine,
    reject,
    tempfail,
)
from demyjpy.lookups.streams import ClamScan


def make(
    *,
    server: str = "unix:/run/clamav/clamd.ctl",
    timeout: float = 30,
    limit: int = 25_000_000,
    infected: Literal["reject", "quarantine"] = "reject",
    unscanned: Literal["tempfail", "accept"] = "tempfail",
) -> Registry:
    """The filter. ``limit``: bytes of a mail, no more than clamd's ``StreamMaxLength``."""
    handlers = define_event_handlers(name="clamd_scanner", optional_actions={"quarantine"})

    def questions(event: Message, ctx: Context) -> dict[str, ClamScan]:
        return {"found": ClamScan(event, server, timeout)} if event.is_whole else {}

    @handlers.message(limit=limit, asking=questions, needs={"found"}, within=timeout + 1)
    def scan(event: Message, ctx: Context) -> Context:
        """A name of a virus, None if there is none, or nothing if nobody knows."""
        found = answer(ctx, "found", failed="", late="", unasked="")
        if found is None:
            return ctx
        if found:
            ctx = count(note(ctx, "virus found", virus=found), "infected")
            if infected == "quarantine" and "quarantine" in ctx["actions"]:
                return quarantine(ctx, f"virus {found}")
            return reject(ctx, "5.7.1", f"Virus found: {found}")
        ctx = count(ctx, "unscanned")
        if unscanned == "accept":
            return ctx
        if not event.is_whole:
            return reject(ctx, "5.3.4", "The message is too large to be scanned", code=552)
        return tempfail(ctx, "4.7.0", "The message could not be scanned, please try again later")

    return handlers

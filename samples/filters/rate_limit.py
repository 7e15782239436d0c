"""So many mails, or recipients, in a window of time: for each user, client and sender. Redis counts.

Who has logged in is counted as this user only: nobody uses up the mails of others by their address.
"""

from typing import Literal

from demyjpy import (
    Context,
    Mail,
    Recipient,
    Registry,
    answer,
    count,
    define_event_handlers,
    facts,
    note,
    tempfail,
    with_policy,
)
from demyjpy.lookups.redis import Redis, RedisCount


def make(
    *,
    dsn: str,
    user: int = 0,
    client: int = 0,
    sender: int = 0,
    seconds: int = 3600,
    counted: Literal["mails", "recipients"] = "mails",
    away: Literal["accept", "tempfail"] = "accept",
    enforce: bool = True,
) -> Registry:
    """``user``, ``client``, ``sender``: how many in so many ``seconds``; 0 is no limit.

    ``away``: what is done if Redis does not answer.
    """
    limits = {"user": user, "client": client, "sender": sender}
    if seconds < 1 or min(limits.values()) < 0 or not any(limits.values()):
        raise ValueError(f"expected a limit for user, client or sender, got {limits} in {seconds} s")
    handlers = define_event_handlers(
        name="rate_limit",
        facts={"client", "sender", "user"},
        resources={"redis": lambda settings: Redis(dsn)},
    )

    def counts(event: Mail | Recipient, ctx: Context) -> dict[str, RedisCount]:
        """It counts also what is refused later."""
        known, client = facts(ctx), facts(ctx).client
        where = client.network(32, 64) if client else ""  # of IPv6 a network is one client
        user, sender = (known.user or "").lower(), (known.sender or "").lower()
        who = {"user": user}
        if not user:  # a sender is what a client says, so he counts by client
            who |= {"client": where, "sender": where and sender and f"{where} {sender}"}
        return {
            kind: RedisCount(f"rate:{seconds}:{counted}:{kind}:{name:.500}", seconds)
            for kind, name in who.items()
            if name and limits[kind]
        }

    def limit(event: Mail | Recipient, ctx: Context) -> Context:
        for kind, most in limits.items():
            number = answer(ctx, kind, failed=None, late=None, unasked=0)
            if number is None and away == "tempfail":
                return tempfail(ctx, "4.3.0", "Mails cannot be counted now")
            if number is None or number <= most:
                continue
            if number == most + 1:  # one line in the log for each window
                ctx = note(ctx, "too many", kind=kind, limit=most)
            text = f"Too many {counted} from this {kind}, please try again later"
            return tempfail(count(ctx, "limited", kind=kind), "4.7.1", text)
        return ctx

    if counted == "mails":
        handlers.mail(asking=counts, needs=set(limits))(limit)
    else:
        handlers.recipient(asking=counts, needs=set(limits))(limit)
    return with_policy(handlers, enforce=enforce)

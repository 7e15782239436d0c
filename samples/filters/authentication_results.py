"""Checks SPF, DKIM and DMARC of mail from outside, and writes Authentication-Results (RFC 8601)."""

import re
from ipaddress import IPv4Address, IPv6Address

from demyjpy import (
    Context,
    Mail,
    Message,
    Question,
    Registry,
    answer,
    ask,
    become,
    define_event_handlers,
    facts,
    find,
    reject,
)
from demyjpy.lookups.dkim import CheckDkim
from demyjpy.lookups.dmarc import DmarcPolicy, is_aligned
from demyjpy.lookups.dns import Resolver
from demyjpy.lookups.spf import CheckSpf
from demyjpy.message import (
    AuthenticationResult,
    AuthenticationResults,
    Field,
    parse_authentication_results,
)


def client_of(ctx: Context) -> str:
    """The IP address of a client outside; nothing for mail of users and of this machine."""
    known = facts(ctx)
    address = known.client.address if known.client else None
    is_outside = known.origin in ("smtp", "bounce") and isinstance(address, IPv4Address | IPv6Address)
    return str(address) if is_outside else ""


def questions(event: Message, ctx: Context) -> dict[str, Question]:
    """What needs the whole message; SPF is asked before it has come."""
    if not client_of(ctx):
        return {}
    asked: dict[str, Question] = {"dkim": CheckDkim(event)} if event.is_whole else {}
    return {**asked, "dmarc": DmarcPolicy(event.author_domain)} if event.author_domain else asked


def results_of(event: Message, ctx: Context) -> tuple[list[AuthenticationResult], str]:
    """Methods, results and what they are about; and the policy of the author's domain."""
    spf = answer(ctx, "spf", failed="temperror", late="temperror", unasked="none")
    failed, larger = (("temperror", "", ""),), (("policy", "", ""),)
    signatures = answer(ctx, "dkim", failed=failed, late=failed, unasked=larger)
    kind, identity = "smtp.mailfrom", event.sender.rpartition("@")[2].lower()
    if not event.sender:
        kind, identity = "smtp.helo", (facts(ctx).helo or "").lower()
    rows = [AuthenticationResult("spf", spf, properties=((kind, identity),))]
    for result, domain, selector in signatures or (("none", "", ""),):
        about = (("header.d", domain), ("header.s", selector))
        rows.append(AuthenticationResult("dkim", result, properties=about))
    policy = answer(ctx, "dmarc", failed="temperror", late="temperror", unasked="permerror")
    author = (("header.from", event.author_domain),)
    if policy is None or isinstance(policy, str):
        return [*rows, AuthenticationResult("dmarc", policy or "none", properties=author)], ""
    passed = [("dkim", domain) for result, domain, _ in signatures if result == "pass"]
    passed += [("spf", identity)] if spf == "pass" else []
    result = "pass" if any(is_aligned(policy, *one) for one in passed) else "fail"
    dmarc = AuthenticationResult("dmarc", result, properties=author, comment=f"p={policy['policy']}")
    return [*rows, dmarc], policy["policy"]


def make(
    *, server: str, name_servers: tuple[str, ...] = (), refuse: bool = False, limit: int = 25_000_000
) -> Registry:
    """The filter. ``server``: the name in the field. ``refuse``: what DMARC says is to be rejected."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", server):
        raise ValueError("expected as server the name of a host")
    handlers = define_event_handlers(
        name="authentication_results",
        edits="headers",
        facts={"client", "helo", "origin"},
        resources={"dns": lambda settings: Resolver(*settings["name_servers"], timeout=2)},
    )

    def is_ours(field: Field) -> bool:
        name = parse_authentication_results(field.value).server.rstrip(".")
        return f".{name}".endswith(f".{server.lower()}")

    @handlers.mail(reply=False)
    def begin(event: Mail, ctx: Context) -> Context:
        """SPF is checked while the mail comes."""
        client = client_of(ctx)
        if not client:
            return ctx
        return ask(ctx, "spf", CheckSpf(client, facts(ctx).helo or "", event.sender), within=12)

    @handlers.message(limit=limit, asking=questions, needs={"spf", "dkim", "dmarc"}, within=15)
    def judge(event: Message, ctx: Context) -> Context:
        """Fields in our name from elsewhere go, also those of users."""
        message = event.without("Authentication-Results", where=is_ours)
        if not client_of(ctx):
            return become(ctx, message)
        results, policy = results_of(event, ctx)
        for one in results:
            ctx = find(ctx, one.method, one.result)
        if refuse and policy == "reject" and results[-1].result == "fail":
            return reject(ctx, "5.7.1", f"Rejected by the DMARC policy of {event.author_domain}")
        value = AuthenticationResults(server, tuple(results)).text()
        return become(ctx, message.prepend("Authentication-Results", value))

    return handlers

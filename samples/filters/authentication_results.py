"""Checks SPF, DKIM and DMARC of mail from outside, and writes Authentication-Results (RFC 8601).

pyspf and dkimpy do the checking, in threads, with the resolver of this filter. What may cost them more
than linear time is not given to them: see the limits. Domains of organizations are found as RFC 9989
says, by a walk up the tree of names, and not by a list of public suffixes.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from time import monotonic
from typing import Any, Final, Self

import dkim
import spf
from attrs import frozen

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
from demyjpy.lookups.dns import Dns, Resolver
from demyjpy.message import Field, parse_authentication_results

SIGNATURES: Final = 5
FIELDS: Final = 1_000
LONGEST_SIGNATURE: Final = 3_000
LONGEST_RECORD: Final = 4_000
LONGEST_KEY: Final = 800
"""Characters of a key record: RSA with 4096 bits has 740. A much longer key takes seconds."""
QUIET: Final = logging.Logger("", logging.CRITICAL)  # noqa: LOG001  # no mail writes into the log


class Names(Resolver):
    """A resolver that threads can ask, too."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return await super().__aenter__()

    def find_in_thread(self, name: str, kind: str) -> tuple[Any, ...]:
        """As `Resolver.find`."""
        return asyncio.run_coroutine_threadsafe(self.find(name, kind), self._loop).result(20)


class SpfQuery(spf.query):  # type: ignore[misc]  # it has no types
    """One check by pyspf, which asks this resolver, for at most 10 seconds."""

    def __init__(self, names: Names, client: str, sender: str, helo: str) -> None:
        super().__init__(i=client, s=sender, h=helo)
        self._names, self._until = names, monotonic() + 10
        self._known: dict[tuple[str, str], list[Any]] = {}

    def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
        """The records of a name; aliases are followed already."""
        key = name.lower().rstrip("."), qtype
        if key not in self._known:
            if monotonic() > self._until:
                raise spf.TempError("DNS takes too long")
            try:
                found = list(self._names.find_in_thread(*key))
            except Exception as error:
                raise spf.TempError("DNS does not answer") from error
            if qtype == "TXT":
                found = [
                    [one.encode("utf-8", "surrogateescape")]
                    for one in found
                    if len(one) <= LONGEST_RECORD
                ]
            self._known[key] = found
            self.void_lookups += not found and not ignore_void
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError("too many names that do not exist")
        return self._known[key]


@frozen
class CheckSpf(Question, pure=True):
    """What SPF says (RFC 7208): ``pass``, ``fail``, ``softfail``, ``neutral``, ``none`` or an error."""

    client: str
    helo: str
    sender: str
    examples = ("pass", "fail", "none")

    def perform(self, resources: Mapping[str, Any]) -> str:
        """Ask pyspf."""
        return str(SpfQuery(resources["dns"], self.client, self.sender, self.helo).check()[0])


@frozen
class CheckDkim(Question, pure=True):
    """The signatures of a message, the first ones: result, domain and selector of each."""

    message: Message
    examples = ((), (("pass", "example.org", "s1"),), (("fail", "example.org", "s1"),))

    def perform(self, resources: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
        """Ask dkimpy. It gets a relaxed body with single spaces: it needs n² time for runs of them."""
        texts = (f"{one.name}:{one.raw}\n" for one in self.message.fields)
        lines = (one.encode("utf-8", "surrogateescape").replace(b"\n", b"\r\n") for one in texts)
        headers = [line.split(b":", 1) for line in lines]
        signed = [value for name, value in headers if name.lower() == b"dkim-signature"]
        signer, body = dkim.DKIM(logger=QUIET), self.message.body if signed else b""
        signer.headers, relaxed = headers, re.sub(rb"[ \t]+", b" ", body)

        def key(name: bytes, timeout: float) -> bytes:
            found = resources["dns"].find_in_thread(name.decode("utf-8", "replace").rstrip("."), "TXT")
            if len(found) != 1 or len(found[0]) > LONGEST_KEY:
                raise dkim.ParameterError("no key, or no usable one")
            return str(found[0]).encode("ascii", "replace")

        results = []
        for at, value in enumerate(signed[:SIGNATURES]):
            signer.domain, signer.selector = b"", b""
            signer.body = relaxed if b"/relaxed" in value else body
            try:
                is_small = len(value) <= LONGEST_SIGNATURE and len(headers) <= FIELDS
                result = ("fail", "pass")[signer.verify(at, key)] if is_small else "policy"
                if signer.signature_fields.get(b"a") == b"rsa-sha1":  # RFC 8301, section 3.1
                    result = "policy"
            except dkim.DKIMException as error:
                result = "fail" if isinstance(error, dkim.ValidationError) else "permerror"
            except Exception:  # noqa: BLE001  # DNS does not answer, or what dkimpy did not think of
                result = "temperror"
            domain, selector = (str(one, "ascii", "replace") for one in (signer.domain, signer.selector))
            results.append((result, domain, selector))
        return tuple(results)


def walk(domain: str) -> list[str]:
    """The names to look for a DMARC record at, from the longest: 8 at most (RFC 9989, section 4.10)."""
    labels = domain.split(".") if 0 < len(domain) < 254 else []
    names = [".".join(labels[at:]) for at in range(len(labels))]
    return names if len(names) <= 8 else [names[0], *names[-7:]]


def tags_of(texts: tuple[str, ...]) -> dict[str, str]:
    """The tags of the one DMARC record among these texts; empty if there is none, or several."""
    records = [one for one in texts if re.match(r"v\s*=\s*DMARC1\s*(;|$)", one)]
    parts = (one.partition("=") for one in records[0].split(";")) if len(records) == 1 else ()
    return {name.strip().lower(): value.strip().lower() for name, _, value in parts}


def organization_of(domain: str, found: Mapping[str, Mapping[str, str]]) -> str:
    """The domain of an organization, by the records on the walk (RFC 9989, section 4.10.2)."""
    for name, tags in found.items():
        if tags.get("psd") == "n":
            return name
        if name != domain and (tags.get("psd") == "y" or "." not in name):
            return ".".join(domain.split(".")[-name.count(".") - 2 :])  # one label below
    return [domain, *found][-1]


def dmarc(
    domain: str, records: Mapping[str, tuple[str, ...]], passed: list[tuple[str, str]]
) -> tuple[str, str]:
    """Result and policy. ``passed`` are domains that SPF (``aspf``) and DKIM (``adkim``) vouch for."""
    found = {name: tags for name, texts in records.items() if (tags := tags_of(texts))}
    if not found:
        return "none", ""
    organization = organization_of(domain, found)
    tags = found.get(domain) or found.get(organization) or [*found.values()][-1]
    policy = tags.get("p", "none") if domain in found else tags.get("sp", tags.get("p", "none"))
    if tags.get("t") == "y":
        policy = "quarantine" if policy == "reject" else "none"
    for way, one in passed:
        if one == domain or (tags.get(way) != "s" and f".{one}".endswith(f".{organization}")):
            return "pass", policy
    return "fail", policy


def clean(text: str) -> str:
    """A name from a mail, as it may stand in the field."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text[:253])


def is_foreign(ctx: Context) -> bool:
    """Whether a mail comes from a client outside, as far as is known."""
    known = facts(ctx)
    client = None if known.client is None else known.client.address
    return known.origin in ("smtp", "bounce") and isinstance(client, IPv4Address | IPv6Address)


def author_of(event: Message) -> str:
    """The domain of the From field; nothing if there are none, or several."""
    domains = {one.domain for one in event.addresses("From")}
    return domains.pop() if len(domains) == 1 else ""


def questions(event: Message, ctx: Context) -> dict[str, Question]:
    """All names of the walk are asked for at once."""
    if not is_foreign(ctx):
        return {}
    names = enumerate(walk(author_of(event)))
    asked: dict[str, Question] = {f"dmarc{at}": Dns(f"_dmarc.{name}", "TXT") for at, name in names}
    return {**asked, "dkim": CheckDkim(event)} if event.is_whole else asked


def results_of(event: Message, ctx: Context) -> tuple[list[tuple[str, str, str]], str]:
    """Methods, results and what they are about; and the policy of the author's domain."""
    spf_result = answer(ctx, "spf", failed="temperror", late="temperror", unasked="none")
    failed, larger = (("temperror", "", ""),), (("policy", "", ""),)
    signatures = answer(ctx, "dkim", failed=failed, late=failed, unasked=larger)
    kind, identity = "mailfrom", event.sender.rpartition("@")[2].lower()
    if not event.sender:
        kind, identity = "helo", (facts(ctx).helo or "").lower()
    rows = [("spf", spf_result, f" smtp.{kind}={clean(identity)}" if identity else "")]
    for found, domain, selector in signatures or (("none", "", ""),):
        said = f" header.d={clean(domain)} header.s={clean(selector)}" if domain else ""
        rows.append(("dkim", found, said))
    passed = [("adkim", domain.lower()) for found, domain, _ in signatures if found == "pass"]
    passed += [("aspf", identity)] if spf_result == "pass" else []
    author = author_of(event)
    names = walk(author)
    texts = [answer(ctx, f"dmarc{at}", failed=None, late=None) for at in range(len(names))]
    result, policy = ("temperror" if names else "permerror"), ""
    if names and None not in texts:
        result, policy = dmarc(author, dict(zip(names, texts, strict=True)), passed)
    said = f" (p={clean(policy)})" if policy else ""
    rows.append(("dmarc", result, f"{said} header.from={clean(author)}" if author else said))
    return rows, policy


def make(
    *, server: str, name_servers: tuple[str, ...] = (), refuse: bool = False, limit: int = 25_000_000
) -> Registry:
    """The filter. ``server``: the name in the field. ``refuse``: what DMARC says is to be rejected."""
    if not server or clean(server) != server:
        raise ValueError("expected as server the name of a host")
    handlers = define_event_handlers(
        name="authentication_results",
        edits="headers",
        facts={"client", "helo", "origin"},
        resources={"dns": lambda settings: Names(*settings["name_servers"], timeout=2)},
    )

    def is_ours(field: Field) -> bool:
        name = parse_authentication_results(field.value).server.rstrip(".")
        return f".{name}".endswith(f".{server.lower()}")

    @handlers.mail(reply=False)
    def begin(event: Mail, ctx: Context) -> Context:
        """SPF is checked while the mail comes."""
        if not is_foreign(ctx):
            return ctx
        known = facts(ctx)
        client = known.client.address if known.client else None
        return ask(ctx, "spf", CheckSpf(str(client), known.helo or "", event.sender), within=12)

    @handlers.message(limit=limit, asking=questions, needs={"spf", "dkim"}, within=15)
    def judge(event: Message, ctx: Context) -> Context:
        """Fields in our name from elsewhere go, also those of users."""
        message = event.without("Authentication-Results", where=is_ours)
        if not is_foreign(ctx):
            return become(ctx, message)
        rows, policy = results_of(event, ctx)
        for method, found, _ in rows:
            ctx = find(ctx, method, found)
        if refuse and policy == "reject" and rows[-1][1] == "fail":
            return reject(ctx, "5.7.1", f"Rejected by the DMARC policy of {clean(author_of(event))}")
        value = ";\n\t".join([server, *(f"{method}={found}{said}" for method, found, said in rows)])
        return become(ctx, message.prepend("Authentication-Results", value))

    return handlers

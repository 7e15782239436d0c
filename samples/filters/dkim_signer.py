"""Signs the mail of your own users with DKIM, by the domain of its From field.

To sign takes the private key and the time, so it is a question: its answer is recorded, and a replay has
the same signature. Put this filter behind all that edit the mail.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import dkim
from attrs import frozen
from dkim.crypto import parse_pem_private_key

from demyjpy import (
    Context,
    Message,
    Question,
    Registry,
    answer,
    become,
    define_event_handlers,
    facts,
    reject,
    tempfail,
)

ONCE: Final = (b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"message-id", b"content-type")
"""Fields of which nobody may add a second one later: they are signed once more than they are there."""


@frozen
class Sign(Question, pure=True):
    """The value of a DKIM-Signature field for a message."""

    message: Message
    domain: str
    selector: str
    examples = ("v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=x; h=from; bh=; b=",)

    def perform(self, resources: Mapping[str, Any]) -> str:
        """Sign it. Runs of spaces become one before dkimpy gets them, which needs n² time for them."""
        signer = dkim.DKIM()
        lines = [
            f"{one.name}:{one.raw}\n".encode("utf-8", "surrogateescape") for one in self.message.fields
        ]
        signer.headers = [line.replace(b"\n", b"\r\n").split(b":", 1) for line in lines]
        signer.body = re.sub(rb"[ \t]+", b" ", self.message.body)
        signer.add_frozen(ONCE)
        way, key = (b"relaxed", b"relaxed"), resources["keys"][self.domain]
        line = signer.sign(self.selector.encode(), self.domain.encode(), key, canonicalize=way)
        return str(line, "ascii").removeprefix("DKIM-Signature: ").replace("\r\n", "\n").rstrip()


@contextmanager
def open_keys(settings: Mapping[str, Any]) -> Iterator[dict[str, bytes]]:
    """The private keys by domain. One that cannot be read or used stops the filter from loading."""
    keys = {domain.lower(): Path(path).read_bytes() for domain, path in settings["keys"].items()}
    for key in keys.values():
        parse_pem_private_key(key)
    yield keys


def make(*, keys: dict[str, Path], selector: str, limit: int = 25_000_000) -> Registry:
    """The filter. ``keys``: files with RSA keys in PEM, by domain; one also signs for subdomains."""
    domains = {domain.lower() for domain in keys}
    handlers = define_event_handlers(
        name="dkim_signer", edits="headers", facts={"origin"}, resources={"keys": open_keys}
    )

    def signing_domain(event: Message, ctx: Context) -> str:
        authors = {one.domain for one in event.addresses("From")}
        if facts(ctx).origin not in ("submission", "local") or len(authors) != 1:
            return ""
        labels = authors.pop()[-253:].split(".")
        names = (".".join(labels[at:]) for at in range(len(labels)))
        return next((name for name in names if name in domains), "")

    def questions(event: Message, ctx: Context) -> dict[str, Question]:
        domain = signing_domain(event, ctx)
        return {"signature": Sign(event, domain, selector)} if domain and event.is_whole else {}

    @handlers.message(limit=limit, asking=questions, needs={"signature"}, within=20)
    def sign(event: Message, ctx: Context) -> Context:
        """Mail of yours that cannot be signed does not leave."""
        if not event.is_whole and signing_domain(event, ctx):
            return reject(ctx, "5.3.4", "The message is too large to be signed", code=552)
        signature = answer(ctx, "signature", failed=None, late=None, unasked="")
        if signature is None:
            return tempfail(ctx, "4.7.0", "The message could not be signed, please try again later")
        return become(ctx, event.prepend("DKIM-Signature", signature)) if signature else ctx

    return handlers

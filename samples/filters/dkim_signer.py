"""Signs the mail of your own users with DKIM, by the domain of its From field.

Put this filter behind all that edit the mail.
"""

from pathlib import Path

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
from demyjpy.lookups.dkim import DkimKeys, SignDkim


def make(*, keys: dict[str, Path], selector: str, limit: int = 25_000_000) -> Registry:
    """The filter. ``keys``: files with RSA keys in PEM, by domain; one also signs for subdomains."""
    domains = {domain.lower() for domain in keys}
    handlers = define_event_handlers(
        name="dkim_signer",
        edits="headers",
        facts={"origin"},
        resources={"keys": lambda settings: DkimKeys(settings["keys"])},
    )

    def signing_domain(event: Message, ctx: Context) -> str:
        if facts(ctx).origin not in ("submission", "local"):
            return ""
        labels = event.author_domain.split(".")
        names = (".".join(labels[at:]) for at in range(len(labels)))
        return next((name for name in names if name in domains), "")

    def questions(event: Message, ctx: Context) -> dict[str, Question]:
        domain = signing_domain(event, ctx)
        return {"signature": SignDkim(event, domain, selector)} if domain and event.is_whole else {}

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

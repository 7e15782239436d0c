"""Puts a text below the mails of your own users, once, and leaves alone what is signed or encrypted.

`append_text` knows character sets, transfer encodings, HTML and attachments. It does not touch mail that
is signed (DKIM, S/MIME, PGP) or encrypted, or that has the text already, as an answer that quotes it.
"""

from demyjpy import Context, Message, Registry, become, define_event_handlers, facts


def make(*, text: str, html: str | None = None, limit: int = 25_000_000) -> Registry:
    """The filter. ``html`` is made of ``text`` without it. ``limit``: bytes; larger mails pass."""
    if not text.strip():
        raise ValueError("expected a text with words in it, got an empty one")
    handlers = define_event_handlers(
        name="disclaimer", edits="headers", actions={"change_body"}, facts={"origin"}
    )

    @handlers.message(limit=limit, blocking=True)
    def append(event: Message, ctx: Context) -> Context:
        is_ours = facts(ctx).origin in ("submission", "local")
        if not (is_ours and event.is_whole) or event.get("ARC-Message-Signature") is not None:
            return ctx
        return become(ctx, event.append_text(f"\n{text.strip()}\n", html, once=True))

    return handlers

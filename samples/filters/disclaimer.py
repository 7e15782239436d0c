"""Puts a text below the mails of your own users, once, and leaves alone what is signed or encrypted.

`append_text` knows character sets, transfer encodings, HTML and attachments. It does not touch mail that
is signed (DKIM, S/MIME, PGP) or encrypted.
"""

import html
import re
from typing import Final

from demyjpy import Context, Message, Registry, become, define_event_handlers, facts

_TAG: Final = re.compile(r"<[^<>]*>")
_SPACE: Final = re.compile(r"[>\s]+")


def words_of(text: str, kind: str) -> str:
    """A text without line breaks, marks of quoting, and tags."""
    if kind == "text/html":
        text = html.unescape(_TAG.sub(" ", text))
    return _SPACE.sub(" ", text).strip()


def make(*, text: str, html: str | None = None, limit: int = 25_000_000) -> Registry:
    """The filter. ``html`` is made of ``text`` without it. ``limit``: bytes; larger mails pass."""
    marks = {
        "text/plain": words_of(text, "text/plain"),
        "text/html": words_of(html or text, "text/html"),
    }
    if not all(marks.values()):
        raise ValueError("expected a text with words in it, got an empty one")
    handlers = define_event_handlers(
        name="disclaimer", edits="headers", actions={"change_body"}, facts={"origin"}
    )

    @handlers.message(limit=limit, blocking=True)
    def append(event: Message, ctx: Context) -> Context:
        """Who answers a mail with the text quotes it: it is there already."""
        is_ours = facts(ctx).origin in ("submission", "local")
        if not (is_ours and event.is_whole) or event.get("ARC-Message-Signature") is not None:
            return ctx
        for part in event.parts():
            if part.type in marks and marks[part.type] in words_of(part.text, part.type):
                return ctx
        return become(ctx, event.append_text(f"\n{text.strip()}\n", html))

    return handlers

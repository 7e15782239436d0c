"""Refuses, or holds back, mail with attached programs, also in zip files and in zip files in these.

It goes by names, which it reads as mail programs do. What cannot be looked into is treated as a program.
"""

from pathlib import PureWindowsPath
from typing import Final, Literal

from demyjpy import Context, Message, Registry, count, define_event_handlers, note, quarantine, reject

ENDINGS: Final = "bat cmd com cpl exe hta img iso jar js jse lnk msi pif ps1 scr vbe vbs wsf"
PROGRAMS: Final = frozenset(f".{one}" for one in ENDINGS.split())


def suffix_of(name: str) -> str:
    """As Windows sees it, which leaves out dots and spaces at the end."""
    return PureWindowsPath(name.rstrip(" .").lower()).suffix


def make(
    *,
    programs: frozenset[str] = PROGRAMS,
    encrypted: bool = True,
    action: Literal["reject", "quarantine"] = "reject",
    limit: int = 50_000_000,
) -> Registry:
    """The filter. ``encrypted``: whether encrypted zip files may pass. ``limit``: bytes of a mail."""
    actions = {"quarantine"} if action == "quarantine" else set()
    handlers = define_event_handlers(name="attachments", actions=actions)

    def fault(event: Message) -> str | None:
        """Why the mail is not wanted."""
        if not event.is_whole:
            return "too large to look into"
        found = event.file_names()
        for name in found.names:
            if suffix_of(name) in programs:
                shown = "".join(one if " " <= one <= "~" else "?" for one in name[-60:])
                return f"attached program {shown}"
        return "an encrypted zip file" if found.has_encrypted and not encrypted else found.unseen

    @handlers.message(limit=limit, blocking=True)
    def look_inside(event: Message, ctx: Context) -> Context:
        """The first program decides."""
        why = fault(event)
        if why is None:
            return ctx
        ctx = count(note(ctx, "attachment not wanted", why=why), "unwanted")
        if action == "quarantine":
            return quarantine(ctx, why)
        return reject(ctx, "5.7.1", f"Not accepted: {why}")

    return handlers

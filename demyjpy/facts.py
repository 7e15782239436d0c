"""What a handler may ask about the mail at hand: the time.

All of it is read from the context that a handler gets. Nothing here looks at a clock or a socket.
"""

from datetime import datetime
from typing import Any

from demyjpy.context import Context


def now(ctx: Context) -> datetime:
    """When the packet at hand came from the MTA: the time, as an aware `datetime` in UTC.

    It is the same however often it is asked while one packet is in hand, for all filters. A filter with
    it needs no clock: a replay gives it the recorded time, to the microsecond, and a test what
    ``run(..., clock=...)`` says. A clock that is set back goes back here, too.

    `HandlerError` for a context that no driver, test or replay has made.
    """
    when: datetime = ctx["macros"].moment.when()
    return when


def recall(ctx: Context, key: str, default: Any = None) -> Any:
    """What was kept under this key with `remember`, on this connection; ``default`` if nothing was."""
    return ctx["connection"].get(key, default)

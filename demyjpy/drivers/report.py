"""What the engine reports, in the log: the one place where demyjpy writes log lines about sessions.

The logger is ``demyjpy``; how it is shown is the program's choice (the standard `logging`).
"""

import logging
from typing import Final

from demyjpy.connection import Connection, Trouble
from demyjpy.errors import NegotiationError, RemoteProtocolError

log: Final = logging.getLogger("demyjpy")


UNFINISHED: Final = "it had not finished when the milter stopped"


class Seldom:
    """Keeps a flood out of the log: what comes again and again is told once in so many seconds."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._told: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def count(self, kind: str, now: float) -> int:
        """How many of a kind are to be told now, with those kept back; 0: keep this one back."""
        untold = self._untold.get(kind, 0) + 1
        if now - self._told.get(kind, -self._seconds) < self._seconds:
            self._untold[kind] = untold
            return 0
        self._told[kind], self._untold[kind] = now, 0
        return untold


def report(connection: Connection) -> None:
    """Log what has gone wrong on a connection: one record each, a traceback for handlers only."""
    for trouble in connection.troubles:
        log_trouble(trouble, connection.session)


def report_closed(connection: Connection, why: str) -> None:
    """Log that a connection is closed by us, and not because of what was said on it."""
    log.warning("%s: closed: %s", _where(connection.session, connection.macros.get("i")), why)


def log_trouble(trouble: Trouble, session: str) -> None:
    """One record: session, queue id, event, handler, what happened."""
    where = _where(session, trouble.queue_id)
    error = trouble.error
    if isinstance(error, RemoteProtocolError):
        log.warning("%s: the MTA broke the protocol: %s", where, error)
    elif isinstance(error, NegotiationError):
        log.error("%s: session refused: %s", where, error)
    else:
        log.error(
            "%s: %s failed at %s: %s: %s",
            where,
            trouble.handler or "the filter",
            trouble.event,
            type(error).__name__,
            error,
            exc_info=error,
        )


def _where(session: str, queue_id: str | None) -> str:
    shown = queue_id or "-"
    # whoever can connect can send a queue id: it must neither forge a line nor break its encoding
    return f"session {session}: queue id {shown if shown.isprintable() else ascii(shown)}"

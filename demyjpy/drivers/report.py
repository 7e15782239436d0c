"""What the engine reports, in the log: the one place where demyjpy writes log lines about sessions.

The logger is ``demyjpy``; how it is shown is the program's choice (the standard `logging`).
"""

import logging
from typing import Final

from demyjpy.connection import Connection, Trouble
from demyjpy.errors import NegotiationError, RemoteProtocolError

log: Final = logging.getLogger("demyjpy")


def report(connection: Connection) -> None:
    """Log what has gone wrong on a connection: one record each, a traceback for handlers only."""
    for trouble in connection.troubles:
        log_trouble(trouble, connection.session)


def log_trouble(trouble: Trouble, session: str) -> None:
    """One record: session, queue id, event, handler, what happened."""
    where = f"session {session}: queue id {trouble.queue_id or '-'}"
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

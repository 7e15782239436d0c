"""What the engine reports, in the log: the one place where demyjpy writes log lines about sessions.

The logger is ``demyjpy``; how it is shown is the program's choice (the standard `logging`). Whatever
that is, its records are lines of printable characters, bounded, and hold nothing of a mail.
"""

import logging
from typing import Final

from attrs import frozen

from demyjpy.drivers.logtext import MARK, Harmless, shown, told
from demyjpy.engine.connection import Connection, Requested, Trouble
from demyjpy.engine.phases import IN_MESSAGE
from demyjpy.errors import LimitError, NegotiationError, RemoteProtocolError
from demyjpy.reports import Note, words_of_report

log: Final = logging.getLogger("demyjpy")
log.addFilter(Harmless())


_LONGEST_NAME: Final = 200
"""Characters of a queue id or an address: a peer may send 300 kB of them."""

NOTES: Final = 20
"""Notes of a message that are written."""

_LONGEST_NOTE: Final = 1000

UNFINISHED: Final = "it had not finished when the milter stopped"


class Seldom:
    """Keeps a flood out of the log: one record of a kind in ``seconds``, with how many were left out."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._told: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def count(self, kind: str, now: float) -> int:
        """How many of a kind to report now, with those kept back; 0: keep this one back."""
        untold = self._untold.get(kind, 0) + 1
        if now - self._told.get(kind, -self._seconds) < self._seconds:
            self._untold[kind] = untold
            return 0
        self._told[kind], self._untold[kind] = now, 0
        return untold


class Notes:
    """The notes of one connection in the log: `NOTES` of a message, then a line that says so."""

    __slots__ = ("_count", "_queue_id")

    def __init__(self) -> None:
        self._count = 0
        self._queue_id: str | None = None

    def write(self, connection: Connection) -> None:
        """Log those that are new."""
        for requested in connection.requests:
            if isinstance(requested.request, Note):
                self._write(requested.request, requested, connection.session)
        if connection.scope.phase not in IN_MESSAGE:
            self._count = 0

    def _write(self, note: Note, requested: Requested, session: str) -> None:
        if requested.queue_id != self._queue_id:  # another message
            self._count, self._queue_id = 0, requested.queue_id
        self._count += 1
        if self._count <= NOTES:
            log_note(note, requested, session)
        elif self._count == NOTES + 1:
            where = Where(session, requested.queue_id, requested.client)
            log.warning("%s: no more than %d notes of a message", where, NOTES, extra=where.facts())


def log_note(note: Note, requested: Requested, session: str) -> None:
    """One record: session, queue id, filter, what the filter has to say."""
    handler = requested.handler
    where = Where(session, requested.queue_id, requested.client)
    who = handler.filter or handler.name
    given = {
        name: shown(one, _LONGEST_NOTE) if isinstance(one, str) else one for name, one in note.fields
    }
    facts = {**given, **where.facts(handler.event, handler.name), "filter": shown(who)}
    log.info("%s: %s: %s", where, shown(who), shown(words_of_report(note), _LONGEST_NOTE), extra=facts)


def report(connection: Connection, notes: Notes | None = None) -> None:
    """Log what has gone wrong on a connection: one record each, a traceback for handlers only.

    And what its filters have to say; ``notes`` are those of this connection.
    """
    for trouble in connection.troubles:
        log_trouble(trouble, connection.session)
    if connection.requests:
        (notes or Notes()).write(connection)


def report_closed(connection: Connection, why: str) -> None:
    """Log that we close a connection for a reason other than what was said on it."""
    macros = connection.scope.macros
    where = Where(connection.session, macros.get("i"), macros.client)
    log.warning("%s: closed: %s", where, why, extra=where.facts())


def log_trouble(trouble: Trouble, session: str) -> None:
    """One record: session, queue id, event, handler, what happened."""
    where = Where(session, trouble.queue_id, trouble.client)
    error = trouble.error
    if isinstance(error, RemoteProtocolError):
        what = "over a limit" if isinstance(error, LimitError) else "the MTA broke the protocol"
        log.warning("%s: %s: %s", where, what, error, extra=where.facts())
    elif isinstance(error, NegotiationError):
        log.error("%s: session refused: %s", where, error, extra=where.facts())
    else:
        log.error(
            "%s: %s failed at %s: %s",
            where,
            trouble.handler or "the filter",
            trouble.event,
            told(error),
            exc_info=error,
            extra=where.facts(trouble.event, trouble.handler),
        )


@frozen
class Where:
    """What a record is about, as the words before its message and as attributes of the record."""

    session: str
    queue_id: str | None
    client: str | None

    def __str__(self) -> str:
        client = f": client {_shown(self.client)}" if self.client else ""
        return f"session {self.session}: queue id {_shown(self.queue_id or '-')}{client}"

    def facts(self, event: str | None = None, handler: str | None = None) -> dict[str, str | None]:
        """For ``extra=`` of the standard `logging`."""
        return {
            "session": self.session,
            "queue_id": self.queue_id and shown(self.queue_id),
            "client": self.client and shown(self.client),
            "event": event,
            "handler": handler and shown(handler),
        }


def _shown(text: str) -> str:
    # whoever can connect can send a queue id: it must neither forge a line nor break its encoding
    if text.isprintable() and len(text) <= _LONGEST_NAME:
        return text
    return ascii(text[:_LONGEST_NAME]) + (MARK if len(text) > _LONGEST_NAME else "")

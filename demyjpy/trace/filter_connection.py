"""A filter in memory, for an MTA that is recorded or played: bytes in, bytes out, handlers called."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self, TypeAlias

from attrs import evolve

from demyjpy.engine.connection import Call, Connection, Requested, Setup, Trouble
from demyjpy.engine.handler_results import forget_frames
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import (
    hang_up,
    open_connection,
    receive_data,
    resume,
    run_call,
    run_call_async,
    take_answer,
)
from demyjpy.errors import LocalProtocolError
from demyjpy.questions import Outcome


def nobody_answers(asked: Asked) -> Outcome:
    """`LocalProtocolError`: there is nobody who answers questions here."""
    raise LocalProtocolError(
        f"expected an answer to the question {asked.key!r} of {asked.name}, got none for "
        f"{asked.question!r:.200}"
    )


Order: TypeAlias = Callable[[Connection], Asked | None]
"""Which of the open questions of a connection is answered next; None if first the MTA says more.

It may be None only if no handler waits (``connection.wait``).
"""


def at_once(connection: Connection) -> Asked | None:
    """Each question as soon as it is asked, in the order in which they are asked."""
    return next(iter(connection.open_questions.values()), None)


class FilterConnection:
    """One connection with a filter; a context manager, which ends the event loop of async handlers.

    Plain handlers are called by the engine itself, also those that may block. If the setup has a
    spool, large bodies go there. ``answer`` answers questions, in an ``order``; if it gives None
    for one, that stays open. large bodies go there. The time for its handlers is that which `say`
    and `end` get, else that of the setup's clock, or of the system's.
    """

    def __init__(
        self,
        setup: Setup,
        session: str = "",
        answer: Callable[[Asked], Outcome | None] = nobody_answers,
        order: Order = at_once,
    ) -> None:
        self._answer, self._order = answer, order
        self._unanswered: frozenset[int] = frozenset()
        self._runner: asyncio.Runner | None = None
        self.connection: Connection
        self.troubles: list[Trouble] = []
        self.requests: list[Requested] = []
        """What the filter asked of the driver: nobody does it here."""
        self._time: float | None = None
        clock = setup.wall or time.time
        setup = evolve(
            setup,
            defers=lambda handler: handler.is_async,
            wall=lambda: clock() if self._time is None else self._time,
        )
        self._follow(open_connection(setup, session))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the event loop, if there is one."""
        if self._runner is not None:
            self._runner.close()

    @property
    def is_closed(self) -> bool:
        """Whether the filter has left."""
        return self.connection.is_closed

    def say(self, data: bytes, at: float | None = None) -> bytes:
        """The MTA says this, at that time (seconds since 1970); what the filter says to it."""
        self._time = at
        return self._follow(receive_data(self.connection, data))

    def end(self, at: float | None = None) -> None:
        """The MTA closes the connection, at that time."""
        self._time = at
        self._follow(hang_up(self.connection))

    def forget_troubles(self) -> None:
        """Nobody wants to know what went wrong, or was asked for: that keeps alive what handlers had."""
        for trouble in self.troubles:
            forget_frames(trouble.error)
        self.troubles.clear()
        self.requests.clear()
        self.connection = evolve(self.connection, troubles=())

    def _follow(self, connection: Connection) -> bytes:
        sent = connection.data_to_send
        self._note(connection)
        while True:
            if connection.call is not None:
                connection = resume(connection, self._run(connection.call))
            elif (asked := self._next_question(connection)) is not None:
                outcome = self._answer(asked)
                if outcome is None:
                    self._unanswered |= {asked.number}
                    continue
                connection = take_answer(connection, asked.number, outcome)
            else:
                break
            sent += connection.data_to_send
            self._note(connection)
        self.connection = connection
        return sent

    def _next_question(self, connection: Connection) -> Asked | None:
        """The next that is to be answered."""
        if not self._unanswered:
            return self._order(connection)
        found = connection.open_questions
        self._unanswered = frozenset([one for one in self._unanswered if one in found])
        return next((one for number, one in found.items() if number not in self._unanswered), None)

    def _note(self, connection: Connection) -> None:
        self.troubles += connection.troubles
        self.requests += connection.requests

    def _run(self, call: Call) -> Any:
        if not call.handler.is_async:  # a large body is written to a file
            return run_call(call)
        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(run_call_async(call))

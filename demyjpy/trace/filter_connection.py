"""A filter in memory, for an MTA that is recorded or played: bytes in, bytes out, handlers called."""

import asyncio
import time
from typing import Any, Self

from attrs import evolve

from demyjpy.engine.connection import Call, Connection, Setup, Trouble
from demyjpy.engine.handler_results import forget_frames
from demyjpy.engine.pipeline import (
    hang_up,
    open_connection,
    receive_data,
    resume,
    run_call,
    run_call_async,
)


class FilterConnection:
    """One connection with a filter; a context manager, which ends the event loop of async handlers.

    Plain handlers are called by the engine itself, also those that may block. If the setup has a spool,
    large bodies go there. The time for its handlers is what `say` and `end` are told, else that of the
    setup's clock, or of the system's.
    """

    def __init__(self, setup: Setup, session: str = "") -> None:
        self._runner: asyncio.Runner | None = None
        self.connection: Connection
        self.troubles: list[Trouble] = []
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
        """Nobody wants to know what went wrong: exceptions keep alive what handlers had."""
        for trouble in self.troubles:
            forget_frames(trouble.error)
        self.troubles.clear()
        self.connection = evolve(self.connection, troubles=())

    def _follow(self, connection: Connection) -> bytes:
        sent = connection.data_to_send
        self.troubles += connection.troubles
        while connection.call is not None:
            connection = resume(connection, self._run(connection.call))
            sent += connection.data_to_send
            self.troubles += connection.troubles
        self.connection = connection
        return sent

    def _run(self, call: Call) -> Any:
        if not call.handler.is_async:  # a large body is written to a file
            return run_call(call)
        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(run_call_async(call))

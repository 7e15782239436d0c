"""A filter in memory as the drivers hold it: without an observer, so that it takes the hot path."""

from typing import Any

from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection, run_call
from demyjpy.testing.answers import Answers, answering
from demyjpy.testing.memory_filter import MemoryFilter
from demyjpy.trace.filter_connection import at_once


class HotFilter(MemoryFilter):
    """One connection with a filter whose handlers are plain functions; it shows no steps."""

    def __init__(self, handlers: Any, answers: Answers | None = None, **options: Any) -> None:
        super().__init__(Setup(as_on_connect(handlers), **options))
        self._answering = answering(answers)
        self.line = Line(open_connection(Setup(as_on_connect(handlers), **options), "hot"))

    def say(self, data: bytes) -> bytes:
        """The MTA says this; what the filter says to it."""
        sent = self.line.receive_data(data)
        return self._rest() if sent is None else sent

    def end(self) -> None:
        """The MTA closes the connection."""
        self.line.hang_up()
        self._rest()

    def _rest(self) -> bytes:
        """What the filter says off the hot path."""
        sent = b""
        while True:
            connection = self.line.leave()
            sent += connection.data_to_send
            self.troubles += connection.troubles
            asked = at_once(connection)
            if connection.call is not None:
                self.line.resume(run_call(connection.call))
            elif asked is not None:
                self.line.take_answer(asked.number, self._answering(asked), None)
            else:
                return sent

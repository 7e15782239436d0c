"""A packet's way through: bytes in, handlers called or handed to the driver, bytes out.

The functions here take a `Connection` and return the next one. They do no I/O: a driver reads bytes
and gives them to `receive_data`, sends ``data_to_send``, runs ``call`` and gives its outcome to
`resume`, and says `hang_up` when the peer is gone. What is decided, is decided here. A driver that is
in a hurry holds a `Line` in place of the value, and asks for the value where it needs one.
"""

from collections.abc import Mapping
from typing import Any, Final

from demyjpy.connection import Call, Connection, Setup
from demyjpy.context import Context, new_context
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry, with_handlers
from demyjpy.lane import Handover, Lane, is_plain, take_lane
from demyjpy.outcomes import as_exception
from demyjpy.turn import Turn
from demyjpy.wire.codes import Response
from demyjpy.wire.framing import join_frame

PROGRESS: Final = join_frame(Response.PROGRESS)
"""What keeps the MTA waiting at end of message."""


def as_on_connect(on_connect: Any) -> Any:
    """A function ``ctx -> ctx`` as it is; a registry (or map of handlers) as such a function."""
    if isinstance(on_connect, Mapping):
        registry = as_registry(on_connect)
        return lambda ctx: with_handlers(ctx, registry)
    if not callable(on_connect):
        raise HandlerError(f"expected a registry or a function ctx -> ctx, got {on_connect!r:.200}")
    return on_connect


def open_connection(setup: Setup, session: str = "") -> Connection:
    """A new connection; ``session`` is its name in logs.

    If ``on_connect`` fails, the connection is closed from the start.
    """
    turn = Turn(Connection(setup, session))
    turn.open(new_context())
    return turn.result()


def receive_data(connection: Connection, data: bytes) -> Connection:
    """After the MTA sent bytes. While a call is out they are only kept."""
    turn = Turn(connection)
    turn.receive_data(data)
    turn.run()
    return turn.result()


class Line:
    """A connection as a driver holds it: in the lane for as long as it can be, else a value."""

    __slots__ = ("_connection", "_lane")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def connection(self) -> Connection:
        """All that is known now. Asking ends the lane, until the next read.

        Only for the thread that receives data, or while that one is known to wait for some.
        Where an exception such as KeyboardInterrupt has ended the lane, it is what was known before.
        """
        lane: Any = self._lane  # for mypy a Generator has no gi_running
        if lane is not None and not lane.gi_running:
            try:
                lane.send(None)
            except StopIteration as end:
                if end.value is not None:
                    self.connection = end.value.connection
        return self._connection

    @connection.setter
    def connection(self, connection: Connection) -> None:
        self._connection = connection
        self._lane: Lane | None = None

    @property
    def outline(self) -> Connection:
        """What any thread may ask at any time: in the lane no more than which session it is."""
        if self._lane is None:
            return self._connection
        return Connection(self._connection.setup, self._connection.session)

    def receive_data(self, data: bytes) -> bytes | None:
        """Bytes have come: what to send, if that is all; None where ``connection`` says more."""
        if self._lane is None:
            if not is_plain(self._connection):
                self.connection = receive_data(self._connection, data)
                return None
            self._lane = take_lane(self._connection)
            next(self._lane)
        try:
            return self._lane.send(data)
        except StopIteration as end:
            self.connection = go_on(end.value)
            return None


def go_on(handover: Handover) -> Connection:
    """After the lane has ended."""
    turn = Turn(handover.connection)
    turn.take_over(handover)
    turn.run()
    return turn.result()


def resume(
    connection: Connection, outcome: Context | Exception, duration: float | None = None
) -> Connection:
    """After the handler that was handed out has returned a context or raised."""
    turn = Turn(connection)
    turn.resume(outcome, duration)
    turn.run()
    return turn.result()


def hang_up(connection: Connection) -> Connection:
    """After the peer has gone, or when we leave it: abort and disconnect handlers run, once."""
    turn = Turn(connection)
    turn.hang_up()
    turn.run()
    return turn.result()


def run_call(call: Call) -> Context | Exception:
    """Call a plain handler that was handed out; its outcome is for `resume`."""
    try:
        outcome: Context | Exception = call.handler.function(call.event, call.ctx)
    except (Exception, SystemExit) as error:
        return as_exception(error)
    return outcome


async def run_call_async(call: Call) -> Context | Exception:
    """The same for an ``async def`` handler."""
    try:
        outcome: Context | Exception = await call.handler.function(call.event, call.ctx)
    except (Exception, SystemExit) as error:
        return as_exception(error)
    return outcome

"""A packet's way through: bytes in, handlers called or handed to the driver, bytes out.

The functions here take a `Connection` and return the next one. They do no I/O: a driver reads bytes
and gives them to `receive_data`, sends ``data_to_send``, runs ``call`` and gives its outcome to
`resume`, and says `hang_up` when the peer is gone. What is decided, is decided here. A driver that is
in a hurry holds a `Line` in place of the value, and asks for the value where it needs one.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from demyjpy.context import Context, new_context
from demyjpy.engine.connection import Call, Connection, Setup
from demyjpy.engine.lane import Handover, Lane, is_plain, take_lane
from demyjpy.engine.outcomes import as_exception
from demyjpy.engine.phases import Phase
from demyjpy.engine.stations import negotiates_by_default
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError, describe
from demyjpy.handlers import as_registry, with_handlers
from demyjpy.registry import Registry
from demyjpy.wire.codes import Response
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame

PROGRESS: Final = join_frame(Response.PROGRESS)
"""What keeps the MTA waiting at end of message."""


_LONGEST_OFFER: Final = 64
"""Bytes: what is remembered by what an MTA says is bounded."""


@frozen
class Begin:
    """The ``on_connect`` of a registry: all connections begin alike, which is worked out once."""

    registry: Registry

    def __call__(self, ctx: Context) -> Context:
        return with_handlers(ctx, self.registry)


def as_on_connect(on_connect: Any) -> Any:
    """A function ``ctx -> ctx`` as it is; a registry (or map of handlers) as such a function."""
    if isinstance(on_connect, Mapping):
        return Begin(as_registry(on_connect))
    if not callable(on_connect):
        raise HandlerError(f"expected a registry or a function ctx -> ctx, got {describe(on_connect)}")
    return on_connect


def open_connection(setup: Setup, session: str = "") -> Connection:
    """A new connection; ``session`` is its name in logs.

    If ``on_connect`` fails, the connection is closed from the start.
    """
    begin = setup.on_connect
    if not isinstance(begin, Begin):
        return _open(setup, session)
    return begin.registry.once(("opened", setup), lambda: _open(setup, "")).of_session(session)


def _open(setup: Setup, session: str) -> Connection:
    turn = Turn(Connection(setup, session))
    turn.open(new_context())
    return turn.result()


def receive_data(connection: Connection, data: bytes) -> Connection:
    """After the MTA sent bytes. While a call is out they are only kept."""
    setup, begin = connection.setup, connection.setup.on_connect
    if (
        connection.phase is not Phase.NEW
        or not isinstance(begin, Begin)
        or connection.unread is not NOTHING_UNREAD
        or not _is_offer(data)
        or not negotiates_by_default(connection.stations)
    ):
        return _receive_data(connection, data)
    # what comes of it is up to nothing but the offer
    key = ("negotiated", setup, data)
    known: Connection | None = begin.registry.known(key)
    if known is not None:
        return known.of_session(connection.session)
    after = _receive_data(connection, data)
    if is_plain(after):  # it is not where it failed, or where somebody watches
        begin.registry.keep(key, after)
    return after


def _is_offer(data: bytes) -> bool:
    """Whether this is an offer, and nothing else, of a size to remember."""
    size = len(data)
    return 4 < size <= _LONGEST_OFFER and data[:5] == (size - 4).to_bytes(4, "big") + b"O"


def _receive_data(connection: Connection, data: bytes) -> Connection:
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
            handover: Handover = end.value
        # not before: what is raised while another exception is handled has that one as its context
        self.connection = _leave_lane(handover)
        return None

    def go_on(self) -> bytes | None:
        """Where ``connection`` is behind, and others have had their turn: as after `receive_data`."""
        return self.receive_data(b"")


def _leave_lane(handover: Handover) -> Connection:
    """Go on where the lane has ended."""
    if handover.connection.is_closed or handover.is_spent:
        return handover.connection
    turn = Turn(handover.connection)
    turn.take_over(handover)
    turn.run()
    return turn.result()


def go_on(connection: Connection) -> Connection:
    """Where a connection is behind its budget, and others have had their turn."""
    return _receive_data(connection, b"")


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
    except BaseException as error:  # whatever it raises is its failure
        return as_exception(error)
    return outcome


async def run_call_async(call: Call) -> Context | Exception:
    """The same for an ``async def`` handler."""
    try:
        outcome: Context | Exception = await call.handler.function(call.event, call.ctx)
    except BaseException as error:  # whatever it raises is its failure
        return as_exception(error)
    return outcome

"""A snooper between an MTA and a milter in any language: bytes go through untouched and at once.

It reports what it sees afterwards, in records; whatever goes wrong with that never touches the bytes.
While the milter is away nobody listens here either, so the MTA sees what it would see without.
"""

import asyncio
import os
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Self, TypeAlias

from demyjpy.drivers.accepting import ProtocolServer
from demyjpy.drivers.address import Address, Listener, listen
from demyjpy.drivers.options import SessionNames
from demyjpy.drivers.report import log
from demyjpy.drivers.waiting import within
from demyjpy.trace.format.records import Record
from demyjpy.trace.live.wire_recorder import WireRecorder

Report: TypeAlias = Callable[[str, list[Record]], None]
"""Gets the records of a session as they come, and what is odd in its time (under ``odd`` alone)."""

PATIENCE: Final = 8.0  # seconds without an answer; Sendmail gives a filter 10

AWAY: Final = "the milter is down"
"""Why a session ends that cannot be connected through; a colon and what the system says follow."""

STOPPED: Final = "the snooper was stopped"
"""Why a session ends when the snooper does."""

_PAUSE: Final = 0.1  # seconds between two looks whether a milter that was away is back
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: the other side sees a reset, not an end


class Snooper:
    """Listens at ``address``, and connects each session through to the milter at ``to``.

    An async context manager. ``recorder`` makes what keeps the records of a session.
    """

    def __init__(
        self,
        address: Address,
        to: Address,
        tell: Report,
        recorder: Callable[[str], WireRecorder],
        patience: float = PATIENCE,
    ) -> None:
        self.address = address
        self.to = to
        self._is_inherited = address.kind == "fd"
        self.patience = patience
        self.tell = tell
        self.begin = recorder
        self._names = SessionNames()
        self._sessions: set[_SnoopedSession] = set()
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._looking: asyncio.Task[None] | None = None  # waits for a milter that is away
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        listener = listen(self.address)
        self.address = listener.address
        self._listen(listener)
        try:
            await self._look()
        except OSError as error:
            self.milter_is_away(error)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close(0.0)

    @property
    def is_listening(self) -> bool:
        """Whether sessions can come now: not while the milter is away."""
        return self._listener is not None

    async def close(self, grace: float) -> None:
        """Take no more sessions; end when the last one ends, or after ``grace`` seconds."""
        if self._looking is not None:
            self._looking.cancel()
        self._shut()
        await self._server.wait_connected()
        self._over.clear()
        if self._sessions and grace:
            await within(grace, self._over.wait())
        for session in tuple(self._sessions):
            session.cut()

    # ------------------------------------------------------------------------------- listening
    def _listen(self, listener: Listener) -> None:
        self._listener = listener
        self._server = ProtocolServer(listener.socket, self._welcome)

    def _shut(self, *, keep_file: bool = False) -> None:
        """Listen no more; a Unix socket's file stays if the milter's own is there, too."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._server.close()
            (listener.socket if keep_file else listener).close()

    def _welcome(self) -> "_Side":
        session = _SnoopedSession(self, self._names.next())
        self._sessions.add(session)
        return session.front

    def start(self, coroutine: Any) -> "asyncio.Task[Any]":
        """Run something beside; the loop itself keeps no task alive."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def forget(self, session: "_SnoopedSession") -> None:
        """A session has ended."""
        self._sessions.discard(session)
        if not self._sessions:
            self._over.set()

    # ------------------------------------------------------------------------------ the milter
    def milter_is_away(self, error: OSError) -> None:
        """Nobody should reach us if nobody could reach the milter."""
        if self._listener is None or self._is_inherited:
            return
        log.warning("the milter at %s is down: %s", self.to, _why(error))
        self._shut(keep_file=isinstance(error, ConnectionRefusedError))
        self._looking = self.start(self._wait_for_milter())

    async def _wait_for_milter(self) -> None:
        while self._listener is None:
            await asyncio.sleep(_PAUSE)
            with suppress(OSError):
                await self._look()
                self._listen(listen(self.address))
        log.warning("the milter at %s is up again", self.to)

    async def _look(self) -> None:
        """See that the milter takes connections; `OSError` if it does not."""
        transport, _ = await self.connect(asyncio.Protocol)
        transport.abort()

    async def connect(self, protocol: Any) -> Any:
        """A connection with the milter."""
        loop = asyncio.get_running_loop()
        if self.to.kind == "unix":
            return await loop.create_unix_connection(protocol, self.to.path)
        return await loop.create_connection(protocol, self.to.host, self.to.port)


def _why(error: OSError) -> str:
    """What the system says, without addresses: asyncio puts those of all its attempts into one error."""
    numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
    words = " or ".join(map(os.strerror, sorted(numbers))) or error.strerror or str(error)
    return f"{words[:1].lower()}{words[1:]}"


class _SnoopedSession:
    """One MTA's connection, the one with the milter that belongs to it, and what is seen of both."""

    def __init__(self, snooper: Snooper, name: str) -> None:
        self._snooper = snooper
        self._name = name
        self._recorder = snooper.begin(name)
        self._is_watching = True
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: list[asyncio.Task[None]] = []
        self._first: _Side | None = None  # the one that ended first
        self._have_ended: set[_Side] = set()
        # what the MTA said before the milter's connection was there; and whether no more comes
        self._early = b""
        self._ended_early = False
        self.front = _Side(self, "mta")
        self.back = _Side(self, "filter")

    # -------------------------------------------------------------------------- what comes
    def made(self, side: "_Side") -> None:
        """A connection is there: what the MTA says is kept until the milter's is there, too."""
        if side is self.front:
            self._connecting.append(self._snooper.start(self._connect()))
            return
        if self._early:
            self.said(self.front, self._early)
        if self._ended_early:
            self.ended(self.front)
        self._early = b""
        if not self.front.is_held:
            self.front.resume()

    async def _connect(self) -> None:
        try:
            await self._snooper.connect(lambda: self.back)
        except OSError as error:
            self._first = self.back
            self._end(f"{AWAY}: {_why(error)}")
            self.front.reset()
            self._snooper.milter_is_away(error)

    def said(self, side: "_Side", data: bytes) -> None:
        """Bytes: on they go; what they are is looked at after that."""
        if not self.back.was_made:
            # Not paused in connection_made: asyncio before CPython 3.11.4 reads on after that. So one
            # read, at most 256 KiB (selector_events.py, max_size), may lie here.
            side.pause()
            self._early += data
            return
        self._other(side).write(data)
        self._watch(lambda: self._look(side, data))

    def ended(self, side: "_Side") -> None:
        """One side says no more, but may still listen."""
        if not self.back.was_made:
            self._ended_early = True
            return
        self._first = self._first or side
        self._have_ended.add(side)
        self._other(side).write_eof()
        if len(self._have_ended) == 2:
            self.front.close()
            self.back.close()

    def lost(self, side: "_Side", error: Exception | None) -> None:
        """A connection is gone, and so is the other."""
        self._first = self._first or side
        other = self._other(side)
        self._end(str(error or ""))
        for task in self._connecting:
            task.cancel()
        (other.close if error is None else other.reset)()
        if other.is_gone or not other.was_made:
            self._snooper.forget(self)

    def cut(self) -> None:
        """End it now."""
        self._end(STOPPED)
        self.front.close()
        self.back.close()
        self._snooper.forget(self)

    def hold(self, side: "_Side", is_full: bool) -> None:
        """One side takes no more for now: so the other is not read."""
        other = self._other(side)
        other.is_held = is_full
        (other.pause if is_full else other.resume)()

    def _other(self, side: "_Side") -> "_Side":
        return self.back if side is self.front else self.front

    # -------------------------------------------------------------------------- what is seen
    def _watch(self, look: Callable[[], None]) -> None:
        """Look at what happens; if that goes wrong, look no more."""
        if self._is_watching:
            try:
                look()
            except Exception:  # noqa: BLE001  # whatever it is, the bytes go through
                self._is_watching = False
                log.exception("session %s: watched no more; its bytes still go through", self._name)

    def _look(self, side: "_Side", data: bytes) -> None:
        self._snooper.tell(self._name, self._recorder.take(side.direction, data))
        awaited = self._recorder.converter.awaited
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if awaited is not None:
            patience = self._snooper.patience
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(patience, self._watch, lambda: self._miss(awaited))

    def _miss(self, awaited: str) -> None:
        odd = f"no answer to {awaited} for {self._snooper.patience:g} s"
        self._snooper.tell(self._name, [{"session": self._name, "odd": [odd]}])

    def _end(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        how = "mta" if self._first is None else self._first.direction
        self._watch(lambda: self._snooper.tell(self._name, self._recorder.end(how, reason)))
        self._is_watching = False


class _Side(asyncio.Protocol):
    """One of the two connections of a session."""

    def __init__(self, session: _SnoopedSession, direction: str) -> None:
        self._session = session
        self.direction = direction
        self._transport: asyncio.Transport | None = None
        self._socket: Any = None
        self._is_tcp = False
        self.was_made = self.is_gone = self.is_held = False

    # ------------------------------------------------------------------------- asyncio says
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a socket's transport is both
        self._socket = transport.get_extra_info("socket")
        self._is_tcp = self._socket.family != socket.AF_UNIX
        self.was_made = True
        if self._is_tcp:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._session.made(self)

    def data_received(self, data: bytes) -> None:
        if self._is_tcp:
            # the kernel forgets it: without, it may wait 40 ms with an ACK that the peer waits for
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._session.said(self, data)

    def eof_received(self) -> bool:
        self._session.ended(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self._session.lost(self, exc)

    def pause_writing(self) -> None:
        self._session.hold(self, True)

    def resume_writing(self) -> None:
        self._session.hold(self, False)

    # ---------------------------------------------------------------------- the session says
    def _do(self, what: Callable[[asyncio.Transport], None]) -> None:
        """Do it with the connection, if there is one."""
        if self._transport is not None and not self._transport.is_closing():
            with suppress(OSError):  # it is gone, and asyncio will say so
                what(self._transport)

    def write(self, data: bytes) -> None:
        """Send; what nobody takes any more is dropped."""
        self._do(lambda transport: transport.write(data))

    def write_eof(self) -> None:
        """Say no more."""
        self._do(lambda transport: transport.write_eof())

    def pause(self) -> None:
        """Read no more for now."""
        self._do(lambda transport: transport.pause_reading())

    def resume(self) -> None:
        """Read on."""
        self._do(lambda transport: transport.resume_reading())

    def close(self) -> None:
        """End the connection when all is sent."""
        self._do(lambda transport: transport.close())

    def reset(self) -> None:
        """End the connection as one that breaks."""
        self._do(self._reset)

    def _reset(self, transport: asyncio.Transport) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

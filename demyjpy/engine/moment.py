"""The packet at hand: when it came, and in which session. One object for each connection.

A context is a value, and a context for each packet would cost every filter. So all contexts of a
connection hold the same `Moment`, in their macros, and the engine says there that another packet has
come. Nobody looks at the clock until a handler asks.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from demyjpy.errors import HandlerError


class Moment:
    """When the packet at hand came.

    ``seconds`` since 1970; None until somebody asks. ``wall`` gives them. ``session`` is the name of the
    session.
    """

    __slots__ = ("_wall", "seconds", "session")

    def __init__(self, session: str, wall: Callable[[], float] | None) -> None:
        self.session = session
        self._wall = wall
        self.seconds: float | None = None

    def read(self) -> float | None:
        """The seconds since 1970, the same until another packet comes; None without a clock."""
        seconds = self.seconds
        if seconds is None and self._wall is not None:
            seconds = self.seconds = self._wall()
        return seconds

    def when(self) -> datetime:
        """The same in UTC; `HandlerError` without a clock."""
        seconds = self.read()
        if seconds is None:
            raise HandlerError(
                "expected a context that a driver or run() has given to a handler, got one that knows "
                "no time: make it with demyjpy.testing.context(), or give Setup(wall=time.time) to the "
                "engine"
            )
        return datetime.fromtimestamp(seconds, UTC)


NO_MOMENT: Final = Moment("", None)
"""That of a context without a connection."""


def moment_of(known: Moment, session: str, wall: Callable[[], float] | None) -> Moment:
    """The moment of a connection: the one that is known, or a new one."""
    return known if known is not NO_MOMENT else Moment(session, wall)

"""What all drivers set on the socket of a connection.

Sendmail says the macros of a command and the command itself in two writes. Nagle's algorithm holds
back the second until the first has been acknowledged, which the kernel of the receiver puts off for
40 ms as long as it has nothing to say itself: 40 ms for each command. Postfix says both in one write.
"""

import socket
from contextlib import suppress
from typing import Final

_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)  # Linux has it
_IS_OF_TCP: Final = frozenset({socket.AF_INET, socket.AF_INET6} if _QUICKACK else ())


def send_at_once(sock: socket.socket) -> None:
    """No answer waits for the acknowledgement of the one before (Nagle's algorithm)."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def acknowledgeable(sock: socket.socket) -> socket.socket | None:
    """The socket if `acknowledge` does something for it, else None."""
    return sock if sock.family in _IS_OF_TCP else None


def acknowledge(sock: socket.socket) -> None:
    """Acknowledge at once that the peer's bytes have come: to be called if no answer says so.

    The kernel forgets it with the next answer (tcp(7), TCP_QUICKACK), so it has to be said each time.
    """
    with suppress(OSError):  # the peer is gone, which reading will say
        sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK or 0, 1)

"""The network below httpx, read in small pieces, so that others have their turn between them.

httpx reads 64 KiB at once, and h11 parses it before anybody else has a turn. A server that sends
thousands of interim responses (1xx, RFC 9110, 15.2) would hold up the event loop for 0.2 s each time.
"""

import ssl
from typing import Any, Final

from demyjpy.lookups.clients import library

httpx: Final = library("httpx", "http", "httpx")
httpcore: Final = library("httpx", "http", "httpcore")

AT_ONCE: Final = 4_096
"""Bytes: parsing that many takes less than 20 ms, whatever is in them."""


class _Stream:
    """As `httpcore.AsyncNetworkStream`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        found: bytes = await self._stream.read(min(max_bytes, AT_ONCE), timeout)
        return found

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *options: Any, **more: Any) -> "_Stream":
        return _Stream(await self._stream.start_tls(*options, **more))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend:
    """As `httpcore.AsyncNetworkBackend`, for TCP."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(self, *place: Any, **options: Any) -> _Stream:
        return _Stream(await self._backend.connect_tcp(*place, **options))


def small_reads(size: int) -> Any:
    """The transport of httpx with this many connections, other reads and no use of the environment."""
    context: ssl.SSLContext = httpx.create_ssl_context(trust_env=False)
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001  # there is no option for the backend
        ssl_context=context,
        max_connections=size,
        max_keepalive_connections=size,
        network_backend=_Backend(),
    )
    return transport

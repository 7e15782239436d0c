"""Questions to HTTP services, with httpx (the extra ``http``).

The resource says where the service is. A question says what of it is wanted, in segments, so that
nothing of a mail can lead elsewhere. It follows no redirect, and uses no proxy of the environment.
An answer is taken as it comes, never unpacked: a few bytes could become gigabytes.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote

from attrs import field, frozen
from pyrsistent import PMap, pmap

from demyjpy.declarations import EFFECT_KEY
from demyjpy.errors import HandlerError, describe
from demyjpy.lookups.clients import client_of, library
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError, UnansweredError
from demyjpy.lookups.http_reads import small_reads
from demyjpy.lookups.message_pieces import message_pieces
from demyjpy.message import Message
from demyjpy.questions import Question
from demyjpy.shown import safe

__all__ = ["Http", "HttpGet", "HttpPost"]

httpx: Final = library("httpx", "http", "httpx")

POOL: Final = 20
LARGEST: Final = 1 << 20
"""Bytes of an answer."""

LONGEST_TYPE: Final = 998
"""Characters of a media type."""

_PARTS_AT_ONCE: Final = 100
"""Then the others have their turn: thousands of chunks of one byte may have come in one piece."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[!-~](?:[\t -~]*[!-~])?|")
"""A field's name and value (RFC 9110, sections 5.6.2 and 5.5), of ASCII."""

_DOWN: Final = frozenset({502, 503, 504})
"""What a proxy says if there is nobody behind it, and a server that cannot now (RFC 9110, 15.6)."""


class Http:
    """A service by its URL, as in ``resources={"http": lambda settings: Http("http://192.0.2.1:8080/v1")}``.

    It connects when it is first asked. ``headers``: fields of each request, as for a password.
    ``health``: segments of a path that answers as long as the service is alive; if it is given, no
    question that takes long opens the circuit breaker by itself. ``pool``: connections, and questions at
    once. ``timeout``: seconds for a question. The other options are those of
    `demyjpy.lookups.guard.Guard`; the statuses 502, 503 and 504 count as no answer.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        health: tuple[str, ...] | None = None,
        pool: int = POOL,
        timeout: float = TIMEOUT,
        **breaker: Any,
    ) -> None:
        self._guard = Guard("http", places=pool, timeout=timeout, **breaker)
        found = httpx.URL(url)
        if found.scheme not in ("http", "https") or not found.host or found.query:
            raise HandlerError(f"expected a URL such as http://192.0.2.1:8080/v1, got {describe(url)}")
        self._url = str(found).rstrip("/")
        self._server = f"{found.scheme}://{found.netloc.decode('ascii')}"
        self._client = httpx.AsyncClient(  # nosec B113  # the guard's time holds
            headers=_as_headers(headers or {}),
            transport=small_reads(pool),
            timeout=None,
            follow_redirects=False,
            trust_env=False,
        )
        self._health = None if health is None else _as_segments(health)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()
        await self._client.aclose()

    async def send(
        self,
        method: str,
        segments: tuple[str, ...],
        query: Mapping[str, Any],
        *,
        must_succeed: bool = False,
        **content: Any,
    ) -> dict[str, Any]:
        """The status of an answer, its media type and its body. Errors as of `Guard.ask`.

        ``must_succeed``: `RefusedError` for any status but 2xx.
        """

        async def ask() -> dict[str, Any]:
            found = await self._send(method, segments, query, **content)
            if must_succeed and found["status"] // 100 != 2:  # RFC 9110, 15.3
                raise RefusedError(f"expected a status of 2xx, got {found['status']}")
            return found

        async def alive() -> None:
            await self._send("GET", self._health or (), {})

        return await self._guard.ask(self._server, ask, is_alive=None if self._health is None else alive)

    async def _send(
        self, method: str, segments: tuple[str, ...], query: Mapping[str, Any], **content: Any
    ) -> dict[str, Any]:
        path = "".join("/" + quote(one, safe="", errors="surrogateescape") for one in segments)
        asked = "&".join(
            f"{quote(name, safe='')}={quote(str(value), safe='', errors='surrogateescape')}"
            for name, value in query.items()
        )
        url = f"{self._url}{path}{'?' if asked else ''}{asked}"
        try:
            async with self._client.stream(method, url, **content) as answer:
                if answer.status_code in _DOWN:
                    raise UnansweredError(f"status {answer.status_code}")
                body = await _read(answer)
        except (httpx.LocalProtocolError, httpx.InvalidURL) as error:  # nothing was sent
            raise RefusedError(
                f"expected a request that HTTP can carry, got one that it cannot: {type(error).__name__}"
            ) from None
        except httpx.ProtocolError as error:  # its text quotes what the server sent
            raise UnansweredError(f"{type(error).__name__}: no answer in HTTP") from None
        except httpx.TransportError as error:
            raise UnansweredError(f"{type(error).__name__}: {error}") from None
        kind = _shown(answer.headers.get("content-type", ""))
        return {"status": answer.status_code, "type": kind, "body": body}


async def _read(answer: Any) -> bytes:
    body = bytearray()
    encoding = answer.headers.get("content-encoding", "")
    if encoding.lower() not in ("", "identity"):
        raise RefusedError(
            "expected an answer that is not compressed, as asked for, got one with the encoding "
            f"{_shown(encoding)}"
        )
    count = 0
    async for part in answer.aiter_raw():
        count += 1
        if count % _PARTS_AT_ONCE == 0:
            await asyncio.sleep(0)
        if len(body) + len(part) > LARGEST:
            raise RefusedError(f"expected an answer of at most {LARGEST} bytes, got more")
        body += part
    return bytes(body)


def _shown(text: str) -> str:
    return safe(text[:LONGEST_TYPE])


def _as_headers(given: Mapping[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise HandlerError(
                "expected headers= with names and values that HTTP can carry, got "
                f"{describe(name)} with {describe(value)}"
            )
    return {**{name.lower(): value for name, value in given.items()}, "accept-encoding": "identity"}


def _as_type(given: Any) -> str:
    if not isinstance(given, str) or len(given) > LONGEST_TYPE or not _VALUE.fullmatch(given):
        raise HandlerError(
            "expected a media type such as text/plain, in ASCII, without a space before or after it, "
            f"of at most {LONGEST_TYPE} characters, got {describe(given)}"
        )
    return given


def _as_segments(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, tuple | list):
        raise HandlerError(
            f'expected the segments of a path as in ("users", name), got {describe(given)}'
        )
    if not all(isinstance(one, str) and one not in ("", ".", "..") for one in given):
        raise HandlerError("expected segments of a path that are texts, got an empty one, '.' or '..'")
    return tuple(given)


def _as_query(given: Mapping[str, Any]) -> PMap[str, Any]:
    return pmap(dict(given))


_EXAMPLES: Final = (
    {"status": 200, "type": "application/json", "body": b"{}"},
    {"status": 404, "type": "text/plain", "body": b""},
    {"status": 500, "type": "text/plain", "body": b""},
)


@frozen
class HttpGet(Question, pure=True):
    """What a service answers to GET: a map of ``status``, media ``type`` and ``body`` (bytes).

    ``segments`` of the path are below the URL of the resource. Each is one, whatever is in it; an empty
    one, ``.`` and ``..`` are a `HandlerError`. ``query`` gives what follows ``?``. Any status but 502,
    503 and 504 is an answer. A body of more than `LARGEST` bytes is a failure, and so is a compressed
    one, which is not asked for. ``using``: the name of the resource.
    """

    segments: tuple[str, ...] = field(default=(), converter=_as_segments)
    query: PMap[str, Any] = field(factory=pmap, converter=_as_query)
    using: str = "http"
    examples: ClassVar[tuple[Any, ...]] = _EXAMPLES

    async def perform(self, resources: Mapping[str, Any]) -> dict[str, Any]:
        """Ask."""
        return await _client(resources, self.using).send("GET", self.segments, self.query)


@frozen
class HttpPost(Question):
    """What a service answers to POST; it may be an effect, too. See `HttpGet`.

    ``content``: bytes, a text, or a `Message`, sent from where it lies. ``type``: its media type;
    `HandlerError` if a field of HTTP cannot carry it (RFC 9110, section 5.5).
    As an effect, any status but 2xx is a failure, and the key of the effect is sent in the field
    ``Idempotency-Key``, in quotes (draft-ietf-httpapi-idempotency-key-header).
    """

    segments: tuple[str, ...] = field(default=(), converter=_as_segments)
    content: bytes | str | Message = b""
    type: str = field(default="application/octet-stream", converter=_as_type)
    query: PMap[str, Any] = field(factory=pmap, converter=_as_query)
    using: str = "http"
    examples: ClassVar[tuple[Any, ...]] = _EXAMPLES

    async def perform(self, resources: Mapping[str, Any]) -> dict[str, Any]:
        """Send it."""
        content: Any = self.content
        headers = {"Content-Type": self.type}
        if isinstance(content, Message):
            headers["Content-Length"] = str(content.size)
            content = message_pieces(content)
        is_effect = EFFECT_KEY in resources
        if is_effect:
            headers["Idempotency-Key"] = f'"{resources[EFFECT_KEY]}"'
        return await _client(resources, self.using).send(
            *("POST", self.segments, self.query),
            must_succeed=is_effect,
            content=content,
            headers=headers,
        )


def _client(resources: Mapping[str, Any], name: str) -> Http:
    return client_of(resources, name, Http, example='Http("http://localhost:8080")')

"""Bytes and text in JSON, so that every byte survives and most of them can be read.

What is UTF-8 is a JSON string, anything else ``{"base64": "..."}``. Text of the milter protocol is
bytes read with ``surrogateescape`` (`demyjpy.wire.fields`), so both give the same JSON.
"""

from base64 import b64decode, b64encode
from typing import Any, Final

from demyjpy.errors import LocalProtocolError, TraceError
from demyjpy.wire.fields import decode_text, encode_text

_KEY: Final = "base64"


def dump_text(text: str) -> Any:
    """Text as JSON: itself, or its bytes if it is no Unicode."""
    if text.isascii():  # as most is; CPython knows it without looking
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return {_KEY: b64encode(_bytes_of(text)).decode("ascii")}
    return text


def dump_optional(text: str | None) -> Any:
    """The same, and None for none."""
    return None if text is None else dump_text(text)


def _bytes_of(text: str) -> bytes:
    """The bytes of text, also if a lone surrogate in it stands for no byte."""
    return text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "surrogatepass")


def _is_escaped(text: str) -> bool:
    return not any("\ud800" <= one <= "\udfff" and not "\udc80" <= one <= "\udcff" for one in text)


def dump_bytes(data: bytes) -> Any:
    """Bytes as JSON: the text that they are, or base64."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {_KEY: b64encode(data).decode("ascii")}


def load_bytes(value: Any) -> bytes:
    """The inverse of `dump_bytes`; `TraceError` if it is none."""
    if isinstance(value, str):
        try:
            return encode_text(value)
        except LocalProtocolError as error:
            raise TraceError(str(error)) from None
    if isinstance(value, dict) and isinstance(value.get(_KEY), str):
        try:
            return b64decode(value[_KEY], validate=True)
        except ValueError as error:
            raise TraceError(f"expected base64, got {value[_KEY]!r:.60}: {error}") from None
    raise TraceError(f'expected text or {{"base64": ...}}, got {value!r:.60}')


def load_text(value: Any) -> str:
    """The inverse of `dump_text`; `TraceError` if it is none."""
    if type(value) is str and value.isascii():
        return value
    return decode_text(load_bytes(value))


def load_optional(value: Any) -> str | None:
    """The inverse of `dump_optional`."""
    return None if value is None else load_text(value)

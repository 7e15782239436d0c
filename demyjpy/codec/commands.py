"""What the MTA says: one table row for each packet, by its letter.

A row is the only place that knows a command's letter, class, layout, flags and reply rule.
"""

from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any, Final

from attrs import frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.errors import LocalProtocolError, RemoteProtocolError, describe
from demyjpy.wire.codes import ActionFlag, Command, ProtocolFlag, Stage
from demyjpy.wire.fields import (
    Definitions,
    Parameters,
    decode_text,
    encode_number,
    encode_string,
    show_bytes,
    take_number,
    take_string,
    take_strings,
)

_P = ProtocolFlag
_NO_PARAMETERS: Final = Parameters()


@frozen
class EventRow:
    """What the MTA says with one letter.

    ``name`` is the event's name in a registry. ``off`` is the flag by which a filter declines it,
    ``quiet`` the one by which it promises no reply; ``replies`` whether a reply is due without that.
    ``since`` is the protocol version that brought it, ``stage`` its macro list.
    """

    letter: Command
    name: str
    event: type[Any]
    decode: Callable[[bytes, bool], ev.Event]
    encode: Callable[[Any, bool], bytes]
    replies: bool = True
    off: ProtocolFlag = _P.NONE
    quiet: ProtocolFlag = _P.NONE
    since: int = 2
    stage: Stage | None = None


def _nothing(event: type[Any]) -> dict[str, Any]:
    """An event without payload; surplus bytes are ignored, as libmilter does."""
    value = event()
    return {
        "event": event,
        "decode": lambda payload, leading_space: value,
        "encode": lambda event, leading_space: b"",
    }


def decode_options(payload: bytes, leading_space: bool) -> ev.Options:
    """The three words that open a negotiation in both directions."""
    version, rest = take_number(payload, 4, "a protocol version")
    actions, rest = take_number(rest, 4, "action flags")
    protocol, _ = take_number(rest, 4, "protocol flags")
    return ev.Options(version, ActionFlag(actions), ProtocolFlag(protocol))


def encode_flags(words: ev.Options | act.Negotiate) -> bytes:
    """The inverse of `decode_options`."""
    numbers = (words.version, words.actions, words.protocol)
    return b"".join(encode_number(number, 4, "a flag word") for number in numbers)


def _decode_macros(payload: bytes, leading_space: bool) -> ev.DefineMacros:
    if not payload:
        raise RemoteProtocolError("a macro packet with the letter of its command", "nothing")
    return ev.DefineMacros(event_name(payload[0]), Definitions.parse(take_strings(payload[1:])))


def _encode_macros(event: ev.DefineMacros, leading_space: bool) -> bytes:
    row = ROW_OF_NAME.get(event.event)
    if row is None and not (len(event.event) == 1 and event.event <= "\xff"):
        raise LocalProtocolError(f"expected an event name or a letter, got {event.event!r}")
    letter = bytes((row.letter,)) if row else event.event.encode("latin-1")
    words = event.definitions.words
    strings = [text for name, value in words for text in (name, value) if text is not None]
    return letter + b"".join(map(encode_string, strings))


def event_name(letter: int) -> str:
    """The event that a macro packet belongs to; the letter itself if no event has it."""
    row = EVENTS.get(letter)
    return row.name if row else chr(letter)


def _decode_connect(payload: bytes, leading_space: bool) -> ev.Connect:
    host_name, rest = take_string(payload, "a host name")
    family = rest[:1].decode("latin-1")
    if family == "U":
        return ev.Connect(host_name, "U")
    if family not in ("4", "6", "L"):
        raise RemoteProtocolError("an address family 4, 6, L or U", show_bytes(rest))
    port, rest = take_number(rest[1:], 2, "a port")
    raw, _ = take_string(rest, "an address")
    return ev.Connect(host_name, family, _decode_address(family, raw), port, raw=raw)


def _decode_address(family: str, raw: str) -> ev.PeerAddress:
    if family == "L":
        return raw
    bare = raw[5:] if family == "6" and raw[:5].lower() == "ipv6:" else raw
    try:
        return IPv4Address(bare) if family == "4" else IPv6Address(bare)
    except AddressValueError:
        raise RemoteProtocolError(f"an IPv{family} address", describe(raw)) from None


def _encode_connect(event: ev.Connect, leading_space: bool) -> bytes:
    start = encode_string(event.host_name) + event.family.encode("latin-1")
    if event.family == "U":
        return start
    return start + encode_number(event.port or 0, 2, "a port") + encode_string(event.raw)


def _one_string(event: type[Any], attribute: str, what: str) -> dict[str, Any]:
    return {
        "event": event,
        "decode": lambda payload, leading_space: event(take_string(payload, what)[0]),
        "encode": lambda event, leading_space: encode_string(getattr(event, attribute)),
    }


def _envelope(event: type[Any]) -> dict[str, Any]:
    """MAIL and RCPT: the address as the client wrote it, then one string a parameter."""

    def decode(payload: bytes, leading_space: bool) -> Any:
        raw, rest = take_string(payload, "an address")
        parameters = Parameters.parse(take_strings(rest)) if rest else _NO_PARAMETERS
        return event(raw, parameters, raw=raw)

    def encode(event: ev.Mail | ev.Recipient, leading_space: bool) -> bytes:
        return b"".join(map(encode_string, (event.raw, *event.parameters.as_words())))

    return {"event": event, "decode": decode, "encode": encode}


def _decode_header(payload: bytes, leading_space: bool) -> ev.Header:
    parts = payload.split(b"\0", 2)
    if len(parts) < 3:
        missing = "a header name" if len(parts) == 1 else "a header value"
        raise RemoteProtocolError(f"{missing} that ends in NUL", show_bytes(parts[-1]))
    if not parts[0]:
        raise RemoteProtocolError("a header name", "an empty one")
    name, value = decode_text(parts[0]), decode_text(parts[1])
    if leading_space:
        return ev.Header(name, value.removeprefix(" "), raw=value)
    return ev.Header(name, value)


def _encode_header(event: ev.Header, leading_space: bool) -> bytes:
    return encode_string(event.name) + encode_string(event.raw if leading_space else event.value)


_C = Command
_ROWS: Final = (
    EventRow(
        _C.OPTNEG,
        "options",
        ev.Options,
        decode_options,
        lambda event, _: encode_flags(event),
    ),
    EventRow(_C.MACRO, "define_macros", ev.DefineMacros, _decode_macros, _encode_macros, replies=False),
    EventRow(
        _C.CONNECT,
        "connect",
        ev.Connect,
        _decode_connect,
        _encode_connect,
        off=_P.NOCONNECT,
        quiet=_P.NR_CONN,
        stage=Stage.CONNECT,
    ),
    EventRow(
        _C.HELO,
        "hello",
        **_one_string(ev.Hello, "greeting", "a HELO argument"),
        off=_P.NOHELO,
        quiet=_P.NR_HELO,
        stage=Stage.HELO,
    ),
    EventRow(
        _C.MAIL,
        "mail",
        **_envelope(ev.Mail),
        off=_P.NOMAIL,
        quiet=_P.NR_MAIL,
        stage=Stage.ENVFROM,
    ),
    EventRow(
        _C.RCPT,
        "recipient",
        **_envelope(ev.Recipient),
        off=_P.NORCPT,
        quiet=_P.NR_RCPT,
        stage=Stage.ENVRCPT,
    ),
    EventRow(
        _C.DATA,
        "data",
        **_nothing(ev.Data),
        off=_P.NODATA,
        quiet=_P.NR_DATA,
        since=4,
        stage=Stage.DATA,
    ),
    EventRow(
        _C.HEADER,
        "header",
        ev.Header,
        _decode_header,
        _encode_header,
        off=_P.NOHDRS,
        quiet=_P.NR_HDR,
    ),
    EventRow(
        _C.EOH,
        "end_of_headers",
        **_nothing(ev.EndOfHeaders),
        off=_P.NOEOH,
        quiet=_P.NR_EOH,
        stage=Stage.EOH,
    ),
    EventRow(
        _C.BODY,
        "body",
        ev.Body,
        lambda payload, _: ev.Body(payload),
        lambda event, _: event.data,
        off=_P.NOBODY,
        quiet=_P.NR_BODY,
    ),
    EventRow(_C.BODYEOB, "end_of_message", **_nothing(ev.EndOfMessage), stage=Stage.EOM),
    EventRow(
        _C.UNKNOWN,
        "unknown",
        **_one_string(ev.Unknown, "command", "a command line"),
        off=_P.NOUNKNOWN,
        quiet=_P.NR_UNKN,
        since=3,
    ),
    EventRow(_C.ABORT, "abort", **_nothing(ev.Abort), replies=False),
    EventRow(_C.QUIT, "quit", **_nothing(ev.Quit), replies=False),
    EventRow(_C.QUIT_NC, "quit_nc", **_nothing(ev.QuitNewConnection), replies=False, since=6),
)

EVENTS: Final = {int(row.letter): row for row in _ROWS}
"""What the MTA says, by letter."""

ROW_OF_NAME: Final = {row.name: row for row in _ROWS}
"""The same rows by event name."""

ROW_OF_EVENT: Final = {row.event: row for row in _ROWS}
"""The same rows by class of event."""

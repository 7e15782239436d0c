"""What is fuzzed: functions that take any bytes at all, and raise where a law of ours is broken.

They know neither who makes the bytes nor for how long. The first bytes of some choose a filter or a
place to cut, so that whoever makes the bytes chooses that as well.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack
from typing import Any, Final

from demyjpy.codec import (
    EVENTS,
    decode_action,
    decode_event,
    encode_action,
    encode_event,
)
from demyjpy.drivers.report import log_trouble
from demyjpy.engine.connection import Trouble
from demyjpy.engine.limits import Limits
from demyjpy.engine.negotiation import ACTION_FLAGS, EVENT_NAMES, Wants, agree, offered_flags
from demyjpy.errors import NegotiationError, RemoteProtocolError
from demyjpy.events import Options
from demyjpy.handlers import merge_handlers
from demyjpy.wire.framing import NOTHING_UNREAD, Packet, join_frame, split_frames
from tests.anyfilters import BAD, EDITS, GOOD, SABOTAGE, VERDICTS, AnyFilter, Notebook
from tests.engine.harness import Session, split
from tests.engine.test_captures import FILES, Capture
from tests.fuzz import outside
from tests.logrecords import log_everywhere

LIMIT: Final = 1 << 16
_ACTIONS: Final = tuple(ACTION_FLAGS)


def _holds(law: bool) -> None:
    assert law


# -------------------------------------------------------------------------------- the decoder
def decode(data: bytes) -> None:
    """A stream: packets however it is cut, each an event or an action, or refused; inverse if not."""
    packets, unread = split_frames(NOTHING_UNREAD, data, LIMIT)
    at = data[0] * len(data) // 256 if data else 0
    first, rest = split_frames(NOTHING_UNREAD, data[:at], LIMIT)
    second, rest = split_frames(rest, data[at:], LIMIT)
    assert [*first, *second] == packets
    assert bool(rest.error) == bool(unread.error)
    if not unread.error:
        whole = b"".join(join_frame(*one, limit=LIMIT) for one in packets)
        assert whole + b"".join(unread.chunks) == data
    for one in packets:
        for leading_space in (False, True):
            _is_inverse(one, decode_event, encode_event, leading_space)
            _is_inverse(one, decode_action, encode_action, leading_space)


def _is_inverse(
    packet: Packet, decoded: Callable[..., Any], encoded: Callable[..., Packet], leading_space: bool
) -> None:
    try:
        value = decoded(packet, leading_space)
    except RemoteProtocolError as error:
        _holds(bool(error.expected and error.got))
        return
    again = decoded(encoded(value, leading_space), leading_space)
    assert again == value, (value, again)


# --------------------------------------------------------------------------------- the engine
def _filter(number: int, *kinds: dict[str, Any], quiet: bool = False) -> AnyFilter:
    names = tuple(name for kind in kinds for name in kind)
    return AnyFilter(dict.fromkeys((*EVENT_NAMES, "disconnect"), (names, quiet)), number)


_FILTERS: Final = (
    [AnyFilter({"body": (("continue",), False), "end_of_message": (("add_header",), False)})],
    [_filter(0, GOOD)],
    [_filter(0, GOOD, EDITS, VERDICTS)],
    [_filter(0, GOOD, EDITS), _filter(1, GOOD, VERDICTS, quiet=True)],
    [_filter(0, GOOD, EDITS, VERDICTS, BAD, SABOTAGE), _filter(1, GOOD, BAD)],
)


def serve(data: bytes) -> None:
    """A connection: ended at most; the same however it is cut, watched, and whoever calls handlers."""
    chosen, stream = data[:2], data[2:]
    if len(chosen) < 2:
        return
    filters = _FILTERS[chosen[0] % len(_FILTERS)]
    limits = Limits(headers=3, recipients=3, message=1000) if chosen[0] & 128 else Limits()
    at = chosen[1] * len(stream) // 256
    sent = _played(filters, [stream], limits=limits)
    assert sent == _played(filters, [stream[:at], stream[at:]], limits=limits)
    assert sent == _played(filters, [stream], limits=limits, observer=lambda step: None)
    assert sent == _played(filters, [stream], limits=limits, defers=lambda handler: True)
    for one in split(sent):
        decode_action(one, True)


def _played(filters: list[AnyFilter], chunks: list[bytes], **setup: Any) -> bytes:
    notebook = Notebook()
    session = Session.open(merge_handlers(*[one.registry(notebook) for one in filters]), **setup)
    session.play_out(chunks)
    return session.sent


# ---------------------------------------------------------------------------- the negotiation
def negotiate(data: bytes) -> None:
    """An offer and what a filter wants: an answer within the offer that has all it needs, or refused."""
    if len(data) < 20:
        return
    needs, likes, events = unpack("!HHI", data[12:20])
    try:
        offer = decode_event((ord("O"), data[:12]))
    except RemoteProtocolError:
        return
    assert isinstance(offer, Options)
    wants = Wants(
        events=frozenset(name for bit, name in enumerate(EVENT_NAMES) if events >> bit & 1),
        quiet=frozenset(name for bit, name in enumerate(EVENT_NAMES) if events >> bit + 14 & 1),
        actions=frozenset(name for bit, name in enumerate(_ACTIONS) if needs >> bit & 1),
        optional_actions=frozenset(name for bit, name in enumerate(_ACTIONS) if likes >> bit & 1),
        rejected=bool(events >> 31),
    )
    granted, offered = offered_flags(offer)
    try:
        answer = agree(offer, wants)
    except NegotiationError as error:
        _holds(bool(error.actions or error.events))
        _holds(all(not ACTION_FLAGS[name] & granted for name in error.actions))
        return
    except RemoteProtocolError:
        _holds(offer.version < 2)
        return
    assert answer.version == min(offer.version, 6)
    assert not answer.actions & ~granted
    assert not int(answer.protocol) & ~int(offered)
    assert all(ACTION_FLAGS[name] & answer.actions for name in wants.actions)
    letter, payload = encode_action(answer)
    assert decode_action((letter, payload)) == answer


# ------------------------------------------------------------------------------------ the log
def record(data: bytes) -> None:
    """Any text of an author and of a peer, in any sink and format: one record, bounded, printable."""
    if len(data) < 2:
        return
    at = 2 + data[0] * (len(data) - 2) // 256
    times = 1 + data[1] % 8 * 100
    ways = (("utf-8", "surrogateescape"), ("utf-16-le", "surrogatepass"))
    of_author, of_peer = (
        one[: len(one) // 2 * 2].decode(*ways[data[1] >> 7]) for one in (data[2:at], data[at:])
    )
    try:
        raise ValueError(of_author * times) from KeyError(of_peer)
    except ValueError as error:
        error.add_note(of_author)
        trouble = Trouble(error, "mail", of_peer, of_peer * times, of_peer)
    with tempfile.TemporaryDirectory(prefix="demyjpy-log-") as directory:
        log_everywhere(Path(directory), lambda: log_trouble(trouble, "1a-1"))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "decode": decode,
    "serve": serve,
    "negotiate": negotiate,
    "trace": outside.read_trace,
    "capsule": outside.read_capsule,
    "answer": outside.answer,
    "record": record,
}


def corpus(target: str) -> list[bytes]:
    """Where to begin: what real MTAs and filters have said."""
    captures = [Capture.load(path) for path in FILES]
    streams = [one.stream for one in captures]
    match target:
        case "serve":
            return [bytes((number, 128)) + one for number in range(len(_FILTERS)) for one in streams]
        case "negotiate":
            offers = {one.exchanges[0].command[5:17] for one in captures}
            offers |= {pack("!III", version, 0x3F, 0x7F) for version in (1, 2, 4, 7)}
            return [one + pack("!HHI", 0x21, 0x1FF, 0xFFF) for one in sorted(offers)]
        case "trace":
            return outside.traces()
        case "capsule":
            return outside.capsules()
        case "answer":
            return outside.answers()
        case "record":
            texts = (b"plain", b"\x1b]0;pwned\x07", b"one\r\n2026-01-01 ERROR two", b"caf\xa6", b"%s")
            pairs = [one + other for one in texts for other in texts]
            return [bytes((128, flags)) + one for flags in (0, 7, 128) for one in pairs]
        case _:
            answers = [b"".join(b"".join(part.answers) for part in one.exchanges) for one in captures]
            return [*streams, *answers, *(join_frame(letter) for letter in EVENTS)]

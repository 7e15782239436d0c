"""What is kept of a tape in memory: no more than a file may hold, by the same rules as for records.

`Privacy` says what is kept. What is not is replaced by a filler of the same length: in packets here, in
what handlers returned by `demyjpy.trace.format.scrubbed_results`. The engine plays both again, and it
decides as it did; a record counts as many bytes under ``left_out``. So the filler keeps the syntax: the
NULs of a packet, the space after a colon, a code at the start of a reply; and ``{rcpt_mailer}`` if it is
``error``, by which the engine decides. An address is hashed here, and not again in the records: see
`Scrubber.privacy`.

Packed, all that was heard is one piece. In it stand packets as they are, and marks (`_NEW` ...): a byte
that no packet begins with, for packets begin with a length and none is of 2 GiB. So macros that were
sent before take a byte, and of a header field without its value only the name is there.
"""

import re
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final

from attrs import frozen

from demyjpy.codec import EVENTS
from demyjpy.engine.letters import (
    BODY,
    BODYEOB,
    CONNECT,
    HEADER,
    HELO,
    MACRO,
    MAIL,
    OPTNEG,
    RCPT,
    UNKNOWN,
)
from demyjpy.engine.tape import Heard
from demyjpy.errors import RemoteProtocolError
from demyjpy.events import strip_brackets
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.scrubbed_results import FILLER, ResultScrubber, after_colon
from demyjpy.wire.fields import Definitions, decode_text

_START: Final = Struct("!IB")
_take_length: Final = Struct("!I").unpack_from
_HEADER: Final = 5  # bytes of length and letter
_PORT: Final = 4  # bytes from the end of a client's name to its address
_DIGITS: Final = b"0123456789."
_OFFER: Final = 12  # bytes of an offer that are read
_BLANK: Final = b"\0" + FILLER * 255

# What a mark says, in this order. Without any of the last three it says nothing of a packet.
_MARK: Final = 0x80
_NEW: Final = _MARK | 0x40  # what follows was heard later than what is before
_SAME: Final = _MARK | 0x20  # the last packet of macros came again
_ALIKE: Final = _MARK | 0x10  # its macros came again, for the command that the next byte says
_NAMED: Final = _MARK | 0x08  # a header field follows up to the end of its name: the value is a filler
_SPACED: Final = _NAMED | 0x04  # so it does up to the space after its colon
_MARKS: Final = (*([b""] * _MARK), *(bytes([one]) for one in range(_MARK, 256)))
_NO_PACKET: Final = bytes(_HEADER)
_MOST_PLANS: Final = 64

_USUAL_MACROS: Final = (
    *("i", "{mail_addr}", "{rcpt_addr}", "{client_addr}", "{client_name}", "{client_ptr}"),
    *("j", "v", "_", "{daemon_name}", "{daemon_addr}", "{daemon_port}", "{mail_host}", "{mail_mailer}"),
    *("{rcpt_host}", "{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"),
)
"""Names of macros that an MTA sends unasked, except the one by which the engine decides."""

USUAL_FIELDS: Final = (
    *("Received", "From", "To", "Cc", "Subject", "Date", "Message-ID", "Message-Id", "MIME-Version"),
    *("Content-Type", "Content-Transfer-Encoding", "DKIM-Signature", "Return-Path", "Reply-To"),
    *("In-Reply-To", "References", "User-Agent", "X-Mailer", "List-Unsubscribe", "Sender"),
)
"""Names of header fields, as most spell them."""

_MAILER: Final = "rcpt_mailer"
_MAILER_NAME: Final = b"{rcpt_mailer}"
_REFUSED: Final = b"error"
_MAILERS: Final = re.compile(rb"(?:\A|(?<=\0))(?:\{rcpt_mailer\}|rcpt_mailer)\0(?:error(?=\0))?")

_MOST_READ: Final = 400
"""Names and values of a macro packet that are looked at one by one. No MTA sends as many, and it is done
while others wait: of those that follow nothing is kept."""


@frozen
class _Hashed(Privacy):
    """For records in which addresses are hashes already."""

    def hashed(self, address: str) -> str:
        return address


class Scrubber:
    """Takes out of packets and outcomes what may not be kept. It remembers nothing of them."""

    def __init__(self, privacy: Privacy) -> None:
        self._given = privacy
        self.outcome = ResultScrubber(privacy, self._definitions).kept
        """What is kept of what a handler (None: ``on_error``) returned or raised."""
        self._is_whole, self._is_lean = privacy.keeps_all, not privacy.keeps_bodies
        self._usual_macros = {
            name.encode(): FILLER * len(name) if privacy.hides_macro(name) else b""
            for name in _USUAL_MACROS
            if not privacy.hashes_macro(name)
        }
        """What is in place of their names; nothing if these are kept, and their values."""
        if privacy.hides_macro(_MAILER):
            self._usual_macros[_MAILER_NAME] = _MAILER_NAME
        self._plans: dict[tuple[bytes, ...], tuple[tuple[int, bytes], ...]] = {}
        """By the usual names of a packet, and what is behind its last NUL: what to replace."""
        self.privacy: Privacy = privacy
        """What makes records of what was scrubbed."""
        if privacy.hash_addresses:
            self.privacy = _Hashed(keep=privacy.keep, redact=privacy.redact, hash_addresses=True)
        self._usual_fields = {name.encode(): privacy.hides_value(name) for name in USUAL_FIELDS}
        self._rules: dict[int, Callable[[bytes], bytes]] = {
            OPTNEG: _offer,
            CONNECT: _connect,
            HELO: self._text,
            UNKNOWN: self._text,
            MAIL: self._address,
            RCPT: self._address,
            BODY: _same,
            BODYEOB: _same if privacy.keeps_bodies else _zeros,
        }

    # ---------------------------------------------------------------------------------- packets
    def pack(self, heard: Iterable[Heard]) -> list[bytes]:
        """What is kept of all that was heard, in pieces that are to be joined.

        Of the end of a connection that is only its place, of a body that is not kept the first bytes of
        its packets.
        """
        found: list[bytes] = []
        said, told = _NO_PACKET, None  # the last macros, with their packet: the next are often the same
        size = 0
        usual, rules, is_lean = self._usual_fields, self._rules, self._is_lean
        for one in heard:
            if not isinstance(one, bytes):
                found.append(_MARKS[_NEW])
                if isinstance(one, int):
                    found.append(_START.pack(one + 1, BODY))
                continue
            if self._is_whole:
                found += (_MARKS[_NEW], one)
                continue
            at, stop, mark = 0, len(one), _NEW
            if one.startswith(said):
                at, mark = size, _NEW | _SAME
            while at < stop:
                (length,) = _take_length(one, at)
                letter, after = one[at + 4], at + 4 + length
                if letter == HEADER:
                    try:
                        name, value, rest = one[at + _HEADER : after].split(b"\0")
                    except ValueError:
                        name = rest = b"\0"
                    if rest or name not in usual:
                        more, kept = self._field(one[at:after])
                        found += (_MARKS[mark | more], kept)
                    elif not usual[name]:
                        found += (_MARKS[mark], one[at:after])
                    elif value[:1].isspace():
                        found += (_MARKS[mark | _SPACED], one[at : after - len(value)])
                    else:
                        found += (_MARKS[mark | _NAMED], one[at : after - len(value) - 1])
                elif length == 1:
                    found += (_MARKS[mark], one[at:after])
                elif letter == MACRO:
                    said, size = one[at:after], length + 4
                    if told == said[_HEADER + 1 :]:
                        found += (_MARKS[mark | _ALIKE], said[_HEADER : _HEADER + 1])
                    else:
                        told = said[_HEADER + 1 :]
                        found += (_MARKS[mark], self._macros(said, told))
                elif letter == BODY and is_lean:
                    found += (_MARKS[mark], one[at : at + _HEADER])
                else:
                    found += (_MARKS[mark], rules.get(letter, _blank)(one[at:after]))
                at, mark = after, 0
            found.append(_MARKS[mark])
        return found

    def unpack(self, data: bytes) -> list[list[Heard]]:
        """The inverse of `pack`: each entry, of which a body that is not kept makes several.

        The end of a connection is an entry with nothing in it.
        """
        found: list[list[Heard]] = []
        said = b""
        at = 0
        while at < len(data):
            mark = data[at] if data[at] & _MARK else 0
            if mark:
                at += 1
                if mark & _NEW == _NEW:
                    found.append([])
                if mark & _SAME == _SAME:
                    _append(found[-1], said)
                if mark & _ALIKE == _ALIKE:
                    said = said[:_HEADER] + data[at : at + 1] + said[_HEADER + 1 :]
                    _append(found[-1], said)
                    at += 1
                if mark & _NAMED == _NAMED:
                    (length,) = _take_length(data, at)
                    end = data.index(0, at + _HEADER) + (2 if mark & _SPACED == _SPACED else 1)
                    begun = data[at:end]
                    _append(found[-1], begun + FILLER * (length + 3 - len(begun)) + b"\0")
                    at = end
                continue
            length, letter = _START.unpack_from(data, at)
            if letter == BODY and self._is_lean:
                found[-1].append(length - 1)
                at += _HEADER
                continue
            packet = data[at : at + 4 + length]
            if letter == MACRO and length > 1:
                said = packet
            _append(found[-1], packet)
            at += len(packet)
        return found

    def _text(self, packet: bytes) -> bytes:
        """One string, and what nobody reads."""
        end = packet.find(b"\0", _HEADER) if self._given.keeps_texts else 0
        return _kept(packet, end)

    def _address(self, packet: bytes) -> bytes:
        """The address, and ESMTP parameters."""
        known = self._given
        end = packet.find(b"\0", _HEADER)
        if end < 0:
            return _blank(packet)
        if not known.hash_addresses:
            if end == len(packet) - 1:
                return packet
            return _kept(packet, end if known.keeps_bare_envelope else packet.rindex(b"\0"))
        address = known.hashed(strip_brackets(decode_text(packet[_HEADER:end])))
        return _packed(packet, b"<" + address.encode() + b">\0")

    def _field(self, packet: bytes) -> tuple[int, bytes]:
        """A header field: its name, what follows the colon, and what nobody reads; and its mark."""
        known = self._given
        parts = packet[_HEADER:].split(b"\0", 2)
        if len(parts) < 3 or not parts[0]:
            return 0, _blank(packet)
        said, value, rest = parts
        name = decode_text(said)
        if known.hides_name(name):
            said = FILLER * len(said)
        if not known.hides_value(name):
            return 0, b"%b%b\0%b\0%b" % (packet[:_HEADER], said, value, rest.translate(_BLANK))
        if rest:
            value, rest = after_colon(value, 1), rest.translate(_BLANK)
            return 0, b"%b%b\0%b\0%b" % (packet[:_HEADER], said, value, rest)
        begun = value[:1] if value[:1].isspace() else b""
        return _SPACED if begun else _NAMED, b"%b%b\0%b" % (packet[:_HEADER], said, begun)

    def _macros(self, packet: bytes, told: bytes) -> bytes:
        """The letter of a command, and definitions."""
        if not told:
            return packet
        found = self._definitions(told)
        if len(found) == len(told):
            return packet[: _HEADER + 1] + found
        return _packed(packet, packet[_HEADER : _HEADER + 1] + found)

    def _definitions(self, payload: bytes) -> bytes:
        """Names and values in turn; the last name may have no value."""
        strings = payload.split(b"\0", _MOST_READ)
        rest = b""
        if len(strings) > _MOST_READ:
            rest, strings[-1] = strings[-1], b""
        names = (*strings[::2],)
        plan = self._plans.get(names)
        if plan is None:
            plan = self._plan(names, len(strings))
        if plan is None:
            self._replace_unusual(strings)
        elif not plan:
            return payload
        else:
            for at, blank in plan:
                value = strings[at]
                if value != _REFUSED or blank is not _MAILER_NAME:
                    strings[at - 1] = blank
                    strings[at] = FILLER * len(value)
        return b"\0".join(strings) + _unread(rest) if rest else b"\0".join(strings)

    def _plan(self, names: tuple[bytes, ...], count: int) -> tuple[tuple[int, bytes], ...] | None:
        """Where hidden values are, with what is in place of their names; None if a name is not usual."""
        known = self._usual_macros
        usual = names[:-1]
        if count != 2 * len(usual) + 1 or names[-1] or any(one not in known for one in usual):
            return None
        plan = tuple([(2 * at + 1, known[one]) for at, one in enumerate(usual) if known[one]])
        if len(self._plans) < _MOST_PLANS and len(usual) <= len(known):
            self._plans[names] = plan
        return plan

    def _replace_unusual(self, strings: list[bytes]) -> None:
        """The same in place, of whatever names."""
        known = self._given
        strings[-1] = FILLER * len(strings[-1])  # a string without its end is not read
        for at in range(0, len(strings) - 2, 2):
            name, value = decode_text(strings[at]), strings[at + 1]
            if known.hides_macro(name):
                if Definitions.key_of(name) != _MAILER:
                    strings[at] = FILLER * len(strings[at])
                elif value == _REFUSED:
                    continue
                strings[at + 1] = FILLER * len(value)
            elif known.hashes_macro(name):
                strings[at + 1] = known.hashed(decode_text(value)).encode()


def _append(entry: list[Heard], packet: bytes) -> None:
    """One packet more of an entry: those that follow one another are in one piece."""
    if entry and isinstance(entry[-1], bytes):
        entry[-1] += packet
    else:
        entry.append(packet)


# ------------------------------------------------------------------------------------------ fillers
def _same(packet: bytes) -> bytes:
    return packet


def _zeros(packet: bytes) -> bytes:
    return packet[:_HEADER] + bytes(len(packet) - _HEADER)


def _blank(packet: bytes) -> bytes:
    return _kept(packet, 0)


def _kept(packet: bytes, end: int) -> bytes:
    """A packet of which nothing from ``end`` on is kept but the NULs; at least its start is."""
    end = max(end, _HEADER)
    return packet[:end] + packet[end:].translate(_BLANK)


def _unread(definitions: bytes) -> bytes:
    """Definitions of which nothing is kept but that by which the engine decides, and the NULs."""
    found = bytearray(definitions.translate(_BLANK))
    for one in _MAILERS.finditer(definitions):
        found[one.start() : one.end()] = one.group()
    return bytes(found)


def _packed(packet: bytes, payload: bytes) -> bytes:
    """A packet with another payload, not shorter: a string without its end is not read."""
    payload += FILLER * (len(packet) - _HEADER - len(payload))
    return _START.pack(len(payload) + 1, packet[4]) + payload


def _offer(packet: bytes) -> bytes:
    return packet[: _HEADER + _OFFER] + bytes(len(packet[_HEADER + _OFFER :]))


def _connect(packet: bytes) -> bytes:
    """The client is kept, as far as it is read."""
    row = EVENTS[CONNECT]
    end = packet.find(b"\0", _HEADER)
    stop = packet.find(b"\0", end + _PORT)
    if packet[end + 1 : end + 2] == b"4" and end + _PORT < stop:
        address = packet[end + _PORT : stop]
        if not address.strip(_DIGITS):
            return _kept(packet, stop)
    try:
        read = row.encode(row.decode(packet[_HEADER:], False), False)
    except RemoteProtocolError:
        return _blank(packet)
    return _kept(packet, _HEADER + len(read))

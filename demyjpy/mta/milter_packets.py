"""What a milter's packets mean to an MTA, also those that libmilter would never send.

Sendmail passes over what Postfix calls an error, and the other way round; `Strictness` says which, and
`read_packet` obeys it. Facts are of the protocol file, sections 5, 7, 10 and 11, each measured.
"""

import re
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from demyjpy import actions as act
from demyjpy.actions import Action, Modification
from demyjpy.codec import ACTIONS, decode_action
from demyjpy.codec.responses import exact_reply
from demyjpy.errors import MilterError, RemoteProtocolError
from demyjpy.wire.codes import MIN_VERSION, Response
from demyjpy.wire.fields import decode_text, show_bytes
from demyjpy.wire.framing import Packet

FailureKind: TypeAlias = Literal["lost", "nonsense", "misuse"]
"""It went away, hung or cannot be read; said what may not be said; or used what it may use wrongly."""


class MilterFailedError(MilterError):
    """The milter cannot be used any more: it broke the protocol, hung, or went away.

    ``event`` is the name of the event at which it happened, ``kind`` decides what the MTA does next.
    ``said`` are the edits that it had asked for before: both MTAs have carried them out by then.
    """

    def __init__(
        self,
        event: str,
        reason: str,
        kind: FailureKind = "lost",
        said: tuple[Modification, ...] = (),
    ) -> None:
        super().__init__(f"the milter failed at {event}: {reason}")
        self.event = event
        self.reason = reason
        self.kind = kind
        self.said = said

    def __reduce__(self) -> tuple[type, tuple[str, str, FailureKind, tuple[Modification, ...]]]:
        return type(self), (self.event, self.reason, self.kind, self.said)


@frozen(kw_only=True)
class Strictness:
    """How an MTA takes what is not quite right. Each True is an error or a limit, unless it says more.

    ``payloads``: bytes after a verdict. ``protocol_bits``: protocol bits that were not offered.
    ``newer``: a version above the offer; without it, version 1 is one instead. ``stages``: a macro list
    for no stage ends the lists. ``edits``: malformed edits, else ignored. ``replies``: a malformed
    reply, else it is a plain rejection. ``body_in_one``: packets between two of a new body.
    ``body_permission``: a new body for which the filter had not asked makes the message tempfail.
    ``routes``: a recipient with a source route to delete is one that nobody knows.
    ``progress_anywhere``, ``skip_at_end``, ``shutdown``: these are taken, not errors.
    ``continuation`` is put before a header's continuation line that has no white space.
    """

    payloads: bool = True
    protocol_bits: bool = True
    newer: bool = True
    stages: bool = False
    edits: bool = True
    replies: bool = False
    body_in_one: bool = True
    body_permission: bool = False
    routes: bool = False
    progress_anywhere: bool = False
    skip_at_end: bool = False
    shutdown: bool = False
    continuation: str = field(default=" ")

    def version(self, answered: int, offered: int) -> int | None:
        """The version that counts after a filter has answered with one; None for none."""
        if self.newer:
            # Postfix: 0 and 1 get everything
            return None if answered > offered else answered if answered >= MIN_VERSION else offered
        return None if answered == 1 else min(max(answered, MIN_VERSION), offered)


_EDITS: Final = {
    # fewest and most strings, and bytes of a number before them
    int(Response.ADDHEADER): (2, 2, 0),
    int(Response.INSHEADER): (2, 2, 4),
    int(Response.CHGHEADER): (2, 2, 4),
    int(Response.ADDRCPT): (1, 1, 0),
    int(Response.ADDRCPT_PAR): (1, 2, 0),
    int(Response.DELRCPT): (1, 1, 0),
    int(Response.CHGFROM): (1, 2, 0),
    int(Response.QUARANTINE): (1, 1, 0),
}
_HEADERS: Final = frozenset({Response.ADDHEADER, Response.INSHEADER, Response.CHGHEADER})


def read_packet(
    packet: Packet, event: str, leading_space: bool, strictness: Strictness
) -> tuple[Action | None, str]:
    """What a packet says, and a warning or ``""``. None is what the MTA passes over."""
    letter, payload = packet
    if letter not in ACTIONS:
        raise MilterFailedError(event, f"expected a response, got {bytes((letter,))!r}", "nonsense")
    if letter == Response.REPLYCODE:
        return _read_reply(payload, event, strictness)
    if event == "end_of_message" and letter in _EDITS:
        return _read_edit(letter, payload, leading_space, strictness)
    try:
        return decode_action(packet, leading_space), ""
    except RemoteProtocolError as error:
        raise MilterFailedError(event, str(error)) from error


# --------------------------------------------------------------------------------------- edits
def _read_edit(
    letter: int, payload: bytes, leading_space: bool, strictness: Strictness
) -> tuple[Action | None, str]:
    fewest, most, width = _EDITS[letter]
    number, strings = payload[:width], payload[width:].split(b"\0")
    is_odd = strings[-1] != b"" or not fewest <= len(strings) - 1 <= most
    warning = ""
    if is_odd:
        warning = f"expected {fewest} to {most} strings in {chr(letter)!r}, got {show_bytes(payload)}"
    if letter in _HEADERS and len(strings) > 1:
        strings[1], note = _folded(strings[1], strictness.continuation)
        warning = warning or note
    try:
        if is_odd:
            raise RemoteProtocolError(f"{fewest} to {most} strings", show_bytes(payload))
        if letter in (Response.ADDRCPT, Response.DELRCPT) and not strings[0].strip(b"<>"):
            return None, f"no address in {chr(letter)!r}"
        if letter == Response.DELRCPT and strictness.routes and strings[0].lstrip(b"<")[:1] == b"@":
            return None, "a recipient with a source route, which Postfix knows without it"
        return decode_action((letter, number + b"\0".join(strings)), leading_space), warning
    except RemoteProtocolError as error:
        if strictness.edits:
            raise MilterFailedError("end_of_message", str(error)) from error
        return None, f"passed over: {error}"


def _folded(value: bytes, continuation: str) -> tuple[bytes, str]:
    """A header value as the MTA folds it: each continuation line begins with white space."""
    folded = re.sub(rb"\n(?![ \t])", b"\n" + continuation.encode(), value)
    if b"\r" in value:
        return folded, "a CR in a header value: a real MTA writes it into the message"
    return folded, "a line break in a header value that no white space follows" * (folded != value)


# ------------------------------------------------------------------------------------- replies
_MALFORMED: Final = "expected an SMTP reply of class 4 or 5, got "


def _read_reply(payload: bytes, event: str, strictness: Strictness) -> tuple[Action, str]:
    text, nul, more = payload.partition(b"\0")
    reply: act.ReplyCode | None = None
    if strictness.replies or (nul and not more):
        reply = _parse_reply(decode_text(text), is_strict=strictness.replies)
    if reply is not None:
        return reply, "" if nul else "a reply without NUL: Postfix sends on what lies behind it"
    if event == "options" or strictness.replies:
        raise MilterFailedError(event, _MALFORMED + show_bytes(payload), "misuse")
    # Sendmail's own text, which here is another than for a plain REJECT
    if event in ("header", "end_of_headers"):
        return act.ReplyCode(550, "5.7.1", "Command rejected"), _MALFORMED + show_bytes(payload)
    return act.Reject(), _MALFORMED + show_bytes(payload)


def _parse_reply(text: str, *, is_strict: bool) -> act.ReplyCode | None:
    """The reply, or None; ``is_strict`` as Postfix, which drops lone percent signs, else as Sendmail."""
    lone_percent = re.compile("(%%)|%")
    if not is_strict and any(not found[1] for found in lone_percent.finditer(text)):
        return None
    text = lone_percent.sub(lambda found: "%" if found[1] else "", text)
    lines = re.split("\r?\n", text)
    if any(not re.match("[45][0-9]{2}", line) or line[:3] != text[:3] for line in lines):
        return None  # both pass on what lacks a code in later lines: that is no reply to a client
    if is_strict and any(len(line) < 4 for line in lines):
        return None
    if is_strict and text[4:5].isdigit() and text[4] != text[0]:
        return None  # it must be the class (milter8.c)
    bare = [line[4:] for line in lines]
    first = bare[0].partition(" ")[0]
    enhanced = first if re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", first) else None
    start = f"{enhanced} " if enhanced else ""
    if (enhanced and enhanced[0] != text[0]) or not all(line.startswith(start) for line in bare):
        # sent on as it is; a ReplyCode carries it in its text
        return exact_reply(int(text[:3]), None, bare)
    return exact_reply(int(text[:3]), enhanced, [line.removeprefix(start) for line in bare])

"""The MTA's side of one connection with a milter: what is said to it, and what its answers mean.

Values and functions only: `say` gives the bytes for an event, `hear` takes the bytes that come back.
No I/O and no SMTP here: a session of mail is `demyjpy.mta.smtp`'s, sockets are `demyjpy.mta.channel`'s.
"""

from typing import Final, TypeAlias

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Action, Modification, Verdict
from demyjpy.codec import EVENTS, ROW_OF_NAME, decode_action, encode_event
from demyjpy.errors import LocalProtocolError, MilterError, RemoteProtocolError
from demyjpy.wire.codes import (
    CHUNK_SIZE,
    MIN_VERSION,
    ProtocolFlag,
    Response,
    Stage,
)
from demyjpy.wire.fields import show_bytes
from demyjpy.wire.framing import NOTHING_UNREAD, Packet, Unread, join_frame, split_frames

MacroPairs: TypeAlias = tuple[tuple[str, str], ...]

MAX_REPLY: Final = 1 << 29
"""The longest packet that Postfix accepts from a milter, in bytes."""

_VERDICTS: Final = (
    act.Continue,
    act.Accept,
    act.Reject,
    act.TemporaryFailure,
    act.Discard,
    act.ReplyCode,
    act.Skip,
)
_EMPTY: Final = frozenset(
    {
        Response.CONTINUE,
        Response.ACCEPT,
        Response.REJECT,
        Response.TEMPFAIL,
        Response.DISCARD,
        Response.SKIP,
        Response.PROGRESS,
        Response.SHUTDOWN,
    }
)
_STAGES: Final = frozenset(int(stage) for stage in Stage)


class MilterFailedError(MilterError):
    """The milter cannot be used any more: it broke the protocol, hung, or went away.

    ``event`` is the name of the event at which it happened.
    """

    def __init__(self, event: str, reason: str) -> None:
        super().__init__(f"the milter failed at {event}: {reason}")
        self.event = event
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.event, self.reason)


@frozen
class Strictness:
    """How an MTA takes what is not quite right.

    ``payloads``: bytes after a verdict are an error. ``protocol_bits``: so are protocol bits that were
    not offered. ``progress_anywhere`` and ``skip_anywhere``: these are taken at every event.
    ``shutdown``: SHUTDOWN is obeyed, not an error.
    """

    payloads: bool
    protocol_bits: bool
    progress_anywhere: bool
    skip_anywhere: bool
    shutdown: bool


@frozen
class Answer:
    """What a milter said to one event: edits in order, the verdict, and signs of life before it."""

    verdict: Verdict | act.Shutdown = act.Continue()
    modifications: tuple[Modification, ...] = ()
    progress: int = 0


@frozen
class Link:
    """One connection with a milter, from the MTA's side.

    ``event`` is the one whose answer is awaited.
    """

    offer: ev.Options
    strictness: Strictness
    agreement: act.Negotiate | None = None
    event: str | None = None
    heard: Answer = Answer()
    unread: Unread = NOTHING_UNREAD
    warnings: tuple[str, ...] = ()

    @property
    def leading_space(self) -> bool:
        """Whether header values go over the wire as they stand after the colon."""
        return self.has(ProtocolFlag.HDR_LEADSPC)

    def has(self, flag: ProtocolFlag) -> bool:
        """Whether a protocol flag was agreed on."""
        return self.agreement is not None and bool(self.agreement.protocol & flag)

    def wants(self, name: str) -> bool:
        """Whether an event is to be sent at all: asked for, and known to that protocol version."""
        row = ROW_OF_NAME[name]
        version = self.agreement.version if self.agreement else 0
        return version >= row.since and not self.has(row.off)

    def replies_to(self, name: str) -> bool:
        """Whether an answer to an event is due."""
        row = ROW_OF_NAME[name]
        return row.replies and not self.has(row.quiet)

    def macro_names(self, stage: Stage) -> tuple[str, ...] | None:
        """The macros that the filter asked for at a stage, or None."""
        lists = dict(self.agreement.macros) if self.agreement else {}
        return lists.get(int(stage))


def start(link: Link) -> tuple[Link, bytes]:
    """The offer, with which everything begins; its answer is awaited."""
    return evolve(link, event="options"), join_frame(*encode_event(link.offer))


def macros(name: str, pairs: MacroPairs) -> bytes:
    """The packet with the macros of an event."""
    return join_frame(*encode_event(ev.DefineMacros(name, pairs)))


def say(link: Link, event: ev.Event) -> tuple[Link, bytes]:
    """The packet for an event. Whether its answer is awaited now is ``link.event``."""
    if link.event is not None:
        raise LocalProtocolError(f"expected the answer to {link.event} before {event!r:.100}")
    letter, payload = encode_event(event, link.leading_space)
    name = EVENTS[letter].name
    frame = join_frame(letter, payload)
    return evolve(link, event=name if link.replies_to(name) else None, heard=Answer()), frame


def body_chunks(body: bytes) -> list[ev.Body]:
    """A body as the MTA cuts it: 65535 bytes each but the last; none for an empty one."""
    return [ev.Body(body[at : at + CHUNK_SIZE]) for at in range(0, len(body), CHUNK_SIZE)]


def hear(link: Link, data: bytes) -> tuple[Link, Answer | None]:
    """After bytes from the milter: the answer once it is complete.

    Empty ``data`` is the end of the connection. What no milter may say raises `MilterFailedError`.
    """
    name = link.event
    if name is None:
        raise LocalProtocolError("expected to wait for an answer, got bytes without one")
    if not data:
        raise MilterFailedError(name, "it closed the connection instead of answering")
    packets, unread = split_frames(link.unread, data, MAX_REPLY)
    link = evolve(link, unread=unread)
    for number, packet in enumerate(packets):
        link = _take(link, name, packet)
        if link.event is None:
            surplus = len(packets) - number - 1
            if surplus:
                # No MTA notices: it takes them for the answer to what it says next.
                link = _warn(link, f"{surplus} packets more than the answer to {name}")
            return link, link.heard
    if unread.error:
        raise MilterFailedError(name, str(unread.error))
    return link, None


def _take(link: Link, name: str, packet: Packet) -> Link:
    letter, payload = packet
    try:
        action = decode_action(packet, link.leading_space)
    except RemoteProtocolError as error:
        if letter == Response.REPLYCODE and name != "options":
            return _end(link, act.ReplyCode(451, "4.3.5", "Server configuration problem"), str(error))
        raise MilterFailedError(name, str(error)) from error
    if name == "options":
        return _negotiated(link, action)
    if payload and letter in _EMPTY and link.strictness.payloads:
        raise MilterFailedError(name, f"expected nothing after {action!r}, got {show_bytes(payload)}")
    at_end = name == "end_of_message"
    strictness = link.strictness
    match action:
        case act.Progress() if at_end or strictness.progress_anywhere:
            return evolve(link, heard=evolve(link.heard, progress=link.heard.progress + 1))
        case act.Shutdown() if strictness.shutdown:
            return evolve(link, event=None, heard=evolve(link.heard, verdict=action))
        case act.Skip() if name != "body" and not strictness.skip_anywhere:
            raise MilterFailedError(name, "expected SKIP at body only")
        case act.Negotiate() | act.Progress() | act.Shutdown() | act.ConnectionFailed():
            raise MilterFailedError(name, f"expected an answer to {name}, got {action!r}")
    if isinstance(action, _VERDICTS):
        return evolve(link, event=None, heard=evolve(link.heard, verdict=action))
    if not at_end:
        raise MilterFailedError(
            name, f"expected modifications at end of message only, got {action!r:.200}"
        )
    return _edit(link, action)


def _end(link: Link, verdict: Verdict, warning: str) -> Link:
    return _warn(evolve(link, event=None, heard=evolve(link.heard, verdict=verdict)), warning)


def _edit(link: Link, action: Modification) -> Link:
    edits = (*link.heard.modifications, action)
    return evolve(link, heard=evolve(link.heard, modifications=edits))


def _warn(link: Link, warning: str) -> Link:
    return evolve(link, warnings=(*link.warnings, warning))


def _negotiated(link: Link, action: Action) -> Link:
    """Check the milter's answer to the offer as the MTA does."""
    offer = link.offer
    if not isinstance(action, act.Negotiate):
        raise MilterFailedError("options", f"expected the answer to the offer, got {action!r}")
    if not MIN_VERSION <= action.version <= offer.version:
        raise MilterFailedError(
            "options",
            f"expected a version from {MIN_VERSION} to {offer.version}, got {action.version}",
        )
    if action.actions & ~offer.actions:
        raise MilterFailedError(
            "options", f"expected actions within {offer.actions!r}, got {action.actions!r}"
        )
    extra = action.protocol & ~offer.protocol
    if extra and link.strictness.protocol_bits:
        raise MilterFailedError("options", f"expected protocol bits within the offer, got {extra!r} too")
    known = tuple((stage, names) for stage, names in action.macros if stage in _STAGES)
    for stage, _ in action.macros:
        if stage not in _STAGES:
            link = _warn(link, f"macros for a stage {stage} that does not exist")
    agreed = evolve(action, protocol=ProtocolFlag(action.protocol & offer.protocol), macros=known)
    return evolve(link, agreement=agreed, event=None)

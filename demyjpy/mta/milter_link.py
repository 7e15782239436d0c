"""The MTA's side of one connection with a milter: what is said to it, and what its answers mean.

Values and functions only: `say` gives the bytes for an event, `hear` takes the bytes that come back.
No I/O and no SMTP here: a session of mail is `demyjpy.mta.smtp`'s, sockets are `demyjpy.mta.channel`'s.
How an MTA takes what is not quite right is `Strictness`; what such packets mean is
`demyjpy.mta.milter_packets`'s.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from attrs import evolve, frozen
from pyrsistent import PVector, pvector

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Action, Modification, Verdict
from demyjpy.codec import EVENTS, ROW_OF_NAME, encode_event
from demyjpy.errors import LocalProtocolError
from demyjpy.mta.milter_packets import FailureKind, MilterFailedError, Strictness, read_packet
from demyjpy.wire.codes import CHUNK_SIZE, ActionFlag, ProtocolFlag, Response, Stage
from demyjpy.wire.fields import show_bytes
from demyjpy.wire.framing import NOTHING_UNREAD, Packet, Unread, join_frame, split_frames

__all__ = [
    "MAX_REPLY",
    "Answer",
    "FailureKind",
    "MacroPairs",
    "MilterFailedError",
    "MilterLink",
    "Strictness",
    "body_chunks",
    "hear",
    "macros",
    "overheard",
    "say",
    "start",
]

MacroPairs: TypeAlias = tuple[tuple[str, str], ...]

MAX_REPLY: Final = 1 << 29
"""The longest packet that Postfix accepts from a milter, in bytes."""

MAX_ANSWER: Final = 64 << 20
"""Bytes of one answer, all its packets together. No MTA has this bound; who plays an MTA needs it."""

MAX_PACKETS: Final = 100_000
"""Packets of one answer, signs of life included."""

_MOST_WARNINGS: Final = 100

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


@frozen
class Answer:
    """What a milter said to one event: edits in order, the verdict, and signs of life before it."""

    verdict: Verdict | act.Shutdown = act.Continue()
    modifications: tuple[Modification, ...] = ()
    progress: int = 0


@frozen
class MilterLink:
    """One connection with a milter, from the MTA's side.

    ``event`` is the one whose answer is awaited; ``last`` the letter of the packet heard before. Of the
    answer ``edits`` are the changes so far, ``size`` and ``count`` its bytes and packets; ``max_answer``
    bounds the bytes.
    ``surplus`` are packets that came behind an answer: the answer to what is said next (`overheard`).
    """

    offer: ev.Options
    strictness: Strictness
    agreement: act.Negotiate | None = None
    event: str | None = None
    heard: Answer = Answer()
    edits: PVector[Modification] = pvector()
    has_body: bool = False
    size: int = 0
    count: int = 0
    max_answer: int = MAX_ANSWER
    last: int = 0
    has_lied: bool = False
    unread: Unread = NOTHING_UNREAD
    surplus: tuple[Packet, ...] = ()
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

    @property
    def macro_lists(self) -> Mapping[int, tuple[str, ...]]:
        """The macros that the filter asked for, by stage."""
        return dict(self.agreement.macros) if self.agreement else {}


def start(link: MilterLink) -> tuple[MilterLink, bytes]:
    """The offer, with which everything begins; its answer is awaited."""
    return _asked(link, "options"), join_frame(*encode_event(link.offer))


def macros(name: str, pairs: MacroPairs) -> bytes:
    """The packet with the macros of an event."""
    return join_frame(*encode_event(ev.DefineMacros(name, pairs)))


def say(link: MilterLink, event: ev.Event) -> tuple[MilterLink, bytes]:
    """The packet for an event. Whether its answer is awaited now is ``link.event``.

    What does not fit a packet raises `LocalProtocolError`.
    """
    if link.event is not None:
        raise LocalProtocolError(f"expected the answer to {link.event} before {event!r:.100}")
    letter, payload = encode_event(event, link.leading_space)
    name = EVENTS[letter].name
    frame = join_frame(letter, payload)
    awaited = name if link.replies_to(name) else None
    return _asked(link, awaited), frame


def _asked(link: MilterLink, event: str | None) -> MilterLink:
    """Nothing of the answer has been heard yet."""
    return evolve(
        link,
        event=event,
        heard=Answer(),
        edits=pvector(),
        has_body=False,
        size=0,
        count=0,
        last=0,
        has_lied=False,
    )


def body_chunks(body: bytes) -> list[ev.Body]:
    """A body as the MTA cuts it: 65535 bytes each but the last; none for an empty one."""
    return [ev.Body(body[at : at + CHUNK_SIZE]) for at in range(0, len(body), CHUNK_SIZE)]


def hear(link: MilterLink, data: bytes) -> tuple[MilterLink, Answer | None]:
    """After bytes from the milter: the answer once it is complete.

    Empty ``data`` is the end of the connection. What no milter may say raises `MilterFailedError`.
    """
    name = link.event
    if name is None:
        raise LocalProtocolError("expected to wait for an answer, got bytes without one")
    if not data:
        gone = "it closed the connection instead of answering"
        raise MilterFailedError(name, gone, said=tuple(link.edits))
    packets, unread = split_frames(link.unread, data, MAX_REPLY)
    link = _weighed(evolve(link, unread=unread), name, len(data), len(packets))
    link, answer = _hear_all(link, name, packets)
    if answer is None and unread.error:
        raise MilterFailedError(name, str(unread.error), said=tuple(link.edits))
    return link, answer


def overheard(link: MilterLink, name: str) -> tuple[MilterLink, Answer | None]:
    """What came too much with an earlier answer, taken for the answer to the event of that name.

    Neither MTA knows to what a packet belongs: what is in its buffer is the answer (Postfix's
    milter8_event(), Sendmail's milter_read()).
    """
    return _hear_all(evolve(link, event=name, surplus=()), name, link.surplus)


def _hear_all(
    link: MilterLink, name: str, packets: Sequence[Packet]
) -> tuple[MilterLink, Answer | None]:
    for number, packet in enumerate(packets, 1):
        try:
            link = evolve(_take(link, name, packet), last=packet[0])
        except MilterFailedError as failure:
            failure.said = tuple(link.edits)
            raise
        if link.event is None:
            surplus = tuple(packets[number:])
            if surplus:
                link = _warn(link, f"{len(surplus)} packets more than the answer to {name}")
            return evolve(link, surplus=surplus), link.heard
    return link, None


def _weighed(link: MilterLink, name: str, size: int, count: int) -> MilterLink:
    """With so many bytes and packets more in the answer, if it is not too much."""
    link = evolve(link, size=link.size + size, count=link.count + count)
    if link.size > link.max_answer:
        why = f"its answer is larger than {link.max_answer} bytes"
    elif link.count > MAX_PACKETS:
        why = f"its answer has more than {MAX_PACKETS} packets"
    else:
        return link
    raise MilterFailedError(name, why, said=tuple(link.edits))


def _take(link: MilterLink, name: str, packet: Packet) -> MilterLink:
    letter, payload = packet
    strictness = link.strictness
    action, warning = read_packet(packet, name, link.leading_space, strictness)
    if warning:
        link = _warn(link, warning)
    if action is None:
        return link
    if name == "options":
        return _negotiated(link, action)
    if payload and letter in _EMPTY and strictness.payloads:
        raise MilterFailedError(name, f"expected nothing after {action!r}, got {show_bytes(payload)}")
    at_end = name == "end_of_message"
    match action:
        case act.Progress() if at_end or strictness.progress_anywhere:
            return evolve(link, heard=evolve(link.heard, progress=link.heard.progress + 1))
        case act.Shutdown() if strictness.shutdown:
            return _answered(link, action)
        case act.Skip() if at_end and not strictness.skip_at_end:
            raise MilterFailedError(name, "expected no SKIP at end of message", "nonsense")
        case act.Negotiate() | act.Progress() | act.Shutdown() | act.ConnectionFailed():
            raise MilterFailedError(name, f"expected an answer to {name}, got {action!r}", "nonsense")
    if not isinstance(action, Modification):
        return _answered(link, action)
    if not at_end:
        expected = "expected modifications at end of message only"
        raise MilterFailedError(name, f"{expected}, got {action!r:.200}", "nonsense")
    return _edited(link, action)


def _answered(link: MilterLink, verdict: Verdict | act.Shutdown) -> MilterLink:
    heard = evolve(link.heard, verdict=verdict, modifications=tuple(link.edits))
    if link.has_lied and isinstance(verdict, (act.Continue, act.Accept)):
        heard = Answer(act.TemporaryFailure(), progress=heard.progress)
    return evolve(link, event=None, heard=heard)


def _edited(link: MilterLink, action: Modification) -> MilterLink:
    strictness = link.strictness
    if isinstance(action, act.ReplaceBody):
        asked = link.agreement.actions if link.agreement else ActionFlag(0)
        if strictness.body_permission and not asked & ActionFlag.CHGBODY:
            return _warn(evolve(link, has_lied=True), "a new body, for which it had not asked")
        if link.has_body and link.last != Response.REPLBODY and strictness.body_in_one:
            raise MilterFailedError(
                "end_of_message", "expected the new body without other packets in between", "misuse"
            )
        link = evolve(link, has_body=True)
    return evolve(link, edits=link.edits.append(action))


def _warn(link: MilterLink, warning: str) -> MilterLink:
    if len(link.warnings) > _MOST_WARNINGS:
        return link
    if len(link.warnings) == _MOST_WARNINGS:
        warning = "there are more warnings, which are left out"
    return evolve(link, warnings=(*link.warnings, warning))


def _negotiated(link: MilterLink, action: Action) -> MilterLink:
    """Check the milter's answer to the offer as the MTA does."""
    offer, strictness = link.offer, link.strictness
    if not isinstance(action, act.Negotiate):
        raise MilterFailedError("options", f"expected the answer to the offer, got {action!r}")
    version = strictness.version(action.version, offer.version)
    if version is None:
        raise MilterFailedError(
            "options", f"expected a version up to {offer.version}, got {action.version}"
        )
    # as numbers: the inverse of flags lacks the bits that have no name
    if int(action.actions) & ~int(offer.actions):
        raise MilterFailedError(
            "options", f"expected actions within {offer.actions!r}, got {action.actions!r}"
        )
    extra = int(action.protocol) & ~int(offer.protocol)
    if extra and strictness.protocol_bits:
        raise MilterFailedError(
            "options", f"expected protocol bits within the offer, got {extra:#x} too"
        )
    known: list[tuple[int, tuple[str, ...]]] = []
    for stage, names in action.macros:
        if stage in _STAGES:
            known.append((stage, names))
            continue
        link = _warn(link, f"macros for a stage {stage} that does not exist")
        if strictness.stages:
            break
    protocol = ProtocolFlag(action.protocol & offer.protocol)
    agreed = evolve(action, version=version, protocol=protocol, macros=tuple(known))
    return evolve(link, agreement=agreed, event=None)

"""What the MTA offers and what the filter wants, to what both agree on.

Never a bit that the MTA did not offer: Sendmail refuses unknown protocol bits, Postfix unknown
actions. What cannot be switched off is answered by the library instead.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Final, TypeAlias

from attrs import evolve, field, frozen

from demyjpy.actions import Negotiate
from demyjpy.codec import ACTIONS, EVENTS, ROW_OF_NAME
from demyjpy.errors import LocalProtocolError, NegotiationError, RemoteProtocolError
from demyjpy.events import Options
from demyjpy.wire.codes import (
    DATA_SIZES,
    MACROS_PER_STAGE,
    MAX_VERSION,
    MIN_VERSION,
    V1_ACTIONS,
    V1_PROTOCOL,
    ActionFlag,
    ProtocolFlag,
    Stage,
)

MacroLists: TypeAlias = tuple[tuple[int, tuple[str, ...]], ...]

_P = ProtocolFlag

ACTION_FLAGS: Final = {row.permission: row.needs for row in ACTIONS.values() if row.permission}
"""The names used in ``actions=`` and ``optional_actions=``, and the permission each stands for."""

EVENT_NAMES: Final = tuple(
    row.name for row in EVENTS.values() if row.name not in ("options", "define_macros", "quit_nc")
)
"""The events that an MTA may send and a filter may handle."""

_STAGES: Final = {row.name: row.stage for row in EVENTS.values() if row.stage is not None}

MACRO_EVENTS: Final = tuple(_STAGES)
"""The events for which macros can be asked for."""

_QUEUE_ID: Final = "i"
_NEEDED: Final = {Stage.CONNECT: "_", Stage.HELO: ""}
"""What the library needs before a message: the client. There is no queue id yet."""

DEFAULT_MACROS: Final[Mapping[str, tuple[str, ...]]] = {
    "connect": ("j", "{daemon_name}", "{daemon_addr}", "v", "_", "{if_name}", "{if_addr}"),
    "hello": ("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"),
    "mail": (
        "i",
        *("{auth_type}", "{auth_authen}", "{auth_author}", "{auth_ssf}"),
        *("{mail_addr}", "{mail_host}", "{mail_mailer}"),
    ),
    "recipient": ("i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
    "data": ("i",),
    "end_of_headers": ("i",),
    "end_of_message": ("i", "{msg_id}"),
}
"""What MTAs send unasked, by event: Postfix 3.7 (``milter_connect_macros`` and the like in global.h,
shown by ``postconf -d``) and Sendmail 8.17 (``confMILTER_MACROS_*`` in cf/m4/cfhead.m4) together."""

_EXTRAS: Final = _P.SKIP | _P.RCPT_REJ | _P.HDR_LEADSPC
_SWITCHABLE: Final = tuple(row for row in EVENTS.values() if row.off)


@frozen
class Wants:
    """What a filter declares. Events and actions by name; ``quiet`` are events never answered.

    ``macros`` maps event names to macro names; ``rejected`` asks for recipients that the MTA refused.
    """

    events: frozenset[str] = frozenset()
    optional_events: frozenset[str] = frozenset()
    quiet: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    optional_actions: frozenset[str] = frozenset()
    macros: Mapping[str, tuple[str, ...]] = field(factory=dict)
    rejected: bool = False


@frozen
class Agreement:
    """What holds for the rest of the connection, read off the answer to the MTA."""

    reply: Negotiate
    actions: frozenset[str]
    off: frozenset[int]
    leading_space: bool
    may_skip: bool
    reports_rejected: bool

    @classmethod
    def of(cls, reply: Negotiate) -> "Agreement":
        """What follows from an answer.

        ``off``: the letters of the commands that are not sent; ``leading_space``: header values go over
        the wire as they stand after the colon; ``may_skip``: SKIP may be said; ``reports_rejected``:
        recipients that the MTA refused are reported.
        """
        return cls(
            reply,
            action_names(reply.actions),
            off=frozenset(int(row.letter) for row in _SWITCHABLE if row.off & reply.protocol),
            leading_space=bool(reply.protocol & _P.HDR_LEADSPC),
            may_skip=bool(reply.protocol & _P.SKIP),
            reports_rejected=bool(reply.protocol & _P.RCPT_REJ),
        )


def agree(offer: Options, wants: Wants) -> Negotiate:
    """The answer to an offer, or `NegotiationError` if something required is missing.

    A protocol version below 2 raises `RemoteProtocolError`.
    """
    if offer.version < MIN_VERSION:
        raise RemoteProtocolError(f"protocol version {MIN_VERSION} or later", f"version {offer.version}")
    version = min(offer.version, MAX_VERSION)
    offered_actions, offered = offered_flags(offer)
    granted = action_names(offered_actions)
    sent = sent_events(wants.events, version)
    missing_actions = wants.actions - granted
    missing_events = wants.events - sent - wants.optional_events
    if missing_actions or missing_events:
        raise NegotiationError(missing_events, missing_actions)
    actions = (wants.actions | wants.optional_actions) & granted
    lists: MacroLists = ()
    if wants.macros and "choose_macros" in granted:
        actions |= {"choose_macros"}
        lists = macro_lists(wants.macros)
    flags = reduce(or_, (ACTION_FLAGS[name] for name in actions), ActionFlag(0))
    return Negotiate(version, flags, _steps(wants, sent) & offered, lists)


def offered_flags(offer: Options) -> tuple[ActionFlag, ProtocolFlag]:
    """The flags of an offer; a word without any means that of version 1, as for libmilter."""
    return offer.actions or V1_ACTIONS, offer.protocol or V1_PROTOCOL


def action_names(flags: ActionFlag) -> frozenset[str]:
    """Action flags by name."""
    return frozenset(name for name, flag in ACTION_FLAGS.items() if flag & flags)


NO_AGREEMENT: Final = Agreement.of(Negotiate(0, ActionFlag(0), _P.NONE))
"""What holds before the negotiation: nothing."""


def sent_events(events: frozenset[str], version: int) -> frozenset[str]:
    """Those of the events that an MTA of this protocol version can send."""
    return frozenset(name for name in events if ROW_OF_NAME[name].since <= version)


def with_data_size(reply: Negotiate, offer: Options, wanted: int) -> Negotiate:
    """The answer with the largest size bit that was offered and is at most ``wanted`` bytes."""
    bits = (bit for bit, size in DATA_SIZES.items() if offer.protocol & bit and size <= wanted)
    return evolve(reply, protocol=reply.protocol | next(bits, _P.NONE))


def check_reply(reply: Negotiate, offer: Options) -> None:
    """Refuse an answer that an MTA would refuse: a higher version, or a bit that it did not offer."""
    offered_actions, offered = offered_flags(offer)
    version = min(offer.version, MAX_VERSION)
    if (
        not MIN_VERSION <= reply.version <= version
        or int(reply.actions) & ~int(offered_actions)
        or int(reply.protocol) & ~int(offered)
    ):
        raise LocalProtocolError(
            f"expected an answer within version {version}, {offered_actions!r} and {offered!r}, "
            f"got {reply!r}"
        )


def _steps(wants: Wants, sent: frozenset[str]) -> ProtocolFlag:
    """Every protocol bit that the filter would like, offered or not."""
    off = (row.off for row in _SWITCHABLE if row.name not in sent)
    quiet = (row.quiet for row in _SWITCHABLE if row.name in sent & wants.quiet)
    extras = _EXTRAS if wants.rejected else _EXTRAS & ~_P.RCPT_REJ
    return reduce(or_, (*off, *quiet), extras)


def macro_lists(macros: Mapping[str, tuple[str, ...]]) -> MacroLists:
    """Macro names by event as lists by stage.

    A list replaces that of the MTA. So each holds what the library needs itself, to name message and
    client in its log, unless the list is full.
    """
    found = {_STAGES[name]: names for name, names in _with_both_ends(macros).items()}
    return tuple((int(stage), _with_own(stage, found[stage])) for stage in sorted(found))


def _with_both_ends(macros: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The same lists, with none or both of those for end of headers and end of message.

    Sendmail honours a list for end of message only if there is one for end of headers too, and
    forgets its own for end of message if there is only the other: one stands in for both.
    """
    found = dict(macros)
    pair = ("end_of_message", "end_of_headers")
    for event, other in (pair, pair[::-1]):
        if event in found:
            found.setdefault(other, found[event])
    return found


def unite_macros(asked: Sequence[Mapping[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """The lists of several filters as one for each event.

    A list replaces that of the MTA, for all filters. So if some of them ask for nothing at an event for
    which others have a list, the MTA's own macros are in it, as many as there is room for.
    """
    if len(asked) < 2:
        return {event: names for one in asked for event, names in one.items()}
    filled = [_with_both_ends(one) for one in asked]
    united: dict[str, tuple[str, ...]] = {}
    for event, stage in _STAGES.items():
        lists = [one[event] for one in filled if event in one]
        if not lists:
            continue
        names = tuple(dict.fromkeys(name for one in lists for name in one))
        if len(lists) < len(filled):
            room = max(len(names), MACROS_PER_STAGE)
            names = tuple(dict.fromkeys((*_with_own(stage, names), *DEFAULT_MACROS[event])))[:room]
        united[event] = names
    return united


def _with_own(stage: Stage, names: tuple[str, ...]) -> tuple[str, ...]:
    own = _NEEDED.get(stage, _QUEUE_ID)
    is_asked = own in {name.strip("{}") for name in names} or len(names) >= MACROS_PER_STAGE
    return names if is_asked or not own else (*names, own)

"""The hot path: what happens a million times a day, in one loop with local variables.

It does what `demyjpy.turn` does, for the plain case only: one filter, no observer, handlers that are
called at once and queue nothing, packets that may come. At the first thing that is not plain it stops,
and the turn takes over from there; a property test holds the two to the same bytes. What it saves,
measured with ``benchmarks/engine.py``: a `Turn` for each read and a `Job` for each event, about three
quarters of the engine's time. Add nothing here that is not on the way of every message.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from attrs import frozen
from pyrsistent import PMap

from demyjpy.actions import Continue
from demyjpy.connection import Connection, Job, Setup, Station
from demyjpy.context import Context
from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.limits import NOTHING_COUNTED
from demyjpy.macros import PASSING, Macros
from demyjpy.negotiation import Agreement
from demyjpy.outcomes import as_exception
from demyjpy.plan import check_plan, encode_answer
from demyjpy.session import IN_MESSAGE, Phase, gives_up, receive
from demyjpy.standing import CLEAR
from demyjpy.stations import MACRO
from demyjpy.wire.codes import Command, Response
from demyjpy.wire.framing import Packet, Unread, join_frame

_C = Command
_RCPT: Final = int(_C.RCPT)
_HEADER: Final = int(_C.HEADER)
_BODY: Final = int(_C.BODY)
_BODYEOB: Final = int(_C.BODYEOB)
_ABORT: Final = int(_C.ABORT)

_LETTERS: Final = tuple(
    int(letter)
    for letter in (
        _C.HELO,
        _C.MAIL,
        _C.RCPT,
        _C.DATA,
        _C.HEADER,
        _C.EOH,
        _C.BODY,
        _C.BODYEOB,
        _C.ABORT,
    )
)
_REPEATED: Final = frozenset({_HEADER, _BODY})
_COUNTED: Final = frozenset({_RCPT, _HEADER, _BODY})
_ENDS: Final = frozenset({_BODYEOB, _ABORT})

_CONTINUE: Final = join_frame(Response.CONTINUE)
_GO_ON: Final = Continue()
_NO_QUEUE: Final = object()


@frozen
class Route:
    """What one command does in one phase, looked up once instead of decided each time."""

    station: Station
    function: Callable[[Any, Context], Any] | None
    answer: bytes
    following: Phase
    begins: bool
    """It opens a message."""
    ends: bool
    """It ends one."""


Lane: TypeAlias = dict[Phase, dict[int, Route]]


def make_lane(setup: Setup, stations: dict[int, Station], agreement: Agreement) -> Lane | None:
    """The routes of a negotiated connection; None where it has nothing that is plain."""
    numbers = {number for station in stations.values() for number, _ in station.chain}
    if setup.observer or numbers - {0} or stations[MACRO].chain:
        return None
    letters = tuple(one for one in _LETTERS if one != _RCPT or not agreement.reports_rejected)
    return {
        phase: {
            letter: route
            for letter in letters
            if (route := _route(setup, stations[letter], phase, agreement.off)) is not None
        }
        for phase in (Phase.CONNECTED, *IN_MESSAGE)
    }


def _route(setup: Setup, station: Station, phase: Phase, off: frozenset[int]) -> Route | None:
    letter, chain = station.letter, station.chain
    if any(setup.defers(handler) for _, handler in chain):
        return None
    try:
        following = receive(phase, letter, off)
    except RemoteProtocolError:
        return None
    if gives_up(phase, letter, off) and letter != _ABORT:
        return None
    is_open = phase in IN_MESSAGE
    begins = not is_open and (following in IN_MESSAGE or letter == _BODYEOB)
    ends = letter == _BODYEOB or (letter == _ABORT and is_open)
    is_handled = bool(chain) and (is_open or letter != _ABORT)
    function = chain[0][1].function if is_handled else None
    answer = _CONTINUE if station.replies else b""
    return Route(station, function, answer, following, begins, ends)


@frozen
class Handover:
    """Where the lane ends: what holds there, the packets that are left, the last handler's outcome."""

    connection: Connection
    packets: list[Packet]
    job: Job | None = None
    outcome: Any = None


def is_plain(connection: Connection) -> bool:
    """Whether the lane may be taken: nothing is waiting, nothing decided, nothing owed."""
    lane = connection.lane
    return (
        lane is not None
        and connection.phase in lane
        and connection.call is None
        and connection.standing is CLEAR
        and not (connection.packets or connection.jobs or connection.is_closed)
    )


def take_lane(connection: Connection, packets: list[Packet], unread: Unread) -> Connection | Handover:
    """Take packets for as long as they are plain."""
    lane: Lane = connection.lane
    agreement, limits, counts = connection.agreement, connection.setup.limits, connection.counts
    phase, ctx, base = connection.phase, connection.context, connection.base
    macros = connection.macros
    leading_space = agreement is not None and agreement.leading_space
    out = b""
    shown: Macros | None = None  # the macros that ctx is known to hold
    repeated = 0  # the command to which the macros of the last one like it apply again
    taken = 0
    job: Job | None = None
    outcome: Any = None
    for letter, payload in packets:
        if letter == MACRO:
            if not payload:
                break
            target = payload[0]
            if target in _REPEATED and not macros.fresh and macros.slots[PASSING] == payload[1:]:
                repeated = target  # Postfix: the same ones before each header field
            else:
                macros = macros.define(target, payload[1:])
                repeated = 0
            taken += 1
            continue
        route = lane[phase].get(letter)
        if route is None or (letter == _BODYEOB and payload):
            break
        station = route.station
        counted = NOTHING_COUNTED if route.begins else counts
        if letter in _COUNTED:
            counted = counted.count(letter, payload)
            if counted.passed(letter, limits):
                break
        try:
            event = station.decode(payload, leading_space)
        except RemoteProtocolError:
            break
        if repeated != letter:
            if repeated:
                macros = macros.define(repeated, macros.slots[PASSING] or b"")
            macros = macros.arrive(letter)
        repeated = 0
        counts = counted
        taken += 1
        if route.begins:
            base = ctx
        phase = route.following
        function = route.function
        if function is not None:
            if shown is not macros:
                if ctx.get("macros") is not macros:
                    ctx = ctx.set("macros", macros)
                shown = macros
            try:
                outcome = function(event, ctx)
            except (Exception, SystemExit) as error:
                outcome = as_exception(error)
            answer = route.answer
            if outcome is not ctx:
                is_context = isinstance(outcome, PMap) and "connection" in outcome
                queue = outcome.get("queue", _NO_QUEUE) if is_context else _NO_QUEUE
                edited = _edited(queue, agreement) if queue and letter == _BODYEOB else None
                if edited is not None:
                    answer = edited
                elif queue != ():
                    replies = station.replies
                    job = Job(station, event, station.chain, replies, replies)
                    phase = Phase.BODY if letter == _BODYEOB else phase
                    break
                ctx = outcome
                shown = None
            out += answer
        else:
            out += route.answer
        if letter in _ENDS:
            macros = macros.end_message()
            shown = None
            if route.ends:
                ctx = remembering(ctx, base)
    if repeated:
        macros = macros.define(repeated, macros.slots[PASSING] or b"")
    after = Connection(
        connection.setup,
        connection.session,
        out,
        None,
        (),
        False,
        phase,
        ctx,
        base,
        None,
        connection.initial,
        macros,
        agreement,
        connection.stations,
        lane,
        1,
        unread,
        counts=counts,
    )
    if taken == len(packets) and job is None and unread.error is None:
        return after
    return Handover(after, packets[taken:], job, outcome)


def _edited(queue: Any, agreement: Agreement | None) -> bytes | None:
    """The answer at end of message where only edits are queued, all of them legal; else None."""
    if agreement is None or not isinstance(queue, tuple):
        return None
    try:
        plan = check_plan(queue, "end_of_message", replies=True, granted=agreement.actions)
    except LocalProtocolError:
        return None
    if plan.verdict is not None:
        return None
    return encode_answer(plan.modifications, _GO_ON, agreement.leading_space)


def remembering(ctx: Context, before: Context) -> Context:
    """An earlier context, with what has been remembered since."""
    connection = ctx.get("connection")
    if isinstance(connection, PMap) and connection is not before.get("connection"):
        return before.set("connection", connection)
    return before

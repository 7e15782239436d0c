"""The hot path: what happens a million times a day, in one loop with local variables.

It does what `demyjpy.engine.turn` does, for the plain case only: no observer, handlers that are called
at once and give no verdict, packets that may come. At the first thing that is not plain it ends, and the
turn goes on from there; a property test holds the two to the same bytes and the same contexts.

It is a generator, one for each connection in the lane: bytes are sent into it, it yields the answer.
What holds is in its local variables from one read to the next, and becomes a `Connection` when
somebody asks. That saves a `Turn` and a `Connection` for each read and a `Job` for each event: of the
513 µs that a message with ten headers took, 458. Add nothing here that is not on the way of every
message.
"""

from collections.abc import Callable, Generator
from struct import Struct
from typing import Any, Final, TypeAlias

from attrs import frozen
from pyrsistent import PMap

from demyjpy import events as ev
from demyjpy.actions import Continue
from demyjpy.context import Context
from demyjpy.engine.connection import Connection, Job, Setup, Station
from demyjpy.engine.limits import NO_END, Counts
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.engine.negotiation import Agreement
from demyjpy.engine.outcomes import as_exception
from demyjpy.engine.phases import IN_MESSAGE, Phase, gives_up, receive
from demyjpy.engine.plan import check_plan, encode_answer
from demyjpy.engine.standing import CLEAR
from demyjpy.engine.stations import DISCONNECT, MACRO
from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.wire.codes import Command, Response
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, rest_of

_C = Command
_HELO: Final = int(_C.HELO)
_MAIL: Final = int(_C.MAIL)
_RCPT: Final = int(_C.RCPT)
_HEADER: Final = int(_C.HEADER)
_BODY: Final = int(_C.BODY)
_BODYEOB: Final = int(_C.BODYEOB)
_ABORT: Final = int(_C.ABORT)
_QUIT: Final = int(_C.QUIT)

_LETTERS: Final = tuple(
    int(letter)
    for letter in (
        _C.CONNECT,
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
_OPENING: Final = frozenset({_HELO, _MAIL})

_take_length: Final = Struct("!I").unpack_from
_CONTINUE: Final = join_frame(Response.CONTINUE)
_GOODBYE: Final = join_frame(_QUIT)
_GO_ON: Final = Continue()


@frozen
class Route:
    """What one command does in one phase, looked up once instead of decided each time."""

    station: Station
    decode: Callable[[bytes, bool], ev.Event]
    calls: tuple[tuple[int, Callable[[Any, Context], Any]], ...]
    """The functions to call, each with its place in the station's chain."""
    answer: bytes
    following: Phase
    begins: bool
    """It opens a message."""
    ends: bool
    """It ends what is said about one."""
    leaves: bool
    """It ends one that was open."""


Routes: TypeAlias = dict[Phase, dict[int, Route]]


def make_routes(setup: Setup, stations: dict[int, Station], agreement: Agreement) -> Routes | None:
    """The routes of a negotiated connection; None where it has nothing that is plain."""
    if setup.observer or stations[MACRO].chain:
        return None
    letters = tuple(one for one in _LETTERS if one != _RCPT or not agreement.reports_rejected)
    return {
        phase: {
            letter: route
            for letter in letters
            if (route := _route(setup, stations[letter], phase, agreement.off)) is not None
        }
        for phase in (Phase.READY, Phase.CONNECTED, *IN_MESSAGE)
    }


def _route(setup: Setup, station: Station, phase: Phase, off: frozenset[int]) -> Route | None:
    letter, chain = station.letter, station.chain
    if any(setup.defers(handler) for _, handler in chain):
        return None
    if letter == _BODY and not chain:
        return None  # which is answered by SKIP, where the MTA knows it
    try:
        following = receive(phase, letter, off)
    except RemoteProtocolError:
        return None
    if gives_up(phase, letter, off) and letter != _ABORT:
        return None
    is_open = phase in IN_MESSAGE
    begins = not is_open and (following in IN_MESSAGE or letter == _BODYEOB)
    is_handled = is_open or letter != _ABORT
    calls = tuple((place, handler.function) for place, (_, handler) in enumerate(chain) if is_handled)
    answer = _CONTINUE if station.replies else b""
    leaves = letter == _BODYEOB or (letter == _ABORT and is_open)
    ends = letter in (_BODYEOB, _ABORT)
    return Route(station, station.decode, calls, answer, following, begins, ends, leaves)


@frozen
class Handover:
    """Where the lane ends: what holds there, and the last handler's outcome if that is what ended it.

    Its connection has the packets that are left; ``data_to_send`` is what those before it brought,
    ``taken`` how many of them the budget counts.
    """

    connection: Connection
    job: Job | None = None
    outcome: Any = None
    taken: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether it ended for others to have their turn."""
        budget = self.connection.setup.budget
        return budget is not None and self.taken >= budget.packets


Lane: TypeAlias = Generator[bytes, bytes | None, Handover]


def is_plain(connection: Connection) -> bool:
    """Whether the lane may be taken: nothing is waiting, nothing decided, nothing owed."""
    routes = connection.routes
    return (
        routes is not None
        and connection.phase in routes
        and connection.call is None
        and connection.standing is CLEAR
        and not (connection.packets or connection.jobs)
    )


def take_lane(connection: Connection) -> Lane:
    """From one plain connection to the next, or to where it is plain no more.

    Give it what was read, it gives the answer; give it None, and it ends.
    """
    routes: Routes = connection.routes
    agreement, limits, budget = connection.agreement, connection.setup.limits, connection.setup.budget
    most, most_answered = (budget.packets, budget.answer) if budget else (NO_END, NO_END)
    seconds, clock = (budget.seconds, budget.clock) if budget else (0.0, None)
    leading_space = agreement is not None and agreement.leading_space
    granted = agreement.actions if agreement is not None else frozenset[str]()
    phase, ctx, base = connection.phase, connection.context, connection.base
    counts, macros, unread = connection.counts, connection.macros, connection.unread
    recipients, headers, size = counts.recipients, counts.headers, counts.size
    header_size = min(limits.header_size, limits.message)  # of what has come, for no body is before it
    here = routes[phase]
    # a slot each, so that there are never more than macro_size; others are the turn's to count
    longest = limits.macro_size // len(macros.slots)
    if macros is not NO_MACROS and max([len(one) for one in macros.slots if one], default=0) > longest:
        longest = 0
    shown: Macros | None = None  # those that ctx is known to hold
    told_for: int | None = None  # the command for which macros have come
    told = b""  # those macros
    met: Macros | None = None  # what came of the last macros with their command, and which these were:
    met_told, met_letter = b"", 0  # Postfix sends the same before each header field
    is_changed = True  # whether a handler has changed the context of this message
    job: Job | None = None
    outcome: Any = None
    event: Any = None
    earlier: list[bytes] = []  # answers to this read, but for the last
    answered = 0  # their bytes
    out = b""
    taken, until = 0, 0.0
    is_closed = False
    while True:
        if taken:  # the read had more than one packet, as it rarely has
            if earlier:
                out, answered = b"".join((*earlier, out)), 0
                earlier.clear()
            taken, until = 0, 0.0
        data = yield out
        out = b""
        if data is None:
            break
        at = 0
        if unread.size:
            unread = unread.with_chunk(data)
            if unread.size < unread.wanted:
                continue
            data, at = unread.joined()
            unread = NOTHING_UNREAD
        stop = len(data)
        while stop - at > 4:
            (length,) = _take_length(data, at)
            after = at + 4 + length
            if after > stop or not 0 < length <= limits.packet:
                break
            letter = data[at + 4]
            if letter == MACRO:
                if not 2 <= length <= longest:
                    break
                target = data[at + 5]
                if target in _OPENING and phase in IN_MESSAGE:
                    break
                if told_for is not None:
                    taken += 1
                    if taken >= most:
                        break
                    if told_for != target:  # or the later ones replace them
                        macros = macros.define(told_for, told)
                told_for, told = target, data[at + 6 : after]
                at = after
                continue
            payload = data[at + 5 : after]
            route = here.get(letter)
            if route is None or (payload and letter == _BODYEOB):
                break
            try:
                event = route.decode(payload, leading_space)
            except RemoteProtocolError:
                break
            if route.begins:
                recipients = headers = size = 0
            if letter == _HEADER:
                if headers >= limits.headers or size + length > header_size:
                    break
                headers += 1
                size += length - 1
            elif letter == _BODY:
                if size + length > limits.message:
                    break
                size += length - 1
            elif length > limits.command_size:
                break
            elif letter == _RCPT:
                if recipients >= limits.recipients:
                    break
                recipients += 1
            at = after
            if told_for == letter:
                if macros is not met or told != met_told or letter != met_letter:
                    macros = met = macros.meet(letter, told)
                    met_told, met_letter = told, letter
            else:
                if told_for is not None:
                    macros = macros.define(told_for, told)
                macros = macros.arrive(letter)
            told_for = None
            if route.begins:
                base = ctx
                is_changed = False
            if route.following is not phase:
                phase = route.following
                here = routes[phase]
            answer = route.answer
            for place, function in route.calls:
                if shown is not macros:
                    if shown is not None or ctx.get("macros") is not macros:
                        ctx = ctx.set("macros", macros)
                    shown = macros
                try:
                    outcome = function(event, ctx)
                except BaseException as error:  # whatever it raises is its failure
                    outcome = as_exception(error)
                if outcome is ctx:
                    continue
                queue = _queue_of(outcome)
                if queue is None or queue:
                    edited = _edited(queue, route, granted, leading_space)
                    if edited is None:
                        job = _job_from(route.station, event, place)
                        break
                    answer = edited
                ctx = outcome
                shown = None
                is_changed = True
            if job is not None:
                if letter == _BODYEOB:
                    phase = Phase.BODY  # until it is answered, a message is open
                break
            if not out:
                out = answer
            elif answer:
                earlier.append(out)
                answered += len(out)
                out = answer
            if route.ends:
                macros = macros.end_message()
                shown = None
                if route.leaves:
                    ctx = remembering(ctx, base) if is_changed else base
            if stop - at <= 4:
                break
            taken += 1  # and more has come, for which others may not have to wait
            if answered + len(out) > most_answered:
                taken = most
            elif clock is not None:
                if not until:
                    until = clock() + seconds
                elif clock() >= until:
                    taken = most
            if taken >= most:
                break
        if at < stop or job is not None:
            if data.startswith(_GOODBYE, at) and job is None and phase not in IN_MESSAGE:
                stations = connection.stations
                is_closed = not (stations[_QUIT].chain or stations[DISCONNECT].chain)
                if is_closed:  # and no handler has anything to say to it, or to the end
                    break
            unread = rest_of(data, at, limits.packet)
            if job is not None or unread.is_ready:
                break
        data = payload = b""  # a packet may be large, and its peer may say no more for hours
        event = None
    if told_for is not None:
        macros = macros.define(told_for, told)
    if is_closed:
        phase, macros = Phase.CLOSED, macros.arrive(_QUIT)
    after_all = Connection(
        connection.setup,
        connection.session,
        b"".join((*earlier, out)),
        is_closed=is_closed,
        phase=phase,
        context=ctx,
        base=base,
        initial=connection.initial,
        macros=macros,
        agreement=agreement,
        stations=connection.stations,
        routes=routes,
        filters=connection.filters,
        unread=unread,
        counts=Counts(recipients, headers, size),
    )
    return Handover(after_all, job, outcome, taken)


def _queue_of(outcome: Any) -> Any:
    """What a handler queued; None where it returned no context."""
    if not isinstance(outcome, PMap):
        return None
    try:
        return outcome["queue"] if "connection" in outcome else None
    except KeyError:
        return None


def _edited(queue: Any, route: Route, granted: frozenset[str], leading_space: bool) -> bytes | None:
    """The answer at end of message where one filter queued only edits, all of them legal; else None."""
    if route.station.letter != _BODYEOB or len(route.calls) > 1 or not isinstance(queue, tuple):
        return None
    try:
        plan = check_plan(queue, "end_of_message", replies=True, granted=granted)
    except LocalProtocolError:
        return None
    if plan.verdict is not None:
        return None
    return encode_answer(plan.modifications, _GO_ON, leading_space)


def _job_from(station: Station, event: ev.Event, place: int) -> Job:
    """The event on its way, when the handlers before ``place`` had nothing to say."""
    said = tuple((number, _GO_ON) for number, _ in station.chain[:place])
    replies = station.replies
    return Job(station, event, station.chain[place:], replies, replies, verdicts=said)


def remembering(ctx: Context, before: Context) -> Context:
    """An earlier context, with what has been remembered since."""
    connection = ctx.get("connection")
    if isinstance(connection, PMap) and connection is not before.get("connection"):
        return before.set("connection", connection)
    return before

"""The hot path: what happens a million times a day, in one loop with local variables.

It does what a `demyjpy.engine.turn.Turn` does, for the plain case only: no observer, handlers that are
called at once and give no verdict, packets that may come. At the first thing that is not plain it ends,
and a turn goes on from there. Property tests hold the two to the same bytes and the same contexts.

It is a generator, one for each connection on it: bytes are sent into it, it yields the answer. What
holds is in its local variables from one read to the next, and becomes a `Connection` when somebody asks.
That saves a `Turn` and a `Connection` for each read and a `Job` for each event. Together with contexts
that are dicts while they are small it took the engine from 513 to 31 µs for a message of `noop`, and
from 130 to 18 µs for one of `bytecount` (docs/benchmarks.md). Add nothing here that is not on the way of
every message.
"""

from collections.abc import Generator
from struct import Struct
from typing import Any, Final, TypeAlias

from attrs import frozen
from pyrsistent import PMap

from demyjpy import events as ev
from demyjpy.engine.connection import Backlog, Connection, Job, Scope
from demyjpy.engine.dispatch import Dispatch
from demyjpy.engine.handler_results import CONTINUE, as_exception
from demyjpy.engine.handling import absorb
from demyjpy.engine.letters import (
    BODY,
    BODYEOB,
    DISCONNECT,
    HEADER,
    HELO,
    MACRO,
    MAIL,
    QUIT,
    RCPT,
)
from demyjpy.engine.limits import Counts, Meter
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.engine.phases import IN_MESSAGE, Phase
from demyjpy.engine.pipeline import receive_data, take_turn
from demyjpy.engine.plan import check_plan, encode_answer
from demyjpy.engine.routes import Route
from demyjpy.engine.scope import remembering
from demyjpy.engine.turn import Turn
from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, rest_of

_OPENING: Final = frozenset({HELO, MAIL})

_take_length: Final = Struct("!I").unpack_from
_GOODBYE: Final = join_frame(QUIT)


@frozen
class Handover:
    """Where the hot path ends: what holds there, and the last outcome if that is what ended it.

    Its connection has the packets that are left; ``data_to_send`` is what those before it brought,
    ``taken`` how many of them the budget counts. ``is_spent``: it ended for others to have their turn.
    """

    connection: Connection
    job: Job | None = None
    outcome: Any = None
    taken: int = 0
    is_spent: bool = False


HotPath: TypeAlias = Generator[bytes, bytes | None, Handover]


class Line:
    """A connection as a driver holds it: on the hot path while that is possible, else a value."""

    __slots__ = ("_connection", "_path")

    def __init__(self, connection: Connection) -> None:
        self.hold(connection)

    def hold(self, connection: Connection) -> None:
        """Go on from this value."""
        self._connection = connection
        self._path: HotPath | None = None

    def leave(self) -> Connection:
        """Leave the hot path until the next read: all that is known now.

        Only for the thread that receives data, or while that one is known to wait for some. Within a
        handler, and after an exception such as KeyboardInterrupt has ended the hot path, it is what
        was known before.
        """
        path: Any = self._path  # for mypy a Generator has no gi_running
        if path is not None and not path.gi_running:
            try:
                path.send(None)
            except StopIteration as end:
                if end.value is not None:
                    self.hold(end.value.connection)
        return self._connection

    @property
    def outline(self) -> Connection:
        """What any thread may ask at any time: on the hot path no more than which session it is."""
        if self._path is None:
            return self._connection
        return Connection(self._connection.setup, self._connection.session)

    def receive_data(self, data: bytes) -> bytes | None:
        """Bytes have come: what to send, if that is all; None if `leave` says more."""
        if self._path is None:
            if not self._connection.is_plain:
                self.hold(receive_data(self._connection, data))
                return None
            self._path = run_hot_path(self._connection)
            next(self._path)
        try:
            return self._path.send(data)
        except StopIteration as end:
            handover: Handover = end.value
        # not before: what is raised while another exception is handled has that one as its context
        self.hold(_take_over(handover))
        return None

    def go_on(self) -> bytes | None:
        """After others have had their turn, if the connection is behind: as after `receive_data`."""
        return self.receive_data(b"")


def _take_over(handover: Handover) -> Connection:
    """Go on where the hot path has ended."""

    def begin(turn: Turn) -> None:
        turn.send(handover.connection.data_to_send)
        turn.intake.meter.taken = handover.taken
        if handover.job is not None:
            job = absorb(turn, handover.job, handover.outcome, None)
            turn.jobs.extend([job] if job else [])

    if handover.connection.is_closed or handover.is_spent:
        return handover.connection
    return take_turn(handover.connection, begin)


def run_hot_path(connection: Connection) -> HotPath:
    """From one plain connection to the next, or to the first thing that is not plain.

    Give it what was read, it gives the answer; give it None, and it ends.
    """
    agreed, scope, limits = connection.agreed, connection.scope, connection.setup.limits
    routes, agreement, budget = agreed.routes or {}, agreed.agreement, connection.setup.budget
    leading_space, granted = agreement.leading_space, agreement.actions
    phase, ctx, base = scope.phase, scope.context, scope.base
    counts, macros, unread = scope.counts, scope.macros, connection.backlog.unread
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
    met_told, met_letter = (
        b"",
        0,
    )  # Postfix sends the same before each header field and chunk of the body
    is_changed = True  # whether a handler has changed the context of this message
    job: Job | None = None
    outcome: Any = None
    event: Any = None
    earlier: list[bytes] = []  # answers to this read, but for the last
    out = b""
    meter = Meter(budget)
    is_closed = is_spent = is_long = False
    while True:
        if is_long:  # the read had more than one packet, as it rarely has
            out = b"".join((*earlier, out))
            earlier.clear()
            meter, is_spent, is_long = Meter(budget), False, False
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
                    break  # MAIL or HELO may end this message, whose abort handlers see older macros
                if told_for is not None:
                    is_long = True
                    meter.taken += 1
                    is_spent = meter.is_used_up()
                    if is_spent:
                        break
                    if told_for != target:  # else these replace them, as in libmilter (section 9.2)
                        macros = macros.define(told_for, told)
                told_for, told = target, data[at + 6 : after]
                at = after
                continue
            payload = data[at + 5 : after]
            route = here.get(letter)
            if route is None or (payload and letter == BODYEOB):
                break  # no MTA sends body with its end today, but libmilter allows it (section 4.8)
            try:
                event = route.dispatch.decode(payload, leading_space)
            except RemoteProtocolError:
                break
            if route.begins:
                recipients = headers = size = 0
            if letter == HEADER:
                if headers >= limits.headers or size + length > header_size:
                    break
                headers += 1
                size += length - 1
            elif letter == BODY:
                if size + length > limits.message:
                    break
                size += length - 1
            elif length > limits.command_size:
                break
            elif letter == RCPT:
                if recipients >= limits.recipients:
                    break
                recipients += 1
            at = after
            if told_for == letter:
                if macros is not met or told != met_told or letter != met_letter:
                    macros = met = macros.meet(letter, told)
                    met_told, met_letter = told, letter
            else:
                # Sendmail and Postfix send macros also for commands that are switched off (section 4.9)
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
                        job = _job_from(route.dispatch, event, place)
                        break
                    answer = edited
                ctx = outcome
                shown = None
                is_changed = True
            if job is not None:
                if letter == BODYEOB:
                    phase = Phase.BODY  # until it is answered, a message is open
                break
            if out and answer:
                earlier.append(out)
            out = answer or out
            if route.ends:  # libmilter keeps the macros of MAIL until others come; nothing leaks here
                macros = macros.end_message()
                shown = None
                if route.leaves:
                    ctx = remembering(ctx, base) if is_changed else base
            if stop - at > 4:  # more has come, for which others may not have to wait
                is_long = True
                meter.taken += 1
                meter.answered += len(answer)
                is_spent = meter.is_used_up()
                if is_spent:
                    break
        if at < stop or job is not None:
            if data.startswith(_GOODBYE, at) and job is None and phase not in IN_MESSAGE:
                table = agreed.table
                is_closed = not (table[QUIT].chain or table[DISCONNECT].chain)
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
        phase, macros = Phase.CLOSED, macros.arrive(QUIT)
    after_all = Connection(
        connection.setup,
        connection.session,
        b"".join((*earlier, out)),
        is_closed=is_closed,
        agreed=agreed,
        scope=Scope(
            phase,
            ctx,
            base,
            None,
            scope.initial,
            macros,
            counts=Counts(recipients, headers, size),
        ),
        backlog=Backlog(unread),
    )
    return Handover(after_all, job, outcome, meter.taken, is_spent)


def _queue_of(outcome: Any) -> Any:
    """What a handler queued; None if it returned no context."""
    is_context = isinstance(outcome, PMap) and "connection" in outcome
    return outcome.get("queue") if is_context else None


def _edited(queue: Any, route: Route, granted: frozenset[str], leading_space: bool) -> bytes | None:
    """The answer at end of message where one filter queued only edits, all of them legal; else None."""
    if route.dispatch.letter != BODYEOB or len(route.calls) > 1 or not isinstance(queue, tuple):
        return None
    try:
        plan = check_plan(queue, "end_of_message", replies=True, granted=granted)
    except LocalProtocolError:
        return None
    if plan.verdict is not None:
        return None
    return encode_answer(plan.modifications, CONTINUE, leading_space)


def _job_from(dispatch: Dispatch, event: ev.Event, place: int) -> Job:
    """The event on its way, when the handlers before ``place`` had nothing to say."""
    said = tuple((number, CONTINUE) for number, _ in dispatch.chain[:place])
    return Job(dispatch, event, dispatch.chain[place:], dispatch.replies, verdicts=said)

"""The hot path: what happens a million times a day, in one loop with local variables.

It does what a `demyjpy.engine.turn.Turn` does, for the plain case only: no observer, handlers that are
called at once and give no verdict, packets that may come. At the first thing that is not plain it ends,
and a turn goes on from there. Property tests hold the two to the same bytes and the same contexts.

It is a generator, one for each connection on it: bytes are sent into it, it yields the answer. What
holds is in its local variables from one read to the next, and becomes a `Connection` when somebody asks.
That saves a `Turn` and a `Connection` for each read and a `Job` for each event.
Add nothing here that is not on the way of every message.
"""

from collections.abc import Generator
from struct import Struct
from typing import Any, Final, TypeAlias

from attrs import evolve

from demyjpy.engine.chain_state import NEW_MESSAGE
from demyjpy.engine.connection import Backlog, Connection, Job, Scope
from demyjpy.engine.handler_results import CONTINUE, as_exception, forget_frames, queue_of
from demyjpy.engine.handling import absorb
from demyjpy.engine.hot_ends import (
    KEPT,
    Handover,
    edits_in,
    job_from,
    most_events,
    most_kept,
    phase_before,
    seen_by,
    with_kept,
)
from demyjpy.engine.known_answers import NotKnown
from demyjpy.engine.letters import ABORT, BODY, BODYEOB, DISCONNECT, HELO, MACRO, MAIL, QUIT, RCPT
from demyjpy.engine.limits import Counts, Meter
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.engine.moment import moment_of
from demyjpy.engine.open_questions import NO_QUESTIONS
from demyjpy.engine.phases import IN_MESSAGE, Phase
from demyjpy.engine.pipeline import hang_up, receive_data, resume, take_answer, take_turn
from demyjpy.engine.plan import encode_answer
from demyjpy.engine.scope import remembering
from demyjpy.engine.tape import ENTRY, Tape, outlined
from demyjpy.engine.turn import Turn
from demyjpy.errors import RemoteProtocolError
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, rest_of

_OPENING: Final = frozenset({HELO, MAIL})
_take_length: Final = Struct("!I").unpack_from
GOODBYE: Final = join_frame(QUIT)

HotPath: TypeAlias = Generator[bytes, bytes | None, Handover]


class Line:
    """A connection as a driver holds it: on the hot path while that is possible, else a value.

    With a ``tape`` what happens is written on it.
    """

    __slots__ = ("_connection", "_path", "_tape")

    def __init__(self, connection: Connection, tape: Tape | None = None) -> None:
        self._tape = tape
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
                self.hold(receive_data(self._connection, data, self._tape))
                return None
            if self._tape is not None:
                self._tape.begin_hot_path(self._connection)
            self._path = run_hot_path(self._connection, self._tape)
            next(self._path)
        try:
            return self._path.send(data)
        except StopIteration as end:
            handover: Handover = end.value
        # not before: what is raised while another exception is handled has that one as its context
        self.hold(_take_over(handover, self._tape))
        return None

    def resume(self, outcome: Any, duration: float | None = None) -> None:
        """The handler that was handed out has returned a context or raised."""
        self.hold(resume(self.leave(), outcome, duration, self._tape))

    def take_answer(self, number: int, outcome: Any, duration: float | None) -> None:
        """The answer to a question has come, or is late."""
        self.hold(take_answer(self.leave(), number, outcome, duration, self._tape))

    def forget_troubles(self) -> None:
        """They are in the log: an exception keeps alive what the handler had. Requests go with them."""
        connection = self.leave()
        if connection.troubles or connection.requests:
            for trouble in connection.troubles:
                forget_frames(trouble.error)
            self.hold(evolve(connection, troubles=(), requests=()))

    def hang_up(self) -> None:
        """The peer has gone, or we leave it."""
        connection = self.leave()
        if not connection.is_closed:
            self.hold(hang_up(connection, self._tape))

    def go_on(self) -> bytes | None:
        """After others have had their turn, if the connection is behind: as after `receive_data`."""
        return self.receive_data(b"")


def _take_over(handover: Handover, tape: Tape | None) -> Connection:
    """Go on where the hot path has ended."""

    def begin(turn: Turn) -> None:
        turn.send(handover.connection.data_to_send, is_new=False)
        turn.intake.meter.taken = handover.taken
        if handover.job is not None:
            if tape is not None and handover.job.packet is not None:
                tape.hear_packet(*handover.job.packet, turn.moment.seconds)
            job, outcome = handover.job, handover.outcome
            if type(outcome) is NotKnown:
                turn.jobs.append(evolve(job, own=outcome.asks))
                return
            following = absorb(turn, job, outcome, handover.duration)
            turn.jobs.extend([following] if following else [])

    if handover.connection.is_closed or handover.is_spent:
        if handover.connection.is_closed and tape is not None:
            tape.cut_as_of(handover.connection)
        return handover.connection
    job = handover.job
    if tape is not None and job is not None and job.dispatch.letter == ABORT:
        tape.cut_as_of(handover.connection, is_open=True)  # until its handlers have run
    return take_turn(handover.connection, begin, tape)


def run_hot_path(connection: Connection, tape: Tape | None = None) -> HotPath:
    """From one plain connection to the next, or to the first thing that is not plain.

    Give it what was read, it gives the answer; give it None, and it ends.
    """
    now: Any = None  # when the last read came, if somebody watches
    duration = 0.0
    heard: Any = None  # what has come, if that is to be on the tape
    mark, is_lean = 0, False  # how much of a read is there; whether bodies are not to be
    if tape is not None:
        handlers, took, results, left = tape.handlers, tape.took, tape.results, tape.left
        clock, wall, is_lean, room = tape.clock, tape.wall, tape.is_lean, tape.room
        heard, times = None if tape.is_silent else tape.heard, tape.times
    agreed, scope, limits = connection.agreed, connection.scope, connection.setup.limits
    routes = (agreed.routes if tape is None else agreed.watched) or {}
    agreement, budget = agreed.agreement, connection.setup.budget
    leading_space = agreement.leading_space
    phase, ctx, base = scope.phase, scope.context, scope.base
    counts, macros, unread = scope.counts, scope.macros, connection.backlog.unread
    moment = moment_of(macros.moment, connection.session, connection.setup.wall)
    recipients, headers, size = counts.recipients, counts.headers, counts.size
    header_size = min(limits.header_size, limits.message)  # of what has come: no body is before it
    here = routes[phase]
    # a slot each, so that there are never more than macro_size; others are the turn's to count
    longest = limits.macro_size // len(macros.slots)
    if macros is not NO_MACROS and max([len(one) for one in macros.slots if one], default=0) > longest:
        longest = 0
    macros = macros.at(moment)
    shown: Macros | None = None  # those that ctx is known to hold
    told_for: int | None = None  # the command for which macros have come
    told = b""  # those macros
    # what came of the last macros with their command, and which these were: Postfix sends the same
    # before each header field and chunk of the body
    met: Macros | None = None
    met_told, met_letter = b"", 0
    is_changed = True  # whether a handler has changed the context of this message
    job: Job | None = None
    outcome: Any = None
    event: Any = None
    exchanges = connection.backlog.exchanges
    edits: tuple[Any, ...] = ()  # those of the message that ends, and whose these are
    editor = 0
    chain, members, asked = scope.chain, agreed.members, recipients  # asked: before this path
    questions = scope.questions
    events: list[Any] = []  # events of the message that filters get as a value at its end
    keeps = members is not None and members.gives_messages
    tells = agreed.facts is not None
    notes = keeps or tells
    most = min(limits.message, most_kept(connection.setup, members)) if keeps else limits.message
    many = most_events(connection.setup) if keeps else 0
    earlier: list[bytes] = []  # answers to this read, except the last
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
        if heard is not None:
            now, mark = wall(), at
        moment.seconds = now
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
            move, weight = route.move, route.weight
            if move.begins:
                recipients = headers = size = 0
            if weight.has_content:
                content, fields = size + length - 1, headers + weight.headers
                if fields > limits.headers or content > (header_size if weight.headers else most):
                    break
                headers, size = fields, content
            elif length > limits.command_size or recipients + weight.recipients > limits.recipients:
                break
            else:
                recipients += weight.recipients
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
            if move.begins:
                base = ctx
                is_changed = False
                chain, asked = NEW_MESSAGE, 0
                if keeps:
                    events.clear()
                if tape is not None:
                    tape.counted = 0
            if move.following is not phase:
                phase = move.following
                here = routes[phase]
            answer = route.answer
            if tells and letter != RCPT and route.keep is not None:
                ctx, is_changed = route.keep(ctx, event), True
            for place, function, handler in route.calls:
                if shown is not macros:
                    if shown is not None or ctx.get("macros") is not macros:
                        ctx = ctx.set("macros", macros)
                    shown = macros
                if tape is not None:
                    started = clock()
                try:
                    outcome = function(event, ctx)
                except BaseException as error:  # whatever it raises is its failure
                    outcome = as_exception(error)
                if outcome is ctx:
                    if tape is not None:
                        took.append(clock() - started)
                        handlers.append(handler)
                    continue
                if tape is not None:
                    duration = clock() - started
                queue = queue_of(outcome)
                if queue is None or queue:
                    plan = edits_in(queue, route, place, members)
                    if plan is None and route.at_once is not None:
                        settled = route.at_once(place, outcome, event, ctx, questions)
                        outcome, queue, ctx, questions = settled
                        plan = edits_in(queue, route, place, members) if queue else None
                    if queue is None or (queue and (plan is None or edits)):
                        exchanges += 1
                        job = job_from(route.dispatch, event, place, payload, exchanges, edits, editor)
                        break
                    if plan is not None:
                        edits, editor = plan.modifications, place
                        answer = encode_answer(edits, CONTINUE, leading_space)
                if tape is not None:
                    results[len(handlers)] = outlined(handler, outcome) if is_lean else outcome
                    handlers.append(handler)
                    took.append(duration)
                ctx = outcome if members is None or not queue else outcome.set("queue", ())
                shown = None
                is_changed = True
            if job is not None:
                phase = move.during
                if keeps and letter in KEPT and letter != RCPT:  # a recipient is kept when it stands
                    events.append(event)
                break
            if notes:
                if keeps and letter in KEPT and length > 1:  # no limit counts chunks without a byte
                    events.append(event)
                    if len(events) > many:
                        most = 0  # what comes next is for the turn, which writes them to a file
                if tells and letter == RCPT and route.keep is not None:  # it stands
                    ctx, is_changed = route.keep(ctx, event), True
            if out and answer:
                earlier.append(out)
            out = answer or out
            if tape is not None:
                if answer:
                    left.append(answer)
                if (
                    is_lean and letter == BODY and heard is not None
                ):  # of which the tape has the size only
                    start = after - 4 - length
                    if start > mark:
                        heard.append(data[mark:start])
                        times.append(now)
                    heard.append(length - 1)
                    times.append(now)
                    mark = after
                if route.leaves:
                    if heard is not None:
                        heard.append(data[mark:after] if mark or after < stop else data)
                        times.append(now)
                        mark = after
                    tape.cut(macros, headers + size, (*edits, CONTINUE) if letter == BODYEOB else ())
                    room = tape.room
            if move.ends:  # libmilter keeps the macros of MAIL until others come; nothing leaks here
                macros = macros.end_message()
                shown, edits = None, ()
                if questions is not NO_QUESTIONS:
                    questions = questions.without("message")
                if route.leaves:
                    ctx = remembering(ctx, base) if is_changed else base
            if stop - at > 4:  # more has come, for which others may not have to wait
                is_long = True
                meter.taken += 1
                meter.answered += len(answer)
                is_spent = meter.is_used_up()
                if is_spent:
                    break
        if tape is not None:
            done = at if job is None else after - 4 - length  # the turn writes down what it goes on with
            if done > mark and heard is not None:
                heard.append(data[mark:done] if mark or done < stop else data)
                times.append(now)
            # mostly an entry; how many they are is looked at if there is more than a packet
            room -= done - mark + ENTRY * (len(tape.heard) + len(handlers) if is_long else 1)
            if room < 0 and job is None:
                tape.cut(macros, headers + size, is_open=phase in IN_MESSAGE)
                room = tape.room
        if at < stop or job is not None:
            if data.startswith(GOODBYE, at) and job is None and phase not in IN_MESSAGE:
                table = agreed.table
                is_closed = not (table[QUIT].chain or table[DISCONNECT].chain)
                if is_closed:  # and no handler has anything to say to it, or to the end
                    if tape is not None:
                        tape.hear(GOODBYE, now)
                    break
            unread = rest_of(data, at, limits.packet)
            if job is not None or unread.is_ready:
                break
        data = payload = b""  # a packet may be large, and its peer may say no more for hours
        event = None
    if told_for is not None:
        macros = macros.define(told_for, told)
    if tape is not None:
        tape.room = room
    if is_closed:
        phase, macros = Phase.CLOSED, macros.arrive(QUIT)
    counts = Counts(recipients, headers, size)
    if members is not None and phase in IN_MESSAGE:
        before = phase if job is None or route is None else phase_before(routes, route)
        chain = seen_by(chain, members, before, (recipients - asked, headers), job, agreement.off)
        chain = with_kept(chain, events) if keeps else chain
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
            counts=counts,
            chain=NEW_MESSAGE if members is None else chain,
            questions=questions,
        ),
        backlog=Backlog(unread, exchanges=exchanges),
    )
    return Handover(after_all, job, outcome, duration if tape else None, meter.taken, is_spent)

"""One turn of the engine: from one `Connection` value to the next.

A `Turn` is made, run and thrown away within one function of `demyjpy.engine.pipeline`; nothing keeps it.
It takes packets in order, sees what may be said (`session`), calls handlers or hands them to the
driver, checks what they queued (`plan`) and settles the answer.
"""

from collections import deque
from typing import Any, Final

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification, Verdict
from demyjpy.codec import EVENTS, encode_action, unknown_letter
from demyjpy.context import Context
from demyjpy.engine.connection import Call, Connection, Job, Setup, Station, Step, Trouble
from demyjpy.engine.lane import Handover, Routes, make_routes, remembering
from demyjpy.engine.limits import NO_END, NOTHING_COUNTED
from demyjpy.engine.macros import NO_MACROS, OPENING_SLOTS, Macros
from demyjpy.engine.negotiation import Agreement, check_reply, with_data_size
from demyjpy.engine.outcomes import (
    apply_policy,
    as_exception,
    check_bodies,
    check_context,
    check_job,
    merge_verdicts,
    take_outcome,
)
from demyjpy.engine.phases import IN_MESSAGE, Phase, gives_up, receive
from demyjpy.engine.plan import EMPTY_PLAN, Plan, encode_answer, in_sending_order
from demyjpy.engine.standing import CLEAR
from demyjpy.engine.stations import DISCONNECT, MACRO, OPTNEG, QUIT_NC, agreed_stations, opening_stations
from demyjpy.errors import HandlerError, LimitError, LocalProtocolError, RemoteProtocolError
from demyjpy.handlers import as_registry
from demyjpy.registry import Handler, Registry
from demyjpy.verdicts import LEGAL, decides, ends_message, strictest
from demyjpy.wire.codes import Command, Response
from demyjpy.wire.framing import Frames, Packet, join_frame

_C = Command
_CONNECT: Final = int(_C.CONNECT)
_HELO: Final = int(_C.HELO)
_MAIL: Final = int(_C.MAIL)
_RCPT: Final = int(_C.RCPT)
_HEADER: Final = int(_C.HEADER)
_BODY: Final = int(_C.BODY)
_BODYEOB: Final = int(_C.BODYEOB)
_UNKNOWN: Final = int(_C.UNKNOWN)
_ABORT: Final = int(_C.ABORT)
_QUIT: Final = int(_C.QUIT)

_TEARDOWN: Final = frozenset({_ABORT, _QUIT, QUIT_NC, DISCONNECT})
"""What runs to its end although nobody listens any more."""

_ANSWERED: Final = frozenset(letter for letter, row in EVENTS.items() if row.name in LEGAL)
"""Letters of the events that a filter may answer."""

_COMMANDS: Final = frozenset({_CONNECT, _HELO, _MAIL, _RCPT, _UNKNOWN})
"""Letters of what comes from a line of SMTP, which is short."""

_OF_CONNECTION: Final = frozenset({_CONNECT, _HELO})
"""Letters of the events whose verdicts hold for the connection."""

_OF_MESSAGE: Final = _ANSWERED - _OF_CONNECTION
"""Letters of the events of a message."""

_OF_DONE: Final = _ANSWERED | {_ABORT}
"""Letters of the events that a filter no longer gets once it has accepted."""

_CONTINUE: Final = act.Continue()
_CONTINUE_PACKET: Final = join_frame(Response.CONTINUE)

_TOO_BIG: Final = act.ReplyCode(552, "5.3.4", "Message too big for this filter")
_TOO_MANY_RECIPIENTS: Final = act.ReplyCode(452, "4.5.3", "Too many recipients for this filter")


def _settle_options(
    setup: Setup, registry: Registry, offer: ev.Options, said: act.Negotiate
) -> tuple[Agreement, dict[int, Station], Routes | None, bytes]:
    """What an answer to an offer comes to: for the connection, and as bytes; or why it may not be."""
    check_reply(said, offer)
    reply = with_data_size(said, offer, setup.limits.data_size)
    agreement = Agreement.of(reply)
    stations = agreed_stations(registry, reply, observed=setup.observer is not None)
    routes = make_routes(setup, stations, agreement)
    return agreement, stations, routes, join_frame(*encode_action(reply))


def _told(job: Job) -> set[int]:
    """The filters that know by this event that the message ends: it is its end, or they ended it."""
    name = job.station.name
    return {number for number, verdict in job.verdicts if ends_message(name, verdict)}


class Turn:
    """The state of one turn; see the module."""

    def __init__(self, connection: Connection) -> None:
        self._setup = connection.setup
        self._session = connection.session
        self._phase = connection.phase
        self._ctx = connection.context
        self._base = connection.base
        self._prelude = connection.prelude
        self._initial = connection.initial
        self._macros = connection.macros
        self._agreement = connection.agreement
        self._stations = connection.stations
        self._routes = connection.routes
        self._filters = connection.filters
        self._frames = Frames(connection.unread, connection.setup.limits.packet)
        self._packets = deque(connection.packets)
        self._jobs = deque(connection.jobs)
        self._job = connection.job
        self._call = connection.call
        self._ending = connection.is_ending
        self._closed = connection.is_closed
        self._standing = connection.standing
        self._counts = connection.counts
        self._exchanges = connection.exchanges
        self._out: list[bytes] = []
        self._taken = self._answered = 0  # packets; bytes
        self._until = 0.0
        self._troubles: list[Trouble] = []

    def result(self) -> Connection:
        """The next value."""
        return Connection(
            self._setup,
            self._session,
            b"".join(self._out),
            self._call,
            tuple(self._troubles),
            self._closed,
            self._phase,
            self._ctx,
            self._base,
            self._prelude,
            self._initial,
            self._macros,
            self._agreement,
            self._stations,
            self._routes,
            self._filters,
            self._frames.rest(),
            tuple(self._packets),
            tuple(self._jobs),
            self._job,
            self._ending,
            self._standing,
            self._counts,
            self._exchanges,
        )

    # ------------------------------------------------------------------------- what drivers say
    def open(self, ctx: Context) -> None:
        """A connection begins: the user's ``on_connect`` makes its context."""
        try:
            ctx = self._setup.on_connect(ctx)
            registry = as_registry(check_context(ctx)["handlers"])
        except BaseException as problem:  # whatever it raises is its failure
            error = as_exception(problem)
            self._trouble(error, "on_connect")
            self._closed = True
            return
        self._ctx = self._initial = ctx
        self._stations = opening_stations(registry)

    def receive_data(self, data: bytes) -> None:
        """Bytes have come."""
        if not self._closed and not self._ending and self._phase is not Phase.CLOSED:
            self._frames.add(data)

    def take_over(self, handover: Handover) -> None:
        """Go on where the lane ended."""
        self._send(handover.connection.data_to_send)
        self._taken = handover.taken
        if handover.job is not None:
            handler = handover.job.chain[0][1]
            job = self._absorb(handover.job, handler, handover.outcome, None)
            self._jobs.extend([job] if job else [])

    def resume(self, outcome: Context | Exception, duration: float | None) -> None:
        """The call that was out has come back."""
        call, job = self._call, self._job
        if call is None or job is None:
            raise LocalProtocolError("expected resume after a connection with a call, got no call")
        self._call = self._job = None
        self._taken = NO_END  # a handler that has run apart is enough for one turn
        job = self._absorb(job, call.handler, outcome, duration)
        if job is not None and (job.station.letter in _TEARDOWN or not self._ending):
            self._jobs.appendleft(job)
        elif job is not None and job.station.letter == _MAIL:  # the others have seen no message begin
            self._standing = self._standing.tell(number for number, _ in job.chain)
        if self._ending:
            self._ending = False
            self.hang_up()

    def hang_up(self) -> None:
        """The peer is gone, or we leave it."""
        if self._call:
            self._ending = True
            return
        self._packets.clear()
        self._frames.drop()
        if any(job.station.letter == DISCONNECT for job in self._jobs):
            self._phase = Phase.CLOSED
        if self._closed or self._phase is Phase.CLOSED:
            return
        self._end_open_message(refresh=True)
        self._phase = Phase.CLOSED
        self._jobs.append(self._farewell())

    def run(self) -> None:
        """Until there is nothing to do, or a handler is handed out, or the budget is used up."""
        while self._call is None and not self._closed:
            if self._jobs:
                self._work(self._jobs.popleft())
                continue
            if self._is_spent():
                break
            try:
                packet = self._packets.popleft() if self._packets else self._frames.take()
                if packet is None:
                    break
                self._taken += 1
                self._receive(*packet)
            except RemoteProtocolError as error:
                self._give_up(error)

    def _is_spent(self) -> bool:
        """Whether what is left has to wait for its turn."""
        budget = self._setup.budget
        if budget is None or self._taken < 2:  # macros and their command
            return False
        if self._taken >= budget.packets or self._answered > budget.answer:
            return True
        if budget.clock is None or not (self._packets or self._frames.rest().is_ready):
            return False
        now = budget.clock()
        self._until = self._until or now + budget.seconds
        return now >= self._until

    def _send(self, data: bytes) -> None:
        self._out.append(data)
        self._answered += len(data)

    def _give_up(self, error: Exception) -> None:
        # whose frames hold this turn, which holds the error, and all that the peer has said
        self._trouble(error.with_traceback(None))
        self.hang_up()

    # ------------------------------------------------------------------------------ one packet
    def _receive(self, letter: int, payload: bytes) -> None:
        """Take one packet; `RemoteProtocolError` if it may not come, or not like this."""
        self._check_command(letter, payload)
        phase = self._phase
        agreement = self._agreement
        off = agreement.off if agreement else frozenset[int]()
        following = receive(phase, letter, off)
        if letter != MACRO and self._prelude is not None:
            self._leave_prelude(following)
        if letter in _TEARDOWN:
            self._macros = self._macros.arrive(letter)
        if gives_up(phase, letter, off):
            # macros for MAIL or HELO that have come are the next message's: those before were kept then
            is_shown = bool(self._macros.fresh & OPENING_SLOTS)
            said = (letter, payload) if letter == _ABORT else None
            self._end_open_message(refresh=letter in _TEARDOWN or not is_shown, packet=said)
            if letter != _ABORT:
                self._packets.appendleft((letter, payload))
            return
        if letter == _ABORT:
            self._macros = self._macros.end_message()
            if self._setup.observer:
                self._refresh_macros()  # what stood before MAIL may hold older ones
            packet = (letter, payload)
            number = self._count_exchange()
            step = Step(self._session, ev.Abort(), self._ctx, self._ctx, packet=packet, exchange=number)
            self._observe(step)
            return
        station = self._stations[letter]
        if letter == MACRO:
            self._define_macros(station, payload)
            return
        if letter not in _TEARDOWN:
            self._macros = self._macros.arrive(letter)
        if letter == _BODYEOB and payload and self._stations[_BODY].chain:
            # the last chunk may come with the end: one answer for both
            self._packets.appendleft((_BODYEOB, b""))
            self._enter(phase, receive(phase, _BODY, off))
            self._schedule(self._stations[_BODY], ev.Body(payload), payload, last_chunk=True)
            return
        event = station.decode(payload, agreement is not None and agreement.leading_space)
        if letter == _BODYEOB:
            following = Phase.BODY  # until it is answered, a message is open at its end too
        if letter not in _TEARDOWN:
            self._enter(phase, following)
        self._schedule(station, event, payload)

    def _check_command(self, letter: int, payload: bytes) -> None:
        if letter not in EVENTS:
            raise unknown_letter("a command that the MTA sends", (letter, payload))
        size, most = len(payload), self._setup.limits.command_size
        if size > most and letter in _COMMANDS:
            raise LimitError(f"at most {most} bytes of a command (the option limits=)", f"{size}")

    def _enter(self, phase: Phase, following: Phase) -> None:
        self._phase = following
        if following in IN_MESSAGE and phase not in IN_MESSAGE:
            self._begin_message()

    def _leave_prelude(self, following: Phase) -> None:
        """What a macro handler stored before a message belongs to that message, or to none."""
        if self._phase not in IN_MESSAGE and following not in IN_MESSAGE:
            self._ctx = remembering(self._ctx, self._prelude or self._ctx)
            self._prelude = None

    def _define_macros(self, station: Station, payload: bytes) -> None:
        if not payload:
            raise RemoteProtocolError("a macro packet with the letter of its command", "nothing")
        defined, most = self._macros.define(payload[0], payload[1:]), self._setup.limits.macro_size
        if defined.size > most:
            raise LimitError(f"at most {most} bytes of macros (the option limits=)", f"{defined.size}")
        if payload[0] in (_MAIL, _HELO) and self._phase in IN_MESSAGE:
            self._refresh_macros()  # for the abort handlers of the message that these may end
        if station.chain:
            if (
                self._phase not in IN_MESSAGE
                and self._prelude is None
                and payload[0] not in (_CONNECT, _HELO)
            ):
                self._prelude = self._ctx
            self._schedule(station, station.decode(payload, False), payload)
        else:
            self._macros = defined

    def _begin_message(self) -> None:
        self._base = self._ctx if self._prelude is None else self._prelude
        self._prelude = None
        self._standing = self._standing.between_messages()
        self._counts = NOTHING_COUNTED

    def _over_limit(self, letter: int, payload: bytes) -> Verdict | None:
        """Count; what is answered where a limit is passed. It is logged once a message."""
        before, limits = self._counts, self._setup.limits
        self._counts = before.count(letter, payload)
        if self._counts is before:
            return None
        passed = self._counts.passed(letter, limits)
        if passed is None:
            return None
        if self._standing.owed is None and before.passed(letter, limits) is None:
            error = LimitError(f"at most {passed} (the option limits=)", "more")
            self._trouble(error, EVENTS[letter].name)
        return _TOO_MANY_RECIPIENTS if letter == _RCPT else _TOO_BIG

    def _schedule(
        self, station: Station, event: ev.Event, payload: bytes = b"", last_chunk: bool = False
    ) -> None:
        """Set an event on its way."""
        letter, replies, may_answer = station.letter, station.replies, station.replies
        chain = self._still_due(station)
        over = self._over_limit(letter, payload)
        if over is not None and not replies:
            self._standing = self._standing.owe(over, None, of_connection=False)
        if letter == _RCPT and self._is_rejected():
            chain = tuple((number, handler) for number, handler in chain if handler.rejected)
            may_answer = False
        forced = None
        if letter in _ANSWERED and letter != _UNKNOWN:
            if may_answer:
                forced = over or (None if last_chunk else self._standing.owed)
            if forced or (self._standing.owed and self._phase in IN_MESSAGE):
                chain = ()  # what will be answered is settled
                if letter == _MAIL:  # nobody sees this message
                    self._standing = self._standing.tell(range(self._filters))
        said = (_BODYEOB if last_chunk else letter, payload)
        self._jobs.append(
            Job(
                station,
                event,
                chain,
                replies,
                may_answer,
                forced,
                last_chunk,
                packet=said,
                exchange=self._count_exchange(),
            )
        )

    def _count_exchange(self) -> int:
        self._exchanges += 1
        return self._exchanges

    def _is_rejected(self) -> bool:
        """Whether the MTA itself has refused the recipient at hand."""
        reports = self._agreement is not None and self._agreement.reports_rejected
        return reports and self._macros.get("rcpt_mailer") == "error"

    def _still_due(self, station: Station) -> tuple[tuple[int, Handler[Any]], ...]:
        """The handlers of those filters that are not done with this message, or body."""
        standing = self._standing
        over = standing.done | standing.skipped if station.letter == _BODY else standing.done
        if station.letter == _ABORT:
            over -= standing.failed
        if not over or station.letter not in _OF_DONE:
            return station.chain
        return tuple((number, handler) for number, handler in station.chain if number not in over)

    # ----------------------------------------------------------------------------- one event
    def _work(self, job: Job) -> None:
        """Run the handlers of an event, until the end or until one is for the driver to call."""
        clock = self._setup.clock
        while job.chain:
            handler = job.chain[0][1]
            letter = job.station.letter
            if letter != _ABORT:
                self._refresh_macros()
            if self._setup.defers(handler):
                self._job = job
                progress = handler.progress if letter == _BODYEOB else None
                self._call = Call(handler, job.event, self._ctx, progress)
                return
            started = clock() if clock else 0.0
            outcome: Any
            try:
                outcome = handler.function(job.event, self._ctx)
            except BaseException as error:  # whatever it raises is its failure
                outcome = as_exception(error)
            following = self._absorb(job, handler, outcome, clock() - started if clock else None)
            if following is None:
                return
            job = following
        self._conclude(job)

    def _refresh_macros(self) -> None:
        """The context holds the macros in force, from the time that a handler may look."""
        if self._ctx.get("macros") is not self._macros:
            self._ctx = self._ctx.set("macros", self._macros)

    def _absorb(
        self, job: Job, handler: Handler[Any], outcome: Any, duration: float | None
    ) -> Job | None:
        """Take what a handler returned or raised; None where the connection is given up."""
        before, letter = self._ctx, job.station.letter
        number = job.chain[0][0]
        actions: tuple[Any, ...] = ()
        error: Exception | None = None
        plan, after = EMPTY_PLAN, before
        if isinstance(outcome, Exception):
            error = outcome
        elif outcome is not before:
            try:
                actions, after = take_outcome(outcome, handler)
                plan = check_job(job, handler, actions, self._granted())
            except Exception as problem:
                error = problem
        if error is not None:
            if letter == OPTNEG:
                self._trouble(error, job.station.name, handler)
                self.hang_up()
                return None
            after, plan = self._apply_policy(error, job, handler, number)
        self._ctx = after
        step = job.step
        if self._setup.observer:
            if step:
                self._observe(step)
            step = Step(
                self._session,
                job.event,
                before,
                after,
                handler,
                actions,
                error=error,
                duration=duration,
                packet=job.packet,
                exchange=job.exchange,
            )
        edits = job.modifications
        if plan.modifications:
            edits = (*edits, *((number, edit) for edit in plan.modifications))
        verdicts = (*job.verdicts, (number, plan.verdict or _CONTINUE))
        # not evolve(), which takes four times as long
        return Job(
            job.station,
            job.event,
            job.chain[1:],
            job.replies,
            job.may_answer,
            job.forced,
            job.last_chunk,
            verdicts,
            edits,
            step,
            job.packet,
            job.exchange,
        )

    def _apply_policy(
        self, error: Exception, job: Job, handler: Handler[Any], number: int, *, raised: bool = True
    ) -> tuple[Context, Plan]:
        """What ``on_error`` makes of a handler that failed: a context and a plan.

        ``raised``: it failed by itself, and so was not told the end of a message that ends with it.
        """
        name, letter = job.station.name, job.station.letter
        self._trouble(error, name, handler)
        on_error = self._setup.on_error
        after, plan, second = apply_policy(on_error, error, job, handler, self._ctx, self._granted())
        if second:
            self._trouble(second, name, handler)
        if job.replies and not job.may_answer:
            return after, EMPTY_PLAN
        if raised and letter in _OF_MESSAGE and ends_message(name, plan.verdict or _CONTINUE):
            self._standing = self._standing.fail(number)
        if job.may_answer:
            return after, plan
        if plan.verdict:
            of_connection = letter in _OF_CONNECTION
            self._standing = self._standing.owe(plan.verdict, number, of_connection=of_connection)
        return after, EMPTY_PLAN

    def _granted(self) -> frozenset[str]:
        return self._agreement.actions if self._agreement else frozenset()

    # --------------------------------------------------------------------------- conclusions
    def _conclude(self, job: Job) -> None:
        """All handlers of an event have run."""
        letter = job.station.letter
        if letter in _ANSWERED:
            self._settle(job)
            return
        if letter == OPTNEG:
            self._conclude_options(job)
            return
        self._observe_job(job)
        if letter == MACRO:
            # A context keeps the macros of its own command: these are for the one to come.
            found, self._ctx = self._ctx.get("macros"), self._ctx.set("macros", self._macros)
            self._macros = found if isinstance(found, Macros) else self._macros
        elif letter == _ABORT:
            self._leave_message()
        elif letter == _QUIT:
            self.hang_up()
        elif letter == QUIT_NC:
            if self._phase is not Phase.CLOSED:
                self._phase = Phase.READY
                self._jobs.append(self._farewell())
        elif self._phase is Phase.CLOSED:
            self._closed = True
        else:
            self._renew()

    def _conclude_options(self, job: Job) -> None:
        """The negotiation is over: its answer holds for as long as the socket does."""
        offer = job.event
        replies = [one for _, one in job.modifications if isinstance(one, act.Negotiate)]
        try:
            if not replies or not isinstance(offer, ev.Options):
                raise HandlerError(
                    "expected the options handler to queue Negotiate, got no answer: call "
                    "default_event_handler(event, ctx) in it"
                )
            registry = as_registry(self._ctx["handlers"])
            setup, said = self._setup, replies[-1]
            settled = registry.once(
                ("settled", offer, said, setup.limits.data_size, setup.observer is None, setup.defers),
                lambda: _settle_options(setup, registry, offer, said),
            )
        except Exception as error:
            self._trouble(error, "options")
            self.hang_up()
            return
        self._agreement, self._stations, self._routes, packet = settled
        self._filters = len(registry.parts)
        self._initial = self._ctx
        self._phase = Phase.READY
        self._send(packet)
        self._observe_job(job, (self._agreement.reply,), packet)

    def _settle(self, job: Job) -> None:
        """Decide the answer to an event, send it where one is due, and see what ends with it."""
        letter = job.station.letter
        verdict = job.forced or self._merge_verdicts(job)
        edits: tuple[Modification, ...] = ()
        if letter == _BODYEOB and not job.forced:
            edits, verdict = self._merge_edits(job, verdict)
        sent = b""
        waits = job.last_chunk and not decides(verdict)
        if job.replies and not waits:
            leading_space = self._agreement is not None and self._agreement.leading_space
            if verdict is _CONTINUE and not edits:
                sent = _CONTINUE_PACKET
            else:
                sent = encode_answer(edits, verdict, leading_space)
            self._send(sent)
        self._observe_job(job, (*edits, verdict) if sent else (), sent)
        if sent and self._phase in IN_MESSAGE and ends_message(job.station.name, verdict):
            if job.last_chunk:
                self._packets.popleft()  # its end has been answered
            self._refresh_macros()  # for abort handlers, where no other has looked
            self._end_message(self._surprised(job))

    def _merge_verdicts(self, job: Job) -> Verdict:
        """What all filters together answer; those that accept, or skip the body, are remembered."""
        of_connection = job.station.letter in _OF_CONNECTION
        self._standing = self._standing.hear(job.verdicts, of_connection=of_connection)
        readers = (number for number, _ in self._stations[_BODY].chain)
        verdict = merge_verdicts(job, self._filters, self._standing, readers)
        if isinstance(verdict, act.Skip) and not (self._agreement and self._agreement.may_skip):
            return _CONTINUE
        return verdict

    def _merge_edits(self, job: Job, verdict: Verdict) -> tuple[tuple[Modification, ...], Verdict]:
        """The edits of all filters, in order; two that replace the body are an error."""
        handlers = dict(self._stations[_BODYEOB].chain)
        error = check_bodies(job.modifications, handlers)
        if error:
            number = max(n for n, edit in job.modifications if isinstance(edit, act.ReplaceBody))
            _, plan = self._apply_policy(error, job, handlers[number], number, raised=False)
            return plan.modifications, strictest([plan.verdict or _CONTINUE, verdict])
        return in_sending_order(edit for _, edit in job.modifications), verdict

    # ------------------------------------------------------------------- the end of a message
    def _surprised(self, job: Job) -> tuple[tuple[int, Handler[Any]], ...]:
        """Abort handlers of filters that neither ended this message themselves nor saw its end."""
        chain = self._still_due(self._stations[_ABORT])
        letter, failed = job.station.letter, self._standing.failed
        if job.forced:
            return () if letter == _MAIL else chain
        told = {number for number, _ in chain} if letter == _BODYEOB else _told(job)
        return tuple(one for one in chain if one[0] in failed or one[0] not in told)

    def _end_open_message(self, refresh: bool, packet: Packet | None = None) -> None:
        """The message that is open, if any, is given up; ``packet`` is what said so, if anything."""
        if self._phase in IN_MESSAGE:
            if refresh:
                self._refresh_macros()
            self._end_message(self._still_due(self._stations[_ABORT]), given_up=True, packet=packet)

    def _end_message(
        self,
        aborted: tuple[tuple[int, Handler[Any]], ...],
        *,
        given_up: bool = False,
        packet: Packet | None = None,
    ) -> None:
        self._phase = Phase.CONNECTED
        if aborted or (given_up and self._setup.observer):
            number = self._count_exchange()
            station = self._stations[_ABORT]
            job = Job(station, ev.Abort(), aborted, replies=False, packet=packet, exchange=number)
            self._jobs.append(job)
        else:
            self._leave_message()

    def _leave_message(self) -> None:
        """Back to what stood before MAIL; what was remembered stays."""
        self._ctx = remembering(self._ctx, self._base)
        self._macros = self._macros.end_message()
        self._standing = self._standing.between_messages()

    def _farewell(self) -> Job:
        station = self._stations[DISCONNECT]
        number = self._count_exchange()
        return Job(station, ev.Disconnect(), station.chain, replies=False, exchange=number)

    def _renew(self) -> None:
        """QUIT_NC: a new session begins on the same socket, with what was negotiated."""
        self._ctx = self._initial
        self._macros = NO_MACROS
        self._standing = CLEAR

    # ------------------------------------------------------------------------- what is told
    def _trouble(
        self, error: Exception, event: str | None = None, handler: Handler[Any] | None = None
    ) -> None:
        name = handler.name if handler else None
        where = self._macros.get("i"), self._macros.client
        self._troubles.append(Trouble(error, event, name, *where))

    def _observe_job(self, job: Job, answer: tuple[Any, ...] = (), sent: bytes = b"") -> None:
        if self._setup.observer:
            if job.step is None and job.station.letter in _ANSWERED:
                self._refresh_macros()  # an observer looks where no handler did
            step = job.step or Step(
                self._session, job.event, self._ctx, self._ctx, packet=job.packet, exchange=job.exchange
            )
            if sent:
                step = Step(
                    step.session,
                    step.event,
                    step.before,
                    step.after,
                    step.handler,
                    step.actions,
                    answer,
                    sent,
                    step.error,
                    step.duration,
                    step.packet,
                    step.exchange,
                )
            self._observe(step)

    def _observe(self, step: Step) -> None:
        if self._setup.observer:
            try:
                self._setup.observer(step)
            except BaseException as error:  # whatever it raises is its failure
                self._trouble(as_exception(error), "observer")

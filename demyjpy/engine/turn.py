"""One turn of the engine: what is changed on the way from one `Connection` value to the next.

A `Turn` is made, run and thrown away within one function of `demyjpy.engine.pipeline`; nothing keeps
it. What is done with it lies in the order of a packet's way: it comes (`arrival`), its handlers run
(`handling`), and what they said is answered (`conclusions`). Here is what all of these need: what is
sent, logged and observed, and how messages and connections end.

A filter that saw a message begin and did not see its end gets `abort`, once. An MTA may say ABORT when
no message is open, and more than once (protocol file, section 8.6): that does nothing.
"""

from collections import deque
from typing import Any, Final

from attrs import evolve

from demyjpy import events as ev
from demyjpy.actions import Verdict
from demyjpy.effects import Do, is_due
from demyjpy.engine.chain_state import unknowing
from demyjpy.engine.connection import Backlog, Connection, Job, Requested, Setup, Step, Trouble
from demyjpy.engine.dispatch import ANSWERED, Chain
from demyjpy.engine.handler_results import as_exception
from demyjpy.engine.letters import ABORT, BODYEOB, DISCONNECT, MACRO, MAIL, SPOOL
from demyjpy.engine.limits import Meter
from demyjpy.engine.moment import Moment, moment_of
from demyjpy.engine.open_questions import Lasts, Learned, Wait
from demyjpy.engine.phases import IN_MESSAGE, Phase
from demyjpy.engine.scope import OpenScope
from demyjpy.engine.tape import Tape
from demyjpy.message import Message
from demyjpy.registry import Handler
from demyjpy.requests import Request
from demyjpy.verdicts import ends_message
from demyjpy.wire.framing import Frames, Packet


class Intake(Frames):
    """The packets of one turn, and what of the budget is used. It is changed by taking.

    ``packets`` are those that were taken and put back: they are taken first.
    """

    __slots__ = ("_moment", "_most_macros", "_tape", "meter", "packets")

    def __init__(self, backlog: Backlog, setup: Setup, tape: Tape | None, moment: Moment) -> None:
        super().__init__(backlog.unread, setup.limits.packet)
        self._tape, self._moment = tape, moment
        self._most_macros = setup.limits.macro_size + 1  # and their letter
        self.packets = deque(backlog.packets)
        self.meter = Meter(setup.budget)

    def take(self) -> Packet | None:
        """The next packet; None if none is complete, or if others have to have their turn."""
        if self.must_wait():
            return None
        if self.packets:
            return self.packets.popleft()
        packet = super().take()
        if packet is not None:
            self._moment.seconds = None if self._tape is None else self._hear(self._tape, *packet)
        return packet

    def _hear(self, tape: Tape, letter: int, payload: bytes) -> float | None:
        """The tape hears a packet; when that was."""
        # for larger macros the connection is closed, and the tape has no more than that: to take out
        # of them what may not be kept would take long
        if letter == MACRO and len(payload) > self._most_macros:
            return None
        return tape.hear_packet(letter, payload)

    def must_wait(self) -> bool:
        """Whether others have to have their turn before one thing more is done; if not, it counts."""
        if self.meter.taken > 1 and self.meter.is_used_up():  # macros and their command stay together
            return True
        self.meter.taken += 1
        return False

    def drop(self) -> None:
        """Nothing more is taken from this peer."""
        self.packets.clear()
        super().drop()


class Turn:
    """All that a turn changes."""

    def __init__(self, connection: Connection, tape: Tape | None = None) -> None:
        backlog = connection.backlog
        self.tape = tape
        self.setup = connection.setup
        self.session = connection.session
        self.call = connection.call
        self.wait: Wait | None = None
        self.is_closed = connection.is_closed
        self.agreed = connection.agreed
        known = connection.scope.macros.moment
        self.moment = moment_of(known, connection.session, connection.setup.wall)
        self.scope = OpenScope(connection.scope, self.moment)
        self.intake = Intake(backlog, connection.setup, tape, self.moment)
        self.jobs = deque(backlog.jobs)
        self.is_ending = backlog.is_ending
        self._exchanges = backlog.exchanges
        self._out: list[bytes] = []
        self._troubles: list[Trouble] = []
        self.requests: list[Requested] = []

    def value(self) -> Connection:
        """The next value."""
        intake = self.intake
        return Connection(
            self.setup,
            self.session,
            b"".join(self._out),
            self.call,
            tuple(self._troubles),
            self.is_closed,
            self.agreed,
            self.scope.value(),
            Backlog(
                intake.rest(),
                tuple(intake.packets),
                tuple(self.jobs),
                self.is_ending,
                self._exchanges,
            ),
            tuple(self.requests),
            self.wait,
        )

    def receive_data(self, data: bytes) -> None:
        """Bytes have come."""
        if not self.is_closed and not self.is_ending and self.scope.phase is not Phase.CLOSED:
            self.intake.add(data)

    def next_exchange(self) -> int:
        """The number of the event that begins."""
        self._exchanges += 1
        return self._exchanges

    def send(self, data: bytes, *, is_new: bool = True) -> None:
        """To the MTA, after what was sent before. Not ``is_new``: what the hot path has to send."""
        self._out.append(data)
        self.intake.meter.answered += len(data)
        if is_new and self.tape is not None:
            self.tape.left.append(data)

    def note(
        self, error: Exception, event: str | None = None, handler: Handler[Any] | None = None
    ) -> None:
        """Something went wrong: for the log."""
        macros = self.scope.macros
        name = handler.name if handler else None
        self._troubles.append(Trouble(error, event, name, macros.get("i"), macros.client))

    def request(self, request: Request, handler: Handler[Any], number: int) -> None:
        """A filter asks something of the driver."""
        macros = self.scope.macros
        self.requests.append(Requested(request, handler, number, macros.get("i"), macros.client))

    @property
    def is_watched(self) -> bool:
        """Whether there are to be steps."""
        return self.setup.observer is not None or self.tape is not None

    def take_news(self, *lasts: Lasts) -> tuple[Learned, ...]:
        """The answers that have come since the last step; only those of ``lasts``, if that is given."""
        questions = self.scope.questions
        if not questions.news:
            return ()
        told = tuple([one for one in questions.news if not lasts or one.asked.lasts in lasts])
        rest = tuple([one for one in questions.news if lasts and one.asked.lasts not in lasts])
        self.scope.questions = evolve(questions, news=rest)
        return told

    def observe(self, step: Step) -> None:
        """The observer sees a step; if it fails, that is noted. The tape has it, too."""
        if self.tape is not None:
            self.tape.steps.append(step if type(step.event) is not Message else _without_message(step))
        if self.setup.observer:
            try:
                self.setup.observer(step)
            except BaseException as error:  # whatever it raises is its failure
                self.note(as_exception(error), "observer")

    def observe_job(self, job: Job, answer: tuple[Any, ...] = (), sent: bytes = b"") -> None:
        """The observer sees the last step of an event, with what is answered."""
        if not self.is_watched:
            return
        scope, step = self.scope, job.step
        if step is None:
            if job.dispatch.letter in ANSWERED and self.setup.observer:
                scope.show_macros()  # an observer looks, and no handler did
            shows = job.dispatch.letter in ANSWERED or job.dispatch.letter == DISCONNECT
            ctx = scope.shown() if shows else scope.ctx
            step = Step(
                self.session,
                job.event,
                ctx,
                ctx,
                packet=job.packet,
                exchange=job.exchange,
                learned=self._last_news(job.dispatch.letter),
                time=self.moment.seconds,
            )
        if sent:
            step = Step(  # evolve() takes four times as long
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
                step.learned,
                step.withheld,
                step.time,
            )
        self.observe(step)

    def _last_news(self, letter: int) -> tuple[Learned, ...]:
        """What no handler was there to see, when a message or the connection ends.

        At other events nobody can say from a tape whether it had come by then.
        """
        if letter == DISCONNECT:
            return self.take_news()
        return self.take_news("message", "recipient") if letter in (BODYEOB, ABORT) else ()

    # ------------------------------------------------------------------------------------ endings
    def hang_up(self) -> None:
        """The peer is gone, or we leave it. What is out with the driver comes back first."""
        if self.call:
            self.is_ending = True
            return
        scope = self.scope
        self.intake.drop()
        self._leave_wait()
        self.jobs = deque(  # no answer is due any more, and no body is needed
            job for job in self.jobs if job.place is None and job.dispatch.letter != SPOOL
        )
        if any(job.dispatch.letter == DISCONNECT for job in self.jobs):
            scope.phase = Phase.CLOSED
        if self.is_closed or scope.phase is Phase.CLOSED:
            return
        self.give_up_message(refresh=True)
        scope.phase = Phase.CLOSED
        scope.questions = scope.questions.end()
        self.say_farewell()

    def _leave_wait(self) -> None:
        """The peer is gone: a handler that waits for answers is not called."""
        scope, self.wait = self.scope, None
        if scope.questions.waits is None:
            return
        scope.questions = scope.questions.end()
        job = self.jobs.popleft()
        if job.dispatch.letter == MAIL:  # those still to be called have seen no message begin
            scope.decisions = scope.decisions.tell(number for number, _ in job.chain)

    def say_farewell(self) -> None:
        """Disconnect handlers are to run, also if nothing but the negotiation was said (section 8.6)."""
        dispatch = self.agreed.table[DISCONNECT]
        self.jobs.append(Job(dispatch, ev.Disconnect(), dispatch.chain, exchange=self.next_exchange()))

    def give_up_message(self, refresh: bool, packet: Packet | None = None) -> None:
        """The message that is open, if any, is given up; ``packet`` is what said so, if anything."""
        scope = self.scope
        if scope.phase in IN_MESSAGE:
            if refresh:
                scope.show_macros()
            self.end_message(self._unknowing(), given_up=True, packet=packet)

    def _unknowing(self) -> Chain:
        """Abort handlers of filters that are to get the end of the message that is open."""
        scope, abort = self.scope, self.agreed.table[ABORT]
        if self.agreed.members is not None:
            return unknowing(scope.chain, scope.decisions, abort.chain)
        return scope.decisions.due(abort)

    def end_message(
        self,
        aborted: Chain,
        verdict: Verdict | None = None,
        *,
        given_up: bool = False,
        packet: Packet | None = None,
    ) -> None:
        """No message is open any more, once the handlers in ``aborted`` have run."""
        self.scope.phase = Phase.CONNECTED
        self.requests.extend(self.due_by(verdict))
        self.scope.owed = ()
        self.scope.drop_questions()  # also those of a message whose abort handlers take their time
        if aborted or (given_up and self.is_watched):
            abort = self.agreed.table[ABORT]
            job = Job(abort, ev.Abort(), aborted, packet=packet, exchange=self.next_exchange())
            self.jobs.append(job)
        else:
            self.scope.leave_message()

    def due_by(self, verdict: Verdict | None) -> tuple[Requested, ...]:
        """The effects of the message that are to be done if this ends it; None: it is given up."""
        owed = self.scope.owed
        if not owed:
            return ()
        return tuple(
            [one for one in owed if isinstance(one.request, Do) and is_due(one.request.when, verdict)]
        )

    def surprised_by(self, job: Job) -> Chain:
        """Abort handlers of filters that neither ended this message themselves nor saw its end."""
        chain, decisions = self._unknowing(), self.scope.decisions
        if self.agreed.members is not None:
            return chain
        letter = job.dispatch.letter
        if job.forced:
            return () if letter == MAIL else chain
        if letter == BODYEOB:
            knowing = {number for number, _ in chain}
        else:
            knowing = {
                number for number, verdict in job.verdicts if ends_message(job.dispatch.name, verdict)
            }
        return tuple(one for one in chain if one[0] in decisions.failed or one[0] not in knowing)


_NO_MESSAGE: Final = Message()


def _without_message(step: Step) -> Step:
    """A step for the tape, which keeps no message."""
    return evolve(step, event=_NO_MESSAGE)

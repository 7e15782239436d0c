"""One turn of the engine: what is changed on the way from one `Connection` value to the next.

A `Turn` is made, run and thrown away within one function of `demyjpy.engine.pipeline`; nothing keeps
it. What is done with it lies in the order of a packet's way: it comes (`arrival`), its handlers run
(`handling`), what they said is answered (`conclusions`), and a message or a session ends (`endings`).
"""

from collections import deque
from typing import Any

from demyjpy.engine.connection import Backlog, Connection, Job, Step, Trouble
from demyjpy.engine.dispatch import ANSWERED
from demyjpy.engine.handler_results import as_exception
from demyjpy.engine.intake import Intake
from demyjpy.engine.phases import Phase
from demyjpy.engine.scope import OpenScope
from demyjpy.registry import Handler


class Turn:
    """All that a turn changes."""

    def __init__(self, connection: Connection) -> None:
        backlog = connection.backlog
        self.setup = connection.setup
        self.session = connection.session
        self.call = connection.call
        self.is_closed = connection.is_closed
        self.agreed = connection.agreed
        self.scope = OpenScope(connection.scope)
        self.intake = Intake(backlog, connection.setup)
        self.jobs = deque(backlog.jobs)
        self.job = backlog.job
        self.is_ending = backlog.is_ending
        self._out: list[bytes] = []
        self._troubles: list[Trouble] = []

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
            Backlog(intake.rest(), tuple(intake.packets), tuple(self.jobs), self.job, self.is_ending),
        )

    def receive_data(self, data: bytes) -> None:
        """Bytes have come."""
        if not self.is_closed and not self.is_ending and self.scope.phase is not Phase.CLOSED:
            self.intake.add(data)

    def send(self, data: bytes) -> None:
        """To the MTA, after what was sent before."""
        self._out.append(data)
        self.intake.answered += len(data)

    def note(
        self, error: Exception, event: str | None = None, handler: Handler[Any] | None = None
    ) -> None:
        """Something went wrong: for the log."""
        macros = self.scope.macros
        name = handler.name if handler else None
        self._troubles.append(Trouble(error, event, name, macros.get("i"), macros.client))

    def observe(self, step: Step) -> None:
        """The observer sees a step; if it fails, that is noted."""
        if self.setup.observer:
            try:
                self.setup.observer(step)
            except BaseException as error:  # whatever it raises is its failure
                self.note(as_exception(error), "observer")

    def observe_job(self, job: Job, answer: tuple[Any, ...] = (), sent: bytes = b"") -> None:
        """The observer sees the last step of an event, with what is answered."""
        if not self.setup.observer:
            return
        scope, step = self.scope, job.step
        if step is None:
            if job.dispatch.letter in ANSWERED:
                scope.show_macros()  # an observer looks, and no handler did
            step = Step(self.session, job.event, scope.ctx, scope.ctx, packet=job.packet)
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
            )
        self.observe(step)

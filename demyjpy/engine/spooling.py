"""Bodies that are too large for memory go to a file.

The driver writes it as it runs a handler that blocks. So nothing more is taken from the peer until it is
written, and others are served meanwhile.
"""

from typing import Any, Final

from attrs import evolve

from demyjpy import events as ev
from demyjpy.actions import TemporaryFailure
from demyjpy.context import Context
from demyjpy.engine.connection import Call, Job
from demyjpy.engine.dispatch import Dispatch
from demyjpy.engine.handler_results import forget_frames
from demyjpy.engine.letters import SPOOL
from demyjpy.engine.stock import SpoolFile, Spooling, Stock
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError
from demyjpy.registry import Handler

_DISPATCH: Final = Dispatch(SPOOL, "body", lambda payload, leading_space: ev.Body(payload), (), False)


def is_writing(call: Call) -> bool:
    """Whether what was handed out is the writing of a body."""
    return call.job is not None and call.job.dispatch.letter == SPOOL


def is_large(turn: Turn) -> bool:
    """Whether there is more of a body in memory than there may be."""
    spool, stock = turn.setup.spool, turn.scope.chain.stock
    if spool is None:
        return False
    return stock.pending > spool.size or len(stock.chunks) > spool.most_chunks


def schedule_spooling(turn: Turn) -> None:
    """What is in memory is to be written, after what was scheduled before."""
    turn.jobs.append(Job(_DISPATCH, ev.Body(b""), (), False))


def begin_spooling(turn: Turn, job: Job) -> None:
    """Hand out the writing, if there is still something to write."""
    spool = turn.setup.spool
    if spool is not None and is_large(turn):
        handler = Handler("body", _writer(turn.scope.chain.stock, spool), blocking=True)
        turn.call = Call(handler, job.event, turn.scope.ctx, None, evolve(job, chain=((0, handler),)))


def _writer(stock: Stock, spool: Spooling) -> Any:
    def keep_body(event: ev.Body, ctx: Context) -> SpoolFile:
        """Write what is in memory; the file for `end_spooling`."""
        file = stock.file or spool.open()
        file.append(stock.chunks)
        return file

    return keep_body


def end_spooling(turn: Turn, outcome: Any) -> None:
    """It is written; or it cannot be, and the message is refused for now. That is logged once."""
    scope = turn.scope
    stock = scope.chain.stock
    if turn.tape is not None:
        turn.tape.note(SPOOLING, outcome if isinstance(outcome, Exception) else None)
    if isinstance(outcome, Exception):
        expected = f"expected {stock.pending} bytes of a body to be kept in a file, got "
        problem = HandlerError(f"{expected}{type(outcome).__name__}: {outcome}")
        forget_frames(outcome)  # which hold the file
        turn.note(problem, "body")
        scope.decisions = scope.decisions.owe(TemporaryFailure(), None, of_connection=False)
        scope.chain = evolve(scope.chain, stock=stock.drop())
    else:
        scope.chain = evolve(scope.chain, stock=stock.moved_to(outcome))


SPOOLING: Final = Handler("body", end_spooling)
"""Stands on a tape for the file of a body. It is never called.

Its outcome is None if the body was written, else the error by which it was not written, or not read.
"""

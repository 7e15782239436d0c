"""A filter in memory, as an MTA meets it: bytes in, bytes out, handlers called in between.

It drives the same engine as `demyjpy.drivers` do, for one connection, without a socket.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, Final, TypeAlias

from attrs import evolve
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.context import Context
from demyjpy.engine.connection import Call, Setup, Step
from demyjpy.engine.open_questions import Asked
from demyjpy.errors import LocalProtocolError
from demyjpy.mta.milter_link import MAX_REPLY, Answer, MilterLink, hear
from demyjpy.mta.smtp_session import Exchange
from demyjpy.questions import Outcome as QuestionOutcome
from demyjpy.testing.answers import AskedQuestion, unanswered
from demyjpy.trace.filter_connection import FilterConnection, Order, at_once
from demyjpy.wire.codes import CHUNK_SIZE, Command
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, split_frames

Chunk: TypeAlias = int | Sequence[int]
"""Bytes of a piece of a body: one size for all, or one after the other, the last for the rest."""

_BODY: Final = int(Command.BODY)


class MemoryFilter(FilterConnection):
    """One connection with a filter, which carries out what `demyjpy.mta.smtp.play` asks for.

    ``chunk``: cut the body into such pieces instead of 65535 bytes. ``answer`` answers the questions of
    the filter, in an ``order``.
    """

    def __init__(
        self,
        setup: Setup,
        chunk: Chunk | None = None,
        answer: Callable[[Asked], QuestionOutcome] = unanswered,
        order: Order = at_once,
    ) -> None:
        self._sizes = check_chunk(chunk)
        self._observed: list[Step] = []
        self._asked: list[AskedQuestion] = []

        def keeping(asked: Asked) -> QuestionOutcome:
            outcome = answer(asked)
            self._asked.append(
                AskedQuestion(asked.question, asked.key, asked.name, outcome, asked.event)
            )
            return outcome

        super().__init__(evolve(setup, observer=self._observed.append), "test", keeping, order)

    @property
    def context(self) -> Context:
        """The context as it stands between two events."""
        return self.connection.scope.context

    def remember(self, remembered: Any) -> None:
        """Let the connection remember this (``ctx["connection"]``) instead of what it does.

        What belongs to one connection is not carried from another one to it, and it keeps its own.
        """
        scope = self.connection.scope
        its_own = {key: one for key, one in scope.context["connection"].items() if _is_its_own(one)}
        others = {key: one for key, one in remembered.items() if not _is_its_own(one)}
        scope = evolve(scope, context=scope.context.set("connection", pmap(others | its_own)))
        self.connection = evolve(self.connection, scope=scope)

    def take_observed(self) -> tuple[Step, ...]:
        """The engine's steps since this was asked last."""
        taken = tuple(self._observed)
        self._observed.clear()
        return taken

    def take_asked(self) -> tuple[AskedQuestion, ...]:
        """The questions that were answered since this was asked last."""
        taken = tuple(self._asked)
        self._asked.clear()
        return taken

    def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        """Write, and read the answer; `MilterFailedError` as over a socket."""
        link: MilterLink = exchange.link
        answer: Answer | None = None
        for data in self._cut(exchange.writes):
            sent = self.say(data)
            if exchange.link.event is None or not sent:
                continue
            # Of a body in pieces each is answered; the first that does not go on is the answer.
            link, answer = hear(exchange.link, sent)
            if answer is None or answer.verdict != act.Continue():
                break
        if link.event is not None and answer is None:
            link, answer = hear(link, b"")
        if exchange.closes:
            self.end()
        return link, answer

    def _run(self, call: Call) -> Any:
        if _is_in_loop():
            raise LocalProtocolError(
                "expected run() outside of an event loop, because the filter has async handlers, "
                "got it in one: await asyncio.to_thread(run, handlers, script)"
            )
        return super()._run(call)

    def _cut(self, writes: Iterable[bytes]) -> Iterator[bytes]:
        """The writes, each packet with a part of the body in pieces."""
        if not self._sizes:
            yield from writes
            return
        for data in writes:
            packets, _ = split_frames(NOTHING_UNREAD, data, MAX_REPLY)
            before = b"".join(join_frame(*packet) for packet in packets if packet[0] != _BODY)
            bodies = [payload for letter, payload in packets if letter == _BODY]
            if not bodies:
                yield data
            for body in bodies:
                for piece in cut(body, self._sizes):
                    yield before + join_frame(_BODY, piece)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def check_chunk(chunk: Chunk | None) -> tuple[int, ...]:
    """Sizes of pieces, none for no cutting; `LocalProtocolError` if one is impossible."""
    sizes = () if chunk is None else (chunk,) if isinstance(chunk, int) else tuple(chunk)
    if any(not isinstance(size, int) or not 1 <= size <= CHUNK_SIZE for size in sizes):
        raise LocalProtocolError(f"expected chunk= in bytes from 1 to {CHUNK_SIZE}, got {chunk!r}")
    return sizes


def cut(body: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """A body in pieces of these sizes, the last size for the rest."""
    lengths = chain(sizes, repeat(sizes[-1]))
    at = 0
    while at < len(body):
        end = at + next(lengths)
        yield body[at:end]
        at = end


def _is_its_own(value: Any) -> bool:
    """Whether it belongs to the connection that made it, as an instance of a pymilter filter does."""
    return getattr(value, "is_of_one_connection", False) is True

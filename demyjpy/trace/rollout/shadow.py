"""A shadow: a candidate beside the live filter, on the same events, without effect on the mail.

The live filter's handlers are called as ever; what the MTA said and what they answered is put into a
queue. A thread plays it to the candidate with an engine of its own, and tells which messages it would
have treated differently. Where the thread does not keep up, sessions are left out, not mail held up.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from attrs import define, evolve, field, frozen
from pyrsistent import PMap

from demyjpy import events as ev
from demyjpy.codec import encode_event, name_of
from demyjpy.context import Context, get_macro
from demyjpy.drivers.options import SessionNames
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.connection import OnError, Setup
from demyjpy.engine.negotiation import EVENT_NAMES
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.engine.plan import encode_answer, in_sending_order
from demyjpy.handlers import Around, merge_handlers, wrap_handler
from demyjpy.registry import QUIETABLE, Handler, Registry
from demyjpy.trace.display.wording import ending, envelope, safe
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.format.exchanges import Exchange, Reply
from demyjpy.trace.format.message_stories import MessageStory, reading_messages
from demyjpy.trace.live.background_writer import BackgroundWriter
from demyjpy.trace.replay.comparing import MessageDifference, pairs_that_differ
from demyjpy.trace.replay.outside_calls import OutsideCall, OutsideWatch
from demyjpy.trace.replay.replaying import ReplayMta
from demyjpy.trace.rollout.optional import as_optional
from demyjpy.verdicts import LEGAL, Fate, is_verdict, strictest, verdicts_in
from demyjpy.wire.codes import Response
from demyjpy.wire.framing import join_frame

KEY: Final = "demyjpy.shadow"
"""Where the context has the name of the session."""

_MOST: Final = 20_000  # events that wait

MEMORY: Final = 16 << 20  # bytes of events and answers that wait

_EACH: Final = 500  # bytes of one that has none
_QUIT: Final = (ord("Q"), b"")
_CONTINUE: Final = join_frame(Response.CONTINUE)


def log_difference(found: MessageDifference) -> None:
    """A line in the log: what `shadow` does where it is not told otherwise."""
    log.warning(
        "shadow: %s %s: %s, but %s with the candidate (%s)",
        safe(found.old.name),
        envelope(found.old),
        ending(found.old),
        ending(found.new),
        ", ".join(found.kinds),
    )


def shadow(
    live: Registry,
    candidate: Registry,
    *,
    report: Callable[[MessageDifference], None] = log_difference,
    on_error: OnError = "tempfail",
    outside: bool = False,
    memory: int = MEMORY,
) -> Registry:
    """The live filter, with a candidate in its shadow.

    ``outside``: the candidate may reach outside of its session: use databases and the network, write
    files, start programs. Without it such a call is stopped, for it could change what the live filter
    counts on (a greylist, a quota): the candidate is then not played any more, which is logged.

    ``report`` is called, in the thread, with each message that the candidate would have treated
    differently (a `demyjpy.trace.replay.comparing.MessageDifference`: ``old`` is the live filter's,
    ``new`` the candidate's). ``on_error``: what the candidate's failures count as. ``memory``: bytes of
    events that may wait for the thread in each process; sessions with more are left out. Events that
    only the candidate wants are asked for where the MTA has them, without answers; where it wants
    bodies, the live filter's SKIP does not end them.
    """
    stage = _Stage(as_on_connect(candidate), on_error, report, memory, outside=outside)
    live_events = frozenset(live) | {"end_of_message"}
    events = (frozenset(candidate) | live_events) & frozenset(EVENT_NAMES)
    watcher = Registry(None, as_optional(candidate.declarations, events))
    for name in (*sorted(events), "options", "define_macros", "disconnect"):
        watcher.add(name, stage.watch, **({"reply": False} if name in QUIETABLE else {}))
    for name in {"abort", "quit"} - events:
        watcher.add(name, stage.watch)
    return merge_handlers(*(_heard(part, stage) for part in live.parts), watcher)


def _heard(part: Registry, stage: "_Stage") -> Registry:
    """A part of the live filter, whose answers are heard."""
    handlers = {name: _hear(part[name], stage) if name in LEGAL else part[name] for name in part}
    return Registry(handlers, part.declarations)


def _hear(handler: Handler[Any], stage: "_Stage") -> Handler[Any]:
    def around(event: Any, ctx: Context) -> Around:
        stage.hear(ctx, None)  # until it has answered
        outcome = yield ctx
        stage.hear(ctx, outcome)
        return outcome

    return wrap_handler(handler, around)


@frozen
class _Said:
    """What the MTA said, and what the live filter answered; ``answers`` is None where it failed."""

    session: str
    event: ev.Event
    queue_id: str | None
    answers: tuple[Any, ...] | None = ()
    size: int = _EACH


@define
class _ShadowedSession:
    """One session as the thread plays it."""

    mta: ReplayMta
    live: Callable[[Reply], list[MessageStory]]
    candidate: Callable[[Reply], list[MessageStory]]
    count: int = 0
    # the live filter has, in the message that is open: nobody knows what it was answered with
    has_failed: bool = False
    waiting: dict[int, MessageStory] = field(factory=dict)


class _Stage:
    """What handlers and the thread share; one for each `shadow`, and a thread in each process."""

    def __init__(
        self,
        on_connect: Callable[[Context], Context],
        on_error: OnError,
        report: Callable[[MessageDifference], None],
        memory: int = MEMORY,
        *,
        outside: bool = False,
    ) -> None:
        self._watch = OutsideWatch(self._reached, stops=True)
        begin = on_connect if outside else lambda ctx: self._watch.watched(on_connect(ctx))
        self._setup, self._report = Setup(begin, on_error), report
        self._has_reached = False
        self._writer = BackgroundWriter("shadow", memory)
        self._sessions: dict[str, _ShadowedSession] = {}  # the thread's
        self._names = SessionNames()
        self._lock = threading.Lock()
        self._heard: dict[str, list[tuple[Any, ...] | None]] = {}
        self._lost: dict[str, bool] = {}  # those left out, and whether the thread has begun with them
        self._seldom = Seldom(60.0)

    # -------------------------------------------------------------------- in the live filter
    def hear(self, ctx: Context, outcome: Any) -> None:
        """A live handler begins (None), or has returned something."""
        answers = self._heard.setdefault(ctx.get(KEY, ""), [])
        if outcome is None:
            answers.append(None)
        elif isinstance(outcome, PMap):
            answers[-1] = tuple(outcome.get("queue", ()))

    def watch(self, event: Any, ctx: Context) -> Context:
        """The last handler of every event: what was said and answered goes to the thread."""
        if isinstance(event, ev.Options):
            ctx = ctx.set(KEY, self._names.next())
        name: str = ctx.get(KEY, "")
        heard = self._heard.pop(name, [])
        failed = any(one is None for one in heard)
        answers = None if failed else tuple(one for some in heard for one in some or ())
        self._put(_Said(name, event, get_macro(ctx, "i"), answers, _size_of(event, answers or ())))
        return ctx

    def _reached(self, reach: OutsideCall) -> None:
        """In the thread: the candidate would have reached outside."""
        if not reach.is_chance:
            self._has_reached = True
            log.error(
                "shadow: the candidate is not played any more: %s at %s calls %s, which could change "
                "what the live filter counts on; shadow(..., outside=True) lets it",
                reach.handler,
                reach.event,
                reach.call,
            )

    def _put(self, said: _Said) -> None:
        if self._has_reached:
            return
        play = partial(self._play_safely, said)
        with self._lock:
            is_known = said.session in self._lost
            is_taken = (
                not is_known and self._writer.waiting < _MOST and self._writer.put(said.size, play)
            )
            if not is_known and not is_taken:
                self._lost[said.session] = not isinstance(said.event, ev.Options)
                if count := self._seldom.count("lost", time.time()):
                    words = "shadow: the candidate does not keep up: session %s is left out (%d so far)"
                    log.warning(words, said.session, count)
            is_over = isinstance(said.event, ev.Disconnect) and not is_taken
            if is_over and self._lost.pop(said.session):
                self._writer.put(said.size, play, always=True)

    # ------------------------------------------------------------------------- in the thread
    def _play_safely(self, said: _Said) -> None:
        if self._has_reached:
            self._end_all()
            return
        try:
            self._play(said)
        except Exception:  # noqa: BLE001  # the candidate has no effect on the mail
            log.exception("shadow: session %s is left out", said.session)
            self._sessions.pop(said.session, None)

    def _end_all(self) -> None:
        """The event loops of async handlers end."""
        for session in self._sessions.values():
            session.mta.connection.close()
        self._sessions.clear()

    def _play(self, said: _Said) -> None:
        name = said.session
        if isinstance(said.event, ev.Options):
            mta = ReplayMta(FilterConnection(self._setup, name))
            self._sessions[name] = _ShadowedSession(mta, reading_messages(name), reading_messages(name))
        session = self._sessions.get(name)
        if session is None:
            return
        is_end = isinstance(said.event, ev.Disconnect)
        packet = _QUIT if is_end else encode_event(said.event, leading_space=True)
        session.count += 1
        frame = join_frame(*packet)
        exchange = Exchange(
            session.count, packet, frame, b"", b"", time.time(), True, said.queue_id, {}, ()
        )
        session.has_failed = session.has_failed or said.answers is None
        live = session.live(Reply(exchange, _reply_of(said), leading_space=True))
        if is_end:
            new = session.candidate(Reply(exchange, b""))
            session.mta.connection.end()
            session.mta.connection.close()
            del self._sessions[name]
        else:
            new = session.candidate(session.mta.say(exchange))
        if not self._has_reached:  # else what the candidate said is no answer of its own
            self._compare(session, live, new)

    def _compare(
        self, session: _ShadowedSession, live: list[MessageStory], new: list[MessageStory]
    ) -> None:
        """Tell of messages that both are done with."""
        for old in live:
            session.waiting[old.first] = old
            if session.has_failed:
                session.waiting[old.first] = evolve(old, outcome=Fate.UNANSWERED)
                session.has_failed = False
        for message in new:
            session.waiting[-message.first] = message
        for first in [key for key in session.waiting if key > 0 and -key in session.waiting]:
            pair = session.waiting.pop(first), session.waiting.pop(-first)
            for found in pairs_that_differ([pair[0]], [pair[1]]):
                self._report(found)


def _size_of(event: ev.Event, answers: tuple[Any, ...]) -> int:
    """About as many bytes as it takes while it waits."""
    said = 0 if isinstance(event, ev.Disconnect) else len(encode_event(event, leading_space=True)[1])
    return _EACH + said + sum(len(getattr(one, "data", b"")) for one in answers)


def _reply_of(said: _Said) -> bytes:
    """What the live filter said, as it would stand in packets."""
    name = name_of(said.event)
    if name not in LEGAL or not said.answers:
        return _CONTINUE if name in LEGAL else b""
    edits = in_sending_order(one for one in said.answers if not is_verdict(one))
    return encode_answer(edits, strictest(verdicts_in(said.answers)), True)

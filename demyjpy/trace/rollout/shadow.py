"""A shadow: a candidate beside the live filter, on the same events, without effect on the mail.

The live filter works as ever, be it one or several merged. Its steps are observed: what the MTA said
and what it was answered is put into a queue. A thread plays it to the candidate with an engine of its
own, and reports which messages it would have treated in another way. If the thread does not keep up,
sessions are left out, not mail held up.
"""

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from attrs import define, evolve, field, frozen

from demyjpy import events as ev
from demyjpy.context import Context
from demyjpy.drivers.report import Seldom, log
from demyjpy.drivers.spool import KEPT_IN_MEMORY, SpoolFile
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.letters import BODY, OPTNEG, QUIT, QUIT_NC
from demyjpy.engine.open_questions import Learned
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.engine.stock import Spooling
from demyjpy.engine.told_questions import weight_of_told
from demyjpy.filter_policy import OnError
from demyjpy.handlers import as_registry
from demyjpy.known_facts import Network, as_networks
from demyjpy.registry import Registry
from demyjpy.trace.display.wording import ending, envelope, safe
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.format.exchanges import Exchange, Reply
from demyjpy.trace.format.message_stories import MessageStory, reading_messages
from demyjpy.trace.format.records import LONGEST_PACKET, queue_id_in
from demyjpy.trace.live.background_writer import BackgroundWriter
from demyjpy.trace.replay.comparing import MessageDifference, pairs_that_differ
from demyjpy.trace.replay.outside_calls import OutsideCall, OutsideWatch
from demyjpy.trace.replay.replaying import ReplayMta
from demyjpy.trace.rollout.shadow_answers import ShadowAnswers
from demyjpy.trace.rollout.shadowed import Shadowed
from demyjpy.verdicts import Fate
from demyjpy.wire.codes import ProtocolFlag
from demyjpy.wire.framing import Packet, join_frame

_MOST: Final = 20_000  # events that wait

MEMORY: Final = 16 << 20  # bytes of events and answers that wait

_EACH: Final = 500  # bytes of one that has none
_QUIT: Final = (QUIT, b"")


def log_difference(found: MessageDifference) -> None:
    """A line in the log: what `shadow` does by default."""
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
    trusted_relays: str | Iterable[str] = (),
) -> Registry:
    """The live filter, with a candidate in its shadow.

    ``outside``: the candidate may reach outside of its session: use databases and the network,
    write files, start programs. Without it such a call is stopped, because it could change what the
    live filter counts on (a greylist, a quota): the candidate is then not played any more, which is
    logged.

    ``report`` is called, in the thread, with each message that the candidate would have treated
    differently (a `demyjpy.trace.replay.comparing.MessageDifference`: ``old`` is the live filter's,
    ``new`` the candidate's). ``on_error``: what the candidate's failures count as. ``memory``: bytes of
    events that may wait for the thread in each process; sessions with more are left out.
    ``trusted_relays``: as for `demyjpy.start_milter`, for the facts of the candidate. Events that
    only the candidate wants are asked for if the MTA has them, without answers. What the live filter
    ends, by a verdict or SKIP, has ended for the candidate, too.

    The candidate's pure questions are asked, in the thread. Others get what the live filter learned for
    an equal question, or fail. What else it asks of the world is not done: effects, notes, counts.

    Give it all filters, merged: what it returns cannot be merged with others.
    """
    relays = as_networks(trusted_relays)
    stage = _Stage(as_on_connect(candidate), on_error, report, memory, relays, outside=outside)
    return Shadowed(as_registry(live), as_registry(candidate), stage.watch)


@frozen
class _Said:
    """What the MTA said (None: the connection ended), and what the live filter answered, as bytes.

    ``time`` is when (seconds since 1970). ``has_failed``: one of its handlers did. ``number`` is that of
    the event on its connection. ``learned`` are the answers that it had by then.
    """

    session: str
    packet: Packet | None
    time: float
    sent: bytes = b""
    number: int = 0
    has_failed: bool = False
    queue_id: str | None = None
    learned: tuple[Learned, ...] = ()

    @property
    def size(self) -> int:
        """About as many bytes as it takes while it waits."""
        learned = sum(map(weight_of_told, self.learned))
        return _EACH + len(self.sent) + learned + (0 if self.packet is None else len(self.packet[1]))

    @property
    def is_offer(self) -> bool:
        """Whether a session begins with it."""
        return self.packet is not None and self.packet[0] == OPTNEG


@define
class _ShadowedSession:
    """One session as the thread plays it."""

    mta: ReplayMta
    answers: ShadowAnswers
    live: Callable[[Reply], list[MessageStory]]
    candidate: Callable[[Reply], list[MessageStory]]
    count: int = 0
    leading_space: bool = False
    # the live filter has, in the message that is open: what is answered then is the policy's
    has_failed: bool = False
    goes_on: bool = False  # after QUIT_NC there is another session on the same connection
    waiting: dict[int, MessageStory] = field(factory=dict)


class _Stage:
    """What handlers and the thread share; one for each `shadow`, and a thread in each process."""

    def __init__(
        self,
        on_connect: Callable[[Context], Context],
        on_error: OnError,
        report: Callable[[MessageDifference], None],
        memory: int = MEMORY,
        relays: tuple[Network, ...] = (),
        *,
        outside: bool = False,
    ) -> None:
        self._watch = OutsideWatch(self._reached, stops=True)
        begin = on_connect if outside else lambda ctx: self._watch.watched(on_connect(ctx))
        spool = Spooling(KEPT_IN_MEMORY, SpoolFile.open)
        self._setup = Setup(begin, on_error, spool=spool, trusted_relays=relays)
        self._report = report
        self._has_reached = False
        self._writer = BackgroundWriter("shadow", memory)
        self._sessions: dict[str, _ShadowedSession] = {}  # the thread's
        self._lock = threading.Lock()
        self._open: dict[str, _Said] = {}  # what was said last, until it is answered
        self._lost: dict[str, bool] = {}  # those left out, and whether the thread has begun with them
        self._seldom = Seldom(60.0)

    # -------------------------------------------------------------------- in the live filter
    def watch(self, step: Step) -> None:
        """A step of the live filter: what was said, and what it answered, goes to the thread.

        There is a step for each handler; the last of an event has the answer, if one is due.
        """
        name = step.session
        said = self._open.pop(name, None)
        if said is not None and said.number != step.exchange:
            self._put(said)
            said = None
        is_end = isinstance(step.event, ev.Disconnect)
        if step.packet is None and not is_end:
            return  # a message is given up: what the MTA says next shows that
        if said is None:
            queue_id = queue_id_in(step.before)
            when = time.time() if step.time is None else step.time
            said = _Said(name, _packet_in(step), when, number=step.exchange, queue_id=queue_id)
        said = evolve(
            said,
            sent=step.sent,
            has_failed=said.has_failed or step.error is not None,
            learned=(*said.learned, *step.learned),
        )
        if step.sent or is_end:
            self._put(said)
        else:
            self._open[name] = said

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
                self._lost[said.session] = not said.is_offer
                if count := self._seldom.count("lost", time.time()):
                    words = "shadow: the candidate does not keep up: session %s is left out (%d so far)"
                    log.warning(words, said.session, count)
            is_over = said.packet is None and not is_taken
            if is_over and self._lost.pop(said.session, False):
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
        if said.is_offer:
            answers = ShadowAnswers()
            mta = ReplayMta(FilterConnection(self._setup, name, answers, answers.order))
            both = reading_messages(name), reading_messages(name)
            self._sessions[name] = _ShadowedSession(mta, answers, *both)
        session = self._sessions.get(name)
        if session is None:
            return
        if said.packet is None and session.goes_on:
            session.goes_on = False
            return
        session.answers.note(said.learned)
        packet = _QUIT if said.packet is None else said.packet
        session.count += 1
        session.goes_on = packet[0] == QUIT_NC
        exchange = Exchange(
            session.count,
            packet,
            join_frame(*packet, limit=LONGEST_PACKET),
            said.sent,
            said.sent,
            said.time,
            session.leading_space,
            said.queue_id,
            {},
            (),
        )
        session.has_failed = session.has_failed or said.has_failed
        reply = Reply(exchange, said.sent, session.leading_space)
        if said.is_offer and reply.agreement is not None:
            session.leading_space = bool(reply.agreement.protocol & ProtocolFlag.HDR_LEADSPC)
        live = session.live(reply)
        if said.packet is None:
            new = session.candidate(Reply(exchange, b""))
            session.mta.connection.end(said.time)
            session.mta.connection.close()
            del self._sessions[name]
        else:
            new = session.candidate(session.mta.say(exchange))
            session.mta.connection.forget_troubles()
        if not self._has_reached:  # else what the candidate said is no answer of its own
            self._compare(session, live, new)

    def _compare(
        self, session: _ShadowedSession, live: list[MessageStory], new: list[MessageStory]
    ) -> None:
        """Report messages that both are done with."""
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
                if not _is_unknown(found):
                    self._report(found)


def _packet_in(step: Step) -> Packet | None:
    """What the MTA said; a last piece of the body that came with the end is a packet of its own."""
    if step.packet is None or not isinstance(step.event, ev.Body) or step.is_shown_again:
        return step.packet
    return BODY, step.packet[1]


def _is_unknown(found: MessageDifference) -> bool:
    """Whether the live filter accepted early, and the rest, which the candidate wants, did not come."""
    is_early = found.old.outcome.goes_on and found.old.at != "end_of_message"
    return is_early and found.new.outcome is Fate.UNDECIDED

"""The values of the engine: what is set up for all connections, and what is known about one.

None is ever changed: `demyjpy.engine.pipeline` makes the next from the last. No decisions are made here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen
from pyrsistent import pmap

from demyjpy import events as ev
from demyjpy.actions import Verdict
from demyjpy.context import Context
from demyjpy.declarations import Declarations
from demyjpy.effects import EffectKeeper
from demyjpy.engine.cache import Cache, Caches
from demyjpy.engine.chain_state import NEW_MESSAGE, ChainState
from demyjpy.engine.decisions import NO_DECISIONS, Decisions
from demyjpy.engine.dispatch import Chain, Dispatch, Table
from demyjpy.engine.fact_keeping import Keep
from demyjpy.engine.filter_view import FilterView
from demyjpy.engine.letters import BODYEOB
from demyjpy.engine.limits import NOTHING_COUNTED, Budget, Counts, Limits
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.engine.members import Members
from demyjpy.engine.negotiation import NO_AGREEMENT, Agreement
from demyjpy.engine.open_questions import (
    NO_QUESTIONS,
    Asked,
    Learned,
    Questions,
    Wait,
    own_questions,
)
from demyjpy.engine.phases import IN_MESSAGE, Phase
from demyjpy.engine.routes import Routes
from demyjpy.engine.stock import Spooling
from demyjpy.filter_policy import NO_POLICY, OnError, Policy, check_on_error
from demyjpy.known_facts import KnownFacts, Network
from demyjpy.message import Message
from demyjpy.questions import Ask, Outcome
from demyjpy.registry import Handler
from demyjpy.requests import Request
from demyjpy.wire.framing import NOTHING_UNREAD, Packet, Unread

_CONTENT: Final = (ev.Header, ev.EndOfHeaders, ev.Body, Message)

Happened: TypeAlias = ev.Event | Message
"""What a handler gets: what the MTA has said, the end of a connection, or a message as a value."""


def _check_on_error(instance: object, attribute: object, value: object) -> None:
    check_on_error(value)


@frozen
class Step:
    """One step of a session, as an observer sees it.

    One for each handler that ran, or one for an event without handler. ``actions`` is what this
    handler queued; ``answer`` the modifications and the verdict that go to the MTA now, ``sent`` the
    same as bytes; both are empty except for the last handler of an event. ``error`` is what was wrong
    with the handler; ``duration`` its time in seconds if the driver gave the engine a clock.
    ``packet`` is what the MTA said, None if it said nothing (a message given up, the end).
    ``exchange`` is the number of the event on this connection, from 1: the same for all its handlers.
    ``learned`` are the answers to questions that have come since the step before.
    ``withheld`` are edits and a verdict that a filter, or its ``on_error``, asked for, and that were
    dropped because the filter is not enforced (see `with_policy`).
    ``time`` is when the packet came (seconds since 1970), None if nobody asked; it does not count if two
    steps are compared.
    """

    session: str
    event: Happened
    before: Context
    after: Context
    handler: Handler[Any] | None = None
    actions: tuple[Any, ...] = ()
    answer: tuple[Any, ...] = ()
    sent: bytes = b""
    error: Exception | None = None
    duration: float | None = None
    packet: Packet | None = None
    exchange: int = 0
    learned: tuple[Learned, ...] = ()
    withheld: tuple[Any, ...] = ()
    time: float | None = field(default=None, eq=False)

    @property
    def is_shown_again(self) -> bool:
        """Whether a filter gets here, at the end of a message, what the MTA sent before."""
        if self.packet is None or self.packet[0] != BODYEOB:
            return False
        # a last piece of the body may come with the end
        is_last_piece = isinstance(self.event, ev.Body) and bool(self.packet[1])
        return isinstance(self.event, _CONTENT) and not is_last_piece

    @property
    def said(self) -> ev.Event:
        """What the MTA said here: the end of the message, if a filter gets again what came before."""
        event = self.event
        if isinstance(event, _CONTENT) and (isinstance(event, Message) or self.is_shown_again):
            return ev.EndOfMessage()
        return event


Observer: TypeAlias = Callable[[Step], None]


@frozen(eq=False)
class Setup:
    """What is the same for all connections of a server. Two are never the same.

    ``defers`` says which handlers the driver calls itself; the engine calls the others at once.
    ``known_answer`` gives the answer to a question that need not be asked, None if there is none;
    ``own_questions`` gives the questions of ``asking=``. ``defers_ends``: the driver also calls all that
    filters get one after the other at the end of a message.
    ``budget`` is what a connection may use until `demyjpy.engine.pipeline.go_on` is called; None for all
    that it needs. ``spool`` is where large bodies are kept; None for memory. ``stand_in`` is called in
    place of each ``on_error`` that is a function, the server's or a filter's: so it is where a tape is
    played. ``wall`` is the clock of `demyjpy.now` (seconds since 1970). ``trusted_relays`` are the
    networks of relays whose ``Received`` fields are believed (see `demyjpy.Facts`). ``cache`` holds how
    connections begin: it is the same for all, unless functions of the user's have a say in it.
    ``keep_effects`` gives what keeps effects before the verdict on their message leaves; None if nobody
    keeps them.
    """

    on_connect: Callable[[Context], Context]
    on_error: OnError = field(default="tempfail", validator=_check_on_error)
    limits: Limits = Limits()
    observer: Observer | None = None
    clock: Callable[[], float] | None = None
    defers: Callable[[Handler[Any]], bool] = lambda handler: handler.blocking or handler.is_async
    budget: Budget | None = None
    cache: Cache = field(factory=Cache, init=False, repr=False)
    defers_ends: bool = field(default=False, kw_only=True)
    caches: Caches = field(factory=Caches, kw_only=True, repr=False)
    spool: Spooling | None = field(default=None, kw_only=True)
    stand_in: Callable[[Exception, Any, Context], Any] | None = field(default=None, kw_only=True)
    known_answer: Callable[[Asked], Outcome | None] = field(default=lambda asked: None, kw_only=True)
    own_questions: Callable[[Handler[Any], Any, Context], tuple[Ask, ...]] = field(
        default=own_questions, kw_only=True
    )
    wall: Callable[[], float] | None = field(default=None, kw_only=True)
    keep_effects: "Callable[[tuple[Requested, ...], str], EffectKeeper] | None" = field(
        default=None, kw_only=True
    )
    trusted_relays: tuple[Network, ...] = field(default=(), kw_only=True)


@frozen
class Job:
    """An event on its way through its handlers.

    ``chain`` are those that are still to run, ``verdicts`` and ``modifications`` what the others
    said, each with the number of its filter. ``may_answer`` is whether the answer is up to
    handlers; ``forced`` is what the library answers in place of them. ``last_chunk``: a body that
    came with the end of message, which is answered together with it. For the observer there are
    ``step``, that of the handler that ran last, ``packet``, what the MTA said, and ``exchange``,
    the number of the event. ``place`` is None except for some events of several filters in a row.
    ``own`` are the questions of the next handler, if its ``asking=`` was called already.
    """

    dispatch: Dispatch
    event: Happened
    chain: Chain
    may_answer: bool = True
    forced: Verdict | None = None
    last_chunk: bool = False
    verdicts: tuple[tuple[int, Verdict], ...] = ()
    modifications: tuple[tuple[int, Any], ...] = ()
    step: Step | None = None
    packet: Packet | None = None
    exchange: int = 0
    place: "Place | None" = None
    own: tuple[Ask, ...] | None = None


@frozen
class Place:
    """How far an event of several filters in a row is on its way.

    ``owed`` is a refusal that a filter owes, with its number: those behind it are not asked. At the end
    of a message the filters are asked one after the other: ``end`` is that event, and this one is for
    the filter ``number``, a ``step`` on its way through the message, and the ``index`` of one of several
    events of that step. ``is_early``: its message comes before the first filter gets the end, because
    it waits for none of those before it.
    """

    owed: tuple[int, Verdict] | None = None
    end: Job | None = None
    number: int = 0
    step: int = 0
    index: int = 0
    is_early: bool = False


@frozen
class Call:
    """A handler that the driver is to call; its outcome goes to `demyjpy.engine.pipeline.resume`.

    ``progress``: send `demyjpy.engine.pipeline.PROGRESS` every so many seconds meanwhile. ``timeout``:
    the most seconds that it may take; None for the server's ``handler_timeout``. ``job`` is the engine's
    own: the event that waits for the outcome.
    """

    handler: Handler[Any]
    event: Happened
    ctx: Context
    progress: float | None
    job: Job | None = field(default=None, repr=False)
    timeout: float | None = None


@frozen
class Trouble:
    """Something for the log: what went wrong, where, and with which message of which client.

    ``handler`` is None if the MTA is to blame.
    """

    error: Exception
    event: str | None = None
    handler: str | None = None
    queue_id: str | None = None
    client: str | None = None


_NOTHING: Final = Declarations()


@frozen
class Requested:
    """What a filter asked of the driver, and where: see `demyjpy.requests`.

    ``handler`` has queued it; ``number`` is the place of its filter among several, ``declared`` what
    that declares. An effect has a ``key``: the same whenever it is tried, and no other effect's.
    """

    request: Request
    handler: Handler[Any]
    number: int
    queue_id: str | None = None
    client: str | None = None
    key: str = ""
    declared: Declarations = field(default=_NOTHING, repr=False)


@frozen
class Agreed:
    """What was agreed at the negotiation. It holds for all sessions on the socket.

    ``table`` says who handles each command; before the negotiation it has the negotiation and the end
    only. ``routes`` is what the hot path may do, None if it may do nothing; ``watched`` is the same for
    one that writes a tape. ``members`` are the filters of a merged one; None if it is one filter.
    ``views`` are how each of them sees the context. ``policies`` are those of the filters, by number;
    empty if none has one. ``tried`` are the numbers of filters that are only tried: what they say does
    not count. ``facts``: what is known of a session when it begins, None if no filter reads any;
    ``keepers``: what is kept of its events for these, by letter.
    """

    agreement: Agreement = NO_AGREEMENT
    table: Table = field(factory=dict)
    routes: Routes | None = None
    members: Members | None = None
    views: tuple[FilterView, ...] = ()
    watched: Routes | None = None
    policies: tuple[Policy, ...] = ()
    tried: frozenset[int] = frozenset()
    facts: KnownFacts | None = None
    keepers: Mapping[int, Keep] = field(factory=dict)

    def policy_of(self, number: int) -> Policy:
        """The policy of the filter of that number."""
        return self.policies[number] if self.policies else NO_POLICY

    def is_done_by_all(self, done: frozenset[int]) -> bool:
        """Whether all filters have accepted, so that the MTA may hear that."""
        members = self.members
        return members is not None and not self.tried and len(done) == len(members.filters)


@define(unsafe_hash=True)  # frozen, its making would take several times as long: nobody changes one
class Scope:
    """How far the session has come, what holds there, and what will hold after the message.

    The next message starts from ``base``, the next session on the socket from ``initial``. ``prelude``
    is what stood before macros for a message to come, if a handler has seen those. ``chain`` is how far
    a message has come through several filters. ``questions`` are those that still count.
    ``owed`` are the effects that wait for the end of the message.
    """

    phase: Phase = Phase.NEW
    context: Context = pmap()
    base: Context = pmap()
    prelude: Context | None = None
    initial: Context = pmap()
    macros: Macros = NO_MACROS
    decisions: Decisions = NO_DECISIONS
    counts: Counts = NOTHING_COUNTED
    chain: ChainState = NEW_MESSAGE
    questions: Questions = NO_QUESTIONS
    owed: tuple[Requested, ...] = ()


@define(unsafe_hash=True)  # frozen, its making would take several times as long: nobody changes one
class Backlog:
    """What has come and is not done yet.

    ``packets`` are those taken from ``unread`` and not done with: one or none. ``is_ending``: the peer
    is gone, but a call is still out. ``exchanges``: events so far, except those on the hot path.
    """

    unread: Unread = NOTHING_UNREAD
    packets: tuple[Packet, ...] = ()
    jobs: tuple[Job, ...] = ()
    is_ending: bool = False
    exchanges: int = 0

    @property
    def has_more(self) -> bool:
        """Whether a packet waits, or a filter at the end of a message."""
        return bool(self.packets or self.jobs) or self.unread.is_ready


NO_BACKLOG: Final = Backlog()


@define(unsafe_hash=True)  # frozen, its making would take several times as long: nobody changes one
class Connection:
    """All that is known about one connection with an MTA.

    A driver reads ``data_to_send``, ``call``, ``troubles``, ``requests`` and ``is_closed``. Each holds
    what is new since the connection value before this one. If its setup has a budget, it reads
    ``is_behind``, too. ``open_questions`` are to be performed while they are there; ``wait`` says that a
    handler waits for some of them, so that nothing more is taken from the MTA.
    """

    setup: Setup
    session: str
    data_to_send: bytes = b""
    call: Call | None = None
    troubles: tuple[Trouble, ...] = ()
    is_closed: bool = False
    agreed: Agreed = Agreed()
    scope: Scope = Scope()
    backlog: Backlog = NO_BACKLOG
    requests: tuple[Requested, ...] = ()
    wait: Wait | None = None

    def of_session(self, session: str) -> "Connection":
        """The same as another session. Nothing may have happened but what happens to each session."""
        return Connection(  # evolve() takes four times as long
            self.setup,
            session,
            self.data_to_send,
            self.call,
            self.troubles,
            self.is_closed,
            self.agreed,
            self.scope,
        )

    @property
    def open_questions(self) -> Mapping[int, Asked]:
        """The questions without an answer, by number."""
        return self.scope.questions.open

    @property
    def is_negotiated(self) -> bool:
        """Whether filter and MTA have agreed."""
        return self.agreed.agreement is not NO_AGREEMENT

    @property
    def is_plain(self) -> bool:
        """Whether the hot path may be taken: nothing is waiting, nothing decided, nothing owed."""
        routes, scope = self.agreed.routes, self.scope
        return (
            routes is not None
            and scope.phase in routes
            and scope.decisions is NO_DECISIONS
            and (scope.questions is NO_QUESTIONS or scope.questions.is_plain)
            and not scope.owed
            and scope.chain.is_plain
            and self.call is None
            and not (self.backlog.packets or self.backlog.jobs)
        )

    @property
    def is_silent(self) -> bool:
        """Whether nothing shows the MTA, now or soon, that its last bytes have come."""
        return not (self.data_to_send or self.call or self.wait or self.is_closed)

    @property
    def is_idle(self) -> bool:
        """Whether it may be closed without harm: no message is open, nothing is being answered."""
        return not (self.scope.phase in IN_MESSAGE or self.call or self.backlog.has_more)

    @property
    def is_behind(self) -> bool:
        """Whether something waits for its turn: `demyjpy.engine.pipeline.go_on` takes it."""
        return not (self.call or self.wait or self.is_closed) and self.backlog.has_more

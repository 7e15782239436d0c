"""The scope of a session while a turn changes it: contexts, macros and decisions begin and end here.

Nothing of a message is left for the next one. libmilter keeps macros until others replace them, and
private data until the filter frees it (protocol file, section 9.2).
"""

from pyrsistent import PMap

from demyjpy.context import Context
from demyjpy.engine.chain_state import NEW_MESSAGE
from demyjpy.engine.connection import Scope
from demyjpy.engine.decisions import NO_DECISIONS
from demyjpy.engine.limits import NOTHING_COUNTED
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.engine.moment import Moment
from demyjpy.engine.phases import IN_MESSAGE, Move, Phase


class OpenScope:
    """A `Scope` that may be changed, until it is a value again."""

    __slots__ = (
        "base",
        "chain",
        "counts",
        "ctx",
        "decisions",
        "initial",
        "macros",
        "moment",
        "owed",
        "phase",
        "prelude",
        "questions",
    )

    def __init__(self, scope: Scope, moment: Moment) -> None:
        self.moment = moment
        self.phase = scope.phase
        self.ctx = scope.context
        self.base = scope.base
        self.prelude = scope.prelude
        self.initial = scope.initial
        self.macros = scope.macros
        self.decisions = scope.decisions
        self.counts = scope.counts
        self.chain = scope.chain
        self.questions = scope.questions
        self.owed = scope.owed

    def value(self) -> Scope:
        """As it is now."""
        return Scope(
            self.phase,
            self.ctx,
            self.base,
            self.prelude,
            self.initial,
            self.macros,
            self.decisions,
            self.counts,
            self.chain,
            self.questions,
            self.owed,
        )

    def show_macros(self) -> None:
        """The context holds the macros in force, from the time that a handler may look."""
        self.ctx = self.shown()

    def shown(self) -> Context:
        """The context with the macros in force, which have the moment of this connection."""
        self.macros = self.macros.at(self.moment)
        if self.ctx.get("macros") is self.macros:
            return self.ctx
        return self.ctx.set("macros", self.macros)

    def take_macros(self) -> None:
        """Handlers have defined macros, for the next command. A context keeps those of its own."""
        found, self.ctx = self.ctx.get("macros"), self.ctx.set("macros", self.macros)
        if isinstance(found, Macros):  # a recorded one is of a connection that is at work
            self.macros = found.at(self.moment)

    def begin_prelude(self) -> None:
        """A handler sees macros of a message to come: what it stores belongs to that message."""
        if self.phase not in IN_MESSAGE and self.prelude is None:
            self.prelude = self.ctx

    def end_prelude(self, following: Phase) -> None:
        """What a macro handler stored before a message belongs to that message, or to none."""
        if self.prelude is not None and self.phase not in IN_MESSAGE and following not in IN_MESSAGE:
            self.ctx = remembering(self.ctx, self.prelude)
            self.prelude = None

    def enter(self, made: Move) -> None:
        """The next phase. A message may begin with it."""
        if made.begins:
            self.base = self.ctx if self.prelude is None else self.prelude
            self.prelude = None
            self.decisions = self.decisions.between_messages()
            self.counts = NOTHING_COUNTED
            self.chain = NEW_MESSAGE
        self.phase = made.during

    def leave_message(self) -> None:
        """Back to what stood before MAIL; what was remembered stays."""
        self.ctx = remembering(self.ctx, self.base)
        self.macros = self.macros.end_message()
        self.decisions = self.decisions.between_messages()
        self.chain = NEW_MESSAGE
        self.drop_questions()

    def drop_questions(self) -> None:
        """What the message asked is over."""
        self.questions = self.questions.without("message", "recipient")

    def begin_session(self) -> None:
        """After QUIT_NC: what was negotiated stays, and nothing else (protocol file, section 8.7)."""
        self.ctx, self.macros, self.decisions = self.initial, NO_MACROS, NO_DECISIONS
        self.chain = NEW_MESSAGE


def remembering(ctx: Context, before: Context) -> Context:
    """An earlier context, with what has been remembered since."""
    connection = ctx.get("connection")
    if isinstance(connection, PMap) and connection is not before.get("connection"):
        before = before.set("connection", connection)
    owners = ctx.get("owners")  # whose a key is holds for the connection
    if owners is not None and owners is not before.get("owners"):
        before = before.set("owners", owners)
    return before

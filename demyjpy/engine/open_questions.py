"""The questions of a connection: which are open, what was learned, which handler waits. A value.

The driver performs what is open and says what came of it; it stops what is open no more. So a question
is cancelled by being dropped here, however its message ends. What handlers may read of answers stands in
the context, under the engine's key ``answers``: it goes with the message, as all of the context does.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from attrs import evolve, field, frozen
from pyrsistent import PMap

from demyjpy.context import Context, check_mapping
from demyjpy.declarations import Declarations
from demyjpy.engine.smallmap import small_map
from demyjpy.errors import HandlerError
from demyjpy.questions import MOST_OPEN, UNASKED, Ask, Outcome
from demyjpy.registry import Handler

Lasts: TypeAlias = Literal["connection", "greeting", "message", "recipient"]
"""For how long a question is asked: what was asked at hello lasts until the next HELO."""

Place: TypeAlias = tuple[int, str]
"""The number of a filter among several, and the key of its question."""

MOST: Final = 10_000
"""Answers that are kept of one message: a filter may ask for each of many recipients or fields."""


_NOTHING: Final[Any] = small_map({})


@frozen
class Asked:
    """A question that was asked; ``number`` distinguishes it from the others of its connection.

    ``filter`` is the place of its filter among several, ``name`` what logs call that, ``declared`` what
    it declares. ``within``: seconds for the answer, from when it was asked. ``event``: at which event.
    """

    number: int
    filter: int
    name: str
    key: str
    question: Any
    within: float
    lasts: Lasts = "message"
    declared: Declarations = field(factory=Declarations, repr=False)
    event: str = ""

    @property
    def place(self) -> Place:
        """Whose it is, and its key."""
        return self.filter, self.key


@frozen
class Learned:
    """What became of a question; ``duration``: what the answer took, in seconds, if the driver says."""

    asked: Asked
    outcome: Outcome
    duration: float | None = None


@frozen
class Questions:
    """All questions of a connection that still count.

    ``open`` are those without an answer, by number. ``learned`` are the answers by place, apart by how
    long they last: what a message asked again hides what its connection knows, until it ends. ``waits``
    are the places for which the handler at hand waits, None if none does. ``last`` is the number of the
    last question. ``news``: what was learned, and not shown to who watches.
    """

    open: PMap[int, Asked] = _NOTHING
    learned: PMap[Lasts, PMap[Place, Learned]] = _NOTHING
    waits: frozenset[Place] | None = None
    last: int = 0
    news: tuple[Learned, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether nothing here needs a turn.

        Nothing is open, nothing ends with the greeting, and who watches has seen all answers.
        """
        return not (self.open or self.news or "greeting" in self.learned)

    def begin(self, asks: Sequence[Ask], make: Callable[[int, Ask], Asked]) -> "Questions":
        """With these asked; ``make`` gives each its place. `HandlerError` if one may not be asked."""
        open_, learned = self.open, self.learned
        made = [make(number, ask) for number, ask in enumerate(asks, self.last + 1)]
        if not self.has_room_for(len(made)):
            raise HandlerError(
                f"expected at most {MOST_OPEN} open questions and {MOST} answers on a connection, "
                f"got one more from {made[0].name}: ask one question about many things"
            )
        for asked in made:
            if any(one.place == asked.place for one in open_.values()):
                raise HandlerError(
                    f"expected a key that is not in use, got {asked.key!r}, whose question is open: ask "
                    "again when it is answered, or under another key"
                )
            layer = learned.get(asked.lasts)
            if layer is not None:
                learned = learned.set(asked.lasts, layer.discard(asked.place))
            open_ = open_.set(asked.number, asked)
        return evolve(self, open=open_, learned=learned, last=self.last + len(made))

    def has_room_for(self, count: int) -> bool:
        """Whether so many more may be asked."""
        open_ = len(self.open) + count
        known = sum(map(len, self.learned.values())) if self.learned else 0
        return open_ <= MOST_OPEN and known + open_ <= MOST

    def learn(self, learned: Learned, told: Learned | None = None) -> "Questions":
        """After an answer to an open question; ``told`` is what is shown of it to who watches."""
        asked = learned.asked
        layer = self.learned.get(asked.lasts, _NOTHING)
        return Questions(
            self.open.discard(asked.number),
            self.learned.set(asked.lasts, layer.set(asked.place, learned)),
            self.waits,
            self.last,
            self.news if told is None else (*self.news, told),
        )

    def know(self, known: Sequence[Learned]) -> "Questions":
        """After questions that were asked, and answered at once."""
        layers = self.learned
        for one in known:
            lasts = one.asked.lasts
            layers = layers.set(lasts, layers.get(lasts, _NOTHING).set(one.asked.place, one))
        return Questions(self.open, layers, self.waits, self.last + len(known), self.news)

    @property
    def awaited(self) -> tuple[Asked, ...]:
        """The open ones for which the handler at hand waits."""
        if not self.waits or not self.open:
            return ()
        return tuple(one for one in self.open.values() if one.place in self.waits)

    def outcome(self, place: Place) -> Outcome:
        """What is known of a question."""
        for lasts in _NEAREST_FIRST:
            found: Learned | None = self.learned.get(lasts, _NOTHING).get(place)
            if found is not None:
                return found.outcome
        return UNASKED

    def without(self, *lasts: Lasts) -> "Questions":
        """The same without those that last as long as one of ``lasts``."""
        open_, learned = self.open, self.learned
        if open_:
            for number, asked in open_.items():
                if asked.lasts in lasts:
                    open_ = open_.discard(number)
        for one in lasts:
            if one in learned:
                learned = learned.remove(one)
        if open_ is self.open and learned is self.learned:
            return self
        return Questions(open_, learned, self.waits, self.last, self.news)

    def end(self) -> "Questions":
        """No question counts any more, and nobody waits."""
        return Questions(last=self.last, news=self.news) if self.last else self


_NEAREST_FIRST: Final[tuple[Lasts, ...]] = ("recipient", "message", "greeting", "connection")

NO_QUESTIONS: Final = Questions()


def own_questions(handler: Handler[Any], event: Any, ctx: Context) -> tuple[Ask, ...]:
    """The questions of ``asking=``; `HandlerError` if it returned something else."""
    given: Any = {} if handler.asking is None else handler.asking(event, ctx)
    if not isinstance(given, Mapping):
        check_mapping(f"questions by key from asking= of {handler.name}", given)
    return tuple([Ask(key, question, handler.within) for key, question in given.items()])


@frozen
class Wait:
    """A handler waits for answers: the driver sends nothing to the MTA but signs of life meanwhile.

    ``numbers`` are those of the open questions; ``handler`` is the name of the handler, for logs.
    """

    numbers: frozenset[int]
    handler: str
    timeout: float | None = None


def answers_in(ctx: Context) -> PMap[Any, Any]:
    """What handlers may read of answers; nothing if a handler has spoilt it."""
    found = ctx.get("answers")
    return found if isinstance(found, PMap) else _NOTHING


def readable(ctx: Context, filter_: int, outcomes: Mapping[str, Outcome], *, alone: bool) -> Context:
    """The context in which a filter may read these answers, too.

    A filter that is ``alone`` has its answers by key; several have a map each, by their number.
    """
    answers = answers_in(ctx)
    own = answers if alone else answers.get(filter_, _NOTHING)
    after = own.update(outcomes)
    return ctx.set("answers", after if alone else answers.set(filter_, after))


def unreadable(ctx: Context, places: Iterable[Place], *, alone: bool) -> Context:
    """The context in which these answers cannot be read any more."""
    answers = answers_in(ctx)
    for filter_, key in places:
        own = answers if alone else answers.get(filter_, _NOTHING)
        answers = own.discard(key) if alone else answers.set(filter_, own.discard(key))
    return ctx.set("answers", answers)

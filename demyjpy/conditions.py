"""A filter for some mail only: a predicate says for which, while the envelope arrives."""

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Final, TypeAlias

from attrs import evolve, field, frozen
from pyrsistent import PMap, PVector, pvector

from demyjpy import actions as act
from demyjpy.actions import Verdict
from demyjpy.context import Context, remember, send_action, take_actions, update
from demyjpy.declarations import CONDITION
from demyjpy.engine.macros import Macros
from demyjpy.errors import HandlerError, describe
from demyjpy.handler_functions import name_of_function
from demyjpy.questions import WITHIN, Ask
from demyjpy.registry import Handler, Registry, as_registry, name_of_filter
from demyjpy.verdicts import LEGAL, fate_of, is_verdict, verdicts_in
from demyjpy.wrapping import Around, as_function, wrap_handler

Predicate: TypeAlias = Callable[[Any, Context], bool | None]

DECIDING: Final = ("connect", "hello", "mail", "recipient", "data")
"""The events at which the predicate is asked, in their order."""

_UNCHANGED: Final = ("options", "define_macros")
_OF_CONNECTION: Final = ("quit", "disconnect")

_Asked: TypeAlias = tuple[Handler[Any], Any, Context]
_Asking: TypeAlias = Generator[_Asked, Context, Context]


@frozen
class _Kept:
    """An event that the filter gets if it is chosen, with what was in force at it.

    ``then`` are the macros, and the facts if any are known, by their keys.
    """

    name: str
    event: Any
    then: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, event: Any, ctx: Context) -> "_Kept":
        """As it is in this context."""
        return cls(name, event, _in_force(ctx))


def _in_force(ctx: Context) -> dict[str, Any]:
    """Of the engine's keys those that are others at each event."""
    return {key: ctx[key] for key in ("macros", "facts") if key in ctx}


@frozen
class _Case:
    """What is known of one message, or connection: whether the filter was chosen.

    ``refusal`` is the filter's own, of something that is over: it holds for all that is left.
    """

    is_chosen: bool | None = None
    refusal: Verdict | None = None
    kept: PVector[_Kept] = field(factory=pvector, repr=False)

    def before(self, name: str) -> PVector[_Kept]:
        """What still counts at this event: a new HELO or MAIL ends what was after the one before."""
        if name == "recipient":
            return self.kept  # of as many as there are recipients
        until = DECIDING.index(name)
        return pvector([one for one in self.kept if DECIDING.index(one.name) < until])

    def keep(self, name: str, event: Any, ctx: Context) -> "_Case":
        """With one more event."""
        return evolve(self, kept=self.before(name).append(_Kept.of(name, event, ctx)))


_UNDECIDED: Final = _Case()
_LONGEST: Final = 200
"""Characters of what a predicate raised that an error shows."""


def only_if(predicate: Predicate, handlers: Registry) -> Registry:
    """The same filter, for the mail that the predicate chooses.

    ``predicate(event, ctx)`` returns True, False or None (not yet). It is asked at connect, hello, mail,
    each recipient and data, until it returns True or False; None at data counts as False. At True the
    filter gets connect, hello, mail and the recipients so far, in order, and goes on from there; at
    False it is done. A decision at connect or hello holds for the connection, any other for the message.

    If the filter refuses connect, hello or mail at that time, the present event gets its answer, and so
    do those that follow. A recipient who was accepted cannot be refused any more: `HandlerError`. Of
    several merged filters each is chosen by itself.

    A filter that is not chosen asks nothing. One that is chosen late cannot wait for answers at events
    that are over (``needs=``, ``asking=``): `HandlerError`. If a handler has ``asking=``, the
    predicate may be asked twice about an event.
    """
    if not callable(predicate):
        raise HandlerError(
            f"expected only_if to get a function (event, ctx) -> bool or None, got {describe(predicate)}"
        )
    if inspect.iscoroutinefunction(predicate):
        raise HandlerError(
            f"expected only_if to get a plain function, got {name_of_function(predicate)}, which is "
            "async def: a predicate is not awaited"
        )
    taken: set[str] = set()

    def conditional(part: Registry) -> Registry:
        wanted = f"{CONDITION}{name_of_filter(part)}"
        numbered = (wanted if number == 1 else f"{wanted} {number}" for number in count(1))
        key = next(one for one in numbered if one not in taken and one not in part.state)
        taken.add(key)
        return Conditional(predicate, part, key)

    return as_registry(handlers).with_parts(conditional)


class Conditional(Registry):
    """One filter that a predicate chooses. The inner one is read when asked, so it may still grow."""

    def __init__(self, predicate: Predicate, inner: Registry, key: str) -> None:
        self._predicate, self._inner, self._key = predicate, inner, key
        declared = inner.declarations
        super().__init__(
            None,
            evolve(
                declared,
                state={key: _UNDECIDED, **declared.state},
                optional_events=declared.optional_events | (frozenset(DECIDING) - frozenset(inner)),
            ),
        )

    @property
    def optional_events(self) -> frozenset[str]:
        """Those of the filter, and those at which only the predicate is asked."""
        required = frozenset(self._inner) - self._inner.optional_events
        return self.declarations.optional_events - required

    @property
    def size(self) -> int:
        return self._inner.size

    def add(self, event: str, handler: Callable[..., Any], **options: Any) -> None:
        self._inner.add(event, handler, **options)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*DECIDING, *self._inner)) if self._inner else ())

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    def __getitem__(self, event: str) -> Handler[Any]:
        if event in _UNCHANGED:
            return self._inner[event]
        if event in DECIDING and self._inner:
            return self._deciding(event)
        return wrap_handler(self._inner[event], self._if_chosen(event))

    def _if_chosen(self, name: str) -> Callable[[Any, Context], Around]:
        def around(event: Any, ctx: Context) -> Around:
            case: _Case = ctx.get(self._key, _UNDECIDED)
            is_chosen = case.is_chosen and case.refusal is None
            if name in _OF_CONNECTION:  # who was chosen for a message only has seen connect, too
                is_chosen = bool(ctx["connection"].get(self._key))
            return (yield ctx) if is_chosen else ctx

        return around

    def _deciding(self, name: str) -> Handler[Any]:
        """The handler of an event at which the predicate is asked."""
        until = DECIDING[: DECIDING.index(name) + 1]
        handlers = {one: self._inner[one] for one in until if one in self._inner}

        def run(event: Any, ctx: Context) -> _Asking:
            return self._decide(handlers, name, event, ctx)

        is_async = any(handler.is_async for handler in handlers.values())
        call = as_function(
            run, lambda _, asked: asked[0].function(asked[1], asked[2]), is_async=is_async
        )
        own = handlers.get(name)
        call.__wrapped__ = self._predicate if own is None else own.function  # for logs
        return Handler(
            name,
            call,
            blocking=not is_async and any(handler.blocking for handler in handlers.values()),
            rejected=own is not None and own.rejected,
            filter=self.name if own is None else own.filter,
            # of those that it runs one after the other, as of one: an MTA waits no longer here
            timeout=max((one.timeout for one in handlers.values() if one.timeout), default=None),
            needs=frozenset() if own is None else own.needs,
            asking=None if own is None else self._asking(own, name, handlers),
            within=WITHIN if own is None else own.within,
        )

    def _asking(self, own: Handler[Any], name: str, handlers: dict[str, Handler[Any]]) -> Any:
        """What the filter asks at an event at which the predicate is asked; None if it asks nothing."""
        asking = own.asking
        if asking is None:
            return None

        def ask_if_chosen(event: Any, ctx: Context) -> Any:
            case: _Case = ctx.get(self._key, _UNDECIDED)
            is_chosen = case.is_chosen and case.refusal is None
            if case.is_chosen is None and not (name == "recipient" and _is_refused(ctx)):
                is_chosen = self._ask(name, event, ctx)
                if is_chosen and case.before(name):
                    raise _too_late(own, name)
            return asking(event, ctx) if is_chosen else {}

        return ask_if_chosen

    def _decide(self, handlers: dict[str, Handler[Any]], name: str, event: Any, ctx: Context) -> _Asking:
        case: _Case = ctx.get(self._key, _UNDECIDED)
        own = handlers.get(name)
        before, ctx = take_actions(ctx)
        is_answered = name != "recipient" or not _is_refused(ctx)
        if case.is_chosen is None:
            is_chosen = self._ask(name, event, ctx) if is_answered else None
            if is_chosen is None:
                kept = case.keep(name, event, ctx) if name in handlers else case
                return send_action(ctx.set(self._key, kept), *before)
            if not is_chosen:
                return send_action(ctx.set(self._key, _Case(False)), *before, act.Accept())
            ctx = remember(ctx.set(self._key, _Case(True)), {self._key: True})
            ctx, queue, answer = yield from self._catch_up(handlers, case.before(name), ctx)
            before += queue
            if own is not None and any(isinstance(one, Ask) and one.key in own.needs for one in queue):
                raise _too_late(own, name)
            if answer is not None:
                return send_action(ctx, *before, answer)
        elif not case.is_chosen:
            return send_action(ctx, *before)
        elif case.refusal is not None:
            return send_action(ctx, *before, *([case.refusal] if is_answered else ()))
        if name not in handlers:
            return send_action(ctx, *before)
        outcome = yield handlers[name], event, ctx
        if not isinstance(outcome, PMap) or "queue" not in outcome:
            return outcome  # the engine says what is wrong with it
        queue, after = take_actions(outcome)
        _check_answer(handlers[name], queue)
        return send_action(after, *before, *queue)

    def _ask(self, name: str, event: Any, ctx: Context) -> bool | None:
        """What the predicate says, checked; at data it has to say something."""
        named = name_of_function(self._predicate)
        try:
            answer: Any = self._predicate(event, ctx)
        except Exception as error:
            raise HandlerError(
                f"expected {named}, the predicate of only_if, to return True, False or None, but it "
                f"raised {type(error).__name__}: {error!s:.{_LONGEST}}"
            ) from error
        if inspect.iscoroutine(answer):
            answer.close()
        if answer is not None and not isinstance(answer, bool):
            raise HandlerError(
                f"expected {named}, the predicate of only_if, to return True, False or None, got "
                f"{describe(answer)}"
            )
        return False if answer is None and name == "data" else answer

    def _catch_up(
        self, handlers: dict[str, Handler[Any]], missed: Iterable[_Kept], ctx: Context
    ) -> Generator[_Asked, Context, tuple[Context, tuple[Any, ...], Verdict | None]]:
        """The filter gets what it has missed. What it queued, and its answer if it is done by it."""
        now = _in_force(ctx)
        queued: list[Any] = []
        for kept in missed:
            handler = handlers[kept.name]
            if handler.waits:
                raise _too_late(handler, kept.name)
            then = update(ctx, kept.then)
            outcome = yield handler, kept.event, then
            queue, ctx = take_actions(update(_checked(handler, outcome), now))
            _check_answer(handler, queue)
            queued += [
                evolve(one, asked_at=kept.name) if isinstance(one, Ask) else one
                for one in queue
                if not is_verdict(one)
            ]
            answer = next(iter(verdicts_in(queue)), act.Continue())
            is_refused = kept.name == "recipient" and _is_refused(then)
            legal = (act.Continue,) if is_refused else LEGAL[kept.name]
            if not isinstance(answer, legal):
                names = " or ".join(klass.__name__ for klass in legal)
                raise HandlerError(
                    f"expected {handler.name} to answer {names} at {kept.name}, got {describe(answer)}"
                )
            if isinstance(answer, act.Accept):
                return ctx, tuple(queued), answer
            if not fate_of(answer).goes_on:
                if kept.name == "recipient":
                    raise HandlerError(
                        f"expected {handler.name} to keep a recipient who has been accepted, got "
                        f"{describe(answer)}: only_if chose the filter at a later event. Let the "
                        "predicate choose at mail, or refuse at end_of_message"
                    )
                return ctx.set(self._key, _Case(True, answer)), tuple(queued), answer
        return ctx, tuple(queued), None


def _too_late(handler: Handler[Any], event: str) -> HandlerError:
    """A handler cannot wait for what it needs: the filter was chosen too late."""
    return HandlerError(
        f"expected only_if to choose the filter before {event}, where {handler.name} waits for answers "
        "(needs=, asking=) that it cannot have at a later event: let the predicate choose earlier, or "
        "let a later handler wait for them"
    )


def _is_refused(ctx: Context) -> bool:
    """As `is_rejected_recipient`. The filter does not read it, so who watches it does not see this."""
    return Macros.get(ctx["macros"], "rcpt_mailer") == "error"


def _checked(handler: Handler[Any], outcome: Any) -> Context:
    """What a handler returned, if it is a context."""
    if not isinstance(outcome, PMap) or "queue" not in outcome:
        raise HandlerError(
            f"expected {handler.name} to return a context made from the one it got, got "
            f"{describe(outcome)}"
        )
    return outcome


def _check_answer(handler: Handler[Any], queue: tuple[Any, ...]) -> None:
    """`HandlerError` for the verdict of an observer: the MTA waits for the predicate, not for it."""
    verdicts = verdicts_in(queue)
    if verdicts and not handler.reply:
        raise HandlerError(
            f"expected no answer from {handler.name}, which is declared reply=False, got "
            f"{describe(verdicts[0])}"
        )

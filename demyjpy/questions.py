"""Asking the world: questions as data, and what was learned, as data.

A handler asks with `ask`, or declares ``asking=``; a handler that needs the answer declares ``needs=``
or ``asking=``, and reads it with `answer`. The driver performs questions, the engine follows them
(`demyjpy.engine.open_questions`). Nothing here does I/O.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, ClassVar, Final, TypeAlias, overload

from attrs import field, frozen
from pyrsistent import PMap, PVector

from demyjpy.context import Context, send_action
from demyjpy.engine.smallmap import small_map
from demyjpy.errors import HandlerError, describe
from demyjpy.requests import Request

Performer: TypeAlias = Callable[[Any, Mapping[str, Any]], Any]
"""Finds the answer: a function, plain or async, of the question and the resources of its filter."""

WITHIN: Final = 5.0
"""Seconds: an answer that comes later is `Late`, unless the question says otherwise."""

MOST_OPEN: Final = 100
"""Questions of one connection that may be open at once."""

_LONGEST_KEY: Final = 200
_LONGEST_ERROR: Final = 1_000
_MOST_NAMED: Final = 10
_MOST_COMPARED: Final = 100
_MOST_VALUES: Final = 10_000
_MOST_BYTES: Final = 1 << 20
_DEEPEST: Final = 20


class Question:
    """The base of questions. A question is a frozen class, so that equal ones can be found.

    ``perform(self, resources)`` finds the answer: an ``async def`` function, or a plain one, which may
    block. ``resources`` are those that its filter declares. It must return plain data: None, numbers,
    text, bytes, and lists, tuples, sets and maps of these. A list comes back as a tuple, a set as a
    frozenset, a dict as a persistent map.

    - ``pure``: asking changes nothing in the world. Then equal questions in flight are asked once, and
      a candidate that runs in the shadow may ask.
    - ``remember_for``: seconds for which the answer to an equal question is remembered; only if it is
      pure.
    - ``examples``: answers that may come, for ``demyjpy check --play``.

    The first two are given with the class, as in ``class Listed(Question, pure=True,
    remember_for=60)``.
    """

    pure: ClassVar[bool] = False
    remember_for: ClassVar[float] = 0.0
    examples: ClassVar[tuple[Any, ...]] = ()

    def __init_subclass__(
        cls, *, pure: bool | None = None, remember_for: float | None = None, **options: Any
    ) -> None:
        super().__init_subclass__(**options)
        # attrs makes a class with slots a second time, without the arguments of the first
        if pure is not None:
            cls.pure = pure
        if remember_for is not None:
            cls.remember_for = check_seconds("remember_for=", remember_for)
        if cls.remember_for and not cls.pure:
            raise HandlerError(
                f"expected remember_for= only of a pure question, got it of {cls.__name__}: say "
                "pure=True if asking changes nothing"
            )


# ------------------------------------------------------------------------------------- outcomes
def _text(error: object) -> str:
    return str(error)[:_LONGEST_ERROR]


@frozen
class Answered:
    """The answer came in time."""

    value: Any


@frozen
class Failed:
    """The question could not be answered; ``error`` says why."""

    error: str = field(converter=_text)


@frozen
class Late:
    """No answer came in time."""


@frozen
class Unasked:
    """Nobody asked."""


Outcome: TypeAlias = Answered | Failed | Late | Unasked
"""What became of a question."""

LATE: Final = Late()
UNASKED: Final = Unasked()


# -------------------------------------------------------------------------------- what handlers do
@frozen
class Ask(Request):
    """A question that a handler has queued, with the key of its answer; see `ask`.

    ``asked_at``: the event at which it counts as asked, if that is not the one at hand: a filter that
    `only_if` chooses late gets earlier events, too.
    """

    key: str
    question: Any
    within: float = WITHIN
    asked_at: str | None = None

    def __attrs_post_init__(self) -> None:
        check_key(self.key)
        check_question(self.key, self.question)
        check_seconds("within=", self.within)


def ask(ctx: Context, key: str, question: Any, *, within: float = WITHIN) -> Context:
    """Queue a question: it is begun as soon as the handler has returned, while the mail still arrives.

    A handler of the same filter with ``needs={key}`` is called when the answer is there, or late:
    ``within`` seconds after it was asked. A question that is asked at connect belongs to the connection,
    one asked at hello lasts until the next HELO, any other belongs to the message. `HandlerError` for a
    key that is no name, or for what is no question. The handler fails if its filter has an open question
    under this key, or if it asks at abort, quit or disconnect, when nobody can wait any more.
    """
    return send_action(ctx, Ask(key, question, within))  # type: ignore[arg-type]  # no action for the MTA


_RAISES: Final[Any] = object()


@overload
def answer(ctx: Context, key: str) -> Outcome: ...


@overload
def answer(ctx: Context, key: str, *, failed: Any = ..., late: Any = ..., unasked: Any = ...) -> Any: ...


def answer(
    ctx: Context, key: str, *, failed: Any = _RAISES, late: Any = _RAISES, unasked: Any = _RAISES
) -> Any:
    """What became of a question: `Answered`, `Failed`, `Late` or `Unasked`.

    With ``failed=``, ``late=`` or ``unasked=`` it is the value that was answered, or that one if none
    was. If there is no answer, and no value was given for that case, `HandlerError` says so.

    It is for a handler with the key in ``needs=`` or ``asking=``, and for the handlers of the same
    filter after it. Elsewhere it raises `HandlerError`: whether the answer has come is a matter of luck.
    """
    known = ctx.get("answers")
    outcome: Outcome | None = known.get(key) if isinstance(known, PMap) else None
    if outcome is None:
        raise HandlerError(
            f"expected answer(ctx, {key!r}) in a handler that waits for it, or after one"
            f"{_other_keys(key, known)}: declare "
            f"needs={{{key!r}}}, as in @handlers.end_of_message(needs={{{key!r}}})"
        )
    if failed is late is unasked is _RAISES:
        return outcome
    match outcome:
        case Answered():
            return outcome.value
        case Failed():
            value, option = failed, "failed"
        case Late():
            value, option = late, "late"
        case _:
            value, option = unasked, "unasked"
    if value is _RAISES:
        raise HandlerError(
            f"expected an answer to the question {key!r}, got {outcome!r:.200}: give {option}= to "
            "answer() if the filter can do without"
        )
    return value


def _other_keys(key: str, known: Any) -> str:
    """The keys that may be read in place of one, for an error that is logged.

    Only names: what else is in a key may be about a person.
    """
    some = islice(known, _MOST_COMPARED) if isinstance(known, PMap) else ()
    names = sorted(one for one in some if isinstance(one, str) and one.isidentifier())
    if not names:
        return ""
    near = get_close_matches(key[:_LONGEST_KEY], names, 1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    return f"; what may be read here is {', '.join(map(repr, names[:_MOST_NAMED]))}{meant}"


# ----------------------------------------------------------------------------------- declarations
def check_key(key: Any) -> str:
    """The key of an answer; `HandlerError` for what is none."""
    if not isinstance(key, str) or not key or len(key) > _LONGEST_KEY:
        got = repr(key[:_LONGEST_KEY]) if isinstance(key, str) else describe(key)
        raise HandlerError(
            f"expected the key of a question as 1 to {_LONGEST_KEY} characters, got {got}"
        )
    return key


def check_seconds(what: str, value: Any) -> float:
    """A time in seconds, more than 0; `HandlerError` for what is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (0 < value < math.inf):
        raise HandlerError(f"expected {what} in seconds, more than 0, got {describe(value)}")
    return float(value)


def as_keys(given: Collection[str]) -> frozenset[str]:
    """A set of keys; `HandlerError` for anything else, as for a single string."""
    if isinstance(given, str) or not isinstance(given, Collection):
        raise HandlerError(f'expected needs= as a set of keys, as in needs={{"spf"}}, got {given!r:.80}')
    return frozenset([check_key(key) for key in given])


def check_question(key: Any, question: Any) -> None:
    """`HandlerError` if this is no question at all: a class, a function, a text, a number."""
    if isinstance(question, type) or callable(question) or type(question).__module__ == "builtins":
        raise HandlerError(
            f"expected a question under {key!r}, an instance of a frozen class such as "
            f'Dns("example.org", "TXT"), got {describe(question)}'
        )


def fault_of(question: Any) -> str | None:
    """What is wrong with a question that cannot be asked; None if nothing is.

    It must be possible to compare it, and it must have a hash if it is pure. It may hold
    no context, which holds all that the filter knows.
    """
    kind = type(question)
    if getattr(kind, "__eq__", None) is object.__eq__:
        return "it cannot be compared with an equal one: make its class frozen, with attrs"
    for value in values_of(question):
        if isinstance(value, PMap) and "queue" in value and "connection" in value:
            return "it holds a context: give it the values that it needs"
    if getattr(kind, "pure", False):
        try:
            hash(question)
        except Exception as error:  # noqa: BLE001  # it is the user's
            return f"it is pure, and has no hash ({type(error).__name__}): give it tuples, not lists"
    return None


def values_of(question: Any) -> Iterator[Any]:
    """The fields of a question or an effect, and what is directly in them if they are collections."""
    names = [one.name for one in getattr(type(question), "__attrs_attrs__", ())]
    known = {**getattr(question, "__dict__", {}), **{n: getattr(question, n, None) for n in names}}
    for value in known.values():
        yield value
        if isinstance(value, tuple | list | PVector):
            yield from value
        elif isinstance(value, Mapping):
            yield from value.values()


def performer_of(question: Any, asks: Mapping[type, Performer]) -> Performer | None:
    """Who answers it: what ``asks=`` says for its class or one above it, else its own ``perform``."""
    kind = type(question)
    for one in kind.__mro__:
        if one in asks:
            return asks[one]
    own: Performer | None = getattr(kind, "perform", None)
    return own if callable(own) else None


# --------------------------------------------------------------------------------------- answers
def as_answer(value: Any) -> Outcome:
    """What a performer returned, as what handlers get: plain data that nobody can change.

    `Failed` says what cannot be recorded. An outcome stays as it is, its value made plain.
    """
    if isinstance(value, Failed | Late | Unasked):
        return value
    left = [_MOST_VALUES, _MOST_BYTES]
    try:
        return Answered(_plain(value.value if isinstance(value, Answered) else value, left, 0))
    except _UnplainError as error:
        return Failed(f"expected an answer that can be recorded, got {error}")


class _UnplainError(Exception):
    """What an answer may not be, in words."""


def _plain(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if isinstance(value, str | bytes):
        left[1] -= len(value)
    if min(left) < 0 or depth > _DEEPEST:
        raise _UnplainError(
            f"one with more than {_MOST_VALUES} values, {_MOST_BYTES} bytes or {_DEEPEST} levels"
        )
    # a class derived from these, as an enum's, would come back from a recording as another one
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return _plain(bytes(value), left, depth)
    if isinstance(value, Mapping):
        known = {_key(key): _plain(one, left, depth + 1) for key, one in value.items()}
        return small_map(known)
    if isinstance(value, set | frozenset):
        return frozenset([_plain(one, left, depth + 1) for one in value])
    if isinstance(value, list | tuple | PVector):
        return tuple([_plain(one, left, depth + 1) for one in value])
    raise _UnplainError(
        f"{describe(value)}: return None, numbers, text, bytes, or lists, tuples, sets and maps of these"
    )


def _key(key: Any) -> str:
    if type(key) is not str:
        raise _UnplainError(f"a map with {describe(key)} as a key: use text")
    return key

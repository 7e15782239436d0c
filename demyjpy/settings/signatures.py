"""A function of settings: how it differs from others, and what its signature says that it takes."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from attrs import frozen

from demyjpy.errors import HandlerError
from demyjpy.registry import Registry
from demyjpy.settings.annotations import Kind, MisfitError, kind_of, noun_of, show
from demyjpy.settings.key_lines import Place
from demyjpy.shown import safe

_SECRET: Final = re.compile(r"pass|pwd|secret|token|key|credential|dsn|auth", re.IGNORECASE)
_KEYWORDS: Final = frozenset({inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD})
_BY_KEYWORD: Final = _KEYWORDS | {inspect.Parameter.POSITIONAL_OR_KEYWORD}
_CONTEXTS: Final = ("ctx", "context", "_")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_KEY: Final = 60


def is_secret(place: Place) -> bool:
    """Whether a value is not to be shown: the name of its key, or of one around it, looks so."""
    return any(isinstance(one, str) and _SECRET.search(one) is not None for one in place)


def spell_key(key: str) -> str:
    """A key as TOML has it, on one line."""
    short = key if len(key) <= _LONGEST_KEY else f"{key[:_LONGEST_KEY]}..."
    if _BARE.fullmatch(short):
        return short
    return '"{}"'.format(safe(short.replace("\\", "\\\\").replace('"', '\\"')))


def spell_place(place: Place) -> str:
    """The way to a value, as ``hosts[2].name``."""
    words = [f"[{one}]" if isinstance(one, int) else f".{spell_key(one)}" for one in place]
    return "".join(words).removeprefix(".")


def is_of_settings(function: Any) -> bool:
    """Whether a function makes a filter of settings, and is none that a connection begins with.

    Its ``def`` line says that it returns a Registry, or it takes no argument by position.
    """
    if not callable(function) or isinstance(function, Mapping | type):
        return False
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without signature
        return False
    returned = signature.return_annotation
    if isinstance(returned, str):
        returned = returned.strip("'\"").rpartition(".")[2]
    if returned == Registry.__name__ or (isinstance(returned, type) and issubclass(returned, Registry)):
        return True
    return {one.kind for one in signature.parameters.values()} <= _KEYWORDS


def advice_for(function: Any) -> str:
    """What to do with a function that may be meant as one of settings, and is none by `is_of_settings`.

    Empty for anything else, and for a function whose first argument is called as a context is.
    """
    if not callable(function) or isinstance(function, Mapping | type) or is_of_settings(function):
        return ""
    try:
        first = next(iter(inspect.signature(function).parameters))
    except (TypeError, ValueError):  # a builtin without signature
        return ""
    name = name_of(function)
    return (
        ""
        if first in _CONTEXTS
        else f"is {name} a function of settings? write def {name}(*, ...) -> Registry"
    )


@frozen
class Setting:
    """One keyword of such a function."""

    name: str
    kind: Kind
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def spelled(self) -> str:
        """What it is, for people."""
        if self.is_required:
            return f"{self.name} ({self.kind.spelled})"
        default = "not shown" if is_secret((self.name,)) else show_default(self.default)
        return f"{self.name} ({self.kind.spelled}, default {default})"


def show_default(value: Any) -> str:
    """The default of a setting."""
    if value is None:
        return "None"
    return (
        "empty"
        if isinstance(value, list | tuple | set | frozenset | Mapping) and not value
        else show(value)
    )


@frozen
class Misfit:
    """What is wrong with one key: the way to it, and in words what was expected and what came."""

    place: Place
    words: str


@frozen
class Schema:
    """What a function takes. ``others`` is what further keys may be; None if there are none."""

    settings: tuple[Setting, ...]
    others: Kind | None

    @property
    def spelled(self) -> str:
        """All that there is, for people."""
        words = [one.spelled for one in self.settings]
        if self.others is not None:
            words.append(f"any other key ({self.others.spelled})")
        return ", ".join(words) or "nothing"

    def take(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Misfit, ...]]:
        """The values that are given, as the function gets them, and what is wrong."""
        taken: dict[str, Any] = {}
        wrong: list[Misfit] = []
        known = {one.name: one.kind for one in self.settings}
        for key, value in given.items():
            kind = known.get(key, self.others) if isinstance(key, str) else None
            if kind is None:
                wrong.append(self._unknown(key))
                continue
            try:
                taken[key] = kind.take(value)
            except MisfitError as error:
                wrong.append(_misfit((key, *error.place), error))
        wrong += self._missing(given)
        return taken, tuple(wrong)

    def _unknown(self, key: Any) -> Misfit:
        name = key if isinstance(key, str) else str(key)
        near = get_close_matches(name[:_LONGEST_KEY], [one.name for one in self.settings], 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return Misfit((name,), f"there is no such key{meant}")

    def _missing(self, given: Mapping[str, Any]) -> Iterator[Misfit]:
        for one in self.settings:
            if one.is_required and one.name not in given:
                yield Misfit((one.name,), f"expected {one.kind.expected}, got nothing")


def _misfit(place: Place, error: MisfitError) -> Misfit:
    got = f"{noun_of(error.got)} (not shown)" if is_secret(place) else show(error.got)
    return Misfit(place, f"expected {error.expected}, got {got}")


def schema_of(function: Callable[..., Any]) -> Schema:
    """What a function takes, by its signature; `HandlerError` if that says too little, or too much."""
    name = name_of(function)
    if inspect.iscoroutinefunction(function):
        raise HandlerError(f"expected {name} to be a plain function of settings, got async def")
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception as error:  # whatever an annotation does
        raise HandlerError(
            f"expected {name} to have annotations that can be read, got {type(error).__name__}: {error}"
        ) from error
    settings: list[Setting] = []
    others = None
    for one in signature.parameters.values():
        if one.kind not in _BY_KEYWORD:
            raise HandlerError(
                f"expected {name} to take settings by keyword only, got {one}: write "
                f"def {name}(*, key: str = ...) -> Registry"
            )
        kind = _kind_of(name, one)
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            others = kind
        else:
            settings.append(Setting(one.name, kind, one.default))
    return Schema(tuple(settings), others)


def _kind_of(name: str, parameter: inspect.Parameter) -> Kind:
    if parameter.annotation is inspect.Parameter.empty:
        raise HandlerError(
            f"expected an annotation for the setting {parameter.name} of {name}, which says what it may "
            f"be, got none: write {parameter.name}: str"
        )
    try:
        return kind_of(parameter.annotation)
    except HandlerError as error:
        raise HandlerError(f"the setting {parameter.name} of {name}: {error}") from None


def name_of(function: Any) -> str:
    """A function as errors call it."""
    return safe(getattr(inspect.unwrap(function), "__name__", "") or type(function).__name__)

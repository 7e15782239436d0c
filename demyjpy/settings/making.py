"""A filter made of its settings, or given them: what servers, tests and the command line begin with."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import evolve, field, frozen

from demyjpy.context import check_mapping
from demyjpy.errors import HandlerError, MilterError, SettingsError, describe
from demyjpy.registry import Redeclared, Registry, as_registry
from demyjpy.settings.key_lines import Place
from demyjpy.settings.signatures import (
    Misfit,
    Schema,
    advice_for,
    is_of_settings,
    is_secret,
    name_of,
    schema_of,
    spell_place,
)
from demyjpy.settings.toml_file import SettingsFile, read_settings

Settings: TypeAlias = Mapping[str, Any] | str | Path | None
"""What a caller gives: a map of settings, or the name of a TOML file with a table of them."""

NO_NAME: Final = "handlers"
"""The table of a registry that has no name."""

_MOST: Final = 5
"""An error names at most so many keys that are wrong."""
_SHORTEST_SECRET: Final = 4


@frozen
class Table:
    """The settings of one filter: ``values`` under the ``name`` of a table in a ``file``.

    Without a file they were given as a map, or not at all: ``advice`` then says how they can be given.
    """

    name: str
    values: Mapping[str, Any] = field(repr=False)
    file: SettingsFile | None = None
    advice: str = ""

    def where(self, wanted: Iterable[Place]) -> list[str]:
        """What an error about each of these begins with."""
        places = [(self.name, *place) for place in wanted]
        if self.file is None:
            return [f"{self.name}: " for _ in places]
        return [f"{one}: [{self.name}] " for one in self.file.places(places)]


def secrets_in(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts in settings that are not to be shown, the longest first."""
    return tuple(sorted(set(_secrets((), settings)), key=len, reverse=True))


def _secrets(place: Place, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _secrets((*place, key), one)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _secrets(place, one)
    elif isinstance(value, str) and len(value) >= _SHORTEST_SECRET and is_secret(place):
        yield value


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """A text, such as an error of a filter, in which these do not stand."""
    for secret in secrets:
        text = text.replace(secret, "(not shown)")
    return text


@frozen
class Made:
    """A filter, and what it was made of: ``values`` are all of its settings, with the defaults.

    ``table`` is where those that were given stood.
    """

    registry: Registry
    table: Table
    schema: Schema
    values: Mapping[str, Any] = field(repr=False)


def make_filter(function: Callable[..., Any], table: Table) -> Made:
    """Call a function with the settings in a table.

    `SettingsError` if they are not what it takes, or if it raises: then that is the cause. Its resources
    get the settings, too.
    """
    schema = schema_of(function)
    taken, wrong = schema.take(table.values)
    if wrong:
        raise SettingsError(_what_is_wrong(table, schema, wrong))
    who = name_of(function) if table.file is None else f"{table.where([()])[0]}{name_of(function)}"
    try:
        made = function(**taken)
    except MilterError as error:
        raise SettingsError(f"{who}: {without_secrets(str(error), secrets_in(table.values))}") from error
    except (Exception, SystemExit) as error:
        said = without_secrets(f"{type(error).__name__}: {error}", secrets_in(table.values))
        raise SettingsError(f"{who}: expected a filter, got {said}") from error
    if not isinstance(made, Mapping):
        raise SettingsError(f"{who}: expected a filter (define_event_handlers), got {describe(made)}")
    values = {one.name: taken.get(one.name, one.default) for one in schema.settings} | taken
    return Made(give(as_registry(made), values), table, schema, values)


def _what_is_wrong(table: Table, schema: Schema, wrong: tuple[Misfit, ...]) -> str:
    told = wrong[:_MOST]
    places = table.where([one.place for one in told])
    words = [
        f"{place}{spell_place(one.place)}: {one.words}" for place, one in zip(places, told, strict=True)
    ]
    more = [f"and {len(wrong) - _MOST} more"] if len(wrong) > _MOST else []
    takes = f"{table.name} takes: {schema.spelled}"
    return "; ".join([*words, *more, takes, *([table.advice] if table.advice else [])])


# ------------------------------------------------------------------------------------- resources
@frozen(eq=False)
class Opener:
    """A function that opens a resource, with the settings of its filter in place of the server's."""

    function: Callable[..., Any]
    settings: Mapping[str, Any] = field(repr=False)

    def __call__(self, others: object) -> Any:
        return self.function(self.settings)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error shows of the settings."""
        return secrets_in(self.settings)


def has_resources(registry: Registry) -> bool:
    """Whether a filter has use for settings though it was made already."""
    return any(leaf.declarations.resources for leaf in registry.leaves)


def give(registry: Registry, settings: Mapping[str, Any]) -> Registry:
    """The same filter, whose resources are opened with these settings."""

    def with_openers(part: Registry) -> Registry:
        known = part.declarations.resources
        if not known:
            return part
        openers = {name: Opener(function, settings) for name, function in known.items()}
        return Redeclared(part, evolve(part.declarations, resources=openers))

    return registry.with_parts(with_openers) if has_resources(registry) else registry


# ---------------------------------------------------------------------------- for whoever serves it
@frozen
class Settled:
    """A filter that is ready to be served, and the ``settings`` for what has none of its own."""

    on_connect: Any
    settings: Mapping[str, Any] = field(factory=dict, repr=False)


def settle(on_connect: Any, settings: Settings = None) -> Settled:
    """What is served: a function of settings is called with them, resources get them.

    ``settings`` is a map, or the name of a TOML file. There the table of a function has its name, that
    of a registry the registry's (``name=``, else handlers). `SettingsError` says what is wrong with
    them, `HandlerError` that nothing takes any.
    """
    file = read_settings(settings) if isinstance(settings, str | Path) else None
    if is_of_settings(on_connect):
        name = name_of(on_connect)
        if file is not None:
            file.refuse_others([name])
        values = check_mapping("settings=", settings or {}) if file is None else file.table(name)
        advice = "give them as settings=" if settings is None else ""
        return Settled(make_filter(on_connect, Table(name, values, file, advice)).registry)
    if file is None:
        given = check_mapping("settings=", {} if settings is None else settings)
        if given and not isinstance(on_connect, Mapping):
            raise HandlerError(
                "expected settings= for a registry, or for a function of settings that returns one, got "
                f"them for {describe(on_connect)}: write def {name_of(on_connect)}(...) -> Registry, "
                "with an annotation for each setting"
            )
        return Settled(on_connect, given)
    registry = as_registry(on_connect) if isinstance(on_connect, Mapping) else Registry()
    name = registry.name or NO_NAME
    file.refuse_others([name] if has_resources(registry) else [], advice_for(on_connect))
    return Settled(give(registry, file.table(name)) if isinstance(on_connect, Mapping) else on_connect)

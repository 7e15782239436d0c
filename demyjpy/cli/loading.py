"""From the names of filters on the command line to a filter: ``FILE.py:NAME``, ``package.module:NAME``.

Several are merged in the order given. A function of settings gets its table of a settings file.
Whatever is wrong with a name, a file or what is in it becomes a `LoadError` or `SettingsError`,
which tells its user what to do. Nothing is printed here.
"""

import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from attrs import field, frozen

from demyjpy.cli import pymilter_words
from demyjpy.cli.fresh_source import FreshSource
from demyjpy.cli.places import explain, place_of
from demyjpy.cli.pymilter_words import OF_PYMILTER
from demyjpy.cli.script_logging import as_scripts_log
from demyjpy.cli.signals import alarm
from demyjpy.context import new_context
from demyjpy.drivers.start import being_loaded
from demyjpy.errors import HandlerError, MilterError, SettingsError
from demyjpy.handlers import as_registry, merge_handlers
from demyjpy.registry import Registry
from demyjpy.settings.making import Made, Table, give, has_resources, make_filter
from demyjpy.settings.signatures import advice_for, is_of_settings
from demyjpy.settings.toml_file import SettingsFile, read_settings

if TYPE_CHECKING:
    from demyjpy.cli.pymilter_scripts import Script

T = TypeVar("T")
Kind: TypeAlias = Literal["registry", "function"]

DEFAULT_NAME: Final = "handlers"
"""The name to look for if none is given."""

SPELLINGS: Final = "FILE.py:NAME or package.module:NAME"
"""How a filter may be named."""

_TABLE: Final = re.compile(r"[A-Za-z0-9_-]+")

_AGAIN: Final = 1.0  # seconds


class LoadError(MilterError):
    """A filter that cannot be loaded. The message may have more lines than one: where it happened."""


class ScriptExitError(LoadError):
    """A script of pymilter's that ended by `sys.exit` before it served: with this ``status``."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


def _texts(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


@frozen
class Wanted:
    """What is to be loaded: ``filters`` by their names, with the ``settings`` file for all of them.

    ``beside`` are filters that others load, with tables of their own in the same file. ``arguments`` are
    those of scripts of pymilter's.
    """

    filters: tuple[str, ...] = field(converter=_texts)
    settings: str | None = None
    beside: tuple[str, ...] = field(default=(), converter=_texts)
    arguments: tuple[str, ...] = field(default=(), converter=_texts)

    @property
    def name(self) -> str:
        """All of them as they were given, for people."""
        return " ".join(self.filters)


@frozen
class Loaded:
    """A filter, and the name it was loaded by: ``on_connect`` is what `start_milter` takes.

    ``made`` are those of it that were made of settings. ``scripts`` are pymilter's, which stand still
    while it is served.
    """

    name: str
    kind: Kind
    on_connect: Any
    made: tuple[Made, ...] = ()
    scripts: "tuple[Script, ...]" = ()


@frozen
class _Found:
    """What a name names, before it is a filter: ``table`` is that of its settings.

    ``called`` is the name that it was given; None if it keeps its own. ``script``: whose filter it is.
    """

    name: str
    table: str
    called: str | None
    value: Any
    script: "Script | None" = None

    @property
    def takes_settings(self) -> bool:
        """Whether it has a use for a table."""
        if isinstance(self.value, Registry):
            return has_resources(self.value)
        return is_of_settings(self.value)


def load_filter(text: str) -> Loaded:
    """The filter that ``text`` names (see `SPELLINGS`), or `LoadError`; without settings.

    The directory of a file, or for a module the current one, goes first on ``sys.path``.
    """
    return load_filters(Wanted((text,)))


def load_filters(
    wanted: Wanted, acting: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Loaded:
    """The filters that are wanted, as one; `LoadError` or `SettingsError` if that cannot be.

    What is in files is loaded first. Then, in ``acting()``, settings are read and filters made of them.
    """
    modules: dict[str, ModuleType] = {}
    has_script = any(text.startswith(OF_PYMILTER) for text in wanted.filters)
    with as_scripts_log() if has_script else nullcontext():
        found = [
            _run_script(text, wanted.arguments) if text.startswith(OF_PYMILTER) else _find(text, modules)
            for text in wanted.filters
        ]
    tables = [one.table for one in found if one.takes_settings]
    _check_tables([one for one in found if one.called or (wanted.settings and one.takes_settings)])
    with _in_time(wanted.name), acting():
        file = None if wanted.settings is None else read_settings(wanted.settings)
        if file is not None:
            advice = next(filter(None, (advice_for(one.value) for one in found)), "")
            file.refuse_others([*tables, *(_split(one)[2] for one in wanted.beside)], advice)
        return _merged([_as_filter(one, file) for one in found], found)


def _split(text: str) -> tuple[str, str, str, str | None]:
    """File or module, name, table, and what the filter is to be called: ``FILE:NAME=CALLED``."""
    source, colon, name = text.rpartition(":")
    if not colon:
        source, name = text, DEFAULT_NAME
    name, equals, called = name.partition("=")
    if not source or not name.isidentifier() or (equals and not _TABLE.fullmatch(called)):
        raise LoadError(
            f"expected a filter as {SPELLINGS}, or with =TABLE behind it, got {text!r}"
            if equals
            else f"expected a filter as {SPELLINGS}, got {text!r}"
        )
    return source, name, called or name, called or None


def _find(text: str, modules: dict[str, ModuleType]) -> _Found:
    """What a name names; a file is loaded once for all names in it, and then is in ``modules``."""
    source, name, table, called = _split(text)
    if source not in modules:
        is_file = "/" in source or source.endswith(".py")
        modules[source] = _load_file(source) if is_file else _load_module(source)
    module = modules[source]
    if not hasattr(module, name):
        raise LoadError(
            f"expected {name!r} in {source}, got no such name; {_what_there_is(source, module)}"
        )
    whole = f"{source}:{name}" if called is None else f"{source}:{name}={called}"
    value = getattr(module, name)
    if isinstance(value, Mapping):
        try:
            value = as_registry(value)
        except HandlerError as error:
            raise LoadError(f"{whole} is no filter: {error}") from error
    return _Found(whole, table, called, value)


def _run_script(text: str, arguments: Sequence[str]) -> _Found:
    """The filter of a script of pymilter's: ``pymilter:FILE``, ``pymilter:FILE=NAME``.

    Behind it may be the script's arguments, as a shell has them.
    """
    from demyjpy.cli.pymilter_scripts import Script, ScriptError, status_of  # noqa: PLC0415  # slow

    spelled = f"{OF_PYMILTER}FILE, with =NAME or ARGUMENTS behind it"
    try:
        first, *others = shlex.split(text.removeprefix(OF_PYMILTER)) or [""]
    except ValueError as error:
        raise LoadError(f"expected a script as {spelled}, got {text!r}: {error}") from error
    source, equals, called = first.partition("=")
    if not source or (equals and not _TABLE.fullmatch(called)):
        raise LoadError(f"expected a script as {spelled}, got {text!r}")
    _check_readable(source, pymilter_words.script_file_advice(source))
    _search_first(Path(source).parent)
    script = Script(source, others or arguments)
    try:
        registry = _guarded(source, script.start)
    except LoadError as error:
        cause = error.__cause__
        if isinstance(cause, ScriptError):  # which says it all
            raise LoadError(str(cause)) from cause
        status = status_of(cause)
        if status is None:
            raise
        raise ScriptExitError(str(error), status) from cause
    return _Found(text, called or Path(source).stem, called or None, registry, script)


def _check_tables(found: Sequence[_Found]) -> None:
    """`LoadError` if two of several filters have one table, or are called the same."""
    taken: dict[str, _Found] = {}
    for one in found:
        other = taken.setdefault(one.table, one)
        if other is not one:
            raise LoadError(
                f"expected filters with a table of their own, got [{one.table}] for {other.name} and "
                f"for {one.name}: give one of them another, as in {one.name.partition('=')[0]}=other"
            )


def _merged(loaded: Sequence[Loaded], found: Sequence[_Found]) -> Loaded:
    """Several filters as one, each by the name that it was given."""
    if len(loaded) == 1 and found[0].called is None:
        return loaded[0]
    for one in loaded:
        if one.kind == "function":
            raise LoadError(
                f"expected registries, or functions of settings, to merge or to name, got {one.name}, "
                "which is called once for each connection"
            )
    names = " ".join(one.name for one in loaded)
    try:
        parts = [
            one.on_connect if by.called is None else merge_handlers(**{by.called: one.on_connect})
            for one, by in zip(loaded, found, strict=True)
        ]
        chain = merge_handlers(*parts)
    except HandlerError as error:
        raise LoadError(f"{names}: {error}") from error
    return Loaded(
        names,
        "registry",
        chain,
        tuple(made for one in loaded for made in one.made),
        tuple(script for one in loaded for script in one.scripts),
    )


def _what_there_is(source: str, module: ModuleType) -> str:
    """Advice for someone who gave the wrong name."""
    names = [name for name, value in vars(module).items() if isinstance(value, Registry)]
    if names:
        return f"filters there: {', '.join(names)}"
    own = [
        name
        for name, value in vars(module).items()
        if is_of_settings(value)
        and inspect.signature(value).parameters
        and getattr(value, "__module__", None) == module.__name__
        and not name.startswith("_")
    ]
    if own:
        return f"there is {own[0]}: write {source}:{own[0]}"
    if pymilter_words.imports_pymilter(vars(module)):
        return pymilter_words.is_script_advice(source)
    return f"define one: {DEFAULT_NAME} = define_event_handlers()"


def _as_filter(found: _Found, file: SettingsFile | None) -> Loaded:
    """What was found under the name, if it is one of the things that a filter may be."""
    name, value = found.name, found.value
    if isinstance(value, Registry):
        registry = value if file is None else give(value, file.table(found.table))
        return Loaded(name, "registry", registry, scripts=(found.script,) if found.script else ())
    if is_of_settings(value):
        made = _made(found, file)
        return Loaded(name, "registry", made.registry, (made,))
    if callable(value) and not isinstance(value, type):
        if inspect.iscoroutinefunction(value) or not takes(value, new_context()):
            advice = "handlers belong in a registry: see define_event_handlers"
            raise LoadError(
                f"expected {name} to be a plain function ctx -> ctx (what runs at each connection), "
                f"got {describe(value)}; {'; '.join(filter(None, (advice, advice_for(value))))}"
            )
        return Loaded(name, "function", value)
    raise LoadError(
        f"expected {name} to be a registry (define_event_handlers), a map of event names to handlers, "
        f"a function of settings (-> Registry) or a function ctx -> ctx, got {value!r:.100}"
    )


def _made(found: _Found, file: SettingsFile | None) -> Made:
    advice = "" if file else f"give --settings FILE.toml with the table [{found.table}]"
    table = Table(found.table, file.table(found.table) if file else {}, file, advice)
    try:
        with being_loaded():
            return make_filter(found.value, table)
    except SettingsError as error:
        if error.__cause__ is None:
            raise
        raise LoadError("\n".join((str(error), *place_of(error.__cause__)))) from error
    except HandlerError as error:
        raise LoadError(f"{found.name}: {error}") from error


def takes(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function can be called with these arguments; True if that is not known."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin without signature
        return True
    return True


def describe(function: Callable[..., Any]) -> str:
    """A function as its ``def`` line has it."""
    kind = "async def" if inspect.iscoroutinefunction(function) else "def"
    return f"{kind} {getattr(function, '__name__', '?')}{inspect.signature(function)}"


# -------------------------------------------------------------------------------------- loading
def _load_file(source: str) -> ModuleType:
    path = Path(source)
    _check_readable(source)
    _check_stem(path)
    _search_first(path.parent)
    return _guarded(source, lambda: _run(path.stem, path.absolute()))


def _check_readable(source: str, advice: str = "") -> None:
    path = Path(source)
    try:
        path.open("rb").close()
    except OSError as error:
        raise LoadError(
            f"expected a filter in {source}, got: {error.strerror}; {advice or _other_file(path)}"
        ) from error


def _other_file(path: Path) -> str:
    other = Path(f"{path}.py")
    with suppress(OSError):  # it may not be looked for
        if other.is_file():
            return f"did you mean {other}?"
    return f"a filter is given as {SPELLINGS}"


def _check_stem(path: Path) -> None:
    """Refuse a file that would take the place of a module that others import."""
    stem, loaded = path.stem, sys.modules.get(path.stem)
    is_other = loaded is not None and getattr(loaded, "__file__", None) != str(path.absolute())
    if is_other or stem in sys.stdlib_module_names:
        raise LoadError(f"expected a file that hides no other module, got {path}: rename it")


def _search_first(directory: Path) -> None:
    place = str(directory.absolute())
    if sys.path[:1] != [place]:
        sys.path.insert(0, place)


def _run(name: str, path: Path) -> ModuleType:
    """The module in a file; known by its name, so that what it defines can be pickled."""
    loader = FreshSource(name, str(path))
    spec = ModuleSpec(name, loader, origin=str(path))
    spec.has_location = True
    module = sys.modules[name] = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _load_module(source: str) -> ModuleType:
    if not all(part.isidentifier() for part in source.split(".")):
        raise LoadError(f"expected a filter as {SPELLINGS}, got the module {source!r}")
    _search_first(Path())
    return _guarded(source, lambda: _import(source))


def _import(source: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if f"{source}.".startswith(f"{error.name}."):
            raise LoadError(
                f"expected the module {source}, got: {error}; looked in this directory and where "
                f"Python looks; a filter is given as {SPELLINGS}"
            ) from error
        raise


def _guarded(source: str, load: Callable[[], T]) -> T:
    """Load, or `LoadError` that says what the filter did and where."""
    try:
        with being_loaded(), _in_time(source):
            return load()
    except LoadError:
        raise
    except (Exception, SystemExit) as error:
        advice = (
            f"\n  {pymilter_words.is_script_advice(source)}" if pymilter_words.is_missing(error) else ""
        )
        raise LoadError(f"expected {source} to load, got {explain(error)}{advice}") from error


class _TooLongError(BaseException):
    """Raised wherever the filter is; no ``except Exception`` of its catches it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


@contextmanager
def _in_time(source: str) -> Iterator[None]:
    """What takes too long in the block is a `LoadError` that says where it was."""
    try:
        yield
    except _TooLongError as error:
        late = f"expected {source} to load within {error.seconds:g} s (--load-timeout); it was still at"
        raise LoadError("\n".join((late, *place_of(error)))) from None


def within(seconds: float) -> AbstractContextManager[None]:
    """What is loaded in the block has this long, or there is a `LoadError` that says where it was.

    Outside of the main thread it has all the time.
    """

    def stop(*_: object) -> None:
        raise _TooLongError(seconds)

    return alarm(seconds, stop, _AGAIN)  # again where it is caught after all

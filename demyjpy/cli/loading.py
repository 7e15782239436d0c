"""From a filter's name on the command line to the filter: ``FILE.py:NAME``, ``package.module:NAME``.

Whatever is wrong with the name, the file or what is in it becomes a `LoadError`, which tells its user
what to do. Nothing is printed here.
"""

import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias

from attrs import frozen

from demyjpy.cli.signals import alarm
from demyjpy.context import new_context
from demyjpy.drivers.start import being_loaded
from demyjpy.errors import HandlerError, MilterError
from demyjpy.handlers import as_registry
from demyjpy.registry import Registry

Kind: TypeAlias = Literal["registry", "function"]

DEFAULT_NAME: Final = "handlers"
"""What is looked for where no name is given."""

SPELLINGS: Final = "FILE.py:NAME or package.module:NAME"
"""How a filter may be named."""

_AGAIN: Final = 1.0  # seconds

_PACKAGE: Final = Path(__file__).parent.parent


class LoadError(MilterError):
    """A filter that cannot be loaded. The message may have more lines than one: where it happened."""


@frozen
class Loaded:
    """A filter, and the name it was loaded by: ``on_connect`` is what `start_milter` takes."""

    name: str
    kind: Kind
    on_connect: Any


def load_filter(text: str) -> Loaded:
    """The filter that ``text`` names (see `SPELLINGS`), or `LoadError`.

    The directory of a file, or for a module the current one, goes first on ``sys.path``.
    """
    source, colon, name = text.rpartition(":")
    if not colon:
        source, name = text, DEFAULT_NAME
    if not source or not name.isidentifier():
        raise LoadError(f"expected a filter as {SPELLINGS}, got {text!r}")
    is_file = "/" in source or source.endswith(".py")
    module = _load_file(source) if is_file else _load_module(source)
    if not hasattr(module, name):
        raise LoadError(f"expected {name!r} in {source}, got no such name; {_what_there_is(module)}")
    return _as_filter(f"{source}:{name}", getattr(module, name))


def _what_there_is(module: ModuleType) -> str:
    """Advice for someone who gave the wrong name."""
    names = [name for name, value in vars(module).items() if isinstance(value, Registry)]
    if names:
        return f"filters there: {', '.join(names)}"
    return f"define one: {DEFAULT_NAME} = define_event_handlers()"


def _as_filter(name: str, found: Any) -> Loaded:
    """What was found under the name, if it is one of the three things that a filter may be."""
    if isinstance(found, Mapping):
        try:
            return Loaded(name, "registry", as_registry(found))
        except HandlerError as error:
            raise LoadError(f"{name} is no filter: {error}") from error
    if callable(found) and not isinstance(found, type):
        if inspect.iscoroutinefunction(found) or not takes(found, new_context()):
            raise LoadError(
                f"expected {name} to be a plain function ctx -> ctx (what runs at each connection), "
                f"got {describe(found)}; handlers belong in a registry: see define_event_handlers"
            )
        return Loaded(name, "function", found)
    raise LoadError(
        f"expected {name} to be a registry (define_event_handlers), a map of event names to handlers "
        f"or a function ctx -> ctx, got {found!r:.100}"
    )


def takes(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function can be called with these arguments; True where nobody can tell."""
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
    try:
        path.open("rb").close()
    except OSError as error:
        raise LoadError(
            f"expected a filter in {source}, got: {error.strerror}; {_other_file(path)}"
        ) from error
    _check_stem(path)
    _search_first(path.parent)
    return _guarded(source, lambda: _run(path.stem, path.absolute()))


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
    spec = ModuleSpec(name, SourceFileLoader(name, str(path)), origin=str(path))
    spec.has_location = True
    module = module_from_spec(spec)
    sys.modules[name] = module
    SourceFileLoader(name, str(path)).exec_module(module)
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


def _guarded(source: str, load: Callable[[], ModuleType]) -> ModuleType:
    """Load, or `LoadError` that says what the filter did and where."""
    try:
        with being_loaded():
            return load()
    except LoadError:
        raise
    except _TooLongError as error:
        late = f"expected {source} to load within {error.seconds:g} s (--load-timeout); it was still at"
        raise LoadError("\n".join((late, *_place(error)))) from None
    except (Exception, SystemExit) as error:
        raise LoadError(f"expected {source} to load, got {explain(error)}") from error


class _TooLongError(BaseException):
    """Raised wherever the filter is; no ``except Exception`` of its catches it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def within(seconds: float) -> AbstractContextManager[None]:
    """What is loaded in the block has this long, or there is a `LoadError` that says where it was.

    Outside of the main thread it has all the time.
    """

    def stop(*_: object) -> None:
        raise _TooLongError(seconds)

    return alarm(seconds, stop, _AGAIN)  # again where it is caught after all


# ---------------------------------------------------------------------------- where it happened
def explain(error: BaseException) -> str:
    """An exception in a filter for its author: what, and on the next lines the author's own line."""
    if isinstance(error, SyntaxError) and Path(error.filename or "").is_file():
        line = (error.text or "").strip()
        return f"a syntax error at {short_path(str(error.filename))}:{error.lineno}: {error.msg}: {line}"
    what = f"{type(error).__name__}: {error}".replace("\n", " ").removesuffix(": ")
    return "\n".join((what, *_place(error)))


def _place(error: BaseException) -> list[str]:
    """The author's own line at which it was raised, as tracebacks have it, if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    others = [frame for frame in frames if not _is_ours(frame.filename)]
    own = [frame for frame in others if is_own(frame.filename)] or others
    if not own:
        return []
    frame = own[-1]
    place = f'  File "{short_path(frame.filename)}", line {frame.lineno}, in {frame.name}'
    return [place, *([f"    {frame.line}"] if frame.line else [])]


def _is_ours(filename: str) -> bool:
    """Whether a file is this library's, or what loads modules for it."""
    return filename.startswith("<frozen ") or Path(filename).is_relative_to(_PACKAGE)


def is_own(filename: str) -> bool:
    """Whether a file is neither Python's nor installed."""
    paths = sysconfig.get_paths()
    others = [Path(paths[key]) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    path = Path(filename)
    return path.is_absolute() and not any(path.is_relative_to(one) for one in others)


def short_path(filename: str) -> str:
    """A path as short as it can be written from here."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename

"""Where in a filter something went wrong, for its author."""

import sysconfig
import traceback
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parent.parent


def explain(error: BaseException) -> str:
    """An exception in a filter for its author: what, and on the next lines the author's own line."""
    if isinstance(error, SyntaxError) and Path(error.filename or "").is_file():
        line = (error.text or "").strip()
        return f"a syntax error at {short_path(str(error.filename))}:{error.lineno}: {error.msg}: {line}"
    what = f"{type(error).__name__}: {error}".replace("\n", " ").removesuffix(": ")
    return "\n".join((what, *place_of(error)))


def place_of(error: BaseException) -> list[str]:
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

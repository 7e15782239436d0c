"""Pages go to files: tried before the work begins, for their owner only. What is wrong is one line.

Only an older page is written over.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from demyjpy.cli.errors import InputError
from demyjpy.trace.format.files import is_any_of

_START: Final = b"<!doctype html"


def try_page(path: str, traces: Iterable[str]) -> None:
    """`InputError` if no page can be written there, or something else is there; nothing is changed."""
    page = Path(path)
    try:
        is_there = page.exists()
        if is_any_of(page, traces):
            raise InputError(f"expected a new file for --html, got the trace {path}")
        if page.is_file() and not _is_page(page):
            raise InputError(
                f"expected a new file for --html, or a page that may be written over, got {path}: "
                "choose another name, or remove it"
            )
        os.close(_open(page))
        if not is_there:
            page.unlink()
    except OSError as error:
        raise _cannot(path, error) from error


def _is_page(path: Path) -> bool:
    """Whether a page is there, or nothing yet."""
    with path.open("rb") as file:
        start = file.read(len(_START))
    return start.lower() in (_START, b"")


def write_page(path: str, text: str) -> None:
    """Write it, for its owner only, in place of what is there; `InputError` where that fails."""
    try:
        with os.fdopen(_open(Path(path), os.O_TRUNC), "wb") as file:
            file.write(text.encode())
    except OSError as error:
        raise _cannot(path, error) from error


def numbered(path: str, number: int) -> str:
    """The file of the ``number``-th page: ``session.html``, ``session-2.html``."""
    page = Path(path)
    return path if number == 1 else str(page.with_name(f"{page.stem}-{number}{page.suffix}"))


def _open(page: Path, how: int = 0) -> int:
    return os.open(page, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)


def _cannot(path: str, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}")

"""Files that commands write: a page, a test. Only an older one of the same kind is written over."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from demyjpy.cli.errors import InputError, failing_to
from demyjpy.trace.format.files import is_any_of

_PAGE: Final = b"<!doctype html"


def is_rewritable(
    option: str, path: Path, source: str, sources: Iterable[str], own: str, start: bytes
) -> bool:
    """Whether a file of our ``own`` is there, which begins with ``start``; False if there is none.

    `InputError` for ``source``, one of the ``sources``, and for anything else that would be lost.
    """
    with failing_to(f"write {path}"):
        if is_any_of(path, sources):
            raise InputError(f"expected a new file for {option}, got {source}")
        if not path.is_file() or not path.stat().st_size:
            return False
        with path.open("rb") as file:
            if file.read(len(start)).lower() == start.lower():
                return True
    raise InputError(
        f"expected a new file for {option}, or {own}, got {path}: choose another name, or remove it"
    )


def try_page(path: str, traces: Iterable[str]) -> None:
    """`InputError` if no page can be written there, or something else is there; nothing is changed."""
    page = Path(path)
    is_rewritable("--html", page, f"the trace {path}", traces, "a page that may be written over", _PAGE)
    with failing_to(f"write {path}"):
        is_there = page.exists()
        os.close(_open(page))
        if not is_there:
            page.unlink()


def write_page(path: str, text: str) -> None:
    """Write it, for its owner only, in place of what is there; `InputError` if that fails."""
    with failing_to(f"write {path}"), os.fdopen(_open(Path(path), os.O_TRUNC), "wb") as file:
        file.write(text.encode())


def numbered(path: str, number: int) -> str:
    """The file of the ``number``-th page: ``session.html``, ``session-2.html``."""
    page = Path(path)
    return path if number == 1 else str(page.with_name(f"{page.stem}-{number}{page.suffix}"))


def _open(page: Path, how: int = 0) -> int:
    return os.open(page, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)

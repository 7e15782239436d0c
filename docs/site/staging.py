"""What Sphinx reads: the pages of docs/ with their links turned, and those made from the code, written.

What has not changed is not written again, so that Sphinx reads only what has.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docs.site import api_pages, command_pages, source_pages
from docs.site.places import is_image, is_source, links_of, place_of, turned
from docs.site.sections import INDEX, navigation, with_rows

ROOT: Final = Path(__file__).parents[2]
PUBLIC_NAMES: Final = "tests/public_names.txt"

ROWS: Final = (
    "| [Commands](commands/index.rst) | every command and option, from the parsers |",
    "| [API](api/index.rst) | every public name, its types and what it does, from the docstrings |",
)
"""Rows of the table "Reference" for the pages that only the site has."""


def markdown_pages(root: Path = ROOT) -> list[str]:
    """The pages that people have written, as paths from the root."""
    return ["README.md", *(str(page.relative_to(root)) for page in sorted((root / "docs").glob("*.md")))]


def written_pages(root: Path = ROOT) -> dict[str, str]:
    """Their texts by path, as they are."""
    return {page: (root / page).read_text(encoding="utf-8") for page in markdown_pages(root)}


def linked_sources(texts: dict[str, str]) -> list[str]:
    """The files and directories that pages link to and that are no pages themselves."""
    paths = {link.path for page, text in texts.items() for link in links_of(page, text)}
    return sorted(path for path in paths if is_source(path))


def staged(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """All files of text that Sphinx reads: where each stands, and its text."""
    texts = written_pages(root)
    sources = linked_sources(texts)
    directories = frozenset(path for path in sources if (root / path).is_dir())
    for page, text in texts.items():
        if page == INDEX:
            full = with_rows(turned(page, text, directories), "Reference", ROWS)
            yield "index.md", full + _navigation(text, directories)
        else:
            yield place_of(page), turned(page, text, directories)
    for path in sources:
        if not any(path.startswith(f"{one}/") for one in directories):
            yield from source_pages.pages_of(root, path)
    yield from command_pages.pages()
    yield from api_pages.pages((root / PUBLIC_NAMES).read_text(encoding="utf-8").split())


def _navigation(index: str, directories: frozenset[str]) -> str:
    return navigation(with_rows(index, "Reference", ROWS), directories)


def stage(target: Path, root: Path = ROOT) -> None:
    """Write what Sphinx reads below a directory; what is there and no longer made goes."""
    made = dict(staged(root))
    for place, text in made.items():
        _write(target / place, text)
    images = [path for path in (root / "docs").iterdir() if is_image(path.name)]
    for image in images:
        copy = target / image.name
        if not copy.exists() or copy.read_bytes() != image.read_bytes():
            shutil.copyfile(image, copy)
    kept = {target / place for place in (*made, *(image.name for image in images))}
    for path in target.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")

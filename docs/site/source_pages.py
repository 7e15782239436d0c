"""Pages that show a file of the repository as it is, and those that list what a directory has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docs.site.places import place_of

_LANGUAGES: Final = {".py": "python", ".toml": "toml", ".json": "json", ".md": "md", ".sh": "sh"}
_LEFT_OUT: Final = ("__pycache__", ".pyc")


def fence_of(text: str) -> str:
    """Backticks that no line of the text begins with."""
    return "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)


def source_page(path: str, text: str) -> str:
    """The page of a file."""
    language = _LANGUAGES.get(Path(path).suffix, "text")
    fence = fence_of(text)
    return (
        f"---\norphan: true\n---\n\n# {path}\n\nThe file as it stands in the repository.\n\n"
        f"{fence}{{code-block}} {language}\n:linenos:\n\n{text.rstrip()}\n{fence}\n"
    )


def files_below(root: Path, directory: str) -> list[str]:
    """The files of text below a directory, as paths from the root."""
    paths = sorted(path for path in (root / directory).rglob("*") if path.is_file())
    return [
        str(path.relative_to(root))
        for path in paths
        if not any(part.endswith(_LEFT_OUT) for part in path.parts)
    ]


def purpose_of(text: str) -> str:
    """The first sentence of a Python file's docstring, on one line; "" if it has none."""
    found = re.match(r'\s*"""(.+?)(?:\n\n|""")', text, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def directory_page(directory: str, files: dict[str, str]) -> str:
    """The page of a directory: its files, and what each is there for."""
    base = place_of(directory, is_directory=True).removesuffix("index.md")
    rows = [
        f"| [{path.removeprefix(directory + '/')}]({place_of(path).removeprefix(base)}) "
        f"| {_in_a_cell(purpose_of(text) if path.endswith('.py') else '')} |"
        for path, text in files.items()
    ]
    title = directory.capitalize()
    return (
        f"# {title}\n\nThe files in `{directory}/`.\n\n"
        "| file | what it says of itself |\n| --- | --- |\n" + ("\n".join(rows) + "\n")
    )


def _in_a_cell(text: str) -> str:
    """Docstrings have two backticks where Markdown has one; a bar would end the cell."""
    return text.replace("``", "`").replace("|", "\\|").replace("<", "&lt;")


def pages_of(root: Path, path: str) -> Iterator[tuple[str, str]]:
    """The pages for a file or a directory: where each stands, and its text."""
    if not (root / path).is_dir():
        yield place_of(path), source_page(path, (root / path).read_text(encoding="utf-8"))
        return
    files = {one: (root / one).read_text(encoding="utf-8") for one in files_below(root, path)}
    yield place_of(path, is_directory=True), directory_page(path, files)
    for one, text in files.items():
        yield place_of(one), source_page(one, text)

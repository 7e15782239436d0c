"""Which page stands in which section: read from the tables of docs/index.md, which people read, too.

A section is a heading of the second level there, a group within it one of the third. A page belongs to
where a table row has a link to it in its first cell. Nothing else says where a page stands.
"""

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import field, frozen

from docs.site.places import link_of, place_of

INDEX: Final = "docs/index.md"
SECTIONS: Final = ("Tutorial", "How-to", "Reference", "Explanation")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


@frozen
class Group:
    """Pages under one heading: the section, the heading, and the paths from the root, in order."""

    section: str
    title: str
    pages: tuple[str, ...]
    end: int = field(default=0, eq=False)
    """The number of the line behind the last row of its table."""


def groups_of(index: str) -> list[Group]:
    """The groups of pages in the text of the index."""
    found: list[Group] = []
    section = title = ""
    pages: list[str] = []
    end = 0
    for number, line in enumerate([*index.splitlines(), "## "], 1):
        if line.startswith(("## ", "### ")):
            if pages:
                found.append(Group(section, title, tuple(pages), end))
            pages, title = [], line.lstrip("#").strip()
            section = title if line.startswith("## ") else section
        elif line.startswith("| ["):
            cell = line.split(" | ")[0]
            pages += [link_of(INDEX, target).path for target in _LINK.findall(cell)]
            end = number
    return found


def problems(index: str, pages: Iterable[str]) -> list[str]:
    """What is wrong with the index: pages in no section or in two, sections that are not the four."""
    groups = groups_of(index)
    told = [page for group in groups for page in group.pages]
    sections = dict.fromkeys(group.section for group in groups)
    return [
        *(
            f"{page} stands in no section: add a row that begins with a link to it to a table of {INDEX}"
            for page in pages
            if page not in told and page != INDEX
        ),
        *(f"{page} has more than one row in {INDEX}: leave one" for page in _twice(told)),
        *(
            [f"expected the sections {', '.join(SECTIONS)}, got {', '.join(sections)} in {INDEX}"]
            if tuple(sections) != SECTIONS
            else []
        ),
    ]


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def with_rows(index: str, section: str, rows: Sequence[str]) -> str:
    """The index with more rows at the end of the section's first table."""
    lines = index.splitlines()
    (end, *_) = (group.end for group in groups_of(index) if group.section == section)
    return "\n".join([*lines[:end], *rows, *lines[end:], ""])


def navigation(index: str, directories: frozenset[str]) -> str:
    """Hidden tables of contents, which make the navigation of the site, to stand at the index's end."""
    parts = []
    for group in groups_of(index):
        caption = group.section if group.title == group.section else f"{group.section}: {group.title}"
        places = [place_of(page, is_directory=page in directories) for page in group.pages]
        entries = "\n".join(posixpath.splitext(place)[0] for place in places)
        parts.append(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n")
    return "".join(parts)

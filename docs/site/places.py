"""Where a file of the repository stands in the site, and the links of a page turned to there.

Paths only: no file is read or written here.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from attrs import frozen

_CODE_OR_LINK: Final = re.compile(
    r"^(?P<fence>```+).*?^(?P=fence)$|(?P<ticks>`+)[^`].*?(?P=ticks)(?!`)|\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
_OUTSIDE: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_IMAGES: Final = (".svg", ".png", ".jpg")


@frozen
class Link:
    """A link of a page: the path from the root of the repository, and the anchor in that file."""

    path: str
    anchor: str


def is_outside(target: str) -> bool:
    """True for a URL, which leads out of the repository."""
    return _OUTSIDE.match(target) is not None


def link_of(page: str, target: str) -> Link:
    """What a relative link on a page leads to. ``page`` is a path from the root, too."""
    path, _, anchor = target.partition("#")
    full = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    return Link(full, anchor)


def links_of(page: str, text: str) -> Iterator[Link]:
    """The links of a page that stay in the repository; what stands in code is none."""
    for found in _CODE_OR_LINK.finditer(text):
        target = found["target"]
        if target and not is_outside(target):
            yield link_of(page, target)


def is_source(path: str) -> bool:
    """True for a file or directory that the site shows as it is, on a page made for it."""
    in_docs = path.startswith("docs/") and path.endswith((".md", ".rst", *_IMAGES))
    return not in_docs and path != "README.md"


def place_of(path: str, *, is_directory: bool = False) -> str:
    """The file that Sphinx reads for a file of the repository, or for a directory.

    >>> place_of("docs/tutorial.md"), place_of("README.md"), place_of("samples/quota.py")
    ('tutorial.md', 'readme.md', 'source/samples/quota.py.md')
    """
    if is_directory:
        return f"source/{path}/index.md"
    if path == "README.md":
        return "readme.md"
    if is_source(path):
        return f"source/{path}.md"
    return path.removeprefix("docs/")


def turned(page: str, text: str, directories: frozenset[str]) -> str:
    """The text of a page with its links as they have to be in the site.

    ``directories`` are those paths of the repository that are directories.
    """
    here = posixpath.dirname(place_of(page))

    def turn(found: re.Match[str]) -> str:
        target = found["target"]
        if not target or target.startswith("#") or is_outside(target):
            return found[0]
        link = link_of(page, target)
        place = place_of(link.path, is_directory=link.path in directories)
        path = posixpath.relpath(place, here or ".")
        return f"]({path}#{link.anchor})" if link.anchor else f"]({path})"

    return _CODE_OR_LINK.sub(turn, text)


def is_image(path: str) -> bool:
    """True for a picture, which is copied as it is."""
    return path.endswith(_IMAGES)

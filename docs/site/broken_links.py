"""The links of built pages: those within the site have to lead to a file, and an anchor in it.

Links to elsewhere are only listed: nothing is fetched.
"""

from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

_WITH_LINKS: Final = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


@frozen
class Html:
    """A built page: its anchors, and what it links to, as it is written."""

    anchors: frozenset[str]
    links: tuple[str, ...]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, Any] = dict(attrs)
        self.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        link = given.get(_WITH_LINKS.get(tag, ""))
        if link is not None:
            self.links.append(link)


def read_html(text: str) -> Html:
    """The anchors and links of a page."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return Html(frozenset(reader.anchors), tuple(reader.links))


@frozen
class Site:
    """A built site: its directory, and what stands on its pages."""

    root: Path
    pages: dict[Path, Html] = field(factory=dict)


def read_site(root: Path) -> Site:
    """Read all pages of a site."""
    paths = sorted(root.rglob("*.html"))
    return Site(root, {path: read_html(path.read_text(encoding="utf-8")) for path in paths})


def _is_outside(link: str) -> bool:
    split = urlsplit(link)
    return bool(split.scheme or split.netloc)


def broken(root: Path) -> list[str]:
    """Each link within the site that leads nowhere, with the page that it stands on."""
    return [f"{page.relative_to(root)}: {problem}" for page, problem in _broken(read_site(root))]


def _broken(site: Site) -> Iterator[tuple[Path, str]]:
    exists = cache(Path.is_file)
    for page, html in site.pages.items():
        for link in dict.fromkeys(html.links):
            if _is_outside(link):
                continue
            split = urlsplit(link)
            target = (page.parent / unquote(split.path)).resolve() if split.path else page
            if not exists(target):
                yield page, f"no file is where {link} leads"
            elif (
                split.fragment
                and target in site.pages
                and unquote(split.fragment) not in site.pages[target].anchors
            ):
                yield page, f"no anchor is where {link} leads"


def outside(root: Path) -> list[str]:
    """The links that lead out of the site, each once."""
    site = read_site(root)
    return sorted({link for html in site.pages.values() for link in html.links if _is_outside(link)})

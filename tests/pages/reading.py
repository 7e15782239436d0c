"""What is in a page: whether its elements close, and whether it loads or runs anything."""

import re
from html.parser import HTMLParser

RUNNING = {"script", "link", "img", "image", "use", "iframe", "object", "form", "base", "input"}
BESIDE = re.compile(r"\./[A-Za-z0-9%._~-]+")


class Reader(HTMLParser):
    """What elements a page has; it fails where one is not closed as it was opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        given = dict(attrs)
        self.attributes.update(given)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def is_self_contained(page: str) -> bool:
    """Whether it has no script and loads nothing; links go to places in it, or to pages beside it."""
    found = Reader(page)
    loads = found.attributes & {"src", "style", "xlink:href"} or "url(" in page or "@import" in page
    is_at_home = all(
        link.removeprefix("#") in found.ids if link.startswith("#") else BESIDE.fullmatch(link)
        for link in found.links
    )
    has_handlers = any(name.startswith("on") for name in found.attributes)
    is_unique = len(found.ids) == len(set(found.ids))
    return not found.names & RUNNING and not loads and is_at_home and not has_handlers and is_unique

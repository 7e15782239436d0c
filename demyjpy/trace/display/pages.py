"""HTML pages that need nothing but themselves: the template. No file is written here.

Everything that is shown is hostile until it has been through `element` or `text`: both escape it. What
is markup has the type `Markup`, which nothing else in the package makes. A page has no script, loads
nothing, and says so to the browser.
"""

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias
from urllib.parse import quote

from attrs import define, field, frozen

from demyjpy.trace.display.page_style import FATES, OTHER, STYLE
from demyjpy.trace.display.wording import safe

LARGEST: Final = 4 << 20  # characters of one page, about; the rest is counted, not shown

LONGEST: Final = 2000  # characters of one value that are shown

_EMPTY: Final = frozenset({"meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Inside: TypeAlias = "str | Iterable[Inside]"
"""What is in an element: pieces, one after the other. Only what is `Markup` is not escaped."""


def text(value: str, longest: int = LONGEST, *, is_block: bool = False) -> Markup:
    """Text as HTML: escaped, control characters visible, cut; a block keeps its line ends."""
    shown = value[:longest]
    lines = shown.split("\n") if is_block else [shown]
    more = f" [{len(value) - longest:,} more]" if len(value) > longest else ""
    return Markup(html.escape("\n".join(map(safe, lines)) + more))


def element(name: str, /, *inside: Inside, kind: str = "", **attributes: str) -> Markup:
    """An element with what is in it; ``kind`` is its class."""
    given = {"class": kind, **attributes} if kind else attributes
    words = "".join(
        f' {key.replace("_", "-")}="{html.escape(safe(value))}"' for key, value in given.items()
    )
    end = "" if name in _EMPTY else f"</{name}>"
    return Markup(f"<{name}{words}>{join(*inside)}{end}")


def join(*parts: Inside) -> Markup:
    """Pieces one after the other."""
    return Markup("".join(_pieces(parts)))


def _pieces(parts: Iterable[Inside]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Markup):
            yield part
        elif isinstance(part, str):
            yield text(part)
        else:
            yield from _pieces(part)


def details(summary: str, *inside: Inside) -> Markup:
    """What is shown when it is asked for."""
    return element("details", element("summary", summary), *inside)


def change(sign: str, words: str) -> Markup:
    """A line that is gone (``-``), new (``+``) or the same (``""``); marked not by colour alone."""
    name = {"-": "del", "+": "ins"}.get(sign, "span")
    mark = {"-": "\N{MINUS SIGN} ", "+": "+ "}.get(sign, "")
    return element("div", element(name, f"{mark}{words}"), kind="line")


def changes(old: dict[str, str], new: dict[str, str]) -> Iterator[Markup]:
    """What differs between two maps, a line a value."""
    for key in sorted({**old, **new}):
        if old.get(key) != new.get(key):
            yield from (change("-", f"{key} = {old[key]}") for _ in range(key in old))
            yield from (change("+", f"{key} = {new[key]}") for _ in range(key in new))


@define
class Bounded:
    """Pieces of a page, as many as it can hold; the rest is counted in ``left_out``."""

    limit: int = LARGEST
    pieces: list[Markup] = field(factory=list)
    left_out: int = 0
    _size: int = 0

    def add(self, piece: Markup) -> None:
        """One more, if there is room for it. After the first that has none, none has."""
        if self.left_out or self._size + len(piece) > self.limit:
            self.left_out += 1
            return
        self._size += len(piece)
        self.pieces.append(piece)


def link(target: str, *inside: Inside) -> Markup:
    """A link to the element of this page with the id ``target``."""
    return element("a", *inside, href=f"#{quote(target, safe='')}")


def page_link(name: str, *inside: Inside) -> Markup:
    """A link to another page in the same directory: its file's name, whatever is in it."""
    return element("a", *inside, href=f"./{quote(name, safe='')}")


def steps_nav(before: str, after: str, index: str, *, noun: str) -> Markup:
    """Links to the previous and the next element with an id, and to the index of them; "" for none."""
    return element(
        "nav",
        link(before, "\N{LEFTWARDS ARROW} previous") if before else (),
        link(index, "index"),
        link(after, "next \N{RIGHTWARDS ARROW}") if after else (),
        aria_label=f"previous and next {noun}",
    )


def fate_class(fate: str) -> str:
    """The class of a fate in the style sheet, which has its colour."""
    return FATES.get(fate, OTHER)[0]


def mark(fate: str) -> Markup:
    """The sign of a fate; its word stands beside it."""
    kind, sign, _ = FATES.get(fate, OTHER)
    return element("span", sign, kind=f"mark {kind}", aria_hidden="true")


def bar(share: float, kind: str = "") -> Markup:
    """A bar, so much of its place long (0 to 1): it repeats a number that is written beside it."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    classes = f"bar {kind}".strip()
    return element("svg", element("rect", width=width, height="100%"), kind=classes, aria_hidden="true")


@frozen
class Column:
    """A column of a table; ``kind``: ``"number"``, ``"word"`` (never broken) or ``"share"`` (a bar)."""

    head: str
    kind: str = ""


def table(columns: Sequence[Column], rows: Iterable[Iterable[Inside]]) -> Markup:
    """A table; on a phone each row is a block, with the head before each cell but the first."""
    heads = [element("th", one.head, kind=one.kind, scope="col") for one in columns]
    body = (element("tr", _cells(columns, row)) for row in rows)
    return element("table", element("thead", element("tr", heads)), element("tbody", body), kind="rows")


def _cells(columns: Sequence[Column], row: Iterable[Inside]) -> Iterator[Markup]:
    for at, (column, inside) in enumerate(zip(columns, row, strict=True)):
        label = {"data-label": column.head} if at else {}
        shown = inside if column.kind == "share" else element("span", inside)
        yield element("td", shown, kind=column.kind, **label)


def page(title: str, *body: Inside, refresh: int = 0) -> str:
    """A whole page; ``refresh``: the seconds after which a browser asks for it again, 0 for never."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", http_equiv="refresh", content=str(refresh)) if refresh else (),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    whole = element("html", head, element("body", element("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"

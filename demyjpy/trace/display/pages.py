"""HTML pages that need nothing but themselves: the template. No file is written here.

Everything that is shown is hostile until it has been through `element` or `text`: both escape it. What
is markup has the type `Markup`, which nothing else in the package makes. A page has no script, loads
nothing, and says so to the browser.
"""

import html
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from attrs import define, field

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


def page(title: str, *body: Inside) -> str:
    """A whole page."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        element("title", title),
        element("style", Markup(_STYLE)),
    )
    whole = element("html", head, element("body", element("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


_STYLE: Final = """
:root { --page: #f6f7f9; --card: #fff; --ink: #1b2430; --dim: #5a6675; --line: #d5dbe3; --lane: #9aa7b8;
  --mta: #1d5fa8; --filter: #7a3ea3; --gone: #a3191f; --gone-bg: #fdecec; --new: #136b34;
  --new-bg: #e6f5ea; --code: #eef1f5; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1b212a; --ink: #e4e9f0; --dim: #9aa7b8; --line: #333d4a;
    --lane: #556275; --mta: #7fb6f5; --filter: #cf9df0; --gone: #ff9d9d; --gone-bg: #3d1f23;
    --new: #86dea3; --new-bg: #17351f; --code: #242c37; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .25rem 0; }
code, pre, .line { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, "Liberation Mono", monospace; }
pre { margin: .25rem 0; padding: .5rem; background: var(--code); border-radius: 4px; overflow-x: auto;
  white-space: pre-wrap; }
.dim { color: var(--dim); }
.line { padding-left: 1.1em; text-indent: -1.1em; }
del, ins { text-decoration: none; padding: 0 .25em; border-radius: 3px;
  box-decoration-break: clone; -webkit-box-decoration-break: clone; }
del { color: var(--gone); background: var(--gone-bg); }
ins { color: var(--new); background: var(--new-bg); }
details { margin: .25rem 0; }
summary { cursor: pointer; color: var(--dim); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .75rem; margin: .25rem 0; }
dt { color: var(--dim); }
dd { margin: 0; min-width: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .75rem 1rem; margin: .75rem 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .5rem;
  margin: 1rem 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .5rem .75rem; }
.figure b { display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.figure.bad b { color: var(--gone); }
.tag { font-size: .8rem; border: 1px solid var(--line); border-radius: 1em; padding: 0 .6em;
  margin-left: .5em; color: var(--dim); white-space: nowrap; }
.lanes { position: sticky; top: 0; display: flex; justify-content: space-between; font-weight: 600;
  background: var(--page); padding: .35rem 0; z-index: 1; }
.lanes :first-child { color: var(--mta); }
.lanes :last-child { color: var(--filter); }
.steps { list-style: none; margin: 0; padding: 0; border-left: 2px solid var(--mta);
  border-right: 2px solid var(--filter); }
.step { padding: .5rem 0; }
.said, .answer { position: relative; padding: 0 1rem .25rem; border-bottom: 2px solid var(--lane); }
.answer { text-align: right; border-bottom-style: dashed; }
.said::after, .answer::after { content: ""; position: absolute; bottom: -6px;
  border: 5px solid transparent; }
.said::after { right: 0; border-left: 8px solid var(--lane); border-right: 0; }
.answer::after { left: 0; border-right: 8px solid var(--lane); border-left: 0; }
.whole { padding: 0 1rem; font-size: .9em; }
.number { color: var(--dim); font-variant-numeric: tabular-nums; }
.step .card { margin: .6rem 1rem .4rem 3rem; border-right: 4px solid var(--filter);
  padding: .5rem .75rem; }
.error { color: var(--gone); }
@media (max-width: 30rem) { main { padding: 1rem .75rem 2rem; } .step .card { margin-left: 1rem; }
  dl { grid-template-columns: 1fr; } dd { padding-left: .75rem; } }
@media print { .lanes { position: static; } }
"""

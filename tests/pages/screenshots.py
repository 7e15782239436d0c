"""``python -m tests.pages.screenshots DIRECTORY``: the pages as a browser shows and prints them.

At the width of a phone, a tablet and a screen, light and dark, and as PDF. The status is 1 if a page is
wider than its window. It needs Chromium. ``--docs`` renews the pictures of the documentation, too.
"""

import sys
from pathlib import Path

from demyjpy.cli.output import say
from tests.pages.browser import Browser, browser
from tests.pages.examples import pages

WIDTHS = (360, 768, 1280)
SCHEMES = ("light", "dark")
DOCS = Path(__file__).parents[2] / "docs"
TOO_WIDE = """(width => [...document.querySelectorAll("body *")]
    .filter(one => one.getBoundingClientRect().right > width + 0.5)
    .slice(0, 3).map(one => `${one.tagName} ${one.textContent.slice(0, 40)}`).join("; "))"""
OPEN = "document.querySelectorAll('details').forEach(one => { one.open = true })"


def look(tab: Browser, name: str, page: Path, place: Path) -> list[str]:
    """Pictures of a page; what is too wide in it, also with all of it open."""
    found = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            tab.show(page, width, scheme)
            tab.picture(place / f"{name}-{width}-{scheme}.png")
        tab.value(OPEN)
        wide = tab.value("document.documentElement.scrollWidth")
        if wide > width:
            found.append(f"{name}: {wide} pixels at {width}: {tab.value(f'{TOO_WIDE}({width})')}")
    tab.show(page, WIDTHS[-1], "dark")
    tab.pdf(place / f"{name}.pdf")
    return found


def main(arguments: list[str]) -> int:
    """0, or 1 if a page is too wide."""
    place = Path(next(one for one in arguments if not one.startswith("-")))
    place.mkdir(parents=True, exist_ok=True)
    found = []
    made = pages(place)
    with browser() as tab:
        for name, page in made.items():
            found += look(tab, name, page, place)
        if "--docs" in arguments:
            tab.show(made["report"], 800, "light")
            tab.picture(DOCS / "replay-report.png", 1000)
            tab.show(made["session"], 360, "dark")
            tab.picture(DOCS / "replay-session.png", 1240)
    say(*(found or [f"{len(made)} pages, none wider than its window"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

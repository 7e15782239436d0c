"""Looking at every page in a browser: ``python -m docs.site.screenshots SITE OUTPUT``.

At each width no page may be wider than the window, and no script may report an error. Pictures of some
pages are written, for people to look at.
"""

import argparse
import base64
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from docs.site.chromium import Chromium, ChromiumError, chromium, find_chromium

WIDTHS: Final = (360, 768, 1280)
HEIGHT: Final = 900
MOST_HEIGHT: Final = 4000
PICTURES: Final = (
    "index",
    "tutorial",
    "running",
    "conformance",
    "benchmarks",
    "model",
    "api/serving",
    "api/events",
    "api/lookups",
    "commands/run",
    "source/samples/index",
    "search",
)
"""Pages of which pictures are made, at the first and the last width, light and dark."""

_WIDTH: Final = "document.documentElement.scrollWidth"
_WIDEST: Final = """(() => {
  const found = [...document.querySelectorAll("article *")].filter(
    one => one.getBoundingClientRect().right > innerWidth + 1);
  return found.slice(0, 3).map(one => one.tagName + "." + one.className).join(" ");
})()"""


@frozen
class Look:
    """What was seen of a page at a width."""

    page: str
    width: int
    document: int
    widest: str
    errors: tuple[str, ...]

    @property
    def problems(self) -> Iterator[str]:
        """What is wrong with it, a line each."""
        if self.document > self.width:
            yield f"{self.page} at {self.width} px: the page is {self.document} px wide: {self.widest}"
        for error in self.errors:
            yield f"{self.page} at {self.width} px: {error}"


def pages_of(site: Path) -> list[str]:
    """The pages of a site, without ``.html``."""
    return [str(path.relative_to(site).with_suffix("")) for path in sorted(site.rglob("*.html"))]


def _errors(browser: Chromium) -> tuple[str, ...]:
    """What scripts and the browser itself complained about since the last look."""
    found = []
    for event in browser.events:
        given = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            found.append(str(given["exceptionDetails"].get("text")))
        elif event.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            found.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif event.get("method") == "Runtime.consoleAPICalled" and given["type"] == "error":
            found.append(" ".join(str(one.get("value")) for one in given["args"]))
    browser.events.clear()
    return tuple(found)


def set_width(browser: Chromium, width: int) -> None:
    """The window's size, in CSS pixels."""
    browser.ask(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=HEIGHT,
        deviceScaleFactor=1,
        mobile=width < WIDTHS[1],
    )


def looks(browser: Chromium, site: Path, page: str) -> Iterator[Look]:
    """A page at each width."""
    set_width(browser, WIDTHS[0])
    browser.ask("Page.navigate", url=(site / f"{page}.html").resolve().as_uri())
    browser.wait("Page.loadEventFired")
    for width in WIDTHS:
        set_width(browser, width)
        document = browser.evaluate(_WIDTH)
        widest = browser.evaluate(_WIDEST) if document > width else ""
        yield Look(page, width, document, widest, _errors(browser))


def picture(browser: Chromium, width: int, scheme: str) -> bytes:
    """The open page as PNG, from its top, as long as it is but no longer than `MOST_HEIGHT`."""
    set_width(browser, width)
    browser.ask(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    height = min(MOST_HEIGHT, browser.evaluate("document.documentElement.scrollHeight"))
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    result = browser.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    return base64.b64decode(result["data"])


def look_at(browser: Chromium, site: Path, output: Path) -> Iterator[str]:
    """What is wrong with the pages of a site; the pictures are written below ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    for page in pages_of(site):
        for look in looks(browser, site, page):
            yield from look.problems
        if page in PICTURES:
            for width in (WIDTHS[0], WIDTHS[-1]):
                for scheme in ("light", "dark"):
                    name = f"{page.replace('/', '-')}-{width}-{scheme}.png"
                    (output / name).write_bytes(picture(browser, width, scheme))


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 if a page is too wide or a script failed; 2 if there is no browser or no site."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.site.screenshots",
        description="Open every page in Chromium, look whether it fits, and make pictures of some.",
    )
    parser.add_argument("site", metavar="SITE", type=Path, help="OUTPUT/html of python -m docs.site")
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="where the pictures go")
    given = parser.parse_args(arguments)
    pages = pages_of(given.site)
    if not pages:
        print(f"expected pages in {given.site}, got none", file=sys.stderr)
        return 2
    try:
        with chromium(find_chromium()) as browser:
            found = list(look_at(browser, given.site, given.output))
    except ChromiumError as error:
        print(error, file=sys.stderr)
        return 2
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(pages)} pages at {', '.join(map(str, WIDTHS))} px: {len(found) or 'no'} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

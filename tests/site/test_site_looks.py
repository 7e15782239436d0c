"""Looking at pages in a browser: what is asked of it, and what is said of the answers.

The browser here is a program that answers by the same pipe; the real one is for a person's machine.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.site import chromium, screenshots
from docs.site.chromium import ChromiumError, find_chromium

BROWSER = """\
#!{python}
import base64, json, os

def lines():
    rest = b""
    while data := os.read(3, 65536):
        *whole, rest = (rest + data).split(b"\\0")
        yield from map(json.loads, whole)

def send(**message):
    data = json.dumps(message).encode() + b"\\0"
    for part in (data[:7], data[7:]):
        os.write(4, part)

def answer(method, given):
    if method == "Target.createTarget":
        return {{"targetId": "t"}}
    if method == "Target.attachToTarget":
        return {{"sessionId": "s"}}
    if method == "Page.captureScreenshot":
        return {{"data": base64.b64encode(json.dumps(given["clip"]).encode()).decode()}}
    if method == "Runtime.evaluate":
        script = given["expression"]
        if script == "broken":
            return {{"exceptionDetails": {{"text": "Uncaught"}}}}
        if script.endswith("scrollWidth"):
            return {{"result": {{"value": 800 if "wide" in url else width}}}}
        return {{"result": {{"value": 5000 if script.endswith("Height") else "TABLE.x"}}}}
    return {{}}

url, width = "", 0
for message in lines():
    method, given = message["method"], message["params"]
    if method == "Nothing.known":
        send(id=message["id"], error={{"message": "no such method"}})
        continue
    if method == "Nothing.said":
        os.close(3)
        os._exit(1)
    if method == "Emulation.setDeviceMetricsOverride":
        width = given["width"]
    if method == "Page.navigate":
        url = given["url"]
        if "wide" in url:
            send(method="Runtime.exceptionThrown", params={{"exceptionDetails": {{"text": "Oh"}}}})
            entry = {{"level": "error", "text": "not found", "url": "x.js"}}
            send(method="Log.entryAdded", params={{"entry": entry}})
            send(method="Log.entryAdded", params={{"entry": {{"level": "info", "text": "fine"}}}})
            send(method="Runtime.consoleAPICalled", params={{"type": "error", "args": [{{"value": 1}}]}})
    send(id=message["id"], result=answer(method, given))
    if method == "Page.navigate":
        send(method="Page.loadEventFired")
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a browser in it, and the only one on PATH besides the system's shell."""
    program = tmp_path / "bin/chromium"
    program.parent.mkdir()
    program.write_text(BROWSER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin")
    return tmp_path


def site_of(path: Path, *pages: str) -> Path:
    """A site with these pages."""
    site = path / "site"
    for page in pages:
        (site / page).parent.mkdir(parents=True, exist_ok=True)
        (site / page).write_text("<p>")
    return site


def test_pages_that_fit_are_photographed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some pages are written as pictures, at two widths, light and dark, and no longer than is good."""
    site = site_of(path, "index.html", "sub/page.html")
    assert screenshots.main([str(site), str(path / "out")]) == 0
    assert capsys.readouterr().out == "2 pages at 360, 768, 1280 px: no problems\n"
    pictures = sorted(one.name for one in (path / "out").iterdir())
    assert pictures == [
        f"index-{width}-{scheme}.png" for width in (1280, 360) for scheme in ("dark", "light")
    ]
    assert b'"width": 360, "height": 4000' in (path / "out/index-360-dark.png").read_bytes()


def test_what_is_wrong_with_a_page_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that is wider than the window, with what sticks out, and errors of scripts, once."""
    site = site_of(path, "wide.html")
    assert screenshots.main([str(site), str(path / "out")]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "wide at 360 px: the page is 800 px wide: TABLE.x",
        "wide at 360 px: Oh",
        "wide at 360 px: not found x.js",
        "wide at 360 px: 1",
        "wide at 768 px: the page is 800 px wide: TABLE.x",
    ]
    assert told.out == "1 pages at 360, 768, 1280 px: 5 problems\n"


def test_an_answer_that_is_none_is_an_error(path: Path) -> None:
    """A method that fails, a script that raises, and a browser that goes are told."""
    with chromium.chromium(find_chromium()) as browser:
        with pytest.raises(ChromiumError, match=r"Nothing.known: no such method"):
            browser.ask("Nothing.known")
        with pytest.raises(ChromiumError, match="broken: Uncaught"):
            browser.evaluate("broken")
        with pytest.raises(ChromiumError, match="expected an answer within 60 s, got none"):
            browser.ask("Nothing.said")
        with pytest.raises(ChromiumError, match="expected a browser that reads"):
            browser.ask("Page.enable")


def test_nothing_to_look_at_or_by_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page, and no browser, end with 2 and a line that says what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert screenshots.main([str(tmp_path), str(tmp_path)]) == 2
    assert f"expected pages in {tmp_path}, got none" in capsys.readouterr().err
    site = site_of(tmp_path, "index.html")
    assert screenshots.main([str(site), str(tmp_path)]) == 2
    assert "on PATH: apt-get install chromium" in capsys.readouterr().err

"""The site as it is built, once: no warning, no broken link, every public name and command in it."""

import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from attrs import frozen

from demyjpy.cli.program import COMMANDS
from docs.site import building
from docs.site.broken_links import broken, outside, read_html
from docs.site.command_pages import parsers
from docs.site.sphinx_parts import is_there
from docs.site.staging import PUBLIC_NAMES, ROOT


@frozen
class Built:
    """What the command has made and said."""

    root: Path
    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The site, built once for all tests; CI looks at it later."""
    output = Path(os.environ.get("DEMYJPY_SITE") or tmp_path_factory.mktemp("site"))
    command = (sys.executable, "-m", "docs.site", str(output), "--outside")
    # in a process of its own: Sphinx leaves other defaults in the signatures of what it has looked at
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return Built(output, done.returncode, done.stdout, done.stderr)


@pytest.fixture
def site(built: Built) -> Path:
    """The directory that it was built into."""
    return built.root


def test_there_is_no_warning_and_no_broken_link(built: Built) -> None:
    """The command says so by its status, and lists the links to elsewhere if it is asked for them."""
    assert built.err == ""
    assert built.status == 0
    *links, last = built.out.splitlines()
    assert last.endswith("html/index.html: no warnings")
    assert links == outside(built.root / "html")


def inventory(site: Path) -> dict[str, str]:
    """What other sites may link to: kinds by names."""
    data = (site / "html/objects.inv").read_bytes()
    lines = zlib.decompress(data.split(b"zlib.\n", 1)[1]).decode().splitlines()
    return {
        name: kind for name, kind, _ in (re.split(r" (\S+:\S+) ", line, maxsplit=1) for line in lines)
    }


def test_every_public_name_has_an_entry(site: Path) -> None:
    """Each name of tests/public_names.txt is in the inventory of the built site."""
    found = inventory(site)
    listed = (ROOT / PUBLIC_NAMES).read_text(encoding="utf-8").split()
    assert [name for name in listed if not found.get(name, "").startswith("py:")] == []


def test_every_option_has_an_entry(site: Path) -> None:
    """So has each option of each command."""
    found = inventory(site)
    _, commands = parsers()
    options = [
        f"demyjpy-{name}.{option}"
        for name, parser in commands.items()
        for action in parser._actions
        for option in action.option_strings
    ]
    assert [option for option in options if option not in found] == []


def test_each_command_has_a_man_page(site: Path) -> None:
    """Of section 1, with the usual sections, and its options with both hyphens."""
    pages = {path.name for path in (site / "man").glob("*.1")}
    assert pages == {"demyjpy.1", *(f"demyjpy-{name}.1" for name in COMMANDS)}
    text = (site / "man/demyjpy-run.1").read_text(encoding="utf-8")
    titles = [line for line in text.splitlines() if line.startswith(".SH ")]
    assert titles[:4] == [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH ARGUMENTS"]
    assert r"\-\-listen" in text


def test_the_site_has_a_search_of_its_own(site: Path) -> None:
    """The index of words is there, and no page loads anything from elsewhere."""
    assert (site / "html/searchindex.js").stat().st_size > 100_000
    text = (site / "html/index.html").read_text(encoding="utf-8")
    loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="([^"]+)"', text)
    assert [one for one in loaded if "//" in one] == []
    assert '<meta name="viewport"' in text


def test_types_lead_to_their_entries(site: Path) -> None:
    """A type in a signature, and a name in a docstring, are links."""
    text = (site / "html/api/context.html").read_text(encoding="utf-8")
    assert 'href="#demyjpy.Context"' in text
    assert 'href="actions.html#demyjpy.Action"' in text


def test_links_to_elsewhere_are_listed(site: Path) -> None:
    """Each once, and none is fetched."""
    found = outside(site / "html")
    assert "https://pymilter.org/" in found
    assert all(one.startswith(("http://", "https://", "mailto:")) for one in found)


def test_a_page_in_no_section_is_told_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is 1, and the line says what to do."""
    monkeypatch.setattr(building, "markdown_pages", lambda: ["docs/new.md"])
    assert building.main([str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "docs/new.md stands in no section" in told.err
    assert told.out.endswith("html/index.html: 1 warnings\n")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------- what it looks for
def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A file and an anchor that are not there are; what is there, and what is elsewhere, is not."""
    (tmp_path / "a.html").write_text(
        '<p id="x"><a name="y"><a href="b.html#z"><a href="#x"><a href="#y"><a href="#no">'
        '<a href="gone.html">'
        '<a href="b.html#no"><img src="i.png"><a href="https://example.org/#q"><a><img src="no.png">'
    )
    (tmp_path / "b.html").write_text('<p id="z">')
    (tmp_path / "i.png").write_bytes(b"")
    assert broken(tmp_path) == [
        "a.html: no anchor is where #no leads",
        "a.html: no file is where gone.html leads",
        "a.html: no anchor is where b.html#no leads",
        "a.html: no file is where no.png leads",
    ]
    assert outside(tmp_path) == ["https://example.org/#q"]
    assert read_html("<p id=''>").anchors == frozenset()


def test_a_name_in_a_docstring_has_to_be_there() -> None:
    """A module, or something in one, field or not; else it is a mistake that the build tells."""
    assert is_there("demyjpy.engine.plan")
    assert is_there("demyjpy.engine.connection.Step.event")
    assert not is_there("demyjpy.engine.nothing")
    assert not is_there("nothing_at_all.here")

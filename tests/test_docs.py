"""README.md and docs/: their code runs, their links lead somewhere, they leave out nothing public."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import fields

import demyjpy
from demyjpy.cli.program import COMMANDS, build_parser
from demyjpy.drivers.options import ServerOptions
from demyjpy.engine.limits import Limits
from demyjpy.engine.negotiation import ACTION_FLAGS
from demyjpy.metrics.figures import FIGURES
from demyjpy.registry import HANDLER_NAMES, Registry
from demyjpy.verdicts import LEGAL

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]

BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The fenced blocks of a language: the line where the code begins, and the code."""
    text = read(page)
    for found in BLOCK.finditer(text):
        if found["language"] == language:
            yield text.count("\n", 0, found.start("code")) + 1, found["code"]


def commands(page: Path) -> list[str]:
    """The lines of the shell blocks, and of those in no language."""
    code = "".join(code for language in ("sh", "") for _, code in blocks(page, language))
    return [line for line in code.splitlines() if line]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return BLOCK.sub("", read(page))


def anchors(page: Path) -> set[str]:
    """What may follow ``#`` in a link to a page: its headings as GitHub spells them."""
    titles = (found["title"].lower() for found in HEADING.finditer(prose(page)))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def table_rows(page: Path) -> Iterator[list[str]]:
    """The cells of every row of every table."""
    for line in read(page).splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks of a page are one program; what it asserts holds."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": page.stem.replace("-", "_")}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


def test_the_archive_of_the_cookbook_is_a_whole_file() -> None:
    """Its block needs none before it, so it can be copied."""
    page = ROOT / "docs/cookbook.md"
    (code,) = (code for _, code in blocks(page, "python") if "class Archive" in code)
    namespace = {"__name__": "archive"}
    exec(compile(code, str(page), "exec"), namespace)
    assert isinstance(namespace["archive"], Registry)


def test_the_readme_tells_the_commands_that_ci_runs() -> None:
    """Both commands of README.md stand in .ci/run as they are, the tests first, for Debian's Python."""
    demo, test = (line for line in commands(README) if line.startswith("python3 -m venv"))
    lines = read(ROOT / ".ci/run").splitlines()
    path = next(line for line in lines if line.startswith("PATH="))
    assert path.startswith("PATH=/usr/bin:$PATH")
    assert lines.index(path) < lines.index(test) < lines.index(demo)


def test_the_compiled_engine_is_tested_as_users_build_it() -> None:
    """The switch in docs/running.md is the one with which `tests.compiled` installs."""
    assert "HATCH_BUILD_HOOKS_ENABLE=1 pip install ." in commands(ROOT / "docs/running.md")
    assert '"HATCH_BUILD_HOOKS_ENABLE": "1"' in read(ROOT / "tests/compiled.py")


def test_the_readme_runs_a_sample_that_is_there() -> None:
    """The FILE:NAME that README.md serves is a filter."""
    (run,) = (line for line in commands(README) if "demyjpy run " in line)
    found = re.search(r"demyjpy run (\S+):(\S+) --listen", run)
    assert found is not None
    path, name = found.groups()
    assert isinstance(runpy.run_path(str(ROOT / path))[name], Registry)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_command_line_takes_what_a_page_says(page: Path) -> None:
    """Each ``demyjpy ...`` in a shell block has a command and options that there are."""
    for line in commands(page):
        found = re.search(r"(?:^|&& )(?:\.venv/bin/)?demyjpy (?P<arguments>.+)", line)
        if found:
            parsed = build_parser().parse_args(shlex.split(found["arguments"]))
            assert parsed.command in COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A link that is no URL names a file, and a heading in it."""
    for found in LINK.finditer(CODE_SPAN.sub("", prose(page))):
        path, _, anchor = found["target"].partition("#")
        if re.match(r"https?:|mailto:", path):
            continue
        target = page.parent / path if path else page
        assert target.exists(), found[0]
        if anchor:
            assert anchor in anchors(target), found[0]


def code_for_users() -> str:
    """All code in the pages of docs/ that tell users what there is."""
    others = ("changelog.md", "conformance.md", "contributing.md")
    texts = [read(page) for page in DOCS if page.name not in others]
    return " ".join(
        [found["code"] for text in texts for found in BLOCK.finditer(text)]
        + [span for text in texts for span in CODE_SPAN.findall(BLOCK.sub("", text))]
    )


def test_every_public_name_is_in_the_docs() -> None:
    """A name in demyjpy.__all__ is somewhere in docs/ in code."""
    words = set(re.findall(r"\w+", code_for_users()))
    assert [name for name in demyjpy.__all__ if name not in words] == []


def test_every_command_is_in_the_docs() -> None:
    """Each ``demyjpy COMMAND`` is somewhere in docs/ in code."""
    told = set(re.findall(r"\bdemyjpy (\w+)", code_for_users()))
    assert [name for name in COMMANDS if name not in told] == []


def test_every_figure_has_a_row_in_the_page_about_metrics() -> None:
    """docs/metrics.md has a row for each figure, by the name that Prometheus has."""
    rows = {name for row in table_rows(ROOT / "docs/metrics.md") for name in CODE_SPAN.findall(row[0])}
    names = {name: f"`demyjpy_{name}{one.suffix}`" for name, one in FIGURES.items()}
    assert [name for name, told in names.items() if told not in rows] == []


def test_every_event_has_a_row_in_the_table_of_events() -> None:
    """docs/events.md has a row for every name under which a handler may be registered."""
    rows = {row[0].strip("`") for row in table_rows(ROOT / "docs/events.md")}
    assert set(HANDLER_NAMES) <= rows


def test_the_table_of_verdicts_is_what_is_checked() -> None:
    """docs/events.md allows at each event the verdicts that the engine allows."""
    rows = [row for row in table_rows(ROOT / "docs/events.md") if len(row) == 8]
    names = [cell.strip("`") for cell in rows[0][1:]]
    table = {
        row[0].strip("`"): {name for name, mark in zip(names, row[1:], strict=True) if mark == "yes"}
        for row in rows[2:]
    }
    assert table == {event: {klass.__name__ for klass in legal} for event, legal in LEGAL.items()}


def test_every_permission_is_in_the_page_about_actions() -> None:
    """docs/actions.md tells all names for actions= but the one that follows from macros=."""
    spans = set(CODE_SPAN.findall(prose(ROOT / "docs/actions.md")))
    assert {f"`{name}`" for name in ACTION_FLAGS} <= spans


def test_every_option_is_in_the_page_about_running() -> None:
    """docs/running.md has a row for every option of start_milter and for every limit."""
    rows = {row[0].strip("`") for row in table_rows(ROOT / "docs/running.md")}
    assert {one.name for one in (*fields(ServerOptions), *fields(Limits))} <= rows

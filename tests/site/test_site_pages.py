"""What Sphinx reads: sections, links turned, pages made from the code. Nothing is built here."""

import argparse
from pathlib import Path

import pytest
from attrs import field, frozen

import demyjpy
from demyjpy.cli.program import COMMANDS
from docs.site import api_pages, command_pages
from docs.site.api_pages import Name, assignment_of, directive, page_of, public_names
from docs.site.places import Link, links_of, place_of, turned
from docs.site.sections import Group, groups_of, navigation, problems, with_rows
from docs.site.signatures import signature_of
from docs.site.source_pages import directory_page, fence_of, pages_of, purpose_of, source_page
from docs.site.staging import INDEX, PUBLIC_NAMES, ROOT, markdown_pages, stage

TABLE = "| page | what |\n| --- | --- |\n"
ROWS_OF_INDEX = (
    f"# Door\n\n## Tutorial\n\n{TABLE}| [First](tutorial.md) | steps |\n"
    f"\n## How-to\n\n### Run it\n\n{TABLE}| [Run](running.md#there) | how |\n"
    f"\n## Reference\n\n{TABLE}| [Samples](../samples) | files |\n"
    f"\n## Explanation\n\n{TABLE}| [Model](model.md), [Why](why.md) | see [another](other.md) |\n"
)


# ------------------------------------------------------------------------------------- sections
def test_every_page_stands_in_a_section_of_the_index() -> None:
    """A new page in docs/ needs a row in a table of docs/index.md; this tells which one has none."""
    assert problems((ROOT / INDEX).read_text(encoding="utf-8"), markdown_pages()) == []


def test_sections_are_read_from_the_tables() -> None:
    """Links in the first cell of a row count, under the heading above; others do not."""
    assert groups_of(ROWS_OF_INDEX) == [
        Group("Tutorial", "Tutorial", ("docs/tutorial.md",)),
        Group("How-to", "Run it", ("docs/running.md",)),
        Group("Reference", "Reference", ("samples",)),
        Group("Explanation", "Explanation", ("docs/model.md", "docs/why.md")),
    ]


def test_a_page_without_a_row_is_named_with_what_to_do() -> None:
    """A page that is missing, one with two rows, and a fifth section are told."""
    extra = f"\n## More\n\n{TABLE}| [First](tutorial.md) | again |\n"
    told = problems(ROWS_OF_INDEX + extra, [INDEX, "docs/tutorial.md", "docs/new.md"])
    what_to_do = f"add a row that begins with a link to it to a table of {INDEX}"
    four = "Tutorial, How-to, Reference, Explanation"
    assert told == [
        f"docs/new.md stands in no section: {what_to_do}",
        f"docs/tutorial.md has more than one row in {INDEX}: leave one",
        f"expected the sections {four}, got {four}, More in {INDEX}",
    ]


def test_rows_and_the_navigation_are_added_to_the_index() -> None:
    """The rows of pages that only the site has stand at the end of their table, and count."""
    full = with_rows(ROWS_OF_INDEX, "Reference", ["| [API](api/index.rst) | names |"])
    assert "| [Samples](../samples) | files |\n| [API](api/index.rst) | names |\n" in full
    assert groups_of(full)[2].pages == ("samples", "docs/api/index.rst")
    text = navigation(full, frozenset({"samples"}))
    assert ":caption: How-to: Run it\n\nrunning\n" in text
    assert ":caption: Reference\n\nsource/samples/index\napi/index\n" in text


# ---------------------------------------------------------------------------------------- links
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("docs/tutorial.md", "tutorial.md"),
        ("docs/soak.svg", "soak.svg"),
        ("docs/api/index.rst", "api/index.rst"),
        ("README.md", "readme.md"),
        ("samples/filters/a.py", "source/samples/filters/a.py.md"),
        ("docs/conf.py", "source/docs/conf.py.md"),
    ],
)
def test_each_file_has_a_place(path: str, place: str) -> None:
    """Pages keep their names, other files are shown below source/."""
    assert place_of(path) == place


def test_links_are_turned_to_where_the_site_has_their_target() -> None:
    """Code, URLs and anchors of the page itself stay; files and directories get their pages."""
    text = (
        "[a](../samples) [`b`](../samples/x.py#l) [c](other.md#d) [e](#f) [g](https://h) ![i](j.png)\n"
        "`[k](../no)` ``[k](`../no)``\n\n```python\nx[1](../no)\n```\n[l](../README.md)\n"
    )
    after = turned("docs/page.md", text, frozenset({"samples"}))
    assert after == (
        "[a](source/samples/index.md) [`b`](source/samples/x.py.md#l) [c](other.md#d) [e](#f) "
        "[g](https://h) ![i](j.png)\n"
        "`[k](../no)` ``[k](`../no)``\n\n```python\nx[1](../no)\n```\n[l](readme.md)\n"
    )
    assert list(links_of("docs/page.md", text))[:4] == [
        Link("samples", ""),
        Link("samples/x.py", "l"),
        Link("docs/other.md", "d"),
        Link("docs/page.md", "f"),
    ]
    assert turned("README.md", "[a](docs/b.md)", frozenset()) == "[a](b.md)"


# ------------------------------------------------------------------------------ pages of sources
def test_a_file_is_shown_as_it_is() -> None:
    """The fence is longer than any in the file, and the language follows from its name."""
    page = source_page("samples/x.md", "a\n````\nb\n````\n")
    assert page.endswith("`````{code-block} md\n:linenos:\n\na\n````\nb\n````\n`````\n")
    assert fence_of("") == "```"
    assert "{code-block} text" in source_page("LICENSE", "x")


def test_a_directory_lists_its_files_with_their_purposes(tmp_path: Path) -> None:
    """The first paragraph of a docstring is what a file says of itself; caches are left out."""
    files = {
        "s/a.py": '"""Adds ``X|Y``\nto <z>.\n\nMore."""\n',
        "s/sub/b.txt": "plain",
        "s/c.py": "x = 1\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "s/__pycache__").mkdir()
    (tmp_path / "s/__pycache__/a.pyc").write_bytes(b"\xff")
    made = dict(pages_of(tmp_path, "s"))
    assert list(made) == [
        "source/s/index.md",
        "source/s/a.py.md",
        "source/s/c.py.md",
        "source/s/sub/b.txt.md",
    ]
    assert (
        "| [a.py](a.py.md) | Adds `X\\|Y` to &lt;z>. |\n| [c.py](c.py.md) |  |\n"
        in made["source/s/index.md"]
    )
    assert purpose_of("x = 1") == ""
    assert directory_page("s", {}).startswith("# S\n")


# -------------------------------------------------------------------------------------- commands
def test_each_command_has_a_page_with_all_of_its_options() -> None:
    """What the parser takes stands on the page, with the sections that a man page has."""
    made = dict(command_pages.pages())
    assert set(made) == {f"commands/{name}.rst" for name in ("index", "demyjpy", *COMMANDS)}
    _, commands = command_pages.parsers()
    for name, parser in commands.items():
        page = made[f"commands/{name}.rst"]
        for title in ("Synopsis", "Description", "Options", "Exit status", "Examples", "See also"):
            assert f"\n{title}\n{'-' * len(title)}\n" in page, (name, title)
        declared = [line for line in page.splitlines() if line.startswith(".. option:: ")]
        options = {one for action in parser._actions for one in action.option_strings}
        assert options <= {word.strip(",") for line in declared for word in line.split()}
    assert [page for page, *_ in command_pages.MAN_PAGES] == [
        "commands/demyjpy",
        *(f"commands/{name}" for name in COMMANDS),
    ]


def test_options_are_written_as_a_person_types_them() -> None:
    """A value has its name, a choice its words, and a sign that means something stays as it is."""
    parser = argparse.ArgumentParser(prog="p", epilog="examples:\n  p x\n\nIt *ends*.\n")
    parser.add_argument("where", help="a place")
    parser.add_argument("--pair", "-p", nargs=2, metavar=("OLD", "NEW"), help="of |two|, see %(prog)s.")
    parser.add_argument("--kind", choices=("a", "b"), default="a", help="one (default: %(default)s)")
    parser.add_argument("--plain")
    parser.add_argument("--hidden", help=argparse.SUPPRESS)
    parser.add_argument_group("limits (all at once)").add_argument("--most", type=int, help="so many")
    parser.add_argument_group("limits").add_argument("--least", type=int, help="so few")
    page = command_pages.command_page("p", parser)
    assert ".. option:: where\n\n   A place.\n" in page
    assert ".. option:: --pair OLD NEW, -p OLD NEW\n\n   Of \\|two\\|, see p.\n" in page
    assert ".. option:: --kind {a,b}\n\n   One (default: a)\n" in page
    assert ".. option:: --plain PLAIN\n" in page
    assert "--hidden" not in page.split("Options\n")[1]
    assert "Limits\n------\n\nAll at once.\n\n.. option:: --most MOST" in page
    assert "Limits\n------\n\n.. option:: --least LEAST" in page
    assert "It \\*ends\\*.\n" in page


def test_an_exit_status_that_is_a_table_stays_one() -> None:
    """A list of numbers below "Exit status:" is a block, one sentence is a sentence."""
    made = dict(command_pages.pages())
    assert (
        "Exit status\n-----------\n\n.. code-block:: text\n\n    0  accepted"
        in made["commands/send.rst"]
    )
    assert "Exit status\n-----------\n\n0 if nothing is wrong" in made["commands/check.rst"]


# ------------------------------------------------------------------------------------------- API
def test_every_public_name_has_a_page() -> None:
    """Each name of tests/public_names.txt is found, once, and a value with two names by the first."""
    listed = (ROOT / PUBLIC_NAMES).read_text(encoding="utf-8").split()
    names = public_names(listed)
    full = [name.full for name in names]
    assert full[: len(listed)] == listed
    assert "demyjpy.message.Message" not in full
    assert "demyjpy.message.Field" in full
    assert {page_of(name).name for name in names} == {page.name for page in api_pages.PAGES}


def test_a_name_from_an_unknown_place_is_told() -> None:
    """A new module needs a row in the table of pages, and the error says where that is."""
    with pytest.raises(ValueError, match=r"demyjpy.x comes from elsewhere, .* docs/site/api_pages.py"):
        page_of(Name("demyjpy", "x", "elsewhere"))


def test_each_kind_of_name_has_its_directive() -> None:
    """Classes, errors and functions are read by autodoc; aliases and constants from the source."""
    names = {name.full: name for name in public_names(["demyjpy.Verdict", "demyjpy.OnError"])}
    assert directive(Name("demyjpy", "Mail", ""), demyjpy.Mail).startswith(
        ".. autoclass:: demyjpy.Mail\n"
    )
    assert directive(Name("demyjpy", "MilterError", ""), demyjpy.MilterError).startswith(
        ".. autoexception::"
    )
    assert directive(Name("demyjpy", "ask", ""), demyjpy.ask) == ".. autofunction:: demyjpy.ask\n\n"
    assert directive(Name("demyjpy", "x", ""), api_pages).startswith(
        ".. py:data:: x\n   :type: module\n"
    )
    alias = directive(names["demyjpy.Verdict"], demyjpy.Verdict)
    assert alias.startswith(".. py:type:: Verdict\n   :canonical: Continue | Accept | Reject")
    assert "What is answered when a handler fails" in directive(
        names["demyjpy.OnError"], demyjpy.OnError
    )
    tables = "demyjpy.lookups.tables"
    assert directive(Name(tables, "LONGEST_KEY", tables), 10_000) == (
        ".. py:data:: LONGEST_KEY\n   :type: int\n   :value: 10000\n\n   Characters of a key.\n\n"
    )
    assert ":value:" not in directive(Name(tables, "LONGEST_KEY", tables), "x" * 100)
    assert assignment_of(Name(tables, "Lookup", tables)) == (None, "")


@frozen
class Base:
    """A base with a field."""

    first: "int | None"


@frozen
class Derived(Base):
    """Fields of every kind."""

    second: str = "x"
    third: list[int] = field(factory=list)
    fourth: int = field(default=4, kw_only=True)
    fifth: int = field(kw_only=True)
    sixth: int = field(init=False, default=0)

    @fifth.default
    def _fifth(self) -> int:
        return 5

    @staticmethod
    def static(one: int) -> None:
        """Needs no object."""

    def method(self, one: "int", *more: Base) -> "str":
        """Needs one."""


@frozen
class Inner:
    """Not for users to make."""

    _secret: int


class Written:
    """A class that attrs has not made."""

    def __init__(self, one: int) -> None:
        """Keep nothing."""


def test_signatures_are_those_of_the_source() -> None:
    """Names of types, defaults as they are written, and no object in front of a method's arguments."""
    first = "first: int | None, second: str = 'x', third: list[int] = list()"
    assert signature_of(Derived) == (f"({first}, *, fourth: int = 4, fifth: int = ...)", "")
    assert signature_of(Inner) == ("", "")
    assert signature_of(Written) == ("(one: int)", "")
    assert signature_of(Derived.method, is_method=True) == ("(one: int, *more: Base)", "str")
    assert signature_of(Derived.static, is_method=True) == ("(one: int)", "None")
    assert signature_of(lambda one: one) is None
    assert signature_of(len) is None
    assert signature_of(int) is None


# --------------------------------------------------------------------------------------- staging
def test_staging_writes_only_what_has_changed(tmp_path: Path) -> None:
    """A second run leaves files as they are, and takes away those that are no longer made."""
    stage(tmp_path)
    old = tmp_path / "gone.md"
    old.write_text("x")
    (tmp_path / "tutorial.md").write_text("changed")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    stage(tmp_path)
    changed = [
        path.name for path, time in times.items() if path.exists() and path.stat().st_mtime_ns != time
    ]
    assert changed == ["tutorial.md"]
    assert not old.exists()
    assert (tmp_path / "tutorial.md").read_text(encoding="utf-8").startswith("# ")

"""Plain English in what users read: pages, ``--help``, docstrings, errors and lines of the log.

A page has few long sentences, and none of the words that stand in the way. See `tests.sentences`.
"""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from demyjpy.cli.program import build_parser
from tests.sentences import (
    banned,
    banned_on_page,
    long_sentences,
    read_page,
    split_sentences,
    text_constants,
    words,
)

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
PACKAGES = sorted({path.relative_to(ROOT).parts[1] for path in (ROOT / "demyjpy").rglob("*.py")})


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_has_few_long_sentences_and_no_banned_phrase(name: str) -> None:
    """At most one sentence, or 5 % of them, has more than 25 words."""
    text = PAGES[name].read_text(encoding="utf-8")
    assert [*long_sentences(text), *banned_on_page(text)] == []


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    yield parser
    for action in parser._subparsers._group_actions if parser._subparsers else ():
        for one in (action.choices or {}).values():
            yield from parsers(one)


def test_no_help_has_a_banned_phrase() -> None:
    """Of the program and of each command."""
    found = {one.prog: banned(one.format_help()) for one in parsers(build_parser())}
    assert len(found) > 10
    assert {prog: phrases for prog, phrases in found.items() if phrases} == {}


def package_texts(name: str, *, docstrings: bool) -> Iterator[tuple[str, str]]:
    """The texts in the Python files of a package or module of demyjpy, each with its place."""
    top = ROOT / "demyjpy" / name
    for path in [top] if top.suffix else sorted(top.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node, text in text_constants(tree):
            if (id(node) in documented) is docstrings:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def complaints(name: str, *, docstrings: bool) -> list[str]:
    texts = package_texts(name, docstrings=docstrings)
    return [f"{place}: {phrase}" for place, text in texts for phrase in banned(text)]


def test_no_message_has_a_banned_phrase() -> None:
    """Errors, lines of the log, help and reports: each text in the code that is no docstring."""
    assert [one for name in PACKAGES for one in complaints(name, docstrings=False)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_no_docstring_has_a_banned_phrase(name: str) -> None:
    """Of modules, classes, functions and names, public or not."""
    assert complaints(name, docstrings=True) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is sent. Then it ends.", ["It is sent.", "Then it ends."]),
        (
            "Say e.g. Postfix. `x` is sent! (Or not?) 4 s later",
            ["Say e.g. Postfix.", "`x` is sent!", "(Or not?", "4 s later"],
        ),
        ("Version 1.5 of a.py; it goes on: yes", ["Version 1.5 of a.py; it goes on: yes"]),
        ("Ends in etc.", ["Ends in etc."]),
        ("", [""]),
    ],
)
def test_sentences_are_split(text: str, found: list[str]) -> None:
    """At the marks that end them, not in numbers, names and abbreviations."""
    assert [*split_sentences(text)] == found


def test_what_is_a_sentence_of_a_page() -> None:
    """Paragraphs, items of lists and cells of tables; not code, headings, comments or short names."""
    page = read_page(
        "# A heading with some words\n\nA paragraph goes\non [in two](x.md#a-b-c) lines `a b` here.\n"
        "- an item of a list\n1. another item of it\n   goes on\n\n"
        "| one head | b |\n| --- | --- |\n| a cell with words | yes |\n"
        "```text\nthis is code and no prose\n```\n<!-- this is a comment only -->\n"
        "[x]: https://a.example a b c\n"
    )
    assert page.prose == (
        "A paragraph goes on in two lines C0DE here.",
        "an item of a list",
        "another item of it goes on",
    )
    assert page.cells == ("a cell with words",)
    assert words(page.prose[0]) == 9
    assert words("a / b — c, d") == 4


def test_a_page_with_too_many_long_sentences_is_seen() -> None:
    """One is allowed, two of forty are, two of thirty are not; tables are counted for themselves."""
    long, short = "word " * 26 + ".\n\n", "This is a sentence.\n\n"
    assert long_sentences(long + short) == []
    assert long_sentences(long * 2 + short * 38) == []
    assert len(long_sentences(long * 2 + short * 30)) == 2
    cell = f"| {'word ' * 26} |\n"
    assert len(long_sentences(cell * 2 + "\n" + short * 40)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "It comes\nto the same.",
        "What is told to the MTA.",
        "Postfix minds it.",
        "of what there is none",
        "So long as it runs.",
        "both alike",
        "It waits, for it takes long.",
        "It waits, for the other filter is slow.",
        "empty where there is none",
    ],
)
def test_a_banned_phrase_is_seen(text: str) -> None:
    """Over the end of a line, too; on a page but not in its code."""
    assert len(banned(text)) == 1
    assert len(banned_on_page(f"# {text}")) == 1
    assert banned_on_page(f"```\n{text}\n```\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "It waits, for example if it is slow.",
        "One for Postfix, for a filter that is slow; for a registry it is another.",
        "Keep in mind what comes.",
        "It tells what it does, and where it is.",
    ],
)
def test_other_words_are_free(text: str) -> None:
    """What looks like one of the phrases."""
    assert banned(text) == []


def test_texts_of_code_are_found() -> None:
    """Docstrings and messages; an f-string is one text."""
    tree = ast.parse('"""Doc."""\nx = f"a {b} " "c"\nraise E("no" " more")\n')
    assert [(node.lineno, text) for node, text in text_constants(tree)] == [
        (1, "Doc."),
        (2, "a C0DE c"),
        (3, "no more"),
    ]

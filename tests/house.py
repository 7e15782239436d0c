"""The house in figures and rules: ``python -m tests.house`` prints them, `tests.test_house` holds them.

A rule is a function of what it looks at that gives complaints, so that a test can show that it sees what
it looks for. Floors and circles are those of `tests.test_floors`. What is counted as a statement: each
statement of the syntax tree but the docstrings of modules, classes and functions.
"""

import ast
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.test_floors import FILES, circles, height_of, of_ours, upward

ROOT: Final = Path(__file__).parent.parent
PUBLIC_NAMES: Final = ROOT / "tests/public_names.txt"
"""Each name in ``__all__`` of the packages in it, one a line: a name that goes is a break for users."""

BEFORE: Final = 16_909
"""Statements of demyjpy at b4adfaa, before the house was put in order."""

WALK: Final = ROOT / "docs/architecture.md"
NAMED_FILE: Final = re.compile(r"`(?P<path>(?:demyjpy|tests|samples|docs)/[A-Za-z0-9_/.]*)`")
"""A file or a folder in code; one with ``NAME`` in it is still to be made."""

MOST_FILES_OF_CHANGE: Final = 3
MOST_LINES: Final = 450
MOST_LINES_OF_FUNCTION: Final = 60
MOST_EXCEPTIONS: Final = 3
LONG_FUNCTIONS: Final = {
    "run_hot_path": "one loop: a call in it costs as much as a step of it (docs/benchmarks.md)",
    "start_milter": "each option is named, typed and explained where users look for it",
}
"""Functions of demyjpy that may be longer, and why."""

GONE: Final = frozenset(
    (
        *(
            "besides",
            "octets",
            "moments",
            "tapes",
            "parrot",
            "asking",
            "link",
            "late",
            "lenient",
            "lines",
        ),
        *("words", "values", "standing", "stations", "outcomes"),
    )
)
"""Words that may not be module names again: nobody guesses what such a module holds."""


@frozen
class Word:
    """What a word means, and the classes that may have it as their name.

    ``where``: ``module:Class`` or ``module:Class.attribute`` that the word stands for, first the one to
    read. A class elsewhere with just this name means another thing, and needs another name.
    """

    meaning: str
    where: tuple[str, ...]


WORDS: Final = {
    "session": Word(
        "one connection of an MTA to a milter, from its first packet to its end",
        ("engine.connection:Connection.session", "engine.connection:Step.session"),
    ),
    "message": Word(
        "one mail in a session, from MAIL until its fate is known",
        ("verdicts:Fate", "message.value:Message"),
    ),
    "step": Word(
        "one event, its handler and what came of it, as an observer sees them",
        ("engine.connection:Step",),
    ),
    "exchange": Word(
        "one packet of the MTA with all that the milter answers",
        ("trace:Exchange", "mta.smtp_session:Exchange"),
    ),
    "turn": Word("the work of the engine on what one call of a driver gives it", ("engine.turn:Turn",)),
    "server": Word(
        "what listens at an address and holds the sessions that come there",
        (
            "drivers.server:Server",
            "drivers.aio_session:Server",
            "drivers.thread_session:Server",
            "testing.server:Server",
        ),
    ),
    "options": Word(
        "what a caller may choose; the event Options is what the MTA offers, by the protocol's name",
        ("drivers.options:ServerOptions", "events:Options"),
    ),
    "reader": Word("what takes lines from a stream", ("mta.smtp_protocol:_Reader",)),
}
"""Point 7 of issue 13: one word, one thing, in the whole tree."""


@frozen
class Source:
    """A file of Python, parsed once."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Its path from the root of the repository."""
        return str(self.path.relative_to(ROOT)) if self.path.is_absolute() else str(self.path)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def package(self) -> str:
        """``demyjpy/engine``, or ``demyjpy`` for a module of the top."""
        root, *parts = Path(self.name).parts
        return "/".join((root, *parts[:-1][:1]))


def source_of(path: str | Path, text: str) -> Source:
    """A source from its text."""
    return Source(Path(path), text, ast.parse(text))


@cache
def sources(package: str) -> list[Source]:
    """All files of Python below a directory of the repository."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return [source_of(path, path.read_text(encoding="utf-8")) for path in paths]


def statements(tree: ast.AST) -> int:
    """How many statements a tree has."""
    nodes = list(ast.walk(tree))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        one for one in nodes if isinstance(one, documented) and ast.get_docstring(one) is not None
    ]
    return sum(isinstance(node, ast.stmt) for node in nodes) - len(docstrings)


@frozen
class Figures:
    """What there is of a package."""

    files: int = 0
    lines: int = 0
    statements: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            self.files + other.files, self.lines + other.lines, self.statements + other.statements
        )


def figures(found: Iterable[Source]) -> dict[str, Figures]:
    """The figures of each package, by name."""
    rows: dict[str, Figures] = {}
    for one in found:
        more = Figures(1, one.lines, statements(one.tree))
        rows[one.package] = rows.get(one.package, Figures()) + more
    return rows


# ------------------------------------------------------------------------------------- the rules
def too_long(found: Iterable[Source]) -> Iterator[str]:
    """Files with more lines than fit in a head."""
    for one in found:
        if one.lines > MOST_LINES:
            yield f"{one.name}: {one.lines} lines, {MOST_LINES} at most"


def long_functions(
    found: Iterable[Source], excused: Mapping[str, str] = LONG_FUNCTIONS
) -> Iterator[str]:
    """Functions with more lines than fit on a screen; and excuses that none needs."""
    unused = set(excused)
    for source in found:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines <= MOST_LINES_OF_FUNCTION:
                continue
            if node.name in unused:
                unused.discard(node.name)
            else:
                yield f"{source.name}: {node.name}: {lines} lines, {MOST_LINES_OF_FUNCTION} at most"
    yield from (f"{name}: no function of this name is so long" for name in sorted(unused))
    if len(excused) > MOST_EXCEPTIONS:
        yield f"{len(excused)} exceptions, {MOST_EXCEPTIONS} at most"


def gone_again(names: Iterable[str]) -> Iterator[str]:
    """Modules, by their dotted names, that are called what none may be called."""
    for name in names:
        if name.rpartition(".")[2] in GONE:
            yield f"{name}: nobody guesses what it holds"


def in_public(listed: Iterable[str]) -> dict[str, set[str]]:
    """The names of each package in lines such as ``demyjpy.trace.load``."""
    packages: dict[str, set[str]] = {}
    for line in listed:
        package, _, name = line.rpartition(".")
        packages.setdefault(package, set()).add(name)
    return packages


def changed_names(listed: Iterable[str]) -> Iterator[str]:
    """Public names that have come or gone without a word in the list."""
    for package, names in in_public(listed).items():
        have = set(importlib.import_module(package).__all__)
        yield from (f"{package}.{name}: not public any more" for name in sorted(names - have))
        yield from (f"{package}.{name}: public, but not in the list" for name in sorted(have - names))


def other_meanings(found: Iterable[Source], words: Mapping[str, Word] = WORDS) -> Iterator[str]:
    """Classes that have one of our words as their name and are another thing."""
    for source in found:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            word = words.get(node.name.lstrip("_").lower())
            if word is not None and not any(
                where.endswith(f":{node.name}") and is_defined_in(where, source) for where in word.where
            ):
                yield f"{source.name}: class {node.name} is not {word.meaning!r}"


def is_defined_in(where: str, source: Source) -> bool:
    """Whether this names a class of a source; a package may name a class of one of its modules."""
    package = where.partition(":")[0].replace(".", "/")
    name = source.name.removesuffix(".py")
    return name == f"demyjpy/{package}" or name.startswith(f"demyjpy/{package}/")


def lost_homes(words: Mapping[str, Word] = WORDS) -> Iterator[str]:
    """Places that are said to hold a word and that are not there."""
    yield from (
        f"{word}: there is no {where}"
        for word, one in words.items()
        for where in one.where
        if not is_there(where)
    )


def is_there(where: str) -> bool:
    """Whether this module has this class or attribute."""
    module, _, inner = where.partition(":")
    try:
        attrgetter(inner)(importlib.import_module(f"demyjpy.{module}"))
    except (ImportError, AttributeError):
        return False
    return True


def lost_files(page: str) -> Iterator[str]:
    """Files and folders of the repository that a page names and that are not there."""
    for found in NAMED_FILE.finditer(page):
        if "NAME" not in found["path"] and not (ROOT / found["path"]).exists():
            yield f"there is no {found['path']}"


def wide_changes(page: str) -> Iterator[str]:
    """Rows of the table of changes that name more files of demyjpy than a change may touch."""
    _, _, after = page.partition("\n## Where does it go?\n")
    for row in after.partition("\n## ")[0].splitlines():
        files = [found for found in NAMED_FILE.finditer(row) if found["path"].startswith("demyjpy/")]
        if row.startswith("| ") and len(files) > MOST_FILES_OF_CHANGE:
            yield f"{row.split('|')[1].strip()}: {len(files)} files, {MOST_FILES_OF_CHANGE} at most"


@cache
def _imports() -> dict[str, set[str]]:
    return {name: of_ours(name) for name in FILES}


RULES: Final[Mapping[str, Callable[[], Iterable[str]]]] = {
    "no circle of imports": lambda: circles(_imports()),
    "no import from a floor above": lambda: upward(_imports(), height_of),
    f"no file above {MOST_LINES} lines": lambda: too_long([*sources("demyjpy"), *sources("tests")]),
    f"no function above {MOST_LINES_OF_FUNCTION} lines": lambda: long_functions(sources("demyjpy")),
    "no module with a name that nobody guesses": lambda: gone_again(FILES),
    "public names as listed": lambda: changed_names(PUBLIC_NAMES.read_text(encoding="utf-8").split()),
    "one word, one thing": lambda: other_meanings(sources("demyjpy")),
    "each word where it is said to be": lost_homes,
    "each file where the walk says": lambda: lost_files(WALK.read_text(encoding="utf-8")),
    f"no change in more than {MOST_FILES_OF_CHANGE} files": lambda: wide_changes(
        WALK.read_text(encoding="utf-8")
    ),
}
"""What each rule complains about, by what it asks for."""


def main() -> int:
    """Print figures, words and rules; 1 if one is broken."""
    print(f"{'package':<24}{'files':>7}{'lines':>8}{'statements':>12}")
    for root in ("demyjpy", "tests"):
        rows = figures(sources(root))
        for package, row in [*sorted(rows.items()), (f"all of {root}", sum(rows.values(), Figures()))]:
            print(f"{package:<24}{row.files:>7}{row.lines:>8}{row.statements:>12}")
        if root == "demyjpy":
            ours = sum(row.statements for row in rows.values())
            print(f"statements: {100 * ours / BEFORE - 100:+.1f} % against {BEFORE}\n")
    print("\nwords")
    for word, one in WORDS.items():
        print(f"  {word:<10}{one.meaning}" + "".join(f"\n{'':12}{where}" for where in one.where))
    print("\nlonger functions")
    for name, reason in LONG_FUNCTIONS.items():
        print(f"  {name}: {reason}")
    print("\nrules")
    broken = {rule: [*complain()] for rule, complain in RULES.items()}
    for rule, complaints in broken.items():
        print(f"  {'BROKEN' if complaints else 'holds '}  {rule}")
        print("".join(f"            {one}\n" for one in complaints), end="")
    return int(any(broken.values()))


if __name__ == "__main__":
    raise SystemExit(main())

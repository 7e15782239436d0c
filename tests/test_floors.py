"""The floors of the house: a module imports only from those below it, and the pure ones touch nothing.

A new module belongs to the floor of its package; a new package fails here until it has one in `FLOORS`.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "demyjpy"

FLOORS = (
    # a floor, lowest first: packages, or modules, that live there
    ("errors", "hints", "shown"),
    ("wire",),
    ("events", "actions", "texts", "verdicts", "codec"),
    ("message",),
    ("engine.cache", "engine.smallmap", "engine.macros", "engine.moment", "engine.negotiation"),
    (
        *("context", "declarations", "decorators", "handler_functions", "registry", "shorthands"),
        *("findings", "wishes", "requests", "questions", "filter_policy", "effects", "facts", "reports"),
        *("clients", "known_facts"),
    ),
    ("wrapping", "scoping", "merging", "conditions", "handlers", "policies"),
    ("engine",),
    ("drivers", "settings"),
    ("mta",),
    ("trace",),
    ("metrics", "testing"),
    ("starting", ""),
    ("lookups", "pymilter"),
    ("cli", "__main__"),
)
"""The floors, from the lowest up. The package itself is the empty name.

A module belongs to the longest of these names that it begins with. It imports from lower floors and
from its own, where no circle may come of it.
"""

FIRST_WITH_IO = ("drivers", "settings")
TOUCHING = frozenset(
    {
        "_thread",
        "asyncio",
        "concurrent",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "socketserver",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "uuid",
    }
)
"""Modules of the standard library that a pure one does not import: the world, the clock, chance."""

IN_MEMORY = frozenset({"io.BytesIO"})
"""What a pure module may import from these: it looks like a file, and is bytes."""

CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(ROOT.rglob("*.py"))
}
HEIGHTS = {part: height for height, floor in enumerate(FLOORS) for part in floor}


def height_of(name: str) -> int:
    """The floor of a module; `KeyError` if it has none."""
    part = name
    while part not in HEIGHTS:
        part, dot, _ = part.rpartition(".")
        if not dot:
            raise KeyError(name)
    return HEIGHTS[part]


MODULES = tuple(FILES)
PURE = tuple(name for name in MODULES if height_of(name) < FLOORS.index(FIRST_WITH_IO))


@cache
def tree_of(name: str) -> ast.Module:
    """The source of a module, parsed."""
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def imported(name: str) -> set[str]:
    """What a module imports, by full name; ``from x import y`` is of x.y where that is a module."""
    found: set[str] = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: expected absolute imports, got a relative one"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_known = our_name(inner) in FILES or inner in IN_MEMORY
                found.add(inner if is_known else str(node.module))
    return found


def our_name(full: str) -> str:
    """The name of a module within the package."""
    return full.removeprefix("demyjpy").lstrip(".")


def of_ours(name: str) -> set[str]:
    """The modules of this package that a module imports."""
    return {our_name(one) for one in imported(name) if one.partition(".")[0] == "demyjpy"}


def test_every_floor_is_lived_on():
    """A part that is gone is taken off the list; a module without a floor fails above."""
    parts = {name.rpartition(".")[0] for name in MODULES} | set(MODULES)
    assert {part for floor in FLOORS for part in floor} <= parts


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_below(name):
    """Or from its own floor, but not from a package that it is in."""
    assert [*upward({name: of_ours(name)}, height_of)] == []
    assert not {one for one in of_ours(name) if one and name.startswith(f"{one}.")}


def upward(imports: Mapping[str, set[str]], height: Callable[[str], int]) -> Iterator[str]:
    """Modules that import from a floor above their own."""
    for name, below in imports.items():
        yield from (f"{name} imports {one}, from above" for one in below if height(one) > height(name))


def test_no_circle():
    """Of modules that import each other, directly or by way of others."""
    assert circles({name: of_ours(name) for name in MODULES}) == []


def circles(imports: dict[str, set[str]]) -> list[str]:
    """The names that cannot be put in an order in which each comes after all that it imports."""
    left = dict(imports)
    while ready := [name for name, below in left.items() if not below & left.keys()]:
        for name in ready:
            del left[name]
    return sorted(left)


def test_a_circle_is_seen():
    """So that the test above can fail."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_imports_nothing_that_touches_the_world(name):
    """No socket, clock, thread, randomness, file or log."""
    assert {one.partition(".")[0] for one in imported(name) - IN_MEMORY} & TOUCHING == set()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_calls_nothing_that_touches_the_world(name):
    """Nor through a builtin."""
    called = {
        node.func.id
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & CALLS == set()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_holds_nothing_that_changes(name):
    """No global statement, and nothing at the top but definitions, constants and docstrings."""
    tree = tree_of(name)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal)]
    allowed = (
        *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
        *(ast.Assign, ast.AnnAssign),
    )
    others = [node for node in tree.body if not isinstance(node, allowed)]
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in others)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_opens_with_its_charter(name):
    """A docstring that says what lives there, in a sentence at least."""
    charter = ast.get_docstring(tree_of(name))
    assert charter
    assert charter.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_uses_no_assert_for_control(name):
    """It would be gone under -O."""
    assert not [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.Assert)]


def test_the_check_sees_what_it_looks_for():
    """The parser of imports finds the ones that are known to be there."""
    assert "codec.commands" in of_ours("codec")
    assert "actions" in of_ours("engine.plan")
    assert "" not in of_ours("engine.plan")
    assert "drivers" in of_ours("")
    assert "socket" in imported("drivers.address")

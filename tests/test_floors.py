"""The floors of the house: a module imports only from those below it, and the pure ones touch nothing.

A new module fails here until it has a place in `FLOORS`.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "demyjpy"

FLOORS = (
    # 0, 1: errors, the wire
    "errors",
    "wire",
    "wire.codes",
    "wire.fields",
    "wire.framing",
    "shown",
    # 2: what is said, and how it lies in packets
    "events",
    "texts",
    "actions",
    "verdicts",
    "codec.commands",
    "codec.responses",
    "codec",
    # 3: what may be said
    "macros",
    "negotiation",
    "session",
    "plan",
    "limits",
    # 4: handlers, and a packet's way through them
    "smallmap",
    "context",
    "shorthands",
    "registry",
    "handlers",
    "standing",
    "connection",
    "outcomes",
    "stations",
    "lane",
    "turn",
    "pipeline",
    # 5: the only I/O
    "drivers.systemd",
    "drivers.births",
    "drivers.waiting",
    "drivers.address",
    "drivers.options",
    "drivers.logtext",
    "drivers.report",
    "drivers.accepting",
    "drivers.admission",
    "drivers.alarms",
    "drivers.watch",
    "drivers.pool",
    "drivers.signals",
    "drivers.sockets",
    "drivers.transport",
    "drivers.dumping",
    "drivers.loading",
    "drivers.nursery",
    "drivers.turns",
    "drivers.workers",
    "drivers.aio_session",
    "drivers.aio",
    "drivers.thread_session",
    "drivers.threads",
    "drivers.privileges",
    "drivers.service",
    "drivers.start",
    "drivers",
    # 6: built from what is public below
    "mta.lenient",
    "mta.link",
    "mta.message",
    "mta.envelope",
    "mta.edits",
    "mta.steps",
    "mta.profile",
    "mta.postfix",
    "mta.sendmail",
    "mta.profiles",
    "mta.session",
    "mta.values",
    "mta.verdicts",
    "mta.asking",
    "mta.transactions",
    "mta.smtp",
    "mta.path",
    "mta.channel",
    "mta.late",
    "mta.lines",
    "mta.dialogue",
    "mta.box",
    "mta",
    "trace.parsing",
    "trace.octets",
    "trace.values",
    "trace.fields",
    "trace.records",
    "trace.tapes",
    "trace.privacy",
    "trace.besides",
    "trace.reaching",
    "trace.player",
    "trace.exchanges",
    "trace.messages",
    "trace.words",
    "trace.pages",
    "trace.moments",
    "trace.session",
    "trace.replaying",
    "trace.redacted",
    "trace.parrot",
    "trace.comparing",
    "trace.captures",
    "trace.files",
    "trace.reading",
    "trace.desk",
    "trace.shelf",
    "trace.writing",
    "trace.snooping",
    "trace.explaining",
    "trace.flight",
    "trace.capsule",
    "trace.canaries",
    "trace.shadowing",
    "trace",
    "metrics.board",
    "metrics.counting",
    "metrics.notes",
    "metrics.page",
    "metrics.serving",
    "metrics",
    "testing.code",
    "testing.legal",
    "testing.script",
    "testing.dialogue",
    "testing.engine",
    "testing.result",
    "testing.explain",
    "testing.run",
    "testing.direct",
    "testing.server",
    "testing.plugin",
    "testing.strategies.words",
    "testing.strategies.content",
    "testing.strategies.sessions",
    "testing.strategies.trial",
    "testing.strategies.classics",
    "testing.strategies.simpler",
    "testing.strategies.properties",
    "testing.strategies.check",
    "testing.strategies",
    "testing",
    "starting",
    "",
    "cli.words",
    "cli.saying",
    "cli.waiting",
    "cli.configuration",
    "cli.mail_arguments",
    "cli.trace_arguments",
    "cli.observing",
    "cli.arguments",
    "cli.loading",
    "cli.logplaces",
    "cli.logs",
    "cli.reloading",
    "cli.checking",
    "cli.probing",
    "cli.show",
    "cli.sent",
    "cli.sent_json",
    "cli.sending",
    "cli.boxing",
    "cli.sample_mails",
    "cli.demo_filter",
    "cli.demonstrating",
    "cli.tracing",
    "cli.replay_words",
    "cli.replay_jobs",
    "cli.page_files",
    "cli.report_page",
    "cli.session_page",
    "cli.stepping",
    "cli.replaying",
    "cli.explaining",
    "cli.capsules",
    "cli.snoop_words",
    "cli.snooping",
    "cli.watching",
    "cli.findings",
    "cli.playing",
    "cli.program",
    "cli",
    "__main__",
)
"""All modules, from the lowest floor up; the package itself is the empty name."""

FIRST_WITH_IO = "drivers.systemd"
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

CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(ROOT.rglob("*.py"))
}
PURE = FLOORS[: FLOORS.index(FIRST_WITH_IO)]


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
                found.add(inner if our_name(inner) in FILES else str(node.module))
    return found


def our_name(full: str) -> str:
    """The name of a module within the package."""
    return full.removeprefix("demyjpy").lstrip(".")


def of_ours(name: str) -> set[str]:
    """The modules of this package that a module imports."""
    return {our_name(one) for one in imported(name) if one.partition(".")[0] == "demyjpy"}


def test_every_module_has_a_floor():
    """A new module is placed before it is used; one that is gone is taken off the list."""
    assert sorted(FLOORS) == sorted(FILES)


@pytest.mark.parametrize("name", FLOORS)
def test_a_module_imports_only_from_below(name):
    """Never from its own height or above."""
    below = set(FLOORS[: FLOORS.index(name)])
    assert of_ours(name) - below == set()


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_imports_nothing_that_touches_the_world(name):
    """No socket, clock, thread, randomness, file or log."""
    assert {one.partition(".")[0] for one in imported(name)} & TOUCHING == set()


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


@pytest.mark.parametrize("name", FLOORS)
def test_a_module_opens_with_its_charter(name):
    """A docstring that says what lives there, in a sentence at least."""
    charter = ast.get_docstring(tree_of(name))
    assert charter
    assert charter.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", FLOORS)
def test_a_module_uses_no_assert_for_control(name):
    """It would be gone under -O."""
    assert not [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.Assert)]


def test_the_check_sees_what_it_looks_for():
    """The parser of imports finds the ones that are known to be there."""
    assert "codec.commands" in of_ours("codec")
    assert "actions" in of_ours("plan")
    assert "" not in of_ours("plan")
    assert "drivers" in of_ours("")
    assert "socket" in imported("drivers.address")

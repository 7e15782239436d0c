"""From a name on the command line to a filter, and what is said if there is none."""

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from demyjpy.cli.loading import LoadError, load_filter
from demyjpy.cli.places import explain
from demyjpy.registry import Registry
from tests.cli.filters import FILTER


def test_filter_is_loaded_by_path_with_its_siblings(write: Callable[..., None]) -> None:
    """Its module is known by its stem, so that what it defines can be pickled."""
    write("deep/helper.py", "EVENT = 'mail'")
    write(
        "deep/mine.py",
        """
        import pickle
        from dataclasses import dataclass

        from helper import EVENT

        @dataclass
        class Note:
            text: str

        assert pickle.loads(pickle.dumps(Note("x"))) == Note("x")
        other = {EVENT: lambda event, ctx: ctx}
        """,
    )
    loaded = load_filter("deep/mine.py:other")
    assert (loaded.name, loaded.kind, list(loaded.on_connect)) == (
        "deep/mine.py:other",
        "registry",
        ["mail"],
    )
    assert sys.modules["mine"].Note.__module__ == "mine"
    assert isinstance(load_filter("deep/mine.py:other").on_connect, Registry)


def test_a_file_is_read_again_also_if_only_its_text_is_another(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's cache knows a file by its size and the second in which it was written."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for event in ("hello", "abort"):
        write("mine.py", f"handlers = {{'{event}': lambda event, ctx: ctx}}\n")
        os.utime("mine.py", (1e9, 1e9))
        assert list(load_filter("mine.py").on_connect) == [event]


def test_filter_is_loaded_from_a_module_of_the_current_directory(write: Callable[..., None]) -> None:
    """By its dotted name, as ``python -m`` would find it; NAME is handlers if not given."""
    write("company/__init__.py", "")
    write("company/filters.py", FILTER)
    loaded = load_filter("company.filters")
    assert loaded.on_connect is sys.modules["company.filters"].handlers


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "expected a filter as FILE.py:NAME or package.module:NAME, got ''"),
        (":x", "expected a filter as FILE.py:NAME or package.module:NAME, got ':x'"),
        ("good.py:", "expected a filter as FILE.py:NAME or package.module:NAME, got 'good.py:'"),
        ("a..b:x", "expected a filter as FILE.py:NAME or package.module:NAME, got the module 'a..b'"),
        (
            "missing.py",
            "expected a filter in missing.py, got: No such file or directory; a filter is given as",
        ),
        ("./good", "expected a filter in ./good, got: No such file or directory; did you mean good.py?"),
        (f"./{'x' * 300}", "File name too long; a filter is given as FILE.py:NAME"),
        ("./", "expected a filter in ./, got: Is a directory"),
        ("missing:x", "expected the module missing, got: No module named 'missing'; looked in"),
        ("good.handlers", "expected the module good.handlers, got: No module named 'good.handlers'"),
        ("email.py", "expected a file that hides no other module, got email.py: rename it"),
        ("pyrsistent.py", "expected a file that hides no other module, got pyrsistent.py: rename it"),
        ("good.py:nope", "expected 'nope' in good.py, got no such name; filters there: handlers"),
        ("makes.py", "got no such name; there is make: write makes.py:make"),
        (
            "makes.py:plain",
            "handlers; is plain a function of settings? write def plain(*, ...) -> Registry",
        ),
        ("bad.py:nope", "got no such name; define one: handlers = define_event_handlers()"),
        ("bad.py:number", "expected bad.py:number to be a registry (define_event_handlers), a map"),
        ("bad.py:Class", "got <class 'bad.Class'>"),
        (
            "bad.py:handler",
            "to be a plain function ctx -> ctx (what runs at each connection), got def handler(",
        ),
        (
            "bad.py:later",
            "to be a plain function ctx -> ctx (what runs at each connection), got async def later(",
        ),
        ("bad.py:typo", "bad.py:typo is no filter: expected one of connect, hello,"),
        (
            "broken.py",
            "expected broken.py to load, got a syntax error at broken.py:2: '(' was never closed: x = (",
        ),
        ("ends.py", "expected ends.py to load, got SystemExit: no configuration"),
        ("odd.py", "expected odd.py to load, got SyntaxError: odd"),
    ],
)
def test_what_cannot_be_loaded_is_told_with_status_2(
    run: Any, write: Callable[..., None], text: str, error: str
) -> None:
    """On standard error: what was expected, what came, what to do; never a traceback."""
    for name in ("good.py", "email.py", "pyrsistent.py"):
        write(name, FILTER)
    write(
        "bad.py",
        """
        number = 3
        class Class: pass
        def handler(event, ctx): return ctx
        async def later(ctx): return ctx
        typo = {"bodyy": handler}
        """,
    )
    write(
        "makes.py",
        """
        from demyjpy import Registry
        def _own(*, a: int = 1) -> Registry: ...
        def main(): ...
        def make(*, a: int = 1) -> Registry: ...
        def plain(a, b): ...
        """,
    )
    write("broken.py", "# the bracket\nx = (\n")
    write("ends.py", "raise SystemExit('no configuration')")
    write("odd.py", "raise SyntaxError('odd')")
    status, output, errors = run("check", text)
    assert (status, output) == (2, "")
    assert errors.startswith("demyjpy check: ")
    assert error in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        (
            "own.py",
            "\n1 / 0",
            ["ZeroDivisionError: division by zero", '  File "own.py", line 2, in <module>', "    1 / 0"],
        ),
        (
            "stdlib.py",
            "import json\njson.loads('{')",
            ["JSONDecodeError: ", '  File "stdlib.py", line 2, in <module>', "    json.loads('{')"],
        ),
        (
            "sibling.py",
            "import no_such_thing",
            [
                "ModuleNotFoundError: No module named 'no_such_thing'",
                '  File "sibling.py", line 1, in <module>',
                "    import no_such_thing",
            ],
        ),
        (
            "ours.py",
            "from demyjpy import define_event_handlers\ndefine_event_handlers(actions='x')",
            [
                "HandlerError: expected a set of names as actions, got the string 'x'",
                '  File "ours.py", line 2, in <module>',
                "    define_event_handlers(actions='x')",
            ],
        ),
        (
            "generated.py",
            "exec(compile('1 / 0', '/no/such/template', 'exec'))",
            ["ZeroDivisionError: division by zero", '  File "/no/such/template", line 1, in <module>'],
        ),
        ("silent.py", "raise ValueError", ["ValueError", '  File "silent.py", line 1, in <module>']),
    ],
)
def test_filter_that_raises_while_it_loads_is_told_where(
    run: Any, write: Callable[..., None], name: str, text: str, lines: list[str]
) -> None:
    """The last line of its author's own, wherever it was raised in the end."""
    write(name, text)
    status, output, errors = run("run", name)
    assert (status, output) == (2, "")
    first, *rest = errors.splitlines()
    assert first.startswith(f"demyjpy run: expected {name} to load, got {lines[0]}")
    assert rest[: len(lines) - 1] == lines[1:]


def test_module_that_misses_another_is_told_where(run: Any, write: Callable[..., None]) -> None:
    """It is there itself, so the advice is not how to name it."""
    write("company/__init__.py", "")
    write("company/filters.py", "import company.no_such_thing")
    status, _, errors = run("check", "company.filters")
    first, *rest = errors.splitlines()
    assert status == 2
    assert first.endswith("to load, got ModuleNotFoundError: No module named 'company.no_such_thing'")
    assert rest == [
        '  File "company/filters.py", line 1, in <module>',
        "    import company.no_such_thing",
    ]


def test_interrupt_while_loading_is_no_traceback(run: Any, write: Callable[..., None]) -> None:
    """The status is the shell's for SIGINT."""
    write("slow.py", "raise KeyboardInterrupt")
    assert run("run", "--allow-root", "slow.py") == (130, "", "")


def test_explain_without_a_place_is_one_line() -> None:
    """An exception that was never raised, or raised by the library itself, has no line to show."""
    assert explain(LoadError("no line")) == "LoadError: no line"

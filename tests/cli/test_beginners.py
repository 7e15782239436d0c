"""What the command line says to a beginner: results that nobody uses, and names that are none."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import demyjpy
from demyjpy import add_header, define_event_handlers, note, reject
from demyjpy.cli.check_dropped import dropped_in

Run = Callable[..., tuple[int, str, str]]

late: Any = None


def forgets(event: Any, ctx: Any) -> Any:
    """Each of these is of no use."""
    add_header(ctx, "X-A", "b")
    if event:
        demyjpy.reject(ctx)
    ctx.set("x", 1)
    note(ctx, "a word")
    return ctx


def fine(event: Any, ctx: Any) -> Any:
    """None of these is dropped."""
    found: list[Any] = []
    found.append(1)
    len(event)
    found[0](ctx)
    late.reject(ctx)
    ctx.get("x")
    event.set("x")
    define_event_handlers()
    ctx = add_header(ctx, "X-A", "b")
    return reject(ctx)


def test_what_is_dropped_is_named_with_its_line() -> None:
    """The functions of demyjpy that return a context, and the methods of the context itself."""
    first = forgets.__code__.co_firstlineno
    assert [one.partition(": ")[2] for one in dropped_in(forgets)] == [
        "nobody uses what add_header returns: write ctx = add_header(...)",
        "nobody uses what ctx.set returns: write ctx = ctx.set(...)",
        "nobody uses what note returns: write ctx = note(...)",
        "nobody uses what demyjpy.reject returns: write ctx = demyjpy.reject(...)",
    ]
    assert [int(one.partition(": ")[0].rpartition(":")[2]) - first for one in dropped_in(forgets)] == [
        *(2, 5, 6, 4)
    ]


def test_names_of_a_closure_are_known() -> None:
    """And those of a function that is wrapped."""
    act = add_header

    def inner(event: Any, ctx: Any) -> Any:
        act(ctx, "X-A", "b")
        return ctx

    @functools.wraps(inner)
    def outer(*arguments: Any) -> Any:
        return inner(*arguments)

    assert len([*dropped_in(outer)]) == 1


def test_a_name_that_is_still_to_be_bound_is_no_error() -> None:
    """Nor is it looked at."""

    def inner(event: Any, ctx: Any) -> Any:
        later(ctx)
        return ctx

    assert [*dropped_in(inner)] == []

    def later(ctx: Any) -> Any:
        return ctx


@pytest.mark.parametrize(
    "function",
    [
        fine,
        len,
        functools.partial(forgets, None),
        lambda ctx: add_header(ctx, "X", "y"),
        eval("lambda e, c: c"),
    ],
)
def test_other_functions_drop_nothing(function: Any) -> None:
    assert [*dropped_in(function)] == []


def written(directory: Path, *lines: str) -> Path:
    """A file with a filter: two lines that each has, and these."""
    head = ("from demyjpy import *", "handlers = define_event_handlers(actions={'add_header'})")
    path = directory / "forgetful.py"
    path.write_text("\n".join((*head, *lines)))
    return path


def test_a_handler_with_other_arguments_is_refused_by_file_and_line(run: Run, tmp_path: Path) -> None:
    """As the file is loaded, for `check` and `run`."""
    path = written(tmp_path, "@handlers.mail", "def mail(event):", "    return event")
    for command in ("check", "run"):
        status, _, errors = run(command, *(["--allow-root"] if command == "run" else []), path)
        assert status == 2
        assert "forgetful.py:3: expected a handler for 'mail' as a function (event, ctx)" in errors


def test_a_command_that_is_none_is_near_to_one(run: Run) -> None:
    """And so is a choice of an option."""
    assert "did you mean 'check'?" in run("chekc")[2]
    assert "did you mean 'threads'?" in run("check", "x.py", "--driver", "thread")[2]
    assert "did you mean" not in run("xyzzy")[2]


@pytest.mark.parametrize("command", ["explain", "trace"])
def test_a_directory_without_traces_says_how_there_come_some(
    run: Run, tmp_path: Path, command: str
) -> None:
    status, _, errors = run(command, tmp_path)
    assert status == 2
    assert "found none: demyjpy run --record DIRECTORY writes all sessions there" in errors


def test_check_says_it(run: Run, tmp_path: Path) -> None:
    """As a note: the filter runs, and does less than its author thinks."""
    lines = ("@handlers.end_of_message", "def end(event, ctx):", "    add_header(ctx, 'X-A', 'b')")
    path = written(tmp_path, *lines, "    return ctx")
    status, shown, _ = run("check", path)
    assert status == 0
    assert "forgetful.py:5: nobody uses what add_header returns: write ctx = add_header(...)" in shown

"""No line is longer than a terminal is wide; what programs read is never broken."""

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from textwrap import dedent

import pytest

from demyjpy import running
from demyjpy.cli.commands.snoop import record_line
from demyjpy.cli.line_breaks import LEAST, broken, columns, filled
from demyjpy.cli.output import Paint, say
from demyjpy.cli.program import COMMANDS, main
from demyjpy.trace import write
from demyjpy.trace.format.converters import WireConverter
from tests.cli.conftest import MAIL
from tests.engine.harness import MESSAGE, OPENING, QUIT, join, macros
from tests.trace.live.test_capsule_outside import a_capsule
from tests.trace.sessions import WHOLE, recorded, tagger

WIDTH = 80
FILTER = """
    from demyjpy import add_header, define_event_handlers, reject

    handlers = define_event_handlers(actions={"add_header"}, state={"count": 0})

    @handlers.recipient
    def count(event, ctx):
        return ctx.set("count", ctx["count"] + 1)

    @handlers.end_of_message
    def tag(event, ctx):
        words = "a value that is as long as those of other filters that write a report into it"
        return add_header(ctx, "X-Tag", f"{words} {ctx['count']}")
"""


class Terminal(io.StringIO):
    """A terminal: what is written there is kept."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Runs a command on a terminal with 80 columns: what is on it then."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)  # short names, as somebody types them
    Path("wide_filter.py").write_text(dedent(FILTER))

    def shown(*arguments: object) -> str:
        terminal = Terminal()
        with redirect_stdout(terminal), suppress(SystemExit):  # after --help
            main([str(one) for one in arguments])
        return terminal.getvalue()

    return shown


def too_long(text: str) -> list[str]:
    """Lines that do not fit."""
    return [line for line in text.splitlines() if columns(line) > WIDTH]


# --------------------------------------------------------------------------------------- commands
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal(shown: Callable[..., str], name: str) -> None:
    """Sentences and options are filled, and a long command goes on in the next line."""
    text = shown(name, "--help")
    assert "examples:" in text
    assert too_long(text) == []


def test_what_commands_say_of_recordings_fits(shown: Callable[..., str], tmp_path: Path) -> None:
    """trace, explain, replay with what differs, its steps, and a capsule."""
    write("t.jsonl", [recorded(tagger(), *WHOLE)])
    capsule = a_capsule(tmp_path).relative_to(tmp_path)
    for arguments in (
        ("trace", "t.jsonl"),
        ("explain", "t.jsonl"),
        ("replay", "t.jsonl", "wide_filter.py", "--meaning"),
        ("replay", "t.jsonl", "wide_filter.py", "--step"),
        ("replay", "t.jsonl", "wide_filter.py"),
        ("capsule", capsule),
    ):
        text = shown(*arguments)
        assert text.count("\n") > 1, arguments
        assert too_long(text) == [], arguments


def test_what_commands_say_of_filters_fits(shown: Callable[..., str]) -> None:
    """Check and send; and demo, with its mails."""
    Path("mail.eml").write_bytes(MAIL)
    with running(
        tagger("a word or two, and then some more of them, which are too many for a line")
    ) as milter:
        sent = shown("send", "--to", milter, "mail.eml")
    assert "accepted" in sent
    for text in (sent, shown("check", "wide_filter.py"), shown("demo", "wide_filter.py")):
        assert text.count("\n") > 3
        assert too_long(text) == []


def test_what_snoop_says_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet that is longer than a line goes on in the next."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    converter = WireConverter("s")
    packets = (*OPENING, macros("M", i="Q1"), *MESSAGE, QUIT)
    records = [one for packet in packets for one in converter.take("mta", join([packet]), 1.5)]
    terminal = Terminal()
    say(*(record_line(one, 1, Paint(True)) for one in records), to=terminal, coloured=True)
    assert len(terminal.getvalue().splitlines()) > len(records)
    assert too_long(terminal.getvalue()) == []


def test_what_programs_read_is_never_broken(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON and units, on a terminal too; anything that goes to a file or a pipe."""
    write("t.jsonl", [recorded(tagger(), *WHOLE)])
    Path("mail.eml").write_bytes(MAIL)
    replay = ("replay", "t.jsonl", "wide_filter.py", "--meaning")
    for arguments in ((*replay, "--json"), ("trace", "t.jsonl", "--json")):
        assert [json.loads(line) for line in shown(*arguments).splitlines()]
    assert json.loads(shown("check", "wide_filter.py", "--json"))
    with running(tagger()) as milter:
        assert json.loads(shown("send", "--to", milter, "mail.eml", "--json"))
    assert [line for line in too_long(shown("unit", "wide_filter.py")) if "ExecStart" in line]
    file = io.StringIO()
    say("word " * 40, to=file)
    assert file.getvalue() == "word " * 40 + "\n"


# ------------------------------------------------------------------------------------------ lines
def pieces(line: str, width: int = 20) -> list[str]:
    """Of a line."""
    return list(broken(line, width))


def test_lines_break_between_words() -> None:
    """What follows is indented, four more than the line itself."""
    assert pieces("one two three four five six") == ["one two three four", "    five six"]
    assert pieces("  one two three four five") == ["  one two three four", "      five"]
    assert pieces("short") == ["short"]
    assert pieces("") == [""]
    assert pieces("a    b    c    d    e    f") == ["a    b    c    d", "    e    f"]


def test_a_word_is_never_broken() -> None:
    """It has a line of its own, and what it was indented by."""
    path = "/srv/" + "x" * 30
    assert pieces(f"see {path} there") == ["see", f"    {path}", "    there"]
    assert pieces(f"   {path}") == [f"   {path}"]


def test_colours_take_no_place() -> None:
    """Nor do marks above a letter; wide characters take two columns."""
    red = Paint(True)("red", "one two three")
    assert columns(red) == 13
    assert pieces(f"{red} four") == [f"{red} four"]
    assert columns("e\u0301") == 1
    assert columns("\u6f22\u5b57") == 4
    assert pieces(" ".join(["\u6f22\u5b57"] * 5))[1:] == ["    \u6f22\u5b57"]


def test_a_terminal_may_be_too_narrow() -> None:
    """Then nothing is broken: it would be no better."""
    assert pieces("one two three four five six", LEAST - 1) == ["one two three four five six"]
    deep = " " * 30 + "one two"
    assert pieces(deep) == [" " * 30 + "one", " " * 10 + "two"]


def test_help_is_filled() -> None:
    """A full stop or a colon ends a line; a command goes on as a shell takes it."""
    text = "examples:\n  run this --with that --and more\n\nOne two\nthree four five six.\nSeven.\n"
    assert list(filled(text, 24)) == [
        "examples:",
        "  run this --with that \\",
        "      --and more",
        "",
        "One two three four five",
        "six.",
        "Seven.",
    ]

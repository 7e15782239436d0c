"""The command line, as a program where it serves, and called where it only says something."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from demyjpy.cli import main
from demyjpy.cli.arguments import build_parser, options_of, version
from demyjpy.cli.configuration import mta_lines
from demyjpy.cli.loading import LoadError, explain, load_filter
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.options import Options
from demyjpy.engine import hot_path
from demyjpy.engine.limits import Limits
from demyjpy.registry import Registry
from tests.engine.harness import MAIL, join, offer, packet

ROOT = Path(__file__).parents[2]
BYTECOUNT = f"{ROOT}/samples/bytecount.py"

FILTER = """
    from demyjpy import define_event_handlers, with_handlers

    handlers = define_event_handlers()

    @handlers.mail
    def look(event, ctx):
        return ctx
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Writes files into the current directory; what loads from there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: exit status, output, errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        return status, *capsys.readouterr()

    return run


# ------------------------------------------------------------------------------------- programs
def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """The command line as a program."""
    return subprocess.Popen(
        [sys.executable, "-m", "demyjpy", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


@contextmanager
def serving(*arguments: str, end: int = signal.SIGTERM) -> Iterator[tuple[list[str], list[str]]]:
    """``demyjpy run`` while the block runs, then a signal: its output so far, and its log at last."""
    log: list[str] = []
    with start("run", "--allow-root", *arguments) as program:
        try:
            yield read_lines(program), log
        finally:
            program.send_signal(end)
        log += program.communicate(timeout=30)[1].splitlines()
    assert program.returncode == 0, log


def port_in(lines: list[str]) -> int:
    """The port in the line for Postfix."""
    (line,) = (line for line in lines if line.startswith("smtpd_milters"))
    return int(line.rpartition(":")[2])


def talk(port: int, *packets: Any) -> bytes:
    """All that a filter answers to these packets, after which the MTA is gone."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as mta:
        mta.sendall(join(packets))
        mta.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: mta.recv(4096), b""))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_run_serves_until_a_signal_and_ends_with_status_0(end: int) -> None:
    """It prints the lines for both MTAs, answers an MTA, and logs to standard error."""
    with serving(f"{BYTECOUNT}:handlers", "--listen", "inet:0@localhost", end=end) as (lines, log):
        port = port_in(lines)
        assert talk(port, offer())[4:5] == b"O"
    assert lines == [
        "# Postfix, main.cf (then: postfix reload)",
        f"smtpd_milters = inet:localhost:{port}",
        "non_smtpd_milters = $smtpd_milters",
        "# while the filter is away, clients are told to come back later (451)",
        "milter_default_action = tempfail",
        "",
        "dnl Sendmail, sendmail.mc (then rebuild sendmail.cf and restart)",
        "dnl F=T: while the filter is away, clients are told to come back later (451)",
        f"INPUT_MAIL_FILTER(`demyjpy', `S=inet:{port}@localhost, F=T, T=S:10s;R:10s;E:5m')dnl",
    ]
    assert log[0].split(" ", 2)[2].startswith(f"INFO listening on inet:{port}@localhost")


def test_run_with_threads_and_workers_serves() -> None:
    """Driver and number of processes are options."""
    arguments = ("--listen", "inet:0@127.0.0.1", "--driver", "threads", "--workers", "2")
    with serving(BYTECOUNT, *arguments) as (lines, _):
        assert talk(port_in(lines), offer())[4:5] == b"O"


def test_run_answers_for_a_handler_that_raises_as_told(write: Callable[..., None]) -> None:
    """The policy is an option; the log has the traceback, the session goes on."""
    write(
        "angry.py",
        """
        from demyjpy import define_event_handlers

        def angry(event, ctx):
            raise ValueError("no mail today")

        handlers = define_event_handlers({"mail": angry})
        """,
    )
    arguments = ("--listen", "inet:0@127.0.0.1", "--on-error", "reject", "--log-level", "error")
    with serving("angry.py", *arguments) as (lines, log):
        assert talk(port_in(lines), offer(), MAIL).endswith(join([packet("r")]))
    assert "ERROR" in log[0]
    assert "angry.angry failed at mail: ValueError: no mail today" in log[0]


def test_run_told_to_end_while_it_starts_ends_with_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes while the lines are printed is as good as one that comes later."""

    class Terminal(io.StringIO):
        """Where a signal comes as soon as something is written."""

        def flush(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["run", "--allow-root", BYTECOUNT, "--listen", "inet:0@127.0.0.1"]) == 0


def test_run_where_another_listens_says_so_with_status_1(run: Any) -> None:
    """One line, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, output, errors = run(
            "run", "--allow-root", BYTECOUNT, "--listen", f"inet:{port}@localhost"
        )
    assert (status, output) == (1, "")
    assert errors == f"demyjpy run: cannot listen on inet:{port}@localhost: Address already in use\n"


def test_run_of_async_handlers_under_threads_is_refused_with_status_2(
    run: Any, write: Callable[..., None]
) -> None:
    """They need an event loop."""
    write("asynchronous.py", "async def mail(event, ctx): return ctx\nhandlers = {'mail': mail}")
    status, output, errors = run("run", "--allow-root", "asynchronous.py", "--driver", "threads")
    assert (status, output) == (2, "")
    assert "asynchronous.mail is async def, which needs --driver asyncio" in errors


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            "{'mail': lambda event: event}",
            "mail: expected a function (event, ctx) -> ctx, got def <lambda>(event)",
        ),
        ("{'mail': lambda event, ctx: ctx}, actions={'quarantine'}", "quarantine: can never be sent"),
    ],
)
def test_run_refuses_what_check_finds_wrong(
    run: Any, write: Callable[..., None], given: str, problem: str
) -> None:
    """With status 2, before it listens; so does a reload at SIGHUP."""
    head = "from demyjpy import define_event_handlers\n"
    write("boom.py", f"{head}handlers = define_event_handlers({given})")
    status, output, errors = run("run", "--allow-root", "boom.py")
    assert (status, output) == (2, "")
    assert errors.startswith(f"demyjpy run: expected a filter without problems, got: {problem}")


def test_output_that_nobody_reads_is_no_traceback() -> None:
    """``demyjpy check FILTER | head -1`` ends quietly."""
    read, written = os.pipe()
    os.close(read)
    with start("check", BYTECOUNT, stdout=written) as program:
        os.close(written)
        assert (program.communicate(timeout=30)[1], program.returncode) == ("", 1)


# ------------------------------------------------------------------------------------ arguments
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "demyjpy: the following arguments are required: COMMAND; see demyjpy --help"),
        (["run"], "demyjpy run: the following arguments are required: FILTER; see demyjpy run --help"),
        (["run", "x.py", "--workers", "0"], "expected a whole number from 1, got '0'"),
        (["run", "x.py", "--workers", "two"], "expected a whole number from 1, got 'two'"),
        (
            ["run", "x.py", "--grace", "nan"],
            "expected a number of seconds from 0, at most a year's, got 'nan'",
        ),
        (["run", "x.py", "--idle-timeout", "0"], "expected a number of seconds above 0"),
        (["run", "x.py", "--listen", "foo"], "expected an address such as inet:20025@localhost"),
        (["run", "x.py", "--driver", "gevent"], "invalid choice: 'gevent'"),
        (
            ["run", "x.py", "--work", "2"],
            "demyjpy run: unrecognized arguments: --work 2; did you mean --workers?; see demyjpy run",
        ),
        (["run", "x.py", "--http", "9100x"], "argument --http: expected a port from 0 to 65535"),
        (["run", "x.py", "--listen", "localhost:1"], "did you mean inet:1@localhost?"),
        (["run", "x.py", "--load-timeout", "0"], "expected a number of seconds above 0"),
        (["--work", "run", "x.py"], "demyjpy: unrecognized arguments: --work; see demyjpy --help"),
    ],
)
def test_wrong_arguments_are_told_in_one_line_with_status_2(
    run: Any, arguments: list[str], error: str
) -> None:
    """What was expected and what came, and where to read more."""
    status, output, errors = run(*arguments)
    assert (status, output) == (2, "")
    assert error in errors
    assert errors.count("\n") == 1
    assert errors.endswith("--help\n")


@pytest.mark.parametrize("command", [[], ["run"], ["check"]])
def test_help_has_examples_that_parse(run: Any, command: list[str]) -> None:
    """Each example of a command is one that the parser takes."""
    status, output, _ = run(*command, "--help")
    examples = [line.split()[1:] for line in output.splitlines() if line.startswith("  demyjpy ")]
    assert status == 0
    assert len(examples) >= 3
    for words in examples:
        if words[0] != "--print-completion":
            plain = (
                [word.strip("'") for word in words[: words.index("|")] if word]
                if "|" in words
                else words
            )
            build_parser().parse_args([word.strip("'") for word in plain])


@pytest.mark.parametrize(
    ("option", "needed"),
    [
        (["--record-raw"], "--record"),
        (["--flight-hash"], "--flight"),
        (["--flight-keep", "envelope"], "--flight"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(run: Any, option: list[str], needed: str) -> None:
    """With the one that it belongs to, and status 2."""
    status, output, errors = run("run", BYTECOUNT, *option)
    assert (status, output, errors) == (2, "", f"demyjpy run: {option[0]} needs {needed}\n")


def test_options_are_those_of_the_library_with_its_defaults() -> None:
    """Nothing given is what `Options` has by itself; what is given arrives."""
    parse = build_parser().parse_args
    assert Options(**options_of(parse(["run", "x.py"]))) == Options()
    limits = ["--max-recipients", "7", "--max-macro-size", "9", "--max-command-size", "8"]
    given = parse(["run", "x.py", "--on-error", "accept", "--grace", "0", *limits])
    assert Options(**options_of(given)) == Options(
        on_error="accept", grace=0.0, limits=Limits(recipients=7, macro_size=9, command_size=8)
    )


def test_version_is_that_of_the_distribution(run: Any) -> None:
    """Or a word that it is not installed."""
    assert run("--version")[1].startswith(f"demyjpy {version('demyjpy')}")
    assert version("attrs")[0].isdigit()
    assert version("no-such-distribution") == "(not installed)"


@pytest.mark.parametrize(
    ("file", "told"),
    [("hot_path.py", ""), (f"hot_path{EXTENSION_SUFFIXES[0]}", " (compiled engine)")],
)
def test_version_tells_whether_the_engine_is_compiled(
    run: Any, monkeypatch: pytest.MonkeyPatch, file: str, told: str
) -> None:
    """Seen by the file that the engine came from."""
    monkeypatch.setattr(hot_path, "__file__", file)
    assert run("--version") == (0, f"demyjpy {version('demyjpy')}{told}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(run: Any, shell: str) -> None:
    """A script for the shell, which completes the filter's file, too."""
    pytest.importorskip("shtab")
    status, output, _ = run("--print-completion", shell)
    assert status == 0
    assert "--idle-timeout" in output
    assert {"bash": "_shtab_compgen_files", "zsh": ":_files"}[shell] in output


def test_completion_without_shtab_tells_how_to_get_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    error = "demyjpy: completion needs shtab: pip install 'demyjpy[completion]'\n"
    assert run("--print-completion", "zsh") == (1, "", error)


# -------------------------------------------------------------------------------------- loading
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


# ---------------------------------------------------------------------------------------- check
BOTH_LISTS = (
    "macros: Sendmail needs a list for both end_of_headers and end_of_message, so what is asked for at "
    "one only is asked for at both"
)


def place_of(sample: str, line: str) -> int:
    """The number of a line in a sample."""
    return 1 + (ROOT / f"samples/{sample}.py").read_text().splitlines().index(line)


def test_check_says_what_a_filter_asks_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events with their handlers, what is switched off, actions, macros; status 0."""
    monkeypatch.chdir(ROOT)
    note = place_of("macros", "@handlers.recipient(reply=False, rejected=True)")
    report = place_of("macros", "@handlers.end_of_message")
    status, output, errors = run("check", "samples/macros.py")
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "samples/macros.py:handlers (registry)",
        "",
        "Events",
        f"  recipient       no reply, refused recipients too  macros.note    samples/macros.py:{note}",
        f"  end_of_message  reply                             macros.report  samples/macros.py:{report}",
        "  switched off: connect hello mail data header end_of_headers body unknown",
        "",
        "Actions",
        "  required: none",
        "  optional: none",
        "",
        "Macros asked for",
        "  recipient       {rcpt_mailer} {rcpt_host} i",
        "  end_of_headers  i",
        "  end_of_message  i",
        "",
        "Notes",
        "  - macros: asked for where the MTA lets a filter choose; others send what they always do",
        f"  - {BOTH_LISTS}",
        "",
        "Nothing wrong found.",
    ]


def test_check_of_a_merged_filter_says_which_part_has_a_handler(run: Any) -> None:
    """Handlers of one event in the order in which they run."""
    status, output, _ = run("check", f"{ROOT}/samples/pipeline.py")
    found = [line.split() for line in output.splitlines() if line.startswith("  end_of_message")]
    assert (status, [words[-1] for words in found]) == (0, ["#2", "#3"])
    assert "(registry, 3 filters merged)" in output


def test_check_prints_json_for_programs(run: Any) -> None:
    """The same in keys and values."""
    status, output, _ = run("check", BYTECOUNT, "--json", "--driver", "threads")
    report = json.loads(output)
    assert status == 0
    assert report["filter"] == f"{BYTECOUNT}:handlers"
    assert report["actions"] == ["add_header"]
    assert report["handlers"][2] == {
        "event": "end_of_message",
        "filter": 1,
        "function": "bytecount.report",
        "file": report["handlers"][0]["file"],
        "line": place_of("bytecount", "@handlers.end_of_message"),
        "reply": True,
        "is_async": False,
        "blocking": False,
        "rejected": False,
        "progress": 5.0,
    }


CHECKED = """
    import functools

    from demyjpy import default_event_handler, define_event_handlers, with_handlers

    def plain(event, ctx): return ctx
    async def later(event, ctx): return ctx

    empty = define_event_handlers()
    asynchronous = define_event_handlers({"mail": later})
    one_argument = define_event_handlers({"mail": lambda ctx: ctx})
    useless = define_event_handlers(
        {"mail": plain}, actions={"add_header"}, optional_actions={"quarantine"}
    )

    class Counter:
        def __call__(self, event, ctx): return ctx

    callables = define_event_handlers(
        {"mail": functools.partial(plain), "hello": Counter(), "connect": max, "abort": plain}
    )
    special = define_event_handlers(
        {"options": default_event_handler},
        actions={"add_recipient_par", "choose_macros"},
        optional_events={"unknown"},
        macros={"mail": ["i", "{if_name}"], "end_of_headers": ["{rcpt_addr}", "i"]},
    )

    @special.end_of_message(blocking=True, progress=None)
    def slow(event, ctx): return ctx

    patient = define_event_handlers()

    @patient.end_of_message(progress=20)
    async def wait(event, ctx): return ctx

    def on_connect(ctx): return with_handlers(ctx, {"body": plain})
    def nothing(ctx): pass
    def fails(ctx): return 1 / 0
    builtin = iter
"""


def test_check_keeps_what_a_filter_prints_out_of_its_report(
    run: Any, write: Callable[..., None]
) -> None:
    """It goes to standard error."""
    write("loud.py", "print('hello')\nhandlers = {'mail': lambda event, ctx: ctx}")
    status, output, errors = run("check", "loud.py", "--json")
    assert (status, json.loads(output)["problems"], errors) == (0, [], "hello\n")


def line_of(code: str) -> int:
    """Where something stands in the checked file."""
    return 1 + dedent(CHECKED).splitlines().index(code)


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (
            ["empty"],
            ["no handler at all: the filter accepts everything; register some: @handlers.body ..."],
        ),
        (["asynchronous"], []),
        (
            ["asynchronous", "--driver", "threads"],
            ["mail: checked.later is async def, which needs --driver asyncio"],
        ),
        (["one_argument"], ["mail: expected a function (event, ctx) -> ctx, got def <lambda>(ctx)"]),
        (
            ["useless"],
            ["add_header, quarantine: can never be sent, for only an end_of_message handler"],
        ),
        (["callables"], []),
        (["on_connect"], []),
        (
            ["nothing"],
            ["on_connect failed: HandlerError: expected on_connect to return a context, got None: "],
        ),
        (
            ["fails"],
            ['on_connect failed: ZeroDivisionError: division by zero\n  File "checked.py", line '],
        ),
        (
            ["builtin"],
            ["on_connect failed: HandlerError: expected on_connect to return a context, got <"],
        ),
    ],
)
def test_check_finds_what_is_wrong_and_ends_with_status_1(
    run: Any, write: Callable[..., None], arguments: list[str], problems: list[str]
) -> None:
    """And with 0 where nothing is."""
    write("checked.py", CHECKED)
    name, *options = arguments
    status, output, _ = run("check", f"checked.py:{name}", "--json", *options)
    found = json.loads(output)["problems"]
    assert status == (1 if problems else 0)
    assert len(found) == len(problems)
    for one, expected in zip(found, problems, strict=True):
        assert one.startswith(expected)


@pytest.mark.parametrize(
    ("arguments", "notes"),
    [
        (["asynchronous"], []),
        (
            ["special"],
            [
                "options: demyjpy.handlers.default_event_handler negotiates; what is said here holds if",
                "end_of_message: checked.slow may block: it runs in one of --blocking-threads",
                "end_of_message: checked.slow gives no sign of life within 10 s, after which Sendmail",
                "unknown is an optional event, but has no handler: nothing is asked for",
                "add_recipient_par without add_recipient: recipients can be added with ESMTP",
                "macros: asked for where the MTA lets a filter choose; others send what they always do",
                BOTH_LISTS,
                "macros: i at mail: Postfix has no queue id before the second recipient",
                "macros: {if_name} at mail: not in Postfix",
                "macros: {rcpt_addr} at end_of_headers: Postfix has them earlier only; what came with",
            ],
        ),
        (["patient"], ["end_of_message: checked.wait gives no sign of life within 10 s, after which"]),
        (["on_connect"], ["checked.py:on_connect is a function, called for each connection: this is"]),
    ],
)
def test_check_notes_what_is_worth_to_know(
    run: Any, write: Callable[..., None], arguments: list[str], notes: list[str]
) -> None:
    """Nothing of it is wrong."""
    write("checked.py", CHECKED)
    name, *options = arguments
    status, output, _ = run("check", f"checked.py:{name}", "--json", *options)
    found = json.loads(output)["notes"]
    assert (status, len(found)) == (0, len(notes))
    for one, expected in zip(found, notes, strict=True):
        assert one.startswith(expected)


def test_check_shows_any_kind_of_handler(run: Any, write: Callable[..., None]) -> None:
    """Partials and objects by their function's place, a builtin without one; answered or never."""
    write("checked.py", CHECKED)
    _, output, _ = run("check", "checked.py:callables")
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.startswith("  ")}
    assert rows["connect"] == ["reply", "builtins.max", "?"]
    plain = f"checked.py:{line_of('def plain(event, ctx): return ctx')}"
    assert rows["hello"][-1] == f"checked.py:{line_of('    def __call__(self, event, ctx): return ctx')}"
    assert rows["mail"][-1] == plain
    assert rows["abort"] == ["never", "answered", "checked.plain", plain]


def test_check_lists_problems_under_one_another(run: Any, write: Callable[..., None]) -> None:
    """With the line where it happened."""
    write("checked.py", CHECKED)
    line = line_of("def fails(ctx): return 1 / 0")
    status, output, _ = run("check", "checked.py:fails")
    assert status == 1
    assert output.partition("Problems\n")[2].splitlines()[:3] == [
        "  - on_connect failed: ZeroDivisionError: division by zero",
        f'      File "checked.py", line {line}, in fails',
        "        def fails(ctx): return 1 / 0",
    ]
    assert "Nothing wrong found" not in output


def test_check_shows_flags_and_optional_events(run: Any, write: Callable[..., None]) -> None:
    """What is special about a handler stands beside it."""
    write("checked.py", CHECKED)
    assert "  optional: unknown\n" in run("check", "checked.py:special")[1]
    assert "reply, async, progress every 20 s" in run("check", "checked.py:patient")[1]


# -------------------------------------------------------------------------------- configuration
def lines(address: str, **options: Any) -> list[str]:
    return mta_lines(parse_address(address), **options).splitlines()


@pytest.mark.parametrize(
    ("address", "postfix", "sendmail"),
    [
        ("inet:20025@localhost", "inet:localhost:20025", "inet:20025@localhost"),
        ("inet:20025@0.0.0.0", "inet:127.0.0.1:20025", "inet:20025@127.0.0.1"),
        ("inet6:20025@::", "inet:[::1]:20025", "inet6:20025@::1"),
        ("inet:[2001:db8::1]:20025", "inet:[2001:db8::1]:20025", "inet6:20025@2001:db8::1"),
        ("unix:/run/demyjpy/x.sock", "unix:/run/demyjpy/x.sock", "unix:/run/demyjpy/x.sock"),
        ("unix:/var/spool/postfix/demyjpy/x", "unix:demyjpy/x", "unix:/var/spool/postfix/demyjpy/x"),
    ],
)
def test_lines_spell_the_address_as_each_mta_reads_it(address: str, postfix: str, sendmail: str) -> None:
    """Port and host are swapped; Postfix reads a path from its queue directory."""
    found = lines(address)
    assert f"smtpd_milters = {postfix}" in found
    assert found[-1] == f"INPUT_MAIL_FILTER(`demyjpy', `S={sendmail}, F=T, T=S:10s;R:10s;E:5m')dnl"


def test_lines_for_a_relative_path_have_it_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An MTA has another current directory."""
    monkeypatch.chdir(tmp_path)
    assert f"smtpd_milters = unix:{tmp_path}/x.sock" in lines("unix:./x.sock")


@pytest.mark.parametrize(
    ("address", "options", "is_told"),
    [
        ("unix:/run/x", {}, True),
        ("unix:/var/spool/postfix/x", {}, True),
        ("unix:/run/x?group=postfix", {}, False),
        ("unix:/run/x?mode=666", {}, False),
        ("unix:/run/x", {"is_inherited": True}, False),
    ],
)
def test_lines_tell_that_postfix_may_not_connect(
    address: str, options: dict[str, bool], is_told: bool
) -> None:
    """Where only the filter's own user may: unless somebody else has made the socket."""
    assert any("?group=postfix" in line for line in lines(address, **options)) is is_told


def test_lines_are_comments_or_settings() -> None:
    """All can be pasted as they are."""
    postfix, _, sendmail = mta_lines(parse_address("unix:/run/x")).partition("\n\n")
    assert all(line.startswith("# ") or " = " in line for line in postfix.splitlines())
    assert all(line.startswith(("dnl ", "INPUT_MAIL_FILTER(")) for line in sendmail.splitlines())


# ------------------------------------------------------------------------------ served for a long time
VERSION = """
from demyjpy import define_event_handlers, reject
from part import word
handlers = define_event_handlers()

@handlers.mail
def mail(event, ctx):
    return reject(ctx, "5.7.1", word)
"""


def refusal(port: int) -> bytes:
    """What the filter says to a sender."""
    return talk(port, offer(), MAIL)


def test_a_hangup_loads_the_filter_again(write: Callable[..., None], tmp_path: Path) -> None:
    """With the modules that it imports; one that does not load, or is wrong, changes nothing."""
    write("part.py", "word = 'one'")
    write("filter.py", VERSION)
    with start("run", "--allow-root", "filter.py", "--listen", "inet:0@127.0.0.1") as program:
        try:
            port = port_in(read_lines(program))
            assert b"one" in refusal(port)
            write("part.py", "word = 'three'")
            program.send_signal(signal.SIGHUP)
            assert "was loaded again" in wait_for(program, "filter")
            assert b"three" in refusal(port)
            write("part.py", "words = 'four four'")
            program.send_signal(signal.SIGHUP)
            assert "ImportError" in wait_for(program, "stays as it was")
            assert b"three" in refusal(port)
            write("part.py", "word = 'sixsix'")
            write("filter.py", VERSION.replace("def mail(event, ctx)", "def mail(event)"))
            program.send_signal(signal.SIGHUP)
            assert "expected a filter without problems" in wait_for(program, "stays as it was")
            assert b"three" in refusal(port)
        finally:
            program.send_signal(signal.SIGTERM)
        program.communicate(timeout=30)
    assert program.returncode == 0


def read_lines(program: "subprocess.Popen[str]") -> list[str]:
    """What it prints up to the last line for the MTAs."""
    lines: list[str] = []
    while not lines or not lines[-1].startswith("INPUT_MAIL_FILTER"):
        line = program.stdout.readline()
        assert line, program.stderr.read()
        lines.append(line.rstrip("\n"))
    return lines


def wait_for(program: "subprocess.Popen[str]", word: str) -> str:
    """The next line of the log with this word."""
    while line := program.stderr.readline():
        if word in line:
            return line
    raise AssertionError(f"expected {word} in the log, got its end")


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot be refused for it")
def test_handlers_do_not_run_as_root_unless_told_so(run: Any) -> None:
    """One line that says what to do."""
    status, output, errors = run("run", BYTECOUNT, "--listen", "inet:0@127.0.0.1")
    assert (status, output) == (2, "")
    assert "expected not to run handlers as root: give --user NAME" in errors


def test_a_network_that_is_none(run: Any) -> None:
    """Is said in one line."""
    status, _, errors = run("run", BYTECOUNT, "--allow", "192.0.2.1/24")
    assert status == 2
    assert "expected a network such as 192.0.2.0/24: 192.0.2.1/24 has host bits set" in errors


def test_what_a_command_does_not_need_is_not_loaded():
    """A filter starts fast: the trace tools and what extras bring are for others."""
    script = "import sys, demyjpy.cli.program; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rare = ("demyjpy.trace", "demyjpy.metrics", "demyjpy.testing", "hypothesis", "prometheus_client")
    assert [name for name in done.stdout.split() if name.startswith(rare)] == []

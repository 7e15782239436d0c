"""`demyjpy run`: it serves until a signal, and refuses what cannot be served."""

import io
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demyjpy.cli import main
from demyjpy.cli.commands.run import options_of
from demyjpy.cli.program import build_parser
from demyjpy.drivers.options import ServerOptions
from demyjpy.engine.limits import Limits
from tests.cli.filters import BYTECOUNT
from tests.cli.milters import port_in, read_lines, serving, start, talk, wait_for
from tests.engine.harness import MAIL, join, offer, packet


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
        "# while the filter is down, clients get 451 and try again later",
        "milter_default_action = tempfail",
        "",
        "dnl Sendmail, sendmail.mc (then rebuild sendmail.cf and restart)",
        "dnl F=T: while the filter is down, clients get 451 and try again later",
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
    assert errors == (
        f"demyjpy run: cannot listen on inet:{port}@localhost: Address already in use: another program "
        "listens there; stop it (ss -ltnp names it) or choose another port\n"
    )


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
        ("{}", "no handler at all"),
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


def test_options_are_those_of_the_library_with_its_defaults() -> None:
    """Nothing given is what `ServerOptions` has by itself; what is given arrives."""
    parse = build_parser().parse_args
    assert ServerOptions(**options_of(parse(["run", "x.py"]))) == ServerOptions()
    limits = ["--max-recipients", "7", "--max-macro-size", "9", "--max-command-size", "8"]
    limits += ["--effects", "d"]
    given = parse(
        [
            "run",
            "x.py",
            "--on-error",
            "accept",
            "--grace",
            "0",
            "--spool",
            "0",
            *limits,
            "--effects",
            "d",
        ]
    )
    assert ServerOptions(**options_of(given)) == ServerOptions(
        on_error="accept",
        grace=0.0,
        spool=0,
        effects="d",
        limits=Limits(recipients=7, macro_size=9, command_size=8),
    )


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
            assert "as a function (event, ctx) -> ctx, got" in wait_for(program, "stays as it was")
            assert b"three" in refusal(port)
        finally:
            program.send_signal(signal.SIGTERM)
        program.communicate(timeout=30)
    assert program.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot be refused for it")
def test_handlers_do_not_run_as_root_unless_told_so(run: Any) -> None:
    """One line that says what to do."""
    status, output, errors = run("run", BYTECOUNT, "--listen", "inet:0@127.0.0.1")
    assert (status, output) == (2, "")
    assert "it does not run handlers as root: give --user NAME" in errors


def test_a_network_that_is_none(run: Any) -> None:
    """Is said in one line."""
    status, _, errors = run("run", BYTECOUNT, "--allow", "192.0.2.1/24")
    assert status == 2
    assert "expected a network such as 192.0.2.0/24: 192.0.2.1/24 has host bits set" in errors


def test_relays_that_are_no_networks(run: Any) -> None:
    """Are refused in one line, as one of several, too."""
    status, _, errors = run("run", BYTECOUNT, "--trusted-relays", "192.0.2.0/24,relay.example")
    assert status == 2
    assert "expected networks such as 192.0.2.0/24,2001:db8::/32: 'relay.example'" in errors

"""``--pymilter FILE``: scripts of pymilter's, taken over where they would serve."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demyjpy.cli.arguments import Parser
from demyjpy.cli.loading import LoadError, Wanted, load_filters
from demyjpy.cli.loading_arguments import driver_of
from demyjpy.cli.program import find_command
from demyjpy.cli.pymilter_scripts import Script, _signals_left_alone
from demyjpy.cli.reloading import Reloadable
from demyjpy.testing import run as play
from demyjpy.testing import session

SCRIPT = """
import signal, sys
import Milter

class Stamping(Milter.Base):
    def eom(self):
        self.addheader("X-Stamp", sys.argv[1])
        return Milter.CONTINUE

if __name__ == "__main__":
    Milter.factory = Stamping
    Milter.set_flags(Milter.ADDHDRS)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(sys.argv[2], "a") as log:
        log.write("begun\\n")
        log.flush()
        Milter.runmilter("stamping", "inet:0@127.0.0.1", 600)
        log.write("ended\\n")
    sys.exit(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
"""
LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message("Subject: hi\n\nhello\n")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a script changes in its process is put back, and threads that stand still end."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("Milter", "milter", "Milter.utils"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    started: list[Script] = []
    start = Script.start

    def noted(script: Script) -> Any:
        started.append(script)
        return start(script)

    monkeypatch.setattr(Script, "start", noted)
    yield
    for script in started:
        script.finish()


@pytest.fixture
def script(write: Callable[..., None], tmp_path: Path) -> tuple[str, str]:
    """A script, and the file that it writes to."""
    write("stamping.py", SCRIPT)
    return "stamping.py", str(tmp_path / "log")


@pytest.mark.parametrize(
    ("words", "driver"),
    [
        (["--pymilter", "old.py"], "threads"),
        (["pymilter:old.py", "new.py"], "threads"),
        (["new.py", "pymilter:old.py", "--driver", "asyncio"], "asyncio"),
        (["new.py"], "asyncio"),
    ],
)
def test_filters_of_pymilter_are_served_in_threads(words: list[str], driver: str) -> None:
    """They block, also if they are merged with others; unless another driver is named."""
    given = Parser(lambda: find_command("run")).parse_args(words)
    assert driver_of(given) == driver


def test_a_script_that_was_edited_at_once_is_the_new_one(
    script: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its size and its time are those of the one before, where Python keeps what it compiled."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    name, log = script
    before = Path(name).stat()
    for word in ("X-Stamp", "X-Other"):
        Path(name).write_text(SCRIPT.replace("X-Stamp", word))
        os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns))
        loaded = load_filters(Wanted([f"pymilter:{name}"], arguments=["one", log]))
        assert play(loaded.on_connect, LETTER).message.get(word) == "one"


def test_a_script_stands_still_while_its_filter_is_served(script: tuple[str, str]) -> None:
    """What it has opened stays open. It goes on when the serving ends."""
    name, log = script
    before = signal.getsignal(signal.SIGTERM)
    with _signals_left_alone(threading.Thread()):  # another's
        signal.signal(signal.SIGTERM, before)
    loaded = load_filters(Wanted([f"pymilter:{name}"], arguments=["one", log]))
    assert (loaded.name, loaded.kind) == ("pymilter:stamping.py", "registry")
    assert signal.getsignal(signal.SIGTERM) is before
    assert play(loaded.on_connect, LETTER).message.get("X-Stamp") == "one"
    assert Path(log).read_text() == "begun\n"
    (one,) = loaded.scripts
    assert one.address == "inet:0@127.0.0.1"
    one.finish()
    assert Path(log).read_text() == "begun\nended\n"


def test_a_script_is_one_filter_among_others(
    script: tuple[str, str], write: Callable[..., None]
) -> None:
    """Under a name, if it is given one."""
    name, log = script
    write("other.py", "from demyjpy import define_event_handlers\nhandlers = define_event_handlers()\n")
    loaded = load_filters(Wanted([f"pymilter:{name}=old one '{log}'", "other.py"]))
    assert [one.name for one in loaded.on_connect.leaves] == ["old", None]
    assert len(loaded.scripts) == 1
    assert play(loaded.on_connect, LETTER).message.get("X-Stamp") == "one"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "x = 1",
            "script.py ended without a call of Milter.runmilter: expected a script of pymilter's",
        ),
        (
            "import Milter\ntry: Milter.runmilter('x', '')\nexcept Milter.error: pass",
            "script.py ended, for its call of Milter.runmilter failed: cannot set socket: expected",
        ),
        ("import sys; sys.exit(3)", "expected script.py to load, got SystemExit: 3"),
        ("import Milter; Milter.runmilter('x', 'inet:no')", "cannot set socket"),
        (
            "import Milter\nMilter.factory = 5\nMilter.runmilter('x', 'inet:1')",
            "Milter.factory as a class",
        ),
        ("1 / 0", 'ZeroDivisionError: division by zero\n  File "script.py", line 1, in <module>'),
    ],
)
def test_a_script_that_does_not_come_so_far_is_told(
    write: Callable[..., None], text: str, words: str
) -> None:
    """With the line at which it ended."""
    write("script.py", text)
    with pytest.raises(LoadError) as caught:
        load_filters(Wanted(["pymilter:script.py"]))
    assert words in str(caught.value)
    assert Script("script.py", ()).address == ""


BACKGROUND = """
import os, sys, Milter
child = os.fork()
if child:
    with open("status", "w") as said:
        said.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
    {end}
Milter.runmilter("x", "inet:0@127.0.0.1")
"""


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("os._exit(0)", "script.py went into the background: expected it to stay in the foreground"),
        ("sys.exit(0)", "script.py went into the background: expected it to stay in the foreground"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_script_that_goes_into_the_background_is_refused(
    write: Callable[..., None], end: str, words: str
) -> None:
    """Nobody would serve it there: its new process ends. What else fails after a fork is as ever."""
    write("script.py", BACKGROUND.format(end=end))
    with pytest.raises(LoadError, match=words):
        load_filters(Wanted(["pymilter:script.py"]))
    assert Path("status").read_text() == "2"


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_script_may_have_processes_of_its_own(write: Callable[..., None]) -> None:
    """Before it serves, and while it does."""
    text = BACKGROUND.format(end="pass").replace("if child", "if not child: os._exit(5)\nif child")
    write("script.py", text)
    assert load_filters(Wanted(["pymilter:script.py"])).kind == "registry"
    assert Path("status").read_text() == "5"


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("0", 0, ""),
        ("None", 0, ""),
        ("3", 3, "SystemExit: 3"),
        ("'usage: x'", 1, "SystemExit: usage: x"),
    ],
)
def test_a_script_that_ends_before_it_serves_gives_its_exit_status(
    run: Callable[..., Any], write: Callable[..., None], code: str, status: int, words: str
) -> None:
    """As one that is asked for its help. To other commands it is a filter that does not load."""
    write("script.py", f"import sys\nsys.exit({code})\n")
    found = run("run", "--allow-root", "--pymilter", "script.py")
    assert found[:2] == (status, "")
    assert found[2].startswith(f"demyjpy run: expected script.py to load, got {words}" if words else "")
    assert bool(found[2]) is bool(words)
    assert run("check", "--pymilter", "script.py")[0] == 2


def test_arguments_of_a_script_stand_behind_two_dashes(run: Callable[..., Any]) -> None:
    status, _, errors = run("check", "--pymilter", "x.py", "--x", "1")
    assert status == 2
    assert "unrecognized arguments: --x; arguments of the script stand behind --" in errors


@pytest.mark.parametrize(
    "name", ["pymilter:", "pymilter:x.py=a.b", "pymilter:no_such_file", "pymilter:'x"]
)
def test_what_names_no_script(name: str, write: Callable[..., None]) -> None:
    with pytest.raises(LoadError, match=r"expected a script as pymilter:FILE|No such file"):
        load_filters(Wanted([name]))


@pytest.mark.parametrize(
    ("end", "told", "status"),
    [
        ("1 / 0", ["ZeroDivisionError: division by zero"], 0),
        ("sys.exit(7)", [], 7),
        ("sys.exit('no')", ["SystemExit: no"], 1),
    ],
)
def test_a_script_that_fails_at_its_end_is_in_the_log(
    write: Callable[..., None], caplog: pytest.LogCaptureFixture, end: str, told: list[str], status: int
) -> None:
    """Its filter was served. An exit status is the program's."""
    write("script.py", f"import Milter, sys\nMilter.runmilter('x', 'inet:1@localhost')\n{end}\n")
    assert load_filters(Wanted(["pymilter:script.py"])).scripts[0].finish() == status
    words = "script.py failed after its runmilter had returned:"
    assert [one.getMessage() for one in caplog.records] == [f"{words} {one}" for one in told]


def test_a_script_is_run_again_when_it_is_loaded_again(script: tuple[str, str]) -> None:
    """The one before stands still, for its last sessions; the one before that goes on."""
    name, log = script
    source = Reloadable(Wanted([f"pymilter:{name}"], arguments=["one", log]))
    first = source.load()
    Path(name).write_text(SCRIPT.replace("sys.argv[1]", "'two'"))
    second = source.load()
    assert play(first.on_connect, LETTER).message.get("X-Stamp") == "one"
    assert play(second.on_connect, LETTER).message.get("X-Stamp") == "two"
    assert Path(log).read_text() == "begun\nbegun\n"
    source.load()
    first.scripts[0]._thread.join(60)
    assert Path(log).read_text() == "begun\nbegun\nbegun\nended\n"
    source.finish()
    assert Path(log).read_text().count("ended") == 3


def test_run_takes_a_script_over(script: tuple[str, str]) -> None:
    """It listens where the script says, with threads. SIGTERM ends both; the status is the script's."""
    name, log = script
    command = [sys.executable, "-W", "error", "-m", "demyjpy", "run", "--allow-root", "--pymilter", name]
    with subprocess.Popen(
        [*command, "--", "one", log, "7"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        line = next(one for one in program.stdout if one.startswith("smtpd_milters"))
        assert line.startswith("smtpd_milters = inet:127.0.0.1:")
        program.send_signal(signal.SIGTERM)
        _, errors = program.communicate(timeout=60)
    assert program.returncode == 7
    assert "driver threads" in errors
    assert Path(log).read_text() == "begun\nended\n"


def test_check_looks_at_a_script(run: Callable[..., Any], script: tuple[str, str]) -> None:
    """And names the callbacks."""
    name, log = script
    status, output, _ = run("check", "--pymilter", name, "--driver", "threads", "--", "one", log)
    assert status == 0
    assert "__main__.Stamping.eom" in output
    assert "required: none" in output


@pytest.mark.parametrize("command", ["run", "check"])
def test_without_a_filter_and_without_a_script_there_is_nothing_to_do(
    run: Callable[..., Any], command: str
) -> None:
    status, _, errors = run(command)
    told = f"demyjpy {command}: expected a FILTER, or --pymilter FILE; see demyjpy {command} --help\n"
    assert (status, errors) == (2, told)

"""``demyjpy run``: the filter is loaded again at SIGHUP, from its file as it is then."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demyjpy import AddHeader, Continue
from demyjpy.cli.loading import Wanted
from demyjpy.cli.reloading import Reloadable, probe_command
from demyjpy.drivers.loading import too_long
from tests.drivers.filters import wait_until
from tests.drivers.peer import Peer
from tests.drivers.program import children, is_gone, workers

ROOT = Path(__file__).parents[2]
FILTER = """
import socket, time
from demyjpy import add_header, define_event_handlers
handlers = define_event_handlers(actions={"add_header"})
held = socket.socket()  # what a filter may hold: a file, a connection with a database

@handlers.end_of_message
def end_of_message(event, ctx):
    return add_header(ctx, "X-Version", "VERSION")
"""
HANGS = "\ntime.sleep(1000)\n"
LOADED = "the filter was loaded again in"
NOT_LOADED = "the filter was not loaded again and stays as it was: "


class Served:
    """``demyjpy run`` with a filter that can be changed."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.file = directory / "filter_to_load_again.py"
        self.log = directory / "log"
        self.write("0")
        self.log.touch()
        command = (sys.executable, "-W", "error", "-m", "demyjpy", "run", str(self.file), "--allow-root")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--listen", "inet:0@127.0.0.1", *options], cwd=ROOT, stderr=log, text=True,
                stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self.process.stdout
        with self.process.stdout:
            line = next(one for one in self.process.stdout if one.startswith("smtpd_milters"))
            next(one for one in self.process.stdout if one.startswith("INPUT"))
        self.address = f"inet:{line.rpartition(':')[2].strip()}@127.0.0.1"
        self._seen = 0

    def write(self, version: str, more: str = "") -> None:
        """Change the file."""
        self.file.write_text(FILTER.replace("VERSION", version) + more)
        os.utime(self.file, ns=(time.time_ns(), time.time_ns()))

    def hang_up(self) -> None:
        """Ask it to load the filter again."""
        self.process.send_signal(signal.SIGHUP)

    def wait_for(self, text: str) -> str:
        """Wait for the next line of the log with this text, and give it."""

        def found() -> bool:
            lines = self.log.read_text().splitlines()
            for number in range(self._seen, len(lines)):
                if text in lines[number]:
                    self._seen = number + 1
                    self.line = lines[number]
                    return True
            return False

        wait_until(found)
        return self.line

    def version(self) -> str:
        """The filter's that serves a new session."""
        with Peer(self.address) as peer:
            first, last = peer.begin().message()
            assert isinstance(first, AddHeader)
            assert last == Continue()
            return first.value

    def end(self) -> None:
        """SIGTERM ends it, once."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log.read_text()


@contextmanager
def served(directory: Path, *options: str, kind: type[Served] = Served) -> Iterator[Served]:
    """One that has ended when the block is left."""
    milter = kind(directory, *options)
    try:
        yield milter
    finally:
        if milter.process.poll() is None:
            milter.process.kill()
        milter.process.wait()


def descriptors(pid: int) -> int:
    """How many it has open."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


@pytest.fixture(params=["asyncio", "threads"])
def driver(request: pytest.FixtureRequest) -> str:
    """Each in turn."""
    return str(request.param)


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_filter_that_hangs_as_it_loads_keeps_nothing_waiting(tmp_path, driver, count):
    """Not mail, nor the next SIGHUP with a good filter, nor a worker's successor, nor SIGTERM."""
    with served(tmp_path, "--driver", driver, "--workers", count) as milter:
        assert milter.version() == "0"
        milter.write("1", HANGS)
        milter.hang_up()
        milter.wait_for("loading again, for at most")
        assert milter.version() == "0"
        if count == "2":
            pid = workers(milter.process.pid)[0]
            os.kill(pid, signal.SIGKILL)
            milter.wait_for(f"worker {pid} ended with signal 9")
            milter.wait_for("started")
            assert milter.version() == "0"
        milter.write("2")
        milter.hang_up()
        milter.wait_for(LOADED)
        wait_until(lambda: milter.version() == "2")
        milter.write("3", HANGS)
        milter.hang_up()
        milter.wait_for("loading again, for at most")
        milter.end()


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_filter_that_does_not_load_in_time_changes_nothing(tmp_path, driver, count):
    """The log says how long it had, and where it was."""
    with served(tmp_path, "--driver", driver, "--workers", count, "--load-timeout", "10") as milter:
        milter.write("1", HANGS)
        milter.hang_up()
        line = milter.wait_for(NOT_LOADED)
        assert "expected it to load within 10 s (--load-timeout, load_timeout=); it was at File" in line
        assert f'"{milter.file}", line {len(milter.file.read_text().splitlines())}, in <module>' in line
        assert milter.version() == "0"
        milter.write("2")
        milter.hang_up()
        milter.wait_for(LOADED)
        wait_until(lambda: milter.version() == "2")
        milter.end()


@pytest.mark.parametrize("count", ["1", "2"])
def test_many_filters_leave_nothing(tmp_path, driver, count):
    """No descriptor, no process and no module: what an old filter held goes with it."""
    with served(tmp_path, "--driver", driver, "--workers", count) as milter:
        main_process = milter.process.pid

        def load_again(number: int) -> None:
            milter.write(str(number))
            milter.hang_up()
            milter.wait_for(LOADED)

        def open_ones() -> list[int]:
            wait_until(lambda: milter.version() == number and len(workers(main_process)) == serving)
            return [descriptors(pid) for pid in (main_process, *workers(main_process))]

        serving = 2 if count == "2" else 0
        number = "1"
        load_again(1)
        before = open_ones()
        for one in range(2, 10):
            load_again(one)
            number = str(one)
        wait_until(lambda: open_ones() == before)
        wait_until(lambda: len(children(main_process)) == (1 if count == "2" else 0))
        milter.end()


def test_workers_that_are_overtaken_by_the_next_filter_do_not_pile_up(tmp_path):
    """However fast one SIGHUP follows another, as many serve in the end as before."""
    with served(tmp_path, "--workers", "2") as milter:
        for number in range(1, 30):
            milter.write(str(number))
            milter.hang_up()
            time.sleep(0.01)
        wait_until(lambda: {milter.version() for _ in range(4)} == {"29"})
        wait_until(lambda: len(workers(milter.process.pid)) == 2)
        milter.end()


@pytest.mark.parametrize("signals", [1, 2])
def test_workers_from_a_filter_loaded_again_are_workers_like_others(tmp_path, driver, signals):
    """One that dies is replaced by one with the same filter, whatever the file says by now."""
    with served(tmp_path, "--driver", driver, "--workers", "2") as milter:
        milter.write("1")
        milter.hang_up()
        milter.wait_for(LOADED)
        wait_until(lambda: len(children(milter.process.pid)) == 1)  # the first ones are gone
        wait_until(lambda: len(workers(milter.process.pid)) == 2)
        milter.write("2", "this is no Python")
        for pid in workers(milter.process.pid):
            os.kill(pid, signal.SIGKILL)
            milter.wait_for(f"worker {pid} ended with signal 9")
        milter.wait_for("started")
        milter.wait_for("started")
        assert {milter.version() for _ in range(4)} == {"1"}
        pids = workers(milter.process.pid)
        if signals == 2:
            milter.process.kill()  # and then they end with it
        else:
            milter.end()
        assert all(is_gone(pid) for pid in pids)


def test_the_process_that_holds_the_filter_may_die(tmp_path):
    """It is loaded again, and the workers that came from it are replaced."""
    with served(tmp_path, "--workers", "2") as milter:
        milter.write("1")
        milter.hang_up()
        milter.wait_for(LOADED)
        wait_until(lambda: len(children(milter.process.pid)) == 1)
        wait_until(lambda: len(workers(milter.process.pid)) == 2)
        (holder,) = children(milter.process.pid)
        old = workers(milter.process.pid)
        os.kill(holder, signal.SIGKILL)
        milter.wait_for("the process that holds the filter has ended with status -9")
        milter.wait_for(LOADED)
        wait_until(lambda: len(workers(milter.process.pid)) == 2)
        wait_until(lambda: all(is_gone(pid) for pid in old))
        assert milter.version() == "1"
        milter.end()


def test_a_worker_without_the_process_that_it_came_from_may_die(tmp_path):
    """It is missed, and another starts as soon as the filter can be loaded again."""
    with served(tmp_path, "--workers", "2") as milter:
        milter.write("1")
        milter.hang_up()
        milter.wait_for(LOADED)
        wait_until(lambda: len(children(milter.process.pid)) == 1)
        wait_until(lambda: len(workers(milter.process.pid)) == 2)
        (holder,) = children(milter.process.pid)
        old = workers(milter.process.pid)
        milter.write("2", "this is no Python")
        os.kill(holder, signal.SIGKILL)
        milter.wait_for(NOT_LOADED)
        os.kill(old[0], signal.SIGKILL)
        milter.wait_for(f"worker {old[0]} ended with")
        assert milter.version() == "1"
        milter.wait_for("cannot start a worker: the process that holds the filter has ended")
        milter.write("2")
        milter.wait_for(LOADED)
        wait_until(lambda: len(workers(milter.process.pid)) == 2)
        wait_until(lambda: all(is_gone(pid) for pid in old))  # until then they accept, too
        assert milter.version() == "2"
        milter.end()


def test_workers_without_the_process_that_they_came_from_are_stopped(tmp_path, driver):
    """Like others, though nobody tells of their end."""
    with served(tmp_path, "--workers", "2", "--driver", driver) as milter:
        milter.write("1")
        milter.hang_up()
        milter.wait_for(LOADED)
        wait_until(lambda: len(children(milter.process.pid)) == 1)
        wait_until(lambda: len(workers(milter.process.pid)) == 2)
        old = workers(milter.process.pid)
        milter.write("2", "this is no Python")
        os.kill(children(milter.process.pid)[0], signal.SIGKILL)
        milter.wait_for(NOT_LOADED)
        milter.end()
        assert all(is_gone(pid) for pid in old)


def test_a_process_that_loads_may_die(tmp_path):
    """Of whatever: the filter stays as it was."""
    for count in ("1", "2"):
        with served(tmp_path, "--workers", count) as milter:
            milter.write("1", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
            milter.hang_up()
            assert "ended with status -9" in milter.wait_for(NOT_LOADED)
            assert milter.version() == "0"
            milter.end()


@pytest.mark.parametrize("count", ["1", "2"])
@pytest.mark.parametrize(
    ("ends", "seconds", "said"),
    [
        ("import os; os._exit(0)", "20", "ended with status 0"),
        ("import os; os.execv('/bin/sleep', ['sleep', '1000'])", "6", ""),
        ("import os, time; os.closerange(3, 1000); time.sleep(1000)", "6", ""),
    ],
)
def test_a_process_that_loads_may_become_something_else(tmp_path, count, ends, seconds, said):
    """What ends without a word has not loaded; what leaves is not waited for, nor left behind."""
    with served(tmp_path, "--workers", count, "--load-timeout", seconds) as milter:
        milter.write("1", ends)
        milter.hang_up()
        assert said in milter.wait_for(NOT_LOADED)
        assert milter.version() == "0"
        milter.write("2")
        milter.hang_up()
        milter.wait_for("the filter was loaded again")
        wait_until(lambda: milter.version() == "2")
        milter.end()


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_filter_that_hangs_at_the_start_is_an_error(tmp_path, command):
    """That says where it was; no ``except Exception`` of its own keeps it."""
    path = tmp_path / "hanging_filter.py"
    path.write_text("import time\nwhile True:\n    try:\n        time.sleep(9)\n"
                    "    except Exception:\n        pass\n")  # fmt: skip
    more = ["--allow-root"] if command == "run" else []
    done = subprocess.run(
        [sys.executable, "-m", "demyjpy", command, path, "--load-timeout", "0.5", *more],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"demyjpy {command}: expected {path} to load within 0.5 s (--load-timeout); it was still at",
        f'  File "{path}", line 4, in <module>',
        "    time.sleep(9)",
    ]


SERVES = """
from demyjpy import define_event_handlers, start_milter
handlers = define_event_handlers()
start_milter("inet:0@127.0.0.1", handlers)
"""


@pytest.mark.parametrize("command", ["check", "run", "demo"])
def test_a_file_that_serves_by_itself_is_told_so(tmp_path, command):
    """At once, instead of serving in the place of what was asked for."""
    path = tmp_path / "serving_filter.py"
    path.write_text(SERVES)
    done = subprocess.run(
        [sys.executable, "-m", "demyjpy", command, path],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "put start_milter under `if __name__ == '__main__':`" in done.stderr
    assert f'File "{path}", line 4' in done.stderr


def test_where_a_filter_was_is_its_own_line():
    """Not Python's; and nothing is said where nothing is known."""
    stacks = f'''Timeout (0:00:01)!
Thread 0x00007f (most recent call first):
  File "{os.__file__}", line 3 in connect
  File "/x/my.py", line 12 in <module>
  File "{subprocess.__file__}", line 9 in f
'''
    assert too_long(1.0, stacks).endswith('; it was at File "/x/my.py", line 12, in <module>')
    assert too_long(1.0, stacks.replace("/x/my.py", "<frozen x>")).endswith("line 3, in connect")
    assert too_long(1.0) == "expected it to load within 1 s (--load-timeout, load_timeout=)"


def test_what_was_given_up_leaves_no_module(tmp_path, monkeypatch):
    """A load that ends after it was given up changes nothing."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "given_up_filter.py"
    path.write_text("handlers = {}")
    source = Reloadable(Wanted([str(path)]))
    first = source.load()
    module = sys.modules["given_up_filter"]

    def give_up(_: object) -> None:
        source.give_up()

    assert source.load(give_up).on_connect is not first.on_connect
    assert sys.modules["given_up_filter"] is module
    with pytest.raises(ZeroDivisionError):
        source.load(lambda _: (source.give_up(), 1 / 0))
    assert sys.modules["given_up_filter"] is module


def test_where_no_python_can_be_run_nothing_tries(monkeypatch):
    """As in a program that embeds it: then a thread loads, without a trial."""
    assert probe_command(Wanted(["filter.py"]), "asyncio", 5.0)[0] == sys.executable
    monkeypatch.setattr(sys, "executable", "")
    assert probe_command(Wanted(["filter.py"]), "asyncio", 5.0) == ()


def test_a_trial_says_what_is_wrong(tmp_path):
    """Or that it could load the filter; what that prints is not heard."""
    path = tmp_path / "tried_filter.py"

    def said(text: str) -> tuple[int, str]:
        path.write_text(text)
        command = probe_command(Wanted([str(path)]), "asyncio", 50.0)
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout

    assert said(FILTER + "\nprint('hello')\n") == (0, "loaded")
    status, text = said(FILTER + "\nprint('hello')\nraise ValueError('on purpose')\n")
    assert status == 1
    assert "on purpose" in text
    assert "hello" not in text

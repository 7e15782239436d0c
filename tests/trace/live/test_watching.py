"""What watches a running filter never stops its mail: real programs, bad disks, peers that mean harm."""

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from attrs import frozen

from demyjpy import Body, Continue, Mail, Recipient, TemporaryFailure, Unknown
from demyjpy.codec import encode_event
from demyjpy.trace import Reading, Trace
from demyjpy.wire.framing import join_frame
from tests.cli.servers import program, read_until
from tests.disks import fill, leave_descriptors, small_disk
from tests.drivers.filters import wait_until
from tests.drivers.peer import Peer, packet

FILTER = """
    import os, sys, threading
    from demyjpy import define_event_handlers, reject

    handlers = define_event_handlers()
    writers, listings = set(), []

    def note(event, arguments):
        if event == "open" and "watched" in str(arguments[0]) and arguments[2] & os.O_ACCMODE:
            writers.add(threading.current_thread().name)
        if event in ("os.scandir", "os.listdir") and "watched" in str(arguments[0]):
            listings.append(event)

    @handlers.mail
    def mail(event, ctx):
        if event.sender.startswith("bad"):
            raise ValueError("on purpose")
        if event.sender == "watch":
            sys.addaudithook(note)
        if event.sender == "threads":
            return reject(ctx, "5.7.1", " ".join(sorted(writers)) or "none")
        if event.sender == "listings":
            return reject(ctx, "5.7.1", str(len(listings)))
        return ctx

    @handlers.recipient
    def recipient(event, ctx):
        return ctx

    @handlers.body
    def body(event, ctx):
        return ctx

    @handlers.unknown
    def unknown(event, ctx):
        if event.command.startswith("fail"):
            raise ValueError("on purpose")
        return reject(ctx, "5.5.1", event.command[:100])

    @handlers.end_of_message
    def end(event, ctx):
        return ctx
"""


@frozen
class Milter:
    """A filter that runs, and is watched."""

    process: "subprocess.Popen[str]"
    address: str
    log: Path

    def serves(self) -> bool:
        """A good message comes through."""
        with Peer(self.address) as peer:
            assert peer.begin().message() == (Continue(),)
        return True

    def fails(self, sender: str = "bad@example.org") -> None:
        """A message at which a handler fails, and the end of its session."""
        with Peer(self.address) as peer:
            assert peer.begin().ask(Mail(sender)) == TemporaryFailure()

    def says(self, sender: str) -> str:
        """What it says of itself."""
        with Peer(self.address) as peer:
            return str(peer.begin().ask(Mail(sender)).lines[0])

    def lines(self, words: str) -> int:
        """How many records of the log have these words."""
        return sum(words in line for line in self.log.read_text().splitlines())

    def status(self, name: str) -> int:
        """A number of its process, such as VmRSS in kB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

    def written(self) -> int:
        """Bytes that it has written anywhere."""
        lines = Path(f"/proc/{self.process.pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


@contextmanager
def serving(tmp_path: Path, *options: object, text: str = FILTER) -> Iterator[Milter]:
    """One, while the block runs; it has ended well by then."""
    path, log = tmp_path / "watched_filter.py", tmp_path / "log"
    path.write_text(dedent(text))
    address = f"unix:{tmp_path}/s"
    given = ("run", "--allow-root", str(path), "--listen", address, "--log-to", str(log))
    with program(*given, *map(str, options)) as process:
        read_until(process, "INPUT_MAIL_FILTER")
        yield Milter(process, address, log)
    assert process.returncode == 0, log.read_text()


def watchers(directory: Path) -> tuple[object, ...]:
    """All that watch, each in a directory of its own."""
    return (
        *("--record", directory / "r", "--flight", directory / "f", "--capsules", directory / "c"),
        "--explain",
    )


def traces(directory: Path) -> list[Trace]:
    """All sessions in the files there, without damage."""
    found: list[Trace] = []
    for path in sorted(directory.glob("*.jsonl")):
        reading = Reading(str(path))
        found.extend(reading)
        assert not [line for line in reading.report() if "no JSON" in line]
    return found


def be_full(disk: Path) -> Callable[[], None]:
    path = fill(disk)
    return path.unlink


def be_read_only(disk: Path) -> Callable[[], None]:
    def mount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

    # what is open for writing keeps it from being read-only: nothing is, before the first session
    mount("ro")
    return lambda: mount("rw")


def be_gone(disk: Path) -> Callable[[], None]:
    for name in "rfc":
        shutil.rmtree(disk / name)
        (disk / name).write_text("")  # nor can it be made again

    def come_back() -> None:
        for name in "rfc":
            (disk / name).unlink()
            (disk / name).mkdir()

    return come_back


@pytest.mark.parametrize(
    ("trouble", "driver", "workers"),
    [
        (be_full, "asyncio", 1),
        (be_full, "threads", 2),
        (be_read_only, "asyncio", 2),
        (be_gone, "threads", 2),
    ],
)
def test_a_disk_that_fails_stops_no_mail_and_is_written_again(
    tmp_path: Path, trouble: Callable[[Path], Callable[[], None]], driver: str, workers: int
) -> None:
    """One line for each that watches in each process; when the disk is well, they are."""
    with (
        small_disk(tmp_path / "disk", "2m") as disk,
        serving(tmp_path, *watchers(disk), "--driver", driver, "--workers", workers) as milter,
    ):
        if trouble is be_full:  # half a record may fit; what is being written cannot be read-only
            assert milter.serves()
            wait_until(lambda: bool(traces(disk / "r")))
        mend = trouble(disk)
        for _ in range(5):
            milter.fails()
            assert milter.serves()
        for words in ("recording in", "/f: ", "/c: "):
            wait_until(lambda words=words: milter.lines(words) >= 1)
            assert milter.lines(words) <= workers
        mend()

        def is_written() -> bool:
            time.sleep(
                0.1
            )  # one worker tries again after seconds: what others record may not fill the disk
            milter.fails()
            found = all([*(disk / name).glob("*.jsonl")] for name in "rfc")
            return milter.serves() and found and milter.lines("again, in a new file") >= 1

        wait_until(is_written)
        assert traces(disk / "r")
        assert traces(disk / "f")


def test_recording_goes_on_when_there_are_descriptors_again(tmp_path: Path) -> None:
    """It has lost what it could not write, and nothing else."""
    record = tmp_path / "watched"
    with serving(tmp_path, "--record", record) as milter:
        milter.process.send_signal(signal.SIGHUP)
        wait_until(lambda: milter.lines("loaded again") == 1)  # it has all that it needs
        before = leave_descriptors(milter.process.pid, 1)  # one for the connection
        with Peer(milter.address) as peer:  # which keeps that one
            peer.begin().message()
            wait_until(lambda: milter.lines("has ended for now") > 0)
        resource.prlimit(milter.process.pid, resource.RLIMIT_NOFILE, before)
        told = milter.lines("has ended for now")

        def is_written() -> bool:
            return milter.serves() and bool(traces(record))

        wait_until(is_written)
        assert milter.lines("has ended for now") <= told + 1  # it may just have tried again
    assert {trace.how for trace in traces(record)} == {"mta"}


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_only_threads_of_their_own_write(tmp_path: Path, driver: str) -> None:
    """Neither the loop nor what serves a session opens a file."""
    options = (*watchers(tmp_path / "watched"), "--driver", driver)
    with serving(tmp_path, *options) as milter:
        with Peer(milter.address) as peer:
            peer.begin().ask(Mail("watch"))
        for _ in range(3):
            milter.fails()
        wait_until(lambda: milter.says("threads") == "demyjpy-capsules demyjpy-flight demyjpy-recorder")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_what_was_recorded_is_written_when_it_ends(tmp_path: Path, driver: str, workers: int) -> None:
    """Whole sessions, in each process; also those that SIGTERM closes."""
    record = tmp_path / "watched"
    options = ("--record", record, "--driver", driver, "--workers", workers)
    with serving(tmp_path, *options) as milter, ExitStack() as stack:
        peers = [stack.enter_context(Peer(milter.address)).begin() for _ in range(8)]
        for peer in peers[:4]:
            peer.message()
        milter.process.send_signal(signal.SIGTERM)
        milter.process.wait(30)
    found = traces(record)
    assert [trace.how for trace in found] == ["mta"] * 8
    assert sum(len(trace.messages) for trace in found) == 4


# ---------------------------------------------------------------------- peers that mean harm
def test_one_failure_again_and_again_writes_few_capsules(tmp_path: Path) -> None:
    """A session of 1 MB in which a handler fails 300 times: some capsules, and the rest is counted."""
    capsules = tmp_path / "watched"
    with serving(tmp_path, "--capsules", capsules) as milter:
        with Peer(milter.address) as peer:
            peer.begin().begin_message()
            for _ in range(16):
                peer.ask(Body(b"x" * 65_000))
            before = milter.written()
            for number in range(300):
                assert peer.ask(Unknown(f"fail{number}")) == TemporaryFailure()
        assert milter.serves()
        wait_until(lambda: len([*capsules.iterdir()]) == 5)
    assert len([*capsules.iterdir()]) == 5
    assert sum(path.stat().st_size for path in capsules.iterdir()) < 8 << 20
    assert milter.lines("capsules left out: 1:") == 1
    assert before > 0


def test_thousands_of_failing_sessions_write_few_files(tmp_path: Path) -> None:
    """As many as the limits say; all are answered."""
    directory = tmp_path / "watched"
    limits = ("--flight-rate", 20, "--flight-files", 10, "--capsules-files", 3, "--record-disk", 100_000)
    with serving(tmp_path, *watchers(directory), *limits) as milter:
        for _ in range(500):
            milter.fails()
        assert milter.serves()
        wait_until(lambda: milter.lines("has ended for now") == 1)
    # the limit gives a few more meanwhile
    assert 1 <= len([*(directory / "f").iterdir()]) <= 10
    assert len([*(directory / "c").iterdir()]) == 3
    assert sum(path.stat().st_size for path in (directory / "r").iterdir()) <= 100_000
    assert milter.lines("error: written to") < 60
    assert milter.lines("flights left out: 1:") == 1


def test_a_directory_of_flights_is_listed_once_and_not_for_each(tmp_path: Path) -> None:
    """However many files there are, and sessions fail."""
    flight = tmp_path / "watched"
    flight.mkdir()
    for number in range(3000):
        (flight / f"20200101T000000Z-error-{number:08x}.jsonl").touch()
    with serving(tmp_path, "--flight", flight, "--flight-files", 2000) as milter:
        with Peer(milter.address) as peer:
            peer.begin().ask(Mail("watch"))
        for _ in range(50):
            milter.fails()
        wait_until(lambda: milter.lines("error: written to") == 50)
        assert 1 <= int(milter.says("listings")) <= 2
    assert len([*flight.iterdir()]) == 2000


def test_long_addresses_are_not_kept(tmp_path: Path) -> None:
    """200 recipients of 60 kB each, in a message that never ends, with all that watch."""
    with serving(tmp_path, *watchers(tmp_path / "watched"), "--max-recipients", 10) as milter:
        assert milter.serves()
        before = milter.status("VmRSS")
        with Peer(milter.address) as peer:
            peer.begin().ask(Mail("a@example.org"))
            for number in range(200):
                said = encode_event(Recipient(f"{number}" + "x" * 60_000 + "@example.org"))
                peer.send(join_frame(*said))
                peer.hear()
            assert milter.serves()
            assert milter.status("VmRSS") - before < 64 << 10
        wait_until(lambda: milter.lines("and 199 more") == 1)
    assert max(map(len, milter.log.read_text().splitlines())) < 8000


def test_unknown_commands_without_end_are_not_kept(tmp_path: Path) -> None:
    """Each is refused in other words, and no message ends."""
    with serving(tmp_path, "--explain") as milter, Peer(milter.address) as peer:
        peer.begin()

        def spam(start: int) -> None:
            for number in range(start, start + 6_000, 100):
                said = [Unknown(f"{one} " + "x" * 90) for one in range(number, number + 100)]
                peer.say(*said)
                peer.hear_answers(*said)

        spam(0)
        before = milter.status("VmRSS")
        spam(6_000)
        assert milter.status("VmRSS") - before < 1 << 10
        assert peer.message() == (Continue(),)


def test_open_sessions_share_one_memory(tmp_path: Path) -> None:
    """30 sessions with 2 MB each, that go on: what all that watch keep is bounded, and mail passes."""
    with (
        serving(tmp_path, *watchers(tmp_path / "watched"), "--flight-keep", "all") as milter,
        ExitStack() as stack,
    ):
        assert milter.serves()
        before = milter.status("VmRSS")
        for _ in range(30):
            peer = stack.enter_context(Peer(milter.address)).begin().begin_message()
            for _ in range(32):
                peer.send(packet(Body(b"x" * 65_000)))
            peer.ask(Body(b"x"))
        assert milter.serves()
        assert milter.status("VmRSS") - before < 64 << 10


# ---------------------------------------------------------------------------------- SIGUSR1
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_sigusr1_without_a_flight_recorder_is_a_line(tmp_path: Path, driver: str, workers: int) -> None:
    """And nothing else."""
    with serving(tmp_path, "--driver", driver, "--workers", workers) as milter:
        milter.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: milter.lines("SIGUSR1: nothing is written") == 1)
        assert milter.serves()


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_sigusr1_to_the_main_process_is_for_its_workers(tmp_path: Path, driver: str) -> None:
    """Each writes what it has; the main process has nothing, and says nothing."""
    flight = tmp_path / "watched"
    options = ("--flight", flight, "--driver", driver, "--workers", 2)
    with serving(tmp_path, *options) as milter, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(Peer(milter.address)).begin()
        milter.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: len(traces(flight)) == 20)
        assert milter.serves()
        main = f" {milter.process.pid} "
        assert main not in milter.log.read_text()
    assert milter.lines("no session is in memory") <= 1  # one worker may have all of them


def test_sigusr1_while_the_filter_is_loaded_does_no_harm(tmp_path: Path) -> None:
    """It goes on, and serves."""
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGUSR1)\n" + dedent(FILTER)
    with serving(tmp_path, text=text) as milter:
        assert milter.serves()


SCRIPT = """
import os, signal, sys
from demyjpy import define_event_handlers, start_milter
mine = lambda *_: print("mine", flush=True)
signal.signal(signal.SIGUSR1, mine)

def ready(address):
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)

start_milter("inet:0@127.0.0.1", define_event_handlers(), on_ready=ready)
print(signal.getsignal(signal.SIGUSR1) is mine)
"""


def test_a_program_that_has_a_use_for_sigusr1_keeps_it() -> None:
    """It is not taken away where there is nothing to write."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "mine\nTrue\n"

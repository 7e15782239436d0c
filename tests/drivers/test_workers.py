"""Worker processes that share one listening socket, and their parent."""

import os
import signal
from contextlib import AbstractContextManager, ExitStack

import pytest

from demyjpy import Continue, Mail
from tests.drivers.filters import wait_until
from tests.drivers.peer import MESSAGE, Peer
from tests.drivers.program import INTERRUPTED, Program, children, is_gone, program

SERVE = """
import asyncio

@handlers.mail
def mail(event, ctx):
    match event.sender:
        case "exit@example.org":
            os._exit(7)
        case "interrupt@example.org":
            def interrupt():
                raise KeyboardInterrupt

            asyncio.get_running_loop().call_soon(interrupt)
        case "hang@example.org":
            time.sleep(1000)
    return ctx

@handlers.end_of_message
def end_of_message(event, ctx):
    print("message in", os.getpid())
    return ctx

driver, workers, grace = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
start_milter(sys.argv[4], handlers, driver=driver, workers=workers, grace=grace, on_ready=on_ready)
say("stopped", signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL, signal.set_wakeup_fd(-1))
"""
ANYWHERE = "inet:0@127.0.0.1"


class Workers:
    """A milter with worker processes, that runs."""

    def __init__(self, milter: Program, count: int = 2) -> None:
        self.milter = milter
        self.address = milter.address()
        self.pids: list[int] = []
        for _ in range(count):
            self.add()

    def add(self) -> None:
        """Wait for one more."""
        self.pids.append(int(self.milter.wait_for(r"worker (\d+) started")))

    def serve(self) -> None:
        """Let a message pass."""
        with Peer(self.address) as peer:
            assert peer.begin().message() == (Continue(),)

    def end(self) -> None:
        """The parent returns, and no worker is left."""
        assert self.milter.end()[-1] == "stopped True -1"
        assert all(is_gone(pid) for pid in self.pids)


def serving(
    driver: str = "asyncio",
    workers: int = 2,
    grace: float = 1000.0,
    address: str = ANYWHERE,
    script: str = "",
) -> AbstractContextManager[Program]:
    """The program with these options; ``script`` comes first."""
    return program(script + SERVE, driver, str(workers), str(grace), address)


def finish(peer: Peer) -> None:
    """The rest of a message after MAIL, and the end of a session that was waited for."""
    for event in MESSAGE[1:-1]:
        peer.ask(event)
    assert peer.finish_message() == (Continue(),)
    assert peer.has_ended()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_parent_stops_all(driver, number):
    """Workers serve, and end when the parent is told to stop."""
    with serving(driver, 3) as milter:
        workers = Workers(milter, 3)
        for _ in range(10):
            workers.serve()
        milter.tell(number)
        workers.end()
    assert milter.troubles() == []
    messages = [int(line.split()[-1]) for line in milter.lines if line.startswith("message in")]
    assert len(messages) == 10
    assert set(messages) <= set(workers.pids)


def test_messages_in_flight_are_finished(driver, tmp_path):
    """After the signal nobody accepts, and messages in flight are finished."""
    path = tmp_path / "x.sock"
    with serving(driver, address=str(path)) as milter, ExitStack() as stack:
        workers = Workers(milter)
        peers = [stack.enter_context(Peer(workers.address)).begin() for _ in range(6)]
        for peer in peers:
            peer.ask(MESSAGE[0])
        milter.tell()
        wait_until(lambda: not path.exists())
        for peer in peers:
            finish(peer)
        workers.end()
    assert milter.troubles() == []


def test_what_is_dumped_in_the_grace_period(driver):
    """SIGUSR1 goes on to the workers that still finish their messages."""
    script = """
from demyjpy.drivers.dumping import obeying

obeyed = obeying(lambda: say("dumped by", os.getpid()))
obeyed.__enter__()
"""
    with serving(driver, script=script) as milter:
        workers = Workers(milter)
        with Peer(workers.address) as peer:
            peer.begin().ask(MESSAGE[0])
            milter.tell()
            wait_until(lambda: len(children(milter.process.pid)) == 1)
            milter.tell(signal.SIGUSR1)
            assert int(milter.wait_for("dumped by (.*)")) in workers.pids
            finish(peer)
        workers.end()
    assert milter.troubles() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_is_one_signal(driver, number):
    """A supervisor or a terminal that signals every process does not cut messages off."""
    with serving(driver) as milter:
        workers = Workers(milter)
        with Peer(workers.address) as peer:
            peer.begin().ask(MESSAGE[0])
            for pid in (*workers.pids, milter.process.pid):
                os.kill(pid, number)
            finish(peer)
        workers.end()
    assert [line for line in milter.troubles() if "ended with exit status 0" not in line] == []


def test_a_second_signal_stops_all_at_once(driver):
    """A second signal to the parent ends what is in flight in all workers."""
    with serving(driver) as milter, ExitStack() as stack:
        workers = Workers(milter)
        peers = [stack.enter_context(Peer(workers.address)).begin() for _ in range(6)]
        for peer in peers:
            peer.ask(MESSAGE[0])
        milter.tell(signal.SIGTERM)
        milter.tell(signal.SIGINT)
        assert all(peer.has_ended() for peer in peers)
        workers.end()
    assert len(milter.troubles()) == 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ends_is_replaced(driver, number):
    """Whatever ends a worker, another takes its place, and the others go on."""
    with serving(driver) as milter:
        workers = Workers(milter)
        os.kill(workers.pids[0], number)
        how = "signal 9" if number == signal.SIGKILL else "exit status 0"
        milter.wait_for(f"worker {workers.pids[0]} ended with {how}; starting another in 0.1 s")
        workers.add()
        assert is_gone(workers.pids[0])
        for _ in range(4):
            workers.serve()
        milter.tell()
        workers.end()


def test_a_worker_that_has_lived_is_replaced_at_once():
    """A worker that has worked for some time before it ends is replaced without a pause."""
    with serving(script="from demyjpy.drivers import workers; workers._QUICK = 0.0\n") as milter:
        workers = Workers(milter)
        os.kill(workers.pids[0], signal.SIGKILL)
        milter.wait_for("ended with signal 9; starting another in 0.0 s")
        workers.add()
        milter.tell()
        workers.end()


def test_workers_that_keep_dying_are_replaced_later_and_later():
    """A filter that ends its worker again and again does not keep the parent busy."""
    with serving() as milter:
        workers = Workers(milter)
        for pause in ("0.1", "0.2", "0.4"):
            with Peer(workers.address) as peer:
                peer.begin().say(Mail("exit@example.org"))
                assert peer.has_ended()
            milter.wait_for(f"ended with exit status 7; starting another in {pause} s")
            workers.add()
        workers.serve()
        milter.tell()
        workers.end()


def test_a_worker_that_fails_says_why():
    """What a worker dies of is in the log."""
    with serving() as milter:
        workers = Workers(milter)
        with Peer(workers.address) as peer:
            peer.begin().say(Mail("interrupt@example.org"))
            peer.drain()
        milter.wait_for(r"ERROR worker \d+ failed")
        milter.wait_for("KeyboardInterrupt")
        milter.wait_for("ended with exit status 1")
        workers.add()
        milter.tell()
        workers.end()


@pytest.mark.parametrize(("script", "grace"), [("", 0.0), (INTERRUPTED, 1000.0)])
def test_a_worker_that_hangs_is_killed(script, grace):
    """A worker that cannot stop in its time is ended by force; two signals give it no grace period."""
    with serving(grace=grace, script=script) as milter:
        workers = Workers(milter)
        with Peer(workers.address) as peer:
            peer.begin().say(Mail("hang@example.org"))
            milter.tell()
            assert peer.has_ended()
        workers.end()
    assert any("killed, because they did not end: workers" in line for line in milter.lines)


def test_workers_end_with_their_parent(driver):
    """Where the parent is killed, its workers finish what is in flight, and end."""
    with serving(driver) as milter:
        workers = Workers(milter)
        with Peer(workers.address) as peer:
            peer.begin().ask(MESSAGE[0])
            milter.tell(signal.SIGKILL)
            finish(peer)
        assert all(is_gone(pid) for pid in workers.pids)
        assert milter.wait() == -signal.SIGKILL


FEW_PROCESSES = """
_, hard = resource.getrlimit(resource.RLIMIT_NPROC)
is_root = os.getuid() == 0  # whom the limit does not hold

def on_ready(address):
    resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
    if is_root:
        os.setresuid(65534, 65534, 0)
    say("ready", address)

def allow(*_):
    if is_root:
        os.setresuid(0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))

signal.signal(signal.SIGUSR1, allow)
"""


def test_a_worker_that_cannot_be_started():
    """Where the system has no process to spare, starting a worker is tried again."""
    with serving(script=FEW_PROCESSES) as milter:
        address = milter.address()
        milter.wait_for("ERROR cannot start a worker: .*; trying again in 0.1 s")
        milter.wait_for("ERROR cannot start a worker: .*; trying again in 0.2 s")
        milter.tell(signal.SIGUSR1)
        pids = [int(milter.wait_for(r"worker (\d+) started")) for _ in range(2)]
        with Peer(address) as peer:
            assert peer.begin().message() == (Continue(),)
        milter.tell()
        milter.end()
        assert all(is_gone(pid) for pid in pids)


def test_what_is_printed_comes_once():
    """What was printed before workers start, and in them, is written once."""
    script = """
sys.stdout.reconfigure(write_through=False, line_buffering=False)

def on_ready(address):
    print("ready", address)

say = print
"""
    with serving(workers=3, script=script) as milter:
        workers = Workers(milter, 3)
        workers.serve()
        milter.tell()
        workers.end()
    assert sum(line.startswith("ready") for line in milter.lines) == 1
    assert sum(line.startswith("message in") for line in milter.lines) == 1

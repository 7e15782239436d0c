"""What systemd passes on, and what it is told."""

import errno
import os
import re
import signal
import socket
from contextlib import ExitStack

import pytest

from demyjpy import AddressError, Continue
from demyjpy.drivers.systemd import Notifier, inherited
from tests.drivers.peer import WAIT, Peer
from tests.drivers.program import program

SERVE = """
import socket
found = socket.fromfd(int(sys.argv[3]), socket.AF_INET, socket.SOCK_STREAM) if sys.argv[3] else None
if found:
    os.dup2(found.fileno(), 3)
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "mail"}
os.environ |= {"NOTIFY_SOCKET": sys.argv[4], "WATCHDOG_USEC": "100000"}
start_milter(
    "systemd:mail" if found else "inet:0@127.0.0.1", handlers, driver=sys.argv[1],
    workers=int(sys.argv[2]), on_ready=on_ready, reload=lambda: handlers,
)
"""


@pytest.fixture
def heard(tmp_path):
    """What systemd's socket hears, one by one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(WAIT)

        def hear(pattern: str) -> str:
            for _ in range(1000):
                said = sock.recv(4096).decode()
                if re.match(pattern, said):
                    return said
            raise AssertionError(pattern)

        yield hear


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_says_what_it_does(driver, workers, heard, tmp_path):
    """Ready, alive, loading again, ready, stopping."""
    with program(SERVE, driver, workers, "", str(tmp_path / "notify")) as milter:
        address = milter.address()
        ready = heard("READY=1")
        assert f"STATUS=listening on {address}" in ready
        assert f"MAINPID={milter.process.pid}" in ready
        heard("WATCHDOG=1")
        heard("WATCHDOG=1")
        milter.tell(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", heard("RELOADING"))
        heard("READY=1")
        milter.tell()
        heard("STOPPING=1")
        milter.end()
    assert milter.troubles() == []


def test_a_socket_of_systemd(driver, tmp_path):
    """systemd:NAME is the socket of that name."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        number = sock.fileno()
        script = program(SERVE, driver, "1", str(number), str(tmp_path / "none"), fds=(number,))
        milter = stack.enter_context(script)
        address = milter.address()
        assert address == f"inet:{sock.getsockname()[1]}@127.0.0.1"
        with Peer(address) as peer:
            assert peer.begin().message() == (Continue(),)
        milter.tell()
        milter.end()


def given(monkeypatch, count, names, pid=None):
    """Set what systemd sets."""
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_FDNAMES", names)
    monkeypatch.setenv("LISTEN_PID", str(pid or os.getpid()))


def test_which_socket_is_meant(monkeypatch):
    """The only one, or the one of a name."""
    given(monkeypatch, "1", "unknown")
    assert inherited() == 3
    given(monkeypatch, "2", "web:mail")
    assert inherited("mail") == 4


BAD = [
    ("2", "web:mail", None, "", "expected one socket from systemd, got 2 of 2"),
    ("2", "web:mail", None, "ftp", r"expected one socket 'ftp' \(FileDescriptorName=\) .* got 0 of 2"),
    ("1", "mail", 1, "", "got 0 of 0"),
    ("many", "mail", None, "", "got 0 of 0"),
]


@pytest.mark.parametrize(("count", "names", "pid", "name", "message"), BAD)
def test_a_socket_that_is_not_there(monkeypatch, count, names, pid, name, message):
    """What was not passed to this process is not taken."""
    given(monkeypatch, count, names, pid)
    with pytest.raises(AddressError, match=message):
        inherited(name)


def test_without_systemd_nothing_is_said(monkeypatch):
    """No variable, no word."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready("here")
    notifier.watch(lambda act: act())
    assert notifier.beat() == float("inf")
    notifier.close()


def test_what_cannot_be_said_does_no_harm(monkeypatch):
    """Also where there is no descriptor for a socket."""

    def no_more(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    Notifier().stopping()
    monkeypatch.setattr(socket, "socket", no_more)
    Notifier().stopping()


def test_an_abstract_socket(monkeypatch):
    """A name after @ is no file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0demyjpy-{os.getpid()}")
        sock.settimeout(WAIT)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@demyjpy-{os.getpid()}")
        Notifier().stopping()
        assert sock.recv(100) == b"STOPPING=1"


def test_the_watchdog_of_another_process(monkeypatch):
    """WATCHDOG_PID says whom systemd watches."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier().beat() == float("inf")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert Notifier().beat() == pytest.approx(0.0005)


def test_a_beat_that_is_not_due(monkeypatch):
    """The time that is left."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setenv("WATCHDOG_USEC", "2000000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    notifier = Notifier()
    assert notifier.beat() == 1000.0
    assert 0 < notifier.beat() <= 1000.0

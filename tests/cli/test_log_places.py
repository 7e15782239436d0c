"""What writes the log stops nothing and nobody reads it: files, links, locks, full disks, syslog."""

import fcntl
import io
import logging
import os
import resource
import signal
import socket
import stat
import sys

import pytest

from demyjpy import AddressError
from demyjpy.cli import logs
from demyjpy.cli.log_places import Syslog
from demyjpy.cli.logs import logging_to
from demyjpy.drivers.report import log

NOBODY = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes files of another user's: needs root")


def test_a_log_is_for_its_owner_only(tmp_path):
    """The files that were moved away, too; no file is beside them."""
    before = os.umask(0)
    try:
        with logging_to(str(tmp_path / "log"), "info", as_json=False, size=10, kept=2):
            for number in range(4):
                log.info("%s", number)
    finally:
        os.umask(before)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    assert modes == {"log": 0o600, "log.1": 0o600, "log.2": 0o600}


def test_a_log_that_somebody_has_locked_goes_on(tmp_path):
    """It is moved away when the lock is gone; nobody waits for it."""
    path = tmp_path / "log"
    with logging_to(str(path), "info", as_json=False, size=10):
        log.info("first")
        with path.open() as locked:
            fcntl.flock(locked, fcntl.LOCK_EX)
            log.info("second")
            assert path.read_text().count("\n") == 2
        log.info("third")
    assert path.read_text().endswith("third\n")
    assert (tmp_path / "log.1").read_text().count("\n") == 2


def test_a_log_that_another_process_moves_away_first(tmp_path, monkeypatch):
    """While this one is about to: it is not moved away twice."""
    path = tmp_path / "log"

    def be_late(*_):
        path.rename(tmp_path / "log.1")
        path.touch()

    with logging_to(str(path), "info", as_json=False, size=10):
        log.info("first")
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", be_late)
            log.info("second")
    assert (tmp_path / "log.1").read_text().endswith("first\n")
    assert path.read_text().endswith("second\n")
    assert not (tmp_path / "log.2").exists()


def test_the_lock_of_earlier_versions_is_no_more(tmp_path):
    """Whoever holds it, nobody asks for it."""
    with (tmp_path / "log.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with logging_to(str(tmp_path / "log"), "info", as_json=False, size=10):
            log.info("first")
            log.info("second")
    assert (tmp_path / "log.1").read_text().endswith("first\n")


@only_root
@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_what_somebody_else_has_put_there_is_not_written_to(kind, tmp_path):
    """Neither at the start, nor in place of a log that was moved away."""
    path, other = tmp_path / "log", tmp_path / "other"
    other.write_text("precious\n")

    def put_there():
        match kind:
            case "file":
                path.touch(0o666)
            case "link":
                path.symlink_to(other)
            case "fifo":
                os.mkfifo(path, 0o666)
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    put_there()
    with pytest.raises(AddressError, match="cannot log to"):
        logging_to(str(path), "info", as_json=False).__enter__()
    path.unlink()
    with logging_to(str(path), "info", as_json=False):
        log.info("first")
        path.rename(tmp_path / "old")
        put_there()
        log.info("second")
    assert (tmp_path / "old").read_text().endswith("second\n")
    assert other.read_text() == "precious\n"
    assert kind != "file" or path.read_bytes() == b""


def test_a_link_of_ones_own_is_followed(tmp_path):
    """As ``/dev/stdout`` is one."""
    (tmp_path / "log").symlink_to(tmp_path / "there")
    with logging_to(str(tmp_path / "log"), "info", as_json=False):
        log.info("first")
    assert (tmp_path / "there").read_text().endswith("first\n")


def test_a_fifo_that_nobody_reads_is_not_waited_for(tmp_path):
    """It is an error at the start."""
    os.mkfifo(tmp_path / "log")
    with pytest.raises(AddressError, match="No such device or address"):
        logging_to(str(tmp_path / "log"), "info", as_json=False).__enter__()


def test_a_disk_that_is_full(tmp_path):
    """Records are lost, nothing else; a line says how many, when there is room again."""
    path = tmp_path / "log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with logging_to(str(path), "info", as_json=False):
        log.info("first")
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
            log.info("second")
            log.info("third")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handled)
        log.info("fourth")
    first, torn, told, fourth = path.read_text().splitlines()
    assert first.endswith("first")
    assert len(torn) == 10
    assert "WARNING 2 records of the log were lost: " in told
    assert fourth.endswith("fourth")


@pytest.fixture
def device(tmp_path, monkeypatch):
    """Where syslog listens."""
    path = tmp_path / "device"
    monkeypatch.setattr(logs, "DEVICE", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(path))
        found.settimeout(20)
        yield found


def heard(device):
    """The text of the next record."""
    return device.recv(1 << 20).rstrip(b"\0").decode().partition("]: ")[2]


def test_a_syslog_daemon_that_does_not_read_is_not_waited_for(device):
    """What it does not take is lost; a line says how many were, when it reads again."""
    with logging_to("syslog", "info", as_json=False):
        for number in range(1000):
            log.info("%s", number)
        taken = 0
        device.setblocking(False)
        while True:
            try:
                assert heard(device) == str(taken)
            except BlockingIOError:
                break
            taken += 1
        device.settimeout(20)
        log.info("last")
        assert (
            heard(device)
            == f"{1000 - taken} records of the log were lost: Resource temporarily unavailable"
        )
        assert heard(device) == "last"


def test_a_syslog_daemon_that_is_started_anew(device, tmp_path):
    """The next record goes to the new one."""
    with logging_to("syslog", "info", as_json=False):
        device.close()
        (tmp_path / "device").unlink()
        log.info("first")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as anew:
            anew.bind(str(tmp_path / "device"))
            anew.settimeout(20)
            log.info("second")
            assert "1 records of the log were lost" in heard(anew)
            assert heard(anew) == "second"


def test_a_record_that_is_too_large_for_syslog_is_cut(device):
    """Where the system takes only small datagrams."""
    handler = Syslog(logs.DEVICE)
    handler._device.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    handler.handle(logging.makeLogRecord({"msg": "x" * 8000, "levelno": logging.INFO}))
    handler.close()
    said = device.recv(1 << 20)
    assert said.startswith(b"<22>xxx")
    assert b" ... (cut)" in said


def test_a_standard_error_that_was_closed(monkeypatch):
    """Is no error of whoever logs."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with logging_to("stderr", "info", as_json=False):
        stream.close()
        log.info("first")

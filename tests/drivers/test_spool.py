"""Files without names for the bodies of large messages, and the warning of a directory in memory."""

import errno
import fcntl
import gc
import os
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

from demyjpy import Body, Continue, EndOfMessage, TemporaryFailure
from demyjpy.drivers import start
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.spool import (
    SpoolFile,
    file_system_of,
    warn_if_spool_is_in_memory,
    warn_of_spool,
)
from tests.disks import fill, no_descriptors, small_disk, small_files
from tests.drivers.filters import wait_until
from tests.drivers.peer import CONTENT, ENVELOPE, Peer
from tests.drivers.program import program

MOUNTS = rb"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /tmp rw,nosuid - tmpfs tmpfs rw,size=1024k
24 22 0:22 / /tmp/a\040b\134c rw - xfs /dev/b rw
25 22 0:23 / /twice rw - tmpfs tmpfs rw
26 25 0:24 / /twice rw shared:2 master:3 - btrfs /dev/c rw
27 22 0:25 / /thrice rw - btrfs /dev/c rw
28 27 0:26 / /thrice rw - ramfs none rw
not a mount
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are made in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def descriptors() -> set[int]:
    """The open files of this process, but for the list of them."""
    return {int(path.name) for path in [*Path("/proc/self/fd").iterdir()] if path.exists()}


# -------------------------------------------------------------------------------------- the file
def test_what_is_appended_is_read(directory: Path) -> None:
    """From any byte on, and less only at the end."""
    file = SpoolFile.open()
    file.append([b"one", b"", b"two"])
    file.append(iter([b"three"]))
    file.append([])
    file.append([b"", b""])
    assert file.read(0, 100) == b"onetwothree"
    assert [file.read(at, 3) for at in (0, 2, 9, 11, 20)] == [b"one", b"etw", b"ee", b"", b""]
    assert file.read(3, 0) == b""


@pytest.mark.parametrize(
    "pieces",
    [
        [b"%d\n" % number for number in range(3000)],  # more than one call of the system takes
        [bytes([number]) * 65_535 for number in range(40)],
        [b"x" * 3_000_000, b"y"],
    ],
    ids=["small", "packets", "large"],
)
def test_pieces_of_any_size_come_back(directory: Path, pieces: list[bytes]) -> None:
    """Many small ones, packets of the protocol, one very large one."""
    file = SpoolFile.open()
    file.append(pieces)
    assert file.read(0, 10_000_000) == b"".join(pieces)


def test_pieces_are_not_gathered(directory: Path) -> None:
    """What comes piece by piece, as from another file, is in memory only for a moment."""
    file = SpoolFile.open()
    seen: list[int] = []

    def pieces() -> Any:
        for _ in range(40):
            yield b"x" * 65_536
            seen.append(len(file.read(0, 10_000_000)))

    file.append(pieces())
    assert all((number + 1) * 65_536 - size < 300_000 for number, size in enumerate(seen))


def test_a_file_has_no_name_and_is_for_its_owner(directory: Path) -> None:
    """No program that is started gets it, either."""
    before = descriptors()
    file = SpoolFile.open()
    (number,) = descriptors() - before
    found = os.fstat(number)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_nlink == 0
    assert not os.get_inheritable(number)
    assert not [*directory.iterdir()]
    file.append([b"x"])


def test_each_file_is_its_own(directory: Path) -> None:
    """Two bodies do not mix."""
    files = [SpoolFile.open() for _ in range(3)]
    for number, file in enumerate(files):
        file.append([b"%d" % number])
    assert [file.read(0, 9) for file in files] == [b"0", b"1", b"2"]


def test_a_file_is_closed_when_nobody_holds_it(directory: Path) -> None:
    """At once, or by the garbage collector; the room is free again."""
    before = descriptors()
    held: list[Any] = [SpoolFile.open()]
    assert descriptors() != before
    held.append(held)
    del held
    gc.collect()
    file = SpoolFile.open()
    del file
    assert descriptors() == before


def test_no_file_complains_that_it_was_not_closed() -> None:
    """Not with -X dev -W error, in a circle or at the end of the process."""
    code = (
        "from demyjpy.drivers.spool import SpoolFile\n"
        "one = SpoolFile.open(); one.append([b'x']); del one\n"
        "circle = [SpoolFile.open()]; circle.append(circle); del circle\n"
        "import gc; gc.collect()\n"
        "kept = SpoolFile.open(); circle = [SpoolFile.open()]; circle.append(circle)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_what_finds_no_room_is_an_error(directory: Path, size: int) -> None:
    """Also if some of it was written; what was there before is still read."""
    file = SpoolFile.open()
    file.append([b"before"])
    with small_files(size), pytest.raises(OSError, match="Errno") as failed:
        file.append([b"x" * 65_535] * 3)
    assert failed.value.errno == errno.EFBIG
    assert file.read(0, 6) == b"before"


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And there is room again when the file has gone."""
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        fill(disk, 65_536)
        assert [errno_beyond(40_000) for _ in range(3)] == [errno.ENOSPC] * 3


def errno_beyond(size: int) -> int | None:
    """The error of a file to which so many bytes are written until no more can be."""
    file = SpoolFile.open()
    file.append([b"x" * size])
    try:
        file.append([b"x" * size])
    except OSError as error:
        return error.errno
    return None


def test_a_short_write_goes_on() -> None:
    """As where a signal comes meanwhile: all bytes are written, in order."""
    readable, writable = os.pipe()
    full = fcntl.fcntl(writable, fcntl.F_GETPIPE_SZ)
    data = os.urandom(5 * full + 7)
    taken: list[bytes] = []

    def take() -> None:
        with os.fdopen(readable, "rb") as stream:
            taken.append(stream.read())

    reader = threading.Thread(target=take)

    def wake(*_: object) -> None:
        waiting = struct.unpack("i", fcntl.ioctl(readable, termios.FIONREAD, b"\0" * 4))[0]
        if waiting == full and reader.ident is None:  # append has written some and waits
            reader.start()

    before = signal.signal(signal.SIGALRM, wake)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        file = SpoolFile(writable)
        file.append([data[: full // 2], data[full // 2 :]])
        del file
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    reader.join()
    assert b"".join(taken) == data


def test_no_file_can_be_made(directory: Path) -> None:
    """The error is that of the system, and nothing is left open or on the disk."""
    before = descriptors()
    with no_descriptors(), pytest.raises(OSError, match="Errno") as failed:
        SpoolFile.open()
    assert failed.value.errno == errno.EMFILE
    assert descriptors() == before
    assert not [*directory.iterdir()]


def test_a_directory_that_has_gone_is_an_error(directory: Path) -> None:
    """It says which one."""
    directory.rmdir()
    with pytest.raises(FileNotFoundError, match=str(directory)):
        SpoolFile.open()


# ------------------------------------------------------------------------------------ the option
def test_the_engine_gets_size_and_files(directory: Path) -> None:
    """1 MiB if nothing is said; 0 is allowed."""
    for options, size in ((ServerOptions(), 1_048_576), (ServerOptions(spool=0), 0)):
        spooling = options.setup({}, lambda handler: False).spool
        assert spooling is not None
        assert spooling.size == size
        file = spooling.open()
        file.append([b"body"])
        assert file.read(1, 2) == b"od"


@pytest.mark.parametrize("size", [-1, 1.5, "1M"])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    """Before anything listens."""
    with pytest.raises((TypeError, ValueError), match="spool"), start.running({}, spool=size):
        pass


# ----------------------------------------------------------------------------------- the warning
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/tmp", "ext4"),
        ("/tmp", "tmpfs"),
        ("/tmp/below/it", "tmpfs"),
        ("/tmpfile", "ext4"),
        ("/tmp/a b\\c", "xfs"),
        ("/tmp/a b\\c/d", "xfs"),
        ("/twice/x", "btrfs"),
        ("/thrice", "ramfs"),
    ],
)
def test_a_directory_is_in_the_file_system_mounted_nearest(path: str, kind: str) -> None:
    """Of several on one mount point in the last."""
    assert file_system_of(path, MOUNTS) == kind


def test_a_link_is_followed(tmp_path: Path) -> None:
    """What counts is where the files are."""
    link = tmp_path / "link"
    link.symlink_to("/thrice")
    assert file_system_of(str(link / "x"), MOUNTS) == "ramfs"
    assert file_system_of(str(link), b"") == ""


@pytest.mark.parametrize(("path", "kind"), [("/tmp", "tmpfs"), ("/thrice", "ramfs"), ("/var/tmp", "")])
def test_a_directory_in_memory_is_a_warning(path: str, kind: str, tmp_path: Path, log: Any) -> None:
    """It says where, what is kept there, and what to do."""
    (tmp_path / "mounts").write_bytes(MOUNTS)
    warn_if_spool_is_in_memory(path, tmp_path / "mounts")
    said = (
        f"bodies of messages above spool= bytes are kept in files in {path}, which is in memory "
        f"({kind}): set TMPDIR to a directory on a disk, such as /var/tmp"
    )
    assert log.take() == ([said] if kind else [])


def test_without_a_list_of_mounts_nothing_is_said(tmp_path: Path) -> None:
    """As on systems that are not Linux."""
    warn_if_spool_is_in_memory("/tmp", tmp_path / "nothing")


def test_the_kernel_own_list_is_read(tmp_path: Path, log: Any) -> None:
    """A real file system in memory, with a space in its name."""
    with small_disk(tmp_path / "a b") as disk:
        warn_if_spool_is_in_memory(str(disk))
        assert f"are kept in files in {disk}, which is in memory (tmpfs)" in log.take_one()


def test_only_who_takes_whole_messages_is_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Any
) -> None:
    """A registry with a handler for them; a function is not asked."""
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        for other in ({"body": print}, {}, print):
            warn_of_spool(other)
        assert log.take() == []
        warn_of_spool({"message": print})
        assert f"in {disk}, which is in memory" in log.take_one()


def test_no_directory_at_all_is_a_warning(monkeypatch: pytest.MonkeyPatch, log: Any) -> None:
    """The milter starts: there may be room later."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    with small_files(0):
        warn_of_spool({"message": print})
    said = log.take_one()
    assert said.startswith("expected a directory for the bodies of messages above spool= bytes, found")
    assert said.endswith("make room there, or set TMPDIR to a directory on a disk, such as /var/tmp")


def test_a_milter_starts_with_the_option(log: Any) -> None:
    """``start_milter`` takes it as any other."""
    script = 'start_milter("inet:0@127.0.0.1", handlers, on_ready=on_ready, spool=0)'
    with program(script) as milter:
        assert milter.address().startswith("inet:")
        milter.tell()
        milter.end()


# ------------------------------------------------------------------------------ with both drivers
SERVE = """
import tempfile
tempfile.tempdir = sys.argv[2]
handlers = define_event_handlers({"message": lambda event, ctx: len(event.body) and ctx})
start_milter("inet:0@127.0.0.1", handlers, driver=sys.argv[1], on_ready=on_ready, spool=1000)
"""
BOTH_DRIVERS = pytest.mark.parametrize("driver", ["threads", "asyncio"])


def send_message(peer: Peer, size: int) -> Any:
    """A message with a body of so many packets; the verdict."""
    for event in (*ENVELOPE, *CONTENT):
        peer.ask(event)
    peer.say(*[Body(b"x" * 65_535)] * size)
    peer.say(EndOfMessage())
    return peer.hear_answer()[-1]


@BOTH_DRIVERS
def test_the_file_goes_with_its_message(driver: str, directory: Path) -> None:
    """Not with the connection, which may be idle for hours."""
    with program(SERVE, driver, str(directory)) as milter:
        files = Path(f"/proc/{milter.process.pid}/fd")
        peers = [Peer(address).begin() for address in [milter.address()] * 3]

        def has_files() -> bool:
            try:
                return any(str(directory) in str(path.readlink()) for path in [*files.iterdir()])
            except FileNotFoundError:  # one was closed just now
                return True

        assert [send_message(peer, 3) for peer in peers] == [Continue()] * 3
        wait_until(lambda: not has_files())
        for peer in peers:
            peer.vanish()
            peer.socket.close()
        milter.tell()
        milter.end()


@BOTH_DRIVERS
def test_after_a_message_that_found_no_room_the_next_is_served(driver: str, tmp_path: Path) -> None:
    """What there was room for is free again."""
    with small_disk(tmp_path / "disk") as disk:
        fill(disk, 200_000)
        with program(SERVE, driver, str(disk)) as milter, Peer(milter.address()) as peer:
            peer.begin()
            verdicts = [send_message(peer, size) for size in (2, 20, 2, 20, 2)]
            peer.vanish()
            milter.tell()
            milter.end()
    assert verdicts == [Continue(), TemporaryFailure(), Continue(), TemporaryFailure(), Continue()]

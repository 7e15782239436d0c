"""Figures over HTTP, from the command line."""

import importlib.util
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import deque
from contextlib import contextmanager
from pathlib import Path

import pytest

from demyjpy import AddressError, Mail
from demyjpy.cli.program import main
from demyjpy.metrics.board import Board
from demyjpy.metrics.page import Moment
from demyjpy.metrics.serving import StatusServer, _HttpServer
from tests.disks import fill, no_descriptors, small_disk
from tests.drivers.filters import wait_until
from tests.drivers.peer import Peer, packet

pytest.importorskip("prometheus_client")
ROOT = Path(__file__).parents[2]
FILTER = """
import os, signal
from demyjpy import add_header, define_event_handlers
handlers = define_event_handlers(actions={"add_header"})

@handlers.mail
def mail(event, ctx):
    if event.sender.startswith("bad"):
        raise ValueError(f"on <purpose>: {event.sender}")
    if event.sender == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx

@handlers.end_of_message
def end_of_message(event, ctx):
    return add_header(ctx, "X-A", "b")
"""


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Served:
    """A milter with --http."""

    def __init__(self, process, http, address):
        self.process, self._http, self.address = process, http, address

    def get(self, path):
        """Status and text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def figure(self, name):
        """One of the figures."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def served(tmp_path, *options, listen="inet:0@127.0.0.1", text=FILTER):
    """One, while the block runs."""
    (tmp_path / "filter_of_http.py").write_text(text)
    http = free_port()
    command = [
        sys.executable,
        "-m",
        "demyjpy",
        "run",
        str(tmp_path / "filter_of_http.py"),
        "--allow-root",
    ]
    with subprocess.Popen(
        [*command, "--listen", listen, "--http", f":{http}", *options],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            where = listen
            for line in process.stdout:
                if line.startswith("smtpd_milters = inet"):
                    where = f"inet:{line.rpartition(':')[2].strip()}@127.0.0.1"
                if line.startswith("INPUT"):
                    break
            yield Served(process, http, where)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0


def test_without_prometheus_client_the_command_says_so(tmp_path, monkeypatch, capsys):
    """In one line, with status 2."""
    path = tmp_path / "filter_without_metrics.py"
    path.write_text(FILTER)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "prometheus_client" else find(name)
    )
    status = main(["run", str(path), "--allow-root", "--http", ":0"])
    needs = "demyjpy run: --http needs prometheus-client: pip install 'demyjpy[metrics]'\n"
    assert (status, capsys.readouterr().err) == (2, needs)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_all_workers_are_counted(tmp_path, driver, workers):
    """Figures are those of all processes together, also of one that was killed."""
    with served(tmp_path, "--driver", driver, "--workers", workers) as milter:
        for _ in range(6):
            with Peer(milter.address) as peer:
                peer.begin().message()
                peer.message()
        wait_until(lambda: milter.figure("demyjpy_messages_total") == 12)
        with Peer(milter.address) as peer:
            peer.begin().ask(Mail("bad"))
        assert milter.figure('demyjpy_edits_total{action="AddHeader"}') == 12
        assert milter.figure("demyjpy_errors_total") == 1
        assert milter.figure("demyjpy_handler_seconds_count") >= 24
        assert milter.figure("demyjpy_workers") == int(workers)
        if driver == "asyncio":
            wait_until(lambda: milter.figure("demyjpy_loop_lag_seconds_count") >= 2 * int(workers))
        assert milter.figure("demyjpy_ready ") == 1
        assert 0 < milter.figure("demyjpy_ready_seconds") < 20
        assert milter.get("/healthz") == (200, "ok\n")
        assert milter.get("/readyz") == (200, "ready\n")
        assert milter.get("/nowhere")[0] == 404
        status, html = milter.get("/")
        assert status == 200
        assert "ValueError: on &lt;purpose&gt;" in html
        assert "filter_of_http.end_of_message" in html
        assert "version 6" in html


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_a_full_temporary_directory_stops_neither_mail_nor_figures(
    tmp_path, driver, workers, monkeypatch
):
    """Nor does one that is gone: figures need no disk."""
    with small_disk(tmp_path / "full") as disk:
        fill(disk, left=8192)  # where there is nothing, another directory is taken
        monkeypatch.setenv("TMPDIR", str(disk))
        with served(tmp_path, "--driver", driver, "--workers", workers) as milter:
            monkeypatch.undo()
            for sender in ("good", "bad", "good"):
                with Peer(milter.address) as peer:
                    peer.begin().ask(Mail(sender))
            assert milter.figure("demyjpy_errors_total") == 1
            assert milter.figure("demyjpy_sessions_total") >= 3
            assert "ValueError" in milter.get("/")[1]
            assert sorted(path.name for path in disk.iterdir()) == ["filler"]


def test_a_worker_that_is_killed_stays_counted(tmp_path):
    """And the one in its place goes on."""
    with served(tmp_path, "--workers", "2") as milter:
        for number in range(1, 4):
            with Peer(milter.address) as peer:
                peer.begin().message()
                peer.send(packet(Mail("kill")))
                assert peer.has_ended()
            assert milter.figure("demyjpy_messages_total") == number


def test_without_descriptors_it_says_so():
    """One line, before it listens."""
    with no_descriptors(), pytest.raises(AddressError, match="cannot keep figures: Too many open files"):
        StatusServer(":0", {})


def test_a_milter_that_hangs_is_not_ready(tmp_path, monkeypatch):
    """Health is the parent's, readiness the filter's."""
    path = tmp_path / "x.sock"
    with served(tmp_path, listen=str(path)) as milter:
        assert milter.get("/readyz")[0] == 200
        path.unlink()
        assert milter.get("/readyz") == (503, "not ready\n")
        assert milter.get("/healthz")[0] == 200


def test_it_ends_with_the_milter(tmp_path):
    """Nothing answers any more, and no file is left."""
    with served(tmp_path) as milter:
        assert milter.get("/healthz")[0] == 200
    with pytest.raises(OSError):
        milter.get("/healthz")


def test_whatever_bytes_an_error_is_about(tmp_path):
    """They are shown, in a way."""
    with served(tmp_path) as milter:
        with Peer(milter.address) as peer:
            peer.begin().ask(Mail("bad\udcff"))
        wait_until(lambda: "ValueError" in milter.get("/")[1])
        assert "bad\\udcff" in milter.get("/")[1]


def test_it_may_ask_though_others_may_not(tmp_path):
    """It asks from loopback."""
    with served(tmp_path, "--allow", "192.0.2.0/24") as milter:
        assert milter.get("/readyz")[0] == 200


CHILD = """
import os, signal, time
from demyjpy.metrics.page import Moment
from demyjpy.metrics.serving import StatusServer, _HttpServer
server = StatusServer(":0", {})
server.start("inet:1@127.0.0.1")
child = os.fork()
if child == 0:
    time.sleep(120)
    os._exit(0)
server.close()
os.kill(child, signal.SIGKILL)
print("closed")
"""


def test_it_ends_though_the_filter_has_children():
    """Which hold what it holds."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "closed\n"


@pytest.fixture
def status(tmp_path):
    """What answers, within this process; nobody asks it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        board = Board(1)
        yield _HttpServer(sock, board, f"unix:{tmp_path}/milter.sock", {})
        board.close()


def test_a_socket_that_is_not_for_it_is_ready(status, monkeypatch):
    """Others may connect: whether they can is not known, and so not denied."""

    def refuse(*_):
        raise PermissionError

    assert not status.is_ready()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert status.is_ready()


def test_a_figure_that_cannot_be_read_is_left_out(status, monkeypatch):
    """The next one is there again."""
    found = deque([Moment(1.0, {}), OSError("no"), Moment(2.0, {})])

    def now():
        if not found:
            raise KeyboardInterrupt
        one = found.popleft()
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(status, "_now", now)
    monkeypatch.setattr("demyjpy.metrics.serving._PERIOD", 0.0)
    with pytest.raises(KeyboardInterrupt):
        status.sample_for_ever()
    assert [one.time for one in status._history] == [1.0, 2.0]


def test_one_that_was_not_begun_with():
    """Closing it closes its socket."""
    server = StatusServer(":0", {})
    server.lag(0.0)
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.parametrize("http", ["9100x", "nowhere.invalid:1", ":99999"])
def test_a_place_that_cannot_be_had(http):
    """Is said in a line."""
    with pytest.raises(AddressError, match=r"cannot listen on inet:|expected a port"):
        StatusServer(http, {})


def ask(port, *lines):
    """Everything that is answered to these lines, as text."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def test_only_who_asks_by_a_known_name_is_answered(tmp_path):
    """A page in a browser that makes a name of its own lead here sees nothing."""
    with served(tmp_path, "--http-name", "Milter.Example") as milter:
        port = milter._http
        for host in (
            f"127.0.0.1:{port}",
            "localhost",
            "LOCALHOST.:1",
            f"[::1]:{port}",
            "192.0.2.1",
            "milter.example:9100",
        ):
            assert ask(port, "GET /healthz HTTP/1.1", f"Host: {host}").startswith("HTTP/1.0 200"), host
        for hosts in (["evil.example"], ["127.0.0.1.evil.example:80"], ["localhost", "x.example"]):
            lines = [f"Host: {host}" for host in hosts]
            answer = ask(port, "GET /metrics HTTP/1.1", *lines)
            assert answer.startswith("HTTP/1.0 421"), hosts
            assert "demyjpy_" not in answer
        assert ask(port, "GET /healthz HTTP/1.0").startswith("HTTP/1.0 200")


def test_a_page_can_do_nothing(tmp_path):
    """No script, no frame; no character of an error's text but letters and signs."""
    with served(tmp_path) as milter:
        with Peer(milter.address) as peer:
            peer.begin().ask(Mail("bad\x1b]0;pwned\x07\u202e\x9b"))
        wait_until(lambda: "ValueError" in milter.get("/")[1])
        answer = ask(milter._http, "GET / HTTP/1.0")
        head, _, html = answer.partition("\r\n\r\n")
        assert "Content-Security-Policy: default-src 'none';" in head
        assert "X-Content-Type-Options: nosniff" in head
        assert "X-Frame-Options: DENY" in head
        assert "\\x1b]0;pwned\\x07\\u202e" in html
        assert {one for one in html if not one.isprintable()} == {"\n"}


def test_who_says_nothing_takes_no_place_for_long(tmp_path):
    """However many connect and wait: threads are bounded, and others are answered after a while."""
    with served(tmp_path, "--workers", "2") as milter:
        wait_until(lambda: milter.get("/healthz")[0] == 200)
        pid = next(
            int(one)
            for one in children(milter.process.pid)
            if int((Path("/proc") / one / "stat").read_text().rpartition(")")[2].split()[16]) > 0  # nice
        )
        silent = [socket.create_connection(("127.0.0.1", milter._http)) for _ in range(200)]
        for one in silent:
            one.send(b"GET / HTTP/1.0\r\nX-Slow: ")
        wait_until(lambda: threads(pid) > 16)
        assert threads(pid) < 3 + 2 * 17
        for one in silent:  # each is let go, whatever it says now and then
            one.settimeout(30)
            try:
                while one.recv(1):
                    pass
            except ConnectionResetError:
                pass
            one.close()
        assert milter.get("/healthz") == (200, "ok\n")


def children(pid):
    """Those of a process."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def threads(pid):
    """How many a process has."""
    return len([*Path(f"/proc/{pid}/task").iterdir()])


def test_workers_of_a_filter_loaded_again_are_counted(tmp_path):
    """As those before it were."""
    with served(tmp_path, "--workers", "2") as milter:
        assert milter.figure("demyjpy_workers") == 2
        milter.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(children(milter.process.pid)) == 2)  # the figures' and the filter's
        wait_until(lambda: milter.figure("demyjpy_workers") == 2)


def test_there_may_be_no_more_threads(status, monkeypatch):
    """Then nobody is answered, and the place is free again."""

    def none(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", none)
    for _ in range(40):
        ours, theirs = socket.socketpair()
        status.process_request(theirs, ("", 0))
        with ours:
            assert ours.recv(1) == b""


def test_who_speaks_for_ever_is_cut_off(status, monkeypatch):
    """Though he never pauses: his time is for all that he says."""
    monkeypatch.setattr("demyjpy.metrics.serving._LONGEST", 0.1)
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(0.02)
        status.process_request(theirs, ("", 0))

        def has_ended() -> bool:
            try:
                ours.send(b"x")
                return ours.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_until(has_ended)


def test_those_who_ask_at_the_same_time_share_an_answer(status, monkeypatch):
    """It is made once, after the last of them has asked."""
    lock, came, made, found = threading.Lock(), [], [], []

    class Noting:
        """The lock; it tells who waits."""

        def __enter__(self):
            came.append(1)
            lock.acquire()

        def __exit__(self, *_):
            lock.release()

    def make():
        made.append(1)
        return len(made)

    monkeypatch.setattr(status, "_figures", Noting())
    askers = [
        threading.Thread(target=lambda: found.append(status.shared("figure", make))) for _ in range(4)
    ]
    with lock:
        for asker in askers:
            asker.start()
        wait_until(lambda: len(came) == 4)
    for asker in askers:
        asker.join(20)
    assert found == [1, 1, 1, 1]
    assert status.shared("figure", make) == 2

"""Figures over HTTP, from a process of its own: whatever the workers do, it answers.

Figures come from memory that all processes share (`demyjpy.metrics.board`); whether the milter is ready
is found out by asking it.
"""

import os
import re
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NoReturn

from demyjpy.codec import encode_event
from demyjpy.drivers.address import http_address, listen, parse_address
from demyjpy.drivers.nursery import NAME
from demyjpy.drivers.processes import fork, see_off
from demyjpy.engine.tape import Stretch
from demyjpy.events import Options
from demyjpy.metrics.board import Board
from demyjpy.metrics.counting import Metrics
from demyjpy.metrics.figures import GAUGES, Shared, prometheus
from demyjpy.metrics.notes import Notes, last_errors, negotiated
from demyjpy.metrics.page import Status, page
from demyjpy.metrics.plot import Moment
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.framing import join_frame

_PERIOD: Final = 10.0  # seconds between two points of the plot
_HOUR: Final = 3600.0
_PARTING: Final = 1.0  # seconds for the server to end by itself
_PATIENCE: Final = 5.0  # seconds for the milter to say that it is ready
_LONGEST: Final = 2 * _PATIENCE  # for one who asks, until he has all
_SEATS: Final = 16  # who is answered at the same time
_NICE: Final = 10  # mail comes first
_MOMENT: Final = 0.05  # seconds
_PORT: Final = re.compile(r":[0-9]*\Z")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # no script, no frame, nothing from anywhere
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_OFFER: Final = Options(6, ActionFlag(0x1FF), ProtocolFlag(0x1FFFFF))


class StatusServer:
    """``http`` is where to listen (``":9100"``, ``"127.0.0.1:9100"``); ``about``: what is running.

    ``processes``: how many count at once, at most. ``names`` are those by which it may be asked, besides
    ``localhost`` and any IP address. `AddressError` if that is not possible. It is one of the
    milter's ``watchers``, and `lag` its ``on_lag``.
    """

    keeps_bodies: Final = False
    wants_packets: Final = False

    def __init__(
        self, http: str, about: dict[str, str], processes: int = 1, names: Iterable[str] = ()
    ) -> None:
        prometheus()
        self._names = frozenset(name.lower() for name in names)
        self._board = Board(processes, GAUGES)
        self._socket = listen(http_address(http)).socket
        self._socket.setblocking(True)
        self.port: int = self._socket.getsockname()[1]
        self._about = about
        self._metrics, self._notes = Metrics(sink=Shared(self._board)), Notes(self._board)
        self._pid = 0

    def read(self, stretch: Stretch) -> None:
        """Count what is on a tape, and note what went wrong."""
        self._metrics.read(stretch)
        self._notes.read(stretch)

    def lag(self, seconds: float) -> None:
        """Count how late the event loop is."""
        self._metrics.lag(seconds)

    def start(self, address: str) -> None:
        """Begin, in a process of its own; before workers are started. ``address``: the milter's."""
        lifeline, self._lifeline = os.pipe()
        self._pid = fork(partial(self._be_server, lifeline, address))
        os.close(lifeline)
        self._socket.close()

    def close(self) -> None:
        """It ends with the milter."""
        self._socket.close()
        if self._pid:
            os.close(self._lifeline)
            see_off(self._pid, _PARTING)  # processes that the filter has started may hold the other end
        self._board.close()

    def _be_server(self, lifeline: int, address: str, held: set[int]) -> NoReturn:
        try:
            os.close(self._lifeline)
            for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(ignored, signal.SIG_IGN)  # it ends with its parent
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            signal.set_wakeup_fd(-1)
            # the milter's socket must not stay open because of this process
            for kept, following in pairwise(sorted((2, lifeline, self._socket.fileno(), 256))):
                os.closerange(kept + 1, following)
            os.nice(_NICE)
            server = _HttpServer(self._socket, self._board, address, self._about, self._names)
            threading.Thread(target=server.sample_for_ever, daemon=True).start()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            os.read(lifeline, 1)
        finally:
            os._exit(0)


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):  # it is gone already
        sock.shutdown(socket.SHUT_RDWR)


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(one) for one in found.split()]


def _of(samples: Iterable[Any], name: str) -> list[Any]:
    """The samples of a counter."""
    return [one for one in samples if one.name == f"demyjpy_{name}_total"]


def _moment(samples: Iterable[Any]) -> Moment:
    """The messages that were counted by now."""
    return Moment(time.time(), {one.labels["verdict"]: one.value for one in _of(samples, "messages")})


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        sock: socket.socket,
        board: Board,
        address: str,
        about: dict[str, str],
        names: frozenset[str] = frozenset(),
    ) -> None:
        self._names = names
        self._seats = threading.BoundedSemaphore(_SEATS)
        self._figures = threading.Lock()
        self._last: dict[str, tuple[float, Any]] = {}
        super().__init__(sock.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self._board, self._address, self._about = board, address, about
        self._started = time.time()
        self._history: deque[Moment] = deque(maxlen=int(_HOUR / _PERIOD) + 1)

    # ---------------------------------------------------------------------- who is let in
    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each, as long as there are some; then it is closed without a word."""
        if not self._seats.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # there are no more threads
            self._seats.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In its thread, for `_LONGEST` seconds in all, however slowly a client speaks or reads."""
        timer = threading.Timer(_LONGEST, _cut, (request,))
        timer.daemon = True
        try:
            timer.start()
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self.shutdown_request(request)  # if there was no thread for the timer
            self._seats.release()

    def handle_error(self, *_: object) -> None:
        """Nothing: it is the client's, who is gone."""

    def is_known(self, host: str) -> bool:
        """Whether a Host is ours: else a page of somebody else's asks, whose name leads here by now."""
        name = host.rpartition(":")[0] if _PORT.search(host) else host
        try:
            return bool(ip_address(name.removeprefix("[").removesuffix("]")))
        except ValueError:
            return name.lower().removesuffix(".") in self._names | {"localhost"}

    def shared(self, what: str, make: Callable[[], Any]) -> Any:
        """What is made for one who asks serves all who asked before that was begun.

        Nothing is made more often than every `_MOMENT`: asking makes work for the milter, too.
        """
        asked = time.monotonic()
        with self._figures:
            begun, found = self._last.get(what, (0.0, None))
            if begun <= asked:
                time.sleep(max(0.0, begun + _MOMENT - time.monotonic()))
                begun = time.monotonic()
                found = make()
                self._last[what] = begun, found
            return found

    # --------------------------------------------------------------------------- what is shown
    def sample_for_ever(self) -> NoReturn:
        """Keep the points of the plot."""
        while True:
            with suppress(Exception):  # a file that is just being made; the next one is better
                self._history.append(self._now())
            time.sleep(_PERIOD)

    def _samples(self) -> list[Any]:
        return [one for metric in Shared(self._board).collect() for one in metric.samples]

    def _now(self) -> Moment:
        return _moment(self._samples())

    def metrics(self) -> bytes:
        """As Prometheus reads them: what was counted, and how things are now."""
        counted: bytes = prometheus().generate_latest(Shared(self._board))
        started = time.perf_counter()
        is_ready = self.is_ready()
        seconds = time.perf_counter() - started
        now = (
            ("workers", "Processes that serve", self._workers()),
            ("ready", "Whether the milter negotiates", int(is_ready)),
            ("ready_seconds", "How long it took to negotiate just now", seconds),
        )
        lines = (
            f"# HELP demyjpy_{name} {text}\n# TYPE demyjpy_{name} gauge\ndemyjpy_{name} {value}\n"
            for name, text, value in now
        )
        return counted + "".join(lines).encode()

    def _workers(self) -> int:
        """Without workers the milter is one process, and this one its only child.

        Workers with a filter that was loaded again are children of the process that has loaded it.
        """
        count = 0
        for child in _children(os.getppid()):
            with suppress(OSError):  # it has just ended
                name = Path(f"/proc/{child}/comm").read_text(encoding="utf-8", errors="replace").strip()
                count += len(_children(child)) if name == NAME else int(child != os.getpid())
        return max(1, count)

    def is_ready(self) -> bool:
        """Whether the milter negotiates."""
        where = parse_address(self._address)
        family = {"unix": socket.AF_UNIX, "inet6": socket.AF_INET6}.get(where.kind, socket.AF_INET)
        target: Any = where.path if where.kind == "unix" else (where.host, where.port)
        with socket.socket(family) as sock:
            sock.settimeout(_PATIENCE)
            try:
                sock.connect(target)
                sock.sendall(join_frame(*encode_event(_OFFER)))
                return len(sock.recv(64)) > 0
            except PermissionError:
                return True  # the socket is there, but not for us: others are to say
            except OSError:
                return False

    def page(self, is_ready: bool) -> str:
        """The status page."""
        samples = self._samples()
        handlers: dict[tuple[str, str], list[float]] = {}
        for one in samples:
            for at, suffix in enumerate(("count", "sum")):
                if one.name == f"demyjpy_handler_seconds_{suffix}":
                    key = one.labels["event"], one.labels["handler"]
                    handlers.setdefault(key, [0.0, 0.0])[at] += one.value
        now = _moment(samples)
        return page(
            Status(
                about={
                    **self._about,
                    "listens on": self._address,
                    "negotiated": "; ".join(negotiated(self._board)) or "nothing yet",
                },
                now=now.time,
                started=self._started,
                is_ready=is_ready,
                history=(*self._history, now),
                handlers=[(*key, calls, seconds) for key, (calls, seconds) in handlers.items()],
                refusals={one.labels["filter"]: one.value for one in _of(samples, "refusals")},
                answers={
                    (one.labels["event"], one.labels["verdict"]): one.value
                    for one in _of(samples, "verdicts")
                },
                errors=sum(one.value for one in _of(samples, "errors")),
                last_errors=last_errors(self._board),
            )
        )


class _Handler(BaseHTTPRequestHandler):
    server: _HttpServer
    timeout = _PATIENCE
    server_version = "demyjpy"
    sys_version = ""

    def do_GET(self) -> None:  # as the base calls it
        """Answer."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or not all(self.server.is_known(host) for host in hosts):
            self._say(421, b"expected an IP address, localhost or a name of --http-name as Host\n")
            return
        match self.path.partition("?")[0]:
            case "/metrics":
                self._say(
                    200,
                    self.server.shared("metrics", self.server.metrics),
                    "text/plain; version=0.0.4; charset=utf-8",
                )
            case "/healthz":
                self._say(200, b"ok\n")
            case "/readyz":
                is_ready = self.server.shared("ready", self.server.is_ready)
                self._say(200 if is_ready else 503, b"ready\n" if is_ready else b"not ready\n")
            case "/":
                is_ready = self.server.shared("ready", self.server.is_ready)
                html = self.server.shared("page", partial(self.server.page, is_ready))
                self._say(200, html.encode(errors="backslashreplace"), "text/html; charset=utf-8")
            case _:
                self._say(404, b"expected /, /metrics, /healthz or /readyz\n")

    def _say(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for header in _HEADERS.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: who looks is not worth a line."""

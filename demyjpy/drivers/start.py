"""Starting a milter: for a program of its own (`start_milter`) and for tests (`running`)."""

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

from demyjpy.drivers import aio, threads
from demyjpy.drivers.address import bound_address, forget, listen, parse_address
from demyjpy.drivers.options import Options
from demyjpy.drivers.report import log
from demyjpy.drivers.workers import Workers
from demyjpy.errors import HandlerError
from demyjpy.pipeline import as_on_connect

Driver: TypeAlias = Literal["asyncio", "threads"]

_RUN: Final[dict[str, Callable[..., None]]] = {"asyncio": aio.run, "threads": threads.run}
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_START_TIME: Final = 30.0  # seconds in which a background milter must have begun to listen


def start_milter(
    address: str | int,
    on_connect: Any,
    *,
    driver: Driver = "asyncio",
    workers: int = 1,
    on_ready: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve a filter until SIGTERM or SIGINT, then finish the messages in flight and return.

    ``address``: see `demyjpy.drivers.address.SPELLINGS`. ``on_connect``: a registry, or a function
    ``ctx -> ctx`` that is called once a connection (see `with_handlers`). ``driver``: ``"asyncio"``
    or ``"threads"``. ``workers``: processes that share the socket. ``on_ready`` is called with the
    address once it listens. Other options are those of `demyjpy.drivers.options.Options`; a second
    signal ends at once. In a thread that is not the main one no signal is handled.

    Raises `AddressError` where it cannot listen, `HandlerError` for a filter that cannot run.
    """
    run, chosen = _prepare(driver, on_connect, options)
    if not isinstance(workers, int) or workers < 1:
        raise HandlerError(f"expected workers to be a number from 1, got {workers!r}")
    where = parse_address(address)
    sock = listen(where)
    try:
        actual = str(bound_address(where, sock))
        log.info("listening on %s (driver %s, workers %d)", actual, driver, workers)
        if on_ready:
            on_ready(actual)
        with _signals_restored():
            if workers == 1:
                run(sock, on_connect, chosen, _stop_on_signals)
            else:
                Workers(workers, lambda: run(sock, on_connect, chosen, _stop_on_signals)).run()
    finally:
        sock.close()
        forget(where)


def _prepare(
    driver: str, on_connect: Any, options: dict[str, Any]
) -> tuple[Callable[..., None], Options]:
    """The driver and its options, or an error before anything is opened."""
    if driver not in _RUN:
        raise HandlerError(f"expected driver {' or '.join(map(repr, _RUN))}, got {driver!r}")
    as_on_connect(on_connect)
    if driver == "threads":
        threads.refuse_async(on_connect)
    return _RUN[driver], Options(**options)


def _stop_on_signals(stop: Callable[[], None]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, lambda *_: stop())


@contextmanager
def _signals_restored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def running(
    on_connect: Any,
    *,
    address: str | int = "inet:0@127.0.0.1",
    driver: Driver = "asyncio",
    **options: Any,
) -> Iterator[str]:
    """Run a milter in the background while the block runs; gives the address. For tests.

    Without ``address`` it listens on a free port of 127.0.0.1. Options as for `start_milter`; the
    default grace period here is 1 second.
    """
    run, chosen = _prepare(driver, on_connect, {"grace": 1.0, **options})
    where = parse_address(address)
    sock = listen(where)
    stops: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    arguments = (sock, on_connect, chosen, stops.put)
    thread = threading.Thread(target=run, args=arguments, name=f"demyjpy-{driver}", daemon=True)
    thread.start()
    try:
        stop = stops.get(timeout=_START_TIME)
        yield str(bound_address(where, sock))
    finally:
        stop()
        thread.join()
        forget(where)

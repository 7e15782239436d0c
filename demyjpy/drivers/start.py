"""Starting a milter: for a program of its own (`start_milter`) and for tests (`running`)."""

import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, Unpack

from attrs import evolve

from demyjpy.drivers import aio, threads
from demyjpy.drivers.address import Listener, listen, parse_address
from demyjpy.drivers.admission import warn_if_open
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.loading import Reload, loading_to
from demyjpy.drivers.option_types import RunningOptions, UnwatchedStartOptions
from demyjpy.drivers.options import ServerOptions, make_options
from demyjpy.drivers.privileges import become
from demyjpy.drivers.report import log
from demyjpy.drivers.roles import Role
from demyjpy.drivers.service import Service
from demyjpy.drivers.signals import Controls, Started, obeyed
from demyjpy.drivers.spool import warn_of_spool
from demyjpy.drivers.workers import Workers
from demyjpy.errors import HandlerError
from demyjpy.settings.making import Settings, settle

Driver: TypeAlias = Literal["asyncio", "threads"]
_Run: TypeAlias = Callable[[Listener, Any, ServerOptions, Started], None]

_is_loading: Final = ContextVar("demyjpy_is_loading", default=False)

_RUN: Final[dict[str, _Run]] = {"asyncio": aio.run, "threads": threads.run}


def start_milter(
    address: str | int,
    on_connect: Any,
    *,
    driver: Driver = "asyncio",
    workers: int = 1,
    on_ready: Callable[[str], None] | None = None,
    reload: Callable[[], Any] | Reload | None = None,
    load_timeout: float = 30.0,
    user: str | None = None,
    group: str | None = None,
    settings: Settings = None,
    on_end: Callable[[], object] = lambda: None,
    **options: Unpack[UnwatchedStartOptions],
) -> None:
    """As `demyjpy.start_milter`, which says what the options mean, without those that watch.

    ``on_end`` is called in each process that has served, when it ends. Raises `AddressError` if it
    cannot listen, `HandlerError` if the filter cannot run.
    """
    refuse_while_loading()
    on_connect, reload, settings = settled(on_connect, reload, settings)
    given = {**options, "settings": settings, "load_timeout": load_timeout}
    prepare = partial(_prepare, driver, options=given, who=start_milter)
    run, chosen = prepare(on_connect)
    _check_workers(workers)
    service = Service(reload or (lambda: on_connect), prepare, load_timeout)
    with (
        closing(service),
        obeyed(service.load_again if reload else None) as requests,
        closing(listen(parse_address(address))) as listener,
    ):
        become(user, group)
        actual = str(listener.address)
        log.info("listening on %s (driver %s, workers %d)", actual, driver, workers)
        _warn(listener, on_connect, chosen)
        if on_ready:
            on_ready(actual)

        def started(controls: Controls) -> None:
            def stop(at_once: bool) -> None:
                service.notifier.stopping()
                controls.stop(at_once)

            service.started(controls, f"listening on {actual}")
            requests.started(evolve(controls, stop=stop))
            if workers == 1:
                service.notifier.watch(controls.soon)

        with _frozen():
            if workers == 1:
                _run_and_end(run, on_end, listener, on_connect, chosen, started)
                return
            apart = partial(_run_and_end, run, on_end)
            _run_workers(workers, listener, apart, on_connect, chosen, service, started)


def settled(
    on_connect: Any, reload: Callable[[], Any] | Reload | None, settings: Settings
) -> tuple[Any, Callable[[], Any] | Reload | None, Mapping[str, Any]]:
    """The filter with its settings, how it is loaded again with them, and what resources get besides.

    If ``settings`` is a file, that is read again at SIGHUP also if nothing else is loaded again.
    """
    first = settle(on_connect, settings)
    if reload is None and isinstance(settings, str | Path):
        reload = Reload(lambda: on_connect)
    return (
        first.on_connect,
        loading_to(reload, lambda one: settle(one, settings).on_connect),
        first.settings,
    )


def _run_workers(
    count: int,
    listener: Listener,
    run: _Run,
    on_connect: Any,
    options: ServerOptions,
    service: Service,
    started: Started,
) -> None:
    """Serve in several processes, of which one does the jobs."""
    with closing(Role.shared()) as role:
        shared = evolve(listener, file=None, is_shared=True, role=role)  # its file is the parent's

        def work(found: Any, begun: Started) -> None:
            run(shared, found, options, begun)

        tend, lost = service.tend, service.load_if_idle
        workers = Workers(count, listener, work, on_connect, options.grace, tend, lost)
        service.begin = workers.load
        workers.run(started)


def _warn(listener: Listener, on_connect: Any, options: ServerOptions) -> None:
    """What an operator should know from the start."""
    warn_if_open(listener.socket.getsockname(), options)
    warn_of_spool(on_connect)


@contextmanager
def being_loaded() -> Iterator[None]:
    """While the block runs, a file of a filter is loaded: it may not serve by itself."""
    token = _is_loading.set(True)
    try:
        yield
    finally:
        _is_loading.reset(token)


def refuse_while_loading() -> None:
    """`HandlerError` if a file of a filter is just being loaded."""
    if _is_loading.get():
        raise HandlerError(
            "expected a file that defines a filter, got one that starts to serve as it is loaded: put "
            "start_milter under `if __name__ == '__main__':`"
        )


def _run_and_end(run: _Run, on_end: Callable[[], object], *arguments: Any) -> None:
    try:
        run(*arguments)
    finally:
        on_end()


@contextmanager
def _frozen() -> Iterator[None]:
    """What is there when a milter starts, is there to stay.

    The garbage collector need not look at it again and again, and workers share its memory for as long
    as nobody writes there.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _prepare(
    driver: str, on_connect: Any, options: dict[str, Any], who: Callable[..., Any]
) -> tuple[_Run, ServerOptions]:
    """The driver and its options, or an error before anything is opened."""
    if driver not in _RUN:
        raise HandlerError(f"expected driver {' or '.join(map(repr, _RUN))}, got {driver!r}")
    chosen = make_options(who, options)
    chosen.setup(on_connect, lambda handler: False)
    if driver == "threads":
        threads.refuse_async(on_connect)
        if chosen.loop != "asyncio":
            raise HandlerError(
                f'expected loop= with driver="asyncio" only, got {chosen.loop!r} with "threads"'
            )
    aio.loop_factory(chosen.loop)
    return _RUN[driver], chosen


def _check_workers(workers: int) -> None:
    if not isinstance(workers, int) or workers < 1:
        raise HandlerError(f"expected workers to be a number from 1, got {workers!r}")
    if workers > 1 and threading.current_thread() is not threading.main_thread():
        raise HandlerError(
            f"expected workers=1 in a thread that is not the main one, got {workers}: their parent "
            "has to handle signals"
        )


@contextmanager
def running(
    on_connect: Any,
    *,
    address: str | int = "inet:0@127.0.0.1",
    driver: Driver = "asyncio",
    **options: Unpack[RunningOptions],
) -> Iterator[str]:
    """Run a milter in the background while the block runs; gives the address. For tests.

    Without ``address`` it listens on a free port of 127.0.0.1. Options as for `start_milter`; the
    default grace period here is 1 second.
    """
    ready = settle(on_connect, options.pop("settings", None))
    given = {"grace": 1.0, **options, "settings": ready.settings}
    run, chosen = _prepare(driver, ready.on_connect, given, running)
    with closing(listen(parse_address(address))) as listener:
        begun: Future[Controls] = Future()

        def serve() -> None:
            try:
                run(listener, ready.on_connect, chosen, begun.set_result)
            except Exception as error:  # noqa: BLE001  # it is the caller's
                begun.set_exception(error)

        thread = threading.Thread(target=serve, name=f"demyjpy-{driver}", daemon=True)
        BIRTHS.start(thread)
        controls = begun.result()
        try:
            yield str(listener.address)
        finally:
            controls.stop(False)
            thread.join()

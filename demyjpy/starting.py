"""`start_milter` with what hangs on the observer: recording, explaining and the like.

It adds nothing else to `demyjpy.drivers.start_milter`: without these options it is the same.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from demyjpy.drivers.dumping import obeying
from demyjpy.drivers.loading import Reload, loading_to
from demyjpy.drivers.option_types import StartOptions
from demyjpy.drivers.options import refuse_unknown
from demyjpy.drivers.privileges import acting_as
from demyjpy.drivers.start import Driver, refuse_while_loading, settled
from demyjpy.drivers.start import start_milter as start_without
from demyjpy.engine.cache import Cache
from demyjpy.engine.connection import Observer, Step
from demyjpy.engine.handler_results import check_context
from demyjpy.engine.tape import Watcher
from demyjpy.handlers import ENVELOPE, as_registry, watch_envelope
from demyjpy.settings.making import Settings

if TYPE_CHECKING:
    from demyjpy.trace.live.capsule import CapsuleMaker
    from demyjpy.trace.live.explain_line import Explainer
    from demyjpy.trace.live.flight import FlightRecorder
    from demyjpy.trace.live.recorder import Recorder


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
    record: "str | Path | Recorder | None" = None,
    record_raw: bool = False,
    explain: "bool | Explainer" = False,
    flight: "FlightRecorder | None" = None,
    capsules: "str | Path | CapsuleMaker | None" = None,
    see_envelope: bool = True,
    observer: Observer | Watcher | None = None,
    watchers: Iterable[Watcher] = (),
    **options: Unpack[StartOptions],
) -> None:
    """Serve a filter until SIGTERM or SIGINT, then finish the messages in flight and return.

    - ``address``: see `demyjpy.drivers.address.SPELLINGS`.
    - ``on_connect``: a registry, or a function ``ctx -> ctx`` that is called once a connection (see
      `with_handlers`), or a function of its settings, ``make(**settings) -> Registry``.
    - ``driver``: ``"asyncio"`` or ``"threads"``.
    - ``workers``: processes that share the socket.
    - ``on_ready``: called with the address once it listens.
    - ``reload``: called at SIGHUP; returns the filter for the sessions to come, as ``on_connect``. If it
      raises, or takes longer than ``load_timeout`` seconds, all stays as it was. It is called in a
      thread; with several workers in a process from which the new workers come.
    - ``user``, ``group``: as whom to run once it listens.
    - ``settings``: a map, or the name of a TOML file, for a filter that is a function of its settings,
      and for resources. A file is read again at SIGHUP.
    - ``record``: a directory into which every session is recorded, or a `demyjpy.trace.Recorder`;
      ``record_raw``: with all packets as bytes.
    - ``explain``: a line in the log for each message, or a `demyjpy.trace.Explainer`.
    - ``flight``: a `demyjpy.trace.FlightRecorder`, which obeys SIGUSR1 meanwhile, in each worker if
      there are several.
    - ``capsules``: a directory into which each failure of a handler is written, or a
      `demyjpy.trace.CapsuleMaker`.
    - ``see_envelope``: for ``record``, ``explain`` and ``flight`` the MTA is asked for senders and
      recipients also if no handler wants them; it does not wait for an answer.

    Other options are those of `demyjpy.drivers.options.ServerOptions`. It reports its state to systemd.
    A second signal ends at once. In a thread that is not the main one no signal is handled.

    Raises `AddressError` if it cannot listen, `HandlerError` for a filter that cannot run (a
    `SettingsError` if its settings are wrong), `demyjpy.trace.TraceError` if it cannot record,
    `TypeError` for an option that does not exist.
    """
    refuse_while_loading()
    refuse_unknown(start_milter, options)
    with acting_as(user, group):
        on_connect, reload, settings = settled(on_connect, reload, settings)
        closed = _closing(record, record_raw, capsules)
    others: list[Observer | Watcher] = [observer] if observer else []
    if explain:
        others.append(_explainer() if explain is True else explain)
    if flight is not None:
        closed.append(flight)

    def end() -> None:
        for one in closed:
            one.close()

    if see_envelope and (record is not None or explain or flight is not None):
        on_connect, reload = seeing(on_connect), loading_to(reload, seeing)
    watching = [*others, *closed]
    with obeying(partial(flight.dump, "signal") if flight is not None else None):
        start_without(
            address,
            on_connect,
            driver=driver,
            workers=workers,
            on_ready=on_ready,
            reload=reload,
            load_timeout=load_timeout,
            user=user,
            group=group,
            settings=settings,
            on_end=end,
            observer=all_of([one for one in watching if not isinstance(one, Watcher)]),
            watchers=(*watchers, *(one for one in watching if isinstance(one, Watcher))),
            **options,
        )


def seeing(on_connect: Any) -> Any:
    """The same filter, told of the envelope; see `demyjpy.handlers.watch_envelope`."""
    if isinstance(on_connect, Mapping):
        return watch_envelope(as_registry(on_connect))
    if not callable(on_connect):
        return on_connect  # the driver says what is wrong with it
    known = Cache(most=1)  # a function may make a filter for each connection: no more than one is kept

    def connect(ctx: Any) -> Any:
        ctx = check_context(on_connect(ctx))
        registry = as_registry(ctx["handlers"])
        watched = known.once((registry, registry.sizes), lambda: watch_envelope(registry))
        return ctx.set("handlers", watched).set(
            "optional_events", ctx["optional_events"] | set(ENVELOPE)
        )

    return connect


class Closing(Protocol):
    """An observer that has something to write when a process ends."""

    def __call__(self, step: Step) -> None:
        """Take a step."""

    def close(self) -> None:
        """Write what is left."""


def _closing(
    record: "str | Path | Recorder | None", raw: bool, capsules: "str | Path | CapsuleMaker | None"
) -> list[Closing]:
    found: list[Closing] = []
    if isinstance(record, str | Path):
        from demyjpy.trace.live.recorder import Recorder  # noqa: PLC0415  # filters start fast

        found.append(Recorder(record, raw=raw))
    elif record is not None:
        found.append(record)
    if isinstance(capsules, str | Path):
        from demyjpy.trace.live.capsule import CapsuleMaker  # noqa: PLC0415  # as above

        found.append(CapsuleMaker(capsules))
    elif capsules is not None:
        found.append(capsules)
    return found


def _explainer() -> Observer:
    from demyjpy.trace.live.explain_line import Explainer  # noqa: PLC0415  # as above

    return Explainer()


def all_of(observers: list[Observer]) -> Observer | None:
    """One observer that tells several; None for none."""
    if len(observers) < 2:
        return observers[0] if observers else None

    def tell(step: Step) -> None:
        for observer in observers:
            observer(step)

    return tell

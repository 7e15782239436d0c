"""Doing a job of a filter once, in a test."""

from collections.abc import Mapping
from typing import Any, Final

from demyjpy.drivers.jobs import perform_apart
from demyjpy.drivers.resources import Resources
from demyjpy.drivers.side_loop import SideLoop
from demyjpy.errors import HandlerError, describe
from demyjpy.handlers import as_registry
from demyjpy.registry import Registry
from demyjpy.settings.making import Settings, settle

_OPENING: Final = 30.0  # seconds


def run_job(
    handlers: Any,
    job: Any,
    *,
    resources: Mapping[str, Any] | None = None,
    settings: Settings = None,
) -> Any:
    """Do a job of a filter once, as a milter does it every so often; what it returns.

    ``job`` is its period in seconds, or the job itself. ``resources``: what it gets in place of those
    that the filter declares, which else are opened with ``settings``, and closed after. A function of
    settings is called with them (see `demyjpy.start_milter`). What the job raises is raised.
    `HandlerError` if the filter has no such job.
    """
    ready = settle(handlers, settings)
    part, found = _job_of(ready.on_connect, job)
    side = SideLoop()
    opening = Resources(ready.settings, side)
    try:
        given = resources
        if given is None:
            opening.open(part, _OPENING).result()
            given = opening.of(part.declarations)
        return perform_apart(found.perform, side, given).result()
    finally:
        for closing in opening.end():
            closing.result()
        side.stop()


def _job_of(handlers: Any, job: Any) -> tuple[Registry, Any]:
    """The filter that declares a job, and the job."""
    known = []
    for leaf in as_registry(handlers).leaves:
        for seconds, one in leaf.declarations.every.items():
            if one is job or one == job or (type(job) in (int, float) and seconds == job):
                return leaf, one
            known.append(f"{seconds:g}: {type(one).__name__}")
    raise HandlerError(
        f"expected a job of the filter, or its seconds, among {', '.join(known) or 'none'}; got "
        f"{describe(job)}"
    )

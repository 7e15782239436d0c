"""Calling a handler directly: the context that it would get."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import evolve

from demyjpy.clients import Client, as_ip
from demyjpy.context import Context, check_mapping, check_state, new_context, update
from demyjpy.engine.fact_keeping import first_facts
from demyjpy.engine.macros import NO_MACROS
from demyjpy.engine.moment import Moment
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.engine.smallmap import small_map
from demyjpy.errors import HandlerError
from demyjpy.events import Recipient
from demyjpy.handlers import as_registry
from demyjpy.known_facts import NO_FACTS, KnownFacts
from demyjpy.questions import Failed, Outcome, as_answer, check_key
from demyjpy.registry import Registry
from demyjpy.settings.making import Settings, settle
from demyjpy.testing.clocks import wall_of


def context(
    handlers: Any,
    *,
    answers: Mapping[str, Any] | None = None,
    settings: Settings = None,
    facts: Mapping[str, Any] | None = None,
    **values: Any,
) -> Context:
    """The context of a new connection with this filter, with some values in place of its state's.

    ``ctx = context(handlers, byte_count=3)``; ``handlers["body"](Body(b"x"), ctx)``. All events and
    actions that the filter asks for count as agreed. `demyjpy.now` returns the real time; see
    `at_time`. A value under a key of the engine raises `HandlerError`.

    ``answers``: what `demyjpy.answer` gives, by key, as in ``answers={"spf": "pass"}``: a value, or an
    outcome such as ``Late()``. `HandlerError` for what cannot be answered.

    ``facts``: what `demyjpy.facts` and `demyjpy.recipients` give, by name, as in
    ``facts={"client": "192.0.2.1", "recipients": ["b@example.org"]}``. A client may be an IP address, a
    recipient an address. All else is None, and the origin ``"smtp"``. `HandlerError` for a fact that the
    filter has not declared. ``settings``, as for `demyjpy.start_milter`, are for a filter that is a
    function of them.
    """
    on_connect: Callable[[Context], Context] = as_on_connect(settle(handlers, settings).on_connect)
    ctx = on_connect(new_context())
    agreed = {
        "events": frozenset(as_registry(ctx["handlers"])),
        "actions": ctx["actions"] | ctx["optional_actions"],
        "macros": NO_MACROS.at(Moment("test", time.time)),
    }
    known = {} if answers is None else {"answers": _known(answers)}
    told = _told(as_registry(ctx["handlers"]), {} if facts is None else facts)
    return update(ctx, {**agreed, **known, **told, **check_state(values)})


def _told(registry: Registry, given: Mapping[str, Any]) -> dict[str, KnownFacts]:
    """What lies in the context for facts; `HandlerError` for one that is not declared."""
    known = first_facts(registry, ()) or NO_FACTS
    for name in check_mapping("facts= by their names", given):
        if name not in known.names:
            declared = ", ".join(sorted(known.names)) or "none"
            raise HandlerError(
                f"expected facts= of the test among those that the filter declares ({declared}), got "
                f"{name!r}"
            )
    values = {name: _as_fact(name, value) for name, value in given.items()}
    return {"facts": evolve(known, given=values)} if known.names else {}


def _as_fact(name: str, value: Any) -> Any:
    """A fact as a handler reads it, from how a test may write it."""
    if name in ("client", "origin_client") and isinstance(value, str):
        address = as_ip(value)
        if address is None:
            raise HandlerError(f"expected {name} as an IP address or a Client, got {value!r}")
        return Client(address)
    if name == "recipients":
        return tuple(Recipient(one) if isinstance(one, str) else one for one in value)
    return value


def _known(answers: Mapping[str, Any]) -> Any:
    """The answers that handlers may read; `HandlerError` for what is no answer."""
    known: dict[str, Outcome] = {}
    for key, value in check_mapping("answers= by the keys of questions", answers).items():
        known[check_key(key)] = outcome = as_answer(value)
        if isinstance(outcome, Failed) and outcome is not value:
            raise HandlerError(f"{outcome.error}; it is given in answers= under {key!r}")
    return small_map(known)


def at_time(ctx: Context, when: datetime | float) -> Context:
    """The same context at another time, which `demyjpy.now` returns.

    ``when``: a `datetime.datetime` with a time zone, or seconds since 1970.
    """
    macros = ctx["macros"]
    return ctx.set("macros", macros.at(Moment(macros.moment.session, wall_of(when))))

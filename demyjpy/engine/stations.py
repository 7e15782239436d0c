"""Who handles what on a connection: the table from command letters to handlers.

Made once, when a connection has been negotiated, and then only read.
"""

from typing import Final

from attrs import evolve

from demyjpy import events as ev
from demyjpy.actions import Negotiate
from demyjpy.codec import EVENTS
from demyjpy.engine.connection import Station
from demyjpy.errors import LocalProtocolError
from demyjpy.handlers import chain_of, default_event_handler
from demyjpy.registry import Handler, Registry
from demyjpy.wire.codes import Command

OPTNEG: Final = int(Command.OPTNEG)
MACRO: Final = int(Command.MACRO)
QUIT_NC: Final = int(Command.QUIT_NC)

DISCONNECT: Final = 0
"""Stands for the end of a connection, which has no letter."""


def opening_stations(registry: Registry) -> dict[int, Station]:
    """Before the negotiation: the negotiation itself, and the end."""
    return registry.once(
        ("opening",),
        lambda: {letter: _station(registry, letter, replies=False) for letter in (OPTNEG, DISCONNECT)},
    )


def agreed_stations(registry: Registry, reply: Negotiate, *, observed: bool) -> dict[int, Station]:
    """After it. Where a session is ``observed``, macros take the long way, too."""
    stations = {
        letter: _station(registry, letter, replies=row.replies and not reply.protocol & row.quiet)
        for letter, row in EVENTS.items()
    }
    if observed and not stations[MACRO].chain:
        chain = ((0, Handler("define_macros", default_event_handler)),)
        stations[MACRO] = evolve(stations[MACRO], chain=chain)
    return {**stations, DISCONNECT: _station(registry, DISCONNECT, replies=False)}


def negotiates_by_default(stations: dict[int, Station]) -> bool:
    """Whether an offer is answered by the library alone."""
    return all(handler.function is default_event_handler for _, handler in stations[OPTNEG].chain)


def _station(registry: Registry, letter: int, *, replies: bool) -> Station:
    """Who handles an event."""
    if letter == DISCONNECT:
        return Station(letter, "disconnect", _undecodable, chain_of(registry, "disconnect"), False)
    row = EVENTS[letter]
    chain = chain_of(registry, "quit" if letter == QUIT_NC else row.name)
    takes_default = letter == OPTNEG or (letter == MACRO and chain)
    if takes_default and len(chain) < max(1, len(registry.parts)):
        # a filter that does not override it relies on the default
        chain = ((0, Handler(row.name, default_event_handler)), *chain)
    return Station(letter, row.name, row.decode, chain, replies)


def _undecodable(payload: bytes, leading_space: bool) -> ev.Event:
    raise LocalProtocolError("expected a packet, got the end of a connection")

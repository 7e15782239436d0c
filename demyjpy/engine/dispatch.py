"""Who handles what on a connection: the table from command letters to handlers.

Made once, when a connection has been negotiated, and then only read.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from demyjpy import events as ev
from demyjpy.actions import Negotiate
from demyjpy.codec import EVENTS
from demyjpy.engine.letters import (
    ABORT,
    CONNECT,
    DISCONNECT,
    HELO,
    MACRO,
    MESSAGE,
    OPTNEG,
    QUIT_NC,
)
from demyjpy.errors import LocalProtocolError
from demyjpy.handlers import chain_of, default_event_handler
from demyjpy.registry import Handler, Registry
from demyjpy.verdicts import LEGAL

Chain: TypeAlias = tuple[tuple[int, Handler[Any]], ...]
"""Handlers in the order in which they run, each with the number of its filter."""

Look: TypeAlias = Callable[[int, Handler[Any]], Handler[Any]]
"""A handler of the filter of that number as the engine calls it."""

ANSWERED: Final = frozenset([MESSAGE, *(letter for letter, row in EVENTS.items() if row.name in LEGAL)])
"""Letters of the events that a filter may answer."""

OF_CONNECTION: Final = frozenset({CONNECT, HELO})
"""Letters of the events whose verdicts hold for the connection (protocol file, section 8.5)."""

OF_DONE: Final = ANSWERED | {ABORT}
"""Letters of the events that a filter no longer gets once it has accepted."""


@frozen
class Dispatch:
    """One command on one connection: its event, who handles it, and whether an answer is due."""

    letter: int
    name: str
    decode: Callable[[bytes, bool], ev.Event]
    chain: Chain
    replies: bool


Table: TypeAlias = dict[int, Dispatch]
"""By command letter."""


_SYNTHETIC: Final = {DISCONNECT: "disconnect", MESSAGE: "message"}
"""By what stands for their letters: the events that no packet says."""


def opening_table(registry: Registry) -> Table:
    """Before the negotiation: the negotiation itself, and the end."""
    return {letter: _dispatch(registry, letter, replies=False) for letter in (OPTNEG, DISCONNECT)}


def agreed_table(
    registry: Registry, reply: Negotiate, *, observed: bool, look: Look = lambda number, handler: handler
) -> Table:
    """After it. If a session is ``observed``, macros are handled by handlers, too.

    ``look`` gives the handler as it is called, of a filter of that number.
    """
    table = {
        letter: _dispatch(
            registry, letter, replies=row.replies and not reply.protocol & row.quiet, observed=observed
        )
        for letter, row in EVENTS.items()
    }
    table[DISCONNECT] = _dispatch(registry, DISCONNECT, replies=False)
    table[MESSAGE] = _dispatch(registry, MESSAGE, replies=True)
    return {letter: _looked_at(dispatch, look) for letter, dispatch in table.items()}


def _looked_at(dispatch: Dispatch, look: Look) -> Dispatch:
    return evolve(
        dispatch, chain=tuple((number, look(number, handler)) for number, handler in dispatch.chain)
    )


def negotiates_by_default(table: Table) -> bool:
    """Whether an offer is answered by the library alone."""
    return all(handler.function is default_event_handler for _, handler in table[OPTNEG].chain)


def _dispatch(registry: Registry, letter: int, *, replies: bool, observed: bool = False) -> Dispatch:
    if letter in _SYNTHETIC:
        name = _SYNTHETIC[letter]
        return Dispatch(letter, name, _undecodable, chain_of(registry, name), replies)
    row = EVENTS[letter]
    chain = chain_of(registry, "quit" if letter == QUIT_NC else row.name)
    takes_default = letter == OPTNEG or (letter == MACRO and (chain or observed))
    if takes_default and len(chain) < max(1, len(registry.parts)):
        # a filter that does not override it relies on the default
        chain = ((0, Handler(row.name, default_event_handler)), *chain)
    return Dispatch(letter, row.name, row.decode, chain, replies)


def _undecodable(payload: bytes, leading_space: bool) -> ev.Event:
    raise LocalProtocolError("expected a packet, got what the engine makes itself")

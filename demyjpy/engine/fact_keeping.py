"""What the engine keeps for the facts that filters read (`demyjpy.facts`), event by event.

It lies in the context, under the key ``facts``, which is there only if a filter has declared some: so it
ends with the message as the context does. What each filter may read is for `demyjpy.engine.filter_view`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from demyjpy.context import Context
from demyjpy.engine.letters import CONNECT, EOH, HEADER, HELO, MAIL, RCPT
from demyjpy.events import Header
from demyjpy.known_facts import LISTENERS, KnownFacts, Network
from demyjpy.message import Field
from demyjpy.registry import Registry

Keep: TypeAlias = Callable[[Context, Any], Context]
"""The context after an event, of which something may be kept in it."""

_NAMES: Final = {
    CONNECT: "connect",
    HELO: "hello",
    MAIL: "mail",
    RCPT: "recipient",
    HEADER: "header",
    EOH: "end_of_headers",
}


def facts_of(registry: Registry) -> frozenset[str]:
    """The facts that some filter of it has declared."""
    return frozenset[str]().union(*[part.declarations.facts for part in registry.parts])


def first_facts(registry: Registry, relays: Iterable[Network]) -> KnownFacts | None:
    """What a connection begins with; None if no filter has declared a fact."""
    names = facts_of(registry)
    return KnownFacts(names, tuple(relays)) if names else None


def keepers_of(names: frozenset[str]) -> Mapping[int, Keep]:
    """By letter of a command: what is kept of its event for these facts.

    A recipient is kept when it stands, all else before the handlers of its event run.
    """
    return {
        letter: _keeper(listen)
        for letter, name in _NAMES.items()
        for wanted, listen in (LISTENERS[name],)
        if wanted & names
    }


def shown_again(ctx: Context, event: Any, fields: Sequence[Field], index: int) -> Context:
    """The context for a filter that gets a message at its end, as the filters before it made it.

    ``event`` is the one of that ``index`` of its kind, ``fields`` are those of the header. What can be
    read from these is read anew.
    """
    known: KnownFacts = ctx["facts"]  # of several filters none can have spoilt it
    if isinstance(event, Header):
        after = (known if index else known.before_header()).with_header(event)
    elif index:
        return ctx
    else:
        after = known.with_fields((one.name, one.raw) for one in fields)
    return ctx if after is known else ctx.set("facts", after)


def _keeper(listen: Callable[[KnownFacts, Any], KnownFacts]) -> Keep:
    def keep(ctx: Context, event: Any) -> Context:
        known = ctx.get("facts")
        if not isinstance(known, KnownFacts):
            return ctx  # a handler has spoilt it
        after = listen(known, event)
        return ctx if after is known else ctx.set("facts", after)

    return keep

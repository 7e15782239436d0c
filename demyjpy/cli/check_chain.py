"""What `demyjpy check` reports of merged filters: who needs which action, and who waits for whom."""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from demyjpy.codec import EVENTS
from demyjpy.declarations import BODY_EDITS, HEADER_EDITS
from demyjpy.engine.letters import BODY, MESSAGE
from demyjpy.engine.members import CONTENT, Members, members_of
from demyjpy.merging import watched_for_edits, watched_for_facts, watched_for_messages
from demyjpy.registry import Registry

_ALL: Final = frozenset[str]()
_EDITS: Final = {BODY: BODY_EDITS, MESSAGE: HEADER_EDITS | BODY_EDITS}


@frozen
class Wait:
    """An event for which a filter waits until others have ended the message.

    ``filters`` are those that may edit what it is about, each with the actions that let it. They are
    none if the event comes after another one for which the filter waits.
    """

    event: str
    filters: tuple[tuple[str, tuple[str, ...]], ...]


@frozen
class Link:
    """One filter of a chain: its number from 1, its name, what it may do, and for what it waits."""

    filter: int
    name: str
    actions: tuple[str, ...]
    optional_actions: tuple[str, ...]
    waits: tuple[Wait, ...]


def links_of(registry: Registry) -> tuple[Link, ...]:
    """The filters of a chain in their order, if all that they ask for is granted; none if it is one."""
    declared = _ALL.union(*(part.actions | part.optional_actions for part in registry.parts))
    members = members_of(registry, declared)
    if members is None or len(members.filters) == 1:
        return ()
    waits = members.waits(frozenset())
    return tuple(
        Link(
            number + 1,
            members.filters[number].name,
            tuple(sorted(part.actions)),
            tuple(sorted(part.optional_actions)),
            tuple(
                _wait(members, number, letter)
                for letter in (*CONTENT, MESSAGE)
                if letter in waits.get(number, ())
            ),
        )
        for number, part in enumerate(registry.parts)
    )


def _wait(members: Members, number: int, letter: int) -> Wait:
    edits = _EDITS.get(letter, HEADER_EDITS)
    editors = [
        (one.name, tuple(sorted(one.actions & edits)))
        for one in members.filters[:number]
        if one.actions & edits
    ]
    return Wait("message" if letter == MESSAGE else EVENTS[letter].name, tuple(editors))


def asked_for_edits(registry: Registry) -> tuple[str, ...]:
    """The events that are asked for only because several filters may edit."""
    return _only_asked_for(watched_for_edits(registry), registry)


def asked_for_messages(registry: Registry) -> tuple[str, ...]:
    """The events that are asked for only because message handlers get whole messages."""
    return _only_asked_for(watched_for_messages(registry), registry)


def asked_for_facts(registry: Registry) -> tuple[str, ...]:
    """The events that are asked for only because filters read facts."""
    return _only_asked_for(watched_for_facts(registry), registry)


def _only_asked_for(wanted: frozenset[str], registry: Registry) -> tuple[str, ...]:
    left = wanted - frozenset(registry)
    return tuple(row.name for row in EVENTS.values() if row.name in left)


def chain_lines(links: tuple[Link, ...], watched: tuple[str, ...]) -> Iterator[str]:
    """The chain for people."""
    for link in links:
        optional = f" (optional: {' '.join(link.optional_actions)})" if link.optional_actions else ""
        yield f"  #{link.filter} {link.name}: {' '.join(link.actions) or 'no edits'}{optional}"
        for wait in link.waits:
            yield f"    {wait.event}: waits for the end of {_reason(wait)}"
    if watched:
        yield f"  asked for, as several filters may edit: {' '.join(watched)}"


def _reason(wait: Wait) -> str:
    if not wait.filters:
        return "those before it, because it comes after an event that waits"
    return ", ".join(f"{name}, which may use {' and '.join(how)}" for name, how in wait.filters)

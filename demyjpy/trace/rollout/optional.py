"""What a shadow and a canary have in common: registries made of others, whose demands never refuse.

A candidate's events and actions are optional here: where an MTA lacks them, the live filter is served
all the same.
"""

from attrs import evolve

from demyjpy.registry import Declarations


def as_optional(declared: Declarations, events: frozenset[str]) -> Declarations:
    """The same wants, none of them required."""
    return evolve(
        declared,
        actions=(),
        optional_actions=declared.actions | declared.optional_actions,
        optional_events=events,
    )

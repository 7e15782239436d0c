"""What a filter declares besides its handlers, checked when it is declared."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import field, frozen

from demyjpy import hints
from demyjpy.context import check_mapping, check_state
from demyjpy.engine.negotiation import ACTION_FLAGS, DEFAULT_MACROS, EVENT_NAMES, MACRO_EVENTS
from demyjpy.errors import HandlerError, describe
from demyjpy.filter_policy import NO_POLICY, Policy
from demyjpy.known_facts import SOURCES
from demyjpy.wire.codes import MACROS_PER_STAGE
from demyjpy.wire.fields import spell_macro

_LONGEST_NAME: Final = 64
_OTHER_NAMES: Final = {
    "actions": hints.ACTIONS,
    "events in macros=": hints.EVENTS,
    "optional events": hints.EVENTS,
}

HEADER_EDITS: Final = frozenset({"add_header", "change_header"})
"""The actions that edit the header."""
BODY_EDITS: Final = frozenset({"change_body"})
"""Those that edit the body."""
RECIPIENT_EDITS: Final = frozenset({"add_recipient", "add_recipient_par", "delete_recipient"})
"""Those that edit the recipients."""
ANY_EDITS: Final = HEADER_EDITS | BODY_EDITS | RECIPIENT_EDITS | {"change_sender", "quarantine"}
"""All actions that edit a message."""

_ENVELOPE: Final = frozenset({"add_recipient", "delete_recipient", "change_sender"})

EDITS: Final = {
    "headers": HEADER_EDITS,
    "body": BODY_EDITS,
    "envelope": _ENVELOPE,
    "all": HEADER_EDITS | BODY_EDITS | _ENVELOPE | {"quarantine"},
}
"""What ``edits=`` may say, and the actions that it declares."""


def actions_of(edits: str | None) -> frozenset[str]:
    """The actions that ``edits=`` declares; none for None."""
    if edits is None:
        return frozenset()
    if not isinstance(edits, str) or edits not in EDITS:
        got = repr(edits) if isinstance(edits, str) else describe(edits)
        hint = (
            ": for several kinds name one in edits= and the actions of the others in actions=, as in "
            'edits="headers", actions={"change_body"}'
        )
        raise HandlerError(
            f"expected edits= as one of {', '.join(EDITS)}, got {got}"
            + ("" if isinstance(edits, str) else hint)
        )
    return EDITS[edits]


def check_name(what: str, name: Any) -> str:
    """The name of a filter: a short text on one line; anything else raises `HandlerError`."""
    if not isinstance(name, str):
        raise HandlerError(f"expected {what} as a text, got {describe(name)}")
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise HandlerError(
            f"expected {what} as 1 to {_LONGEST_NAME} printable characters, got {name[:_LONGEST_NAME]!r}"
        )
    return name


def _names(kind: str, given: Iterable[str], known: Iterable[str]) -> frozenset[str]:
    names, known = _items(f"a set of names as {kind}", given), tuple(known)
    unknown = sorted(str(name) for name in names if name not in known)
    if unknown:
        kinds = [name for name in unknown if kind == "actions" and name in EDITS]
        hint = f": a kind of edits is declared by edits={kinds[0]!r}" if kinds else ""
        hint = hint or hints.did_you_mean(unknown[0], known, _OTHER_NAMES.get(kind))
        raise HandlerError(f"expected {kind} among {', '.join(known)}; got {', '.join(unknown)}{hint}")
    return frozenset(names)


def _items(expected: str, given: Any) -> tuple[Any, ...]:
    """What is in a collection; a string is none."""
    if isinstance(given, str):
        raise HandlerError(f"expected {expected}, got the string {given!r}")
    if not isinstance(given, Iterable):
        raise HandlerError(f"expected {expected}, got {given!r:.200}")
    return tuple(given)


def _macro_names(macros: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    _names("events in macros=", check_mapping("macros", macros), MACRO_EVENTS)
    spelled = {}
    for event, given in macros.items():
        names = _items(f"a tuple of macro names for {event!r}", given)
        for name in names:
            if not isinstance(name, str) or not re.fullmatch(
                r"\{[^\s,{}\0-\x1f]+\}|[^\s,{}\0-\x1f]+", name
            ):
                raise HandlerError(f"expected a macro name such as i or {{auth_type}}, got {name!r}")
        spelled[event] = tuple(dict.fromkeys(map(spell_macro, names)))
        if len(spelled[event]) > MACROS_PER_STAGE:
            raise HandlerError(
                f"expected at most {MACROS_PER_STAGE} macros for {event!r}, as Sendmail does, "
                f"got {len(spelled[event])}"
            )
    return spelled


def _actions(names: Iterable[str]) -> frozenset[str]:
    return _names("actions", names, ACTION_FLAGS)


def _events(names: Iterable[str]) -> frozenset[str]:
    return _names("optional events", names, EVENT_NAMES)


def _name(name: str | None) -> str | None:
    return None if name is None else check_name("name=", name)


def _after(names: Iterable[str]) -> frozenset[str]:
    given = _items("a set of names of filters as after", names)
    return frozenset([check_name("a name in after=", name) for name in given])


def _facts(names: Iterable[str]) -> frozenset[str]:
    return _names("facts", names, SOURCES)


def _performers(asks: Mapping[type, Callable[..., Any]]) -> dict[type, Callable[..., Any]]:
    for kind, performer in check_mapping("asks=", asks).items():
        if not isinstance(kind, type) or not callable(performer):
            raise HandlerError(
                "expected asks= as a map from classes of questions to functions (question, resources), "
                f"got {describe(kind)}: {describe(performer)}"
            )
    return dict(asks)


def _jobs(every: Mapping[float, Any]) -> dict[float, Any]:
    for seconds, job in check_mapping("every=", every).items():
        is_time = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_time or not (0 < seconds < math.inf):
            raise HandlerError(f"expected every= as a map from seconds to jobs, got {seconds!r:.50}")
        if isinstance(job, type) or not callable(getattr(job, "perform", None)):
            raise HandlerError(
                "expected a job in every=, an instance of a class with perform(self, resources), got "
                f"{describe(job)}"
            )
    return {float(seconds): job for seconds, job in every.items()}


EFFECT_KEY: Final = "effect_key"
"""Under which name performers of effects get the key of the effect, beside the resources."""


def _resources(resources: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    for name, make in check_mapping("resources=", resources).items():
        if check_name("the name of a resource", name) == EFFECT_KEY:
            raise HandlerError(f"expected another name for a resource, got {name!r}: effects have it")
        if not callable(make):
            raise HandlerError(
                f"expected under {name!r} in resources= a function of the settings that returns a "
                f"context manager, got {describe(make)}"
            )
    return dict(resources)


CONDITION: Final = "only_if "
"""What the key begins with under which `only_if` keeps whether a filter was chosen."""


@frozen(eq=False)
class Corner:
    """A corner of the context that filters work in. Two that have the same name are not the same."""

    name: str


@frozen
class Declarations:
    """What a filter declares besides its handlers, checked.

    ``corners`` are those that it works in, from the outermost: ``state`` holds a map for each of them.
    ``facts`` are those that it reads; ``asks`` says who answers its questions, by class; ``every`` are
    its jobs by their period in seconds; ``resources``: what performers get, by name.
    ``alternative``: filters with different ones are never asked about the same message, as those of a
    canary. Empty for a filter that is asked about each. ``policy``: see `with_policy`.
    """

    actions: frozenset[str] = field(default=(), converter=_actions)
    optional_actions: frozenset[str] = field(default=(), converter=_actions)
    optional_events: frozenset[str] = field(default=(), converter=_events)
    macros: Mapping[str, tuple[str, ...]] = field(factory=dict, converter=_macro_names)
    state: Mapping[str, Any] = field(factory=dict, converter=check_state)
    name: str | None = field(default=None, converter=_name)
    after: frozenset[str] = field(default=(), converter=_after)
    corners: tuple[Corner, ...] = ()
    alternative: str = ""
    facts: frozenset[str] = field(default=(), converter=_facts)
    asks: Mapping[type, Callable[..., Any]] = field(factory=dict, converter=_performers)
    every: Mapping[float, Any] = field(factory=dict, converter=_jobs)
    resources: Mapping[str, Callable[..., Any]] = field(factory=dict, converter=_resources)
    policy: Policy = NO_POLICY
    asked_macros: Mapping[str, tuple[str, ...]] = field(init=False, eq=False, repr=False)

    @asked_macros.default
    def _with_those_of_facts(self) -> dict[str, tuple[str, ...]]:
        """The macros that are asked for, by event: its own, and those that its facts are read from.

        A list replaces that of the MTA. So if the filter itself asks for none at an event, the MTA's
        own are in it.
        """
        asked = {event: tuple(names) for event, names in self.macros.items()}
        for fact in sorted(self.facts):
            for event, names in SOURCES[fact].macros.items():
                known = asked.get(event, DEFAULT_MACROS[event])
                asked[event] = tuple(dict.fromkeys((*known, *names)))
                if len(asked[event]) > MACROS_PER_STAGE:
                    raise HandlerError(
                        f"expected at most {MACROS_PER_STAGE} macros for {event!r} with those that the "
                        f"fact {fact!r} needs, got {len(asked[event])}: ask for fewer in macros="
                    )
        return asked

"""Filters that do anything: what Hypothesis chooses, as handlers that write down what they saw.

What a handler does depends on its event and on the context of its filter alone, so that the same
session means the same whenever it is played again. Each filter keeps its notes under a key of its own.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any
from zlib import crc32

from attrs import define, evolve, field, frozen
from hypothesis import strategies as st
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.conditions import only_if
from demyjpy.context import ENGINE_KEYS, Context, get_macro, remember, send_action
from demyjpy.engine.macros import Macros
from demyjpy.facts import facts, recipients
from demyjpy.findings import find
from demyjpy.handlers import default_event_handler, define_event_handlers, scoped
from demyjpy.known_facts import KnownFacts
from demyjpy.message import Message
from demyjpy.policies import with_policy
from demyjpy.registry import QUIETABLE, Registry
from demyjpy.wishes import become

MESSAGE_EVENTS = ("mail", "recipient", "data", "header", "end_of_headers", "body", "end_of_message")
CONNECTION_EVENTS = ("connect", "hello", "unknown")
UNANSWERED = ("abort", "quit", "disconnect")
OVERRIDES = ("options", "define_macros")
FACTS = (
    frozenset[str](),
    frozenset[str](),
    frozenset({"sender", "recipients"}),
    frozenset({"client", "helo", "sender", "recipients", "user", "origin", "origin_client"}),
)
"""Sets of facts that filters declare."""
MACROS = ("i", "j", "auth_authen", "rcpt_mailer", "x")
GRANTED = frozenset(
    {"add_header", "change_body", "add_recipient", "add_recipient_par", "delete_recipient", "quarantine"}
)


class FailureError(Exception):
    """What a handler raises here."""


class OddAccept(act.Accept):
    """A user's own class of action."""


def _raise(error: type[BaseException]) -> Any:
    raise error("handler")


Behaviour = Callable[[Context], Any]
GOOD: dict[str, Behaviour] = {
    "continue": lambda ctx: ctx,
    "say_continue": lambda ctx: send_action(ctx, act.Continue()),
    "note": lambda ctx: ctx.set("note", True),
}
VERDICTS: dict[str, Behaviour] = {
    "accept": lambda ctx: send_action(ctx, act.Accept()),
    "reject": lambda ctx: send_action(ctx, act.Reject()),
    "tempfail": lambda ctx: send_action(ctx, act.TemporaryFailure()),
    "discard": lambda ctx: send_action(ctx, act.Discard()),
    "skip": lambda ctx: send_action(ctx, act.Skip()),
    "reply": lambda ctx: send_action(ctx, act.ReplyCode(550, "5.7.1", "no %")),
    "reply later": lambda ctx: send_action(ctx, act.ReplyCode(451, "4.7.1", ["not", "now"])),
}
EDITS: dict[str, Behaviour] = {
    "add_header": lambda ctx: send_action(ctx, act.AddHeader("X-Note", "1")),
    "replace": lambda ctx: send_action(ctx, act.ReplaceBody(b"one"), act.ReplaceBody(b"two")),
    "edit and reject": lambda ctx: send_action(ctx, act.Quarantine("x"), act.Reject()),
    "recipient": lambda ctx: send_action(ctx, act.AddRecipient("a@b", "NOTIFY=NEVER")),
}
FINDINGS: dict[str, Behaviour] = {
    "find": lambda ctx: find(ctx, "spf", "softfail", score=1.5, domain="d"),
    "find and add": lambda ctx: send_action(find(ctx, "age", 5), act.AddHeader("X-Age", "5")),
    "find and reject": lambda ctx: send_action(find(ctx, "bad", b"1"), act.Reject()),
    "find too much": lambda ctx: reduce(lambda ctx, one: find(ctx, "n", one), range(400), ctx),
}
BAD: dict[str, Behaviour] = {
    "raise": lambda ctx: _raise(FailureError),
    "exit": lambda ctx: _raise(SystemExit),
    "none": lambda ctx: None,
    "number": lambda ctx: 5,
    "dict": lambda ctx: {},
    "queue and raise": lambda ctx: (send_action(ctx, act.Reject()), _raise(FailureError)),
    "not granted": lambda ctx: send_action(ctx, act.ChangeSender("x")),
    "two verdicts": lambda ctx: send_action(ctx, act.Reject(), act.Accept()),
    "no action": lambda ctx: send_action(ctx, "reject"),
    "progress": lambda ctx: send_action(ctx, act.Progress()),
    "negotiate": lambda ctx: send_action(ctx, act.Negotiate(6, 0, 0)),
    "odd action": lambda ctx: send_action(ctx, OddAccept()),
}
SABOTAGE: dict[str, Behaviour] = {
    "empty map": lambda ctx: pmap(),
    "only a queue": lambda ctx: pmap({"queue": ()}),
    "queue of junk": lambda ctx: ctx.set("queue", 5),
    "no macros": lambda ctx: ctx.remove("macros"),
    "no connection": lambda ctx: ctx.remove("connection"),
    "junk connection": lambda ctx: ctx.set("connection", 5),
    "junk macros": lambda ctx: ctx.set("macros", ["i"]),
    "junk events": lambda ctx: ctx.set("events", None),
    "junk handlers": lambda ctx: ctx.set("handlers", 5),
    "huge": lambda ctx: send_action(ctx, *[act.AddRecipient("a@b", f"X={'x' * 60_000}")] * 2),
    "remember": lambda ctx: remember(ctx, {"more": 1}),
}
BEHAVIOURS = {**GOOD, **VERDICTS, **EDITS, **FINDINGS, **BAD, **SABOTAGE}
WISHES: dict[str, Callable[[Message], Any]] = {
    "become it": lambda message: message,
    "become more": lambda message: message.add("X-Wish", "1").with_body(b"wish"),
    "become less": lambda message: message.without("*"),
    "become another": lambda message: Message.of([("X", " 1"), ("Y", " 2")], b"x"),
    "become nothing": lambda message: None,
}
"""What a filter wishes for; without a message it continues, or says `become` with an empty one."""


@frozen
class Seen:
    """One call of a handler: which filter's, with what, and what it saw of the context."""

    number: int
    event: Any
    view: Any

    @property
    def name(self) -> str:
        """The event's class."""
        return type(self.event).__name__


@define
class Notebook:
    """What the handlers of one session saw, in order."""

    calls: list[Seen] = field(factory=list)

    def of(self, *names: str) -> list[Seen]:
        """The calls with these classes of event."""
        return [one for one in self.calls if one.name in names]


@frozen
class AnyFilter:
    """A filter as Hypothesis chose it: event name to options and to what it does."""

    handlers: dict[str, tuple[tuple[str, ...], bool]]
    """Behaviours by name, and whether the handler is an observer."""
    number: int = 0
    kind: str = ""
    """One of `KINDS`: what stands around it."""
    got: dict[int, Message] = field(factory=dict, repr=False, eq=False)
    """The last message that it got as a value."""
    facts: frozenset[str] = frozenset()
    """Those that it reads at each event."""

    def registry(self, notebook: Notebook) -> Registry:
        """The filter, writing into this notebook."""
        registry = define_event_handlers(
            optional_actions=GRANTED,
            optional_events=(*QUIETABLE,),
            name=f"filter {self.number}" if self.kind else None,
            facts=self.facts,
        )
        for name, (script, quiet) in self.handlers.items():
            options = {"reply": False} if quiet and name in QUIETABLE else {}
            if name == "recipient":
                options["rejected"] = len(script) > 2
            registry.add(name, self._handler(name, script, notebook), **options)
        if self.kind == "scoped":
            return scoped(f"corner {self.number}", registry)
        if self.kind in POLICIES:
            return with_policy(registry, **POLICIES[self.kind])
        return only_if(choose, registry) if self.kind == "only_if" else registry

    def _handler(self, name: str, script: tuple[str, ...], notebook: Notebook) -> Any:
        key = f"path of {self.number}"
        got = self.got

        def handle(event: Any, ctx: Context) -> Any:
            view = (*look(ctx), facts_seen(ctx, self.facts)) if self.facts else look(ctx)
            if isinstance(event, Message):
                got[self.number] = event
                event = evolve(event, content=event.body)  # as it is now
            notebook.calls.append(Seen(self.number, event, view))
            behaviour = script[crc32(repr((event, ctx.get(key))).encode(errors="replace")) % len(script)]
            if name in OVERRIDES:
                ctx = default_event_handler(event, ctx)
            elif name in MESSAGE_EVENTS:
                ctx = ctx.set(key, (*ctx.get(key, ()), name))
            elif name in ("connect", "hello"):
                ctx = ctx.set(f"{name} of {self.number}", repr(event))
            if name == "unknown" and behaviour == "note":
                return ctx  # between messages it would stay, and rightly so
            if behaviour in WISHES:
                return become(ctx, WISHES[behaviour](got.get(self.number, Message())))
            return BEHAVIOURS[behaviour](ctx)

        handle.__qualname__ = name
        return handle


def answer_failure(error: Exception, event: Any, ctx: Context) -> Context:
    """A policy that is a function, and may itself do what is not allowed."""
    names = ("continue", "reject", "edit and reject", "raise", "accept", "add_header")
    return BEHAVIOURS[names[crc32(f"{type(event)} {type(error)}".encode()) % len(names)]](ctx)


POLICIES: dict[str, dict[str, Any]] = {
    "tried": {"enforce": False, "on_error": answer_failure},
    "own policy": {"on_error": answer_failure},
}
KINDS = ("", "named", "scoped", "only_if", *POLICIES)


def choose(event: Any, ctx: Context) -> bool | None:
    """Whether a filter is for this mail: up to chance, and the same each time."""
    return (True, False, None)[crc32(repr(event).encode(errors="replace")) % 3]


def look(ctx: Context) -> Any:
    """What a handler can see in a context: the user's keys, the macros, what was remembered."""
    own = {key: value for key, value in ctx.items() if key not in ENGINE_KEYS}
    return own, {name: get_macro(ctx, name) for name in MACROS}, ctx.get("connection"), ctx["queue"]


def facts_seen(ctx: Context, names: Iterable[str]) -> dict[str, Any]:
    """The facts of these names as a handler reads them; of a spoilt context nothing."""
    if not all(isinstance(ctx.get(key), kind) for key, kind in _UNSPOILT.items()):
        return {}
    found = facts(ctx)
    return {
        name: tuple(recipients(ctx)) if name == "recipients" else getattr(found, name)
        for name in sorted(names)
    }


_UNSPOILT = {"macros": Macros, "facts": KnownFacts}


def scripts(names: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[tuple[str, ...], bool]]:
    """What one handler does."""
    return st.tuples(st.lists(names, min_size=1, max_size=3).map(tuple), st.booleans())


def filters_of(
    *kinds: dict[str, Any], events: tuple[str, ...] = (*CONNECTION_EVENTS, *MESSAGE_EVENTS)
) -> st.SearchStrategy[AnyFilter]:
    """Filters whose handlers do these things."""
    names = st.sampled_from(["continue", "note", *(name for kind in kinds for name in kind)])
    quiet = scripts(st.sampled_from(["continue", "raise", "none"]))
    return st.builds(
        lambda answered, others, facts: AnyFilter({**answered, **others}, facts=facts),
        st.dictionaries(st.sampled_from(events), scripts(names), max_size=len(events)),
        st.dictionaries(st.sampled_from(UNANSWERED), quiet, max_size=3),
        st.sampled_from(FACTS),
    )


any_filters = st.one_of(
    filters_of(GOOD, VERDICTS, EDITS),
    filters_of(GOOD, VERDICTS, EDITS, BAD, SABOTAGE),
    filters_of(GOOD, VERDICTS, EDITS, WISHES, BAD, events=(*MESSAGE_EVENTS, "message")),
    filters_of(GOOD, VERDICTS, BAD, events=(*CONNECTION_EVENTS, *MESSAGE_EVENTS, *OVERRIDES)),
)
"""Filters that do anything, good and bad."""


def several(filters: st.SearchStrategy[AnyFilter]) -> st.SearchStrategy[list[AnyFilter]]:
    """From one filter to three."""
    return st.lists(filters, min_size=1, max_size=3).map(
        lambda found: [evolve(one, number=number) for number, one in enumerate(found)]
    )


def chains(filters: st.SearchStrategy[AnyFilter]) -> st.SearchStrategy[list[AnyFilter]]:
    """Two or three filters in a row, with names or without, in corners, or for some mail only."""
    kinds = st.lists(st.sampled_from(KINDS), min_size=3, max_size=3)
    found = st.lists(filters, min_size=2, max_size=3)
    return st.builds(
        lambda found, kinds: [
            evolve(one, number=number, kind=kinds[number]) for number, one in enumerate(found)
        ],
        found,
        kinds,
    )


finding_chains = st.one_of(
    chains(filters_of(GOOD, EDITS, FINDINGS, events=MESSAGE_EVENTS)),
    chains(filters_of(GOOD, VERDICTS, EDITS, FINDINGS, BAD)),
)
"""Filters in a row that edit, wait for one another, find things, and refuse."""

several_filters = several(any_filters)
tidy_filters = several(filters_of(GOOD, VERDICTS, EDITS, BAD))
"""Filters that may fail, but put nothing into the context that outlives a message by right."""

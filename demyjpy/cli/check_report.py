"""What a filter will ask of the MTA, and what is wrong with it: `demyjpy check`.

`examine` calls ``on_connect``, as a new connection does, and looks at what it gives; no handler runs.
"""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from typing import Any, Final

from attrs import asdict, frozen
from pyrsistent import PMap

from demyjpy.cli.check_chain import (
    Link,
    asked_for_edits,
    asked_for_facts,
    asked_for_messages,
    chain_lines,
    links_of,
)
from demyjpy.cli.check_dropped import dropped_in
from demyjpy.cli.check_questions import (
    PerformerEntry,
    QuestionEntry,
    performers_of,
    question_rows,
)
from demyjpy.cli.check_settings import SettingEntry, setting_rows, settings_of
from demyjpy.cli.loading import Loaded, LoadError
from demyjpy.cli.places import explain, short_path
from demyjpy.codec import EVENTS, ROW_OF_NAME
from demyjpy.context import ENGINE_KEYS, Context, new_context
from demyjpy.engine.negotiation import Wants, macro_lists
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.errors import HandlerError
from demyjpy.handler_functions import name_of_function
from demyjpy.handlers import as_registry, chain_of, wants_of, with_handlers
from demyjpy.policies import check_timeouts
from demyjpy.registry import Handler, Registry
from demyjpy.settings.signatures import advice_for

SENDMAIL_REPLY_TIME: Final = 10.0
"""Seconds that Sendmail waits for a sign of life, unless ``T=R:`` says otherwise."""

_NOT_IN_POSTFIX: Final = frozenset({"{if_name}", "{if_addr}", "{auth_ssf}", "{msg_id}"})
_AFTER_ENVELOPE: Final = frozenset({"end_of_headers", "end_of_message"})
_NOT_AFTER_ENVELOPE: Final = ("{mail_", "{rcpt_", "{tls_", "{cipher", "{cert_")
_WITH_PROGRESS: Final = ("message", "end_of_message")
_NO_SMTP: Final = ("quit", "disconnect", "options", "define_macros", "abort")


@frozen
class Entry:
    """One handler: where it is, and how it is called.

    ``filter`` counts the filters of a merged registry from 1. ``reply`` is None for an event that is
    never answered. ``file`` is empty if it is not known. ``progress`` is in seconds,
    None if no sign of life is given while it runs. ``limit`` is the largest message that a message
    handler gets whole, in bytes, and ``beyond`` what becomes of a larger one; both are None for others.
    ``needs`` are the keys of questions for whose answers it waits; ``asking`` is the function that says
    what is asked before it is called, and ``within`` the seconds for that, both None for others.
    """

    event: str
    filter: int
    function: str
    file: str
    line: int
    reply: bool | None
    is_async: bool
    blocking: bool
    rejected: bool
    progress: float | None
    limit: int | None = None
    beyond: str | None = None
    needs: tuple[str, ...] = ()
    asking: str | None = None
    within: float | None = None


@frozen
class Report:
    """All that there is to say about a filter; ``problems`` are wrong, ``notes`` worth to know.

    ``untried`` says what ``--play`` could not try.

    ``macros`` are those asked for by event as declared, ``macro_lists`` as they are sent. ``chain`` are
    the filters of a merged one, ``asked_for_edits`` the events that only the edits of several need,
    ``asked_for_messages`` and ``asked_for_facts`` those that only message handlers and facts need.
    ``performers`` are those that filters declare for their questions, ``questions`` those that were
    asked in sessions of ``--play``.
    ``settings`` are those that functions of settings were called with.
    """

    filter: str
    kind: str
    filters: int
    handlers: tuple[Entry, ...]
    switched_off: tuple[str, ...]
    optional_events: tuple[str, ...]
    actions: tuple[str, ...]
    optional_actions: tuple[str, ...]
    macros: dict[str, tuple[str, ...]]
    macro_lists: dict[str, tuple[str, ...]]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    untried: tuple[str, ...] = ()
    chain: tuple[Link, ...] = ()
    asked_for_edits: tuple[str, ...] = ()
    asked_for_messages: tuple[str, ...] = ()
    asked_for_facts: tuple[str, ...] = ()
    performers: tuple[PerformerEntry, ...] = ()
    questions: tuple[QuestionEntry, ...] = ()
    settings: tuple[SettingEntry, ...] = ()

    def as_json(self) -> str:
        """The same for programs."""
        return json.dumps(asdict(self), indent=2)


def examine(loaded: Loaded, driver: str) -> Report:
    """Look at a filter as it would run under a driver (``"asyncio"`` or ``"threads"``)."""
    failure = ""
    try:
        ctx = _begun(loaded.on_connect)
        wants, registry = _take(ctx)
        state_notes = tuple(_state_notes(ctx))
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it is the user's function
        advice = advice_for(loaded.on_connect)
        failure = "\n".join(filter(None, (f"on_connect failed: {explain(error)}", advice)))
        wants, registry, state_notes = Wants(), Registry(), ()
    entries, needed = tuple(_entries(registry, driver)), asked_for_messages(registry)
    read = asked_for_facts(registry)
    problems = [failure] if failure else list(_problems(wants, registry, driver))
    return Report(
        loaded.name,
        loaded.kind,
        len(registry.parts),
        entries,
        tuple(row.name for row in EVENTS.values() if row.off and row.name not in wants.events),
        _in_order(wants.optional_events.difference(needed, read)),
        tuple(sorted(wants.actions)),
        tuple(sorted(wants.optional_actions)),
        {event: tuple(names) for event, names in wants.macros.items()},
        _lists(wants),
        tuple(problems),
        (*_notes(loaded, wants, registry, driver), *state_notes),
        chain=links_of(registry),
        asked_for_edits=asked_for_edits(registry),
        asked_for_messages=needed,
        asked_for_facts=read,
        performers=tuple(performers_of(registry)),
        settings=tuple(settings_of(loaded)),
    )


def refuse_problems(loaded: Loaded, driver: str) -> None:
    """`LoadError` for a filter that ``demyjpy check`` finds something wrong with; notes are none."""
    problems = examine(loaded, driver).problems
    if problems:
        raise LoadError(f"expected a filter without problems, got: {'; '.join(problems)}")


def _take(ctx: Any) -> tuple[Wants, Registry]:
    if not isinstance(ctx, PMap):
        raise HandlerError(
            f"expected on_connect to return a context, got {ctx!r:.100}: "
            "return with_handlers(ctx, handlers)"
        )
    registry: Any = ctx["handlers"]
    return wants_of(ctx), registry if isinstance(registry, Registry) else Registry(registry)


def mutable_values(ctx: Context) -> list[str]:
    """The keys under which a context holds lists, dicts, sets and other values that can be changed."""
    own = sorted(ctx.keys() - ENGINE_KEYS)
    return [key for key in own if isinstance(ctx[key], MutableSequence | MutableSet | MutableMapping)]


def _state_notes(ctx: Context) -> Iterator[str]:
    for key in mutable_values(ctx):
        yield (
            f"state: {key!r} is a {type(ctx[key]).__name__}, which all messages share, and all clients "
            "if it stands in state=: a handler that changes it leaks; use a tuple, frozenset or pmap"
        )


def _in_order(events: Iterable[str]) -> tuple[str, ...]:
    """Events in the order of a session."""
    names = [row.name for row in EVENTS.values()]
    return tuple(sorted(events, key=names.index))


def _lists(wants: Wants) -> dict[str, tuple[str, ...]]:
    event_of = {int(row.stage): row.name for row in EVENTS.values() if row.stage is not None}
    by_stage = {event_of[stage]: names for stage, names in macro_lists(wants.macros)}
    return {event: by_stage[event] for event in _in_order(by_stage)}


# ------------------------------------------------------------------------------------- handlers
def _entries(registry: Registry, driver: str) -> Iterator[Entry]:
    """The handlers in the order of a session; those that are no SMTP step come last."""
    order = [row.name for row in EVENTS.values() if row.name not in _NO_SMTP] + [*_NO_SMTP]
    order.insert(order.index("end_of_message"), "message")
    for event in sorted(registry, key=order.index):
        for number, handler in chain_of(registry, event):
            yield _entry(event, number + 1, handler, driver)


def _entry(event: str, number: int, handler: Handler[Any], driver: str) -> Entry:
    row, is_message = ROW_OF_NAME.get(event), event == "message"
    is_answered = is_message or (row is not None and row.replies and event != "options")
    file, line = place_of(handler)
    return Entry(
        event,
        number,
        handler.name,
        file,
        line,
        handler.reply if is_answered else None,
        handler.is_async,
        handler.blocking,
        handler.rejected,
        handler.progress if _is_apart(handler, driver) else None,
        handler.limit if is_message else None,
        handler.beyond if is_message else None,
        tuple(sorted(handler.needs)),
        name_of_function(handler.asking) if handler.asking else None,
        handler.within if handler.asking else None,
    )


def _is_apart(handler: Handler[Any], driver: str) -> bool:
    """Whether signs of life can be given while a handler runs: it must not hold the event loop up."""
    apart = handler.is_async or handler.blocking or driver == "threads"
    return apart and handler.event in _WITH_PROGRESS


def place_of(handler: Handler[Any]) -> tuple[str, int]:
    """File and line of a handler's function; empty if they are not known."""
    function: Any = inspect.unwrap(handler.function)
    function = getattr(function, "func", function)  # functools.partial
    if not hasattr(function, "__code__"):
        function = type(function).__call__  # an object that can be called
    code = getattr(function, "__code__", None)
    return (short_path(code.co_filename), code.co_firstlineno) if code else ("", 0)


# ----------------------------------------------------------------------------- what is wrong with it
def _begun(on_connect: Any) -> Any:
    """The context of a connection that begins; what its filters may take together is not checked yet."""
    if isinstance(on_connect, Mapping):
        return with_handlers(new_context(), as_registry(on_connect))
    return as_on_connect(on_connect)(new_context())


def _problems(wants: Wants, registry: Registry, driver: str) -> Iterator[str]:
    if not registry:
        yield "no handler at all: the filter accepts everything; register some: @handlers.body ..."
    for event, handler in _all_handlers(registry):
        if handler.is_async and driver == "threads":
            yield f"{event}: {handler.name} is async def, which needs --driver asyncio"
    try:
        check_timeouts(registry)
    except HandlerError as error:
        yield str(error)
    edits = sorted((wants.actions | wants.optional_actions) - {"choose_macros"})
    if edits and not any(event in registry for event in _WITH_PROGRESS):
        yield (
            f"{', '.join(edits)}: can never be sent, because only a message handler and an "
            "end_of_message handler may change a message, and there is none of them"
        )


def _notes(loaded: Loaded, wants: Wants, registry: Registry, driver: str) -> Iterator[str]:
    if loaded.kind == "function":
        yield (
            f"{loaded.name} is a function, called for each connection: this is what it gives for a "
            "new one now, and may be something else for the next"
        )
    for event, handler in _all_handlers(registry):
        yield from _handler_notes(event, handler, driver)
    for event in _in_order(wants.optional_events - wants.events):
        yield f"{event} is an optional event, but has no handler: nothing is asked for"
    actions = wants.actions | wants.optional_actions
    if "add_recipient_par" in actions and "add_recipient" not in actions:
        yield (
            "add_recipient_par without add_recipient: recipients can be added with ESMTP parameters only"
        )
    yield from _macro_notes(wants)
    resources = {name: None for leaf in registry.leaves for name in leaf.declarations.resources}
    if resources:
        yield f"resources are not opened: {', '.join(resources)}"


def _all_handlers(registry: Registry) -> Iterator[tuple[str, Handler[Any]]]:
    return ((event, handler) for event in registry for _, handler in chain_of(registry, event))


def _handler_notes(event: str, handler: Handler[Any], driver: str) -> Iterator[str]:
    if handler.blocking and driver == "asyncio":
        yield f"{event}: {handler.name} may block: it runs in one of --blocking-threads"
    if event == "options":
        yield f"options: {handler.name} negotiates; what is said here holds if it calls the default"
    for dropped in dropped_in(handler.function):
        yield f"{event}: {dropped}"
    late = handler.progress is None or handler.progress >= SENDMAIL_REPLY_TIME
    if late and _is_apart(handler, driver):
        yield (
            f"{event}: {handler.name} gives no sign of life within "
            f"{SENDMAIL_REPLY_TIME:g} s, after which Sendmail gives it up (T=R:)"
        )


def _macro_notes(wants: Wants) -> Iterator[str]:
    if wants.macros:
        yield "macros: asked for if the MTA lets filters choose; other MTAs send their usual ones"
    if _AFTER_ENVELOPE & set(wants.macros):
        yield (
            "macros: Sendmail needs a list for both end_of_headers and end_of_message, so what is "
            "asked for at one only is asked for at both"
        )
    for event, names in wants.macros.items():
        if "i" in names and event in ("connect", "hello", "mail", "recipient"):
            yield f"macros: i at {event}: Postfix has no queue id before the second recipient"
        sendmail_only = _NOT_IN_POSTFIX.intersection(names)
        if sendmail_only:
            yield f"macros: {' '.join(sorted(sendmail_only))} at {event}: not in Postfix"
        early = [name for name in names if name.startswith(_NOT_AFTER_ENVELOPE)]
        if event in _AFTER_ENVELOPE and early:
            yield (
                f"macros: {' '.join(early)} at {event}: Postfix has them earlier only; what came "
                "with an earlier event can still be read"
            )


# ------------------------------------------------------------------------------------- to read
def as_text(report: Report) -> str:
    """The report for people."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    merged = f", {report.filters} filters merged" if report.filters > 1 else ""
    yield f"{report.filter} ({report.kind}{merged})"
    yield "\nEvents"
    yield from _table(_row(entry, report.filters > 1) for entry in report.handlers)
    if report.optional_events:
        yield f"  optional: {' '.join(report.optional_events)}"
    if report.asked_for_messages:
        needed = " ".join(report.asked_for_messages)
        yield f"  asked for, as message handlers get whole messages: {needed}"
    if report.asked_for_facts:
        yield f"  asked for, as facts are read: {' '.join(report.asked_for_facts)}"
    yield f"  switched off: {' '.join(report.switched_off) or 'none'}"
    yield "\nActions"
    yield f"  required: {' '.join(report.actions) or 'none'}"
    yield f"  optional: {' '.join(report.optional_actions) or 'none'}"
    if report.chain:
        yield "\nChain"
        yield from chain_lines(report.chain, report.asked_for_edits)
    if report.performers or report.questions:
        yield "\nQuestions"
        yield from _table(question_rows(report.performers, report.questions, report.filters > 1))
    if report.settings:
        yield "\nSettings"
        yield from _table(setting_rows(report.settings))
    yield "\nMacros asked for"
    yield from _table((event, " ".join(names)) for event, names in report.macro_lists.items())
    if not report.macro_lists:
        yield "  none: the MTA sends what it is configured to"
    sections = ("Problems", report.problems), ("Not tried", report.untried), ("Notes", report.notes)
    for title, found in sections:
        if found:
            yield f"\n{title}"
            yield from (f"  - {text}".replace("\n", "\n    ") for text in found)
    where = " in what was tried" if report.untried else ""
    yield "" if report.problems else f"\nNothing wrong found{where}."


_BEYOND: Final = {
    "headers": "larger ones without body",
    "tempfail": "larger ones are refused for now",
    "reject": "larger ones are rejected",
}


def _row(entry: Entry, merged: bool) -> tuple[str, ...]:
    how = {True: "reply", False: "no reply", None: "never answered"}[entry.reply]
    flags = ("is_async", "async"), ("blocking", "blocking"), ("rejected", "refused recipients too")
    words = [how, *(word for flag, word in flags if getattr(entry, flag))]
    if entry.limit is not None:
        words.append(f"up to {entry.limit:,} bytes, {_BEYOND[entry.beyond or 'headers']}")
    words += [f"waits for {' '.join(entry.needs)}"] if entry.needs else []
    words += [f"asks first, within {entry.within:g} s"] if entry.within is not None else []
    if entry.progress is not None:
        words.append(f"progress every {entry.progress:g} s")
    place = f"{entry.file}:{entry.line}" if entry.file else "?"
    return (entry.event, ", ".join(words), entry.function, place, *([f"#{entry.filter}"] * merged))


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows with their columns under one another."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()

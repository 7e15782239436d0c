"""One session as a page: what became of its messages, who did something, then the whole dialogue.

The dialogue is a sequence diagram, with what the handlers did at each step. Text only.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from attrs import fields_dict, frozen

from demyjpy import events as ev
from demyjpy.cli.session_views import Act, View
from demyjpy.context import ENGINE_KEYS, Context
from demyjpy.handlers import default_event_handler
from demyjpy.trace.display import pages
from demyjpy.trace.display.pages import Bounded, Column, Inside, Markup, change, details, element, mark
from demyjpy.trace.display.wording import (
    again_words,
    answer_words,
    change_words,
    ending,
    envelope,
    finding_words,
    path_words,
    plural,
    verdict_words,
)
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.trace.format.trace import Trace

_ON_ARROW: Final = 120  # characters; the whole is in the details
_HEAD: Final = pages.LONGEST - 200
_DEFAULT: Final = f"{default_event_handler.__module__}.{default_event_handler.__name__}"
_MOST_LEARNED: Final = 100  # answers of one step that are shown
_MOST_MESSAGES: Final = 100
_MOST_EDITS: Final = 100  # changes of a message that are shown above the dialogue
_MOST_ROWS: Final = 200  # handlers that are listed above the dialogue
_DID: Final = (
    Column("handler"),
    Column("at", "word"),
    Column("what it did"),
    Column("time", "number"),
    Column("of the longest", "share"),
)


@frozen
class Neighbours:
    """The files of the pages beside this one, in the same directory; empty if there is none."""

    before: str = ""
    after: str = ""
    first: str = ""


def session_page(
    trace: Trace, views: Iterable[View], how: str, beside: Neighbours = Neighbours()
) -> str:
    """The page of a session; ``how`` says whose answers are shown."""
    shown = list(views)
    did = {number: [*filter(_is_act, view.acts)] for number, view in enumerate(shown, 1)}
    acting = [number for number, acts in did.items() if acts]
    after = dict(pairwise(acting))
    before = {later: sooner for sooner, later in after.items()}
    steps = Bounded()
    for number, view in enumerate(shown, 1):
        nav = _nav(before.get(number), after.get(number)) if did[number] else ()
        steps.add(_step(number, view, did[number], nav))
    return pages.page(
        f"Session {trace.name}",
        _beside(beside),
        element("h1", f"Session {trace.name}"),
        element("p", f"from {trace.source}; {how}; ended: {trace.how}", kind="dim"),
        (element("p", one, kind="error") for one in trace.problems[:20]),
        element("h2", "What happened"),
        _messages(trace.messages, shown),
        element("h2", "Who did something", id="index"),
        _doers([(number, shown[number - 1], act) for number in acting for act in did[number]]),
        element("h2", "The dialogue"),
        element("div", element("span", "MTA"), element("span", "filter"), kind="lanes"),
        element("ol", steps.pieces, kind="steps"),
        element("p", f"and {steps.left_out:,} steps more, left out: the page is full", kind="dim")
        if steps.left_out
        else (),
    )


def _beside(beside: Neighbours) -> Markup:
    links = (
        pages.page_link(beside.before, "\N{LEFTWARDS ARROW} previous session") if beside.before else (),
        pages.page_link(beside.first, "first session") if beside.first else (),
        pages.page_link(beside.after, "next session \N{RIGHTWARDS ARROW}") if beside.after else (),
    )
    return element("nav", links, kind="pages", aria_label="sessions") if any(links) else Markup()


def _nav(before: int | None, after: int | None) -> Markup:
    one, other = ("" if at is None else f"step-{at}" for at in (before, after))
    return pages.steps_nav(one, other, "index", noun="step at which a handler did something")


# ---------------------------------------------------------------------------------- what happened
def _messages(messages: Sequence[MessageStory], views: Sequence[View]) -> Markup:
    """What became of each message, and who decided it; the steps are looked for from one to the next."""
    if not messages:
        return element("p", "The session has no message.", kind="dim")
    cards, at = [], 0
    for one in messages[:_MOST_MESSAGES]:
        found = _decision(one, views, at)
        at = at if found is None else found + 1
        cards.append(_message(one, views, found))
    more = len(messages) - len(cards)
    return pages.join(
        cards, element("p", f"and {plural(more, 'message')} more", kind="dim") if more else ()
    )


def _decision(message: MessageStory, views: Sequence[View], start: int) -> int | None:
    """The step that decided it."""
    if message.verdict is None:
        return None
    places = range(start, len(views))
    return next(
        (at for at in places if views[at].name == message.at and message.verdict in views[at].answer),
        None,
    )


def _message(message: MessageStory, views: Sequence[View], decided: int | None) -> Markup:
    fate = str(message.outcome)
    edits = [change_words(one) for one in message.edits[:_MOST_EDITS]]
    more = len(message.edits) - len(edits)
    refused = (
        f"{address}: {verdict_words(verdict)}" for address, verdict in message.refused[:_MOST_EDITS]
    )
    return element(
        "div",
        element("p", mark(fate), " ", element("b", ending(message)), kind="lead"),
        element("p", element("b", message.name), f"  {envelope(message)}"),
        _by(views[decided], decided + 1, message) if decided is not None else (),
        (element("div", f"refused recipient {one}") for one in refused),
        (change("+", one) for one in edits),
        element("p", f"and {plural(more, 'change')} more", kind="dim") if more else (),
        kind=f"card fate {pages.fate_class(fate)}",
    )


def _by(view: View, number: int, message: MessageStory) -> Markup:
    deciders = [act.handler for act in view.acts if act.handler and message.verdict in act.actions]
    who = ("by ", element("code", deciders[-1]), " ") if deciders else "no handler objected, "
    step = pages.link(f"step-{number}", f"step {number}, {view.name}")
    return element("p", "decided " if deciders else (), who, "at ", step)


def _doers(did: Sequence[tuple[int, View, Act]]) -> Markup:
    """The handlers that did something, with links to the steps."""
    if not did:
        return element("p", "No handler.", kind="dim")
    longest = max(act.duration or 0.0 for *_, act in did)
    rows = (
        (
            element("code", pages.text(act.handler or "no handler", _ON_ARROW)),
            pages.link(f"step-{number}", f"{number} {view.name}"),
            pages.text(_in_short(act), _ON_ARROW),
            "" if act.duration is None else f"{act.duration * 1000:,.3f} ms",
            pages.bar((act.duration or 0.0) / longest if longest else 0.0),
        )
        for number, view, act in did[:_MOST_ROWS]
    )
    more = len(did) - _MOST_ROWS
    return pages.join(
        pages.table(_DID, rows),
        element("p", f"and {more:,} more, in the dialogue", kind="dim") if more > 0 else (),
    )


def _in_short(act: Act) -> str:
    """What a handler did: the weightiest of it."""
    if act.errors:
        return act.errors[0]
    if act.actions:
        return answer_words(act.actions)
    if act.withheld:
        return f"would have: {answer_words(act.withheld)}"
    if act.findings:
        return f"found: {finding_words(act.findings[0])}"
    old, new = _context(act.before), _context(act.after)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return f"context: {', '.join(changed)}" if changed else "nothing"


# ----------------------------------------------------------------------------------- the dialogue
def _step(number: int, view: View, acts: Sequence[Act], nav: Inside) -> Markup:
    said = element(
        "div",
        element("span", f"{number} ", kind="count"),
        element("b", view.name),
        " ",
        pages.text(_brief(view.event), _ON_ARROW),
        kind="said",
    )
    answer = element("div", answer_words(view.answer), kind="answer") if view.answer else ()
    cards = [_did(one, () if at else nav) for at, one in enumerate(acts)]
    return element("li", said, _whole(view.event), cards, answer, kind="step", id=f"step-{number}")


def _brief(event: ev.Event | None) -> str:
    """The text of an event on an arrow."""
    match event:
        case ev.Connect():
            return f"{event.host_name} {event.address or ''}"
        case ev.Hello():
            return event.greeting
        case ev.Mail():
            return path_words(event.sender, event.parameters)
        case ev.Recipient():
            return path_words(event.address, event.parameters)
        case ev.Header():
            return f"{event.name}: {event.value}"
        case ev.Body():
            return f"{len(event.data):,} bytes"
        case ev.Unknown():
            return event.command
        case ev.DefineMacros():
            return f"for {event.event}: {' '.join(event.definitions) or 'none'}"
        case _:
            return ""


def _whole(event: ev.Event | None) -> Markup:
    """All attributes of an event."""
    if event is None:
        return element("p", "what was said cannot be read", kind="error")
    names = [name.lstrip("_") for name in fields_dict(type(event))]
    if not names:
        return Markup()
    rows = [(element("dt", one), element("dd", _repr(getattr(event, one, None)))) for one in names]
    return element("div", details("all of it", element("dl", rows)), kind="whole")


def _repr(value: Any) -> str:
    """How a value is written; no more of a long one than can be shown."""
    if isinstance(value, str | bytes) and len(value) > pages.LONGEST:
        return f"{value[:_HEAD]!r:.{_HEAD}}... [{len(value):,} in all]"
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # it is the user's
        return f"a {type(value).__name__} whose repr fails: {type(error).__name__}"


def _is_act(act: Act) -> bool:
    """Whether there is something to say of it: what the library does by itself is in the answer."""
    is_own = bool(act.handler) and not act.handler.startswith(_DEFAULT)
    said = is_own or act.errors or act.findings or act.learned
    return bool(said) or _context(act.before) != _context(act.after)


def _did(act: Act, nav: Inside) -> Markup:
    """What a handler did."""
    old, new = _context(act.before), _context(act.after)
    same = [change("", f"{key} = {value}") for key, value in old.items() if new.get(key) == value]
    time = () if act.duration is None else (f"{act.duration * 1000:,.3f} ms",)
    place = ", ".join((*filter(None, [act.place]), *time))
    again = again_words(act.again)
    title = (element("code", act.handler) if act.handler else "no handler", again)
    return element(
        "div",
        element(
            "div", element("div", title, element("span", f" {place}", kind="dim")), nav, kind="head"
        ),
        (element("div", f"learned: {one}") for one in act.learned[:_MOST_LEARNED]),
        element("div", f"queued: {answer_words(act.actions)}") if act.actions else (),
        element("div", f"would have: {answer_words(act.withheld)}") if act.withheld else (),
        (element("div", f"found: {finding_words(one)}") for one in act.findings),
        (element("div", one, kind="error") for one in act.errors),
        pages.changes(old, new),
        details(f"context: {len(same)} unchanged", same) if same else (),
        details("source", element("pre", pages.text(act.source, 4000, is_block=True)))
        if act.source
        else (),
        kind="card",
    )


def _context(ctx: Context) -> dict[str, str]:
    """What the user has in a context, as it is written."""
    own = ((key, value) for key, value in sorted(ctx.items(), key=lambda one: str(one[0])))
    return {
        str(key): _repr(value)
        for key, value in own
        if key not in ENGINE_KEYS or (key == "connection" and value)
    }

"""One session as a page: the dialogue as a sequence diagram, and what the handlers did at each step.

Steps become `View` values: recorded ones, and those of a filter that is played now. Text only.
"""

import inspect
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from attrs import fields_dict, frozen

from demyjpy import events as ev
from demyjpy.cli.check_report import place_of
from demyjpy.codec import name_of
from demyjpy.context import ENGINE_KEYS, Context
from demyjpy.engine.connection import Step
from demyjpy.findings import Finding, new_findings
from demyjpy.handlers import default_event_handler
from demyjpy.registry import Handler
from demyjpy.trace.display import pages
from demyjpy.trace.display.pages import Bounded, Markup, change, details, element
from demyjpy.trace.display.wording import (
    again_words,
    answer_words,
    ending,
    envelope,
    finding_words,
    path_words,
)
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.trace.format.question_words import learned_words
from demyjpy.trace.format.recorded_steps import Moment
from demyjpy.trace.format.trace import Trace

_ON_ARROW: Final = 120  # characters; the whole is in the details
_HEAD: Final = pages.LONGEST - 200
_DEFAULT: Final = f"{default_event_handler.__module__}.{default_event_handler.__name__}"


_MOST_LEARNED = 100  # answers of one step that are shown


@frozen
class Act:
    """What a handler did; ``source`` is its text where it is known, ``duration`` in seconds.

    ``again`` is the event that it got, if its filter waited for the end of the message, or got all of
    the message as a value. ``withheld`` is what it would have said if its filter were enforced.
    """

    handler: str
    before: Context
    after: Context
    actions: tuple[Any, ...] = ()
    findings: tuple[Finding, ...] = ()
    errors: tuple[str, ...] = ()
    duration: float | None = None
    place: str = ""
    source: str = ""
    again: str = ""
    withheld: tuple[Any, ...] = ()
    learned: tuple[str, ...] = ()


@frozen
class View:
    """One step as it is shown: what was said, what handlers did, what was answered."""

    name: str
    event: ev.Event | None
    acts: tuple[Act, ...]
    answer: tuple[Any, ...]


def recorded_views(moments: Iterable[Moment]) -> Iterator[View]:
    """The steps as they were recorded."""
    for one in moments:
        acts = tuple(
            Act(
                part.handler,
                part.ctx,
                part.after,
                part.actions,
                part.findings,
                part.errors,
                part.duration or None,
                again=part.again,
                withheld=part.withheld,
                learned=tuple(map(learned_words, part.learned)),
            )
            for part in one.parts
        )
        yield View(one.name, one.event, acts or (Act("", one.ctx, one.after),), one.answer)


def played_views(steps: Iterable[Step]) -> Iterator[View]:
    """The steps of a filter; the handlers of merged filters at one event are one view."""
    for _, said in groupby(steps, key=lambda step: step.exchange):
        yield _view(list(said))


def _view(said: list[Step]) -> View:
    answer = tuple(action for step in said for action in step.answer)
    event = said[0].said
    return View(name_of(event), event, tuple(map(_act, said)), answer)


def _act(step: Step) -> Act:
    errors = () if step.error is None else (f"{type(step.error).__name__}: {step.error}",)
    if step.handler is None:
        learned = tuple(map(learned_words, step.learned))
        return Act("", step.before, step.after, step.actions, (), errors, learned=learned)
    file, line = place_of(step.handler)
    return Act(
        step.handler.name,
        step.before,
        step.after,
        step.actions,
        new_findings(step.before, step.after),
        errors,
        step.duration,
        f"{file}:{line}" if file else "",
        _source_of(step.handler),
        name_of(step.event) if step.is_shown_again else "",
        step.withheld,
        tuple(map(learned_words, step.learned)),
    )


def _source_of(handler: Handler[Any]) -> str:
    try:
        return inspect.getsource(inspect.unwrap(handler.function))
    except (OSError, TypeError):
        return ""


# -------------------------------------------------------------------------------------- the page
def session_page(trace: Trace, views: Iterable[View], how: str) -> str:
    """The page of a session; ``how`` says whose answers are shown."""
    steps = Bounded()
    for number, view in enumerate(views, 1):
        steps.add(_step(number, view))
    return pages.page(
        f"Session {trace.name}",
        element("h1", f"Session {trace.name}"),
        element("p", f"from {trace.source}; {how}; ended: {trace.how}", kind="dim"),
        (element("p", one, kind="error") for one in trace.problems[:20]),
        (_message(one) for one in trace.messages[:100]),
        element("h2", "The dialogue"),
        element("div", element("span", "MTA"), element("span", "filter"), kind="lanes"),
        element("ol", steps.pieces, kind="steps"),
        element("p", f"and {steps.left_out:,} steps more, left out: the page is full", kind="dim")
        if steps.left_out
        else (),
    )


def _message(message: MessageStory) -> Markup:
    return element(
        "div", element("h3", message.name), f"{envelope(message)}: {ending(message)}", kind="card"
    )


def _step(number: int, view: View) -> Markup:
    said = element(
        "div",
        element("span", f"{number} ", kind="number"),
        element("b", view.name),
        " ",
        pages.text(_brief(view.event), _ON_ARROW),
        kind="said",
    )
    answer = element("div", answer_words(view.answer), kind="answer") if view.answer else ()
    cards = [card for one in view.acts for card in _did(one)]
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


def _did(act: Act) -> Iterator[Markup]:
    """What a handler did, where there is something to say."""
    old, new = _context(act.before), _context(act.after)
    is_own = act.handler and not act.handler.startswith(_DEFAULT)
    if not (is_own or act.errors or act.findings or act.learned or old != new):
        return  # what the library does by itself is in the answer
    same = [change("", f"{key} = {value}") for key, value in old.items() if new.get(key) == value]
    time = () if act.duration is None else (f"{act.duration * 1000:,.3f} ms",)
    place = ", ".join((*filter(None, [act.place]), *time))
    again = again_words(act.again)
    title = (element("code", act.handler) if act.handler else "no handler", again)
    yield element(
        "div",
        element("div", title, element("span", f" {place}", kind="dim")),
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

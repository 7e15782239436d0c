"""What a replay found, as a page: figures, then each message that differs and why. Text only.

It takes what was found while that comes in, and is bounded.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field

from demyjpy.cli.replay_report import SessionReport, StepReport, Tally, answer_text
from demyjpy.trace.display import pages
from demyjpy.trace.display.pages import Bounded, Inside, Markup, change, details, element
from demyjpy.trace.display.wording import envelope
from demyjpy.trace.format.json_context import load_value
from demyjpy.trace.replay.comparing import KINDS


@define
class ReportPage:
    """A report on its way: `add` what was found in a session, then `as_text`."""

    compared: str
    """What is compared with what, in words."""
    traces: tuple[str, ...]
    cards: Bounded = field(factory=Bounded)

    def add(self, found: SessionReport) -> None:
        """What was found in a session that differs, or has a handler that is not pure."""
        for card in _cards(found):
            self.cards.add(card)

    def as_text(self, tally: Tally) -> str:
        """The page, with these figures."""
        *notes, summary = tally.lines(in_bytes=False)
        return pages.page(
            f"Replay: {summary}",
            element("h1", "Replay"),
            element("p", self.compared),
            details(
                f"{len(self.traces):,} trace file{'' if len(self.traces) == 1 else 's'}",
                (element("div", element("code", one)) for one in self.traces[:100]),
                element("div", f"and {len(self.traces) - 100:,} more") if self.traces[100:] else (),
            ),
            element("div", _figures(tally), kind="figures"),
            (element("p", one, kind="error") for one in notes),
            element("h2", "What differs"),
            self.cards.pieces or element("p", "Nothing."),
            element("p", f"and {self.cards.left_out:,} more, left out: the page is full", kind="dim")
            if self.cards.left_out
            else (),
        )


def _figures(tally: Tally) -> Iterator[Markup]:
    yield _figure(tally.sessions, "session", "sessions")
    yield _figure(tally.messages, "message", "messages")
    yield _figure(tally.different, "session differs", "sessions differ", is_bad=True)
    for kind in KINDS:
        if tally.kinds[kind] or kind == "verdict":
            one = {"headers": "header list", "recipients": "recipient list"}.get(kind, kind)
            many = "bodies" if kind == "body" else f"{one}s"
            yield _figure(tally.kinds[kind], f"{one} differs", f"{many} differ", is_bad=True)
    if tally.failures:
        yield _figure(tally.failures, "session refused", "sessions refused", is_bad=True)
    if tally.impure:
        yield _figure(len(tally.impure), "handler not pure", "handlers not pure", is_bad=True)


def _figure(number: int, one: str, many: str, *, is_bad: bool = False) -> Markup:
    kind = "figure bad" if is_bad and number else "figure"
    return element("div", element("b", f"{number:,}"), one if number == 1 else many, kind=kind)


def _cards(found: SessionReport) -> Iterator[Markup]:
    session = f"session {found.session}"
    if found.failure:
        yield _card(session, found, (), element("p", f"refused by the filter: {found.failure}"))
    elif found.difference and not found.differing:
        yield _card(session, found, ("other bytes",), _why(found.difference))
    for one in found.differing:
        yield _card(
            one.old.name,
            found,
            one.kinds,
            element("p", envelope(one.old)),
            (change(line.sign, line.words) for line in one.changed),
            _why(one.why) if one.why else (),
        )
    for impure in found.impure:
        yield _card(
            impure.queue_id or session,
            found,
            ("not pure",),
            element("p", element("code", impure.handler), f" at {impure.event} was run twice."),
            element(
                "dl",
                _row("first", answer_text(impure.first)),
                _row("again", answer_text(impure.second)),
            ),
        )


def _card(title: str, found: SessionReport, tags: Iterable[str], *inside: Inside) -> Markup:
    return element(
        "article",
        element("h3", title, (element("span", one, kind="tag") for one in tags)),
        inside,
        element("p", f"session {found.session} in {found.source}", kind="dim"),
        kind="card",
    )


def _row(name: str, *value: Inside) -> Markup:
    return pages.join(element("dt", name), element("dd", *value))


def _why(why: StepReport) -> Markup:
    """The first step that differs: who did it, and with what context."""
    before = {key: _value(value) for key, value in why.context.items()}
    after = {key: value for key, value in before.items() if key not in why.changes.removed}
    after |= {key: _value(value) for key, value in why.changes.set.items()}
    same = [change("", f"{key} = {value}") for key, value in before.items() if after.get(key) == value]
    by = (", by ", element("code", why.handler)) if why.handler else ()
    return element(
        "dl",
        _row("first at", f"step {why.step}, {why.event}", by),
        _row("old", answer_text(why.old)),
        _row("new", answer_text(why.new)),
        _row("error", element("span", why.error, kind="error")) if why.error else (),
        _row("context", same, pages.changes(before, after)) if before or after else (),
        _row("hint", why.hint) if why.hint else (),
    )


def _value(value: Any) -> str:
    return repr(load_value(value))

"""What a replay found, as a page: changed verdicts first, equal differences as one. Text only.

It takes what was found while that comes in, and is bounded.
"""

from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field

from demyjpy.cli.replay_groups import VERDICT, Difference, Group, Groups, differences
from demyjpy.cli.replay_report import SessionReport, StepReport, Tally, answer_text
from demyjpy.trace.display import pages
from demyjpy.trace.display.pages import Column, Inside, Markup, change, details, element, mark
from demyjpy.trace.display.wording import envelope
from demyjpy.trace.format.json_context import load_value
from demyjpy.trace.replay.comparing import KINDS

_TITLE: Final = 160  # characters of the title of a group
_OTHER: Final = 300  # characters of one line about another of the group
_FATES: Final = (Column("was"), Column("is now"), Column("messages", "number"), Column("share", "share"))
_INDEX: Final = (
    Column("difference"),
    Column("kind", "word"),
    Column("made by"),
    Column("times", "number"),
)


@define
class ReportPage:
    """A report on its way: `add` what was found in a session, then `as_text`."""

    compared: str
    """What is compared with what, in words."""
    traces: tuple[str, ...]
    groups: Groups = field(factory=Groups)

    def add(self, found: SessionReport) -> None:
        """What was found in a session that differs, or has a handler that is not pure."""
        for one in differences(found):
            self.groups.add(one, _example, _other)

    def as_text(self, tally: Tally) -> str:
        """The page, with these figures."""
        *notes, summary = tally.lines(in_bytes=False)
        groups = self.groups.groups
        ids = ["", *(f"group-{number}" for number in range(1, len(groups) + 1)), ""]
        return pages.page(
            f"Replay: {summary}",
            element("h1", "Replay"),
            element("p", self.compared),
            element("p", _in_short(tally), kind="lead"),
            element("div", _figures(tally), kind="figures"),
            _fates(self.groups),
            element("ul", (element("li", one, kind="error") for one in notes), kind="plain")
            if notes
            else (),
            element("h2", "What differs", id="index"),
            _index(groups),
            element("p", f"and {self.groups.left_out:,} more, left out: the page is full", kind="dim")
            if self.groups.left_out
            else (),
            (
                _card(group, number, ids[number - 1], ids[number + 1])
                for number, group in enumerate(groups, 1)
            ),
            element("h2", "What was replayed"),
            element("p", f"{tally.sessions:,} sessions, {tally.messages:,} messages"),
            details(
                f"{len(self.traces):,} trace file{'' if len(self.traces) == 1 else 's'}",
                (element("div", element("code", one)) for one in self.traces[:100]),
                element("div", f"and {len(self.traces) - 100:,} more") if self.traces[100:] else (),
            ),
        )


# ---------------------------------------------------------------------------------- what happened
def _in_short(tally: Tally) -> Markup:
    """The answer to whether it may be switched on, in one sentence."""
    changed, differing = tally.kinds["verdict"], tally.different + tally.failures
    if changed:
        words = f"{changed:,} message{' has' if changed == 1 else 's have'} another verdict."
    elif differing:
        words = "Every verdict is the same; something else differs."
    elif tally.impure or tally.reached:
        words = "Nothing differs, but a handler is not pure."
    else:
        return pages.join(mark("accepted"), " Nothing differs.")
    return pages.join(mark("rejected" if changed else "tempfailed"), f" {words}")


def _figures(tally: Tally) -> Iterator[Markup]:
    for kind in KINDS:
        if tally.kinds[kind] or kind == "verdict":
            one = {"headers": "header list", "recipients": "recipient list"}.get(kind, kind)
            many = "bodies" if kind == "body" else f"{one}s"
            yield _figure(tally.kinds[kind], f"{one} differs", f"{many} differ", is_bad=True)
    if tally.failures:
        yield _figure(tally.failures, "session refused", "sessions refused", is_bad=True)
    if tally.impure:
        yield _figure(len(tally.impure), "handler not pure", "handlers not pure", is_bad=True)
    yield _figure(tally.different, "session differs", "sessions differ")
    yield _figure(tally.messages, "message in all", "messages in all")


def _figure(number: int, one: str, many: str, *, is_bad: bool = False) -> Markup:
    kind = "figure bad" if is_bad and number else "figure"
    return element("div", element("b", f"{number:,}"), one if number == 1 else many, kind=kind)


def _fates(groups: Groups) -> Markup:
    """Which fates became which, the most frequent first."""
    if not groups.transitions:
        return Markup()
    whole = sum(groups.transitions.values())
    rows = (
        (
            (mark(old), f" {old}"),
            (mark(new), f" {new}"),
            f"{count:,}",
            pages.bar(count / whole, pages.fate_class(new)),
        )
        for (old, new), count in groups.transitions.most_common()
    )
    return pages.join(element("h2", "Verdicts that changed"), pages.table(_FATES, rows))


def _index(groups: list[Group]) -> Markup:
    if not groups:
        return element("p", "Nothing.")
    rows = (
        (
            pages.link(f"group-{number}", pages.text(f"{number}. {_title(one)}", _TITLE)),
            ", ".join(one.first.tags),
            element("code", one.first.who) if one.first.who else "",
            f"{one.count:,}",
        )
        for number, one in enumerate(groups, 1)
    )
    return pages.join(
        element("p", "Equal differences are one: the same step, handler and kind, whatever the values."),
        pages.table(_INDEX, rows),
    )


def _title(group: Group) -> str:
    return group.first.what or "an order, or what is too long to be shown"


# ------------------------------------------------------------------------------------- the groups
def _card(group: Group, number: int, before: str, after: str) -> Markup:
    one = group.first
    kind = "card"
    if one.rank == VERDICT and one.message is not None:
        kind += f" fate {pages.fate_class(str(one.message.new.outcome))}"
    more = group.count - 1 - len(group.others)
    return element(
        "article",
        element(
            "div",
            element(
                "h3", f"{number}. ", pages.text(_title(group), _TITLE), (_tag(tag) for tag in one.tags)
            ),
            pages.steps_nav(before, after, "index", noun="difference"),
            kind="head",
        ),
        element(
            "p", f"{group.count:,} times; this is the first:" if group.count > 1 else "once:", kind="dim"
        ),
        group.example,
        details(
            f"{group.count - 1:,} more like it",
            element("ul", (element("li", other) for other in group.others), kind="plain"),
            element("p", f"and {more:,} that are not listed", kind="dim") if more else (),
        )
        if group.count > 1
        else (),
        kind=kind,
        id=f"group-{number}",
    )


def _tag(words: str) -> Markup:
    return element("span", words, kind="tag")


def _example(one: Difference) -> Markup:
    """The first of a group, with all that is known of it."""
    found, message, impure = one.found, one.message, one.impure
    return pages.join(
        element("p", element("b", one.name), f"  {envelope(message.old)}" if message else ()),
        element("p", f"refused by the filter: {found.failure}") if found.failure else (),
        (change(line.sign, line.words) for line in message.changed) if message else (),
        _why(one.why) if one.why else (),
        (element("div", words) for words in one.asked),
        (
            element("p", element("code", impure.handler), f" at {impure.event} was run twice."),
            element(
                "dl",
                _row("first", answer_text(impure.first)),
                _row("again", answer_text(impure.second)),
            ),
        )
        if impure
        else (),
        element("p", f"session {found.session} in {found.source}", kind="dim"),
    )


def _other(one: Difference) -> Markup:
    """Another of a group, in a line."""
    words = [one.name]
    if one.message:
        words.append(envelope(one.message.old))
        words.append("; ".join(map(str, one.message.changed)))
    words.append(f"session {one.found.session} in {one.found.source}")
    return pages.text(" \N{MIDDLE DOT} ".join(words), _OTHER)


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

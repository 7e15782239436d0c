"""The status page: HTML from figures. What happened first, then who decided, then the rest."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from attrs import field, frozen

from demyjpy.metrics.plot import Moment, plot, totals
from demyjpy.trace.display import pages
from demyjpy.trace.display.pages import Column, Inside, Markup, element

REFRESH: Final = 30
"""Seconds after which a browser asks again."""

_MOST_HANDLERS: Final = 15
_MOST_ROWS: Final = 20  # filters and answers that are listed
_FILTERS: Final = (Column("filter"), Column("refused", "number"), Column("share", "share"))
_ANSWERS: Final = (Column("answer"), Column("at", "word"), Column("times", "number"))
_HANDLERS: Final = (
    Column("handler"),
    Column("event", "word"),
    Column("calls", "number"),
    Column("each", "number"),
    Column("in all", "number"),
    Column("share of all time", "share"),
)


@frozen
class Status:
    """What is shown.

    ``about``: what is running, in words. ``handlers``: event, name, calls, seconds in all. ``refusals``:
    how often each filter refused. ``answers``: how often there was which verdict, by event and verdict.
    ``errors``: how many there were, and ``last_errors`` the last of them. ``now`` and ``started`` are
    seconds since 1970. ``is_ready``: whether the milter negotiates.
    """

    about: Mapping[str, str]
    now: float
    started: float
    is_ready: bool
    history: Sequence[Moment] = ()
    handlers: Sequence[tuple[str, str, float, float]] = ()
    refusals: Mapping[str, float] = field(factory=dict)
    answers: Mapping[tuple[str, str], float] = field(factory=dict)
    errors: float = 0.0
    last_errors: Sequence[Mapping[str, Any]] = ()


def page(status: Status) -> str:
    """The whole page."""
    seconds = status.history[-1].time - status.history[0].time if status.history else 0.0
    state = "ready" if status.is_ready else "not ready"
    return pages.page(
        f"{state}: demyjpy",
        element("h1", "demyjpy"),
        _state(status),
        element("h2", "What happened"),
        element("p", f"Messages of the last {_span(seconds)}.", kind="dim"),
        element("div", _figures(status), kind="figures"),
        plot(status.history),
        element("h2", "Who decided"),
        _deciders(status),
        element("h2", "Last errors"),
        [_error(one) for one in status.last_errors] or element("p", "None.", kind="dim"),
        element("h2", "Slowest handlers"),
        _handlers(status.handlers),
        element("h2", "What runs"),
        element(
            "dl", ((element("dt", key), element("dd", words)) for key, words in status.about.items())
        ),
        refresh=REFRESH,
    )


def _state(status: Status) -> Markup:
    """Whether it works, in words and with a sign."""
    sign = pages.mark("accepted" if status.is_ready else "rejected")
    words = "Ready: it negotiates." if status.is_ready else "Not ready: it does not negotiate."
    since = f"Running for {_span(status.now - status.started)}; as of {_when(status.now)}."
    return pages.join(
        element("p", sign, " ", element("b", words), kind="lead"), element("p", since, kind="dim")
    )


def _figures(status: Status) -> Iterator[Markup]:
    counts = totals(status.history)
    all_of_them = sum(counts.values())
    yield _figure(all_of_them, "message" if all_of_them == 1 else "messages")
    for fate, count in counts.items():
        share = f"{100 * count / all_of_them:.1f} %" if all_of_them else ""
        words = element("div", share, kind="dim")
        yield _figure(count, pages.mark(fate), f" {fate}", words, kind=f"fate {pages.fate_class(fate)}")
    errors = "error" if status.errors == 1 else "errors"
    since = element("div", "since the start", kind="dim")
    yield _figure(status.errors, errors, since, kind="bad" if status.errors else "")


def _figure(number: float, *words: Inside, kind: str = "") -> Markup:
    return element("div", element("b", f"{number:,.0f}"), *words, kind=f"figure {kind}".strip())


def _deciders(status: Status) -> Markup:
    """Filters by how often they refused, and what was answered where; since the start."""
    if not status.refusals and not status.answers:
        return element("p", "No filter has answered other than to go on.", kind="dim")
    refused = sum(status.refusals.values())
    filters = (
        (name or "a limit of the library", f"{count:,.0f}", pages.bar(count / refused, "rejected"))
        for name, count in _most(status.refusals)
    )
    answers = (
        ((pages.mark(verdict), f" {verdict}"), event, f"{count:,.0f}")
        for (event, verdict), count in _most(status.answers)
    )
    return pages.join(
        element("p", "Counted since the start.", kind="dim"),
        pages.table(_FILTERS, filters) if status.refusals else (),
        pages.table(_ANSWERS, answers) if status.answers else (),
    )


def _most(counts: Mapping[Any, float]) -> list[tuple[Any, float]]:
    """The largest counts, as many as are listed."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_MOST_ROWS]


def _handlers(handlers: Iterable[tuple[str, str, float, float]]) -> Markup:
    """Those that took longest, each time."""
    given = list(handlers)
    if not given:
        return element("p", "No handler has run.", kind="dim")
    in_all = sum(seconds for *_, seconds in given) or 1.0
    slowest = sorted(given, key=lambda one: -one[3] / max(one[2], 1))[:_MOST_HANDLERS]
    rows = (
        (
            element("code", name),
            event,
            f"{calls:,.0f}",
            f"{1000 * seconds / max(calls, 1):,.2f} ms",
            f"{seconds:,.1f} s",
            pages.bar(seconds / in_all),
        )
        for event, name, calls, seconds in slowest
    )
    return pages.table(_HANDLERS, rows)


def _error(one: Mapping[str, Any]) -> Markup:
    """The line that says what it was, then the rest."""
    text = one["traceback"]
    last = text.rstrip("\n").rpartition("\n")[2]
    where = f"{_when(one['time'])}; session {one['session']}, queue id {one['queue_id'] or '-'}"
    return element(
        "div",
        element("p", element("b", pages.text(last, 300)), kind="error"),
        element("p", "in ", element("code", one["handler"] or "the library")),
        element("p", where, kind="dim"),
        element(
            "details",
            element("summary", "traceback"),
            element("pre", pages.text(text, len(text), is_block=True)),
        ),
        kind="card",
    )


def _when(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(seconds: float) -> str:
    """A time in its two largest units."""
    left = max(0, round(seconds))
    words: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or words:
            words.append(f"{count} {unit}")
    return " ".join(one for one in words[:2] if one[0] != "0") or "0 s"

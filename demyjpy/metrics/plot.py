"""Messages a minute as a plot: axes with units, a line for each fate. Figures in, markup out.

Lines are drawn in a box without proportions, so that a plot has the width of its page while its texts
keep their size. A line has a colour and a pattern of its own, and stands in the legend with both.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from attrs import frozen

from demyjpy.trace.display.page_style import FATES, OTHER
from demyjpy.trace.display.pages import Markup, element, mark

_HEIGHT: Final = 180  # pixels of the box, which is as wide as its place
_WIDTH: Final = 1000  # of what the page makes of it
_BELOW: Final = 18  # pixels from the axis to the base of its texts
_BARS: Final = 4  # lines across the plot, at most
_TICKS: Final = 5  # times below it, at most
_POINTS: Final = 90  # of a line, about
_STEPS: Final = (10, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds between two times


@frozen
class Moment:
    """How many messages of each fate there had been at a time (seconds since 1970)."""

    time: float
    messages: Mapping[str, float]


def totals(history: Sequence[Moment]) -> dict[str, float]:
    """How many messages of each fate there were in these moments, the usual fates first."""
    if not history:
        return {}
    first, last = history[0].messages, history[-1].messages
    order = [*FATES, *sorted(last.keys() - FATES.keys())]
    return {fate: last[fate] - first.get(fate, 0) for fate in order if fate in last}


def plot(history: Sequence[Moment]) -> Markup:
    """Messages a minute, a line for each fate; a sentence if there were none."""
    found = _thin(history)
    counts = totals(history)
    if len(found) < 2 or not any(counts.values()):
        return element("p", "No messages in this time.", kind="dim")
    rates = {fate: _rates(found, fate) for fate in counts}
    step = _nice(max(rate for points in rates.values() for _, rate in points) / _BARS)
    top = step * _BARS
    start, end = found[0].time, found[-1].time
    curves = [_curve(fate, points, start, end, top) for fate, points in rates.items()]
    box = element(
        "svg",
        curves,
        width="100%",
        height=str(_HEIGHT),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        overflow="visible",
    )
    label = f"Messages a minute by fate, {_clock(start)} to {_clock(end)} UTC; see the legend"
    return element(
        "div",
        element("p", "messages a minute", kind="dim"),
        element("svg", _heights(step), _times(start, end), box, role="img", aria_label=label),
        element("p", "time of day, UTC", kind="dim unit"),
        element("ul", (_entry(fate, count) for fate, count in counts.items()), kind="legend"),
        kind="chart",
    )


def _thin(history: Sequence[Moment]) -> list[Moment]:
    """Not more points than can be told apart; a clock that was set back gives none."""
    every = max(1, len(history) // _POINTS)
    kept: list[Moment] = []
    for one in history[(len(history) - 1) % every :: every]:
        if not kept or one.time > kept[-1].time:
            kept.append(one)
    return kept


def _rates(history: Sequence[Moment], fate: str) -> list[tuple[float, float]]:
    """At the end of each stretch of time, how many a minute there were in it."""
    return [
        (
            later.time,
            60
            * (later.messages.get(fate, 0) - sooner.messages.get(fate, 0))
            / (later.time - sooner.time),
        )
        for sooner, later in pairwise(history)
    ]


def _nice(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 ... that is not below."""
    step = 1.0
    while step < least:
        step *= 2.5 if str(step)[0] == "2" else 2
    return step


def _curve(
    fate: str, points: Sequence[tuple[float, float]], start: float, end: float, top: float
) -> Markup:
    kind, _, dashes = FATES.get(fate, OTHER)
    places = [
        f"{_WIDTH * (time - start) / (end - start):.1f},{_HEIGHT * (1 - rate / top):.1f}"
        for time, rate in points
    ]
    first = f"0,{places[0].partition(',')[2]}"
    return element(
        "polyline",
        kind=f"curve {kind}",
        stroke_dasharray=dashes,
        points=" ".join((first, *places)),
    )


def _heights(step: float) -> Iterator[Markup]:
    for number in range(_BARS + 1):
        y = f"{_HEIGHT * (1 - number / _BARS):.0f}"
        yield element("line", x1="0", x2="100%", y1=y, y2=y, kind="grid" if number else "axis")
        yield element(
            "text",
            f"{step * number:,.0f}",
            x="-8",
            y=y,
            text_anchor="end",
            dominant_baseline="middle",
        )


def _times(start: float, end: float) -> Iterator[Markup]:
    """Round times of day below the axis."""
    step = next((one for one in _STEPS if (end - start) / one <= _TICKS), _STEPS[-1])
    time = -(-start // step) * step
    for _ in range(_TICKS + 1):
        if time > end:
            return
        x = f"{100 * (time - start) / (end - start):.1f}%"
        yield element("line", x1=x, x2=x, y1=str(_HEIGHT), y2=str(_HEIGHT + 5), kind="axis")
        shown = _clock(time) if step >= 60 else _clock(time, "%H:%M:%S")
        yield element("text", shown, x=x, y=str(_HEIGHT + _BELOW), text_anchor="middle")
        time += step


def _entry(fate: str, count: float) -> Markup:
    kind, _, dashes = FATES.get(fate, OTHER)
    line = element("line", x1="0", x2="100%", y1="50%", y2="50%", kind="curve", stroke_dasharray=dashes)
    return element(
        "li", element("svg", line, aria_hidden="true"), mark(fate), f" {fate} {count:,.0f}", kind=kind
    )


def _clock(time: float, form: str = "%H:%M") -> str:
    return datetime.fromtimestamp(time, UTC).strftime(form)

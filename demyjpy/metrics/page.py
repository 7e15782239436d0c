"""The status page: HTML from figures. Text in, text out."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import Any, Final

from attrs import frozen

from demyjpy.shown import safe

_WIDTH: Final = 720
_HEIGHT: Final = 160
_COLOURS: Final = ("#2a78b5", "#c0392b", "#e08e0b", "#7d3c98", "#148f77", "#616a6b")

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 52rem;
color: #222; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .2rem .6rem .2rem 0;
border-bottom: 1px solid #ddd; vertical-align: top; overflow-wrap: anywhere }
td.number, th.number { text-align: right }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; font-size: 12px }
svg { width: 100%; height: auto; border-bottom: 1px solid #999 } .dim { color: #777 }
"""


@frozen
class Moment:
    """How many messages of each fate there had been at a time."""

    time: float
    messages: Mapping[str, float]


def page(
    about: Mapping[str, str],
    history: Sequence[Moment],
    handlers: Iterable[tuple[str, str, float, float]],
    errors: Iterable[Mapping[str, Any]],
) -> str:
    """The whole page. ``handlers``: event, name, calls, seconds in all."""
    slowest = sorted(handlers, key=lambda one: -one[3] / max(one[2], 1))[:15]
    rows = [
        (event, name, f"{calls:.0f}", f"{1000 * seconds / max(calls, 1):.2f} ms", f"{seconds:.1f} s")
        for event, name, calls, seconds in slowest
    ]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<meta http-equiv='refresh' content='30'><title>demyjpy</title><style>{_STYLE}</style></head>",
        "<body><h1>demyjpy</h1>",
        _table((), about.items()),
        "<h2>Messages in the last hour</h2>",
        _plot(history),
        "<h2>Slowest handlers</h2>",
        _table(("event", "handler", "calls", "each", "in all"), rows),
        "<h2>Last errors</h2>",
        *([_error(one) for one in errors] or ["<p class='dim'>None.</p>"]),
        "</body></html>",
    ]
    return "\n".join(parts)


def _shown(text: str) -> str:
    """Text that came from anywhere: no character of it does anything."""
    return escape(safe(text))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{_shown(cell)}</th>" for cell in head) + "</tr>"] if head else []
    lines += ["<tr>" + "".join(f"<td>{_shown(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _error(one: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(one["time"], UTC).isoformat(" ", "seconds")
    where = f"{one['handler']}, session {one['session']}, queue id {one['queue_id'] or '-'}"
    lines = "\n".join(map(_shown, one["traceback"].split("\n")))
    return f"<p>{escape(when)}: {_shown(where)}</p><pre>{lines}</pre>"


def _plot(history: Sequence[Moment]) -> str:
    """Messages a minute, a line for each fate."""
    fates = sorted({fate for moment in history for fate in moment.messages})
    if len(history) < 2 or not fates:
        return "<p class='dim'>No messages yet.</p>"
    rates = {fate: _rates(history, fate) for fate in fates}
    top = max(1.0, *(rate for found in rates.values() for _, rate in found))
    start, end = history[0].time, history[-1].time
    lines, legend = [], []
    for number, (fate, found) in enumerate(rates.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{_WIDTH * (time - start) / (end - start):.1f},{_HEIGHT * (1 - rate / top):.1f}"
            for time, rate in found
        )
        lines.append(f"<polyline fill='none' stroke='{colour}' stroke-width='1.5' points='{points}'/>")
        total = history[-1].messages.get(fate, 0) - history[0].messages.get(fate, 0)
        legend.append(f"<span style='color:{colour}'>&#9632;</span> {_shown(fate)}: {total:.0f}")
    return (
        f"<svg viewBox='0 -4 {_WIDTH} {_HEIGHT + 8}'>{''.join(lines)}</svg>"
        f"<p>{' &nbsp; '.join(legend)} <span class='dim'>(top: {top:.0f} a minute)</span></p>"
    )


def _rates(history: Sequence[Moment], fate: str) -> list[tuple[float, float]]:
    return [
        (
            later.time,
            60
            * (later.messages.get(fate, 0) - sooner.messages.get(fate, 0))
            / (later.time - sooner.time),
        )
        for sooner, later in pairwise(history)
    ]

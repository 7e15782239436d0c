"""What a snooper shows: each record of a session as a line, names and flags in words."""

import time
from collections.abc import Iterator
from typing import Any, Final

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.cli.output import Paint
from demyjpy.errors import MilterError
from demyjpy.shown import safe
from demyjpy.trace.display.wording import flag_words, plural, shorten, words_of
from demyjpy.trace.format.json_events import load_action, load_event
from demyjpy.trace.format.records import Record
from demyjpy.trace.snoop.snooper import AWAY, STOPPED

COLOURS: Final = ("cyan", "magenta", "blue", "green", "yellow")
"""One a session, in turn."""


def record_line(record: Record, number: int, paint: Paint) -> str:
    """A record of session ``number``."""
    when = record.get("time")
    clock = _clock(when) if isinstance(when, float) else " " * 12
    colour = COLOURS[number % len(COLOURS)]
    who = {"mta": "MTA    >", "filter": "filter <", "end": "end     "}.get(
        str(record.get("direction")), "        "
    )
    line = f"{clock} {paint(colour, f'#{number} {who}')} {_words(record)}"
    odd = "; ".join(map(str, record.get("odd", ())))
    return line.rstrip() + (f"  {paint('red', f'!! {safe(odd)}')}" if odd else "")


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds % 1 * 1000):03}"


def _words(record: Record) -> str:
    if "problem" in record:
        return f"cannot be read: {shorten(str(record['problem']))}"
    match record.get("direction"):
        case "mta":
            return shorten(f"{record['event']}  {_event_words(record)}".rstrip())
        case "filter":
            return shorten("; ".join(_answer_words(record)))
        case "end":
            return shorten(_end_words(record["how"], record.get("reason", "")))
        case _:
            return ""


_ENDS: Final = {
    "quit": "the MTA has said quit",
    "mta": "the MTA has closed the connection",
    "filter": "the filter has closed the connection",
}


def _end_words(how: str, reason: str) -> str:
    """Who has ended it and why; the snooper's own reasons say both."""
    if not reason or reason.startswith((AWAY, STOPPED)):
        return reason or _ENDS[how]
    return f"{_ENDS[how]}: {reason}"


def _event_words(record: Record) -> str:
    event = load_event(record["event"], record.get("fields", {}))
    match event:
        case ev.Options():
            return f"version {event.version}, offers {flag_words(event.actions, event.protocol)}"
        case ev.DefineMacros():
            words = (f"{name}={value}" for name, value in event.definitions.words)
            return f"for {event.event}: {' '.join(words)}"
        case ev.Connect():
            where = f" [{event.raw}]" if event.raw else ""
            return f"{event.host_name}{where}" + (f" port {event.port}" if event.port else "")
        case ev.Hello():
            return event.greeting
        case ev.Mail() | ev.Recipient():
            return " ".join((event.raw, *event.parameters.as_words()))
        case ev.Header():
            return f"{event.name}:{event.raw}"
        case ev.Body():
            return plural(len(event.data), "byte")
        case ev.Unknown():
            return event.command
        case _:
            return ""


def _answer_words(record: Record) -> Iterator[str]:
    for one in record.get("answer", ()):
        try:
            action = load_action(one)
        except MilterError:
            yield str(one.get("action"))
        else:
            yield _action_words(action)


def _action_words(action: Any) -> str:
    if isinstance(action, act.Negotiate):
        words = f"version {action.version}, wants {flag_words(action.actions, action.protocol)}"
        asked = (f"{' '.join(names)} at stage {stage}" for stage, names in action.macros)
        return "; ".join((words, *(f"macros {one}" for one in asked)))
    return "still at work" if isinstance(action, act.Progress) else words_of(action)

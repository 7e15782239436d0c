"""What a replay found, as JSON and as text. Values only: contexts become what a trace would hold."""

from collections.abc import Iterator
from typing import Any

from attrs import asdict, define, evolve, field

from demyjpy.cli.recordings import message_json
from demyjpy.context import ENGINE_KEYS, Context, new_context
from demyjpy.trace.comparing import KINDS, Compared, Difference, Impure, MessageDifference
from demyjpy.trace.messages import Message
from demyjpy.trace.octets import dump_text
from demyjpy.trace.values import changes, load_value
from demyjpy.trace.words import (
    change_words,
    ending,
    envelope,
    plural,
    safe,
    shorten,
    verdict_words,
    words_of,
)


def context_words(ctx: Context) -> dict[str, str]:
    """What the user has in a context, each value as it is written."""
    own = {key: value for key, value in ctx.items() if key not in ENGINE_KEYS or key == "connection"}
    return {str(key): shorten(repr(value)) for key, value in own.items() if _is_shown(key, value)}


def _is_shown(key: Any, value: Any) -> bool:
    return key != "connection" or bool(value)


# ------------------------------------------------------------------------------------- as JSON
def compared_json(found: Compared) -> dict[str, Any]:
    """What comparing one session came to."""
    return {
        "session": found.session,
        "source": found.source,
        "messages": found.messages,
        "same": found.is_same,
        "difference": found.difference and _difference(found.difference),
        "differing": [_message(one) for one in found.differing],
        "impure": [_impure(one) for one in found.impure],
        "reached": [asdict(one) for one in found.reached],
        "failure": found.failure,
        "gaps": list(found.gaps),
        "problems": list(found.problems),
        "left_out": found.left_out,
    }


def _difference(one: Difference) -> dict[str, Any]:
    empty = new_context()
    before = {} if one.before is None else changes(empty, one.before).get("set", {})
    return {
        "step": one.number,
        "event": one.event,
        "old": [words_of(action) for action in one.old],
        "new": [words_of(action) for action in one.new],
        "handler": one.handler,
        "context": {key: before[key] for key in sorted(before) if key not in ("events", "actions")},
        "changes": changes(one.before, one.ctx)
        if one.before is not None and one.ctx is not None
        else {},
        "error": dump_text(one.error),
    }


def _message(one: MessageDifference) -> dict[str, Any]:
    return {
        "queue_id": one.old.queue_id and dump_text(one.old.queue_id),
        "name": one.old.name,
        "envelope": envelope(one.old),
        "kinds": list(one.kinds),
        "old": message_json(one.old),
        "new": message_json(one.new),
        "changed": list(_changed(one)),
        "why": one.why and _difference(one.why),
    }


def _changed(one: MessageDifference) -> Iterator[str]:
    """What changed, in words."""
    if "verdict" in one.kinds:
        yield f"verdict: {_end(one.old)} -> {_end(one.new)}"
        return
    old, new = (list(map(change_words, message.edits)) for message in (one.old, one.new))
    yield from (f"no more: {edit}" for edit in old if edit not in new)
    yield from (f"new: {edit}" for edit in new if edit not in old)
    if sorted(old) == sorted(new) and one.old.edits != one.new.edits:
        yield "the order of the changes, or what is too long to be shown"
    if one.old.refused != one.new.refused:
        yield f"refused recipients: {_refused(one.old)} -> {_refused(one.new)}"


def _end(message: Message) -> str:
    return ending(evolve(message, edits=()))


def _refused(message: Message) -> str:
    return (
        ", ".join(f"{safe(address)} ({verdict_words(verdict)})" for address, verdict in message.refused)
        or "none"
    )


def _impure(one: Impure) -> dict[str, Any]:
    return {
        "handler": one.handler,
        "session": one.session,
        "queue_id": one.queue_id and dump_text(one.queue_id),
        "step": one.number,
        "event": one.event,
        "first": [words_of(action) for action in one.first],
        "second": [words_of(action) for action in one.second],
    }


# -------------------------------------------------------------------------------------- as text
def session_lines(found: dict[str, Any]) -> Iterator[str]:
    """What differs in a session, for people; from its JSON."""
    if found["failure"]:
        yield f"session {safe(found['session'])}: the filter refused it: {safe(found['failure'])}"
    elif found["difference"] and not found["differing"]:
        yield f"session {safe(found['session'])}: {_where(found['difference'])}"
        yield from _why_lines(found["difference"])
    for one in found["differing"]:
        yield f"{safe(str(one['name']))}  {one['envelope']}"
        yield from (f"    {line}" for line in one["changed"])
        if one["why"]:
            yield f"    {_where(one['why'])}"
            yield from _why_lines(one["why"])
    for one in found["impure"]:
        where = safe(str(one["queue_id"] or one["session"]))
        yield f"not pure: {safe(one['handler'])} at {one['event']} of {where}"
        yield f"    first:  {'; '.join(one['first']) or 'nothing'}"
        yield f"    again:  {'; '.join(one['second']) or 'nothing'}"


def _where(why: dict[str, Any]) -> str:
    by = f", by {safe(why['handler'])}" if why["handler"] else ""
    return f"differs at step {why['step']}, {why['event']}{by}"


def _why_lines(why: dict[str, Any]) -> Iterator[str]:
    yield f"        old: {shorten('; '.join(why['old']) or 'nothing')}"
    yield f"        new: {shorten('; '.join(why['new']) or 'nothing')}"
    if why["error"]:
        yield f"        error: {shorten(str(why['error']))}"
    for key, value in why["context"].items():
        yield f"        context: {safe(key)} = {_value(value)}"
    for key, value in why["changes"].get("set", {}).items():
        yield f"        after it: {safe(key)} = {_value(value)}"
    if why["event"] == "options":
        yield "        it negotiates something else: --meaning compares verdicts and changes instead"


def _value(value: Any) -> str:
    return shorten(repr(load_value(value)))


@define
class Tally:
    """What all sessions came to, counted."""

    sessions: int = 0
    messages: int = 0
    different: int = 0
    """Sessions."""
    kinds: dict[str, int] = field(factory=lambda: dict.fromkeys(KINDS, 0))
    impure: dict[str, int] = field(factory=dict)
    reached: dict[str, int] = field(factory=dict)
    """What handlers reached outside of their session, in words, and in how many of those watched."""
    failures: int = 0
    gaps: dict[str, int] = field(factory=dict)
    problems: int = 0
    """What could not be read."""
    left_out: int = 0
    """Sessions from which values were left out for privacy."""
    is_whole_wanted: bool = False
    """Whether it is asked if the recording is whole: problems are a difference then."""

    def add(self, found: dict[str, Any]) -> None:
        """One session more, as JSON."""
        self.sessions += 1
        self.messages += found["messages"]
        self.different += not found["same"]
        self.failures += bool(found["failure"])
        self.problems += len(found["problems"])
        self.left_out += bool(found["left_out"])
        for one in found["differing"]:
            for kind in one["kinds"]:
                self.kinds[kind] += 1
        for one in found["impure"]:
            self.impure[one["handler"]] = self.impure.get(one["handler"], 0) + 1
        for one in found["reached"]:
            words = f"{one['handler']} at {one['event']} calls {one['call']}"
            self.reached[words] = self.reached.get(words, 0) + 1
        for event in found["gaps"]:
            self.gaps[event] = self.gaps.get(event, 0) + 1

    @property
    def status(self) -> int:
        """The exit status."""
        if self.different or self.failures or (self.is_whole_wanted and self.problems):
            return 1
        return 3 if self.impure or self.reached else 0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "sessions": self.sessions,
            "messages": self.messages,
            "different_sessions": self.different,
            "differ": self.kinds,
            "impure": self.impure,
            "reached": self.reached,
            "refused_sessions": self.failures,
            "gaps": self.gaps,
            "problems": self.problems,
            "sessions_with_values_left_out": self.left_out,
            "exit_status": self.status,
        }

    def lines(self, *, in_bytes: bool) -> Iterator[str]:
        """For people: notes, then the summary."""
        for handler, count in self.impure.items():
            where = plural(count, "session")
            yield f"not pure: {safe(handler)}, seen in {where}: a clock, chance or the network?"
        for reach, count in self.reached.items():
            yield (
                f"not pure: {safe(reach)}, seen in {plural(count, 'session')}: what is outside of the "
                "session may be otherwise on another day"
            )
        for event, count in self.gaps.items():
            yield (
                f"not recorded: {event}, which this filter wants, in {plural(count, 'session')}: "
                "the recorded filter had declined it"
            )
        if self.left_out:
            where = plural(self.left_out, "session")
            yield (
                f"not recorded: values that were left out for privacy, in {where}: "
                "they count as equal to any other, and the filter does not get them"
            )
        if self.failures:
            yield f"refused: {plural(self.failures, 'session')}"
        words = [f"{self.messages:,} message{'' if self.messages == 1 else 's'}"]
        if in_bytes:
            words.insert(0, f"{self.sessions:,} session{'' if self.sessions == 1 else 's'}")
            words.append(
                f"{self.different:,} {'session differs' if self.different == 1 else 'sessions differ'}"
            )
        words += [
            _count(self.kinds[kind], kind)
            for kind in KINDS
            if self.kinds[kind] or (kind in ("verdict", "headers") and not in_bytes)
        ]
        yield ", ".join(words)


def _count(number: int, kind: str) -> str:
    """``3 verdicts differ``: in so many messages."""
    one = {"headers": "header", "recipients": "recipient list"}.get(kind, kind)
    many = {"headers": "headers", "body": "bodies"}.get(kind, f"{one}s")
    return f"{number:,} {one} differs" if number == 1 else f"{number:,} {many} differ"

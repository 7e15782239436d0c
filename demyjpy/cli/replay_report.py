"""What a replay found, as values that go from one process to another, as JSON and as text."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import asdict, define, evolve, field, frozen

from demyjpy.cli.differing_words import answers_words, edits_differ, pair_words
from demyjpy.cli.recordings import message_json
from demyjpy.context import ENGINE_KEYS, Context, new_context
from demyjpy.trace.display.wording import (
    ending,
    envelope,
    plural,
    safe,
    shorten,
    verdict_words,
    words_of,
)
from demyjpy.trace.format.json_context import changes, load_value
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.trace.replay.comparing import KINDS, Compared, Difference, Impure, MessageDifference
from demyjpy.trace.replay.outside_calls import OutsideCall
from demyjpy.trace.replay.replaying import AskedAgain
from demyjpy.wire.json_bytes import dump_text

_MOST_MISSING = 5  # questions without an answer that are named with their session


def context_words(ctx: Context) -> dict[str, str]:
    """What the user has in a context, each value as it is written."""
    own = {key: value for key, value in ctx.items() if key not in ENGINE_KEYS or key == "connection"}
    return {str(key): shorten(repr(value)) for key, value in own.items() if _is_shown(key, value)}


def _is_shown(key: Any, value: Any) -> bool:
    return key != "connection" or bool(value)


# ------------------------------------------------------------------------------ what is reported
@frozen
class ContextChanges:
    """What a handler changed in its context; values as a trace has them."""

    set: dict[str, Any] = field(factory=dict)
    removed: list[str] = field(factory=list)

    def as_json(self) -> dict[str, Any]:
        """For programs: without what is empty."""
        return {key: value for key, value in asdict(self).items() if value}


@frozen
class StepReport:
    """The first step that differs. ``old`` and ``new`` are what each filter said, in words.

    ``context`` is what the handler got, ``changes`` what it made of that: values as a trace has them, so
    that they can go from one process to another. ``is_withheld``: it is what they would have said.
    """

    step: int
    event: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    handler: str = ""
    context: dict[str, Any] = field(factory=dict)
    changes: ContextChanges = ContextChanges()
    error: str = ""
    is_withheld: bool = False

    @classmethod
    def of(cls, one: Difference) -> "StepReport":
        """In words."""
        empty = new_context()
        before = empty if one.before is None else one.before
        found = changes(empty, before).get("set", {})
        context = {key: found[key] for key in sorted(found) if key not in ("events", "actions")}
        changed = changes(before, one.ctx) if one.ctx is not None else {}
        old, new = answers_words(one.old, one.new)
        return cls(
            one.number,
            one.event,
            old,
            new,
            one.handler,
            context,
            ContextChanges(**changed),
            one.error,
            one.is_withheld,
        )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        error = dump_text(self.error)
        return {**asdict(self), "changes": self.changes.as_json(), "error": error}

    @property
    def hint(self) -> str:
        """What else may be asked for, if it does not say enough."""
        if self.event != "options":
            return ""
        return "it negotiates something else: --meaning compares verdicts and changes instead"


@frozen
class Change:
    """Something that a message has no more (``-``), or newly has (``+``); else in what it differs."""

    sign: str
    words: str

    def __str__(self) -> str:
        return {"-": "no more: ", "+": "new: "}.get(self.sign, "") + self.words


@frozen
class MessageReport:
    """A message of which two filters make something else."""

    old: MessageStory
    new: MessageStory
    kinds: tuple[str, ...]
    changed: tuple[Change, ...]
    why: StepReport | None = None

    @classmethod
    def of(cls, one: MessageDifference) -> "MessageReport":
        """In words."""
        why = StepReport.of(one.why) if one.why else None
        return cls(one.old, one.new, one.kinds, tuple(_changed(one)), why)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "queue_id": self.old.queue_id and dump_text(self.old.queue_id),
            "name": self.old.name,
            "envelope": envelope(self.old),
            "kinds": self.kinds,
            "old": message_json(self.old),
            "new": message_json(self.new),
            "changed": list(map(str, self.changed)),
            "why": self.why and self.why.as_json(),
        }


def _changed(one: MessageDifference) -> Iterator[Change]:
    if "verdict" in one.kinds:
        yield Change("", f"verdict: {_end(one.old)} -> {_end(one.new)}")
        return
    yield from (Change(sign, words) for sign, words in edits_differ(one.old.edits, one.new.edits))
    if one.old.refused != one.new.refused:
        yield Change("", f"refused recipients: {_refused(one.old)} -> {_refused(one.new)}")


def _end(message: MessageStory) -> str:
    return ending(evolve(message, edits=()))


def _refused(message: MessageStory) -> str:
    refused = (f"{safe(address)} ({verdict_words(verdict)})" for address, verdict in message.refused)
    return ", ".join(refused) or "none"


@frozen
class ImpureReport:
    """A handler that said something else when it was run again."""

    handler: str
    session: str
    queue_id: str | None
    step: int
    event: str
    first: tuple[str, ...]
    second: tuple[str, ...]

    @classmethod
    def of(cls, one: Impure) -> "ImpureReport":
        """In words."""
        first, second = tuple(map(words_of, one.first)), tuple(map(words_of, one.second))
        return cls(one.handler, one.session, one.queue_id, one.number, one.event, first, second)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "queue_id": self.queue_id and dump_text(self.queue_id)}


@frozen
class SessionReport:
    """What differs in one session; it can go from one process to another."""

    session: str
    source: str
    messages: int
    is_same: bool = True
    difference: StepReport | None = None
    differing: tuple[MessageReport, ...] = ()
    impure: tuple[ImpureReport, ...] = ()
    reached: tuple[OutsideCall, ...] = ()
    failure: str = ""
    gaps: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    left_out: int = 0
    asked: AskedAgain = AskedAgain()

    @classmethod
    def of(cls, found: Compared) -> "SessionReport":
        """In words."""
        return cls(
            found.session,
            found.source,
            found.messages,
            found.is_same,
            StepReport.of(found.difference) if found.difference else None,
            tuple(map(MessageReport.of, found.differing)),
            tuple(map(ImpureReport.of, found.impure)),
            found.reached,
            found.failure,
            found.gaps,
            found.problems,
            found.left_out,
            found.asked,
        )

    @property
    def is_worth_telling(self) -> bool:
        """Whether there is anything to say of it."""
        return bool(not self.is_same or self.impure or self.failure or self.asked.missing)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "session": self.session,
            "source": self.source,
            "messages": self.messages,
            "same": self.is_same,
            "difference": self.difference and self.difference.as_json(),
            "differing": [one.as_json() for one in self.differing],
            "impure": [one.as_json() for one in self.impure],
            "reached": [asdict(one) for one in self.reached],
            "failure": self.failure,
            "gaps": self.gaps,
            "problems": self.problems,
            "left_out": self.left_out,
            "asked": asdict(self.asked),
        }


# -------------------------------------------------------------------------------------- as text
def answer_text(words: Iterable[str]) -> str:
    """All that was said, in words."""
    return "; ".join(words) or "nothing"


def session_lines(found: SessionReport) -> Iterator[str]:
    """What differs in a session, for people."""
    session = f"session {safe(found.session)}"
    if found.failure:
        yield f"{session}: the filter refused it: {safe(found.failure)}"
    elif found.difference and not found.differing:
        yield f"{session}: {_where(found.difference)}"
        yield from _why_lines(found.difference)
    for one in found.differing:
        yield f"{safe(one.old.name)}  {envelope(one.old)}"
        yield from (f"    {change}" for change in one.changed)
        if one.why:
            yield f"    {_where(one.why)}"
            yield from _why_lines(one.why)
    if found.asked.missing:
        yield f"{session}: asked what the recording cannot answer"
        yield from (f"    {one}" for one in found.asked.missing[:_MOST_MISSING])
        more = len(found.asked.missing[_MOST_MISSING:]) + found.asked.more
        yield from [f"    and {more} more"] if more else []
    for impure in found.impure:
        where = safe(impure.queue_id or impure.session)
        yield f"not pure: {safe(impure.handler)} at {impure.event} of {where}"
        yield f"    first:  {answer_text(impure.first)}"
        yield f"    again:  {answer_text(impure.second)}"


def _where(why: StepReport) -> str:
    by = f", by {safe(why.handler)}" if why.handler else ""
    what = " in what is withheld" if why.is_withheld else ""
    return f"differs{what} at step {why.step}, {why.event}{by}"


def _why_lines(why: StepReport) -> Iterator[str]:
    old, new = pair_words(answer_text(why.old), answer_text(why.new))
    yield f"        old: {old}"
    yield f"        new: {new}"
    if why.error:
        yield f"        error: {shorten(why.error)}"
    for key, value in why.context.items():
        yield f"        context: {safe(key)} = {_value(value)}"
    for key, value in why.changes.set.items():
        yield f"        after it: {safe(key)} = {_value(value)}"
    if why.hint:
        yield f"        {why.hint}"


def _value(value: Any) -> str:
    return shorten(repr(load_value(value)))


@define
class Tally:
    """What differs in all sessions, counted."""

    sessions: int = 0
    messages: int = 0
    different: int = 0
    """Sessions."""
    kinds: Counter[str] = field(factory=lambda: Counter(dict.fromkeys(KINDS, 0)))
    impure: Counter[str] = field(factory=Counter)
    reached: Counter[str] = field(factory=Counter)
    """What handlers reached outside of their session, in words, and in how many of those watched."""
    failures: int = 0
    gaps: Counter[str] = field(factory=Counter)
    problems: int = 0
    """What could not be read."""
    left_out: int = 0
    """Sessions from which values were left out for privacy."""
    asked: int = 0
    """Questions that were asked from the recording."""
    missing: int = 0
    """Questions to which the recording has no answer."""
    is_whole_wanted: bool = False
    """Whether it is asked if the recording is whole: problems are a difference then."""

    def add(self, found: SessionReport) -> None:
        """One session more."""
        self.sessions += 1
        self.messages += found.messages
        self.different += not found.is_same
        self.failures += bool(found.failure)
        self.problems += len(found.problems)
        self.left_out += bool(found.left_out)
        self.asked += found.asked.known
        self.missing += len(found.asked.missing) + found.asked.more
        self.kinds.update(kind for one in found.differing for kind in one.kinds)
        self.impure.update(one.handler for one in found.impure)
        self.reached.update(f"{one.handler} at {one.event} calls {one.call}" for one in found.reached)
        self.gaps.update(found.gaps)

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
            "asked_from_recording": self.asked,
            "asked_without_answer": self.missing,
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
        if self.asked:
            yield f"asked from the recording: {plural(self.asked, 'question')}; nobody else was asked"
        if self.missing:
            yield (
                f"not recorded: the answers to {plural(self.missing, 'question')}, which fail; the "
                "sessions above name them"
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

"""How what a filter says differs from what was recorded, or from what another filter says; and why.

Values in, values out. Two ways: byte for byte, as `compare_bytes` does with the recorded answers; or by
meaning (`compare_messages`): verdicts and edits of each message, whatever was negotiated.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, Final

from attrs import evolve, field, frozen

from demyjpy import actions as act
from demyjpy.codec import action_row
from demyjpy.context import Context
from demyjpy.engine.connection import Step
from demyjpy.trace.format.exchanges import Reply, Unreadable
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.replay.outside_calls import OutsideCall
from demyjpy.trace.replay.redacted_answers import as_kept, left_out
from demyjpy.trace.replay.replaying import (
    AskedAgain,
    Filter,
    Replayed,
    is_unanswered,
    recorded_answers,
    replay,
    replay_at_once,
)
from demyjpy.trace.replay.withheld_answers import (
    is_withheld_alike,
    withheld_by,
    withheld_in,
    withholds,
)
from demyjpy.verdicts import Fate, decides, join_bodies

KINDS: Final = ("verdict", "headers", "recipients", "sender", "body")
"""In what a message can differ."""


@frozen
class Difference:
    """The first step at which two filters say something else to the same.

    ``number`` is the exchange's. ``old`` and ``new`` are what each said there (``()`` is nothing),
    ``handler`` the name of the handler of the new one that ran last there, ``ctx`` the context that it
    left, ``before`` the one that it got; ``error`` what was wrong with it. ``is_withheld``: they
    differ in what they would have said if the filter were enforced.
    """

    number: int
    event: str
    old: tuple[Any, ...]
    new: tuple[Any, ...]
    handler: str = ""
    before: Context | None = field(default=None, repr=False)
    ctx: Context | None = field(default=None, repr=False)
    error: str = ""
    is_withheld: bool = False


@frozen
class MessageDifference:
    """A message of which two filters make something else; ``kinds`` are those of `KINDS`."""

    old: MessageStory
    new: MessageStory
    kinds: tuple[str, ...]
    why: Difference | None = None


@frozen
class Impure:
    """A handler that said something else when it was run again: it is not a function of what it gets."""

    handler: str
    session: str
    queue_id: str | None
    number: int
    event: str
    first: tuple[Any, ...]
    second: tuple[Any, ...]


@frozen
class Compared:
    """What differs in one session. ``messages`` is how many it has.

    ``reached`` is what handlers reached outside of the session (a database, the network, the
    clock): what they answer may depend on it, although it did not this time. ``difference`` is the
    first step that differs, ``differing`` the messages; ``failure`` why the filter left the
    session, if it did; ``gaps`` are events that the recording lacks for this filter; ``left_out``
    is how many bytes it lacks for privacy: values that count as equal to any other. ``asked`` says
    what became of the questions of the filter, or of the new one.
    """

    session: str
    source: str
    messages: int
    difference: Difference | None = None
    differing: tuple[MessageDifference, ...] = ()
    impure: tuple[Impure, ...] = ()
    reached: tuple[OutsideCall, ...] = ()
    failure: str = ""
    gaps: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    left_out: int = 0
    asked: AskedAgain = field(factory=AskedAgain)

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return self.difference is None and not self.differing


# ------------------------------------------------------------------------------ byte for byte
def compare_bytes(trace: Trace, played: Filter, *, twice: bool = True) -> Compared:
    """Recorded answers with those of a filter, byte for byte; ``twice``: find handlers not pure."""
    expected = b"".join(one.expected for one in trace.exchanges)
    said, asked = replay_at_once(trace, played)
    found = Compared(
        trace.name,
        trace.source,
        len(trace.messages),
        problems=trace.problems,
        left_out=left_out(trace),
        asked=asked,
    )
    is_exact = said == expected and not withholds(trace)
    if is_exact and (not twice or replay_at_once(trace, played)[0] == said):
        return found
    replayed = replay(trace, played, observed=True)
    old, kept = recorded_answers(trace), as_kept(replayed)
    difference = _first_difference(trace, kept, says_the_same=said == expected)
    pairs = pairs_that_differ(old.messages, kept.messages) if difference else ()
    return evolve(
        found,
        difference=difference,
        differing=_explained(pairs, old, kept),
        impure=_impure(trace, played, replayed) if twice else (),
        failure=_failure(replayed),
        gaps=replayed.gaps,
        asked=replayed.asked,
    )


def _first_difference(
    trace: Trace, replayed: Replayed, *, says_the_same: bool = False
) -> Difference | None:
    """The first reply that differs. ``says_the_same``: all bytes do, but what is withheld may not.

    An MTA that goes on after a refused connection, as none does, is not followed there.
    """
    agreed = trace.agreement
    for reply, steps in zip(replayed.replies, replayed.steps, strict=True):
        old = evolve(reply.exchange.recorded, data=reply.exchange.expected)
        is_same = says_the_same or reply.data == old.data or is_unanswered(reply.exchange, agreed)
        if not is_same and _meaning(old) != _meaning(reply):
            return explain(old, reply, steps)
        if (steps or not says_the_same) and not is_withheld_alike(reply.exchange, steps):
            before, after = withheld_in(reply.exchange), withheld_by(steps)
            return evolve(explain(old, reply, steps), old=before, new=after, is_withheld=True)
    return None


def _meaning(reply: Reply) -> list[Any]:
    """What an answer is to an MTA, whatever its bytes.

    Edits of different kinds in any order, a new body in any pieces; at the end Accept is as good as
    Continue.
    """
    said = list(join_bodies(reply.actions))
    if reply.exchange.name == "end_of_message":
        said = [act.Continue() if isinstance(one, act.Accept) else one for one in said]
    return sorted(said, key=_kind)


def _kind(one: Any) -> int:
    return 0 if isinstance(one, Unreadable) else action_row(one).group


def explain(old: Reply, new: Reply, steps: Sequence[Step]) -> Difference:
    """The difference at a reply, with what the handlers did there."""
    ran = [step for step in steps if step.handler is not None]
    last = ran[-1] if ran else None
    errors = [step.error for step in steps if step.error is not None]
    return Difference(
        new.exchange.number,
        new.exchange.name,
        old.actions,
        new.actions,
        last.handler.name if last and last.handler else "",
        last.before if last else None,
        last.after if last else None,
        f"{type(errors[-1]).__name__}: {errors[-1]}" if errors else "",
    )


def _failure(replayed: Replayed) -> str:
    """Why a filter left the session at its beginning, if it did."""
    if not replayed.troubles or any(reply.data for reply in replayed.replies):
        return ""
    error = replayed.troubles[0].error
    return f"{type(error).__name__}: {error}"


# ---------------------------------------------------------------------------------- by meaning
def compare_messages(trace: Trace, played: Filter, *, twice: bool = True) -> Compared:
    """Recorded verdicts and edits with those of a filter, message by message."""
    old = recorded_answers(trace)
    return _compare(trace, old, played, as_kept, twice=twice)


def compare_filters(trace: Trace, old: Filter, new: Filter, *, twice: bool = True) -> Compared:
    """What two filters make of the same messages."""
    return _compare(trace, replay(trace, old), new, lambda replayed: replayed, twice=twice)


def _compare(
    trace: Trace,
    old: Replayed,
    played: Filter,
    see: Callable[[Replayed], Replayed],
    *,
    twice: bool,
) -> Compared:
    """``see`` makes what the filter says comparable with the old."""
    new = replay(trace, played)
    found = Compared(
        trace.name,
        trace.source,
        len(old.messages),
        failure=_failure(new),
        gaps=new.gaps,
        problems=trace.problems,
        left_out=left_out(trace),
        asked=new.asked,
    )
    is_pure = not twice or replay(trace, played).replies == new.replies
    differing = pairs_that_differ(old.messages, see(new).messages)
    if not differing and is_pure:
        return found
    observed = replay(trace, played, observed=True)
    return evolve(
        found,
        differing=_explained(differing, old, see(observed)),
        impure=() if is_pure else _impure(trace, played, observed),
    )


def _explained(
    pairs: Iterable[MessageDifference], old: Replayed, new: Replayed
) -> tuple[MessageDifference, ...]:
    return tuple(evolve(one, why=_why(one, old, new)) for one in pairs)


def pairs_that_differ(
    old: Iterable[MessageStory], new: Iterable[MessageStory]
) -> list[MessageDifference]:
    """The same messages of a session, if they are not the same in the end.

    If a filter does not get a message's beginning, the message begins later for it: they are the
    same where they lie at the same place.
    """
    waiting = deque(new)
    found = []
    for message in old:
        while waiting and waiting[0].last < message.first:
            waiting.popleft()
        other = waiting[0] if waiting and waiting[0].first <= message.last else None
        if other is None:
            other = evolve(message, outcome=Fate.NEVER_BEGUN, at="", verdict=None, edits=(), refused=())
        kinds = kinds_of_difference(message, other)
        if other.outcome is Fate.GIVEN_UP and message.outcome not in (Fate.GIVEN_UP, Fate.UNANSWERED):
            # what would have followed is not in the recording
            other = evolve(other, outcome=Fate.UNDECIDED, at="")
        if kinds and message.outcome is not Fate.UNANSWERED:
            found.append(MessageDifference(message, other, kinds))
    return found


def kinds_of_difference(old: MessageStory, new: MessageStory) -> tuple[str, ...]:
    """In what two ends of the same message differ; nothing if they mean the same.

    Of mail that is refused nothing but that counts.
    """
    if old.outcome != new.outcome or _reply_of(old) != _reply_of(new):
        return ("verdict",)
    kinds = [kind for kind in KINDS[1:] if _edits(old.edits, kind) != _edits(new.edits, kind)]
    if old.refused != new.refused and "recipients" not in kinds:
        kinds.append("recipients")
    return tuple(kinds)


def _reply_of(message: MessageStory) -> object:
    """What is said with a verdict, if the filter chooses it."""
    return message.verdict if isinstance(message.verdict, act.ReplyCode) else None


_KIND_OF: Final[dict[type[Any], str]] = {
    act.AddHeader: "headers",
    act.InsertHeader: "headers",
    act.ChangeHeader: "headers",
    act.DeleteHeader: "headers",
    act.AddRecipient: "recipients",
    act.DeleteRecipient: "recipients",
    act.ChangeSender: "sender",
    act.ReplaceBody: "body",
    act.Quarantine: "verdict",
    Unreadable: "headers",
}


def _edits(edits: Iterable[act.Modification | Unreadable], kind: str) -> list[Any]:
    """The edits of a kind, in order; a new body as one, whatever it was cut into."""
    return [edit for edit in join_bodies(edits) if _KIND_OF[type(edit)] == kind]


def _why(one: MessageDifference, old: Replayed, new: Replayed) -> Difference | None:
    """The first step of a message at which the two say something that is not the same in effect."""
    first = min(one.old.first, one.new.first)
    for before, after, steps in zip(old.replies, new.replies, new.steps, strict=True):
        is_before = before.exchange.number < first and before.exchange.name not in ("connect", "hello")
        if not is_before and _effect(before) != _effect(after):
            return explain(before, after, steps)
    return None


def _effect(reply: Reply) -> list[Any]:
    """What an answer does: no answer goes on, and so does Continue; edits in sending order."""
    is_end = reply.exchange.name == "end_of_message"
    nothing = act.Negotiate | act.Accept if is_end else act.Negotiate
    said = (one for one in reply.actions if decides(one) and not isinstance(one, nothing))
    return sorted(said, key=_kind)


# ------------------------------------------------------------------------------------- purity
def _impure(trace: Trace, played: Filter, first: Replayed) -> tuple[Impure, ...]:
    """The first handler that says something else when the session is played again."""
    second = replay(trace, played, observed=True)
    for reply, steps, others in zip(first.replies, first.steps, second.steps, strict=True):
        for one, other in zip_longest(steps, others):
            culprit = one or other
            if one is None or other is None or _what(one) != _what(other):
                return (
                    Impure(
                        culprit.handler.name if culprit.handler else "",
                        trace.name,
                        reply.exchange.queue_id,
                        reply.exchange.number,
                        reply.exchange.name,
                        one.actions if one else (),
                        other.actions if other else (),
                    ),
                )
    return ()


def _what(step: Step) -> tuple[Any, ...]:
    """What a handler did, as far as it can be compared."""
    return type(step.event), step.actions, type(step.error), step.sent

"""The stock properties: what holds for every good filter, whatever it is for.

Each takes a `Trial` and yields what is wrong; the first finding counts. `PROPERTIES` lists them in the
order in which they are looked at.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from difflib import SequenceMatcher
from itertools import product
from typing import Final

from demyjpy.actions import Modification
from demyjpy.codec import action_row, name_of
from demyjpy.context import Context
from demyjpy.engine.connection import Step
from demyjpy.errors import LimitError, LocalProtocolError, NegotiationError
from demyjpy.events import Connect, Disconnect, Hello, Mail, Quit
from demyjpy.message import Message
from demyjpy.mta.stored_mail import StoredField, StoredMessage
from demyjpy.testing.dialogue import show
from demyjpy.testing.differences import compare_mtas
from demyjpy.testing.result import Result
from demyjpy.testing.strategies.answer_orders import check_order, check_questions
from demyjpy.testing.strategies.outcome_difference import Finding, outcome_difference
from demyjpy.testing.strategies.trial import Trial, alone
from demyjpy.verdicts import verdicts_in
from demyjpy.wire.fields import decode_text

_LOST: Final = re.compile(r"[^!->@-~]+")
"""White space, and what a filter writes for characters that it cannot read."""

_LONG_ENOUGH: Final = 4

_OUTSIDE: Final = (Connect, Hello, Mail, Quit, Disconnect)
"""Events before which no message is open."""


# ------------------------------------------------------------------------------------- negotiation
def check_negotiation(trial: Trial) -> Iterator[Finding]:
    """It negotiates what it uses, and does without what is not granted."""
    for result in trial.results:
        found = _negotiation_errors(result)
        if found:
            yield Finding(found, result)
    if trial.has_options and not any(_errors(result) for result in trial.results):
        poor = trial.play_poor()
        words = "it fails where the MTA offers no more than it requires"
        yield from (Finding(words, poor, _told(wrong)) for wrong in _errors(poor))


def _negotiation_errors(result: Result) -> str:
    refused = [one.error for one in result.troubles if isinstance(one.error, NegotiationError)]
    if refused:
        return f"it asks for what is not offered: {refused[0]}"
    for step in result.observed:
        edits = [action for action in step.actions if isinstance(action, Modification)]
        missing = {action_row(edit).permission for edit in edits} - step.before["actions"]
        if missing:
            return f"it uses {', '.join(sorted(missing))} without declaring it in actions="
    return ""


# ---------------------------------------------------------------------------------------- verdicts
def check_verdicts(trial: Trial) -> Iterator[Finding]:
    """It answers once, and only if an answer is due."""
    for result in trial.results:
        for step in result.observed:
            verdicts = list(map(repr, verdicts_in(step.actions)))
            event = name_of(step.event)
            if len(verdicts) > 1:
                words = f"at {event} it answers {len(verdicts)} times: {', '.join(verdicts)}"
                yield Finding(words, result)
            if verdicts and isinstance(step.error, LocalProtocolError):
                yield Finding(f"at {event} it may not answer {verdicts[0]}", result, _told(step))


# ------------------------------------------------------------------------------------------ errors
def check_errors(trial: Trial) -> Iterator[Finding]:
    """It never raises, and returns a context that can be used."""
    for result in trial.results:
        for step in _errors(result):
            yield Finding(f"it fails at {name_of(step.event)}", result, _told(step))
        for trouble in result.troubles:
            error = trouble.error
            if isinstance(error, LimitError) and trouble.event == "message":
                continue  # the filter said with limit= that it does not want so large a message
            yield Finding("the session is broken off", result, f"{type(error).__name__}: {error}")


def _errors(result: Result) -> list[Step]:
    return [step for step in result.observed if step.error is not None]


def _told(step: Step) -> str:
    return f"{_shown(step)}: {type(step.error).__name__}: {step.error}"


def _shown(step: Step) -> str:
    handler = step.handler.name if step.handler else "the filter"
    return f"{handler}({step.event!r:.200})"


# ---------------------------------------------------------------------------------------- messages
def check_values(trial: Trial) -> Iterator[Finding]:
    """Nothing keeps a message as a value after it has ended, and its body is gone then."""
    for result in trial.results if trial.gets_messages else ():
        outside = [step for step in result.observed if isinstance(step.event, _OUTSIDE)]
        contexts = [played.context for played in result.steps]
        contexts += [ctx for step in outside for ctx in (step.before, step.after)]
        keys = sorted({key for ctx in contexts for key in _keys_of_messages(ctx)})
        if keys:
            yield Finding(
                f"after the end of a message the context holds a Message under {', '.join(keys)}: keep "
                "what you need of it, not the Message",
                result,
            )
        for step in result.at("message"):
            if isinstance(step.event, Message) and _has_body(step.event):
                yield Finding("the body can be read after the message has ended", result, _shown(step))


def check_identity(trial: Trial) -> Iterator[Finding]:
    """A wish that the message becomes what it is changes nothing."""
    if trial.gets_messages:
        same, plain = trial.play_identity(), trial.plain[0]
        edits = [edit for message in same.messages for edit in message.actions]
        if edits:
            yield Finding("become(ctx, event) sends edits", same, "\n".join(map(repr, edits)))
        difference = outcome_difference(
            plain.steps, same.steps, "without a filter", "become(ctx, event)"
        )
        if difference:
            yield Finding("become(ctx, event) changes what becomes of the mail", same, difference)


def _keys_of_messages(ctx: Context) -> Iterator[str]:
    """Under which keys a context holds a message, also in collections in it."""
    return (str(key) for key, value in ctx.items() if key != "handlers" and _holds_message(value, 3))


def _holds_message(value: object, depth: int) -> bool:
    if isinstance(value, Message) or depth == 0:
        return isinstance(value, Message)
    inner: Iterable[object] = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes):
        inner = value
    return any(_holds_message(one, depth - 1) for one in inner)


def _has_body(message: Message) -> bool:
    try:
        return bool(message.body)
    except LocalProtocolError:  # it is gone, or was too large to be kept
        return False


# --------------------------------------------------------------------------------------- untouched
def check_untouched(trial: Trial) -> Iterator[Finding]:
    """Header fields and bodies that it does not mean to change stay as they are, byte for byte.

    A field is changed without being meant if what it says is the same and only its form is not (white
    space, folding, bytes that are no ASCII), or if it is kept within a new one except for such bytes.
    """
    edited = [any(message.actions for message in result.messages) for result in trial.results]
    for number in range(len(edited)) if any(edited) else ():
        result, plain = trial.results[number], trial.plain[number]
        for played, untouched in zip(result.steps, plain.steps, strict=False):
            old, new = untouched.outcome.mail, played.outcome.mail
            if old is not None and new is not None:
                for mangled in _mangled(old.message, new.message):
                    yield Finding("it changes the form of what it means to keep", result, mangled)


def _mangled(old: StoredMessage, new: StoredMessage) -> Iterator[str]:
    gone, come = _changed(old.seen_fields, new.seen_fields)
    for before, after in product(gone, come):
        if before.is_named(after.name) and _is_mangled(before.raw, after.raw):
            was, now = (show(f"{one.name}:{one.raw}") for one in (before, after))
            yield f"-{was}\n+{now}"
    before_body, after_body = decode_text(old.body), decode_text(new.body)
    if before_body != after_body and _is_mangled(before_body, after_body):
        yield f"-body {old.body!r:.300}\n+body {new.body!r:.300}"


def _changed(
    old: Sequence[StoredField], new: Sequence[StoredField]
) -> tuple[list[StoredField], list[StoredField]]:
    """The fields that are gone, and those that have come."""
    gone: list[StoredField] = []
    come: list[StoredField] = []
    for kind, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            gone += old[i:j]
            come += new[k:m]
    return gone, come


def _is_mangled(old: str, new: str) -> bool:
    loose_old, loose_new = _LOST.sub("", old), _LOST.sub("", new)
    if loose_old == loose_new:
        return old != new
    kept = len(loose_old) >= _LONG_ENOUGH and loose_old in loose_new
    return kept and "".join(old.split()) not in "".join(new.split())


# ------------------------------------------------------------------------------------------ chunks
def check_chunks(trial: Trial) -> Iterator[Finding]:
    """What becomes of a message does not depend on how its body is cut."""
    pieces = trial.play_in_pieces() if trial.may_be_cut else trial.result
    difference = outcome_difference(trial.result.steps, pieces.steps, "uncut", "in pieces")
    if difference:
        sizes = ", ".join(map(str, trial.example.chunk))
        yield Finding(
            f"with a body in pieces of {sizes} ... bytes the outcome is another", pieces, difference
        )


# ------------------------------------------------------------------------------------------- leaks
def check_leaks(trial: Trial) -> Iterator[Finding]:
    """Nothing leaks from one message to another, but what is remembered for the connection.

    The same session has the same outcome again, also with another connection beside it. And a message
    has the outcome that it has alone on a connection that remembers (``ctx["connection"]``) as much.
    """
    first = trial.result
    beside = outcome_difference(
        first.steps, trial.play_beside().steps, "alone", "beside another connection"
    )
    again = beside and outcome_difference(first.steps, trial.play().steps, "once", "again")
    if again:
        yield Finding("the same session has another result when it is played again", first, again)
    if beside:
        yield Finding("another connection at the same time changes what it does", first, beside)
    for one in alone(first.steps):
        own = trial.play_other(one.script, past=one.past)
        lone, here = own.steps[one.before :][: one.end - one.start], first.steps[one.start : one.end]
        leak = outcome_difference(lone, here, "alone", "in this session")
        if leak:
            yield Finding(f"message {one.number} has another result than alone", first, leak)


# -------------------------------------------------------------------------------------------- MTAs
def check_mtas(trial: Trial) -> Iterator[Finding]:
    """Postfix and Sendmail do the same with the mail, except for the place of added header fields.

    Checked only if they do the same without the filter.
    """
    for other in trial.results[1:]:
        difference = compare_mtas(trial.result, other, any_place=True)
        if difference and not any(compare_mtas(trial.plain[0], one) for one in trial.plain[1:]):
            words = f"{trial.result.mta.name} and {other.mta.name} do not do the same"
            yield Finding(words, trial.result, difference)


PROPERTIES: Final[dict[str, tuple[str, Callable[[Trial], Iterator[Finding]]]]] = {
    "negotiation": ("it negotiates what it uses", check_negotiation),
    "verdicts": ("it gives exactly one verdict", check_verdicts),
    "errors": ("it never raises", check_errors),
    "values": ("nothing keeps a message after its end", check_values),
    "identity": ("a wish for the same message changes nothing", check_identity),
    "untouched": ("what it does not mean to touch stays byte-identical", check_untouched),
    "questions": ("no question outlives its message", check_questions),
    "leaks": ("nothing leaks between messages", check_leaks),
    "chunks": ("the result does not depend on how the body is cut", check_chunks),
    "order": ("the result does not depend on when answers come", check_order),
    "mtas": ("both MTAs do the same", check_mtas),
}
"""By short name: the property in words, and its check."""

"""How two results, messages or contexts differ, as lines for a person. Text only."""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from attrs import evolve
from pyrsistent import PMap

from demyjpy import actions as act
from demyjpy.context import ENGINE_KEYS
from demyjpy.errors import LocalProtocolError
from demyjpy.message import Message
from demyjpy.mta.profiles import Profile
from demyjpy.mta.stored_mail import StoredField, StoredMail, StoredMessage
from demyjpy.testing.dialogue import content_lines, show
from demyjpy.testing.result import MessageResult, Result
from demyjpy.wire.fields import Parameters, encode_text


def diff(one: Sequence[str], other: Sequence[str], name: str, other_name: str) -> str:
    """The lines that differ, each with its surroundings; ``""`` if none does."""
    return "\n".join(difflib.unified_diff(one, other, name, other_name, lineterm="", n=2))


# ------------------------------------------------------------------------------------ two MTAs
def compare_mtas(
    one: Result,
    other: Result,
    *,
    any_place: bool = False,
    plain: Callable[[], tuple[Result, Result]] | None = None,
) -> str:
    """How two MTAs differ in what they do with the messages, as a diff; ``""`` if they do not.

    What each writes in its own words is taken as the same: its name, its queue ids, its replies to
    verdicts that leave the text to it, the case of a changed header's name. ``any_place``: so is the
    place of added header fields (Postfix adds at the end, Sendmail before the first of that name).
    ``plain``: what both do with these messages without a filter; what differs there is left out.
    """
    first, second = (_agreed_lines(result, any_place) for result in (one, other))
    if plain is not None and first != second:
        alone, other_alone = (_agreed_lines(result, any_place) for result in plain())
        if len(first) == len(second) == len(alone) == len(other_alone):
            parts = list(zip(first, second, alone, other_alone, strict=True))
            parts = [part for part in parts if part[2][0] == part[3][0]]
            first = [_without(lines, mine, theirs) for lines, _, mine, theirs in parts]
            second = [_without(lines, theirs, mine) for _, lines, mine, theirs in parts]
    names = one.mta.name, other.mta.name
    return diff([*chain.from_iterable(first)], [*chain.from_iterable(second)], *names)


def _without(lines: list[str], mine: list[str], theirs: list[str]) -> list[str]:
    """Without the lines that an MTA writes of its own accord, and the other does not."""
    own = Counter(mine) - Counter(theirs)
    left = []
    for line in lines:
        if own[line]:
            own[line] -= 1
        else:
            left.append(line)
    return left


def _agreed_lines(result: Result, any_place: bool) -> list[list[str]]:
    """The lines of each message."""
    return [
        [
            _without_own_words(line, result.mta, len(result.steps))
            for line in describe_message(number, _settled(message, any_place))
        ]
        for number, message in enumerate(result.messages, 1)
    ]


def _settled(result: MessageResult, any_place: bool) -> MessageResult:
    """With header names in one case; added fields last, in order of their names."""
    if result.mail is None:
        return result
    own = _without_mta_fields(result.mail)
    fields = [evolve(one, name=one.name.title()) for one in own.message.fields]
    added = [
        StoredField(edit.name.title(), edit.raw)
        for edit in result.actions
        if any_place and isinstance(edit, act.AddHeader)
    ]
    for one in added:
        if one in fields:
            fields.remove(one)
    fields += sorted(added, key=lambda field: (field.name, field.raw))
    message = evolve(own.message, fields=tuple(fields))
    return evolve(result, mail=evolve(own, message=message))


def _without_own_words(line: str, mta: Profile, messages: int) -> str:
    for number in range(1, messages + 1):
        line = line.replace(mta.queue_id(number), "(queue id)")
    return line.replace(mta.host, "(host)")


# ---------------------------------------------------------------------------------- as lines
def describe_message(number: int, message: MessageResult) -> list[str]:
    """One of them: first its verdict."""
    return [f"message {number}: {describe_verdict(message)}", *describe_mail(message)]


def describe_verdict(message: MessageResult) -> str:
    """The verdict and, if the filter chose it, the reply; else the reply's class."""
    verdict = message.verdict
    if isinstance(verdict, act.ReplyCode):
        return f"{verdict!r}"
    name = type(verdict).__name__ if verdict else "refused by the MTA"
    return f"{name} ({message.reply.code // 100}xx)"


def describe_mail(message: MessageResult) -> list[str]:
    """Envelope, quarantine and the message without the MTA's own fields; nothing if refused."""
    return [] if message.mail is None else mail_lines(_without_mta_fields(message.mail))


def _without_mta_fields(mail: StoredMail) -> StoredMail:
    message = mail.message
    return evolve(mail, message=evolve(message, fields=message.seen_fields))


def mail_lines(mail: StoredMail) -> list[str]:
    """Envelope, quarantine and message, all fields."""
    held = [] if mail.quarantine is None else [f"held: {mail.quarantine}"]
    return [*_envelope_lines(mail), *held, *message_lines(mail.message)]


def _envelope_lines(mail: StoredMail) -> list[str]:
    envelope = mail.envelope
    lines = [("MAIL FROM", envelope.sender, envelope.parameters)]
    lines += [("RCPT TO", address, parameters) for address, parameters in envelope.recipients]
    return _given_lines(lines)


def _given_lines(lines: Sequence[tuple[str, str, Parameters]]) -> list[str]:
    return [
        show(" ".join((f"{verb}:<{address}>", *parameters.as_words())))
        for verb, address, parameters in lines
    ]


def message_lines(message: StoredMessage) -> list[str]:
    """A message line by line, header fields exactly."""
    fields = [
        show_bytes_line(line)
        for field in message.fields
        if not field.is_deleted
        for line in encode_text(f"{field.name}:{field.raw}").split(b"\n")
    ]
    return [*fields, "", *(content_lines(message.body) if message.body else [])]


def value_lines(message: Message) -> list[str]:
    """A message as a value line by line, with its envelope; of a body that is gone only the size."""
    given = [("MAIL FROM", message.sender, message.sender_parameters)]
    given += [("RCPT TO", one.address, one.parameters) for one in message.recipients]
    fields = tuple(StoredField(one.name, one.raw) for one in message.fields)
    try:
        body = message.body
    except LocalProtocolError:
        size = message.size - len(bytes(evolve(message, content=b"")))
        return [*_given_lines(given), *message_lines(StoredMessage(fields)), f"(body of {size} bytes)"]
    return [*_given_lines(given), *message_lines(StoredMessage(fields, body))]


def show_bytes_line(line: bytes) -> str:
    """A line in which what is no text is escaped."""
    return show(line.decode("utf-8", "surrogateescape"))


# ------------------------------------------------------------------------------ for assertions
def explain_difference(left: object, right: object) -> list[str]:
    """Why two values of this library are not equal, line by line; nothing for other values."""
    for kind, describe in _DESCRIBED:
        if isinstance(left, kind) and isinstance(right, kind):
            return _changes(describe(left), describe(right))
    if _are_messages(left) and _are_messages(right):
        return _changes(_full_lines(left), _full_lines(right))
    return []


def _are_messages(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, MessageResult) for one in value)


def _changes(left: Sequence[str], right: Sequence[str]) -> list[str]:
    if left == right:
        return ["no difference to be seen: the values differ in kind"]
    return [line for line in difflib.ndiff(right, left) if line[0] != "?"]


def _full_lines(messages: Any) -> list[str]:
    return [line for one in messages for line in _message_result_lines(one)]


def _message_result_lines(message: MessageResult) -> list[str]:
    edits = [f"asked: {edit!r}" for edit in message.actions]
    return [f"{message.verdict!r}: {show(str(message.reply))}", *edits, *describe_mail(message)]


def _result_lines(result: Result) -> list[str]:
    return [*result.dialogue.splitlines(), *_full_lines(result.messages)]


def _context_lines(ctx: "PMap[str, Any]") -> list[str]:
    """One line a key; the engine's only if they hold something of the session."""
    own = {key: value for key, value in ctx.items() if key not in ENGINE_KEYS - {"queue", "connection"}}
    lines = [f"{key}: {value!r}" for key, value in own.items() if key not in ("queue", "connection")]
    lines += [f"queued: {action!r}" for action in own.get("queue", ())]
    lines += [f"remembered {key}: {value!r}" for key, value in sorted(own.get("connection", {}).items())]
    return sorted(lines)


_DESCRIBED: tuple[tuple[type[Any], Callable[[Any], list[str]]], ...] = (
    (Message, value_lines),
    (StoredMessage, message_lines),
    (StoredMail, mail_lines),
    (MessageResult, _message_result_lines),
    (Result, _result_lines),
    (PMap, _context_lines),
)

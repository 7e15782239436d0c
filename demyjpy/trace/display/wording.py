"""Verdicts, changes and messages in words, made harmless for a terminal and a log. Text only."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from demyjpy import actions as act
from demyjpy.codec import EVENTS
from demyjpy.engine.negotiation import action_names
from demyjpy.findings import Finding
from demyjpy.questions import Ask
from demyjpy.reports import Count, Note, words_of_report
from demyjpy.requests import Request
from demyjpy.shown import safe
from demyjpy.trace.format.exchanges import Unreadable
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.trace.format.question_words import question_words
from demyjpy.trace.format.scrubbing import USUAL_FIELDS
from demyjpy.verdicts import Fate, verdicts_in
from demyjpy.wire.codes import ProtocolFlag
from demyjpy.wire.fields import Parameters

__all__ = [
    "again_words",
    "answer_words",
    "change_words",
    "edit_words",
    "ending",
    "envelope",
    "finding_words",
    "flag_words",
    "path_words",
    "plural",
    "safe",
    "shorten",
    "summary_of",
    "verdict_words",
    "withheld_words",
    "words_of",
]

_LONGEST: Final = 160  # characters of a line that are shown
_LONGEST_VALUE: Final = 60  # characters of the name or value of a finding that are shown
_MOST_WORDS: Final = 8  # changes of a message that one line names
_USUAL_NAMES: Final = {one.lower(): one for one in (*USUAL_FIELDS, "Authentication-Results", "Bcc")}
_BEGINNINGS: Final = ("X-Spam-", "X-Virus-", "ARC-", "List-", "Resent-", "Disposition-Notification-")
_EXTRAS: Final = {
    ProtocolFlag.SKIP: "may skip the rest of a body",
    ProtocolFlag.RCPT_REJ: "refused recipients too",
    ProtocolFlag.HDR_LEADSPC: "header values exact",
    ProtocolFlag.MDS_256K: "packets of 256 KiB",
    ProtocolFlag.MDS_1M: "packets of 1 MiB",
}


def shorten(text: str) -> str:
    """A line that is not too long for a terminal, made safe."""
    text = safe(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} [{len(text) - _LONGEST} more]"


def plural(number: int, noun: str, form: str = "") -> str:
    """``1 mail``, ``2 mails``; with ``form=","`` ``12,345 mails``."""
    return f"{number:{form}} {noun}{'' if number == 1 else 's'}"


def verdict_words(verdict: object) -> str:
    """A verdict, as short as it can be said."""
    if isinstance(verdict, act.ReplyCode):
        words = (str(verdict.code), verdict.enhanced or "", " / ".join(verdict.lines))
        return safe(f"reply {' '.join(filter(None, words))}")
    names = {"TemporaryFailure": "tempfail"}
    name = type(verdict).__name__
    return names.get(name, name.lower())


def edit_words(edit: act.Modification) -> str:
    """A modification in words."""
    return shorten(" ".join(_edit_words(edit).split()))


def _edit_words(edit: act.Modification) -> str:
    match edit:
        case act.AddHeader():
            return f"add header {edit.name}: {edit.value}"
        case act.InsertHeader():
            return f"insert header at {edit.index} {edit.name}: {edit.value}"
        case act.DeleteHeader() | act.ChangeHeader(value=""):
            return f"delete header {edit.name} no. {edit.index}"
        case act.ChangeHeader():
            return f"change header {edit.name} no. {edit.index} to: {edit.value}"
        case act.ReplaceBody():
            return f"replace body, {plural(len(edit.data), 'byte')}"
        case act.AddRecipient():
            return f"add recipient {path_words(edit.address, edit.parameters)}"
        case act.DeleteRecipient():
            return f"delete recipient <{edit.address}>"
        case act.ChangeSender():
            return f"change sender to {path_words(edit.address, edit.parameters)}"
        case _:
            return f"quarantine: {edit.reason}"


def again_words(event: str) -> str:
    """What a handler got at the end of a message, in brackets behind its name; empty for no event."""
    if not event:
        return ""
    return " (message)" if event == "message" else f" ({event}, for which it waited)"


def summary_of(edits: Iterable[Any]) -> str:
    """What modifications change, in words, without the new texts: ``Subject changed, body replaced``.

    It is for a log, in which nothing of a mail is: fields that came with it are named if their names
    are usual, else it counts them. It names no more than fits in a line.
    """
    all_words = [*_field_words(edits := tuple(edits)), *_other_words(edits)]
    left = len(all_words) - _MOST_WORDS
    return safe(", ".join(all_words[:_MOST_WORDS]) + (f" and {left} more" if left > 0 else ""))


def _field_words(edits: Iterable[Any]) -> Iterator[str]:
    """What became of header fields."""
    names: dict[str, list[str]] = {"changed": [], "deleted": [], "added": []}
    for edit in edits:
        match edit:
            case act.DeleteHeader() | act.ChangeHeader(raw=""):
                names["deleted"].append(edit.name)
            case act.ChangeHeader():
                names["changed"].append(edit.name)
            case act.AddHeader() | act.InsertHeader():
                names["added"].append(edit.name)
    for done, found in names.items():
        groups: dict[str, int] = {}
        for name in found:
            kind = shorten(name) if done == "added" else _usual_name(name)
            groups[kind] = groups.get(kind, 0) + 1
        for kind, count in groups.items():
            is_one = count == 1 and kind and not kind.endswith("*")
            yield (
                f"{kind} {done}"
                if is_one
                else " ".join(filter(None, (plural(count, "field"), kind, done)))
            )


def _usual_name(name: str) -> str:
    """The name of a usual field, or how such names begin; empty for others, which come from the mail."""
    lower = name.lower()
    beginning = next((one for one in _BEGINNINGS if lower.startswith(one.lower())), "")
    return _USUAL_NAMES.get(lower) or (f"{beginning}*" if beginning else "")


def _other_words(edits: Iterable[Any]) -> Iterator[str]:
    """What became of the rest; a quarantine is a fate and no change."""
    recipients: dict[str, list[str]] = {"added": [], "deleted": []}
    for edit in edits:
        match edit:
            case act.ReplaceBody():
                yield f"body replaced ({plural(len(edit.data), 'byte', ',')})"
            case act.AddRecipient():
                recipients["added"].append(edit.address)
            case act.DeleteRecipient():
                recipients["deleted"].append(edit.address)
            case act.ChangeSender():
                yield f"sender changed to <{shorten(edit.address)}>"
            case Unreadable():
                yield change_words(edit)
    for done, found in recipients.items():
        if len(found) == 1:
            yield f"recipient <{shorten(found[0])}> {done}"
        elif found:
            yield f"{len(found)} recipients {done}"


def path_words(address: str, parameters: Parameters) -> str:
    """An address in angle brackets, and its ESMTP parameters."""
    return " ".join((f"<{address}>", *parameters.as_words()))


def change_words(edit: Any) -> str:
    """A change in words, also one that nobody understands."""
    if isinstance(edit, Unreadable):
        return f"a packet {edit.letter!r} that cannot be read"
    return edit_words(edit)


def words_of(action: Any) -> str:
    """An action in words, or a note or count."""
    if isinstance(action, Note | Count):
        kind = "notes" if isinstance(action, Note) else "counts"
        return f"{kind} {safe(words_of_report(action))}"
    if isinstance(action, act.Negotiate):
        return (
            f"negotiates version {action.version}, actions {int(action.actions):#x}, "
            f"steps {int(action.protocol):#x}" + (", and asks for macros" if action.macros else "")
        )
    if isinstance(action, Ask):
        return f"ask {shorten(action.key)}: {question_words(action.question)}"
    if isinstance(action, Request):
        return shorten(_written(action))
    is_change = isinstance(action, act.Modification | Unreadable)
    return change_words(action) if is_change else verdict_words(action)


def answer_words(actions: Iterable[Any]) -> str:
    """All that was said to an event, in words."""
    return "; ".join(map(words_of, actions)) or "nothing"


def withheld_words(actions: Sequence[Any]) -> str:
    """What a filter that is only tried would have said, for a log: without the new texts of edits."""
    edits = [one for one in actions if isinstance(one, act.Modification)]
    verdicts = [verdict_words(one) for one in verdicts_in(actions)]
    is_held = any(isinstance(one, act.Quarantine) for one in edits)
    words = [*verdicts, *(["quarantine"] if is_held else []), summary_of(edits)]
    return ", ".join(filter(None, words))


def finding_words(found: Finding) -> str:
    """A finding in words: name, value, score, source, author."""
    value = found.value if isinstance(found.value, str) else _written(found.value)
    score = f", score {found.score:g}" if found.score else ""
    source = "" if found.source == "filter" else f", from {found.source}"
    by = "" if found.author is None else f", by {found.author}"
    cut = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
    return safe(f"{found.name[:_LONGEST_VALUE]} {cut}{score}{source}{by}")


def _written(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # it is the user's
        return f"a {type(value).__name__} whose repr fails: {type(error).__name__}"


def envelope(message: MessageStory) -> str:
    """Sender and recipients, as far as the filter was asked about them."""
    if message.sender is None and not message.recipients:
        return "envelope not seen"
    sender = "?" if message.sender is None else f"<{message.sender}>"
    first = f"<{message.recipients[0]}>" if message.recipients else "?"
    others = len(message.recipients) + message.left_out - 1
    more = f" and {others} more" if others > 0 else ""
    return safe(f"{sender} -> {first}{more}")


def ending(
    message: MessageStory,
    decider: str = "",
    editors: Iterable[str] = (),
    *,
    says_what: bool = False,
) -> str:
    """What became of it, and where that was decided; by which handlers, if that is known.

    ``says_what``: and what the changes are, in words.
    """
    if message.outcome is Fate.UNDECIDED:
        return "undecided: it goes on, and the recording ends there"
    words = str(message.outcome)
    is_usual = message.at == "end_of_message" and message.outcome.goes_on
    if message.at and not is_usual:
        words += f" at {message.at}"
    if message.verdict is not None and type(message.verdict).__name__ == "ReplyCode":
        words += f" ({verdict_words(message.verdict)})"
    if decider:
        words += f" by {safe(decider)}"
    changes = [edit for edit in message.edits if not isinstance(edit, act.Quarantine)]
    if changes:
        by = safe(", ".join(dict.fromkeys(editors)))
        words += f", {plural(len(changes), 'change')}" + (f" by {by}" if by else "")
        if says_what:
            words += f" ({summary_of(changes)})"
    return words


def flag_words(actions: Any, protocol: Any) -> str:
    """The two flag words of a negotiation in words."""
    parts = [", ".join(sorted(action_names(actions))) or "no changes"]
    parts += _listed("without", [row.name for row in EVENTS.values() if row.off & protocol])
    parts += _listed("no answer to", [row.name for row in EVENTS.values() if row.quiet & protocol])
    parts += [words for flag, words in _EXTRAS.items() if flag & protocol]
    return "; ".join(parts)


def _listed(title: str, names: list[str]) -> list[str]:
    return [f"{title} {', '.join(names)}"] if names else []

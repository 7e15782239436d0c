"""Verdicts, changes and messages in words, made harmless for a terminal and a log. Text only."""

from collections.abc import Iterable
from typing import Any, Final

from demyjpy import actions as act
from demyjpy.codec import EVENTS
from demyjpy.engine.negotiation import action_names
from demyjpy.shown import safe
from demyjpy.trace.format.exchanges import Unreadable
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.verdicts import Fate
from demyjpy.wire.codes import ProtocolFlag
from demyjpy.wire.fields import Parameters

__all__ = [
    "answer_words",
    "change_words",
    "edit_words",
    "ending",
    "envelope",
    "flag_words",
    "path_words",
    "plural",
    "safe",
    "shorten",
    "verdict_words",
    "words_of",
]

_LONGEST: Final = 160  # characters of a line that are shown
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


def plural(number: int, noun: str) -> str:
    """``1 mail``, ``2 mails``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


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


def path_words(address: str, parameters: Parameters) -> str:
    """An address in angle brackets, and its ESMTP parameters."""
    return " ".join((f"<{address}>", *parameters.as_words()))


def change_words(edit: Any) -> str:
    """A change in words, also one that nobody understands."""
    if isinstance(edit, Unreadable):
        return f"a packet {edit.letter!r} that cannot be read"
    return edit_words(edit)


def words_of(action: Any) -> str:
    """An action in words."""
    if isinstance(action, act.Negotiate):
        return (
            f"negotiates version {action.version}, actions {int(action.actions):#x}, "
            f"steps {int(action.protocol):#x}" + (", and asks for macros" if action.macros else "")
        )
    is_change = isinstance(action, act.Modification | Unreadable)
    return change_words(action) if is_change else verdict_words(action)


def answer_words(actions: Iterable[Any]) -> str:
    """All that was said to an event, in words."""
    return "; ".join(map(words_of, actions)) or "nothing"


def envelope(message: MessageStory) -> str:
    """Sender and recipients, as far as the filter was asked about them."""
    if message.sender is None and not message.recipients:
        return "envelope not seen"
    sender = "?" if message.sender is None else f"<{message.sender}>"
    first = f"<{message.recipients[0]}>" if message.recipients else "?"
    others = len(message.recipients) + message.left_out - 1
    more = f" and {others} more" if others > 0 else ""
    return safe(f"{sender} -> {first}{more}")


def ending(message: MessageStory, decider: str = "", editors: Iterable[str] = ()) -> str:
    """What became of it, and where that was decided; by which handlers, if that is known."""
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

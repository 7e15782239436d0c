"""Why did it do that to this mail? A message of a trace in full sentences. Text only."""

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import evolve

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.requests import Request
from demyjpy.trace.display.wording import (
    answer_words,
    change_words,
    ending,
    envelope,
    finding_words,
    plural,
    safe,
    shorten,
    verdict_words,
    words_of,
)
from demyjpy.trace.format.exchanges import Exchange, readable_actions
from demyjpy.trace.format.json_lines import seconds_of
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.trace.format.question_words import learned_words
from demyjpy.trace.format.recorded_steps import findings_in, learned_in
from demyjpy.trace.format.records import Record
from demyjpy.trace.format.trace import Trace
from demyjpy.verdicts import Fate, decides, is_verdict, join_bodies, verdicts_in

_MOST_LEARNED = 20  # answers that are shown of one handler


def sentences(trace: Trace, message: MessageStory) -> Iterator[str]:
    """A message of a trace in full sentences: who said what, who decided, what was changed."""
    own = trace.exchanges[message.first - 1 : message.last]
    before = trace.greetings_before(message.first)
    is_cut = _is_cut(trace, message)
    if is_cut:
        message = evolve(message, outcome=Fate.UNDECIDED, at="")
    asked = f", as {safe(message.milter)} was asked about it" if message.milter else ""
    yield f"Message {safe(message.name)}, {envelope(message)}{asked}: {ending(message)}."
    if message.client:
        hello = f" and said hello as {safe(message.helo)}" if message.helo else ""
        yield f"{safe(message.client)} connected{hello}."
    yield from _envelope_sentences(message)
    for exchange in (*before, *own):
        yield from _step_sentences(exchange, message)
    if is_cut:
        why = safe(trace.reason) or "the session was still open, or the rest is lost"
        yield f"The recording ends here: {why}."
    else:
        yield _decision(message, [*before, *own])
    yield from _edit_sentences(message, own)
    records = [record for one in own for record in one.records]
    if spent := sum(map(_duration, records)):
        slowest = max(records, key=_duration)
        yield (
            f"The handlers took {spent * 1000:.1f} ms, {_duration(slowest) * 1000:.1f} ms of it "
            f"{_name(slowest)} at {slowest.get('again') or slowest.get('event')}."
        )


def _is_cut(trace: Trace, message: MessageStory) -> bool:
    """Whether the recording ends before the message does."""
    is_last = message.last == trace.exchanges[-1].number
    is_open = message.outcome is Fate.UNANSWERED or (message.outcome, message.at) == (
        Fate.GIVEN_UP,
        "disconnect",
    )
    return trace.how == "cut" and is_last and is_open


def _envelope_sentences(message: MessageStory) -> Iterator[str]:
    who = "It" if message.client else "The client"
    if message.sender is not None:
        yield f"{who} gave the sender <{safe(message.sender)}>."
    taken = len(message.recipients) - len(message.refused)
    if message.recipients:
        names = ", ".join(f"<{safe(one)}>" for one in message.recipients)
        yield f"{who} gave {plural(len(message.recipients), 'recipient')}: {names}."
    if message.refused:
        yield f"The filter refused {len(message.refused)} of them, and {taken} stayed."


def _step_sentences(exchange: Exchange, message: MessageStory) -> Iterator[str]:
    """What handlers learned, asked for or did wrong at a step, if that is not only going on."""
    for record in exchange.records:
        name, error = _name(record), record.get("error")
        yield from _learned_sentences(record)
        if isinstance(error, dict):
            what = shorten(f"{error.get('type')}: {error.get('text')}")
            where = _again(record) or exchange.name
            yield _sentence(f"{name} failed at {where}: {what}.")
        odd = record.get("odd")
        if isinstance(odd, list) and _actions(record):
            words = shorten("; ".join(map(str, odd)))
            yield (
                f"Out of turn, {name} said at {_place(exchange)}: {answer_words(_actions(record))} "
                f"({words}). What the MTA made of that is not in the recording."
            )
            continue
        if withheld := readable_actions(record, "withheld"):
            where = _again(record) or _place(exchange)
            words = answer_words(join_bodies(withheld))
            yield _sentence(f"{name} is only tried, and would have at {where}: {words}.")
        for verdict in _verdicts(record):
            decided = exchange.name == message.at and verdict == message.verdict
            if decides(verdict) and not decided:
                where = _again(record) or _place(exchange)
                yield _sentence(f"{name} asked for {verdict_words(verdict)} at {where}.")
        for found in findings_in(record):
            where = _again(record) or _place(exchange)
            yield f"Finding at {where}: {finding_words(found)}."


def _learned_sentences(record: Record) -> Iterator[str]:
    """The answers that had come when a handler ran."""
    learned = learned_in(record)
    for one in learned[:_MOST_LEARNED]:
        yield f"{safe(one.filter)} asked: {learned_words(one)}."
    if len(learned) > _MOST_LEARNED:
        yield f"And {len(learned) - _MOST_LEARNED} questions more were asked there."


def _again(record: Record) -> str:
    """The event that a handler got at the end of the message: it had waited, or it got all of it."""
    name = record.get("again")
    if name == "message":  # it comes at the end always
        return "message"
    return f"{safe(name)}, which it got at end_of_message" if isinstance(name, str) else ""


def _place(exchange: Exchange) -> str:
    """The step, and what it was about."""
    match exchange.readable_event:
        case ev.Recipient(address=address):
            return f"recipient <{safe(address)}>"
        case ev.Header(name=name):
            return f"header {safe(name)}"
        case _:
            return exchange.name


def _decision(message: MessageStory, exchanges: Iterable[Exchange]) -> str:
    verdict = message.verdict
    if message.outcome is Fate.UNANSWERED:
        return "The filter never answered at its end."
    if verdict is None:
        return f"It was given up by the MTA or its client ({message.at}), not by the filter."
    if isinstance(verdict, act.Continue):
        return f"No handler objected: the answer at {message.at} was to go on."
    deciders = [
        _name(record)
        for one in exchanges
        if one.name == message.at
        for record in one.records
        if "odd" not in record and verdict in _verdicts(record)
    ]
    if deciders:
        return _sentence(f"{deciders[-1]} decided at {message.at}: {verdict_words(verdict)}.")
    return f"The answer at {message.at} was {verdict_words(verdict)}."


def _edit_sentences(message: MessageStory, exchanges: Iterable[Exchange]) -> Iterator[str]:
    """The changes, with who asked for them; also those that were not made."""
    asked = _asked_by(exchanges)
    made = message.edits
    is_chain = len({name.partition(": ")[0] for name, _ in asked}) > 1
    who = {_in_common(edit): name for name, edit in asked} | {_same(edit): name for name, edit in asked}
    for edit in made:
        name = who.get(_same(edit)) or (who.get(_in_common(edit)) if is_chain else None)
        yield f"Change: {change_words(edit)}{f', asked for by {name}' if name else ''}."
    kept = {*map(_same, made), *(map(_in_common, made) if is_chain else ())}
    for name, edit in asked:
        if _same(edit) in kept or _in_common(edit) in kept:
            continue
        if not message.outcome.goes_on:
            why = f"because the mail was {message.outcome}"
        elif is_chain:
            why = "but not in the changes that all filters together made"
        else:
            why = "because it was not sent"
        yield f"Dropped: {words_of(edit)}, asked for by {name}, {why}."


def _in_common(edit: Any) -> object:
    """What an edit of one of several filters has in common with what is sent for all of them.

    Numbers and places of fields are others then.
    """
    match edit:
        case act.DeleteHeader() | act.ChangeHeader(value=""):
            return "delete", edit.name.lower()
        case act.AddHeader() | act.InsertHeader() | act.ChangeHeader():
            return "field", edit.name.lower(), edit.value.strip()
        case act.AddRecipient() | act.DeleteRecipient() | act.ChangeSender():
            return type(edit), edit.address
        case _:
            return _same(edit)


def _asked_by(exchanges: Iterable[Exchange]) -> list[tuple[str, Any]]:
    """Edits with who asked for them; a new body that one asked for in pieces is one edit."""
    asked: dict[str, list[Any]] = {}
    for one in exchanges:
        for record in one.records:
            if "odd" not in record:
                said = (one for one in _actions(record) if not _is_no_edit(one))
                edits = asked.setdefault(_name(record), [])
                edits += (one for one in said if not isinstance(one, act.Progress))
    return [(name, edit) for name, edits in asked.items() for edit in join_bodies(edits)]


def _is_no_edit(one: Any) -> bool:
    """Whether it is a verdict, or something for the driver."""
    return isinstance(one, Request) or is_verdict(one)


def _same(edit: Any) -> object:
    """What two edits have in common if they are the same; bodies by what they are."""
    return edit if isinstance(edit, act.ReplaceBody) else repr(edit)


def _sentence(text: str) -> str:
    """With a capital, unless it begins with the name of a function."""
    return f"T{text[1:]}" if text.startswith("the ") else text


def _name(record: Record) -> str:
    name = record.get("handler")
    return safe(name) if isinstance(name, str) else "the filter"


def _duration(record: Record) -> float:
    return seconds_of(record.get("duration"))


def _actions(record: Record) -> tuple[Any, ...]:
    """What a handler queued, unless that was withheld; its answer if the filter did not record it."""
    if "withheld" in record:
        return ()
    return readable_actions(record, "actions" if "handler" in record else "answer")


def _verdicts(record: Record) -> list[act.Verdict]:
    return verdicts_in(_actions(record))

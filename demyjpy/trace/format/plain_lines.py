"""Makes the lines of what is plain, as `demyjpy.trace.format.converters` would from steps, but cheaply.

A message has some fifty records, and most of them are nearly the same. Here they are text from the
start. How a record of a session begins is made once. What an MTA sends again and again (its macros,
above all), and what a filter nearly always answers, is looked up. `demyjpy.trace.format.records` decides
what a record has, except for the usual form of the most frequent packets. A property test compares these
lines with those of the steps.
"""

from collections.abc import Sequence
from json.encoder import encode_basestring
from struct import Struct
from typing import Any, Final

from demyjpy.codec import EVENTS, decode_event
from demyjpy.codec.commands import event_name
from demyjpy.context import Context, take_actions
from demyjpy.engine.letters import ABORT, BODY, HEADER, MACRO, MAIL, RCPT
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.engine.playback import Called, Played
from demyjpy.findings import new_findings
from demyjpy.handlers import default_event_handler
from demyjpy.registry import Handler
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.json_context import changes, dump_finding
from demyjpy.trace.format.json_events import dump_action
from demyjpy.trace.format.reading import as_line, dump_json
from demyjpy.trace.format.records import Record, about_answer, about_event
from demyjpy.wire.json_bytes import dump_text

_MOST: Final = 1000  # texts of one kind that are kept; with one more, all are made anew
_LONGEST: Final = 1000  # bytes of a packet whose text is kept
_ENVELOPE: Final = {
    MAIL: ',"event":"mail","fields":{"sender":',
    RCPT: ',"event":"recipient","fields":{"address":',
}
_BARE: Final = 5  # bytes of a packet without payload

_take_length: Final = Struct("!I").unpack_from


class PlainLines:
    """Lines of plain parts of sessions, whose other parts a `StepConverter` has; ``raw`` as there.

    What is kept from one session to the next is bounded. It is for one thread.
    """

    def __init__(self, raw: bool = False) -> None:
        self._raw = raw
        self._packets: dict[tuple[int, bytes], str] = {}
        self._outcomes: dict[tuple[int, bytes, int], tuple[Handler[Any] | None, str]] = {}
        self._queue_ids: dict[Any, str] = {}

    def of(self, converter: StepConverter, played: Played) -> bytes:
        """The lines; the converter goes on from there."""
        lines: list[str] = []
        exact, packets = converter.leading_space, self._packets
        begin = f'{{"session":{dump_json(converter.session)},"direction":'
        of_mta, of_filter = f'{begin}"mta","time":', f'{begin}"filter","time":'
        answers = iter(played.answers)
        ctx, macros = played.scope.context, played.scope.macros
        different = _dump_changes(converter.known, ctx)
        fresh = b""  # the last macros, until a command comes
        shown, queue_id = macros, self._queue_id(macros)
        for time, data, given in played.reads:
            commands = iter(given)
            when = repr(time)
            at, stop = 0, len(data)
            while at < stop:
                (length,) = _take_length(data, at)
                start, at = at + 5, at + 4 + length
                letter, payload = data[start - 1], data[start:at]
                calls: Sequence[Called] = ()
                sent = b""
                if letter == MACRO:
                    macros, fresh = _with_fresh(macros, fresh), payload
                else:
                    calls, replies = next(commands)
                    sent = next(answers) if replies else b""
                    is_end = played.ends_message and at == stop and data is played.reads[-1][1]
                    macros = calls[0][1]["macros"] if calls else _met(macros, fresh, letter, is_end)
                    fresh = b""
                if macros is not shown:
                    shown, queue_id = macros, self._queue_id(macros)
                said = packets.get((letter, payload)) or self._packet(letter, payload, exact)
                lines.append(f"{of_mta}{when}{said}{different}{queue_id}}}\n")
                different = ""
                if calls:
                    texts, ctx = self._calls(letter, calls, sent, queue_id, exact)
                    lines += [f"{of_filter}{when}{text}}}\n" for text in texts]
                elif sent:
                    text = self._outcome(letter, sent, None, exact)
                    lines.append(f"{of_filter}{when}{text}{queue_id}}}\n")
        converter.go_on_from(ctx)
        try:
            return "".join(lines).encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, in one of them
            return b"".join(map(as_line, lines))

    def _calls(
        self, letter: int, calls: Sequence[Called], sent: bytes, queue_id: str, exact: bool
    ) -> tuple[list[str], Context]:
        """What the handlers of a command did, and the context after them."""
        texts: list[str] = []
        last = calls[-1]
        ctx = last[1]
        for call in calls:
            handler, ctx, after, duration = call
            answer = sent if call is last else b""
            if handler.function is default_event_handler and not answer:
                continue
            text = self._outcome(letter, answer, handler, exact)
            took = "" if duration is None else f',"duration":{duration:.9f}'
            if after is None:
                texts.append(f"{text}{took}{queue_id}")
                continue
            actions, after = take_actions(after)
            if actions:
                text += _members({"actions": [dump_action(one) for one in actions]})
            found = after.get("macros")  # the handler may have put anything there
            queue_id_now = self._queue_id(found) if isinstance(found, Macros) else ""
            new = new_findings(ctx, after)
            if new:
                took += _members({"findings": [dump_finding(one) for one in new]})
            texts.append(f"{text}{took}{_dump_changes(ctx, after)}{queue_id_now}")
            ctx = after
        return texts, ctx

    def _packet(self, letter: int, payload: bytes, exact: bool) -> str:
        """What the MTA said. Macros come again and again; what has no payload is always the same."""
        packet = letter, payload
        found = "" if self._raw else _usual(letter, payload, exact)
        if not found:
            event = decode_event(packet, exact)
            found = _members(about_event(event, packet, exact, raw=self._raw))
        if not payload or (letter == MACRO and len(payload) <= _LONGEST):
            _keep(self._packets, packet, found)
        return found

    def _outcome(self, letter: int, sent: bytes, handler: Handler[Any] | None, exact: bool) -> str:
        """What was answered, and who ran. The handler is kept: nothing else gets its id meanwhile."""
        key = letter, sent, id(handler)
        known = self._outcomes.get(key)
        if known is not None:
            return known[1]
        record = {"event": EVENTS[letter].name}
        if sent:
            record |= about_answer(sent, exact, raw=self._raw)[0]
        if handler is not None:
            record["handler"] = dump_text(handler.name)
        text = _members(record)
        if len(sent) <= _BARE:
            _keep(self._outcomes, key, (handler, text))
        return text

    def _queue_id(self, macros: Macros) -> str:
        """The queue id as a member, if it is known: mostly it comes with the macros of every command."""
        slots = macros.slots
        latest = next((one for one in reversed(slots) if one is not None), b"")
        text = self._queue_ids.get(latest)
        if text is None:
            text = self._queue_ids.get(slots)
        if text is None:
            found = macros.get("i")
            text = "" if found is None else f',"queue_id":{dump_json(dump_text(found))}'
            is_there = NO_MACROS.define(0, latest).get("i") is not None
            if sum([len(one) for one in slots if one]) <= _LONGEST:
                _keep(self._queue_ids, latest if is_there else slots, text)
        return text


def _keep(kept: dict[Any, Any], key: Any, made: Any) -> None:
    if len(kept) >= _MOST:
        kept.clear()
    kept[key] = made


def _with_fresh(macros: Macros, fresh: bytes) -> Macros:
    """With macros that came, and no command after them."""
    return macros.define(fresh[0], fresh[1:]) if fresh else macros


def _met(macros: Macros, fresh: bytes, letter: int, is_end: bool) -> Macros:
    """Those in force when a command has come that no handler sees; ``is_end``: a message ends by it."""
    macros = _with_fresh(macros, fresh).arrive(letter)
    return macros.end_message() if letter == ABORT and not is_end else macros


def _usual(letter: int, payload: bytes, exact: bool) -> str:
    """What most packets say, if they are as usual, which is ASCII; empty for any other packet."""
    if not payload.isascii():
        return ""
    text = payload.decode("ascii")
    if letter == BODY:
        return f',"event":"body","fields":{{"data":{encode_basestring(text)}}}'
    if text[-1:] != "\0":  # not all of it would be in the fields
        return ""
    if letter == HEADER:
        name, value, *rest = text.split("\0")
        if rest != [""] or (exact and value[:1] != " "):
            return ""
        name, value = encode_basestring(name), encode_basestring(value[exact:])
        return f',"event":"header","fields":{{"name":{name},"value":{value}}}'
    if letter in _ENVELOPE and text[:1] == "<":
        address, *words = text[1:-1].split("\0")
        if address[-1:] != ">":
            return ""
        split = [word.partition("=") for word in words]
        text = ",".join(
            [
                f"[{encode_basestring(name)},{encode_basestring(value) if equals else 'null'}]"
                for name, equals, value in split
            ]
        )
        return f'{_ENVELOPE[letter]}{encode_basestring(address[:-1])},"parameters":[{text}]}}'
    if letter == MACRO:
        words = text[1:].split("\0")
        if not len(words) % 2:
            return ""
        pairs = zip(words[::2], words[1::2], strict=False)
        text = ",".join([f"[{encode_basestring(name)},{encode_basestring(one)}]" for name, one in pairs])
        name = encode_basestring(event_name(payload[0]))
        return f',"event":"define_macros","fields":{{"event":{name},"definitions":[{text}]}}'
    return ""


def _members(record: Record) -> str:
    """The members of a record, as they follow on others."""
    return f",{dump_json(record)[1:-1]}"


def _dump_changes(before: Context, after: Context) -> str:
    found = changes(before, after)
    return _members({"changes": found}) if found else ""

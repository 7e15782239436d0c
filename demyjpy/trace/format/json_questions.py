"""Questions and answers as JSON and back: what was asked, and exactly what was learned.

Of a question its class and its fields are kept; bytes and messages in it by their digests. An
answer is kept whole, because a replay gives it again.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from attrs import frozen
from pyrsistent import PMap, PSet, PVector

from demyjpy.engine.open_questions import Learned
from demyjpy.engine.smallmap import small_map
from demyjpy.engine.told_questions import field_names, without_messages
from demyjpy.errors import MilterError, TraceError
from demyjpy.message.digest import MessageDigest
from demyjpy.questions import Answered, Ask, Failed, Late, Outcome
from demyjpy.requests import Request
from demyjpy.trace.format.json_context import LONGEST, dump_key, dump_value, load_value
from demyjpy.trace.format.json_lines import seconds_of
from demyjpy.wire.json_bytes import dump_bytes, dump_text, load_text

LONGEST_WORDS: Final = 200
"""Characters of what a question says of itself that are kept."""

_LARGEST: Final = 1 << 10_000  # a number of more digits cannot be written by json
_DEEPEST: Final = 8
_MOST: Final = 2000  # values within one question that are kept
_OUTCOMES: Final = {"Answered": "answered", "Failed": "failed", "Late": "late"}


@frozen(repr=False)
class RecordedQuestion:
    """A question as a trace has it: the name of its class, and its fields.

    ``words`` are what it said of itself, empty if it had no words of its own. ``fields`` is None if they
    are not kept.
    """

    name: str
    fields: Mapping[str, Any] | None = None
    words: str = ""

    def __repr__(self) -> str:
        if self.fields is None:
            return f"{self.name}(...)"
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.fields.items())})"


@frozen(repr=False)
class RecordedRequest(Request):
    """What a handler asked of the driver, as a trace has it: how it was written."""

    name: str
    text: str

    def __repr__(self) -> str:
        return self.text


@frozen
class RecordedAnswer:
    """What was learned, as a trace has it; ``seconds``: what it took, None if that is not known.

    ``outcome`` is None if the answer is not kept, or cannot be read; ``how`` says what became of the
    question in any case: ``"answered"``, ``"failed"`` or ``"late"``.
    """

    filter: str
    key: str
    question: RecordedQuestion
    how: str
    outcome: Outcome | None
    seconds: float | None = None


# ------------------------------------------------------------------------------------- questions
def own_words(question: Any) -> str:
    """What a question says of itself by a ``__str__`` of its class, up to `LONGEST_WORDS` characters."""
    if isinstance(question, RecordedQuestion):
        return question.words
    if getattr(type(question), "__str__", None) is getattr(object, "__str__"):  # noqa: B009  # for mypy
        return ""
    try:
        return str(question)[:LONGEST_WORDS]
    except Exception:  # noqa: BLE001  # it is the user's, and may miss the message that was in it
        return ""


def dump_question(question: Any) -> dict[str, Any]:
    """A question as JSON.

    If two give the same except for their ``words``, they are the same question.
    """
    record = _dump_object(without_messages(question), _DEEPEST, [_MOST])
    if words := own_words(question):
        record["words"] = dump_text(words)
    return record


def name_of_question(question: Any) -> str:
    """The name of its class."""
    return question.name if isinstance(question, RecordedQuestion) else type(question).__name__


@frozen
class RecordedBytes:
    """In place of bytes in a question: how many, and their SHA-256."""

    size: int
    sha256: str


def _dump_field(value: Any, depth: int, left: list[int]) -> Any:
    """What is in a question, always written the same: whether two are equal is seen from that."""
    left[0] -= 1
    if isinstance(value, MessageDigest):
        return {"message": {"size": value.size, "sha256": value.sha256}}
    if isinstance(value, RecordedBytes):
        return {"digest": {"size": value.size, "sha256": value.sha256}}
    if type(value) is bytes:
        return {"digest": {"size": len(value), "sha256": sha256(value).hexdigest()}}
    if type(value) is int and not -_LARGEST < value < _LARGEST:
        return {"other": "builtins.int", "repr": hex(value)[:LONGEST]}
    if value is None or isinstance(value, str | int | float) or depth == 0 or left[0] < 0:
        return dump_value(value)
    if isinstance(value, tuple | list | PVector):
        return {"list": [_dump_field(one, depth - 1, left) for one in value[: max(left[0], 0)]]}
    if isinstance(value, frozenset | set | PSet):
        items = sorted(value, key=_order)[: max(left[0], 0)]
        return {"set": [_dump_field(one, depth - 1, left) for one in items]}
    if isinstance(value, Mapping):
        pairs = sorted(value.items(), key=lambda pair: _order(pair[0]))[: max(left[0], 0)]
        return {"dict": [[dump_value(key), _dump_field(one, depth - 1, left)] for key, one in pairs]}
    if isinstance(value, RecordedQuestion) or field_names(value):
        return {"object": _dump_object(value, depth - 1, left)}
    return dump_value(value)


def _dump_object(value: Any, depth: int, left: list[int]) -> dict[str, Any]:
    record: dict[str, Any] = {"class": name_of_question(value), "fields": None}
    fields: Mapping[str, Any] | None
    if isinstance(value, RecordedQuestion):
        fields = value.fields
    else:
        fields = {name: getattr(value, name, None) for name in field_names(value)}
    if fields is not None:
        record["fields"] = {
            dump_key(name): _dump_field(one, depth, left) for name, one in fields.items()
        }
    return record


def load_question(record: Any) -> RecordedQuestion:
    """The inverse of `dump_question`, as far as there is one; `TraceError` if it is no question."""
    match record:
        case {"class": str(name), "fields": None}:
            fields = None
        case {"class": str(name), "fields": dict(found)}:
            fields = {key: _load_field(one) for key, one in found.items()}
        case _:
            raise TraceError(f"expected a question, got {record!r:.60}")
    return RecordedQuestion(name, fields, load_text(record.get("words", "")))


def _load_field(value: Any) -> Any:
    match value:
        case {"message": {"size": int(size), "sha256": str(digest)}}:
            return MessageDigest(size, digest)
        case {"digest": {"size": int(size), "sha256": str(digest)}}:
            return RecordedBytes(size, digest)
        case {"list": list(found)}:
            return [_load_field(one) for one in found]
        case {"set": list(found)}:  # no set: what is in it here may have no hash
            return [_load_field(one) for one in found]
        case {"dict": list(found)}:
            return dict(_load_pair(one) for one in found)
        case {"object": found}:
            return load_question(found)
    return load_value(value)


def _load_pair(pair: Any) -> tuple[str, Any]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise TraceError(f"expected a key and a value, got {pair!r:.60}")
    key = load_value(pair[0])
    return key if isinstance(key, str) else repr(key), _load_field(pair[1])


def _order(value: Any) -> str:
    """By what the values of a set are sorted, whose order is chance."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # it is the user's; and of a large number Python has none
        return type(error).__name__


# --------------------------------------------------------------------------------------- answers
def dump_learned(learned: Learned) -> dict[str, Any]:
    """What was learned as JSON."""
    asked, outcome = learned.asked, learned.outcome
    record: dict[str, Any] = {
        "filter": dump_text(asked.name),
        "key": dump_text(asked.key),
        "question": dump_question(asked.question),
        "outcome": _OUTCOMES.get(type(outcome).__name__, "unasked"),
    }
    if isinstance(outcome, Answered):
        record["value"] = dump_answer(outcome.value)
    elif isinstance(outcome, Failed):
        record["error"] = dump_text(outcome.error)
    if learned.duration is not None:
        record["seconds"] = round(learned.duration, 6)
    return record


def load_learned(record: Any) -> RecordedAnswer:
    """The inverse of `dump_learned`; `TraceError` if it is no answer."""
    if not isinstance(record, dict):
        raise TraceError(f"expected what was learned, got {record!r:.60}")
    how = record.get("outcome")
    found = RecordedAnswer(
        load_text(record.get("filter")),
        load_text(record.get("key")),
        load_question(record.get("question")),
        how if isinstance(how, str) else "",
        None,
        seconds_of(record["seconds"]) if "seconds" in record else None,
    )
    return RecordedAnswer(
        *(found.filter, found.key, found.question, found.how), _outcome_of(record), found.seconds
    )


def _outcome_of(record: Mapping[str, Any]) -> Outcome | None:
    """What became of a question; None if that is not in the record."""
    try:
        match record:
            case {"outcome": "answered", "value": value}:
                return Answered(load_answer(value))
            case {"outcome": "failed", "error": error}:
                return Failed(load_text(error))
            case {"outcome": "late"}:
                return Late()
    except MilterError:
        pass
    return None


def dump_answer(value: Any) -> Any:
    """An answer as JSON, all of it. It is plain data: see `demyjpy.questions.as_answer`."""
    if isinstance(value, PMap):
        return {"pmap": [[dump_value(key), dump_answer(one)] for key, one in value.items()]}
    kind = type(value)
    if kind is tuple:
        return {"tuple": [dump_answer(one) for one in value]}
    if kind is frozenset:  # its order is chance, but a trace is not
        return {"frozenset": [dump_answer(one) for one in sorted(value, key=_order)]}
    if kind is str and len(value) > LONGEST:
        return {"text": dump_text(value)}
    if kind is bytes and len(value) > LONGEST:
        return {"bytes": dump_bytes(value)}
    if kind is int and not -_LARGEST < value < _LARGEST:
        return {"other": "builtins.int", "repr": hex(value)[:LONGEST]}
    return dump_value(value)


def load_answer(value: Any) -> Any:
    """The inverse of `dump_answer`; `TraceError` if it is no answer, or not all of it."""
    match value:
        case {"tuple": list(found)} if len(value) == 1:
            return tuple([load_answer(one) for one in found])
        case {"pmap": list(found)} if len(value) == 1:
            return _load_map(found)
        case {"frozenset": list(found)} if len(value) == 1:
            if len(found) > LONGEST:  # hashes may be chosen to be equal
                raise TraceError(f"expected at most {LONGEST} values in a set, got {len(found)}")
            return frozenset([load_answer(one) for one in found])
        case {"cut": _} | {"other": _}:
            raise TraceError("expected a whole answer, got what is left of one")
    return load_value(value)


def _load_map(found: list[Any]) -> Any:
    pairs = [one for one in found if isinstance(one, list) and len(one) == 2]
    if len(pairs) < len(found):
        raise TraceError(f"expected pairs of a key and a value, got {found!r:.60}")
    return small_map({_text(load_value(key)): load_answer(one) for key, one in pairs})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TraceError(f"expected text as a key, got {value!r:.60}")
    return value


# -------------------------------------------------------------------------------------- requests
def dump_request(request: Request) -> dict[str, Any]:
    """What a handler asked of the driver, among its actions."""
    if isinstance(request, Ask):
        return {
            "action": "Ask",
            "key": dump_text(request.key),
            "question": dump_question(request.question),
            "within": request.within,
        }
    name = request.name if isinstance(request, RecordedRequest) else type(request).__name__
    return {"action": "Request", "name": dump_text(name), "text": dump_text(_written(request))}


def _written(request: Request) -> str:
    try:
        return f"{without_messages(request)!r:.200}"
    except Exception as error:  # noqa: BLE001  # repr is the user's
        return f"<repr failed: {type(error).__name__}>"


def load_request(record: Mapping[str, Any]) -> Request:
    """The inverse of `dump_request`; `TraceError` if it is none."""
    if record["action"] == "Ask":
        within = record.get("within")
        question = load_question(record.get("question"))
        return Ask(load_text(record.get("key")), question, seconds_of(within))
    return RecordedRequest(load_text(record.get("name")), load_text(record.get("text")))

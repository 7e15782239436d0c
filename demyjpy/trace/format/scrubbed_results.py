"""What is kept in memory of what handlers returned: no more than a file may hold.

The rules are those of `demyjpy.trace.format.scrubbing`: the engine plays what is kept, and decides as it
did.
"""

import secrets
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, Final

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy.codec.responses import ROW_OF_ACTION
from demyjpy.context import ENGINE_KEYS, Context
from demyjpy.engine.macros import Macros
from demyjpy.engine.open_questions import Learned
from demyjpy.engine.smallmap import small_map
from demyjpy.engine.tape import Queued, as_told, outlined
from demyjpy.findings import Finding
from demyjpy.questions import Answered, Ask, Failed
from demyjpy.registry import Handler
from demyjpy.requests import Request
from demyjpy.trace.format.json_questions import RecordedQuestion, RecordedRequest, name_of_question
from demyjpy.trace.format.privacy import REDACTED, Privacy, kept_key
from demyjpy.wire.fields import Parameters, encode_text
from demyjpy.wishes import Wished

FILLER: Final = b"x"
"""What is in place of a byte that is not kept."""

_OTHER_FILLER: Final = "y"
_NOTHING_QUEUED: Final = Queued(())
_NOTHING_REMEMBERED: Final[Context] = small_map({})

_VALUES: Final = (act.AddHeader, act.InsertHeader, act.ChangeHeader)
_ADDRESSES: Final = (act.AddRecipient, act.DeleteRecipient, act.ChangeSender)


@frozen(repr=False)
class _Told:
    """In place of what is no action: no more than how it is written."""

    text: str

    def __repr__(self) -> str:
        return self.text


@frozen
class _Blank:
    """In place of a new body that is not kept: its size."""

    size: int


class ResultScrubber:
    """Takes out of results what may not be kept; ``definitions`` does so with those of macros."""

    def __init__(self, privacy: Privacy, definitions: Callable[[bytes], bytes]) -> None:
        self._given, self._definitions = privacy, definitions
        self._salt = secrets.token_bytes(16)  # the keys of questions stay apart, and say nothing

    def kept(self, handler: Handler[Any] | None, result: Any) -> Any:
        """What is kept of what a handler returned or raised.

        Of a context that is what was queued there; of that of a negotiation also what is the
        engine's, which decides what is agreed. Findings may hold anything: they are kept only if
        everything else is.
        """
        known = outlined(handler, result)
        if self._given.keeps_all:
            return known
        if isinstance(known, Exception):
            return as_told(type(known)())
        if isinstance(known, Learned):
            return self._learned(known)
        if type(known) is tuple:
            return tuple(map(self._ask, known))
        if not isinstance(known, Queued):
            return self._negotiated(known)
        if not known.queue and known.macros is None:
            return _NOTHING_QUEUED
        return Queued(self._queue(known.queue), known.macros and self._macros(known.macros))

    def _ask(self, ask: Ask) -> Ask:
        return evolve(ask, key=self._key(ask.key), question=_bare(ask.question))

    def _key(self, key: str) -> str:
        if kept_key(key) == key:
            return key
        return f"{REDACTED} {blake2b(encode_text(key), key=self._salt, digest_size=8).hexdigest()}"

    def _learned(self, learned: Learned) -> Learned:
        asked, outcome = learned.asked, learned.outcome
        asked = evolve(asked, key=self._key(asked.key), question=_bare(asked.question))
        if isinstance(outcome, Answered):
            outcome = Answered(REDACTED)
        elif isinstance(outcome, Failed):
            outcome = Failed(REDACTED)
        return evolve(learned, asked=asked, outcome=outcome)

    def _negotiated(self, ctx: Context) -> Context:
        for key in ctx.keys() - ENGINE_KEYS:
            ctx = ctx.remove(key)
        macros = ctx.get("macros")
        if isinstance(macros, Macros):
            ctx = ctx.set("macros", self._macros(macros))
        ctx = ctx.set("findings", ()).set("connection", _NOTHING_REMEMBERED)
        return ctx.set("queue", self._queue(ctx.get("queue")))

    def _macros(self, macros: Macros) -> Macros:
        return Macros((*[one and self._definitions(one) for one in macros.slots],), macros.fresh)

    def _queue(self, queue: Iterable[Any] | None) -> tuple[Any, ...]:
        return tuple([self._action(one) for one in queue or () if not isinstance(one, Finding)])

    def _action(self, action: Any) -> Any:
        known, kind = self._given, type(action)
        if kind is Wished:
            edits = tuple(map(self._wished, action.edits))
            return Wished(edits, is_literal=known.keep == "envelope")
        if kind is Ask:
            return self._ask(action)
        if isinstance(action, Request):
            return RecordedRequest(kind.__name__, REDACTED)
        if kind not in ROW_OF_ACTION:
            return _Told(_written(action) if known.keeps_texts else REDACTED)
        if kind in _VALUES and known.hides_value(action.name):
            raw = encode_text(action.raw)
            blank = after_colon(raw, len(raw) - len(raw.lstrip(b" "))).decode()
            index = () if kind is act.AddHeader else (action.index,)
            return kind(*index, action.name, raw=blank)
        if kind is act.ReplaceBody and not known.keeps_bodies:
            return _Blank(len(action.data))
        if kind in _ADDRESSES and known.hash_addresses:
            address = known.hashed(action.address)
            if not getattr(action, "parameters", None):
                return kind(address)
            return kind(address, Parameters([("X", None)]))  # with some, it needs another permission
        if kind is act.Quarantine and not known.keeps_texts:
            return act.Quarantine("x" * len(encode_text(action.reason)))
        if kind is act.ReplyCode and known.keeps_bare_envelope:
            return evolve(action, lines=[_line(one) for one in action.lines])
        return action

    def _wished(self, edit: act.Modification) -> Any:
        """An edit of a wish, which is a difference: a text that is not kept stays another one."""
        kept = self._action(edit)
        if kept is edit or not isinstance(kept, act.ChangeHeader):
            return kept
        return act.ChangeHeader(kept.index, kept.name, raw=kept.raw.replace("x", _OTHER_FILLER))


def played(result: Any) -> Any:
    """What a handler is taken to have returned, from what is kept of it."""
    if result is None or isinstance(result, Exception | Learned) or type(result) is tuple:
        return result
    queue = result.queue if isinstance(result, Queued) else result.get("queue")
    if not any(isinstance(one, _Blank | Wished) for one in queue or ()):
        return result
    queue = tuple(map(_played_action, queue))
    if isinstance(result, Queued):
        return Queued(queue, result.macros, result.findings)
    return result.set("queue", queue)


def _played_action(action: Any) -> Any:
    if isinstance(action, Wished):
        return evolve(action, edits=tuple(map(_played_action, action.edits)))
    return act.ReplaceBody(bytes(action.size)) if isinstance(action, _Blank) else action


def after_colon(value: bytes, spaces: int) -> bytes:
    """A filler for what follows a colon, with so many spaces at most before it."""
    begun = value[:spaces] if value[:spaces].isspace() else b""
    return begun + FILLER * (len(value) - len(begun))


def _bare(question: Any) -> RecordedQuestion:
    """Of a question the name of its class."""
    return RecordedQuestion(name_of_question(question))


def _line(text: str) -> str:
    """A filler for a line of a reply; its enhanced status code stays, because the MTA reads it."""
    code, space, rest = text.partition(" ")
    if act.ENHANCED.fullmatch(code):
        return code + space + "x" * len(encode_text(rest))
    return "x" * len(encode_text(text))


def _written(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except Exception as error:  # noqa: BLE001  # repr is the user's
        return f"<repr failed: {type(error).__name__}>"

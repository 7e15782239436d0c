"""Effects that handlers have asked for: whether they may, and to which message they belong.

A turn keeps them in its scope until the message ends (`demyjpy.engine.turn.Turn.end_message`).
"""

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from demyjpy.effects import MOST_EFFECTS, Do
from demyjpy.engine.connection import Job, Requested
from demyjpy.engine.phases import IN_MESSAGE
from demyjpy.engine.stock import Held, hold
from demyjpy.engine.told_questions import replace_messages
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry
from demyjpy.message import Message
from demyjpy.questions import performer_of


def owed_by(turn: Turn, job: Job, dos: Sequence[Do]) -> tuple[Requested, ...]:
    """The effects that the next handler of an event asks for; `HandlerError` if one is illegal.

    Each has a key of its own: the session, the number of an event, and a number.
    """
    (number, handler), scope = job.chain[0], turn.scope
    is_in_message = scope.phase in IN_MESSAGE
    _check(job.dispatch.name, dos, is_in_message=is_in_message, count=len(dos) + len(scope.owed))
    declared = as_registry(scope.ctx["handlers"]).parts[number].declarations
    first, base = 0, f"{turn.session}-{job.exchange}"
    if not is_in_message:
        base = f"{base}-{number}"
    elif scope.owed:
        first, base = len(scope.owed), scope.owed[0].key.rpartition(".")[0]
    found = []
    for at, one in enumerate(dos, first):
        if performer_of(one.effect, declared.asks) is None:
            raise HandlerError(_nobody(one.effect))
        macros = scope.macros
        found.append(
            Requested(
                *(_holding(one), handler, number, macros.get("i"), macros.client),
                *(f"{base}.{at}", declared),
            )
        )
    return tuple(found)


def owe(turn: Turn, owed: tuple[Requested, ...]) -> None:
    """They are asked for: of a message that is open they wait for its end."""
    if turn.scope.phase in IN_MESSAGE:
        turn.scope.owed = (*turn.scope.owed, *owed)
    else:
        turn.requests.extend(owed)


def _holding(one: Do) -> Do:
    """The same with messages whose bodies can be read until it is done: see `release_messages`."""
    effect = replace_messages(one.effect, lambda found: evolve(found, content=hold(found.content)))
    return one if effect is one.effect else Do(effect, one.when)


def messages_in(effect: Any) -> tuple[Message, ...]:
    """The messages that an effect holds."""
    found: list[Message] = []

    def take(message: Message) -> Message:
        found.append(message)
        return message

    replace_messages(effect, take)
    return tuple(found)


def release_messages(effect: Any) -> None:
    """It is done, or will not be: the bodies of its messages go."""
    for message in messages_in(effect):
        read = getattr(message.content, "read", None)
        if isinstance(read, Held):
            read.release()


def _check(event: str, dos: Sequence[Do], *, is_in_message: bool, count: int) -> None:
    if is_in_message and count > MOST_EFFECTS:
        raise HandlerError(f"expected at most {MOST_EFFECTS} effects of a message, got {count}")
    wrong = [one.when for one in dos if one.when != "ended"]
    if wrong and not is_in_message:
        raise HandlerError(
            f'expected when="ended" for an effect at {event}, because no message is open then, '
            f"got {wrong[0]!r}"
        )


def _nobody(effect: Any) -> str:
    kind = type(effect).__qualname__
    return (
        f"expected somebody who performs the effect {kind}: give it a perform(self, resources), or "
        f"declare asks={{{kind}: performer}}"
    )

"""What a filter wishes a message to be: `become`, and what the engine makes of it."""

from typing import Any

from attrs import field, frozen

from demyjpy.actions import Modification
from demyjpy.context import Context, send_action
from demyjpy.errors import HandlerError, describe
from demyjpy.message import Message


@frozen
class Wish:
    """The filter wishes that the message became this one."""

    message: Message = field(repr=False)


@frozen
class Wished:
    """The edits that a wish means, in its place: they are kept longer than a message may be.

    ``is_literal``: they go out as they are. So it is if a session is played of which the names of
    header fields were not kept: no field would be found there.
    """

    edits: tuple[Modification, ...]
    is_literal: bool = False


def become(ctx: Context, message: Message) -> Context:
    """Queue the wish that the mail becomes this message.

    ``message`` is made from the one that the ``message`` handler of this filter got. The engine makes
    the edits of the difference: what is the same in both stays as it is, to the byte. It is for
    ``message`` and ``end_of_message``; of two wishes the later one counts. Other edits of the filter are
    applied after it. The actions that it needs must have been declared, as in ``edits="headers"``.

    The handler fails if a header field was moved: an MTA cannot move one. `HandlerError` if this is no
    `Message`, or if ``ctx`` is one: the context comes first.
    """
    if isinstance(ctx, Message):
        raise HandlerError(
            "become: expected the context first, as in become(ctx, message), got a Message"
        )
    if not isinstance(message, Message):
        raise HandlerError(
            f"become: expected a Message, as the message handler gets one, got {describe(message)}"
        )
    wish: Any = Wish(message)
    return send_action(ctx, wish)

"""Chains of filters that wish: each edits the message as a value, and says `become` with the result."""

from collections.abc import Sequence
from typing import Any, Final

from attrs import define, evolve, frozen
from hypothesis import strategies as st

from demyjpy import become, define_event_handlers
from demyjpy.message import Message
from demyjpy.mta.stored_mail import StoredMail
from tests.message.drafts import RECIPIENTS, headers
from tests.message.edits import BODIES, EDITS, data_of

SENDER: Final = "a@test"
ALL: Final = (
    *("add_header", "change_header", "change_body"),
    *("add_recipient", "add_recipient_par", "delete_recipient", "change_sender"),
)
"""The actions that a wish may need."""


@frozen
class Wisher:
    """A filter: at the event ``at`` it wishes for what ``edits`` make of the message that it got.

    ``before``: edits of what it wishes for first, at ``message``; that does not count then.
    """

    edits: tuple[Any, ...]
    at: str = "message"
    before: tuple[Any, ...] | None = None


@frozen
class WishDraw:
    """Filters in a row, and a message; its body comes in pieces of ``chunk`` bytes."""

    wishers: tuple[Wisher, ...]
    data: bytes
    chunk: int | None = None


@define
class Noted:
    """What one filter got and wished for, and their bytes at that time."""

    got: Message | None = None
    wished: Message | None = None
    data: tuple[bytes, bytes] = (b"", b"")


def edited(message: Message, edits: Sequence[Any]) -> Message:
    """The message after these edits."""
    for edit in edits:
        message = edit(message)
    return message


def wishing(wisher: Wisher, noted: Noted, name: str | None = None) -> Any:
    """A filter that does so, and writes down what it got and what it wished for."""
    handlers = define_event_handlers(name=name, actions=ALL)

    def wish(got: Message, ctx: Any) -> Any:
        noted.wished = edited(got, wisher.edits)
        noted.data = (bytes(got), bytes(noted.wished))
        return become(ctx, noted.wished)

    def at_message(event: Message, ctx: Any) -> Any:
        noted.got = event
        if wisher.before is not None:
            ctx = become(ctx, edited(event, wisher.before))
        return wish(event, ctx) if wisher.at == "message" else ctx

    def at_end(event: Any, ctx: Any) -> Any:
        return wish(noted.got, ctx) if noted.got is not None and wisher.at != "message" else ctx

    handlers.add("message", at_message)
    handlers.add("end_of_message", at_end)
    return handlers


# ------------------------------------------------------------------------------- what is expected
def expected_envelope(notes: Sequence[Noted], mta: str) -> tuple[str, list[Any]]:
    """The sender, and the recipients with their parameters, after what all filters wished for.

    Each filter gets the envelope as the client gave it, so its wish is a difference from that.
    """
    sender = SENDER
    standing: dict[str, tuple[Any, ...]] = dict.fromkeys(RECIPIENTS, ())
    for note in notes:
        got, wished = note.got, note.wished
        assert got is not None
        assert wished is not None
        sender = wished.sender if wished.sender != got.sender else sender
        old, new = words_of(got), words_of(wished)
        dropped = {one.lower() for one in old if new.get(one) != old[one]}
        standing = {one: words for one, words in standing.items() if one.lower() not in dropped}
        for one, words in new.items():
            if old.get(one) != words:
                standing.setdefault(one, words)
    if mta == "postfix":  # it adds one recipient once, whatever the case
        firsts = {one.lower(): (one, words) for one, words in reversed(standing.items())}
        return sender, sorted(firsts.values())
    return sender, sorted(standing.items())


def words_of(message: Message) -> dict[str, tuple[Any, ...]]:
    """Recipients with the words of their parameters."""
    return {one.address: one.parameters.words for one in message.recipients}


def delivered(mail: StoredMail) -> bytes:
    """A mail without the fields that the MTA added itself."""
    fields = tuple(one for one in mail.message.fields if one.owner != "mta")
    return bytes(evolve(mail.message, fields=fields))


def recipients_of(mail: StoredMail) -> list[Any]:
    """Recipients with the words of their parameters, in one order."""
    return sorted((address, parameters.words) for address, parameters in mail.envelope.recipients)


# -------------------------------------------------------------------------------- what may be drawn
_SOME: Final = st.lists(EDITS, max_size=4).map(tuple)
WISHERS: Final = st.builds(
    Wisher,
    _SOME,
    st.sampled_from(("message", "message", "end_of_message")),
    st.none() | st.none() | _SOME,
)


@st.composite
def wish_draws(draw: Any) -> WishDraw:
    """One to four filters and a message, with the fields that an MTA would add."""
    wishers = draw(st.lists(WISHERS, min_size=1, max_size=4))
    data = data_of(draw(headers()), draw(BODIES))
    return WishDraw(tuple(wishers), data, draw(st.sampled_from((None, None, 1, 7))))

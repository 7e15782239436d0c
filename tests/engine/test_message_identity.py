"""The identity: a wish for what is there already sends nothing but the verdict, for odd mails, too."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from demyjpy.handlers import merge_handlers
from demyjpy.message import Message
from tests.engine.harness import DATA, EOH, EOM, MAIL, OPENING, RCPT, Session, packet
from tests.engine.messages import keeping, wishing
from tests.message.torture import mail

MAILS: Final = 500
CONTINUE: Final = b"\0\0\0\1c"


def _set_all(message: Message) -> Message:
    """Each first field of a name gets the value that it has."""
    for field in message.fields:
        value = message.get(field.name)
        assert value is not None
        message = message.set(field.name, value)
    return message


def _decode_all(message: Message) -> Message:
    """The same with the decoded texts."""
    for field in message.fields:
        text = message.decoded(field.name)
        assert text is not None
        message = message.set_decoded(field.name, text)
    return message


def _replace_all(message: Message) -> Message:
    """Each part gets the content that it has."""
    for part in message.parts():
        if not part.is_container:
            message = message.replace_part(part, part.content)
    return message


IDENTITIES: Final[dict[str, Callable[[Message], Message]]] = {
    "the event": lambda message: message,
    "set of the same values": _set_all,
    "set_decoded of the same texts": _decode_all,
    "parts replaced by themselves": _replace_all,
    "body": lambda message: message.with_body(message.body),
    "no such field": lambda message: message.without("X-None-*").first_only("X-None"),
    "envelope": lambda message: message.with_sender(message.sender).add_recipient("bob@example.org"),
    "there and back": lambda message: message.add("X-B", "1").without("X-B"),
}


def packets_of(data: bytes) -> list[Any]:
    """A mail as an MTA says it: the header up to the first line that is none."""
    got = Message.parse(data)
    fields = [
        packet("L", one.name.encode() + b"\0" + one.raw.encode("utf-8", "surrogateescape") + b"\0")
        for one in got.fields
    ]
    body = got.body
    pieces = [packet("B", body[at : at + 65_535]) for at in range(0, len(body), 65_535)]
    return [MAIL, RCPT, DATA, *fields, EOH, *pieces]


@pytest.mark.parametrize("what", IDENTITIES)
@pytest.mark.parametrize("is_merged", [False, True])
def test_nothing_leaves_but_the_verdict(what: str, is_merged: bool) -> None:
    """For some hundred odd mails; alone, and in a chain."""
    got: list[Message] = []
    filter_ = wishing(IDENTITIES[what], at="end_of_message" if is_merged else "message")
    session = Session.open(merge_handlers(filter_, keeping(got)) if is_merged else filter_)
    session.say(*OPENING)
    wrong = []
    for number in range(100 if is_merged else MAILS):
        session.say(*packets_of(mail(number)))
        if session.say_bytes(EOM) != CONTINUE:
            wrong.append(number)
    assert wrong == []
    assert session.troubles == []

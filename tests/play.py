"""Playing mail to a filter in events: what an MTA says of a message, and what it is answered.

Nothing is said that the filter has declined, nor the rest of a message that it is done with.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

from demyjpy import (
    Accept,
    Body,
    Connect,
    Data,
    Discard,
    EndOfHeaders,
    EndOfMessage,
    Event,
    Header,
    Hello,
    Mail,
    Recipient,
    Reject,
    ReplyCode,
    TemporaryFailure,
)
from demyjpy.actions import Action
from demyjpy.codec import EVENTS, encode_event
from tests.engine.harness import Session, offer

CLIENT = (Connect("client.example", "4", IPv4Address("192.0.2.1"), 4242), Hello("client.example"))
FINAL = (Accept, Reject, TemporaryFailure, Discard, ReplyCode)
AFTER_MAIL = (Recipient, Data, Header, EndOfHeaders, Body, EndOfMessage)
OFF = {row.event: row.off for row in EVENTS.values()}


def mail(
    content: bytes, sender: str = "alice@example.org", recipients: tuple[str, ...] = ("bob@example.com",)
) -> Iterator[Event]:
    """A message as an MTA tells it, from MAIL to its end; a long body comes in chunks."""
    header, _, body = content.partition(b"\r\n\r\n")
    yield Mail(sender)
    yield from map(Recipient, recipients)
    yield Data()
    for line in header.replace(b"\r\n ", b"\n ").split(b"\r\n"):
        name, _, raw = line.decode("utf-8", "surrogateescape").partition(":")
        yield Header.from_raw(name, raw)
    yield EndOfHeaders()
    yield from (Body(body[at : at + 65535]) for at in range(0, len(body), 65535))
    yield EndOfMessage()


def answers_to(handlers: Any, *events: Event) -> list[tuple[Event, list[Action]]]:
    """Each event that the filter was told, with the answers to it. It must not fail at any of them."""
    session, told, is_over = Session.open(handlers), [], False
    (agreed,) = session.answers(offer())
    for event in events:
        is_over = is_over and isinstance(event, AFTER_MAIL)
        if not is_over and not OFF[type(event)] & agreed.protocol:
            answers = session.answers(encode_event(event, leading_space=True))
            told.append((event, answers))
            is_over = not isinstance(event, Recipient) and any(isinstance(one, FINAL) for one in answers)
    assert session.errors == []
    return told


def edits_of(handlers: Any, *contents: bytes) -> list[list[Action]]:
    """The modifications of each of several messages, sent over one connection."""
    events = (event for content in contents for event in mail(content))
    told = answers_to(handlers, *CLIENT, *events)
    return [answers[:-1] for event, answers in told if isinstance(event, EndOfMessage)]

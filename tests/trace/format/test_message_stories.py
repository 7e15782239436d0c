"""What became of messages: read off any session."""

from typing import Any

import pytest

from demyjpy import Quarantine, accept, define_event_handlers, discard, reject, send_action, tempfail
from demyjpy.trace import MessageStory, Trace
from demyjpy.trace.format.exchanges import Reply, Unreadable
from demyjpy.trace.format.message_stories import messages_of
from demyjpy.verdicts import fate_of
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    EOM,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    RCPT,
    keep,
    macros,
    offer,
    packet,
)
from tests.trace.sessions import tagger, watched

BAD = packet("R", b"<bad@example.org>\0")


def told(handlers: Any, *packets: Any, **setup: Any) -> list[MessageStory]:
    return list(Trace.of_steps(watched(handlers, *packets, **setup)[0]).messages)


def outcomes(handlers: Any, *packets: Any, **setup: Any) -> list[tuple[str, str]]:
    return [(one.outcome, one.at) for one in told(handlers, *packets, **setup)]


def test_a_message_has_its_envelope_and_its_client() -> None:
    """And the queue id, the edits, the places where it begins and ends."""
    (one,) = told(tagger(), *OPENING, MAIL, RCPT, BAD, macros("T", i="Q"), *MESSAGE[2:], QUIT)
    assert (one.name, one.client, one.helo) == ("Q", "client.example [192.0.2.1]", "client.example")
    assert (one.sender, one.recipients) == ("alice@example.org", ("bob@example.org", "bad@example.org"))
    assert [(address, verdict.code) for address, verdict in one.refused] == [("bad@example.org", 550)]
    assert (one.outcome, one.at, len(one.edits), one.number) == ("accepted", "end_of_message", 1, 1)
    assert (one.first, one.last) == (4, 12)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(reject, "rejected"), (tempfail, "tempfailed"), (discard, "discarded"), (accept, "accepted")],
)
@pytest.mark.parametrize("event", ["mail", "body", "end_of_message"])
def test_a_verdict_ends_a_message_where_it_falls(answer: Any, outcome: str, event: str) -> None:
    """Whatever comes after it for that message counts no more."""
    handlers = {event: lambda event, ctx: answer(ctx)}
    assert outcomes(handlers, *OPENING, MAIL, *MESSAGE[1:], QUIT)[0] == (outcome, event)


def test_a_message_may_be_held_or_given_up() -> None:
    """By the client, by another MAIL, HELO, QUIT, or because the connection ends."""
    hold = define_event_handlers(actions={"quarantine"})
    hold.end_of_message(lambda event, ctx: send_action(ctx, Quarantine("odd")))
    assert outcomes(hold, *OPENING, MAIL, RCPT, EOM) == [("quarantined", "end_of_message")]
    handlers = {"mail": keep}
    packets = (*OPENING, MAIL, ABORT, MAIL, MAIL, HELO, MAIL, QUIT)
    assert outcomes(handlers, *packets) == [
        ("given up", "abort"),
        ("given up", "mail"),
        ("given up", "hello"),
        ("given up", "quit"),
    ]
    assert outcomes(handlers, *OPENING, MAIL) == [("given up", "disconnect")]


def test_a_message_without_a_recipient_left_is_refused() -> None:
    """With the last refusal."""
    assert outcomes(tagger(), *OPENING, MAIL, BAD, BAD, ABORT, MAIL, RCPT, BAD, ABORT) == [
        ("rejected", "recipient"),
        ("given up", "abort"),
    ]


def test_where_mail_is_declined_a_message_begins_with_what_comes() -> None:
    """Its sender is not known then."""
    (one,) = told({"body": keep}, offer(), CONNECT, BODY, EOM, QUIT)
    assert (one.sender, one.outcome, one.name) == (None, "accepted", "session#1")


def test_a_message_whose_end_has_no_answer_is_unanswered() -> None:
    """As where the filter hung."""
    trace = Trace.of_steps(watched({"mail": keep}, *OPENING, *MESSAGE)[0])
    replies = [Reply(one, b"" if one.letter == ord("E") else one.reply) for one in trace.exchanges]
    (one,) = messages_of("s", replies)
    assert (one.outcome, one.verdict) == ("unanswered", None)


def test_what_a_filter_says_may_make_no_sense() -> None:
    """It is kept as a packet."""
    exchange = Trace.of_steps(watched({"mail": keep}, *OPENING)[0]).exchanges[1]
    assert Reply(exchange, b"\0\0\0\2y?\0\0\0\1p").actions == (Unreadable("y", b"?"),)
    assert fate_of(None) == "unanswered"


def test_what_is_skipped_ends_with_what_the_connection_was_answered() -> None:
    """A filter that refuses the client is asked no more; nor is one that accepts it."""
    trace = Trace.of_steps(watched({"mail": keep, "hello": keep}, *OPENING, *MESSAGE, HELO, *MESSAGE)[0])

    def replies(letter: str, reply: bytes, until: str) -> Any:
        skipping = False
        for one in trace.exchanges:
            if skipping and chr(one.letter) == until:
                skipping = False
            yield Reply(one, reply if chr(one.letter) == letter else one.reply, False, skipping)
            skipping = skipping or chr(one.letter) == letter

    refused = messages_of("s", replies("C", b"\0\0\0\1r", "?"))
    assert [(one.outcome, one.at) for one in refused] == [("rejected", "connect")] * 2
    accepted = messages_of("s", replies("C", b"\0\0\0\1a", "?"))
    assert [(one.outcome, one.at) for one in accepted] == [("accepted", "connect")] * 2
    once = [*replies("H", b"\0\0\0\1t", "H")]
    assert {(one.outcome, one.at) for one in messages_of("s", once)} == {("tempfailed", "hello")}
    again = [
        *once[:-8],
        Reply(once[-8].exchange, b"\0\0\0\1c"),
        *(Reply(one.exchange, one.exchange.reply) for one in once[-7:]),
    ]
    assert [one.outcome for one in messages_of("s", again)] == ["tempfailed", "accepted"]


def test_an_event_that_cannot_be_read_is_passed_over() -> None:
    """The rest is told."""
    packets = ("AAAAAkM/", "AAAAAk0/")
    trace = Trace("s", tuple({"direction": "mta", "event": None, "raw": raw} for raw in packets))
    assert trace.messages[0].sender is None

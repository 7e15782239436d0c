"""Filters that `only_if` chooses, and that ask: not before they are chosen, and not too late."""

from typing import Any

import pytest

from demyjpy.conditions import only_if
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.questions import Answered
from tests.engine.asking import Filter, Talk, Values
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    DATA,
    EOH,
    EOM,
    HEADER,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    RCPT,
    UNKNOWN,
    Line,
    macros,
    offer,
)

WAYS = pytest.mark.parametrize("way", [Line, Values])
EVENTS = {
    "connect": CONNECT,
    "hello": HELO,
    "mail": MAIL,
    "recipient": RCPT,
    "data": DATA,
    "header": HEADER,
    "end_of_headers": EOH,
    "body": BODY,
    "message": EOM,
    "end_of_message": EOM,
}
ALL = (CONNECT, HELO, *MESSAGE)


# ------------------------------------------------------------------------------------------- only_if
def chosen_at(name: str, is_chosen: bool = True) -> Any:
    """A predicate that says it at this event."""
    kind = {"connect": "Connect", "hello": "Hello", "mail": "Mail", "recipient": "Recipient"}.get(name)

    def predicate(event: Any, ctx: Any) -> bool | None:
        return is_chosen if type(event).__name__ == kind else None

    return predicate


@WAYS
@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("at", ["connect", "mail", "never"])
def test_a_filter_that_is_not_chosen_asks_nothing(way: Any, name: str, at: str) -> None:
    """Its ``asking=`` is not called, and nobody waits for it."""
    one = Filter()
    made = one.handlers(asks={"connect": ["b"]}, asking={name: ["a"]}, needs={name: ["b"]})
    if name == "connect":
        made = one.handlers(asking={name: ["a"]})
    other = define_event_handlers({"end_of_message": lambda event, ctx: ctx}, name="other")
    talk = Talk(merge_handlers(only_if(chosen_at(at, False), made), other), way)
    assert talk.say(*OPENING, *MESSAGE)[-1] == "c"
    assert (one.calls, talk.open(), talk.errors) == ([], [], [])


@WAYS
@pytest.mark.parametrize("name", EVENTS)
def test_a_filter_that_is_chosen_asks_as_ever(way: Any, name: str) -> None:
    """Also at the event that chooses it, if it has missed nothing; an answer is waited for."""
    one = Filter()
    made = one.handlers("unknown", asking={name: ["a"]}, needs={}, reads="a", within=3)
    at = name if name in ("connect", "hello", "mail", "recipient") else "mail"
    talk = Talk(only_if(chosen_at(at), made), way)
    talk.say(offer(), *ALL[: ALL.index(EVENTS[name]) + 1])
    assert (talk.waits, [one.within for one in talk.asked()]) == (["a"], [3])
    talk.learn("a", 1)
    assert one.seen(name) == [{"a": Answered(1)}]
    talk.say(UNKNOWN)
    talk.hang_up()
    assert (talk.open(), talk.errors) == ([], [])


@WAYS
def test_a_chosen_filter_asks_about_each_recipient(way: Any) -> None:
    """After it was chosen, too; not about one that the MTA has refused and it has not to see."""
    one = Filter()
    talk = Talk(
        only_if(chosen_at("recipient"), one.handlers(asking={"recipient": ["a"]}, reads="a")), way
    )
    talk.say(*OPENING, MAIL)
    for _ in range(3):
        talk.say(RCPT)
        talk.learn("a", 1)
    assert one.seen("recipient") == [{"a": Answered(1)}] * 3


@WAYS
def test_what_a_filter_asked_at_connect_is_the_connections_if_it_is_chosen_at_hello(way: Any) -> None:
    """It gets connect late, and its question lasts as ever."""
    one = Filter()
    made = one.handlers(asks={"connect": ["a"], "hello": ["b"]}, needs={"end_of_message": ["a", "b"]})
    talk = Talk(only_if(chosen_at("hello"), made), way)
    talk.say(*OPENING)
    assert [(found.key, found.lasts) for found in talk.asked()] == [
        ("a", "connection"),
        ("b", "greeting"),
    ]
    talk.say(HELO)
    assert [(found.key, found.number) for found in talk.asked()] == [("a", 1), ("b", 3)]


@WAYS
def test_what_a_filter_asked_late_in_a_message_is_the_messages(way: Any) -> None:
    """The next message may not be its own: it is asked anew if it is."""
    one = Filter()
    made = one.handlers(asks={"connect": ["a"]}, needs={"end_of_message": ["a"]})
    talk = Talk(only_if(chosen_at("mail"), made), way)
    talk.say(*OPENING, MAIL)
    assert [(found.key, found.lasts) for found in talk.asked()] == [("a", "message")]
    talk.say(ABORT)
    assert talk.open() == []


LATE_CHOICES: dict[str, Any] = {
    "a handler that is over needs": {"needs": {"mail": ["a"]}},
    "a handler that is over asks": {"asking": {"mail": ["a"]}},
    "an event was missed": {"names": ["mail"], "asking": {"recipient": ["a"]}},
    "the key was asked just now": {"asks": {"mail": ["a"]}, "needs": {"recipient": ["a"]}},
}


@WAYS
@pytest.mark.parametrize("case", LATE_CHOICES)
def test_a_filter_that_is_chosen_too_late_fails(way: Any, case: str) -> None:
    """It cannot wait for answers at events that are over; the error says what to do."""
    options = dict(LATE_CHOICES[case])
    made = Filter().handlers(*options.pop("names", ()), **options)
    talk = Talk(only_if(chosen_at("recipient"), made), way)
    assert talk.say(*OPENING, MAIL, RCPT)[-1] == "t"
    assert "let the predicate choose earlier" in talk.errors[0]
    assert talk.open() == []


@WAYS
@pytest.mark.parametrize(("at", "asked"), [("mail", ["a"]), ("recipient", [])])
def test_a_recipient_that_the_mta_refused_chooses_nothing(way: Any, at: str, asked: list[str]) -> None:
    """A filter that sees such recipients asks about one only if it was chosen before."""
    one = Filter()
    made = one.handlers(asking={"recipient": ["a"]}, rejected=True)
    talk = Talk(only_if(chosen_at(at), made), way)
    talk.say(*OPENING, MAIL, macros("R", rcpt_mailer="error"), RCPT)
    assert (talk.open(), talk.errors) == (asked, [])

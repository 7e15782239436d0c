"""Filters for some mail only: in sessions, where messages and connections end."""

from demyjpy.conditions import only_if
from demyjpy.errors import HandlerError
from tests.engine.harness import ABORT, EOM, HELO, MAIL, MESSAGE, OPENING, QUIT, RCPT, Session
from tests.test_conditions import choosing, noting


def test_what_is_decided_in_a_message_holds_for_that_message():
    """Connect and HELO are got again by whoever is chosen again; the end of the connection once."""
    calls = []
    answers = iter([None, None, True, None, None, False, True, None])
    chosen = only_if(lambda event, ctx: next(answers), noting(calls))
    session = Session.open(chosen)
    session.say(*OPENING, *MESSAGE, MAIL, RCPT, RCPT)
    message = ["mail", "recipient", "data", "header", "end_of_headers", "body", "end_of_message"]
    assert calls == ["connect", "hello", *message]
    calls.clear()
    session.say(MAIL, RCPT, EOM)
    assert calls == ["connect", "hello", "mail", "recipient", "end_of_message"]
    session.say(MAIL, QUIT)
    session.hang_up()
    assert calls[-2:] == ["quit", "disconnect"]
    assert session.troubles == []


def test_what_is_decided_at_hello_holds_for_the_connection():
    """The predicate is not asked again; a filter that was not chosen sees no end."""
    for answer in (True, False):
        calls = []
        predicate = choosing(1, answer)
        session = Session.open(only_if(predicate, noting(calls)))
        session.say(*OPENING, *MESSAGE, *MESSAGE, HELO, MAIL, ABORT, QUIT)
        session.hang_up()
        assert len(predicate.asked) == 2
        assert calls.count("end_of_message") == (2 if answer else 0)
        assert calls.count("connect") == calls.count("disconnect") == int(answer)
        assert bool(calls) == answer


def test_a_condition_that_fails_goes_to_on_error():
    """Nothing is decided then: the predicate is asked again at the next event."""
    calls = []
    answers = iter([None, None, 5, True])
    session = Session.open(only_if(lambda event, ctx: next(answers), noting(calls)))
    session.say(*OPENING)
    assert session.say(MAIL) == "t"
    assert [type(one.error) for one in session.troubles] == [HandlerError]
    assert session.say(MAIL, RCPT) == "cc"
    assert calls == ["connect", "hello", "mail", "recipient"]

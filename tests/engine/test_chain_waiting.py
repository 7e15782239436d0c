"""Handlers that wait for the end of the message: what they see then, and who calls them."""

from typing import Any

import pytest

from demyjpy import actions as act
from demyjpy.context import get_macro
from demyjpy.engine.connection import Setup
from demyjpy.engine.limits import Budget
from demyjpy.engine.pipeline import as_on_connect, go_on, hang_up, open_connection, receive_data, resume
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.registry import Registry
from demyjpy.shorthands import reject
from tests.engine.harness import (
    BODY,
    DATA,
    EOH,
    EOM,
    HEADER,
    MAIL,
    OPENING,
    RCPT,
    WAYS,
    Session,
    join,
    keep,
    letters,
    macros,
)

CONTENT = ("header", "end_of_headers", "body")


def editor(**more: Any) -> Registry:
    """A filter for which those behind it wait."""
    return define_event_handlers({"end_of_message": keep, **more}, actions={"add_header", "change_body"})


def noting(seen: list[str], *names: str, **options: Any) -> Registry:
    """A filter that writes down which of its handlers ran."""
    found = define_event_handlers()
    for name in names:
        found.add(name, lambda event, ctx, name=name: seen.append(name) or ctx, **options)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_that_waits_sees_the_macros_of_the_end(way):
    """Those that came with the content are not in force any more, those of the message are."""
    seen = []

    def note(event: Any, ctx: Any) -> Any:
        found = [get_macro(ctx, name) for name in ("mail_addr", "x", "i")]
        seen.append((type(event).__name__, *found))
        return ctx

    second = define_event_handlers(dict.fromkeys((*CONTENT, "end_of_message"), note))
    session = Session.open(merge_handlers(editor(), second), way=way)
    session.say(*OPENING, macros("M", mail_addr="a@b"), MAIL, RCPT, DATA)
    session.say(macros("L", x="header"), HEADER, macros("N", x="eoh"), EOH, macros("B", x="body"), BODY)
    assert seen == []
    session.say(macros("E", i="4711", x="end"), EOM)
    names = ("Header", "EndOfHeaders", "Body", "EndOfMessage")
    assert seen == [(name, "a@b", "end", "4711") for name in names]


@pytest.mark.parametrize("way", WAYS)
def test_what_waits_is_handed_out_at_the_end(way):
    """If it blocks: with PROGRESS there, and nowhere else; others are called at once."""
    seen: list[str] = []
    blocking = noting(seen, "header", "body", blocking=True)
    session = Session.open(merge_handlers(editor(), blocking, noting(seen, "end_of_headers")), way=way)
    session.say(*OPENING, MAIL)
    assert session.feed(join([HEADER, EOH, BODY])) == join([(ord("c"), b"")] * 3)
    assert session.connection.call is None
    session.feed(join([EOM]))
    called = []
    while (call := session.connection.call) is not None:
        called.append((call.handler.event, call.progress))
        session.call()
    assert called == [("header", 5.0), ("body", 5.0)]
    assert seen == ["header", "body", "end_of_headers"]
    assert letters(session.sent)[-1] == "c"


def test_a_driver_may_call_all_that_waits():
    """Whatever it is: but what does not wait is called at once."""
    seen: list[str] = []
    names = ("mail", *CONTENT, "end_of_message", "abort")
    merged = merge_handlers(noting(seen, *names), editor(), noting(seen, *names))
    session = Session.open(merged, defers=lambda handler: False, defers_ends=True)
    session.feed(join([*OPENING, MAIL, HEADER, EOH, BODY]))
    assert seen == ["mail", "mail", *CONTENT]
    session.feed(join([EOM]))
    called = []
    while (call := session.connection.call) is not None:
        called.append(call.handler.event)
        session.call()
    assert called == ["end_of_message", "end_of_message", *CONTENT, "end_of_message"]
    assert letters(session.sent)[-1] == "c"


def test_a_refusal_of_one_that_waits_ends_the_message():
    """Handed out or not, nobody behind it is asked."""
    for defers_ends in (False, True):
        seen: list[str] = []
        second = define_event_handlers({"header": lambda event, ctx: reject(ctx)})
        merged = merge_handlers(editor(), second, noting(seen, "mail", "end_of_message", "abort"))
        session = Session.open(merged, defers_ends=defers_ends)
        assert session.answers(*OPENING, MAIL, HEADER, HEADER, EOM)[-1] == act.Reject()
        assert seen == ["mail", "abort"]


def test_the_peer_goes_while_one_that_waits_is_out():
    """The MTA takes its answer, asks nobody about the rest of the message, and says its end."""
    seen: list[str] = []
    second = noting(seen, "header", "end_of_message", "abort", "disconnect", blocking=True)
    third = noting(seen, "mail", "end_of_message", "abort")
    session = Session.open(merge_handlers(editor(), second, third))
    session.feed(join([*OPENING, MAIL, HEADER, HEADER, EOM]))
    assert session.connection.call is not None
    session.hang_up()
    assert not session.is_closed
    session.finish_calls()
    assert session.is_closed
    assert seen == ["mail", "header", "abort", "abort", "disconnect"]
    assert letters(session.sent)[-1] == "c"  # that of the content: the end was not answered


def test_what_has_run_waits_for_no_budget():
    """A peer that goes after it finds the message where that handler has left it."""
    seen: list[str] = []
    refusing = define_event_handlers({"body": lambda event, ctx: reject(ctx)})
    third = noting(seen, "mail", "end_of_message", "abort")
    setup = Setup(
        as_on_connect(merge_handlers(editor(), refusing, third)),
        budget=Budget(packets=2),
        defers_ends=True,
    )
    connection = open_connection(setup)
    for one in (*OPENING, MAIL, BODY, EOM):
        connection = receive_data(connection, join([one]))
    events = []
    while connection.call is not None or connection.is_behind:
        if connection.call is None:
            connection = go_on(connection)
        else:
            call = connection.call
            events.append(call.handler.event)
            connection = resume(connection, call.handler(call.event, call.ctx))
    assert events == ["end_of_message", "body"]
    assert letters(connection.data_to_send) == "r"
    assert hang_up(connection).is_closed
    assert seen == ["mail", "abort"]

"""Rows 99 and 101: signs of life while a handler runs at end of message; both drivers alike."""

import threading
import time
from contextlib import contextmanager

from demyjpy import (
    AddHeader,
    Handler,
    ReplaceBody,
    define_event_handlers,
    running,
    send_action,
)
from tests.conformance.client import PATIENCE, Client
from tests.conformance.talk import CONTINUE, EOM, MAIL, OFFER, PROGRESS, RCPT, packet


@contextmanager
def slow_filter(driver, progress, plan=()):
    """A client at the end of its message, and what makes the handler there come to an end."""
    go_on = threading.Event()
    handlers = define_event_handlers(actions={"add_header", "change_body"})

    @handlers.end_of_message(blocking=True, progress=progress)
    def slow(event, ctx):
        go_on.wait(PATIENCE)
        return send_action(ctx, *plan)

    with running(handlers, driver=driver) as address, Client(address) as client:
        try:
            client.ask(OFFER)
            client.say(MAIL, RCPT)
            assert [client.receive(), client.receive()] == 2 * [CONTINUE]
            client.say(EOM)
            yield client, go_on
        finally:
            go_on.set()


def test_row_099_progress_then_verdict(driver):
    """While a handler runs at the end of message PROGRESS is said again and again; then the verdict."""
    with slow_filter(driver, 0.05) as (client, go_on):
        assert [client.receive() for _ in range(3)] == 3 * [PROGRESS]
        go_on.set()
        rest = [one for one in iter(client.receive, CONTINUE) if one != PROGRESS]
        assert rest == []


def test_row_101_interval(driver):
    """PROGRESS comes at the interval that was chosen, 5 s by default: less than Sendmail's 10 s."""
    assert Handler("end_of_message", lambda event, ctx: ctx).progress == 5.0
    started = time.monotonic()
    with slow_filter(driver, 0.4) as (client, _):
        assert [client.receive(), client.receive()] == 2 * [PROGRESS]
        assert 0.75 < time.monotonic() - started < 5


def test_row_101_no_progress(driver):
    """With ``progress=None`` there is none."""
    with slow_filter(driver, None) as (client, go_on):
        assert client.is_quiet(0.6)
        go_on.set()
        assert client.receive() == CONTINUE


def test_row_101_nothing_within_the_answer_or_after_it(driver):
    """No PROGRESS between the parts of a body, and none after the verdict."""
    plan = (AddHeader("X", "v"), ReplaceBody(bytes(200_000)))
    with slow_filter(driver, 0.05, plan) as (client, go_on):
        assert client.receive() == PROGRESS
        go_on.set()
        answer = [*iter(client.receive, CONTINUE)]
        while answer[0] == PROGRESS:
            del answer[0]
        sizes = (65535, 65535, 65535, 3395)
        assert answer == [packet(b"h", b"X\0 v\0"), *(packet(b"b", bytes(size)) for size in sizes)]
        assert client.is_quiet(0.6)

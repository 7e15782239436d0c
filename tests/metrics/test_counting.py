"""Figures: what an observer sees, counted."""

import builtins
import logging
import os
import signal

import pytest

from demyjpy import (
    Mail,
    Negotiate,
    add_header,
    define_event_handlers,
    discard,
    merge_handlers,
    quarantine,
    reject,
    skip,
    tempfail,
    with_policy,
)
from demyjpy.drivers.report import log
from demyjpy.engine.connection import Step
from demyjpy.engine.limits import Limits
from demyjpy.metrics import Metrics, figures
from demyjpy.metrics.board import Board
from demyjpy.metrics.figures import MissingMetricsError, Shared
from demyjpy.metrics.notes import Notes, last_errors, negotiated
from tests.disks import fork
from tests.engine.harness import ABORT, BODY, EOM, HEADER, MAIL, OPENING, RCPT, play

prometheus_client = pytest.importorskip("prometheus_client")


def filter_of():
    """One that does a bit of everything."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.mail
    def mail(event, ctx):
        if event.sender == "bad@example.org":
            raise ValueError("on <purpose>")
        return reject(ctx) if event.sender == "no@example.org" else ctx

    @handlers.header
    def header(event, ctx):
        return ctx

    @handlers.body
    def body(event, ctx):
        return ctx

    @handlers.end_of_message
    def end_of_message(event, ctx):
        return add_header(ctx, "X-A", "b")

    return handlers


def counted(*packets, handlers=None, **setup):
    """The figures after a session with these packets."""
    registry = prometheus_client.CollectorRegistry()
    played = play(
        handlers or filter_of(),
        *OPENING,
        *packets,
        observer=Metrics(registry),
        clock=iter(range(999)).__next__,
        **setup,
    )
    played.hang_up()
    return {
        (one.name.removeprefix("demyjpy_"), *one.labels.values()): one.value
        for metric in registry.collect()
        for one in metric.samples
        if not one.name.endswith(("_created", "_bucket"))
    }


def test_a_message_is_counted():
    """With its edits, bytes, and the time in each handler."""
    figures = counted(MAIL, HEADER, BODY, EOM)
    assert figures["sessions_total",] == 1
    assert figures["disconnects_total",] == 1
    assert figures["messages_total", "accepted"] == 1
    assert figures["edits_total", "AddHeader"] == 1
    assert figures["received_bytes_total",] > 0
    assert figures["sent_bytes_total",] > 0
    assert figures["handler_seconds_count", "body", f"{__name__}.filter_of.<locals>.body"] == 1
    assert not [key for key in figures if key[0] == "errors_total"]


def test_what_is_refused_or_given_up_is_counted():
    """By the event, and by what was wrong."""
    bad, no = (MAIL[0], b"<bad@example.org>\0"), (MAIL[0], b"<no@example.org>\0")
    figures = counted(bad, no, MAIL, BODY)
    assert figures["errors_total", "ValueError"] == 1
    assert figures["verdicts_total", "mail", "tempfailed"] == 1
    assert figures["verdicts_total", "mail", "rejected"] == 1
    assert figures["messages_total", "rejected"] == figures["messages_total", "tempfailed"] == 1
    assert figures["messages_total", "given up"] == 1


@pytest.mark.parametrize(
    ("answer", "fate", "edits"),
    [
        (lambda ctx: reject(ctx, "5.7.1", "no"), "rejected", 0),
        (lambda ctx: tempfail(ctx, "4.7.1", "later"), "tempfailed", 0),
        (lambda ctx: quarantine(ctx, "odd"), "quarantined", 2),
        (discard, "discarded", 0),
    ],
)
def test_a_message_is_counted_by_its_fate(answer, fate, edits):
    """Replies by their class, held mail as held; edits only if they were made."""
    handlers = define_event_handlers(actions={"add_header", "quarantine"})
    handlers.end_of_message(lambda event, ctx: add_header(answer(ctx), "X", "y"))
    figures = counted(MAIL, BODY, EOM, handlers=handlers)
    assert figures["messages_total", fate] == 1
    assert sum(value for key, value in figures.items() if key[0] == "edits_total") == edits


def test_an_abort_between_messages_gives_nothing_up():
    """Postfix says it after each message."""
    figures = counted(MAIL, BODY, EOM, ABORT, ABORT)
    assert figures["messages_total", "accepted"] == 1
    assert ("messages_total", "given up") not in figures


def test_without_the_extra(monkeypatch):
    """An error that says what to install."""
    real = builtins.__import__

    def without(name, *rest):
        if name == "prometheus_client":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingMetricsError, match=r"pip install 'demyjpy\[metrics\]'"):
        figures.prometheus()


@pytest.fixture
def board():
    """For two processes."""
    found = Board(2)
    yield found
    found.close()


def test_last_errors_are_noted(board):
    """With their traceback; also what was negotiated. As many in a second as there is room for."""
    play(
        filter_of(),
        *OPENING,
        *[(MAIL[0], b"<bad@example.org>\0")] * 12,
        MAIL,
        EOM,
        observer=Notes(board),
    )
    found = last_errors(board)
    assert len(found) == 10
    assert "ValueError: on <purpose>" in found[0]["traceback"]
    (said,) = negotiated(board)
    assert said.startswith("version 6: add_header; without ")


def test_a_note_has_its_size_whatever_an_error_says(board):
    """Its end is kept, and stays JSON; control characters and bytes that are no text are escaped."""

    def mail(event, ctx):
        raise ValueError('"\\\n\x1b\udcff\U0001f600' * 100_000)

    play({"mail": mail}, *OPENING, MAIL, observer=Notes(board))
    (found,) = last_errors(board)
    assert 200 < len(found["traceback"]) <= 8000
    assert "\\x1b\\udcff\U0001f600" in found["traceback"]
    assert "\x1b" not in found["traceback"]


def add(sink, name, *labels, amount=1.0):
    """Add to one figure."""
    sink.add([(sink.cell(name, labels), amount)])


def figures_of(board):
    """As Prometheus reads them."""
    return {
        (one.name.removeprefix("demyjpy_"), *one.labels.values()): one.value
        for metric in Shared(board).collect()
        for one in metric.samples
    }


def test_a_board_counts_as_prometheus_client_does(board):
    """The same figures, by name, labels and value."""
    registry = prometheus_client.CollectorRegistry()
    both = Metrics(registry), Metrics(sink=Shared(board))

    def observe(step):
        for one in both:
            one(step)

    played = play(
        filter_of(), *OPENING, MAIL, HEADER, BODY, EOM, observer=observe, clock=iter(range(999)).__next__
    )
    played.hang_up()
    for one in both:
        one.lag(0.1)
    expected = {
        (one.name.removeprefix("demyjpy_"), *one.labels.values()): one.value
        for metric in registry.collect()
        for one in metric.samples
        if not one.name.endswith("_created")
    }
    assert figures_of(board) == expected


def test_figures_of_processes_that_have_ended_are_kept(board):
    """However many there were: the next one goes on where one has ended."""
    for number in range(20):
        child = fork()
        if child == 0:
            shared = Shared(board)
            add(shared, "errors", f"E{number % 3}")
            add(shared, "handler_seconds", "mail", "f", amount=0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    figures = figures_of(board)
    assert [figures["errors_total", f"E{number}"] for number in range(3)] == [7, 7, 6]
    assert figures["handler_seconds_count", "mail", "f"] == 20
    assert figures["handler_seconds_sum", "mail", "f"] == 10.0


def test_a_board_that_is_full_keeps_what_it_has(board, caplog):
    """What has no room is not counted: a line in the log, and none for the next."""
    shared = Shared(board)
    for number in range(10_000):
        add(shared, "errors", f"{number:0100}")
    add(shared, "errors", f"{0:0100}")
    shared.add([], [(shared.cell("handler_seconds", ("mail", "f" * 100)), 1, 0.5)])
    figures = figures_of(board)
    assert 1000 < len(figures) < 10_000
    assert figures["errors_total", f"{0:0100}"] == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_board_that_is_closed_takes_nothing():
    """Nor does it fail: a handler may end after the milter has."""
    board = Board(1)
    shared, notes = Shared(board), Notes(board)
    add(shared, "sessions")
    board.close()
    add(shared, "sessions")
    notes(Step("s", Mail("a"), {}, {}, answer=(Negotiate(6, 0, 0),)))


def test_more_processes_than_the_board_has_parts_count_nothing():
    """They do no harm, and say so once."""
    board = Board(1)
    add(Shared(board), "sessions")
    heard, said = os.pipe()
    child = fork()
    if child == 0:
        log.handlers[:] = [logging.StreamHandler(os.fdopen(said, "w"))]
        add(Shared(board), "sessions")
        add(Shared(board), "sessions")
        Notes(board)(Step("s", Mail("a"), {}, {}, answer=(Negotiate(6, 0, 0),)))
        os._exit(0)
    os.close(said)
    with os.fdopen(heard) as stream:
        assert stream.read() == "some figures are not kept: there is no room for sessions\n"
    os.waitpid(child, 0)
    assert figures_of(board)["sessions_total",] == 1
    assert negotiated(board) == []
    board.close()


def test_how_late_the_loop_is_is_counted():
    """As a histogram."""
    registry = prometheus_client.CollectorRegistry()
    metrics = Metrics(registry)
    for seconds in (0.0, 0.2):
        metrics.lag(seconds)
    name = "demyjpy_loop_lag_seconds"
    assert registry.get_sample_value(f"{name}_count") == 2
    assert registry.get_sample_value(f"{name}_bucket", {"le": "0.1"}) == 1


def test_refusals_are_counted_by_filter():
    """By its name, else by that of its handler; also if it refused before, or failed."""

    def refuse(event, ctx):
        return reject(ctx)

    def fail(event, ctx):
        raise ValueError("on purpose")

    edits = {"end_of_message": lambda event, ctx: ctx}
    editor = define_event_handlers(edits, actions={"change_body"}, name="editor")
    late = define_event_handlers({"header": refuse}, name="late")
    assert refusals(merge_handlers(editor, late), HEADER, BODY, EOM) == {"late": 1.0}
    quiet = define_event_handlers({"header": fail}, name="quiet")
    assert refusals(merge_handlers(editor, quiet), HEADER, BODY, EOM) == {"quiet": 1.0}
    name = f"{__name__}.{refuse.__qualname__}"
    assert refusals(define_event_handlers({"recipient": refuse}), RCPT, RCPT) == {name: 2.0}
    many = [RCPT] * 20
    assert refusals(define_event_handlers({"recipient": refuse}), *many) == {name: 20.0}
    small = Limits(recipients=1)
    known = define_event_handlers({"recipient": lambda event, ctx: ctx})
    assert refusals(known, RCPT, RCPT, limits=small) == {"": 1.0}


def test_a_failure_is_not_to_blame_for_the_refusal_of_another_filter():
    """It may have been accepted; nor is a recipient that was refused a refusal of the end."""

    def fail(event, ctx):
        raise ValueError("on purpose")

    failing = define_event_handlers({"end_of_message": fail}, actions={"change_body"}, name="failing")
    late = define_event_handlers({"header": lambda event, ctx: reject(ctx)}, name="late")
    merged = merge_handlers(failing, late)
    assert refusals(merged, HEADER, BODY, EOM, on_error="accept") == {"late": 1.0}
    assert refusals(merged, HEADER, BODY, EOM) == {"failing": 1.0}
    picky = define_event_handlers({"recipient": lambda event, ctx: reject(ctx)}, name="picky")
    both = refusals(merge_handlers(picky, failing), RCPT, EOM, on_error="reject")
    assert both == {"picky": 1.0, "failing": 1.0}


def refusals(handlers, *packets, **setup):
    """The figure by filter after a message with these packets."""
    figures = counted(MAIL, *packets, handlers=handlers, **setup)
    return {key[1]: value for key, value in figures.items() if key[0] == "refusals_total"}


def test_what_is_withheld_is_counted_by_filter():
    """By what would have become of the mail; an edit without a verdict counts as one, as does SKIP."""

    def counts(does, event="end_of_message"):
        handlers = define_event_handlers({event: lambda _, ctx: does(ctx)}, name="x", edits="all")
        figures = counted(MAIL, RCPT, HEADER, BODY, EOM, handlers=with_policy(handlers, enforce=False))
        assert not [key for key in figures if key[0] == "refusals_total"]
        return {key[1:]: value for key, value in figures.items() if key[0] == "withheld_total"}

    assert counts(reject) == {("x", "rejected"): 1.0}
    assert counts(tempfail, "header") == {("x", "tempfailed"): 1.0}
    assert counts(discard, "mail") == {("x", "discarded"): 1.0}
    assert counts(skip, "body") == {("x", "skipped"): 1.0}
    assert counts(lambda ctx: quarantine(ctx, "held")) == {("x", "quarantined"): 1.0}
    assert counts(lambda ctx: add_header(ctx, "A", "b")) == {("x", "edited"): 1.0}
    assert counts(lambda ctx: ctx) == {}


def test_what_is_shown_again_at_the_end_is_not_received_again():
    """Bytes are those that the MTA sent."""
    editor = define_event_handlers(actions={"change_body", "add_header"})
    editor.end_of_message(lambda event, ctx: ctx)
    reader = define_event_handlers({"header": lambda e, c: c, "body": lambda e, c: c})
    packets = MAIL, HEADER, BODY, EOM
    alone = counted(*packets, handlers=reader)
    assert (
        counted(*packets, handlers=merge_handlers(editor, reader))["received_bytes_total",]
        == (alone["received_bytes_total",])
    )

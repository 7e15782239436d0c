"""Figures: what an observer sees, counted."""

import builtins

import pytest

from demyjpy import add_header, define_event_handlers, discard, quarantine, reject, tempfail
from demyjpy.metrics import Metrics, counting
from demyjpy.metrics.counting import MissingMetricsError
from demyjpy.metrics.notes import Notes, last_errors, read_notes
from demyjpy.metrics.page import Moment, page
from tests.engine import ABORT, BODY, EOM, HEADER, MAIL, OPENING, play

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


def counted(*packets, handlers=None):
    """The figures after a session with these packets."""
    registry = prometheus_client.CollectorRegistry()
    played = play(
        handlers or filter_of(),
        *OPENING,
        *packets,
        observer=Metrics(registry),
        clock=iter(range(999)).__next__,
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
        counting.prometheus()


def test_last_errors_are_noted(tmp_path):
    """With their traceback; also what was negotiated."""
    play(
        filter_of(),
        *OPENING,
        *[(MAIL[0], b"<bad@example.org>\0")] * 12,
        MAIL,
        EOM,
        observer=Notes(tmp_path),
    )
    found = last_errors(tmp_path)
    assert len(found) == 10
    assert "ValueError: on <purpose>" in found[0]["traceback"]
    (said,) = read_notes(tmp_path, "negotiated")
    assert said.startswith("version 6: add_header; without ")


def test_notes_that_cannot_be_written_or_read(tmp_path):
    """Do no harm."""
    play(filter_of(), *OPENING, observer=Notes(tmp_path / "none"))
    (tmp_path / "errors-1.json").write_text("half")
    assert last_errors(tmp_path) == []


def test_the_page_shows_what_happens():
    """What strangers may have sent is text."""
    error = {"time": 0, "session": "s", "queue_id": None, "handler": "f", "traceback": "<script>"}
    history = [Moment(0.0, {}), Moment(60.0, {"accepted": 5.0}), Moment(120.0, {"accepted": 15.0})]
    handlers = [("mail", "fast", 10.0, 0.001), ("body", "slow", 10.0, 20.0)]
    html = page({"filter": "a & b"}, history, handlers, [error])
    assert "a &amp; b" in html
    assert "&lt;script&gt;" in html
    assert html.index("slow") < html.index("fast")
    assert "accepted: 15" in html
    assert "(top: 10 a minute)" in html
    assert html.count("<polyline") == 1
    assert "None." not in html
    assert "No messages yet." in page({}, history[:1], [], [])
    assert "None." in page({}, history[:1], [], [])


def test_how_late_the_loop_is_is_counted():
    """As a histogram."""
    registry = prometheus_client.CollectorRegistry()
    metrics = Metrics(registry)
    for seconds in (0.0, 0.2):
        metrics.lag(seconds)
    name = "demyjpy_loop_lag_seconds"
    assert registry.get_sample_value(f"{name}_count") == 2
    assert registry.get_sample_value(f"{name}_bucket", {"le": "0.1"}) == 1

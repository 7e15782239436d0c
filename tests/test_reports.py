"""What a filter reports besides its answers: notes for the log, and counts."""

import logging
from typing import Any

import pytest
from attrs import evolve

from demyjpy import (
    Context,
    Count,
    HandlerError,
    Note,
    count,
    define_event_handlers,
    merge_handlers,
    note,
    reject,
    running,
    skip,
)
from demyjpy.drivers.report import report
from demyjpy.engine.connection import Requested, Setup
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.metrics.counting import Metrics
from demyjpy.registry import Handler, Registry
from demyjpy.requests import Request
from demyjpy.testing import Postfix, Sendmail, run, session
from demyjpy.testing.server import Server
from demyjpy.trace.format.json_events import dump_action, load_action
from demyjpy.trace.live.explain_line import Explainer
from demyjpy.trace.replay.replaying import Filter, replay

MAIL = session().mail("a@example.org").rcpt("b@example.org").message()
EVENTS = (
    *("connect", "hello", "mail", "recipient", "header", "end_of_headers", "body"),
    *("end_of_message", "disconnect"),
)
QUIET = ("connect", "hello", "mail", "recipient", "header", "end_of_headers", "body")


def noting(events: Any = ("recipient",), name: str | None = "greylist", **options: Any) -> Registry:
    """A filter that notes and counts at these events."""
    handlers = define_event_handlers(name=name)

    def tell(event: Any, ctx: Context) -> Context:
        return count(note(ctx, "was here", wait=300), "seen", 2, at=type(event).__name__)

    for one in events:
        handlers.add(one, tell, **options)
    return handlers


@pytest.mark.parametrize("mta", [Postfix(), Sendmail()])
def test_a_note_is_in_the_result_at_every_event(mta: Any):
    """At each event of a session, also at its end."""
    result = run(noting(EVENTS), MAIL, mta=mta)
    at = {step.exchange for step in result.observed if any(type(a) is Note for a in step.actions)}
    assert len(result.notes) == len(result.counts) == len(at) >= len(EVENTS)
    assert set(result.notes) == {Note("was here", (("wait", 300),))}
    assert Count("seen", 2, (("at", "Disconnect"),)) in result.counts
    assert result.is_delivered
    assert result.troubles == ()


def test_a_handler_without_answers_notes_too():
    """reply=False is about the MTA."""
    result = run(noting(QUIET, reply=False), MAIL, mta=Postfix())
    assert len(result.notes) >= len(QUIET)
    assert result.troubles == ()


def test_each_of_several_filters_notes():
    """Merged filters keep their own."""
    merged = merge_handlers(noting(name="a"), noting(name="b"))
    result = run(merged, MAIL, mta=Sendmail())
    assert [one.handler.filter for one in result.at("recipient") if one.handler] == ["a", "b"]
    assert len(result.notes) == 2


def test_a_given_up_message_has_its_note():
    """The abort handler notes."""
    script = session().mail("a@example.org").rcpt("b@example.org").rset()
    assert len(run(noting(("mail", "abort")), script, mta=Sendmail()).notes) == 2


def failing() -> Registry:
    """A filter whose plan is not legal."""
    handlers = define_event_handlers(name="bad")

    @handlers.mail
    def fail(event: Any, ctx: Context) -> Context:
        return skip(note(ctx, "lost"))

    return handlers


def test_what_a_failed_handler_noted_is_dropped():
    """It has reported nothing; what on_error notes is kept."""
    assert run(failing(), MAIL, mta=Sendmail()).notes == ()

    def on_error(error: Exception, event: Any, ctx: Context) -> Context:
        return reject(note(count(ctx, "failures"), "failed"))

    result = run(failing(), MAIL, mta=Sendmail(), on_error=on_error)
    assert result.notes == (Note("failed"),)
    assert result.counts == (Count("failures"),)
    assert str(result.verdict) == "Reject()"


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
@pytest.mark.parametrize("options", [{}, {"blocking": True}])
def test_the_driver_logs_a_note(driver: Any, options: Any, caplog: pytest.LogCaptureFixture):
    """Once, with session, queue id, filter and the fields as attributes of the record."""
    caplog.set_level(logging.INFO, "demyjpy")
    with running(noting(("end_of_message",), **options), driver=driver) as address:
        Server(address, Sendmail()).run(MAIL)
    (record,) = [one for one in caplog.records if "was here" in one.getMessage()]
    found: Any = record
    assert record.getMessage().endswith(": greylist: was here (wait=300)")
    assert (found.filter, found.wait, found.event) == ("greylist", 300, "end_of_message")
    assert found.session
    assert found.queue_id


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_a_flood_of_notes_is_kept_out_of_the_log(driver: Any, caplog: pytest.LogCaptureFixture):
    """Of a message 20 lines are written, and one that says so; the next message has its own."""
    caplog.set_level(logging.INFO, "demyjpy")
    handlers = define_event_handlers()

    @handlers.end_of_message
    def flood(event: Any, ctx: Context) -> Context:
        for number in range(30):
            ctx = note(ctx, f"line {number}\n\x1b[0m", long="x" * 5000)
        return ctx

    script = MAIL.mail("c@example.org").rcpt("d@example.org").message()
    with running(handlers, driver=driver) as address:
        Server(address, Postfix()).run(script)
    lines = [one.getMessage() for one in caplog.records]
    assert sum(": line " in one for one in lines) == 40
    assert sum(one.endswith("no more than 20 notes of a message") for one in lines) == 2
    assert all(one.isprintable() and len(one) < 2000 for one in lines)


class Figures:
    """A place for figures, in memory."""

    def __init__(self) -> None:
        self.found: dict[Any, float] = {}

    def cell(self, name: str, labels: tuple[str, ...] = ()) -> Any:
        return name, *labels

    def add(self, changes: Any) -> None:
        for cell, amount in changes:
            self.found[cell] = self.found.get(cell, 0) + amount


def test_metrics_count_what_filters_count():
    """By filter, name and labels; of too many kinds the labels are not told apart."""
    result = run(noting(("mail", "recipient")), MAIL, mta=Sendmail())
    figures = Figures()
    metrics = Metrics(sink=figures)
    for step in result.observed:
        metrics(step)
    own = {key[1:]: value for key, value in figures.found.items() if key[0] == "filter_counts"}
    assert own == {("greylist", "seen", "at=Mail"): 2, ("greylist", "seen", "at=Recipient"): 2}

    handlers = define_event_handlers(name="wild")

    @handlers.mail
    def many(event: Any, ctx: Context) -> Context:
        for number in range(300):
            ctx = count(ctx, "kinds", kind=number)
        return ctx

    for step in run(handlers, MAIL, mta=Sendmail()).observed:
        metrics(step)
    kept = [key for key in figures.found if key[0] == "filter_counts"]
    assert len(kept) == 201
    assert figures.found["filter_counts", "wild", "other", ""] == 102


def explained(steps: Any) -> list[str]:
    """The explain lines of these steps."""
    lines: list[str] = []
    explainer = Explainer(lines.append)
    for step in steps:
        explainer(step)
    return lines


def test_a_driver_may_report_without_keeping_notes(caplog: pytest.LogCaptureFixture):
    """As one of its own does: the notes of each value are written."""
    caplog.set_level(logging.INFO, "demyjpy")
    handler: Any = Handler("mail", lambda event, ctx: ctx)
    setup = Setup(as_on_connect(noting()))
    requested = Requested(Note("alone"), handler, 0)
    report(
        evolve(open_connection(setup, "s"), requests=(requested, evolve(requested, request=Request())))
    )
    assert [one.getMessage().endswith(": alone") for one in caplog.records] == [True]


def test_the_explain_line_has_notes():
    """Behind what became of the message; whoever notes is no editor."""
    script = MAIL.mail("c@example.org").rcpt("d@example.org").message()
    handlers = noting()
    lines = explained(run(handlers, script, mta=Sendmail()).observed)
    assert [line.split(": ", 2)[2] for line in lines] == ["accepted, noted was here (wait=300)"] * 2


def test_a_trace_keeps_notes_and_counts():
    """They come back as they were, and a replay that notes something else is another one."""
    assert load_action(dump_action(Note("a", (("b", 1.5), ("c", None))))) == Note(
        "a", (("b", 1.5), ("c", None))
    )
    assert load_action(dump_action(Count("a", 3, (("b", "c"),)))) == Count("a", 3, (("b", "c"),))
    trace = run(noting(), MAIL, mta=Sendmail()).trace
    moment = trace.at("recipient")
    assert moment.actions == (
        Note("was here", (("wait", 300),)),
        Count("seen", 2, (("at", "Recipient"),)),
    )
    assert [one.data for one in replay(trace, Filter(noting())).replies] == [
        one.recorded.data for one in trace.exchanges
    ]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda ctx: note(ctx, ""), "expected the text of a note as a text that is not empty"),
        (lambda ctx: count(ctx, 3), "expected the name of a count as a text"),
        (lambda ctx: note(ctx, "a", message=1), "another name for the field message= of a note"),
        (lambda ctx: note(ctx, "a", b=[1]), "expected b= as a text, a number, a truth value or None"),
        (lambda ctx: count(ctx, "a", -1), "expected the amount of a count as a number from 0, got"),
        (lambda ctx: count(ctx, "a", True), "expected the amount of a count as a number from 0"),
        (lambda ctx: count(ctx, "a", float("nan")), "expected the amount of a count"),
        (lambda ctx: note(ctx, "a", **{f"f{n}": n for n in range(21)}), "at most 20 fields or labels"),
    ],
)
def test_what_is_no_report_is_refused(call: Any, text: str):
    """At once, in the handler that made it."""
    from demyjpy import new_context  # noqa: PLC0415

    with pytest.raises(HandlerError, match=text):
        call(new_context())


def test_a_report_in_words():
    """As logs and traces show it."""
    from demyjpy.trace.display.wording import words_of  # noqa: PLC0415

    assert words_of(Note("a", (("b", 1),))) == "notes a (b=1)"
    assert words_of(Count("a")) == "counts a"
    assert words_of(Count("a", 2.5, (("b", "c"),))) == "counts a (b=c), 2.5"

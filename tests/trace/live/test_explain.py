"""Why did it do that to this mail: in full sentences, and in a line of the log."""

import logging
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from demyjpy import (
    accept,
    add_header,
    define_event_handlers,
    merge_handlers,
    quarantine,
    reject,
    running,
)
from demyjpy.testing import Postfix, session
from demyjpy.testing.server import Server
from demyjpy.trace import Trace, load, write
from demyjpy.trace.display.sentences import sentences
from demyjpy.trace.live.explain_line import Explainer
from demyjpy.trace.replay.recorded_filter import recorded_filter
from tests.cli.servers import program, read_until
from tests.engine.harness import (
    ABORT,
    BODY,
    EOM,
    HEADER,
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
from tests.trace.sessions import CAPTURES, ROOT, WHOLE, tagger, watched

Run = Callable[..., tuple[int, str, str]]
BAD = packet("R", b"<bad@example.org>\0")
ENVELOPE = "<alice@example.org> -> <bob@example.org>"


def ticking() -> Callable[[], float]:
    ticks = count()
    return lambda: next(ticks) / 1000


def told(handlers: Any, *packets: Any, **setup: Any) -> list[str]:
    """The sentences about the first message."""
    trace = Trace.of_steps(watched(handlers, *packets, **setup)[0])
    return list(sentences(trace, trace.messages[0]))


def test_an_accepted_mail_is_told_with_its_changes() -> None:
    """Who asked for them, who was refused, and how long it took."""
    packets = (*OPENING, macros("M", i="Q1"), MAIL, RCPT, BAD, *MESSAGE[2:], QUIT)
    name = "tests.trace.sessions.tagger.<locals>"
    assert told(tagger(), *packets, clock=ticking()) == [
        "Message Q1, <alice@example.org> -> <bob@example.org> and 1 more: accepted, 1 change.",
        "client.example [192.0.2.1] connected and said hello as client.example.",
        "It gave the sender <alice@example.org>.",
        "It gave 2 recipients: <bob@example.org>, <bad@example.org>.",
        "The filter refused 1 of them, and 1 stayed.",
        f"{name}.count asked for reply 550 5.1.1 nobody at recipient <bad@example.org>.",
        "No handler objected: the answer at end_of_message was to go on.",
        f"Change: add header X-Tag: yes 2, asked for by {name}.tag.",
        f"The handlers took 3.0 ms, 1.0 ms of it {name}.count at recipient.",
    ]


def test_changes_that_a_refusal_made_void_are_told() -> None:
    """Another filter refused the mail; the milder verdict is told, too."""
    mild = define_event_handlers(actions={"add_header"})

    @mild.end_of_message
    def tag(event: Any, ctx: Any) -> Any:
        return accept(add_header(ctx, "X", "y"))

    @mild.header
    def trust(event: Any, ctx: Any) -> Any:
        return accept(ctx) if event.name == "X-Trusted" else ctx

    trusted = packet("L", b"X-Trusted\0yes\0")
    lines = told(
        merge_handlers(mild, define_event_handlers({"body": keep})), *OPENING, MAIL, trusted, QUIT
    )
    assert any(line.endswith("trust asked for accept at header X-Trusted.") for line in lines)
    strict = define_event_handlers()

    @strict.end_of_message
    def check(event: Any, ctx: Any) -> Any:
        return reject(ctx, "5.7.1", "no")

    lines = told(merge_handlers(mild, strict), *WHOLE)
    name = f"{__name__}.test_changes_that_a_refusal_made_void_are_told.<locals>"
    assert lines[4:] == [
        f"{name}.tag asked for accept at end_of_message.",
        f"{name}.check decided at end_of_message: reply 550 5.7.1 no.",
        f"Dropped: add header X: y, asked for by {name}.tag, because the mail was rejected.",
    ]


def test_a_failure_is_told_with_what_the_policy_made_of_it() -> None:
    """The verdict is the library's then."""

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError("broken")

    lines = told({"header": fail}, *WHOLE)
    assert "failed at header: ValueError: broken." in lines[-2]
    assert lines[-1] == "The answer at header was tempfail."
    lines = told({"header": lambda event, ctx: reject(ctx)}, *OPENING, MAIL, HEADER, QUIT)
    assert lines[-1].endswith("decided at header: reject.")


def test_a_plan_that_was_not_sent_is_told() -> None:
    """It was invalid; the policy accepted the mail."""

    def ask(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X", "y")

    (last,) = told({"end_of_message": ask}, *WHOLE, on_error="accept")[-1:]
    assert last.startswith("Dropped: add header X: y, asked for by ")
    assert last.endswith(", because it was not sent.")


def test_a_mail_that_was_given_up_is_told() -> None:
    """By whom; a client that did not introduce itself says nothing."""
    lines = told({"mail": keep}, offer(), MAIL, ABORT, QUIT)
    assert lines == [
        "Message session#1, <alice@example.org> -> ?: given up at abort.",
        "The client gave the sender <alice@example.org>.",
        "It was given up by the MTA or its client (abort), not by the filter.",
    ]
    held = define_event_handlers({"body": keep}, actions={"quarantine"})
    held.end_of_message(lambda event, ctx: quarantine(ctx, "odd"))
    lines = told(held, *OPENING[:2], BODY, EOM, QUIT)
    assert lines[0] == "Message session#1, envelope not seen: quarantined."
    assert lines[-1].startswith("Change: quarantine: odd, asked for by ")


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_capture_can_be_explained(path: Path) -> None:
    """Without handlers it is the filter that did it."""
    (trace,) = load(path)
    for message in trace.messages:
        lines = list(sentences(trace, message))
        assert all(line.endswith(".") and line[:1] != "t" for line in lines)
    again = Trace.of_steps(watched(recorded_filter(trace), *(one.packet for one in trace.exchanges))[0])
    assert len(again.messages) == len(trace.messages)


UNREADABLE = {"direction": "mta", "event": None, "raw": "AAAAAlI/"}


def test_damaged_records_are_passed_over() -> None:
    """What can be told is told."""
    trace = Trace.of_steps(watched(tagger(), *WHOLE)[0])
    bad = {"actions": 1, "duration": "x"}
    odd = [{**one, **(bad if "handler" in one else {})} for one in trace.records]
    broken = Trace("s", (*odd[:3], UNREADABLE, *odd[3:]))
    assert list(sentences(broken, broken.messages[-1]))
    refused = (
        {"direction": "mta", "event": "mail", "fields": {"sender": "a"}},
        UNREADABLE,
        {"direction": "filter", "event": "recipient", "answer": [{"action": "Reject"}]},
    )
    trace = Trace("s", refused)
    assert "The filter asked for reject at recipient." in sentences(trace, trace.messages[0])


def test_what_a_foreign_filter_changed_in_vain_is_told() -> None:
    """It said changes, and then refused the mail."""
    answer = [{"action": "AddHeader", "name": "A", "value": "b"}, {"action": "Reject"}]
    records = (
        {"direction": "mta", "event": "end_of_message"},
        {"direction": "filter", "event": "end_of_message", "answer": answer},
    )
    trace = Trace("s", records)
    assert list(sentences(trace, trace.messages[0]))[-1] == (
        "Dropped: add header A: b, asked for by the filter, because the mail was rejected."
    )
    unanswered = Trace("s", (records[0], {"direction": "end", "how": "mta"}))
    assert "The filter never answered at its end." in sentences(unanswered, unanswered.messages[0])


def test_a_recording_that_ends_early_is_told() -> None:
    """It says nothing about the filter, nor about the client; a message before it ended as it did."""
    said = (*OPENING, MAIL, ABORT, macros("M", i="Q1"), *MESSAGE)
    records = [one for one in Trace.of_steps(watched(tagger(), *said)[0]).records if "how" not in one]
    asked = max(number for number, one in enumerate(records) if one["direction"] == "mta")
    heading = f"Message Q1, {ENVELOPE}: undecided: it goes on, and the recording ends there."
    end = "The recording ends here: the session was still open, or the rest is lost."
    for number in (asked, asked + 1):
        trace = Trace("s", tuple(records[:number]))
        lines = list(sentences(trace, trace.messages[-1]))
        assert (lines[0], end in lines) == (heading, True)
        assert not any("never answered" in line or "given up" in line for line in lines)
        assert "given up at abort" in next(sentences(trace, trace.messages[0]))
    why = {"direction": "end", "how": "cut", "reason": "it was too long to be kept"}
    trace = Trace("s", (*records[:asked], why))
    assert "The recording ends here: it was too long to be kept." in sentences(trace, trace.messages[-1])


def answered(*answer: dict[str, Any], **more: Any) -> Trace:
    """A recording of a foreign filter that answered so at the end of a message, packet by packet."""
    said = ({"direction": "filter", "event": "end_of_message", "answer": [one]} for one in answer)
    begun = {"direction": "mta", "event": "mail", "fields": {"sender": "a@example.org"}}
    asked = {"direction": "mta", "event": "end_of_message"}
    return Trace("s", (begun, asked, *({**one, **more} for one in said), *ANSWER))


ANSWER: tuple[dict[str, Any], ...] = (
    {"direction": "filter", "event": "end_of_message", "answer": [{"action": "Continue"}]},
)


def test_a_body_in_pieces_is_one_change() -> None:
    """Libmilter says it in packets of 64 kB."""
    piece = {"action": "ReplaceBody", "data": "0123456789"}
    lines = list(sentences(trace := answered(*[piece] * 1250), trace.messages[0]))
    assert lines[0] == "Message s#1, <a@example.org> -> ?: accepted, 1 change."
    assert [line for line in lines if "body" in line] == [
        "Change: replace body, 12500 bytes, asked for by the filter."
    ]


def test_what_was_said_out_of_turn_is_not_told_as_done() -> None:
    """An MTA may have used it or not: Postfix takes an edit that was not negotiated."""
    held = {"action": "Quarantine", "reason": "held"}
    added = {"action": "AddHeader", "name": "A", "value": "b"}
    trace = answered(held, added, odd=["no answer is due"])
    (message,) = trace.messages
    assert (message.outcome, message.edits) == ("accepted", ())
    lines = list(sentences(trace, message))
    assert lines[0] == "Message s#1, <a@example.org> -> ?: accepted."
    assert (
        "Out of turn, the filter said at end_of_message: add header A: b (no answer is due). "
        "What the MTA made of that is not in the recording."
    ) in lines
    assert not [line for line in lines if line.startswith("Change")]


def test_several_milters_that_were_asked_about_one_mail_have_names() -> None:
    """Each has a story of its own, and each says whose it is; a damaged name is none."""
    named = {"direction": "mta", "event": "options", "fields": {"version": 6}, "milter": "spam"}
    trace = Trace("s", (named, *answered().records))
    heading = "Message s#1, <a@example.org> -> ?, as spam was asked about it: accepted."
    assert next(sentences(trace, trace.messages[0])) == heading
    assert Trace("s", ({**named, "milter": 1}, *answered().records)).messages[0].milter == ""


# --------------------------------------------------------------------------------- in the log
def lines_of(handlers: Any, *packets: Any, **setup: Any) -> list[str]:
    lines: list[str] = []
    explainer = Explainer(lines.append)
    for step in watched(handlers, *packets, **setup)[0]:
        explainer(step)
    return lines


def test_a_message_is_a_line() -> None:
    """What became of it, who decided, who changed it, and how long the handlers took."""
    name = "tests.trace.sessions.tagger.<locals>.tag"
    (line,) = lines_of(tagger(), *WHOLE, clock=ticking())
    assert line == (
        f"session session: Q1 {ENVELOPE} from client.example [192.0.2.1]: "
        f"accepted, 1 change by {name} (X-Tag added), 4.0 ms"
    )


def test_several_messages_are_several_lines() -> None:
    """Refused, given up, failed, at the end of the connection; recipients count once."""

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError("broken")

    def refuse(event: Any, ctx: Any) -> Any:
        return reject(ctx) if event.sender.startswith("bad") else ctx

    one = define_event_handlers({"mail": refuse, "recipient": keep})
    two = define_event_handlers({"recipient": keep, "header": fail})
    bad = packet("M", b"<bad@x>\0")
    lines = lines_of(
        merge_handlers(one, two), *OPENING, bad, MAIL, RCPT, ABORT, MAIL, RCPT, HEADER, MAIL, RCPT
    )
    name = f"{__name__}.test_several_messages_are_several_lines.<locals>.refuse"
    start, client = "session session: session#", " from client.example [192.0.2.1]: "
    assert lines == [
        f"{start}1 <bad@x> -> ?{client}rejected at mail by {name}",
        f"{start}2 {ENVELOPE}{client}given up at abort",
        f"{start}3 {ENVELOPE}{client}tempfailed at header, 1 failure of handlers",
        f"{start}4 {ENVELOPE}{client}given up at quit",
    ]


def test_what_handlers_do_counts_for_their_own_message() -> None:
    """Not for the one before, though only now it is known that that one was given up."""

    def judge(event: Any, ctx: Any) -> Any:
        if event.sender == "odd@x":
            raise ValueError("broken")
        return reject(ctx) if event.sender == "bad@x" else ctx

    one = define_event_handlers({"mail": judge})
    for sender, end in (
        (b"<bad@x>\0", f"rejected at mail by {__name__}.{judge.__qualname__}"),
        (b"<odd@x>\0", "tempfailed at mail, 1 failure of handlers"),
    ):
        first, second = lines_of(one, *OPENING, MAIL, RCPT, ABORT, packet("M", sender))
        assert first.endswith(": given up at abort")
        assert second.endswith(f": {end}")


def test_merged_filters_have_one_line_a_message() -> None:
    """The answer comes when the last handler has run; the one that decided is named, not the last."""

    def refuse(event: Any, ctx: Any) -> Any:
        return reject(add_header(ctx, "A", "1"), "5.7.1", "no")

    def tag(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "B", "2")

    one = define_event_handlers({"end_of_message": refuse}, actions={"add_header"})
    two = define_event_handlers({"end_of_message": tag}, actions={"add_header"})
    name = f"{__name__}.test_merged_filters_have_one_line_a_message.<locals>"
    (line,) = lines_of(merge_handlers(one, two), *OPENING, MAIL, RCPT, EOM, QUIT)
    assert line.endswith(f": rejected at end_of_message (reply 550 5.7.1 no) by {name}.refuse")
    (line,) = lines_of(merge_handlers(two, two), *OPENING, MAIL, RCPT, EOM, QUIT)
    assert line.endswith(f": accepted, 2 changes by {name}.tag (2 fields B added)")


def test_observed_events_and_a_body_with_its_end_are_one_message() -> None:
    """reply=False, and packets that are two events."""
    quiet = define_event_handlers({"end_of_message": keep})
    quiet.body(reply=False)(keep)
    quiet.recipient(reply=False)(keep)
    lines = lines_of(quiet, *OPENING[:2], RCPT, RCPT, BODY, packet("E", b"more"), QUIT)
    assert [line.rpartition(": ")[2] for line in lines] == ["accepted"]
    assert "<bob@example.org> and 1 more" in lines[0]
    assert lines_of({"mail": keep}, HELO) == []


def test_a_running_milter_logs_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """With the level info."""
    caplog.set_level(logging.INFO, "demyjpy")
    with running(tagger(), observer=Explainer()) as address:
        Server(address).run(session().mail("a@b").rcpt("c@d").message(), mta=Postfix())
    (line,) = [one.message for one in caplog.records if "accepted" in one.message]
    assert "-> <c@d>: accepted, 1 change by tests.trace.sessions" in line


# ------------------------------------------------------------------------------- the commands
def test_the_command_explains(run: Run, tmp_path: Path) -> None:
    """One message by its queue id, or all, with an empty line between them."""
    path = tmp_path / "t.jsonl"
    write(path, [Trace.of_steps(watched(tagger(), *OPENING, MAIL, RCPT, EOM, MAIL, RCPT, EOM)[0])])
    status, output, errors = run("explain", path)
    assert (status, errors, output.count("\n\nMessage ")) == (0, "", 1)
    status, output, _ = run("explain", *CAPTURES, "--queue-id", "31855FDE071")
    assert (status, output.count("Message ")) == (0, 1)
    assert run("explain", path, "--queue-id", "none")[::2] == (
        1,
        "demyjpy explain: expected a message with queue id none, got none among 2 recorded messages\n",
    )
    (tmp_path / "empty").touch()
    status, _, errors = run("explain", tmp_path / "empty")
    assert (status, errors.splitlines()[-1]) == (1, "demyjpy explain: expected a message, got none")
    assert run("explain", "/nowhere")[0] == 2


def test_run_explains(run: Run, mail: Path, tmp_path: Path) -> None:
    """With --explain, on standard error."""
    with program(
        "run",
        "--allow-root",
        f"{ROOT}/samples/bytecount.py",
        "--listen",
        f"unix:{tmp_path}/s",
        "--explain",
    ) as started:
        read_until(started, "INPUT_MAIL_FILTER")
        assert run("send", mail, "--to", f"unix:{tmp_path}/s")[0] == 0
        started.terminate()
        _, errors = started.communicate(timeout=30)
    assert ": accepted, 1 change by bytecount." in errors


@pytest.mark.parametrize(
    ("option", "envelope"),
    [("--see-envelope", "<ann@example.org> -> <bob@example.net>"), ("--no-see-envelope", "not seen")],
)
def test_the_envelope_is_seen_unless_that_is_switched_off(
    run: Run, mail: Path, tmp_path: Path, option: str, envelope: str
) -> None:
    """The filter has no handlers for sender and recipients; merged, and loaded again, too."""
    (tmp_path / "tail.py").write_text(
        "from demyjpy import *\n"
        "one, two = define_event_handlers(), define_event_handlers()\n"
        "one.end_of_message(lambda event, ctx: ctx)\n"
        "two.end_of_message(lambda event, ctx: ctx)\n"
        "handlers = merge_handlers(one, two)\n"
    )
    mail.write_bytes(b"From: ann@example.org\r\nTo: bob@example.net\r\n\r\nhello\r\n")
    options = ("--listen", f"unix:{tmp_path}/s", "--explain", option)
    with program("run", "--allow-root", f"{tmp_path}/tail.py", *options) as started:
        read_until(started, "INPUT_MAIL_FILTER")
        assert run("send", mail, "--to", f"unix:{tmp_path}/s")[0] == 0
        started.terminate()
        _, errors = started.communicate(timeout=30)
    assert f"{envelope}: accepted" in errors

"""Explaining several filters in a row: which filter said what, whose edit a change is, findings."""

from typing import Any

from demyjpy import (
    AddRecipient,
    ChangeHeader,
    InsertHeader,
    define_event_handlers,
    find,
    merge_handlers,
    reject,
    send_action,
)
from demyjpy.trace.live.explain_line import Explainer
from tests.engine.harness import EOM, MAIL, OPENING, QUIT, RCPT, keep, packet
from tests.trace.live.test_explain import ticking, told
from tests.trace.sessions import watched


def chain(*, refuses: bool = False) -> Any:
    """Filters with names: one finds something, two edit, the last one may refuse what it is shown."""
    spf = define_event_handlers(name="spf")
    mark = define_event_handlers(name="mark", actions={"change_header", "add_recipient"})
    tag = define_event_handlers(name="tag", actions={"add_header", "change_header", "change_body"})

    @spf.mail
    def look(event: Any, ctx: Any) -> Any:
        return find(ctx, "spf", "softfail", score=1.5)

    @mark.end_of_message
    def change(event: Any, ctx: Any) -> Any:
        edits = ChangeHeader(1, "Subject", "marked"), ChangeHeader(2, "Subject", "")
        return send_action(ctx, *edits, AddRecipient("eve@example.org"))

    @tag.header
    def see(event: Any, ctx: Any) -> Any:
        ctx = find(ctx, "length", len(event.value), source="header")
        return reject(ctx) if refuses else ctx

    @tag.end_of_message
    def add(event: Any, ctx: Any) -> Any:
        edits = InsertHeader(1, "X-A", "b"), ChangeHeader(1, "Subject", "marked twice")
        return send_action(ctx, *edits)

    return merge_handlers(spf, mark, tag)


SUBJECT = packet("L", b"Subject\0 one\0")


def test_who_of_a_chain_said_what_is_told() -> None:
    """Changes with the filter whose edit they are, whatever number they have; and findings."""
    name = "tests.trace.live.test_explain_chains.chain.<locals>."
    packets = (*OPENING, MAIL, RCPT, SUBJECT, SUBJECT, EOM, QUIT)
    lines = told(chain(), *packets, clock=ticking())
    found = "Finding at header, which it got at end_of_message: length 6, from header, by tag."
    assert "Finding at mail: spf softfail, score 1.5, by spf." in lines
    assert found in lines
    assert [one for one in lines if one.startswith(("Change", "Dropped"))] == [
        f"Change: change header Subject no. 1 to: marked twice, asked for by tag: {name}add.",
        f"Change: delete header Subject no. 2, asked for by mark: {name}change.",
        f"Change: insert header at 1 X-A: b, asked for by tag: {name}add.",
        f"Change: add recipient <eve@example.org>, asked for by mark: {name}change.",
        (
            f"Dropped: change header Subject no. 1 to: marked, asked for by mark: {name}change, but not "
            "in the changes that all filters together made."
        ),
    ]
    lines = told(chain(refuses=True), *packets)
    assert f"tag: {name}see decided at end_of_message: reject." in lines
    assert f"Dropped: add recipient <eve@example.org>, asked for by mark: {name}change, " in str(lines)


def test_findings_are_in_the_line_of_a_message() -> None:
    """A few of each, made harmless; those of the connection for each message."""

    class Odd:
        def __repr__(self) -> str:
            raise ValueError

    def found_early(event: Any, ctx: Any) -> Any:
        return find(ctx, "early", Odd())

    def found(event: Any, ctx: Any) -> Any:
        for number in range(12):
            ctx = find(ctx, f"f{number}", "x" * 100 if number else "a\nb")
        return ctx

    def junk(event: Any, ctx: Any) -> Any:
        return ctx.set("findings", [5])

    lines: list[str] = []
    early = define_event_handlers({"connect": found_early}, name="early")
    late = define_event_handlers({"mail": found, "recipient": keep}, name="late")
    packets = (*OPENING, MAIL, RCPT, EOM, MAIL, RCPT, EOM, QUIT)
    watched(merge_handlers(early, late), *packets)
    steps, _ = watched(merge_handlers(early, late), *packets)
    explainer = Explainer(lines.append)
    for step in steps:
        explainer(step)
    first = "found early a Odd whose repr fails: ValueError, by early; f0 a\\nb, by late; f1 " + "x" * 60
    assert [first in one for one in lines] == [True, True]
    assert all("; and 3 more" in one for one in lines)
    assert lines[0].partition("found")[2] == lines[1].partition("found")[2]
    lines.clear()
    for step in watched(define_event_handlers({"mail": junk}), *packets)[0]:
        explainer(step)
    assert len(lines) == 2
    assert "found" not in str(lines)

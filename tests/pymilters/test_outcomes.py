"""What `python -m tests.pymilters` compares: equal outcomes are equal, and each other one is seen."""

import socket

import dns.message
import pytest
from attrs import evolve

from demyjpy import add_header, define_event_handlers, discard, reject, replace_body
from demyjpy.testing import Postfix, run
from tests.pymilters.filters import FILTERS
from tests.pymilters.outcomes import Outcome, differences, is_in_our_favour, outcome_of
from tests.pymilters.sessions import SESSIONS
from tests.pymilters.surroundings import answer_to, log_socket
from tests.test_docs import ROOT, table_rows

PLAIN = SESSIONS["a plain mail"]
edits = define_event_handlers(actions={"add_header", "change_body"})


@edits.end_of_message
def edit(event, ctx):
    return replace_body(add_header(ctx, "X-Seen", "yes"), b"new\r\n")


def outcome(handlers: object) -> Outcome:
    return outcome_of(run(handlers, PLAIN, mta=Postfix()))


def test_there_are_twenty_sessions():
    """As many as the table says."""
    assert len(SESSIONS) == 20


def test_the_page_has_a_row_for_each_filter():
    """What came of the last whole run; see docs/coming-from-pymilter.md."""
    rows = table_rows(ROOT / "docs/coming-from-pymilter.md")
    assert [row[0] for row in rows if " of 40" in row[-2]] == [*FILTERS]


def test_the_same_outcome_differs_in_nothing():
    """Also if a header handler answers, or does not."""
    handlers = {**edits, "header": lambda _, ctx: ctx}
    loud = define_event_handlers(handlers, actions={"add_header", "change_body"})
    assert differences(outcome(edits), outcome(loud)) == []
    assert outcome(edits).says_something
    assert not outcome({}).says_something


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({}, "edits: pymilter AddHeader("),
        ({"mail": lambda event, ctx: reject(ctx)}, "answers: pymilter nothing; demyjpy step 2, mail: R"),
        ({"data": lambda event, ctx: discard(ctx)}, "answers: pymilter nothing; demyjpy step 4, data: "),
    ],
)
def test_another_outcome_is_seen(other, what):
    """An edit that is not there, a verdict at another event."""
    found = differences(outcome(edits), outcome(other))
    assert any(line.startswith(what) for line in found), found


def test_edits_may_come_in_another_order_if_they_are_of_different_kinds():
    """Header and body have nothing to do with each other; two header fields have."""
    one = outcome(edits)
    assert differences(one, evolve(one, edits=one.edits[::-1])) == []
    two = evolve(one, edits=("AddHeader('A', '1')", "AddHeader('B', '2')"))
    assert len(differences(two, evolve(two, edits=two.edits[::-1]))) == 2


def test_a_body_may_come_in_other_pieces():
    """What counts is the new body."""
    pieces = define_event_handlers(
        {"end_of_message": lambda event, ctx: replace_body(replace_body(ctx, b"ne"), b"w\r\n")},
        actions={"change_body"},
    )
    whole = Outcome((), ("ReplaceBody(data=b'new\\r\\n')",), (), ())
    assert outcome(pieces).edits == whole.edits


def test_signatures_and_times_are_no_difference():
    """They are another each time."""
    signed = define_event_handlers(
        {"end_of_message": lambda event, ctx: add_header(ctx, "X", "t=1700000000; b=aGVsbG8=")},
        actions={"add_header"},
    )
    assert "t=TIME" in outcome(signed).edits[0]
    assert "b=SIGNATURE" in outcome(signed).edits[0]


def test_a_refusal_instead_of_silence_is_in_our_favour():
    """Only if it is for the moment."""
    hung = Outcome((), (), (), (), ("the milter failed at end_of_message: no answer within 2 s",))
    later = Outcome(("step 4, end_of_message: ReplyCode(code=451, ...)",), (), (), ())
    assert is_in_our_favour(hung, later)
    assert not is_in_our_favour(later, later)
    assert not is_in_our_favour(hung, Outcome((), (), (), ()))
    assert not is_in_our_favour(hung, evolve(later, answers=("step 4, end_of_message: Reject()",)))


@pytest.mark.parametrize(
    ("name", "kind", "answers", "rcode"),
    [("EXAMPLE.net", "TXT", 1, 0), ("example.net", "MX", 0, 3), ("nowhere.example", "TXT", 0, 3)],
)
def test_the_resolver_knows_its_records_and_no_others(name, kind, answers, rcode):
    """A name that it does not know has NXDOMAIN."""
    query = dns.message.make_query(name, kind)
    found = dns.message.from_wire(answer_to(query.to_wire()))
    assert len(found.answer) == answers
    assert found.rcode() == (0 if name == "example.net" else rcode)


def test_who_logs_does_not_wait(tmp_path):
    """A hundred messages are taken, and the place is free again after them, or if nobody reads there."""
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    with log_socket(path), log_socket(path), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(str(path))
        assert [client.send(b"<22>hello") for _ in range(100)] == [9] * 100
    assert not path.exists()

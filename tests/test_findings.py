"""Findings: what filters pass on to one another, by calling the functions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.context import new_context, send_action, take_actions
from demyjpy.errors import HandlerError
from demyjpy.findings import MOST, Finding, find, findings, take_findings, total_score
from demyjpy.handlers import define_event_handlers, scoped


def test_a_finding_waits_in_the_queue_until_the_handler_has_returned():
    """Then it is kept, with its author and its event; actions stay where they are."""
    ctx = find(new_context(), "spf", "softfail", score=1.5, domain="example.org")
    ctx = send_action(ctx, act.AddHeader("X", "1"))
    (found,) = findings(ctx)
    assert (found.name, found.value, found.score, found.source) == ("spf", "softfail", 1.5, "filter")
    assert (found.fields, found.author, found.event) == (pmap({"domain": "example.org"}), None, None)
    assert ctx["findings"] == ()
    after = take_findings(ctx, "acl", "mail")
    (kept,) = after["findings"]
    assert (kept.author, kept.event, kept.value) == ("acl", "mail", "softfail")
    assert take_actions(after)[0] == (act.AddHeader("X", "1"),)
    assert findings(after) == (kept,)


def test_a_context_without_new_findings_stays_the_same_object():
    """Whether something else was queued or not."""
    for ctx in (new_context(), send_action(new_context(), act.Reject()), pmap()):
        assert take_findings(ctx, "acl", "mail") is ctx


def test_findings_are_read_in_order_and_by_name():
    """Those that are kept, then those of the present handler."""
    ctx = take_findings(find(find(new_context(), "a", 1), "b", 2), "first", "mail")
    ctx = find(ctx, "a", 3)
    assert [one.value for one in findings(ctx)] == [1, 2, 3]
    assert [one.value for one in findings(ctx, "a")] == [1, 3]
    assert findings(ctx, "c") == ()


def test_fields_may_have_any_name():
    """Also those of the parameters."""
    (found,) = findings(find(new_context(), "a", 1, name="x", value="y", ctx="z"))
    assert found.fields == pmap({"name": "x", "value": "y", "ctx": "z"})


def test_a_finding_does_not_change():
    """Its fields are a persistent map."""
    given_fields = {"a": 1}
    found = Finding("x", 1, fields=given_fields)
    given_fields["a"] = 2
    assert found.fields == pmap({"a": 1})
    with pytest.raises(AttributeError):
        found.value = 2


@pytest.mark.parametrize("name", ["author", "event"])
def test_a_field_is_not_called_as_what_the_engine_writes(name):
    """Who found it, and when, is not the filter's to say."""
    with pytest.raises(
        HandlerError, match="expected other names for the fields of a finding than author"
    ):
        find(new_context(), "x", 1, **{name: "me"})


@given(st.lists(st.integers(-1000, 1000), max_size=20), st.integers(0, 20))
def test_the_total_is_the_sum_of_all_scores(scores, taken):
    """Of those that are kept and those in the queue."""
    ctx = new_context()
    for number, score in enumerate(scores):
        ctx = find(ctx, "x", None, score=score)
        if number < taken:
            ctx = take_findings(ctx, "acl", "mail")
    assert total_score(ctx) == sum(scores)
    assert [one.score for one in findings(ctx)] == scores


WRONG = [
    (
        {"name": ""},
        "expected the name of a finding as a text that is not empty, got text of 0 characters",
    ),
    ({"name": 5}, "expected the name of a finding as a text that is not empty, got 5"),
    ({"score": "high"}, "expected the score of a finding as a finite number, got text of 4 characters"),
    ({"score": True}, "expected the score of a finding as a finite number, got True"),
    ({"score": float("nan")}, "expected the score of a finding as a finite number, got a float"),
    ({"source": "net"}, "expected the source of a finding as filter or header or mta, got 'net'"),
    ({"source": None}, "expected the source of a finding as filter or header or mta, got None"),
    ({"fields": 5}, "expected the fields of a finding as a mapping, got 5"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_what_cannot_be_a_finding_is_refused(wrong, message):
    """The message says what was expected; it shows no value that may be from a mail."""
    with pytest.raises(HandlerError) as error:
        Finding(**{"name": "x", "value": None, **wrong})
    assert str(error.value) == message


def test_the_findings_of_a_message_are_bounded():
    """Those in the queue count; actions do not."""
    message = f"expected at most {MOST} findings of one message, got {MOST + 1}"
    ctx = send_action(new_context(), *[act.AddHeader("X", "1")] * MOST)
    for _ in range(MOST):
        ctx = find(ctx, "x", None)
    with pytest.raises(HandlerError, match=message):
        find(ctx, "x", None)
    kept = take_findings(ctx, "acl", "mail")
    assert len(kept["findings"]) == MOST
    assert len(take_actions(kept)[0]) == MOST
    with pytest.raises(HandlerError, match=message):
        find(kept, "x", None)
    with pytest.raises(HandlerError, match=message):
        take_findings(send_action(kept, Finding("x", None)), "acl", "mail")


def test_findings_of_a_filter_in_a_corner_are_everybodys():
    """It sees those of others, too."""

    def look(event, ctx):
        return find(ctx, "seen", [one.name for one in findings(ctx)])

    inside = scoped("x", define_event_handlers({"mail": look}))
    before = take_findings(find(new_context(), "spf", "pass"), "spf", "mail")
    after = inside["mail"](None, before)
    assert [one.value for one in findings(after)] == ["pass", ["spf"]]

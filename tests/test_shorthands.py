"""Shorthands: each queues one action, and leaves the context it got as it was."""

import pytest

from demyjpy import actions as act
from demyjpy import shorthands as short
from demyjpy.context import new_context
from demyjpy.errors import LocalProtocolError, describe

QUEUED = [
    (short.accept, act.Accept()),
    (short.discard, act.Discard()),
    (short.skip, act.Skip()),
    (short.reject, act.Reject()),
    (lambda ctx: short.reject(ctx, "5.7.1"), act.ReplyCode(550, "5.7.1")),
    (lambda ctx: short.reject(ctx, "5.7.1", "no"), act.ReplyCode(550, "5.7.1", "no")),
    (lambda ctx: short.reject(ctx, None, "no"), act.ReplyCode(550, None, "no")),
    (lambda ctx: short.reject(ctx, "5.1.1", ["a", "b"], code=553), act.ReplyCode(553, "5.1.1", "a\nb")),
    (lambda ctx: short.reject(ctx, code=554), act.ReplyCode(554)),
    (short.tempfail, act.TemporaryFailure()),
    (lambda ctx: short.tempfail(ctx, "4.7.1", "later"), act.ReplyCode(451, "4.7.1", "later")),
    (lambda ctx: short.tempfail(ctx, code=421), act.ReplyCode(421)),
    (lambda ctx: short.add_header(ctx, "X", "v"), act.AddHeader("X", "v")),
    (lambda ctx: short.add_header(ctx, "X", raw="v"), act.AddHeader("X", raw="v")),
    (lambda ctx: short.insert_header(ctx, 0, "X", "v"), act.InsertHeader(0, "X", "v")),
    (lambda ctx: short.insert_header(ctx, 0, "X", raw="v"), act.InsertHeader(0, "X", raw="v")),
    (lambda ctx: short.change_header(ctx, 1, "X", "v"), act.ChangeHeader(1, "X", "v")),
    (lambda ctx: short.change_header(ctx, 1, "X", raw="v"), act.ChangeHeader(1, "X", raw="v")),
    (lambda ctx: short.delete_header(ctx, 2, "X"), act.DeleteHeader(2, "X")),
    (lambda ctx: short.replace_body(ctx, b"x"), act.ReplaceBody(b"x")),
    (lambda ctx: short.add_recipient(ctx, "a@b"), act.AddRecipient("a@b")),
    (lambda ctx: short.add_recipient(ctx, "a@b", "X=y"), act.AddRecipient("a@b", {"X": "y"})),
    (lambda ctx: short.delete_recipient(ctx, "<a@b>"), act.DeleteRecipient("a@b")),
    (lambda ctx: short.change_sender(ctx, ""), act.ChangeSender("")),
    (lambda ctx: short.change_sender(ctx, "a@b", {"RET": "HDRS"}), act.ChangeSender("a@b", "RET=HDRS")),
    (lambda ctx: short.quarantine(ctx, "late"), act.Quarantine("late")),
]


@pytest.mark.parametrize(("call", "action"), QUEUED)
def test_a_shorthand_queues_its_action(call, action):
    """After what was queued before, in a new context."""
    before = short.accept(new_context())
    assert call(before)["queue"] == (act.Accept(), action)
    assert before["queue"] == (act.Accept(),)


DELETED = [([1, 3, 2], (3, 2, 1)), ([2, 2], (2,)), ([], ()), (iter([1, 2]), (2, 1))]


@pytest.mark.parametrize(("indexes", "order"), DELETED)
def test_several_headers_are_deleted_from_the_last(indexes, order):
    """Descending, each once: Postfix renumbers, Sendmail does not."""
    queue = short.delete_headers(new_context(), "X", indexes)["queue"]
    assert queue == tuple(act.DeleteHeader(index, "X") for index in order)


CODES = [
    (short.reject, 450),
    (short.reject, 250),
    (short.reject, "550"),
    (short.tempfail, 550),
    (short.tempfail, None),
]


@pytest.mark.parametrize(("shorthand", "code"), CODES)
def test_a_code_is_of_the_shorthands_class(shorthand, code):
    """Reject is 5xx, tempfail 4xx; the message names both."""
    first = "5" if shorthand is short.reject else "4"
    wanted = f"{shorthand.__name__}: expected a code from {first}00 to {first}99, got {describe(code)}"
    with pytest.raises(LocalProtocolError) as caught:
        shorthand(new_context(), code=code)
    assert str(caught.value) == wanted


def test_a_bad_value_is_refused_at_once():
    """In the handler that gave it, not when the plan is checked."""
    with pytest.raises(LocalProtocolError, match=r"one class, got 550 and 4\.7\.1"):
        short.reject(new_context(), "4.7.1")
    with pytest.raises(LocalProtocolError, match="expected name"):
        short.add_header(new_context(), "X Y", "v")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (
            lambda: short.reject("5.7.1", "no"),
            'expected the context first, as in reject(ctx, "5.7.1", "no thanks"), got str',
        ),
        (
            lambda: short.reject(new_context(), 550, "5.7.1", "no"),
            'expected reject(ctx, "5.7.1", "no thanks", code=550): the code comes last, by its name',
        ),
        (
            lambda: short.tempfail(new_context(), 451),
            'expected tempfail(ctx, "4.7.1", "try later", code=451): the code comes last, by its name',
        ),
        (
            lambda: short.reject(new_context(), "No thanks"),
            (
                "reject: expected an enhanced status code before the text, as in "
                'reject(ctx, "5.7.1", "no thanks"), got text of 9 characters; '
                "for a reply without one write reject(ctx, text=...)"
            ),
        ),
        (
            lambda: short.add_header("X-A", "b"),
            "expected the context first, as in add_header(ctx, name, value), got str",
        ),
        (lambda: short.accept(None), "expected the context first, as in accept(ctx), got NoneType"),
    ],
)
def test_a_wrong_call_is_shown_the_right_one(call, error):
    """Without any value of the mail."""
    with pytest.raises(LocalProtocolError) as caught:
        call()
    assert str(caught.value) == error

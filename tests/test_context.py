"""The context: the user's keys, the engine's, and the functions that reach these."""

import pytest
from pyrsistent import PMap, pmap

from demyjpy import actions as act
from demyjpy.context import (
    ENGINE_KEYS,
    KEYS_FROM_THE_START,
    check_state,
    get_macro,
    is_rejected_recipient,
    new_context,
    remember,
    send_action,
    take_actions,
    update,
)
from demyjpy.engine.macros import NO_MACROS
from demyjpy.errors import HandlerError
from demyjpy.wire.codes import Command


def test_a_new_context_holds_the_engines_keys_and_the_users():
    """Nothing is queued, agreed, in force or remembered."""
    ctx = new_context({"mine": 1})
    assert isinstance(ctx, PMap)
    assert set(ctx) == KEYS_FROM_THE_START | {"mine"}
    assert ctx["queue"] == ()
    assert ctx["connection"] == pmap()
    assert ctx["macros"] == NO_MACROS
    assert ctx["events"] == ctx["actions"] == frozenset()
    assert set(new_context()) == KEYS_FROM_THE_START


@pytest.mark.parametrize("key", sorted(ENGINE_KEYS))
def test_state_under_a_key_of_the_engines_is_refused(key):
    """The message names the key."""
    with pytest.raises(
        HandlerError, match=f"expected state under keys of your own, got {key}: these belong"
    ):
        new_context({key: 1, "mine": 2})


def test_state_is_copied():
    """What is done to the caller's dict later changes nothing."""
    given = {"a": 1}
    state = check_state(given)
    given["a"] = 2
    assert state == {"a": 1}


def test_values_may_be_functions():
    """They are stored, not called."""
    assert update(new_context(), {"f": len})["f"] is len


def test_actions_are_queued_in_order_and_taken_at_once():
    """The context they were queued in is as it was."""
    ctx = new_context()
    one = send_action(ctx, act.Reject())
    two = send_action(one, act.Accept(), act.Skip())
    assert (ctx["queue"], one["queue"]) == ((), (act.Reject(),))
    queue, rest = take_actions(two)
    assert queue == (act.Reject(), act.Accept(), act.Skip())
    assert rest["queue"] == ()
    assert take_actions(rest) == ((), rest)
    assert send_action(ctx) == ctx


def test_where_nothing_was_queued_the_context_stays_the_same_object():
    """So the engine sees at once that nothing changed."""
    ctx = new_context()
    assert take_actions(ctx)[1] is ctx


def test_what_is_remembered_is_read_from_the_connection():
    """As a map, by keyword, or both; later values replace earlier ones."""
    ctx = remember(new_context(), {"a": 1}, b=2)
    assert ctx["connection"] == pmap({"a": 1, "b": 2})
    assert remember(ctx, a=3)["connection"] == pmap({"a": 3, "b": 2})
    assert remember(ctx) == ctx
    assert remember(ctx, values=1, ctx=2)["connection"]["values"] == 1


def test_a_macro_is_read_by_its_name():
    """With or without braces; None where it is not in force."""
    macros = NO_MACROS.define(Command.MAIL, b"i\x00abc\0{auth_authen}\0joe\0")
    ctx = new_context().set("macros", macros)
    assert get_macro(ctx, "i") == get_macro(ctx, "{i}") == "abc"
    assert get_macro(ctx, "auth_authen") == get_macro(ctx, "{auth_authen}") == "joe"
    assert get_macro(ctx, "j") is None


@pytest.mark.parametrize(("mailer", "wanted"), [(b"error", True), (b"smtp", False), (b"", False)])
def test_a_recipient_that_the_mta_refused_is_told_by_its_mailer(mailer, wanted):
    """Both MTAs send {rcpt_mailer}=error for it."""
    macros = NO_MACROS.define(Command.RCPT, b"{rcpt_mailer}\0" + mailer + b"\0")
    assert is_rejected_recipient(new_context().set("macros", macros)) is wanted
    assert not is_rejected_recipient(new_context())


def test_many_actions_keep_their_order():
    """However many are queued, and in whatever portions: they are taken as they were queued."""
    ctx, queued = new_context(), [act.AddHeader("X", str(number)) for number in range(200)]
    for number in range(0, 200, 4):
        ctx = send_action(ctx, *queued[number : number + 4])
    taken, after = take_actions(ctx)
    assert taken == tuple(queued)
    assert after["queue"] == ()

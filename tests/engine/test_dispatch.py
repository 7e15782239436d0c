"""Who handles what on a connection: the table made at the negotiation."""

import pytest

from demyjpy.actions import Negotiate
from demyjpy.codec import EVENTS
from demyjpy.engine.dispatch import agreed_table, opening_table
from demyjpy.engine.letters import DISCONNECT, MACRO, MESSAGE, OPTNEG
from demyjpy.errors import LocalProtocolError
from demyjpy.handlers import default_event_handler, define_event_handlers, merge_handlers
from demyjpy.wire.codes import Command
from demyjpy.wire.codes import ProtocolFlag as P
from tests.engine.harness import keep


def test_before_the_negotiation_there_are_the_negotiation_and_the_end():
    """Nothing else may come."""
    assert set(opening_table(define_event_handlers())) == {OPTNEG, DISCONNECT}


def test_after_it_there_is_one_for_each_command_and_the_end():
    """Commands that nobody handles have an empty chain."""
    table = agreed_table(define_event_handlers({"mail": keep}), Negotiate(6, 0, 0), observed=False)
    assert set(table) == {*EVENTS, DISCONNECT, MESSAGE}
    handled = {letter for letter, dispatch in table.items() if dispatch.chain}
    assert handled == {OPTNEG, Command.MAIL}


@pytest.mark.parametrize("letter", [letter for letter, row in EVENTS.items() if row.quiet])
def test_an_answer_is_due_unless_it_was_agreed_that_none_is(letter):
    """By the NR_* bit of the answer."""
    flag = EVENTS[letter].quiet
    for agreed, wanted in ((P.NONE, True), (flag, False), (~flag & 0x1FFFFF, True)):
        table = agreed_table(define_event_handlers(), Negotiate(6, 0, agreed), observed=False)
        assert table[letter].replies is wanted


@pytest.mark.parametrize("letter", [MACRO, Command.ABORT, Command.QUIT, Command.QUIT_NC, DISCONNECT])
def test_some_are_never_answered(letter):
    """Whatever was agreed."""
    assert not agreed_table(define_event_handlers(), Negotiate(6, 0, 0), observed=False)[letter].replies


def test_a_quit_for_a_new_connection_is_handled_as_quit():
    """There is one name for both."""
    table = agreed_table(define_event_handlers({"quit": keep}), Negotiate(6, 0, 0), observed=False)
    assert table[Command.QUIT_NC].chain == table[Command.QUIT].chain != ()


def test_macros_take_the_long_way_where_somebody_looks():
    """An observer, or a filter's own handler; filters without one rely on the default."""

    def functions(registry, *, observed):
        table = agreed_table(registry, Negotiate(6, 0, 0), observed=observed)
        return [handler.function for _, handler in table[MACRO].chain]

    own = define_event_handlers({"define_macros": keep})
    other = define_event_handlers({"mail": keep})
    assert functions(other, observed=False) == []
    assert functions(other, observed=True) == [default_event_handler]
    assert functions(own, observed=True) == functions(own, observed=False) == [keep]
    assert functions(merge_handlers(own, other), observed=False) == [default_event_handler, keep]


def test_the_end_has_no_packet():
    """Nothing can be decoded there."""
    dispatch = opening_table(define_event_handlers())[DISCONNECT]
    with pytest.raises(LocalProtocolError, match="expected a packet, got what the engine makes"):
        dispatch.decode(b"", False)

"""Several filters in a row, attacked: what a bad filter, an odd message or an odd MTA may not do."""

from typing import Any

from attrs import evolve

from demyjpy import actions as act
from demyjpy.context import new_context, send_action
from demyjpy.engine import chain_end
from demyjpy.engine.limits import Budget
from demyjpy.handlers import default_event_handler, define_event_handlers, merge_handlers
from demyjpy.wire.codes import ProtocolFlag
from tests.engine.chains import HEADERS, Seen, editing, message
from tests.engine.harness import (
    CONNECT,
    EOH,
    EOM,
    HEADER,
    MAIL,
    OPENING,
    Session,
    join,
    keep,
    offer,
    packet,
    play,
)


def test_a_name_that_only_unicode_takes_for_another_is_another():
    """U+212A, the Kelvin sign, is no k to the MTAs."""
    first = editing(act.DeleteHeader(1, "X-Kind"), act.DeleteRecipient("kim@test"))
    odd = packet("L", "X-\u212aind\0 1\0".encode())
    session = play(merge_handlers(first, editing(act.AddHeader("X", "x"))), *OPENING)
    answers = session.answers(MAIL, packet("R", "<\u212aim@test>\0".encode()), odd, EOH, EOM)
    assert answers[-3:] == [act.AddHeader("X", "x"), act.DeleteRecipient("kim@test"), act.Continue()]
    assert session.errors == []


def test_the_engines_keys_may_not_be_changed_by_one_of_several():
    """Else the filter behind it would fail, for no fault of its own."""
    bad = {
        "findings": lambda ctx: ctx.set("findings", ("virus",)),
        "owners": lambda ctx: ctx.set("owners", 5),
        "answers": lambda ctx: ctx.set("answers", 5),
        "events": lambda ctx: ctx.set("events", 1),
        "macros": lambda ctx: ctx.set("macros", {}),
        "connection": lambda ctx: ctx.set("connection", 5),
        "handlers": lambda ctx: new_context({}),
    }
    for key, change in bad.items():
        session = play(merge_handlers(Seen().handlers(mail=change), Seen().handlers("mail")), *OPENING)
        assert session.say(MAIL) == "t", key
        assert "belongs to the engine" in str(session.errors[0])


def test_a_context_of_several_filters_has_so_many_keys_at_most():
    """To see whose they are takes time for each."""
    many = {f"key {number}": number for number in range(1_001)}
    first = Seen().handlers(mail=lambda ctx: ctx.update(many))
    session = play(merge_handlers(first, Seen().handlers("mail")), *OPENING)
    assert session.say(MAIL) == "t"
    assert "at most 1000 keys" in str(session.errors[0])


def test_a_value_that_stays_equal_is_no_change():
    """Whoever's key it is."""
    first = Seen().handlers("mail", state={"n": 1_000})
    second = Seen().handlers(mail=lambda ctx: ctx.set("n", int("1000")))
    assert play(merge_handlers(first, second), *OPENING).say(MAIL) == "c"


def test_a_filter_without_handlers_owns_what_it_declares():
    """Nobody else may change it."""
    conf = define_event_handlers(state={"k": 0})
    changing = Seen().handlers(mail=lambda ctx: ctx.set("k", 1))
    session = play(merge_handlers(conf, changing, Seen().handlers("mail")), *OPENING)
    assert session.say(MAIL) == "t"
    assert "belongs to a filter without handlers" in str(session.errors[0])


def test_a_filter_that_is_there_twice_shares_its_keys_with_itself():
    """It is the same filter."""
    twice = Seen().handlers(mail=lambda ctx: ctx.set("n", ctx.get("n", 0) + 1))
    session = play(merge_handlers(twice, twice), *OPENING)
    assert session.say(MAIL) == "c"
    assert session.connection.scope.context["n"] == 2


def test_on_error_sees_what_its_filter_sees():
    """Its actions, and the keys that it may change."""
    seen = []

    def fail(ctx: Any) -> Any:
        raise ValueError("no")

    def on_error(error: Exception, event: Any, ctx: Any) -> Any:
        seen.append(ctx["actions"])
        return ctx.set("k", 1)

    owner = Seen().handlers("mail", state={"k": 0})
    failing = Seen().handlers(end_of_message=fail, actions={"add_header"})
    session = play(merge_handlers(owner, editing(), failing), *OPENING, on_error=on_error)
    assert session.say(MAIL, EOM) == "ct"
    assert seen == [{"add_header"}]
    assert "belongs to" in str(session.errors[1])


def test_edits_of_on_error_are_those_of_its_filter():
    """An index that several filters cannot have fails there, too."""

    def fail(ctx: Any) -> Any:
        raise ValueError("no")

    for edit, answer in ((act.AddHeader("X", "x"), "hc"), (act.InsertHeader(1, "X", "x"), "ic")):
        failing = Seen().handlers(end_of_message=fail, actions={"add_header"})
        chain = merge_handlers(editing(), failing)
        session = play(
            chain, *OPENING, on_error=lambda error, event, ctx, edit=edit: send_action(ctx, edit)
        )
        assert session.say(MAIL, EOM)[1:] == answer
    session = play(
        chain, *OPENING, on_error=lambda *given: send_action(given[2], act.InsertHeader(1, "X", "y"))
    )
    bad = play(
        chain,
        *OPENING,
        MAIL,
        HEADER,
        HEADER,
        HEADER,
        on_error=lambda *given: send_action(given[2], act.InsertHeader(2, "X", "y")),
    )
    assert (session.say(MAIL, EOM), bad.say(EOM)) == ("cic", "t")
    assert len(bad.errors) == 2


def test_a_field_that_a_change_adds_is_added_without_the_permission_for_that():
    """If the MTA does not grant add_header; else it goes to the end."""
    change = define_event_handlers(
        {"end_of_message": lambda event, ctx: send_action(ctx, act.ChangeHeader(9, "X", "x"))},
        actions={"change_header"},
    )
    other = define_event_handlers({"end_of_message": keep}, actions={"change_header"})
    for granted, edit in (
        (0x1FF, act.AddHeader("X", "x")),
        (0x10, act.ChangeHeader(1_000_000, "X", "x")),
    ):
        session = play(merge_handlers(change, other), offer(actions=granted), CONNECT)
        assert session.answers(*message(*HEADERS))[-2:] == [edit, act.Continue()]


def test_what_an_options_handler_declines_is_not_planned_with():
    """The edits go out as they are if the header is not sent."""

    def decline(event: Any, ctx: Any) -> Any:
        ctx = default_event_handler(event, ctx)
        (reply,) = ctx["queue"]
        return ctx.set("queue", (evolve(reply, protocol=reply.protocol | ProtocolFlag.NOHDRS),))

    first = editing(act.ChangeHeader(1, "Subject", "x"))
    first.options(decline)
    session = play(merge_handlers(first, editing()), *OPENING)
    edit = act.ChangeHeader(1, "Subject", "x")
    assert (session.answers(MAIL, EOH, EOM)[-2:], session.errors) == ([edit, act.Continue()], [])


def test_a_plan_that_cannot_be_made_is_a_temporary_failure(monkeypatch):
    """Whatever goes wrong there: the session goes on."""

    def fail(*given: Any) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(chain_end, "modifications_of", fail)
    session = play(merge_handlers(editing(), editing()), *OPENING)
    assert session.say(MAIL, EOM, MAIL) == "ctc"
    assert str(session.errors[0]) == "no"


def test_an_end_that_has_come_back_is_concluded_before_others_have_their_turn():
    """Or the filter would get an abort besides, if the peer goes then."""
    seen = Seen()
    first = seen.handlers("mail", "end_of_message", "abort")
    chain = merge_handlers(first, editing(), editing())
    session = Session.open(
        chain, budget=Budget(packets=2), defers=lambda handler: handler.event == "end_of_message"
    )
    session.say(*OPENING, MAIL)
    session.feed(join([EOM]))
    session.call()
    session.hang_up()
    session.finish_calls()
    assert seen == ["mail", "end_of_message"]

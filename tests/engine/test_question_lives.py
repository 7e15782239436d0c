"""Questions and the ends of sessions; the order in which answers come changes nothing."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy.context import send_action
from demyjpy.engine.limits import Budget
from demyjpy.engine.pipeline import go_on
from demyjpy.handlers import define_event_handlers, merge_handlers, scoped
from demyjpy.merging import compose
from demyjpy.questions import LATE, UNASKED, Answered, Failed, answer
from demyjpy.wrapping import wrap_handler
from tests.engine.asking import About, Filter, Talk, Values
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    DATA,
    EOH,
    EOM,
    HEADER,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    RCPT,
    UNKNOWN,
    Line,
    join,
    offer,
)
from tests.examples import share_of

WAYS = pytest.mark.parametrize("way", [Line, Values])
EVENTS = {
    "connect": CONNECT,
    "hello": HELO,
    "mail": MAIL,
    "recipient": RCPT,
    "data": DATA,
    "header": HEADER,
    "end_of_headers": EOH,
    "body": BODY,
    "message": EOM,
    "end_of_message": EOM,
}
ALL = (CONNECT, HELO, *MESSAGE)


# ------------------------------------------------------------------------------------- the peer goes
@WAYS
@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("which", [0, -1])
def test_the_peer_goes_while_a_handler_waits(way: Any, name: str, count: int, which: int) -> None:
    """Who saw the message begin gets abort once, nobody else; all get disconnect; nothing is open.

    What was said at the event itself counts for nothing, as with a handler in a thread.
    """
    filters = [Filter() for _ in range(count)]
    waiting = filters[which]
    others = [name] if name in ("message", "end_of_message") else ["end_of_message"]
    made = [
        one.handlers(
            *dict.fromkeys(("mail", *others)),
            "abort",
            "disconnect",
            asks={"connect": ["c"]},
            asking={name: ["a"]} if one is waiting else {},
        )
        for one in filters
    ]
    talk = Talk(merge_handlers(*made), way)
    talk.say(offer(), *ALL[: ALL.index(EVENTS[name]) + 1])
    assert (talk.waits, talk.connection.is_closed) == (["a"], False)
    talk.hang_up()
    assert (talk.open(), talk.connection.wait, talk.connection.is_closed) == ([], None, True)
    for one in filters:
        assert one.calls.count("abort") == int("mail" in one.calls), one.calls
        assert one.calls.count("disconnect") == 1
    assert name not in waiting.calls
    assert talk.errors == []
    talk.learn_number(1, LATE)
    assert talk.connection.is_closed


@WAYS
def test_the_peer_goes_while_a_blocking_handler_runs_and_questions_are_open(way: Any) -> None:
    """What the handler that comes back asks is not begun any more."""
    one = Filter()
    made = one.handlers("abort", asks={"connect": ["c"], "mail": ["m"]})
    talk = Talk(made, way, defers=lambda handler: handler.event == "mail")
    talk.run_calls = lambda: b""  # type: ignore[method-assign]
    talk.say(*OPENING, MAIL)
    assert talk.connection.call is not None
    talk.hang_up()
    assert talk.open() == ["c"]
    del talk.run_calls  # type: ignore[method-assign]
    talk.run_calls()
    assert (talk.open(), talk.connection.is_closed, one.calls.count("abort")) == ([], True, 1)


# --------------------------------------------------------------------------------- several filters
@WAYS
def test_one_key_in_two_filters_is_no_clash(way: Any) -> None:
    """Each reads its own answer."""
    first, second = Filter(), Filter()
    made = [one.handlers(asks={"mail": ["a"]}, needs={"data": ["a"]}) for one in (first, second)]
    talk = Talk(merge_handlers(*made), way)
    talk.say(*OPENING, MAIL, RCPT, DATA)
    assert talk.open() == ["a", "a"]
    talk.learn("a", "two", 1)
    talk.learn("a", "one", 0)
    assert first.seen("data") == [{"a": Answered("one")}]
    assert second.seen("data") == [{"a": Answered("two")}]
    assert talk.errors == []


@WAYS
def test_a_filter_that_is_there_twice_has_its_questions_twice(way: Any) -> None:
    """They are apart, as those of two filters."""
    one = Filter()
    made = one.handlers(asking={"data": ["a"]}, reads="a")
    talk = Talk(merge_handlers(made, made), way)
    talk.say(*OPENING, MAIL, RCPT, DATA)
    talk.learn("a", 1)
    talk.learn("a", 2)
    assert one.seen("data") == [{"a": Answered(1)}, {"a": Answered(2)}]


@WAYS
def test_nobody_is_asked_behind_a_refusal(way: Any) -> None:
    """A filter behind the one that refuses asks nothing, and is not waited for."""
    first, second = Filter(), Filter()
    refusing = first.handlers(then={"recipient": lambda event, ctx: send_action(ctx, act.Reject())})
    talk = Talk(merge_handlers(refusing, second.handlers(asking={"recipient": ["a"]})), way)
    assert talk.say(*OPENING, MAIL, RCPT)[-1] == "r"
    assert (second.calls, talk.open()) == ([], [])


@WAYS
@pytest.mark.parametrize("make", [lambda made: scoped("q", made), lambda made: merge_handlers(q=made)])
def test_asking_sees_its_own_corner(way: Any, make: Any) -> None:
    """In a corner the context of ``asking=`` is that of the handler."""
    seen: list[Any] = []

    def asking(event: Any, ctx: Any) -> Any:
        seen.append(ctx["mine"])
        return {"a": About()}

    one = Filter()
    made = one.handlers(asking={"recipient": asking}, reads="a", declared={"state": {"mine": 5}})
    other = define_event_handlers({"data": lambda event, ctx: ctx}, name="other")
    for handlers in (make(made), merge_handlers(make(made), other)):
        talk = Talk(handlers, way)
        talk.say(*OPENING, MAIL, RCPT)
        talk.learn("a", 1)
        assert talk.errors == []
    assert seen == [5, 5]
    assert one.seen("recipient") == [{"a": Answered(1)}] * 2


@WAYS
def test_message_handlers_ask_about_the_message_one_after_the_other(way: Any) -> None:
    """Each has the message in its question; then the end of the message goes filter by filter."""
    filters = [Filter(), Filter()]
    made = [
        one.handlers(
            asking={"message": lambda event, ctx: {"scan": About(event.size)}},
            needs={"end_of_message": ["scan"]},
            reads=["scan"],
        )
        for one in filters
    ]
    for is_deferred in (False, True):
        talk = Talk(merge_handlers(*made), way, defers_ends=is_deferred)
        talk.say(*OPENING, *MESSAGE)
        assert [one.question for one in talk.asked()] == [About(23)]
        assert talk.learn("scan", 1) == ""
        assert talk.learn("scan", 2) == "c"
        assert [one.seen("end_of_message")[-1]["scan"].value for one in filters] == [1, 2]


@WAYS
def test_what_on_error_reads_is_the_filters_own(way: Any) -> None:
    """It sees the answers of the filter that failed."""
    seen: list[Any] = []

    def on_error(error: Exception, event: Any, ctx: Any) -> Any:
        seen.append(answer(ctx, "a"))
        return ctx

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError("no")

    made = [Filter().handlers(asking={"data": ["a"]}, then={"data": then}) for then in (None, fail)]
    talk = Talk(
        merge_handlers(*made), way, on_error=on_error, known_answer=lambda one: Answered(one.filter)
    )
    talk.say(*OPENING, MAIL, RCPT, DATA)
    assert seen == [Answered(1)]


# ------------------------------------------------------------------------------------ other handlers
@WAYS
@pytest.mark.parametrize("count", [1, 2])
def test_a_blocking_handler_waits_before_it_is_handed_out(way: Any, count: int) -> None:
    """The driver gets it when its answers are there; its context has them."""
    filters = [Filter() for _ in range(count)]
    made = [one.handlers(asking={"end_of_message": ["a"]}, reads="a", blocking=True) for one in filters]
    talk = Talk(merge_handlers(*made), way, defers=lambda handler: handler.blocking)
    talk.say(*OPENING, *MESSAGE)
    for one in filters:
        assert (talk.connection.call, one.calls) == (None, ["asking at end_of_message"])
        talk.learn("a", 1)
        assert one.seen("end_of_message") == [{"a": Answered(1)}]
    assert talk.sent.endswith(b"c")


@WAYS
def test_a_budget_does_not_end_a_wait(way: Any) -> None:
    """While a handler waits nothing is behind; then what has come is taken bit by bit."""
    one = Filter()
    talk = Talk(one.handlers("data", asking={"recipient": ["a"]}), way, budget=Budget(2, 1))
    talk.say(*OPENING, MAIL)
    talk.feed(join((RCPT, RCPT, DATA)))
    connection = talk.connection
    while connection.is_behind:
        connection = go_on(connection)
    assert connection.wait is not None
    assert not connection.is_silent
    assert go_on(connection).wait is not None


def test_what_stands_around_a_handler_is_around_its_asking() -> None:
    """`wrap_handler` keeps all options; ``asking=`` gets the handler's context."""
    asked: list[Any] = []

    def asking(event: Any, ctx: Any) -> Any:
        asked.append(ctx["x"])
        return {"a": About()}

    def around(event: Any, ctx: Any) -> Any:
        return (yield ctx.set("x", event)) if event else ctx

    made = define_event_handlers()
    made.add("mail", lambda event, ctx: ctx, asking=asking, needs={"b"}, within=3, timeout=4)
    ctx = Talk(made).connection.scope.context
    wrapped = wrap_handler(made["mail"], around)
    assert (wrapped.needs, wrapped.within, wrapped.timeout) == ({"b"}, 3, 4)
    assert wrapped.asking(0, ctx) == {}
    assert wrapped.asking(7, ctx) == {"a": About()}
    assert asked == [7]


def test_handlers_that_are_composed_wait_for_all() -> None:
    """A merged handler called by hand shows what all need; its time is that of all, if all have one."""
    made = [
        define_event_handlers(),
        define_event_handlers(),
        define_event_handlers({"mail": lambda event, ctx: ctx}),
    ]
    made[0].add(
        "mail", lambda event, ctx: ctx, needs={"a"}, asking=lambda event, ctx: {"c": 1}, timeout=2
    )
    made[1].add("mail", lambda event, ctx: ctx, needs={"b"}, within=9, timeout=3)
    one = compose("mail", [(str(n), one["mail"]) for n, one in enumerate(made[:2])], False)
    assert (one.needs, one.within, one.timeout) == ({"a", "b"}, 9, 5)
    assert one.asking is not None
    assert one.asking(None, None) == {"c": 1}
    all_ = merge_handlers(*made)["mail"]
    assert (all_.timeout, merge_handlers(made[1], made[2])["mail"].asking) == (None, None)


# -------------------------------------------------------------------------------- order and luck
NAMES = (
    "connect",
    "hello",
    "mail",
    "recipient",
    "data",
    "header",
    "end_of_headers",
    "body",
    "end_of_message",
)
KEYS = "abc"
some_keys = st.lists(st.sampled_from(KEYS), unique=True, max_size=2)
behaviours = st.fixed_dictionaries(
    {
        "asks": st.dictionaries(
            st.sampled_from((*NAMES, "message", "abort", "quit")), some_keys, max_size=4
        ),
        "needs": st.dictionaries(st.sampled_from((*NAMES, "message")), some_keys, max_size=4),
        "asking": st.dictionaries(
            st.sampled_from((*NAMES, "message")),
            st.lists(st.sampled_from("xyz"), unique=True),
            max_size=3,
        ),
        "verdict": st.sampled_from(
            [None] * 4 + [(name, one) for name in NAMES[2:5] for one in (act.Reject(), act.Accept())]
        ),
    }
)
outcomes = st.dictionaries(
    st.sampled_from("abcxyz"), st.sampled_from([Answered(1), Answered("x"), Failed("no"), LATE, UNASKED])
)
packets = st.sampled_from((*MESSAGE, *MESSAGE, CONNECT, HELO, ABORT, UNKNOWN, QUIT))
SESSION = (*OPENING, *MESSAGE, MAIL, RCPT, RCPT, ABORT, *MESSAGE, HELO, *MESSAGE, QUIT)


def made_of(drawn: Any) -> tuple[Any, list[Filter]]:
    """Filters that behave so; none asks a key twice, for then luck says whether that is an error."""
    filters, made = [], []
    for one in drawn:
        known: set[str] = set()
        asks: dict[str, list[str]] = {}
        for name, keys in one["asks"].items():
            asks[name] = [key for key in keys if key not in known]
            known.update(keys)
        asks = {name: keys for name, keys in asks.items() if name not in ("recipient", "hello", "body")}
        then = {}
        if one["verdict"]:
            name, verdict = one["verdict"]
            then[name] = lambda event, ctx, verdict=verdict: send_action(ctx, verdict)
        filters.append(Filter())
        made.append(
            filters[-1].handlers(
                "abort",
                "disconnect",
                asks=asks,
                needs=one["needs"],
                asking=one["asking"],
                reads="abcxyz",
                then=then,
            )
        )
    return merge_handlers(*made), filters


def play(drawn: Any, said: Any, known: Any, data: Any, way: Any, cut: Any) -> Any:
    """What all saw, and the bytes; ``data`` says in which order answers come, and whether early."""
    handlers, filters = made_of(drawn)
    talk = Talk(handlers, way)
    for chunk in cut(said):
        talk.feed(chunk)
        while True:
            is_waiting = talk.connection.wait is not None
            found = talk.asked()
            if not found or (not is_waiting and not data()):
                break
            one = found[data() % len(found)]
            talk.learn_number(one.number, known.get(one.key, Answered(None)))
    talk.hang_up()
    assert (talk.open(), talk.connection.wait, talk.connection.is_closed) == ([], None, True)
    return talk.sent, talk.errors, [(one.calls, one.read) for one in filters]


def one_by_one(said: Any) -> list[bytes]:
    return [join([one]) for one in said]


@settings(max_examples=share_of(100))
@given(st.lists(behaviours, min_size=1, max_size=3), outcomes, st.data(), st.integers(1, 40))
def test_order_and_luck_change_nothing(drawn: Any, known: Any, data: Any, size: int) -> None:
    """However answers and bytes come, handlers and MTA see the same."""

    def cut(said: Any) -> list[bytes]:
        stream = join(said)
        return [stream[at : at + size] for at in range(0, len(stream), size)]

    luck = data.draw(st.randoms(use_true_random=False))
    plain = play(drawn, SESSION, known, lambda: 0, Values, one_by_one)
    assert play(drawn, SESSION, known, lambda: luck.randrange(4), Line, one_by_one) == plain
    assert play(drawn, SESSION, known, lambda: luck.randrange(4), Values, cut) == plain
    assert play(drawn, SESSION, known, lambda: luck.randrange(4), Line, cut) == plain


@settings(max_examples=share_of(100))
@given(st.lists(behaviours, min_size=1, max_size=3), st.lists(packets, max_size=20), outcomes, st.data())
def test_any_session_ends_without_a_question(drawn: Any, said: Any, known: Any, data: Any) -> None:
    """Nothing is raised out of the engine, and nothing is open at the end."""
    luck = data.draw(st.randoms(use_true_random=False))
    play(drawn, (*OPENING, *said), known, lambda: luck.randrange(3), Line, one_by_one)

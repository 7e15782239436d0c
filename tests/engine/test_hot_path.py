"""The hot path: to be seen from outside only by the clock."""

import gc
from asyncio import CancelledError
from itertools import count
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy.actions import AddHeader
from demyjpy.context import get_macro, remember, send_action
from demyjpy.engine.connection import Connection, Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.limits import Budget, Limits
from demyjpy.engine.pipeline import (
    as_on_connect,
    hang_up,
    open_connection,
    receive_data,
    resume,
    run_call,
)
from demyjpy.errors import HandlerError
from demyjpy.handlers import define_event_handlers, merge_handlers, with_handlers
from demyjpy.known_facts import as_networks
from demyjpy.wire.framing import join_frame
from tests.anyfilters import EDITS, GOOD, SABOTAGE, VERDICTS, AnyFilter, Notebook, filters_of, several
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
    QUIT_NC,
    RCPT,
    UNKNOWN,
    Session,
    Turns,
    join,
    letters,
    macros,
    note,
    offer,
    packet,
)
from tests.examples import share_of
from tests.polite import offered_steps
from tests.strategies import chunks_of

_i = {letter: macros(letter, i="4711") for letter in "MRTLNBE"}
AS_POSTFIX = [
    ABORT,
    *(macros("M", mail_addr="a@b"), MAIL),
    *(macros("R", rcpt_addr="b@c", rcpt_mailer="smtp"), RCPT),
    *(_i["T"], DATA),
    *(_i["L"], HEADER, _i["L"], HEADER, _i["N"], EOH),
    *(_i["B"], BODY, _i["B"], BODY, _i["E"], EOM),
]
"""A message as Postfix tells it: macros before each command."""

_OFFER_SIZE = len(join_frame(*offer()))

odd = st.sampled_from(
    [
        *(ABORT, MAIL, RCPT, EOM, HELO, UNKNOWN, CONNECT, QUIT, QUIT_NC),
        *(
            macros("M", i="2"),
            macros("L", i="3"),
            macros("B", i="3"),
            macros("L", i="4711"),
            macros("H"),
        ),
        *(macros("x", i="5"), packet("D"), macros("\0", i="6")),
        *(packet("E", b"last"), packet("L", b"x"), packet("?")),
        *(packet("L", b"Received\0from x (y [%b])\0" % one) for one in (b"192.0.2.9", b"10.0.0.1")),
    ]
)


@st.composite
def sessions(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Packets that are mostly in order: Sendmail's or Postfix's messages, with a slip here and there."""
    told = [*OPENING[1:]]
    for message in draw(st.lists(st.sampled_from([AS_POSTFIX, AS_POSTFIX, [*MESSAGE]]), max_size=3)):
        told += message
    for place in sorted(draw(st.lists(st.integers(0, 60), max_size=4)), reverse=True):
        if draw(st.booleans()):
            told.insert(place, draw(odd))
        elif place < len(told):
            del told[place]
    return told


mild = several(
    st.one_of(
        filters_of(GOOD),
        filters_of(GOOD, EDITS),
        filters_of(GOOD, VERDICTS, EDITS, SABOTAGE),
    )
)
tight = Limits(headers=3, recipients=2, message=90)
setups = st.fixed_dictionaries(
    {
        "limits": st.sampled_from([Limits(), tight]),
        "trusted_relays": st.sampled_from([(), as_networks("192.0.2.0/24")]),
    }
)


class Fast(Line):
    """A connection that takes every short cut there is."""

    @staticmethod
    def open(handlers: Any, start: bytes, **setup: Any) -> Connection:
        """Not the first that begins: what can be remembered of those before, is."""
        alike = Setup(as_on_connect(handlers), **setup)
        receive_data(open_connection(alike, "before"), start)
        return open_connection(alike, "session")


class Slow(Turns):
    """A connection that takes none, to compare with."""

    @staticmethod
    def open(handlers: Any, start: bytes, **setup: Any) -> Connection:
        """A function of the user's could do anything: it is called for each connection."""
        return open_connection(Setup(lambda ctx: with_handlers(ctx, handlers), **setup), "session")


def play(way: Any, handlers: Any, chunks: list[bytes], **setup: Any) -> tuple[Any, ...]:
    """All that can be seen of a session from outside, read by read, as a driver would see it."""
    line = way(way.open(handlers, b"".join(chunks)[:_OFFER_SIZE], **setup))
    sent: list[bytes] = []
    troubles: list[Any] = []

    def take(connection: Connection) -> None:
        line.hold(connection)
        sent[-1] += connection.data_to_send
        troubles.extend(
            (repr(one.error), one.event, one.handler, one.queue_id) for one in connection.troubles
        )

    for chunk in chunks:
        sent.append(b"")
        answer = line.receive_data(chunk)
        while answer is None:
            take(line.leave())
            while line.leave().call is not None:
                take(resume(line.leave(), run_call(line.leave().call)))
            answer = line.go_on() if line.leave().is_behind else b""
        sent[-1] += answer
    last = line.leave()
    assert not last.is_behind
    sent.append(b"")
    take(hang_up(last))
    while line.leave().call is not None:
        take(resume(line.leave(), run_call(line.leave().call)))
    assert line.leave().is_closed
    return sent, troubles, last.scope.phase, last.scope.counts, last.scope.macros, last.is_idle


def record(way: Any, filters: list[AnyFilter], chunks: list[bytes], **setup: Any) -> tuple[Any, ...]:
    """The same, and all that the handlers saw."""
    notebook = Notebook()
    registry = merge_handlers(*[one.registry(notebook) for one in filters])
    return play(way, registry, chunks, **setup), notebook.calls


@settings(max_examples=share_of(400))
@given(mild, offered_steps, sessions(), setups, st.data())
def test_the_hot_path_and_the_turn_say_the_same(filters, steps, told, setup, data):
    """Same bytes out, same contexts at handlers, same log, read by read, wherever the stream is cut."""
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    assert record(Fast, filters, chunks, **setup) == record(Slow, filters, chunks, **setup)


@settings(max_examples=share_of(100))
@given(mild, offered_steps, sessions())
def test_being_watched_keeps_out_of_the_hot_path_and_changes_nothing(filters, steps, told):
    """With an observer every packet takes the turn, and all comes to the same."""
    chunks = [join_frame(*one, limit=1 << 20) for one in [offer(steps=steps), *told]]
    watched = record(Fast, filters, chunks, observer=lambda step: None)
    assert watched == record(Fast, filters, chunks)


@settings(max_examples=share_of(100))
@given(mild, sessions(), st.data())
def test_handlers_that_are_handed_out_leave_the_hot_path(filters, told, data):
    """Some for the engine, some for the driver: the same."""
    names = data.draw(st.sets(st.sampled_from(["body", "end_of_message", "mail", "abort"])))
    chunks = [join_frame(*one, limit=1 << 20) for one in [offer(), *told]]
    deferring = record(Fast, filters, chunks, defers=lambda handler: handler.event in names)
    assert deferring == record(Slow, filters, chunks)


@settings(max_examples=share_of(200))
@given(mild, offered_steps, sessions(), st.sampled_from(["tried", "own policy"]), st.data())
def test_filters_with_policies_on_both_ways(filters, steps, told, kind, data):
    """What a policy makes of an answer or a failure is the same, and so is all that is withheld."""
    filters = [evolve(one, kind=kind if data.draw(st.booleans()) else "") for one in filters]
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    assert record(Fast, filters, chunks) == record(Slow, filters, chunks)


budgets = st.builds(
    lambda packets, answer, seconds: Budget(
        packets, answer, seconds or 0.0, None if seconds is None else count().__next__
    ),
    st.integers(2, 6),
    st.sampled_from([0, 5, 60, 1 << 16]),
    st.one_of(st.none(), st.integers(0, 4)),
)
"""Small ones; their clocks go on by a second each time that somebody looks."""


@settings(max_examples=share_of(300))
@given(mild, offered_steps, sessions(), setups, budgets, st.data())
def test_any_budget_comes_to_the_same(filters, steps, told, setup, budget, data):
    """However a read is divided up: same bytes out, same contexts at handlers, same log."""
    names = data.draw(st.sets(st.sampled_from(["body", "end_of_message", "mail"]), max_size=1))
    setup = {"defers": lambda handler: handler.event in names, **setup}
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    whole = record(Fast, filters, chunks, **setup)
    assert record(Fast, filters, chunks, budget=budget, **setup) == whole
    assert record(Slow, filters, chunks, budget=budget, **setup) == whole
    watched = {"observer": lambda step: None, **setup}
    assert record(Fast, filters, chunks, budget=budget, **watched) == whole


def opened(handlers: Any, **setup: Any) -> Line:
    """A line on which a session has begun."""
    line = Line(open_connection(Setup(as_on_connect(handlers), **setup), "session"))
    for one in OPENING:
        assert line.receive_data(join_frame(*one)) is None or one[0] != ord("O")
    return line


def say(line: Line, *packets: tuple[int, bytes]) -> str:
    """Packets come; the letters of the answers that the hot path gave, "-" where it had to be left."""
    sent = [line.receive_data(join_frame(*one, limit=1 << 20)) for one in packets]
    return "".join("-" if one is None else letters(one) for one in sent)


def test_a_plain_message_stays_in_the_hot_path():
    """Macros, all steps, edits at its end: no value is made, and each read has its answer."""
    handlers, calls = note("mail", "recipient", "data", "header", "end_of_headers", "body")
    handlers.declarations = define_event_handlers(actions={"add_header"}).declarations

    @handlers.end_of_message
    def end(event, ctx):
        return send_action(ctx, AddHeader("X-Note", get_macro(ctx, "i")))

    line = opened(handlers)
    assert say(line, *AS_POSTFIX) == "cccccccchc"
    assert say(line, *AS_POSTFIX) == "cccccccchc"
    assert len(calls) == 16


def test_a_read_may_hold_any_part_of_a_session():
    """All packets of one read are answered at once."""
    handlers, _ = note("mail", "body", "end_of_message")
    line = opened(handlers)
    whole = join(AS_POSTFIX * 2)
    assert letters(line.receive_data(whole)) == "c" * 18
    assert line.receive_data(whole[:3]) == b""
    assert letters(line.receive_data(whole[3:-2]) + line.receive_data(whole[-2:])) == "c" * 18


def test_contexts_in_the_hot_path_are_values():
    """What a handler kept of an earlier step stays as it was: macros, state, queue."""
    handlers, calls = note("mail", "header", "body", "end_of_message")
    line = opened(handlers)
    say(line, *AS_POSTFIX)
    assert [get_macro(ctx, "i") for _, ctx in calls] == [None, *["4711"] * 5]
    assert [get_macro(ctx, "mail_addr") for _, ctx in calls] == ["a@b"] * 6
    say(line, *AS_POSTFIX[:3])
    assert get_macro(calls[-1][1], "i") is None


def test_what_is_remembered_outlives_a_message_in_the_hot_path():
    """And nothing else does."""
    handlers = define_event_handlers()
    seen: list[Any] = []

    @handlers.body
    def body(event, ctx):
        seen.append((ctx["connection"].get("n"), ctx.get("mine")))
        return remember(ctx.set("mine", 1), n=len(seen))

    line = opened(handlers)
    say(line, MAIL, BODY, EOM, MAIL, BODY, ABORT, MAIL, BODY)
    assert seen == [(None, None), (1, None), (2, None)]


@pytest.mark.parametrize(
    ("odd", "answer"),
    [
        (packet("E", b"last"), "-"),
        (UNKNOWN, "-"),
        (packet("L", b"no NUL"), "-"),
        (packet("D"), "-"),
        (QUIT, "-"),
        (packet("B", b"x" * 91), "-"),
        (packet("L", b"Name\0" + b"x" * 91 + b"\0"), "-"),
    ],
)
def test_what_is_not_plain_leaves_the_hot_path(odd, answer):
    """Whatever is rare, wrong or over a limit is the turn's."""
    handlers, _ = note("mail", "header", "body", "unknown")
    line = opened(handlers, limits=tight)
    assert say(line, MAIL, odd) == "c" + answer


def test_asking_for_the_value_leaves_the_hot_path_and_changes_nothing():
    """A value holds all that the hot path knew; the next read goes on from it."""
    handlers, calls = note("mail", "header", "body", "end_of_message")
    line = opened(handlers)
    for one in AS_POSTFIX:
        line.receive_data(join_frame(*one))
        value = line.leave()
        assert value is line.leave()
        assert value.data_to_send == b""
        assert value.is_plain
    assert len(calls) == 6
    assert calls[2][1]["macros"] == calls[1][1]["macros"]


def test_a_value_that_is_asked_for_within_a_handler_is_the_last_one():
    """Another thread may ask at any time; it gets what was known before the hot path was taken."""
    handlers = define_event_handlers()
    seen: list[Connection] = []

    @handlers.body
    def body(event, ctx):
        seen.append(line.leave())
        return ctx

    line = opened(handlers)
    assert say(line, MAIL, BODY, BODY) == "ccc"
    assert [one.session for one in seen] == ["session"] * 2


def test_a_hot_path_that_was_broken_off_is_forgotten():
    """What ends the program ends the hot path; the value is what was known before it."""

    class Interrupted(bytes):
        """As a signal that comes while the engine itself is at work."""

        def __len__(self) -> int:
            raise KeyboardInterrupt

    line = opened(define_event_handlers({"body": lambda event, ctx: ctx}))
    before = line.leave()
    with pytest.raises(KeyboardInterrupt):
        line.receive_data(Interrupted())
    assert line.leave() is before


class Odd(BaseException):
    """What no library expects."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError, Odd])
def test_in_the_hot_path_whatever_a_handler_raises_is_its_failure(kind):
    """Answered by the policy; the session goes on; nothing of the engine is in the exception's chain."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.end_of_message
    def fail(event, ctx):
        raise kind("on purpose")

    line = opened(handlers)
    for _ in range(2):
        sent = line.receive_data(b"".join(join_frame(*one) for one in (MAIL, EOM)))
        assert sent is None
        (trouble,) = line.leave().troubles
        assert line.leave().data_to_send.endswith(join_frame(ord("t")))
        assert type(trouble.error) is HandlerError
        assert type(trouble.error.__cause__) is kind
        assert trouble.error.__context__ is trouble.error.__cause__.__context__ is None


def test_in_the_hot_path_no_error_knows_what_ended_the_hot_path():
    """Else its traceback would show the connection, with the contexts in it."""
    handlers = define_event_handlers({"body": lambda event, ctx: None})
    line = opened(handlers)
    say(line, MAIL, BODY)
    (trouble,) = line.leave().troubles
    assert isinstance(trouble.error, HandlerError)
    assert trouble.error.__context__ is None


def test_a_line_that_is_dropped_leaves_nothing_behind():
    """No reference goes round in a circle: what a connection held is gone with it."""
    handlers, _ = note("mail")
    line = opened(handlers)
    say(line, *AS_POSTFIX)
    setup = line.outline.setup  # which keeps how connections begin
    gc.collect()
    gc.disable()
    try:
        del line
        assert gc.collect() == 0
        assert setup.cache
    finally:
        gc.enable()


def test_macros_that_are_said_again():
    """Each command has its own, alike or not, for the one before or for another command."""
    seen: list[str | None] = []
    handlers = define_event_handlers()

    def look(event: Any, ctx: Any) -> Any:
        seen.append(get_macro(ctx, "i"))
        return ctx

    for name in ("mail", "recipient", "data", "header"):
        handlers.add(name, look)
    session = Session.open(handlers)
    session.say(*OPENING)
    one, two, three = (macros("L", i=value) for value in ("1", "2", "3"))
    said = [MAIL, macros("R", i="1"), RCPT, macros("T", i="1"), DATA, HEADER]
    said += [two, HEADER, two, HEADER, three, HEADER, HEADER, three, HEADER, one, HEADER]
    session.feed(join(said))  # in one read, so that the hot path takes all of it
    assert seen == [None, "1", "1", "1", "2", "2", "3", "1", "3", "1"]


def test_macros_alone_use_up_a_budget():
    """However many a peer sends before the next command: others have their turn."""
    line = opened(define_event_handlers({"mail": lambda event, ctx: ctx}), budget=Budget(packets=2))
    assert line.receive_data(join([macros("M", i="1")] * 4 + [MAIL])) is None
    assert line.leave().is_behind
    while (answer := line.go_on()) is None and line.leave().is_behind:
        pass
    assert letters(answer or line.leave().data_to_send) == "c"

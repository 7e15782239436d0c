"""The tape: what was watched on the hot path is what an observer would have seen."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.hot_path import Line
from demyjpy.engine.limits import Budget
from demyjpy.engine.pipeline import as_on_connect, open_connection, run_call
from demyjpy.engine.playback import Player
from demyjpy.engine.tape import Stretch, Tape, as_told
from demyjpy.errors import LocalProtocolError
from demyjpy.events import Disconnect, Recipient
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.message import Message
from demyjpy.shorthands import reject
from tests.anyfilters import AnyFilter, FailureError, Notebook, finding_chains, several_filters
from tests.engine.harness import ABORT, BODY, EOM, HEADER, MAIL, OPENING, RCPT, join, keep, offer
from tests.engine.test_hot_path import mild, sessions, setups
from tests.examples import share_of
from tests.polite import offered_steps
from tests.strategies import chunks_of


def play(
    filters: list[AnyFilter],
    chunks: list[bytes],
    read: Callable[[Stretch], None] | None = None,
    *,
    keeps_bodies: bool = True,
    keeps_packets: bool = True,
    share: int = 1 << 16,
    **setup: Any,
) -> bytes:
    """A session as a driver plays it, with a tape that ``read`` reads; what was sent."""
    registry = merge_handlers(*[one.registry(Notebook()) for one in filters])
    known = Setup(as_on_connect(registry), **setup)
    tape = None
    if read is not None:
        clock, wall = count().__next__, count(1000).__next__
        keeps = {"keeps_bodies": keeps_bodies, "keeps_packets": keeps_packets}
        tape = Tape(read, clock, wall, **keeps, share=lambda: share)
    line = Line(open_connection(known, "session"), tape)
    sent = b""

    def finish() -> None:
        nonlocal sent
        while True:
            connection = line.leave()
            sent += connection.data_to_send
            if connection.call is not None:
                line.resume(run_call(connection.call))
            elif connection.is_behind:
                answer = line.go_on()
                if answer is not None:
                    sent += answer
                    return
            else:
                return

    for chunk in chunks:
        if line.leave().is_closed:
            break
        answer = line.receive_data(chunk)
        if answer is None:
            finish()
        else:
            sent += answer
            while line.leave().is_behind:
                finish()
    if not line.leave().is_closed:
        line.hang_up()
        finish()
    assert line.leave().is_closed
    return sent


def _items(ctx: Any) -> dict[str, Any]:
    return {key: value for key, value in ctx.items() if key != "handlers"}


def seen(step: Step, *, in_full: bool = True) -> Any:
    """A step without its times; contexts as handlers see them. A body is equal if its size is."""
    event: Any = step.event
    if isinstance(event, Message):
        event = evolve(event, content=b""), event.size, event.is_whole
    return (
        step.session,
        event,
        *((_items(step.before), _items(step.after)) if in_full else ()),
        step.handler and step.handler.event,
        step.actions,
        step.answer,
        step.sent,
        step.error and (type(step.error).__name__, str(step.error)),
        step.packet,
        step.exchange,
        step.withheld,
    )


def played(stretches: list[Stretch]) -> list[Step]:
    """The steps of a session that are on its tape."""
    player = Player(stretches[0].opened) if stretches else None
    return [step for stretch in stretches for step, _ in player.play(stretch)]


watched = st.one_of(mild, several_filters, finding_chains)


@settings(max_examples=share_of(500))
@given(watched, offered_steps, sessions(), setups, st.data())
def test_a_tape_has_all_that_an_observer_sees(filters, steps, told, setup, data):
    """The same bytes, on the hot path with a tape and with an observer: the same steps."""
    names = data.draw(st.sets(st.sampled_from(["body", "end_of_message", "mail", "abort"]), max_size=2))
    setup = {"defers": lambda handler: handler.event in names, **setup}
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    observed: list[Step] = []
    stretches: list[Stretch] = []
    share = data.draw(st.sampled_from([0, 2048, 1 << 16]))
    sent = play(filters, chunks, stretches.append, share=share, **setup)
    assert sent == play(filters, chunks, observer=observed.append, **setup)
    assert [seen(step) for step in played(stretches)] == [seen(step) for step in observed]
    assert b"".join(data for one in stretches for data in one.left) == sent


def leave_early(line: Line, chunks: list[bytes], waits: int) -> None:
    """The peer goes when the end of a message waits for so many more turns, or when all is said."""
    chunks = [*reversed(chunks)]
    while chunks or line.leave().is_behind or line.leave().call:
        connection = line.leave()
        waits -= any(job.place for job in connection.backlog.jobs) or connection.call is not None
        if waits < 0:
            break
        if connection.call is not None:
            line.resume(run_call(connection.call))
        elif connection.is_behind:
            line.go_on()
        else:
            line.receive_data(chunks.pop())
    line.hang_up()
    while (call := line.leave().call) is not None:
        line.resume(run_call(call))


@settings(max_examples=share_of(300))
@given(several_filters, sessions(), st.integers(2, 4), st.integers(0, 9), st.data())
def test_a_peer_that_goes_while_something_waits_is_on_the_tape(filters, told, packets, waits, data):
    """Whether a handler is out or the budget is used up: what did not run then does not run again."""
    names = data.draw(st.sets(st.sampled_from(["body", "end_of_message", "abort"]), max_size=2))
    chunks = data.draw(chunks_of(join([offer(), *told])))
    observed: list[Step] = []
    stretches: list[Stretch] = []
    setup = Setup(
        as_on_connect(merge_handlers(*[one.registry(Notebook()) for one in filters])),
        observer=observed.append,
        budget=Budget(packets=packets),
        defers=lambda handler: handler.event in names,
        defers_ends=data.draw(st.booleans()),
    )
    tape = Tape(
        stretches.append, float, float
    )  # of the same turns, as the hot path divides the budget otherwise
    line = Line(open_connection(setup), tape)
    leave_early(line, chunks, waits)
    assert line.leave().is_closed
    assert [seen(step) for step in played(stretches)] == [seen(step) for step in observed]


@pytest.mark.parametrize("handled", [("abort", "disconnect"), ()])
@pytest.mark.parametrize("room", [1 << 16, 0])
def test_a_handler_whose_turn_had_not_come_is_not_played(handled, room):
    """The peer went while the end of the message waited for its budget."""
    first = define_event_handlers({"end_of_message": keep}, actions={"add_header"})
    second = define_event_handlers(dict.fromkeys(("header", "end_of_message", *handled), keep))

    def feed(line: Line) -> None:
        line.receive_data(join([*OPENING, MAIL, *[HEADER] * 9]))
        while line.leave().is_behind:
            line.go_on()
        line.receive_data(join([EOM]))
        assert line.leave().backlog.jobs
        line.hang_up()
        while (call := line.leave().call) is not None:
            line.resume(run_call(call))

    taped, observed = both_ways(
        merge_handlers(first, second),
        feed,
        share=room,
        budget=Budget(packets=3),
        defers=lambda handler: handler.event in handled,
    )
    assert taped == observed
    assert [type(step[1]).__name__ for step in taped][-2:] == ["Abort", "Disconnect"]


def test_two_functions_of_one_name_are_two():
    """A tape of a filter is not played with another one."""

    def recorded(answer: Any) -> list[Stretch]:
        found: list[Stretch] = []
        handlers = define_event_handlers({"mail": lambda event, ctx: answer(ctx)})
        setup = Setup(as_on_connect(handlers), defers=lambda handler: True)
        line = Line(open_connection(setup), Tape(found.append, float, float))
        line.receive_data(join([*OPENING, MAIL]))
        while (call := line.leave().call) is not None:
            line.resume(run_call(call))
        line.hang_up()
        return found

    one, other = recorded(reject), recorded(lambda ctx: ctx)
    mixed = [stretch._replace(opened=other[0].opened) for stretch in one]
    assert played(one)
    with pytest.raises(LocalProtocolError, match="expected what"):
        played(mixed)


class SilentError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


def test_of_an_error_an_outline_keeps_the_name_and_the_text():
    """And nothing that it holds; also if it has no text."""
    kept = as_told(FailureError("on purpose"))
    assert (type(kept).__name__, str(kept)) == ("FailureError", "on purpose")
    assert not isinstance(kept, FailureError)
    assert str(as_told(SilentError())) == "<str failed: ValueError>"


def both_ways(
    handlers: Any, feed: Callable[[Line], None], *, share: int = 1 << 16, **setup: Any
) -> tuple[list[Any], list[Any]]:
    """The steps of a session that ``feed`` plays: from its tape, and as an observer sees them."""
    observed: list[Step] = []
    stretches: list[Stretch] = []
    for line in (
        Line(
            open_connection(Setup(as_on_connect(handlers), **setup)),
            Tape(stretches.append, float, float, share=lambda: share),
        ),
        Line(open_connection(Setup(as_on_connect(handlers), observer=observed.append, **setup))),
    ):
        feed(line)
        assert line.leave().is_closed
    return [seen(step) for step in played(stretches)], [seen(step) for step in observed]


def noting(name: str) -> Any:
    """A filter that stores that it ran."""
    return define_event_handlers({"body": lambda event, ctx: ctx.set(name, 1), "abort": keep})


def test_a_peer_that_goes_while_a_handler_runs_is_on_the_tape_where_it_went():
    """What was to run after that handler does not; a filter that saw nothing gets no abort."""

    def feed(line: Line) -> None:
        line.receive_data(join([offer(), *OPENING[1:], MAIL, BODY]))
        call = line.leave().call
        assert call is not None
        line.hang_up()
        line.resume(run_call(call))
        while (call := line.leave().call) is not None:
            line.resume(run_call(call))

    handlers = merge_handlers(noting("one"), noting("two"))
    taped, observed = both_ways(handlers, feed, defers=lambda handler: handler.event == "body")
    assert taped == observed
    assert [step[4] for step in taped if step[4] in ("body", "abort")] == ["abort"]


def test_bytes_that_are_no_packet_end_the_session_on_the_tape_too():
    """They are not on it, but that the connection was given up is."""

    def feed(line: Line) -> None:
        line.receive_data(join([offer(), *OPENING[1:], MAIL]))
        line.receive_data(b"\0\0\0\0")

    taped, observed = both_ways(noting("one"), feed)
    assert taped == observed
    assert isinstance(taped[-1][1], Disconnect)


def test_events_that_end_the_hot_path_have_numbers_of_their_own():
    """So whoever reads the steps of turns can tell them apart."""
    found: list[Stretch] = []
    handlers = define_event_handlers({"recipient": lambda event, ctx: reject(ctx), "hello": keep})
    line = Line(open_connection(Setup(as_on_connect(handlers))), Tape(found.append, float, float))
    for one in (offer(), *OPENING[1:], MAIL, RCPT, RCPT, RCPT, ABORT):
        line.receive_data(join([one]))
        line.leave()
    numbers = [
        step.exchange for one in found for step in one.steps or () if isinstance(step.event, Recipient)
    ]
    assert len(numbers) == len(set(numbers)) == 3


def test_macros_that_end_the_connection_are_not_on_the_tape():
    """No observer has to take them apart; what is played is the same without them."""
    macros = b"M" + b"i\0" + b"x" * (1 << 17) + b"\0"
    stretches: list[Stretch] = []
    steps: list[Step] = []
    chunks = [join([offer()]), join([*OPENING[1:], MAIL]), join([(ord("D"), macros)])]
    play([], chunks, stretches.append, observer=steps.append)
    heard = [one for stretch in stretches for one in stretch.heard if isinstance(one, bytes)]
    assert max(map(len, heard)) < 1000
    assert [*map(seen, played(stretches))] == [*map(seen, steps)]

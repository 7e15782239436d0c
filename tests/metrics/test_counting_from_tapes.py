"""Figures from tapes: the same as those of an observer, but for times."""

from contextlib import closing
from itertools import count
from time import time
from typing import Any

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import AddHeader, Disconnect, Quarantine, define_event_handlers, send_action
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.tape import Stretch, Tape, Watcher
from demyjpy.handlers import default_event_handler, merge_handlers
from demyjpy.metrics import Metrics
from demyjpy.metrics.board import Board
from demyjpy.metrics.figures import FIGURES, Shared
from demyjpy.metrics.notes import Notes, last_errors, negotiated
from demyjpy.registry import Handler
from tests.engine.harness import (
    ABORT,
    BODY,
    EOM,
    HEADER,
    MAIL,
    OPENING,
    QUIT,
    QUIT_NC,
    Session,
    join,
    offer,
)
from tests.engine.test_hot_path import AS_POSTFIX, sessions, setups
from tests.engine.test_tape import play, watched
from tests.examples import share_of
from tests.polite import offered_steps
from tests.strategies import chunks_of


def figures_of(board: Board) -> dict[Any, float]:
    """What was counted; of a histogram, how many there were."""
    return {
        key: sum(numbers[1:]) if FIGURES[key[0]].is_histogram else numbers[0]
        for key, numbers in board.figures().items()
    }


@settings(max_examples=share_of(500))
@given(watched, offered_steps, sessions(), setups, st.data())
def test_a_tape_is_counted_as_its_steps_are(filters, steps, told, setup, data):
    """The same bytes, read from a tape and seen by an observer: the same figures, but for times."""
    names = data.draw(st.sets(st.sampled_from(["body", "end_of_message", "mail", "abort"]), max_size=2))
    setup = {"defers": lambda handler: handler.event in names, **setup}
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    share = data.draw(st.sampled_from([0, 2048, 1 << 16]))
    with closing(Board(1)) as read, closing(Board(1)) as observed:
        metrics = Metrics(sink=Shared(read))
        setup["clock"] = count().__next__
        keeps = {"keeps_bodies": False, "keeps_packets": data.draw(st.booleans())}
        sent = play(filters, chunks, metrics.read, **keeps, share=share, **setup)
        play(filters, chunks, observer=Metrics(sink=Shared(observed)), **setup)
        figures = figures_of(read)
        assert figures == figures_of(observed)
    assert figures.get(("sent_bytes",), 0) == len(sent)


plain = [*AS_POSTFIX, *AS_POSTFIX, ABORT, QUIT]


def a_filter(edits: tuple[Any, ...] = ()) -> Any:
    """One with plain handlers, which may edit."""
    handlers = define_event_handlers(actions={"add_header", "quarantine"})
    for event in ("mail", "header", "body"):
        handlers.add(event, lambda event, ctx: ctx)
    handlers.end_of_message(lambda event, ctx: send_action(ctx, *edits))
    return handlers


def taped(handlers: Any, *packets: Any, share: int = 1 << 16) -> list[Stretch]:
    """The stretches of a session, each packet in a read of its own."""
    stretches: list[Stretch] = []
    setup = Setup(as_on_connect(handlers), clock=count().__next__)
    clock = count().__next__
    tape = Tape(stretches.append, clock, clock, keeps_bodies=False, share=lambda: share)
    line = Line(open_connection(setup, "session"), tape)
    for one in packets:
        line.receive_data(join([one]))
    if not line.leave().is_closed:
        line.hang_up()
    return stretches


def read(stretches: list[Stretch]) -> dict[Any, float]:
    """The figures of these."""
    with closing(Board(1)) as board:
        metrics = Metrics(sink=Shared(board))
        for one in stretches:
            metrics.read(one)
        return figures_of(board)


def test_a_plain_session_is_all_on_the_hot_path():
    """After its negotiation no stretch has steps."""
    first, *others = taped(a_filter((AddHeader("X", "y"),)), *OPENING, *plain)
    assert first.steps
    assert [one.steps for one in others] == [None] * len(others)
    figures = read([first, *others])
    assert figures["sessions",] == figures["disconnects",] == 1
    assert figures["messages", "accepted"] == figures["edits", "AddHeader"] == 2
    size = 2 * (2 * (len(HEADER[1]) + 1) + 2 * len(BODY[1]))
    assert figures["received_bytes",] == size


def test_a_message_of_many_stretches_is_counted_once():
    """As it is if it is held, or given up, whichever stretch it began in."""
    held = a_filter((Quarantine("odd"),))
    for share in (0, 1 << 16):
        figures = read(taped(held, *OPENING, *AS_POSTFIX, MAIL, HEADER, ABORT, ABORT, MAIL, share=share))
        assert figures["messages", "quarantined"] == figures["edits", "Quarantine"] == 1
        assert figures["messages", "given up"] == 2
        assert figures["disconnects",] == 1


def test_the_time_in_the_librarys_own_handlers_is_not_counted():
    """Neither from a tape nor by an observer."""
    handlers = define_event_handlers({"mail": default_event_handler, "body": lambda event, ctx: ctx})
    figures = read(taped(handlers, *OPENING, MAIL, BODY, EOM, QUIT))
    times = {key[1]: value for key, value in figures.items() if key[0] == "handler_seconds"}
    assert times == {"body": 1}


def test_what_has_many_handlers_counts_once():
    """A body that two filters read came once, and so did the end that both are told of."""

    def reader() -> Any:
        handlers = define_event_handlers()
        for event in ("header", "body", "disconnect"):
            handlers.add(event, lambda event, ctx: ctx)
        return handlers

    for way in ("tape", "observer"):
        with closing(Board(1)) as board:
            metrics = Metrics(sink=Shared(board))
            merged = merge_handlers(reader(), reader())
            if way == "tape":
                for one in taped(merged, *OPENING, MAIL, HEADER, BODY, BODY, EOM, QUIT):
                    metrics.read(one)
            else:
                session = Session.open(merged, observer=metrics, clock=count().__next__)
                session.feed(join([*OPENING, MAIL, HEADER, BODY, BODY, EOM, QUIT]))
            figures = figures_of(board)
        assert figures["disconnects",] == 1
        assert figures["received_bytes",] == len(HEADER[1]) + 1 + 2 * len(BODY[1])
        assert sum(value for key, value in figures.items() if key[0] == "handler_seconds") == 8


def test_each_session_on_a_socket_has_an_end():
    """As MTAs end them that go on with another one (QUIT_NC), also after the hot path."""
    handlers = a_filter()
    handlers.add("disconnect", lambda event, ctx: ctx)
    one = [*OPENING[1:], *AS_POSTFIX, QUIT_NC]
    figures = read(taped(handlers, OPENING[0], *one * 3, QUIT))
    assert figures["sessions",] == 1
    assert figures["disconnects",] == 4
    assert figures["messages", "accepted"] == 3


def test_what_is_remembered_of_handlers_and_sessions_has_a_bound():
    """Though a filter makes its handlers anew for each connection; all are counted, in one cell."""
    with closing(Board(1)) as board:
        metrics = Metrics(sink=Shared(board))
        before = sizes_of(metrics)
        for number in range(2500):
            handler = Handler("disconnect", lambda event, ctx: ctx)
            metrics(Step(f"s{number}", Disconnect(), {}, {}, handler, duration=0.5, exchange=2))
        figures = figures_of(board)
        assert figures["disconnects",] == 2500
        assert [value for key, value in figures.items() if key[0] == "handler_seconds"] == [2500]
        assert sizes_of(metrics) <= before + 4 * 1000 + 10


def sizes_of(metrics: Metrics) -> int:
    """How many things it holds."""
    return sum(len(one) for one in vars(metrics).values() if hasattr(one, "__len__"))


def test_notes_are_taken_from_tapes():
    """The same that an observer takes: errors, and what was negotiated."""
    handlers = a_filter()

    @handlers.data
    def data(event, ctx):
        raise ValueError("on purpose")

    with closing(Board(1)) as board:
        notes = Notes(board)
        assert isinstance(notes, Watcher)
        first, *rest = taped(handlers, *OPENING, *AS_POSTFIX, QUIT)
        assert first.repeats is not None
        for one in (first, first, *rest):  # what another session negotiated, too, is noted once
            notes.read(one)
        (found,) = last_errors(board)
        assert "ValueError: on purpose" in found["traceback"]
        assert found["queue_id"] == "4711"
        assert len(negotiated(board)) == 1


def test_times_that_are_counted_in_one_piece_are_those_of_each_handler():
    """In the same buckets, if all are quick and if one of several in a row is slow."""
    handlers = define_event_handlers()
    for event in ("mail", "header", "body"):
        handlers.add(event, lambda event, ctx: ctx)
    first, message, *_ = taped(handlers, *OPENING, MAIL, HEADER, HEADER, BODY, EOM, QUIT)

    def timed(*took: float) -> Stretch:
        outcomes = zip(message.outcomes, took, strict=True)
        return message.with_outcomes([(handler, result, one) for (handler, result, _), one in outcomes])

    quick, slow = timed(1e-5, 2e-5, 1e-4, 3e-5), timed(1e-5, 2e-5, 0.2, 3e-5)
    registry = prometheus_client.CollectorRegistry()
    with closing(Board(1)) as board:
        for metrics in (Metrics(registry), Metrics(sink=Shared(board))):
            for one in (first, quick, slow, quick):
                metrics.read(one)
        (numbers,) = [one for key, one in board.figures().items() if key[1:2] == ("header",)]
    assert numbers[0] == pytest.approx(2 * 1.2e-4 + 0.20002)
    assert (numbers[1], numbers[5], sum(numbers[1:])) == (5, 1, 6)
    ((_, samples),) = [
        (one.name, one.samples) for one in registry.collect() if one.name.endswith("handler_seconds")
    ]
    counts = {
        one.labels["le"]: one.value
        for one in samples
        if one.labels["event"] == "header" and "le" in one.labels
    }
    assert (counts["0.0001"], counts["0.1"], counts["0.25"]) == (5, 5, 6)


def test_a_negotiation_that_is_repeated_counts_each_time():
    """It is worked out once for all sessions; its steps are those of each."""
    stretches: list[Stretch] = []
    setup = Setup(as_on_connect(a_filter()), clock=count().__next__)
    for name in ("one", "two", "three"):
        line = Line(open_connection(setup, name), Tape(stretches.append, time, time))
        line.receive_data(join([OPENING[0]]))
    assert [step.session for one in stretches for step in one.steps or ()] == ["one", "two", "three"]
    figures = read(stretches)
    assert figures["sessions",] == 3
    assert figures["sent_bytes",] == sum(len(data) for one in stretches for data in one.left)


def test_what_is_known_by_heart_is_bounded():
    """Sequences of handlers, and negotiations: an MTA may have any number of each."""
    first, message, *_ = taped(a_filter(), *OPENING, *AS_POSTFIX, QUIT)
    assert first.repeats is not None
    one, *_, other = message.outcomes
    assert one[0] is not other[0]
    with closing(Board(1)) as board:
        metrics = Metrics(sink=Shared(board))
        for number in range(300):
            metrics.read(first._replace(repeats=first.repeats._replace(received=0)))
            times = number % 20 + 1, number // 20 + 1
            metrics.read(message.with_outcomes([one] * times[0] + [other] * times[1]))
            assert max(len(metrics._shapes), len(metrics._repeated)) <= 256
        metrics.read(message.with_outcomes([one] * 1000))
        figures = figures_of(board)
        assert max(map(len, metrics._shapes)) <= 100
    assert (figures["sessions",], figures["messages", "accepted"]) == (300, 301)
    counted = sum(value for key, value in figures.items() if key[0] == "handler_seconds")
    assert counted == 15 * sum(range(1, 21)) + 20 * sum(range(1, 16)) + 1000

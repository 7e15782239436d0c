"""The tape of sessions that ask: when it is played, the same is asked and learned."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from demyjpy import define_event_handlers, send_action
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.playback import Player, Stage
from demyjpy.engine.question_flow import ASKING, LEARNED
from demyjpy.engine.tape import ENTRY, HangUp, Stretch, Tape
from demyjpy.events import Recipient
from demyjpy.message import Message
from demyjpy.message.digest import MessageDigest
from demyjpy.questions import Answered, Ask, ask
from tests.engine.filters_that_ask import Look, Scan, asking_filters, chain, feed, known_answer
from tests.engine.harness import ABORT, BODY, EOM, HEADER, HELO, MAIL, OPENING, QUIT, RCPT, join
from tests.engine.test_tape import played, seen
from tests.engine.test_tape_of_messages import without_body
from tests.examples import share_of

MESSAGES = (
    (MAIL, RCPT, RCPT, HEADER, HEADER, BODY, EOM),
    (MAIL, RCPT, ABORT),
    (MAIL, MAIL, RCPT, HEADER, EOM),
    (HELO, MAIL, RCPT, HEADER, BODY, BODY, EOM, ABORT),
)
told = st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=3)
turns = st.lists(st.integers(0, 7), min_size=1, max_size=20)


def both_kinds(
    make: Any, packets: list[Any], choices: list[int], end: int, *, share: int = 1 << 16, **tape: Any
) -> tuple[list[Stretch], list[Step]]:
    """A session with a tape, and again with an observer: what each has."""
    stretches: list[Stretch] = []
    observed: list[Step] = []
    taped = Tape(stretches.append, float, float, share=lambda: share, **tape)
    setup = Setup(as_on_connect(make()), known_answer=known_answer)
    feed(Line(open_connection(setup, "one"), taped), packets, choices, end)
    setup = Setup(as_on_connect(make()), known_answer=known_answer, observer=observed.append)
    feed(Line(open_connection(setup, "one")), packets, choices, end)
    return stretches, observed


def shown(step: Step) -> Any:
    """A step as it is seen, with what was learned, as far as filters made anew are equal."""
    found = [(one.asked.place, one.asked.question, one.outcome, one.duration) for one in step.learned]
    return [
        *(without_body(step) if isinstance(step.event, Message) else seen(step, in_full=False)),
        found,
    ]


def values_in(value: Any, depth: int = 8) -> Any:
    """All that is in a value."""
    yield value
    if depth and not isinstance(value, str | bytes | type):
        held: Any = getattr(value, "__attrs_attrs__", None)
        if held is not None:
            held = [getattr(value, one.name) for one in held if one.name != "declared"]
        elif isinstance(value, dict) or hasattr(value, "items"):
            held = [one for key, one in value.items() if key != "handlers"]
        elif isinstance(value, tuple | list):
            held = value
        for one in held or ():
            yield from values_in(one, depth - 1)


@settings(max_examples=share_of(150), deadline=None)
@given(asking_filters, told, turns, st.integers(3, 60), st.sampled_from([0, 3000, 1 << 16]))
@example([({"header": "known"}, {"message": "x"}, "mail")], [MESSAGES[0]], [0], 9, 0)
def test_a_tape_of_questions_gives_the_steps_that_were(
    kinds: Any, messages: Any, choices: Any, end: int, share: int
) -> None:
    """Answers come early, late, at once or never, and the peer goes while a handler waits."""
    packets = [*OPENING, *(one for some in messages for one in some), QUIT]
    stretches, observed = both_kinds(lambda: chain(kinds), packets, choices, end, share=share)
    assert [shown(step) for step in played(stretches)] == [shown(step) for step in observed]
    player, stage = Player(stretches[0].opened), Stage()
    quickly = [step for one in stretches for step, _ in player.play_quickly(one, stage).steps]
    assert [shown(one)[-1] for one in quickly if one.learned] == [
        shown(one)[-1] for one in observed if one.learned
    ]
    for one in stretches:
        for _, result, _ in one.outcomes:
            assert not any(isinstance(value, Message) for value in values_in(result))
    for step in observed:
        for value in (step.learned, step.actions):
            assert not any(isinstance(one, Message) for one in values_in(value))


@settings(max_examples=80, deadline=None)
@given(asking_filters, told, turns, st.integers(3, 60))
def test_an_outline_gives_the_same(kinds: Any, messages: Any, choices: Any, end: int) -> None:
    """Of a tape that keeps no bodies, and of one that was made small: the actions and the answers."""
    packets = [*OPENING, *(one for some in messages for one in some), QUIT]
    stretches, observed = both_kinds(lambda: chain(kinds), packets, choices, end, keeps_bodies=False)
    wanted = [(one.actions, shown(one)[-1], one.sent) for one in observed]
    for known in (stretches, [one.outline() for one in stretches]):
        assert [(one.actions, shown(one)[-1], one.sent) for one in played(known)] == wanted


def test_a_question_about_a_message_is_on_the_tape_with_a_digest() -> None:
    """In what was asked, in what was learned, and in what a handler queued; live, it was the message."""
    got: list[Any] = []
    handlers = define_event_handlers()

    @handlers.message(asking=lambda event, ctx: {"own": Scan((event,))})
    def scan(event: Any, ctx: Any) -> Any:
        got.append(event)
        return ask(ctx, "again", Scan((event,)))

    stretches: list[Stretch] = []
    steps: list[Step] = []
    setup = Setup(as_on_connect(handlers), observer=steps.append)
    line = Line(open_connection(setup), Tape(stretches.append, float, float))
    asked: list[Any] = []
    for one in (*OPENING, MAIL, RCPT, HEADER, BODY, EOM):
        feed_one(line, one)
        while found := [*line.leave().open_questions.values()]:
            asked += found
            line.take_answer(found[0].number, Answered("clean"), 0.1)
    assert [type(one.question.messages[0]) for one in asked] == [
        Message
    ]  # the second ended with its mail
    size = got[0].size
    outcomes = [one for stretch in stretches for one in stretch.outcomes]
    ((_, (own,), _),) = [one for one in outcomes if one[0] is ASKING]
    ((_, learned, took),) = [one for one in outcomes if one[0] is LEARNED]
    (step,) = [one for one in steps if isinstance(one.event, Message)]
    told = [own, learned.asked, step.learned[0].asked, step.actions[0]]
    assert {type(one.question.messages[0]) for one in told} == {MessageDigest}
    assert {one.question.messages[0].size for one in told} == {size}
    assert took == learned.duration == 0.1


def feed_one(line: Line, one: Any) -> None:
    """Say a packet."""
    line.receive_data(join([one]))


def test_answers_count_for_the_room_of_a_tape() -> None:
    """A large one takes more of it than an entry."""
    tape = Tape(lambda stretch: None, float, float, share=lambda: 1 << 20)
    handlers = define_event_handlers({"mail": lambda event, ctx: ask(ctx, "k", Look("x"))})
    line = Line(open_connection(Setup(as_on_connect(handlers))), tape)
    for one in (*OPENING, MAIL):
        feed_one(line, one)
    before = tape.room
    line.take_answer(1, Answered("y" * 10_000), None)
    assert before - tape.room > ENTRY + 10_000


def test_a_question_that_nobody_saw_answered_is_seen_at_the_end_of_its_message() -> None:
    """No handler ran after the answer had come."""
    handlers = define_event_handlers({"mail": lambda event, ctx: ask(ctx, "k", Look("x"))})
    packets = [*OPENING, MAIL, RCPT, EOM, MAIL, ABORT, QUIT]
    stretches, observed = both_kinds(lambda: handlers, packets, [1], 100)
    assert [type(one.event).__name__ for one in observed if one.learned] == ["EndOfMessage", "Abort"]
    assert [shown(step) for step in played(stretches)] == [shown(step) for step in observed]


def test_a_question_of_the_connection_that_nobody_saw_answered_is_seen_at_its_end() -> None:
    """Also if a message has begun and ended meanwhile."""
    handlers = define_event_handlers({"connect": lambda event, ctx: ask(ctx, "k", Look("x"))})
    stretches, observed = both_kinds(lambda: handlers, [*OPENING, MAIL, ABORT, QUIT], [1], 100)
    assert [type(one.event).__name__ for one in observed if one.learned] == ["Disconnect"]
    assert [shown(step) for step in played(stretches)] == [shown(step) for step in observed]


def test_an_illegal_question_of_on_error_is_on_the_tape_without_its_message() -> None:
    """It fails, and nothing of the mail stays."""
    handlers = define_event_handlers({"message": lambda event, ctx: 1 / 0})
    stretches: list[Stretch] = []

    def on_error(error: Exception, event: Any, ctx: Any) -> Any:
        return send_action(ctx, Ask("k", Scan((event,))))  # type: ignore[arg-type]

    setup = Setup(as_on_connect(handlers), on_error)
    line = Line(open_connection(setup), Tape(stretches.append, float, float))
    for one in (*OPENING, MAIL, RCPT, HEADER, BODY, EOM):
        feed_one(line, one)
    line.hang_up()
    results = [one[1] for stretch in stretches for one in stretch.outcomes]
    assert not any(isinstance(value, Message) for one in results for value in values_in(one))
    assert played(stretches)


def test_a_table_of_recipients_that_is_remembered_is_on_the_tape() -> None:
    """Nobody would see on the hot path what was asked and learned; who does not watch does not wait."""
    handlers = define_event_handlers()
    handlers.add(
        "recipient", lambda event, ctx: ctx, asking=lambda event, ctx: {"is there": Look("known")}
    )
    packets = [*OPENING, MAIL, RCPT, RCPT, EOM, QUIT]
    stretches, observed = both_kinds(lambda: handlers, packets, [1], 100)
    assert [len(one.learned) for one in observed if isinstance(one.event, Recipient)] == [1, 1]
    assert [shown(step) for step in played(stretches)] == [shown(step) for step in observed]


def test_a_tape_that_ends_before_the_questions_of_a_handler() -> None:
    """The peer went before its turn came: nothing is asked, and the handler is not called."""
    kinds = [({}, {"recipient": "x"}, "none")]
    stretches, _ = both_kinds(lambda: chain(kinds), [*OPENING, MAIL, RCPT], [0], 100)
    cut = []
    for one in stretches:
        kinds_of = [handler for handler, _, _ in one.outcomes]
        known = kinds_of.index(ASKING) if ASKING in kinds_of else len(kinds_of)
        heard = [HangUp(known) if isinstance(said, HangUp) else said for said in one.heard]
        cut.append(one.with_outcomes(one.outcomes[:known])._replace(heard=tuple(heard)))
    steps = played(cut)
    assert steps
    assert not any(isinstance(step.event, Recipient) and step.handler for step in steps)
    assert not any(step.learned for step in steps)

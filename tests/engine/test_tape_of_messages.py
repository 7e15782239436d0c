"""The tape of sessions with message handlers: what was done then is done again when it is played."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy import add_header, become, define_event_handlers, merge_handlers, reject, replace_body
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection, run_call
from demyjpy.engine.playback import Player, Stage
from demyjpy.engine.stock import Spooling
from demyjpy.engine.tape import Stretch, Tape
from demyjpy.events import Body
from demyjpy.message import Message
from demyjpy.wishes import Wish
from tests.engine.harness import ABORT, BODY, EOM, HEADER, MAIL, OPENING, QUIT, RCPT, join, packet
from tests.engine.test_message_spool import Disk
from tests.engine.test_tape import play, played, seen
from tests.examples import share_of
from tests.strategies import chunks_of
from tests.trace.live.test_tapes import of

WISHES: dict[str, Any] = {
    "identity": lambda event, ctx: become(ctx, event),
    "nothing": lambda event, ctx: ctx,
    "header": lambda event, ctx: become(ctx, event.set("Subject", "other").prepend("X-A", "b")),
    "body": lambda event, ctx: become(ctx, event.with_body(b"new\r\n" * 3)),
    "envelope": lambda event, ctx: become(
        ctx, event.add_recipient("e@f").drop_recipient("bob@example.org")
    ),
    "twice": lambda event, ctx: become(become(ctx, event.with_body(b"")), event.without("*")),
    "and more": lambda event, ctx: add_header(
        replace_body(become(ctx, event.with_body(b"a").set("X-A", "b")), b"c"), "X-C", "d"
    ),
    "reject": lambda event, ctx: reject(become(ctx, event.set("X-A", "b"))),
    "raise": lambda event, ctx: 1 / 0,
    "moved": lambda event, ctx: become(ctx, _moved(event)),
}


def _moved(message: Message) -> Message:
    other = message.prepend("X-A", "b")
    return Message(other.sender, fields=other.fields[::-1], content=other.content)


def chain(kinds: list[tuple[str, bool]]) -> Any:
    """A filter for each kind of wish; if it is said, also with an end that adds a field."""
    made = []
    for number, (kind, has_end) in enumerate(kinds):
        handlers = define_event_handlers(name=f"f{number}", edits="all")
        handlers.add("message", WISHES[kind], limit=60 if kind == "nothing" else 1000)
        if has_end:
            handlers.add("end_of_message", lambda event, ctx: add_header(ctx, "X-End", "1"))
            handlers.add("mail", lambda event, ctx: ctx.set("seen", event.sender))
        made.append(handlers)
    return merge_handlers(*made)


MESSAGES = (
    (MAIL, RCPT, HEADER, BODY, BODY, EOM),
    (MAIL, RCPT, HEADER, packet("L", b"X-A\0 1\n 2\0"), packet("B", b"x" * 70), EOM, ABORT),
    (MAIL, RCPT, packet("E", b"all of it\r\n")),
    (MAIL, RCPT, HEADER, BODY, ABORT),
    (MAIL, RCPT, EOM),
)
kinds = st.lists(st.tuples(st.sampled_from(sorted(WISHES)), st.booleans()), min_size=1, max_size=3)


def without_body(step: Step) -> Any:
    """A step as it is seen, but for what a tape does not keep: messages, and bodies if it keeps none."""
    found = list(seen(step, in_full=False))
    if isinstance(step.event, Message):
        found[1] = "message"
    return found


@settings(max_examples=share_of(300))
@given(kinds, st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=3), st.data())
def test_a_tape_of_messages_gives_the_steps_that_were(kinds: Any, told: Any, data: Any) -> None:
    """With the edits that wishes mean, whether or not handlers are called by the driver."""
    chunks = data.draw(chunks_of(join([*OPENING, *(one for some in told for one in some), QUIT])))
    names = data.draw(st.sets(st.sampled_from(["message", "end_of_message", "mail"])))
    setup: dict[str, Any] = {"defers": lambda handler: handler.event in names}
    observed: list[Step] = []
    stretches: list[Stretch] = []
    sent = play(of(chain(kinds)), chunks, stretches.append, **setup)
    assert sent == play(of(chain(kinds)), chunks, observer=observed.append, **setup)
    assert [without_body(step) for step in played(stretches)] == [*map(without_body, observed)]
    assert b"".join(piece for one in stretches for piece in one.left) == sent
    quickly = [step for step, _ in _played_quickly(stretches)]
    assert [step.actions for step in quickly if step.actions] == [
        step.actions for step in observed if step.actions
    ]
    no_wishes = (action for step in [*observed, *quickly] for action in step.actions)
    assert not any(isinstance(one, Wish) or not isinstance(one, act.Action) for one in no_wishes)


def _played_quickly(stretches: list[Stretch]) -> Any:
    player, stage = Player(stretches[0].opened), Stage()
    return [one for stretch in stretches for one in player.play_quickly(stretch, stage).steps]


@settings(max_examples=share_of(200))
@given(kinds, st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=3))
def test_a_tape_without_bodies_gives_the_same_answers(kinds: Any, told: Any) -> None:
    """Bodies are zeros there, of the same size; what handlers made of them is what they made then."""
    chunks = [join([one]) for one in (*OPENING, *(one for some in told for one in some), QUIT)]
    observed: list[Step] = []
    stretches: list[Stretch] = []
    sent = play(of(chain(kinds)), chunks, stretches.append, keeps_bodies=False)
    play(of(chain(kinds)), chunks, observer=observed.append)
    steps = played(stretches)
    assert b"".join(step.sent for step in steps) == sent
    assert [one.event.size for one in steps if _is_message(one)] == [
        one.event.size for one in observed if _is_message(one)
    ]
    assert [step.actions for step in steps] == [step.actions for step in observed]


def _is_message(step: Any) -> bool:
    return isinstance(step.event, Message)


DISKS: dict[str, Any] = {
    "good": Disk,
    "full": lambda: Disk(room=7000),
    "full at once": lambda: Disk(room=1000),
    "without files": lambda: Disk(opens=False),
    "unreadable": lambda: Disk(reads=False),
}
PIECES = [bytes([97 + number if number > 12 else 0]) * 1000 for number in range(20)]
LARGE = (MAIL, RCPT, HEADER, *[packet("B", piece) for piece in PIECES], EOM)
"""A body in pieces that are shorter than those in which it is read from a file; some are blank."""


def waiting() -> Any:
    """A filter that may edit, and one that waits for the body as it leaves it."""
    first = define_event_handlers({"end_of_message": WISHES["nothing"]}, name="first", edits="all")
    last = define_event_handlers({"body": WISHES["nothing"]}, name="last")
    return merge_handlers(first, last)


def alone() -> Any:
    """A filter that wishes for another header, however large the message is."""
    return define_event_handlers({"message": WISHES["header"]}, edits="all")


@pytest.mark.parametrize("keeps_bodies", [True, False])
@pytest.mark.parametrize("share", [0, 1 << 16])
@pytest.mark.parametrize("kind", DISKS)
def test_bodies_in_files_are_on_the_tape(kind: str, share: int, keeps_bodies: bool) -> None:
    """Filters get the same pieces; if the disk failed, it fails again, and no later message is lost."""
    chunks = [join([one]) for one in (*OPENING, *LARGE, *MESSAGES[0], *LARGE, QUIT)]
    for make in (waiting, alone):
        observed: list[Step] = []
        stretches: list[Stretch] = []
        spools = [Spooling(5000, DISKS[kind]().open) for _ in range(2)]
        sent = play(
            of(make()),
            chunks,
            stretches.append,
            keeps_bodies=keeps_bodies,
            share=share,
            spool=spools[0],
        )
        assert sent == play(of(make()), chunks, observer=observed.append, spool=spools[1])
        steps = played(stretches)
        assert b"".join(step.sent for step in steps) == sent
        assert [type(step.event) for step in steps] == [type(step.event) for step in observed]
        if keeps_bodies:
            assert [without_body(step) for step in steps] == [*map(without_body, observed)]
            assert _bodies(steps) == _bodies(observed)
        _played_quickly(stretches)


def _bodies(steps: list[Step]) -> list[Body]:
    return [step.event for step in steps if isinstance(step.event, Body)]


@pytest.mark.parametrize("kind", ["good", "full at once"])
def test_a_peer_that_goes_while_its_body_is_written(kind: str) -> None:
    """The writing comes to its end, and so does the session; when it is played, too."""
    handlers = define_event_handlers(dict.fromkeys(("abort", "disconnect"), WISHES["nothing"]))
    handlers.add("message", WISHES["nothing"])
    handlers.add("mail", WISHES["nothing"])
    for runs in (True, False):
        stretches: list[Stretch] = []
        setup = Setup(as_on_connect(handlers), spool=Spooling(5000, DISKS[kind]().open))
        line = Line(open_connection(setup, "one"), Tape(stretches.append, float, float))
        for one in (*OPENING, *LARGE):
            line.receive_data(join([one]))
        call = line.leave().call
        assert call is not None
        line.hang_up()
        line.resume(run_call(call) if runs else OSError("the driver has stopped"))
        assert line.leave().is_closed
        names = [step.handler.event for step in played(stretches) if step.handler]
        assert names == ["options", "mail", "abort", "disconnect"]


@pytest.mark.parametrize("keeps_bodies", [True, False])
def test_messages_behind_and_before_the_hot_path_are_on_the_tape(keeps_bodies: bool) -> None:
    """One that is refused at MAIL, one that a handler accepts there, and one with a wish."""
    handlers = define_event_handlers(edits="all")
    handlers.add("message", WISHES["and more"])
    packets = (*OPENING, MAIL, RCPT, ABORT, MAIL, RCPT, HEADER, BODY, EOM, MAIL, ABORT, QUIT)
    stretches: list[Stretch] = []
    sent = play(
        of(handlers), [join([one]) for one in packets], stretches.append, keeps_bodies=keeps_bodies
    )
    steps = played(stretches)
    assert b"".join(step.sent for step in steps) == sent
    (message,) = filter(_is_message, steps)
    assert [type(one).__name__ for one in message.actions] == [
        *("AddHeader", "ReplaceBody", "ReplaceBody", "AddHeader"),
    ]

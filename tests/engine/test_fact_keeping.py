"""What the engine keeps for facts: of filters behind one that edits the header, and on tapes."""

from typing import Any

import pytest

from demyjpy import (
    Context,
    add_header,
    define_event_handlers,
    delete_header,
    facts,
    insert_header,
    merge_handlers,
    recipients,
)
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.playback import Player
from demyjpy.engine.tape import Stretch, Tape
from demyjpy.known_facts import as_networks
from demyjpy.registry import Registry
from demyjpy.testing import Postfix, run, session
from demyjpy.wire.framing import join_frame
from tests.engine.harness import CONNECT, DATA, EOH, EOM, HELO, MAIL, RCPT, Session, offer, packet

RELAYS = "192.0.2.0/24"
FAR = "from x (unknown [203.0.113.9]) by r1"
INNER = "from y (unknown [198.51.100.1]) by r1"
LETTER = (
    session(client="192.0.2.1")
    .mail("a@test")
    .rcpt("b@test")
    .message(f"Received: {FAR}\nFrom: a@test\nDate: Sat, 21 Nov 2026 10:00:00 +0000\n\nhello\n")
)


def reading(*events: str, **options: Any) -> tuple[Registry, list[tuple[str, str]]]:
    """A filter that reads the origin client at these events, and what it has read."""
    seen: list[tuple[str, str]] = []
    handlers = define_event_handlers(facts={"origin_client"}, **options)

    def handler(name: str) -> Any:
        def look(event: Any, ctx: Context) -> Context:
            seen.append((name, str(facts(ctx).origin_client)))
            return ctx

        return look

    for name in events:
        handlers.add(name, handler(name))
    return handlers, seen


def editing(edit: Any) -> Registry:
    """A filter that edits the header."""
    handlers = define_event_handlers(edits="headers")
    handlers.add("end_of_message", lambda event, ctx: edit(ctx))
    return handlers


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda ctx: ctx, "[203.0.113.9]"),
        (lambda ctx: add_header(ctx, "X-A", "1"), "[203.0.113.9]"),
        (lambda ctx: insert_header(ctx, 0, "Received", INNER), "[198.51.100.1]"),
        (lambda ctx: delete_header(ctx, 1, "Received"), "[192.0.2.1]"),
    ],
)
@pytest.mark.parametrize("others", [(), ("end_of_headers", "body", "message"), ("body",)])
def test_behind_a_filter_that_edits_the_header(edit: Any, expected: str, others: tuple[str, ...]):
    """The fields are those that this filter gets, also if it has no handler for them."""
    first, at_first = reading("end_of_message")
    last, seen = reading(*others, "end_of_message")
    row = (first, editing(edit), last)
    options: dict[str, Any] = {"mta": Postfix(), "trusted_relays": RELAYS, "chunk": 2}
    assert not run(merge_handlers(*row), LETTER, **options).troubles
    assert at_first == [("end_of_message", "[203.0.113.9]")]
    assert {value for _, value in seen} == {expected}
    assert {name for name, _ in seen} == {*others, "end_of_message"}


def test_its_header_handlers_know_it_from_the_field_on():
    """As if it were alone; and the next message begins anew."""
    last, seen = reading("mail", "header", "end_of_headers")
    first = editing(lambda ctx: insert_header(ctx, 0, "X-A", "1"))
    run(
        merge_handlers(first, last), LETTER.then(*LETTER.steps[1:]), mta=Postfix(), trusted_relays=RELAYS
    )
    values = [value for _, value in seen]
    assert values[:6] == ["None", "None", *["[203.0.113.9]"] * 4]


MESSAGE = (
    *(CONNECT, HELO, MAIL, RCPT, packet("R", b"<carol@example.org>\0"), DATA),
    *(packet("L", b"Received\0 " + FAR.encode() + b"\0"), EOH, EOM),
)


def test_a_tape_plays_the_same_facts():
    """Steps are made from what the tape has heard, on the hot path and off it."""
    handlers = define_event_handlers(facts={"sender", "recipients", "origin_client"})
    for name in ("mail", "recipient", "header", "end_of_message"):
        handlers.add(name, lambda event, ctx: ctx)
    setup = Setup(as_on_connect(handlers), trusted_relays=as_networks(RELAYS))
    stretches: list[Stretch] = []
    line = Line(open_connection(setup, "s"), Tape(stretches.append, lambda: 0.0, lambda: 1.0))
    for one in (offer(), *MESSAGE):
        line.receive_data(join_frame(*one))
    line.hang_up()
    player = Player(open_connection(setup, "s"))
    steps = [step for stretch in stretches for step, _ in player.play(stretch)]
    (end,) = [one for one in steps if type(one.event).__name__ == "EndOfMessage"]
    known = facts(end.before)
    assert (known.sender, str(known.origin_client)) == ("alice@example.org", "[203.0.113.9]")
    assert [one.address for one in recipients(end.before)] == ["bob@example.org", "carol@example.org"]


def test_a_second_session_on_the_socket_knows_nothing_of_the_first():
    """After QUIT_NC there is another client."""
    handlers = define_event_handlers(facts={"client", "helo", "sender", "recipients"})
    seen: list[Any] = []

    @handlers.mail
    def look(event: Any, ctx: Context) -> Context:
        known = facts(ctx)
        seen.append((str(known.client), known.helo, known.sender, len(recipients(ctx))))
        return ctx

    made = Session.open(handlers)
    made.say(offer(), CONNECT, HELO, MAIL, RCPT, packet("K"), packet("C", b"localhost\0U"), MAIL)
    assert seen == [
        ("client.example [192.0.2.1]", "client.example", "alice@example.org", 0),
        ("localhost", None, "alice@example.org", 0),
    ]


def test_on_the_hot_path_recipients_stand_when_their_event_is_over():
    """Each read has its answer there, and the next message begins anew."""
    seen: list[tuple[str, ...]] = []
    handlers = define_event_handlers(facts={"recipients"})

    def look(event: Any, ctx: Context) -> Context:
        seen.append(tuple(one.address for one in recipients(ctx)))
        return ctx

    for name in ("mail", "recipient", "end_of_message"):
        handlers.add(name, look)
    line = Line(open_connection(Setup(as_on_connect(handlers)), "s"))
    line.receive_data(join_frame(*offer()))
    for one in (*MESSAGE, MAIL, RCPT):
        assert line.receive_data(join_frame(*one)) is not None
    both = ("bob@example.org", "carol@example.org")
    assert seen == [(), (), both[:1], both, (), ()]

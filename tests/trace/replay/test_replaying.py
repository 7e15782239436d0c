"""Replay: the same bytes where nothing has changed; else the place and the reason."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import (
    Accept,
    ReplyCode,
    accept,
    add_header,
    change_sender,
    define_event_handlers,
    reject,
    replace_body,
    send_action,
    skip,
    tempfail,
    with_handlers,
)
from demyjpy import actions as act
from demyjpy.handlers import watch_envelope
from demyjpy.testing import Postfix, Sendmail, run, session
from demyjpy.testing.strategies import sessions as any_sessions
from demyjpy.trace import Trace, load
from demyjpy.trace.format.converters import WireConverter
from demyjpy.trace.format.json_events import dump_action
from demyjpy.trace.format.wire_captures import records_of
from demyjpy.trace.replay.comparing import compare_bytes, compare_filters, compare_messages
from demyjpy.trace.replay.recorded_filter import recorded_filter
from demyjpy.trace.replay.replaying import Filter, agreement_of, expected_of, replay
from tests.anyfilters import Notebook, any_filters
from tests.engine.harness import (
    ABORT,
    ALL_STEPS,
    BODY,
    CONNECT,
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
    join,
    keep,
    macros,
    offer,
    packet,
)
from tests.trace.sessions import CAPTURES, WHOLE, tagger, watched

LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


def recorded(handlers: Any, *packets: Any, **setup: Any) -> Trace:
    return Trace.of_steps(watched(handlers, *packets, **setup)[0], source="test")


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_capture_replays(path: Any) -> None:
    """With the recorded answers as the filter: byte for byte, and by meaning."""
    (trace,) = load(path)
    played = Filter(recorded_filter(trace))
    assert compare_bytes(trace, played).is_same
    assert compare_messages(trace, played, twice=False).is_same
    assert compare_filters(trace, played, played).is_same


@pytest.mark.parametrize("mta", [Postfix(), Sendmail()], ids=["postfix", "sendmail"])
def test_a_session_of_the_kit_replays(mta: Any) -> None:
    """With the same filter, by any way to compare."""
    trace = run(tagger(), LETTER.mail("x@example.org").rcpt("bad@example.org"), mta=mta).trace
    played = Filter(tagger())
    for found in (
        compare_bytes(trace, played),
        compare_messages(trace, played),
        compare_filters(trace, played, Filter(recorded_filter(trace))),
    ):
        assert (found.is_same, found.impure, found.gaps, found.failure) == (True, (), (), "")
        assert found.messages == 2
    said = [one.data for one in replay(trace, played).replies]
    assert said == [expected_of(one) for one in trace.exchanges]


@settings(max_examples=50)
@given(any_sessions(), st.booleans())
def test_any_session_replays(script: Any, is_postfix: bool) -> None:
    """Recorded and said again, it gives the same bytes."""
    trace = run(tagger(), script, mta=Postfix() if is_postfix else Sendmail()).trace
    assert compare_bytes(trace, Filter(tagger())).is_same
    assert compare_bytes(trace, Filter(recorded_filter(trace))).is_same


@given(any_filters, st.lists(st.sampled_from([*MESSAGE, ABORT, HELO, macros("R", i="1")])))
def test_any_filter_replays(any_filter: Any, packets: list[Any]) -> None:
    """Also one that fails, returns nonsense, or breaks its context: at the same places, each time."""
    trace = recorded(any_filter.registry(Notebook()), *OPENING, *packets, QUIT)
    found = compare_bytes(trace, Filter(any_filter.registry(Notebook())))
    assert (found.is_same, found.impure) == (True, ())


def test_the_first_difference_is_told_with_its_step_context_and_handler() -> None:
    """And which messages differ, in what."""
    trace = recorded(tagger("old"), *WHOLE)
    found = compare_bytes(trace, Filter(tagger("new")))
    assert not found.is_same
    difference = found.difference
    assert difference is not None
    assert (difference.number, difference.event) == (11, "end_of_message")
    assert difference.old == (act.AddHeader("X-Tag", "old 1"), act.Continue())
    assert difference.new == (act.AddHeader("X-Tag", "new 1"), act.Continue())
    assert difference.handler == "tests.trace.sessions.tagger.<locals>.tag"
    assert difference.ctx is not None
    assert difference.ctx["count"] == 1
    (one,) = found.differing
    assert (one.kinds, one.old.queue_id) == (("headers",), "Q1")
    assert one.why == difference


@pytest.mark.parametrize(
    ("event", "answer", "kinds"),
    [
        ("mail", reject, ("verdict",)),
        ("end_of_message", lambda ctx: reject(ctx, "5.7.1", "no"), ("verdict",)),
        ("end_of_message", lambda ctx: add_header(ctx, "A", "b"), ("headers",)),
        ("end_of_message", lambda ctx: replace_body(ctx, b"x"), ("body",)),
        (
            "end_of_message",
            lambda ctx: change_sender(add_header(ctx, "A", "b"), "x"),
            ("headers", "sender"),
        ),
        ("recipient", reject, ("verdict",)),
    ],
)
def test_two_filters_are_told_apart_by_what_they_do(
    event: str, answer: Callable[..., Any], kinds: tuple[str, ...]
) -> None:
    """Verdict, headers, recipients, sender, body; with the step where it begins."""
    actions = {"add_header", "change_body", "change_sender"}
    old = define_event_handlers({event: keep, "mail": keep}, actions=actions)
    new = define_event_handlers({"mail": keep, event: lambda event, ctx: answer(ctx)}, actions=actions)
    found = compare_filters(recorded(old, *WHOLE), Filter(old), Filter(new))
    (one,) = found.differing
    assert one.kinds == kinds
    assert one.why is not None
    assert one.why.event == event


def test_recipients_are_compared() -> None:
    """Those refused on the way, and those added at the end."""
    two = (*OPENING, MAIL, RCPT, packet("R", b"<bad@x>\0"), *MESSAGE[2:], QUIT)
    found = compare_filters(recorded(tagger(), *two), Filter({"recipient": keep}), Filter(tagger()))
    assert found.differing[0].kinds == ("headers", "recipients")
    why = found.differing[0].why
    assert why is not None
    assert why.new == (ReplyCode(550, "5.1.1", "nobody"),)
    add = define_event_handlers(actions={"add_recipient"})
    add.end_of_message(lambda event, ctx: send_action(ctx, act.AddRecipient("x@y")))
    found = compare_filters(recorded(add, *WHOLE), Filter(add), Filter({"mail": keep}))
    assert found.differing[0].kinds == ("recipients",)


def test_another_negotiation_differs_in_bytes_but_not_in_meaning() -> None:
    """A filter that declines more, or wants other header values, does the same to the mail."""
    trace = recorded(tagger(), *OPENING, MAIL, RCPT, *MESSAGE[2:], QUIT)
    lazy = define_event_handlers({"recipient": tagger()["recipient"]}, actions={"add_header"})
    lazy.end_of_message(lambda event, ctx: add_header(ctx, "X-Tag", f"yes {ctx['count']}"))
    played = Filter(define_event_handlers(lazy, actions={"add_header"}, state={"count": 0}))
    assert compare_messages(trace, played).is_same
    found = compare_bytes(recorded({"mail": keep}, *WHOLE), played)
    assert found.difference is not None
    assert found.difference.event == "options"


def test_header_values_are_said_as_they_were_agreed() -> None:
    """With the space where the filter negotiates it; what cannot be read is said as it was."""
    without = [
        *join((offer(steps=0x0), CONNECT, MAIL, HEADER, packet("L", b"\0\0"), EOM, QUIT)).split(
            b"never"
        ),
    ]
    tape = WireConverter("s")
    records = list(tape.take("mta", without[0][:17], 0.0))
    records += tape.take("filter", b"\0\0\0\rO\0\0\0\6\0\0\0\0\0\0\0\0", 0.0)
    records += tape.take("mta", without[0][17:], 0.0)
    trace = Trace("s", tuple(records))
    wants = Trace(
        "s",
        (
            {**trace.records[0], "fields": {**trace.records[0]["fields"], "protocol": 0x1FFFFF}},
            *trace.records[1:],
        ),
    )
    seen: list[Any] = []
    handlers = {"header": lambda event, ctx: seen.append(event.raw) or ctx}
    replay(wants, Filter(handlers))
    assert seen == [" hello"]


def test_what_the_recording_lacks_is_named() -> None:
    """Events that the recorded filter had declined, and this one wants."""
    found = compare_messages(recorded({"mail": keep}, *OPENING, MAIL, EOM, QUIT), Filter({"body": keep}))
    assert found.gaps == ("body",)
    assert found.is_same


def test_a_filter_that_decides_earlier_is_told_no_more() -> None:
    """Of the message, of what follows HELO, or of the connection; as an MTA does it."""
    two = (
        *OPENING,
        macros("M", i="1"),
        *MESSAGE,
        UNKNOWN,
        macros("M", i="2"),
        MAIL,
        RCPT,
        EOM,
        HELO,
        MAIL,
        QUIT,
    )
    trace = recorded(
        {"connect": keep, "hello": keep, "mail": keep, "recipient": keep, "unknown": keep}, *two
    )

    def told(event: str, answer: Callable[..., Any]) -> list[str]:
        seen: list[str] = []

        def handle(name: str) -> Any:
            def handler(one: Any, ctx: Any) -> Any:
                seen.append(name)
                return answer(ctx) if name == event else ctx

            return handler

        names = ("connect", "hello", "mail", "recipient", "unknown", "end_of_message")
        found = replay(trace, Filter({name: handle(name) for name in names}))
        assert found.troubles == ()
        return seen

    assert told("mail", reject) == ["connect", "hello", "mail", "unknown", "mail", "hello", "mail"]
    assert told("connect", reject) == ["connect"]
    assert told("hello", reject) == ["connect", "hello", "hello"]
    assert told("hello", accept) == ["connect", "hello"]
    assert told("recipient", reject).count("end_of_message") == 0
    closing = told("mail", lambda ctx: tempfail(ctx, "4.7.0", "bye", code=421))
    assert closing == ["connect", "hello", "mail"]
    found = compare_filters(
        trace, Filter({"mail": keep}), Filter({"connect": lambda event, ctx: reject(ctx)})
    )
    assert [(one.new.outcome, one.new.at) for one in found.differing] == [("rejected", "connect")] * 3
    assert [one.why.event for one in found.differing if one.why] == ["connect"] * 3


def test_other_bytes_that_mean_the_same_are_no_difference() -> None:
    """A foreign filter sends edits in another order, and a new body in other pieces."""

    def change(event: Any, ctx: Any) -> Any:
        ctx = replace_body(add_header(ctx, "A", "b"), b"new\r\n")
        return send_action(ctx, act.AddRecipient("c@example.net"))

    wanted = {"add_header", "change_body", "add_recipient"}
    handlers = define_event_handlers({"end_of_message": change}, actions=wanted)
    trace = Trace.of_steps(watched(handlers, *WHOLE)[0])
    edits = [
        act.AddRecipient("c@example.net"),
        act.AddHeader("A", "b"),
        act.ReplaceBody(b"new"),
        act.ReplaceBody(b"\r\n"),
    ]

    def recorded(*said: Any) -> Trace:
        answer = [dump_action(one) for one in said]
        records = [
            {**one, "answer": answer} if one.get("verdict") and one["event"] == "end_of_message" else one
            for one in trace.records
        ]
        return Trace("s", tuple(records))

    for verdict in (act.Continue(), act.Accept()):
        other = recorded(*edits, verdict)
        assert b"".join(one.reply for one in other.exchanges) != b"".join(
            one.reply for one in trace.exchanges
        )
        assert compare_bytes(other, Filter(handlers)).is_same
    difference = compare_bytes(recorded(*edits[:3], act.Continue()), Filter(handlers)).difference
    assert difference is not None
    assert difference.event == "end_of_message"


@pytest.mark.parametrize("steps", [ALL_STEPS, 0x7F, 0])
def test_a_filter_that_was_recorded_with_the_envelope_is_the_same(steps: int) -> None:
    """Also from an MTA that waits for every answer; a refusal in the recording is a difference."""
    plain = define_event_handlers({"header": keep})
    said = (offer(6, 0x1FF, steps), *WHOLE[1:])
    seen = Trace.of_steps(watched(watch_envelope(plain), *said)[0])
    assert compare_bytes(seen, Filter(plain)).is_same
    refused = Trace.of_steps(watched({"mail": lambda _, ctx: reject(ctx)}, *said)[0])
    assert not compare_bytes(refused, Filter(plain)).is_same


def test_a_renewed_session_is_told_again() -> None:
    """QUIT_NC: what was decided for the connection holds no longer."""
    trace = recorded({"connect": keep}, *OPENING, MAIL, QUIT_NC, CONNECT, QUIT)
    seen: list[str] = []

    def refuse(event: Any, ctx: Any) -> Any:
        seen.append("connect")
        return reject(ctx)

    replay(trace, Filter({"connect": refuse, "mail": lambda event, ctx: seen.append("mail")}))
    assert seen == ["connect", "connect"]


def test_what_goes_on_where_the_recording_ends_is_undecided() -> None:
    """The old filter had refused the message; what would have followed was never said."""
    found = compare_filters(
        recorded({"mail": lambda event, ctx: reject(ctx)}, *OPENING, MAIL, QUIT),
        Filter({"mail": lambda event, ctx: reject(ctx)}),
        Filter({"mail": keep}),
    )
    assert [(one.old.outcome, one.new.outcome) for one in found.differing] == [("rejected", "undecided")]


def test_an_answer_that_was_not_recorded_is_no_difference() -> None:
    """The recorded filter hung, or the recording ends there."""
    whole = recorded(tagger(), *WHOLE)
    cut = Trace(
        "s",
        whole.records[
            : next(n for n, one in enumerate(whole.records) if one["event"] == "end_of_message") + 1
        ],
    )
    assert compare_bytes(cut, Filter(tagger())).is_same
    assert compare_messages(cut, Filter(tagger())).is_same


def test_signs_of_life_do_not_count() -> None:
    """How many there are is the clock's."""
    tape = WireConverter("s")
    records = [
        *tape.take("mta", join((offer(), EOM)), 0.0),
        *tape.take("filter", b"\0\0\0\rO\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\1p\0\0\0\1p\0\0\0\1c", 0.0),
    ]
    trace = Trace("s", tuple(records))
    assert b"\0\0\0\1p" not in b"".join(map(expected_of, trace.exchanges))


def test_a_handler_that_is_not_pure_is_named() -> None:
    """It says something else when it is run again; once, nobody can tell."""
    ticks = itertools.count()
    handlers = define_event_handlers({"mail": keep}, actions={"add_header"})
    handlers.end_of_message(tick := lambda event, ctx: add_header(ctx, "X-Tick", str(next(ticks))))
    assert tick is not None
    trace = recorded({"mail": keep, "end_of_message": keep}, *WHOLE)
    for compare in (compare_bytes, compare_messages):
        (one,) = compare(trace, Filter(handlers)).impure
        assert (one.handler, one.event, one.queue_id) == (
            f"{__name__}.{tick.__qualname__}",
            "end_of_message",
            "Q1",
        )
        assert one.first != one.second
        assert compare(trace, Filter(handlers), twice=False).impure == ()


def test_a_handler_that_is_called_not_always_is_named() -> None:
    """Where it was missing at one of two times."""
    turns = itertools.count()
    start = {"mail": keep, "recipient": keep}

    def on_connect(ctx: Any) -> Any:
        return with_handlers(ctx, define_event_handlers(start if next(turns) % 2 else {"mail": keep}))

    trace = recorded(start, *WHOLE)
    (one,) = compare_bytes(trace, Filter(on_connect)).impure
    assert one.event == "options"


def test_a_handler_that_is_pure_after_all_is_not_named() -> None:
    """It differs from the recording only."""
    ticks = iter([1, *[2] * 99])
    handlers = define_event_handlers({"mail": keep}, actions={"add_header"})
    handlers.end_of_message(lambda event, ctx: add_header(ctx, "X", str(next(ticks))))
    trace = recorded({"mail": keep, "end_of_message": keep}, *WHOLE)
    found = compare_messages(trace, Filter(handlers))
    assert found.impure == ()
    assert len(found.differing) == 1


def test_a_filter_that_refuses_the_session_says_why() -> None:
    """What it requires was not offered, or it cannot even begin."""
    trace = recorded({"mail": keep}, offer(actions=0x2), *WHOLE[1:])
    found = compare_messages(trace, Filter(tagger()))
    assert "NegotiationError: the MTA does not offer" in found.failure
    assert not found.is_same
    found = compare_bytes(trace, Filter(lambda ctx: None))
    assert "HandlerError: expected on_connect" in found.failure
    assert found.difference is not None


def test_an_error_of_a_handler_is_the_reason() -> None:
    """With its text."""
    trace = recorded({"mail": keep}, *WHOLE)
    found = compare_bytes(trace, Filter({"mail": lambda event, ctx: 1 / 0}))
    assert found.difference is not None
    assert found.difference.error == "ZeroDivisionError: division by zero"
    assert compare_bytes(trace, Filter({"mail": lambda event, ctx: 1 / 0}, "accept")).differing == ()


def test_messages_that_never_begin_differ() -> None:
    """As where the filter leaves before."""
    trace = recorded({"mail": keep}, *OPENING, MAIL, EOM, MAIL, EOM, QUIT)
    part = Trace("s", trace.records)
    played = Filter({"mail": lambda event, ctx: ctx})
    assert compare_filters(part, played, played).is_same


def test_skipped_bodies_and_accepted_mail_mean_the_same() -> None:
    """Skip and Accept change nothing about the mail that goes on."""
    trace = recorded({"body": keep, "end_of_message": keep}, *OPENING, MAIL, BODY, BODY, EOM, QUIT)
    skipping = define_event_handlers({"body": lambda event, ctx: skip(ctx)})
    skipping.end_of_message(lambda event, ctx: send_action(ctx, Accept()))
    assert compare_messages(trace, Filter(skipping)).is_same


def test_captures_may_lack_an_agreement() -> None:
    """The parrot then negotiates as any filter does."""
    trace = Trace(
        "s", tuple(records_of([b'{"dir": "mta", "hex": "0000000d4f00000006000001ff001fffff"}'], "s"))
    )
    assert compare_bytes(trace, Filter(recorded_filter(trace))).is_same
    assert compare_messages(Trace("s", ()), Filter(recorded_filter(trace))).messages == 0
    odd = (packet("c"), packet("O", b"\0\0\0\6" + b"\0" * 8))
    tape = WireConverter("s")
    records = [
        *tape.take("mta", join((packet("D", b"C"), offer())), 0.0),
        *tape.take("filter", join(odd), 0.0),
        *tape.take("mta", join((CONNECT, MAIL, packet("L", b"x"), QUIT)), 0.0),
    ]
    trace = Trace("s", tuple(records))
    agreed = agreement_of(trace)
    assert agreed is not None
    assert agreed.version == 6
    wants = {"header": keep, "mail": keep}
    steps = evolve(trace, records=({**records[0]}, {**records[1]}, *records[2:]))
    assert replay(steps, Filter(wants)).replies


def test_async_handlers_are_awaited() -> None:
    """As often as they are called."""

    async def wait(event: Any, ctx: Any) -> Any:
        return ctx.set("waited", ctx.get("waited", 0) + 1)

    handlers = define_event_handlers({"recipient": wait}, actions={"add_header"})
    handlers.end_of_message(lambda event, ctx: add_header(ctx, "X-Tag", f"yes {ctx['waited']}"))
    found = compare_messages(recorded(tagger(), *OPENING, MAIL, RCPT, RCPT, EOM, QUIT), Filter(handlers))
    assert found.is_same


def test_messages_are_the_same_whatever_a_filter_is_told_of_them():
    """One that has a handler for the end only hears of no beginning: its messages begin there."""
    early = define_event_handlers(
        {"header": lambda event, ctx: ctx, "end_of_message": lambda event, ctx: ctx}
    )
    late = define_event_handlers(
        {"end_of_message": lambda event, ctx: add_header(ctx, "X", "y")}, actions={"add_header"}
    )
    letter = session().mail("a@b").rcpt("c@d").message()
    script = letter.mail("a@b").rcpt("c@d").message()
    trace = run(early, script, mta=Postfix()).trace
    found = compare_filters(trace, Filter(early), Filter(late))
    assert [(one.old.outcome, one.new.outcome, one.kinds) for one in found.differing] == [
        ("accepted", "accepted", ("headers",)),
        ("accepted", "accepted", ("headers",)),
    ]

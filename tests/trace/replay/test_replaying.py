"""Replay: the same bytes where nothing has changed; else the place and the reason."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import (
    accept,
    add_header,
    define_event_handlers,
    merge_handlers,
    reject,
    tempfail,
)
from demyjpy.handlers import watch_envelope
from demyjpy.testing import Postfix, Sendmail, run, session
from demyjpy.testing.strategies import sessions as any_sessions
from demyjpy.trace import Trace, load
from demyjpy.trace.format.converters import WireConverter
from demyjpy.trace.format.wire_captures import records_of
from demyjpy.trace.replay.comparing import compare_bytes, compare_filters, compare_messages
from demyjpy.trace.replay.outside_calls import OutsideWatch
from demyjpy.trace.replay.recorded_filter import recorded_filter
from demyjpy.trace.replay.replaying import Filter, replay
from tests.anyfilters import Notebook, any_filters, finding_chains
from tests.engine.harness import (
    ABORT,
    ALL_STEPS,
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
from tests.trace.sessions import CAPTURES, WHOLE, recorded, tagger, watched

LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


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
    assert said == [one.expected for one in trace.exchanges]


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


SUBJECTS = [packet("L", b"Subject\0 one\0"), packet("L", b"X-Note\0 two\0")]


@settings(deadline=None)
@given(finding_chains, st.lists(st.sampled_from([*MESSAGE, *SUBJECTS, ABORT]), max_size=12))
def test_any_chain_replays(chain: Any, packets: list[Any]) -> None:
    """With filters that wait for one another, in corners, and for some mail only; also if watched."""

    def made() -> Any:
        return merge_handlers(*[one.registry(Notebook()) for one in chain])

    trace = recorded(made(), *OPENING, *packets, EOM, QUIT)
    found = compare_bytes(trace, Filter(made()))
    assert (found.is_same, found.impure) == (True, ())
    assert compare_bytes(trace, Filter(made(), watch=OutsideWatch(lambda reach: None))).is_same
    assert compare_filters(trace, Filter(made()), Filter(made())).is_same


def test_a_watched_filter_without_handlers_asks_for_the_same_macros() -> None:
    """Facts that nobody reads are asked for all the same."""
    handlers = merge_handlers(define_event_handlers(), define_event_handlers(facts={"user"}))
    trace = recorded(handlers, *OPENING, QUIT)
    assert compare_bytes(trace, Filter(handlers, watch=OutsideWatch(lambda reach: None))).is_same


def test_header_values_are_said_as_they_were_agreed() -> None:
    """With the space where the filter negotiates it; what cannot be read is said as it was."""
    without = [
        *join((offer(steps=0x0), CONNECT, MAIL, HEADER, packet("L", b"\0\0"), EOM, QUIT)).split(
            b"never"
        ),
    ]
    converter = WireConverter("s")
    records = list(converter.take("mta", without[0][:17], 0.0))
    records += converter.take("filter", b"\0\0\0\rO\0\0\0\6\0\0\0\0\0\0\0\0", 0.0)
    records += converter.take("mta", without[0][17:], 0.0)
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


def test_signs_of_life_do_not_count() -> None:
    """How many there are is the clock's."""
    converter = WireConverter("s")
    records = [
        *converter.take("mta", join((offer(), EOM)), 0.0),
        *converter.take("filter", b"\0\0\0\rO\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\1p\0\0\0\1p\0\0\0\1c", 0.0),
    ]
    trace = Trace("s", tuple(records))
    assert b"\0\0\0\1p" not in b"".join(one.expected for one in trace.exchanges)


def test_captures_may_lack_an_agreement() -> None:
    """The parrot then negotiates as any filter does."""
    trace = Trace(
        "s", tuple(records_of([b'{"dir": "mta", "hex": "0000000d4f00000006000001ff001fffff"}'], "s"))
    )
    assert compare_bytes(trace, Filter(recorded_filter(trace))).is_same
    assert compare_messages(Trace("s", ()), Filter(recorded_filter(trace))).messages == 0
    odd = (packet("c"), packet("O", b"\0\0\0\6" + b"\0" * 8))
    converter = WireConverter("s")
    records = [
        *converter.take("mta", join((packet("D", b"C"), offer())), 0.0),
        *converter.take("filter", join(odd), 0.0),
        *converter.take("mta", join((CONNECT, MAIL, packet("L", b"x"), QUIT)), 0.0),
    ]
    trace = Trace("s", tuple(records))
    agreed = trace.agreement
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

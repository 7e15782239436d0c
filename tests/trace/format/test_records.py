"""Records: every event and action survives, every byte comes back, and the schema has them all."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy import define_event_handlers, merge_handlers
from demyjpy import events as ev
from demyjpy.codec import decode_action, decode_event, encode_action, encode_event, name_of
from demyjpy.errors import MilterError
from demyjpy.trace import Trace, TraceError
from demyjpy.trace.format.converters import WireConverter
from demyjpy.trace.format.json_events import dump_action, dump_event, load_action, load_event
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import header
from demyjpy.trace.format.wire_captures import is_capture, records_of
from demyjpy.wire.framing import join_frame
from tests import strategies
from tests.anyfilters import Notebook, any_filters
from tests.engine.harness import (
    ABORT,
    BODY,
    EOM,
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

SCHEMA = json.loads(files("demyjpy.trace").joinpath("trace.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8"))


def saved(trace: Trace) -> Trace:
    """As it comes out of a file; each line is as the schema has it."""
    records = tuple(json.loads(dump_record(record)) for record in trace.records)
    for record in records:
        VALIDATOR.validate(record)
    return Trace(trace.name, records)


@given(st.booleans().flatmap(lambda flag: st.tuples(st.just(flag), strategies.events(flag))))
def test_any_event_survives(given_: tuple[bool, ev.Event]) -> None:
    """As it was read from its packet, and its packet too."""
    leading_space, event = given_
    data = encode_event(event, leading_space)
    event = decode_event(data, leading_space)
    again = load_event(name_of(event), through_json(dump_event(event)))
    assert (again, encode_event(again, leading_space)) == (event, encode_event(event, leading_space))


@given(st.booleans().flatmap(lambda flag: st.tuples(st.just(flag), strategies.actions(flag))))
def test_any_action_survives(given_: tuple[bool, act.Action]) -> None:
    """As it was read from its packet, and its packet too."""
    leading_space, action = given_
    try:
        action = decode_action(encode_action(action, leading_space), leading_space)
    except MilterError:
        return
    again = load_action(through_json(dump_action(action)))
    assert (again, encode_action(again, leading_space)) == (action, encode_action(action, leading_space))


def test_what_never_was_on_the_wire_is_written_too() -> None:
    """The end of a connection; and an action that is none."""
    assert name_of(ev.Disconnect()) == "disconnect"
    assert load_event("disconnect", {}) == ev.Disconnect()
    unknown = ev.Connect("local")
    assert load_event("connect", dump_event(unknown)) == unknown
    local = ev.Connect("localhost", "L", "/run/client", 0)
    assert load_event("connect", dump_event(local)) == local
    assert dump_action("nonsense") == {"action": "?", "text": "'nonsense'"}


BAD_EVENTS = [
    (None, {}),
    ("nonsense", {}),
    ("mail", []),
    ("mail", {"sender": 1}),
    ("mail", {"sender": "a", "parameters": [["a"]]}),
    ("mail", {"sender": "a", "parameters": 1}),
    ("connect", {"host_name": "a", "family": "4", "address": "x", "port": 1}),
    ("connect", {"host_name": "a", "family": "4", "address": "127.0.0.1", "port": "x"}),
    ("options", {}),
]


@pytest.mark.parametrize(("name", "fields"), BAD_EVENTS)
def test_what_is_no_event_is_refused(name: Any, fields: Any) -> None:
    """With what was expected."""
    with pytest.raises(TraceError, match="expected"):
        load_event(name, fields)


@pytest.mark.parametrize(
    "bad",
    [
        1,
        {},
        {"action": "Nonsense"},
        {"action": "ReplyCode", "code": 200, "enhanced": None, "lines": []},
        {"action": "ReplyCode", "code": 550, "enhanced": None, "lines": 1},
        {"action": "Negotiate", "version": 6, "actions": 0, "protocol": 0, "macros": [[1]]},
    ],
)
def test_what_is_no_action_is_refused(bad: Any) -> None:
    """With what was expected."""
    with pytest.raises(TraceError, match="expected"):
        load_action(bad)


def test_the_schema_is_one_and_has_the_header() -> None:
    """It names itself a schema of 2020-12; a header of this version is valid."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    VALIDATOR.validate(header("test", 1.0))


# ------------------------------------------------------------------------- the engine's steps
@pytest.mark.parametrize("raw", [False, True])
def test_a_session_of_the_engine_gives_all_its_bytes_back(raw: bool) -> None:
    """What the MTA said and what was answered, at the same places."""
    steps, session = watched(tagger(), *WHOLE)
    trace = saved(Trace.of_steps(steps, raw=raw))
    assert b"".join(exchange.sent for exchange in trace.exchanges) == join(WHOLE)
    assert b"".join(exchange.reply for exchange in trace.exchanges) == session.sent
    assert (trace.how, trace.problems, trace.name) == ("quit", (), "session")
    assert any("raw" in record for record in trace.records) == raw


def test_a_step_has_what_is_known_about_it() -> None:
    """Handler, actions, answer, verdict, the change of the context, queue id, duration."""
    ticks = iter(range(1000))
    steps, _ = watched(tagger(), *WHOLE, clock=lambda: float(next(ticks)))
    trace = saved(Trace.of_steps(steps, time=12.5))
    (record,) = trace.exchanges[-2].records
    assert record == {
        "session": "session",
        "direction": "filter",
        "time": 12.5,
        "event": "end_of_message",
        "answer": [
            {"action": "AddHeader", "name": "X-Tag", "value": "yes 1"},
            {"action": "Continue"},
        ],
        "verdict": "Continue",
        "handler": "tests.trace.sessions.tagger.<locals>.tag",
        "actions": [{"action": "AddHeader", "name": "X-Tag", "value": "yes 1"}],
        "duration": 1.0,
        "queue_id": "Q1",
    }
    recipient = next(one for one in trace.exchanges if one.name == "recipient")
    assert recipient.records[0]["changes"] == {"set": {"count": 1}}
    assert recipient.queue_id == "Q1"


def test_contexts_can_be_looked_at() -> None:
    """Before and after each step, also across the end of a message."""
    steps, _ = watched(tagger(), *OPENING, MAIL, RCPT, RCPT, EOM, MAIL, RCPT, EOM, QUIT)
    trace = saved(Trace.of_steps(steps))
    counts = [
        (trace.at("recipient", number).ctx["count"], trace.at("recipient", number).after["count"])
        for number in (1, 2, 3)
    ]
    assert counts == [(0, 1), (1, 2), (0, 1)]
    moment = trace.at("end_of_message", 2)
    assert moment.event == ev.EndOfMessage()
    assert moment.actions == (act.AddHeader("X-Tag", "yes 1"),)
    assert moment.answer == (act.AddHeader("X-Tag", "yes 1"), act.Continue())
    assert moment.handlers == ("tests.trace.sessions.tagger.<locals>.tag",)
    assert (moment.errors, moment.duration) == ((), 0)
    with pytest.raises(LookupError, match=r"expected recipient no\. 4, got 3 of them in session"):
        trace.at("recipient", 4)


def test_a_trace_can_be_played_through_a_filter_now() -> None:
    """With real contexts; async handlers are awaited."""
    steps, _ = watched(tagger(), *WHOLE)
    trace = saved(Trace.of_steps(steps))
    handlers = define_event_handlers()

    @handlers.mail
    async def keep_sender(event: Any, ctx: Any) -> Any:
        return ctx.set("sender", event.sender)

    played = trace.step(handlers)
    mail = next(step for step in played if isinstance(step.event, ev.Mail))
    assert mail.after["sender"] == "alice@example.org"
    assert isinstance(played[-1].event, ev.Disconnect)


def test_errors_of_handlers_are_told() -> None:
    """Also those that cannot be told."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    def fail(event: Any, ctx: Any) -> Any:
        raise MuteError

    def fall(event: Any, ctx: Any) -> Any:
        raise ValueError("fell")

    steps, _ = watched({"mail": fall, "unknown": fail}, *OPENING, UNKNOWN, MAIL)
    trace = saved(Trace.of_steps(steps))
    assert trace.at("mail").errors == ("ValueError: fell",)
    assert trace.at("unknown").errors == ("MuteError: <str failed: ValueError>",)
    assert trace.messages[0].outcome == "tempfailed"


def test_each_handler_of_a_merged_filter_has_its_record() -> None:
    """One exchange, several records; also where nothing was said, as at the end."""
    one = define_event_handlers({"mail": keep, "disconnect": keep, "abort": keep})
    two = define_event_handlers({"mail": keep, "disconnect": keep, "abort": keep})
    steps, session = watched(merge_handlers(one, two), *OPENING, MAIL, ABORT, ABORT, MAIL)
    trace = saved(Trace.of_steps(steps))
    assert [len(one.records) for one in trace.exchanges if one.name == "mail"] == [2, 2]
    names = [moment.name for moment in trace.moments]
    assert names == [
        "options",
        "connect",
        "hello",
        "mail",
        "abort",
        "abort",
        "mail",
        "abort",
        "disconnect",
    ]
    assert b"".join(one.sent for one in trace.exchanges) == join((*OPENING, MAIL, ABORT, ABORT, MAIL))
    assert b"".join(one.reply for one in trace.exchanges) == session.sent
    assert trace.how == "mta"


def test_a_message_given_up_for_another_is_no_packet() -> None:
    """The engine's ABORT is in the trace, as its own; what was said comes back."""
    said = (*OPENING, MAIL, MAIL, HELO, MAIL, QUIT)
    steps, _ = watched({"mail": keep}, *said)
    trace = saved(Trace.of_steps(steps))
    assert [one["direction"] for one in trace.records if one.get("event") == "abort"] == ["engine"] * 3
    assert b"".join(one.sent for one in trace.exchanges) == join(said)


def test_a_body_that_comes_with_the_end_is_one_packet() -> None:
    """As old MTAs say it: the end is then the engine's own."""
    said = (*OPENING, MAIL, RCPT, packet("E", b"text"), MAIL, BODY, packet("E", b"text"), QUIT)
    steps, session = watched({"body": keep, "end_of_message": keep}, *said)
    trace = saved(Trace.of_steps(steps))
    assert b"".join(one.sent for one in trace.exchanges) == join(said)
    assert b"".join(one.reply for one in trace.exchanges) == session.sent


@given(any_filters, st.lists(st.sampled_from([*MESSAGE, ABORT, HELO, macros("R", i="1")])))
def test_any_session_gives_its_bytes_back(any_filter: Any, packets: list[Any]) -> None:
    """Whatever the filter does, and whatever is said; the trace is as the schema has it."""
    steps, session = watched(any_filter.registry(Notebook()), *OPENING, *packets)
    trace = saved(Trace.of_steps(steps))
    sent = b"".join(one.sent for one in trace.exchanges)
    assert join((*OPENING, *packets)).startswith(sent)
    assert b"".join(one.reply for one in trace.exchanges) == session.sent


def test_a_session_without_steps_is_an_empty_trace() -> None:
    """Nothing in it, and no end."""
    trace = Trace.of_steps([])
    assert (trace.exchanges, trace.moments, trace.messages, trace.how) == ((), (), (), "cut")
    assert (trace.reason, trace.leading_space) == ("", False)


# --------------------------------------------------------------------------------- the wire
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_a_capture_becomes_a_trace_that_gives_its_bytes_back(path: Path, size: int) -> None:
    """However it was cut; nothing is odd about Postfix, Sendmail and libmilter."""
    lines = path.read_bytes().splitlines()
    assert is_capture(lines[0])
    assert is_capture(lines[1])
    trace = saved(Trace("x", tuple(records_of(lines, "x"))))
    packets = [json.loads(line) for line in lines if b'"hex"' in line]
    for direction, key in (("mta", "sent"), ("milter", "reply")):
        said = b"".join(bytes.fromhex(one["hex"]) for one in packets if one["dir"] == direction)
        assert b"".join(getattr(one, key) for one in trace.exchanges) == said
    assert trace.problems == ()
    assert not any("odd" in record or "raw" in record for record in trace.records)
    converter = WireConverter("x")
    again = [
        record
        for one in packets
        for at in range(0, len(one["hex"]) // 2, size)
        for record in converter.take(
            "mta" if one["dir"] == "mta" else "filter",
            bytes.fromhex(one["hex"])[at : at + size],
            one["t"],
        )
    ]
    assert again == list(trace.records[:-1])


@pytest.mark.parametrize(
    "bad",
    [b"x", b"[]", b'{"dir": "mta"}', b'{"dir": "x", "hex": "00"}', b'{"dir": "mta", "hex": "0"}'],
)
def test_a_line_that_is_no_capture_is_named(bad: bytes) -> None:
    """By its number."""
    with pytest.raises(TraceError, match="line 3: expected"):
        list(records_of([b'{"scenario": "x"}', b"", bad], "x"))
    assert not is_capture(b"[]")
    assert not is_capture(b"{")


def agreed(actions: int = 0, protocol: int = 0) -> bytes:
    """An answer to the offer."""
    return join_frame(
        *encode_action(act.Negotiate(6, act.ActionFlag(actions), act.ProtocolFlag(protocol)))
    )


def odd_of(converter: WireConverter, direction: str, *packets: Any) -> list[list[str]]:
    return [
        record.get("odd", [])
        for one in packets
        for record in converter.take(direction, join([one]), 0.0)
    ]


def test_what_is_odd_is_marked() -> None:
    """A reply that is not due, an edit that is not negotiated or too early, an answer that is none."""
    converter = WireConverter("s")
    assert odd_of(converter, "mta", offer()) == [[]]
    assert odd_of(converter, "filter", packet("c")) == [["no answer to options"]]
    converter = WireConverter("s")
    odd_of(converter, "mta", offer())
    list(converter.take("filter", agreed(1, 0x80000 | 0x2), 0.0))
    assert odd_of(converter, "filter", packet("c")) == [["no answer is due"]]
    assert odd_of(converter, "mta", MAIL, RCPT) == [[], ["the answer to mail is still due"]]
    assert odd_of(converter, "filter", packet("p"), packet("h", b"a\0b\0"), packet("q", b"x\0")) == [
        ["a sign of life before the end of message"],
        ["a change before the end of message"],
        ["a change before the end of message", "a change that was not negotiated: quarantine"],
    ]
    assert odd_of(converter, "filter", packet("s"), packet("c")) == [
        ["no answer to recipient"],
        ["no answer is due"],
    ]
    assert odd_of(converter, "mta", HELO, BODY, EOM) == [
        ["the filter has declined this event"],
        ["the answer to hello is still due"],
        [],
    ]
    assert odd_of(
        converter, "filter", packet("p"), packet("h", b"a\0b\0"), packet("z"), packet("a")
    ) == [
        [],
        [],
        ["no filter may say this"],
        [],
    ]
    assert odd_of(converter, "mta", EOM)
    assert odd_of(converter, "filter", packet("O", b"\0" * 12)) == [["no answer to end_of_message"]]


def test_what_cannot_be_read_is_kept_as_it_is() -> None:
    """Unknown letters, bad payloads, lengths that are none, and packets that were only begun."""
    converter = WireConverter("s")
    records = [
        *converter.take("mta", join([offer()]), 1.0),
        *converter.take("mta", join([packet("?", b"x"), packet("C", b"x")]), 1.0),
        *converter.take("filter", agreed(), 1.0),
        *converter.take("filter", join([packet("y", b"x")]), 1.0),
        *converter.take("filter", b"\0\0", 1.0),
        *converter.take("filter", b"\0\0later", 1.0),
        *converter.take("filter", b"more", 1.0),
        *converter.take("mta", b"\0\0\0\2C", 1.0),
        *converter.end(2.0, "mta", "why"),
    ]
    trace = saved(Trace("s", tuple(records)))
    raws = [record["raw"] for record in trace.records if "problem" in record]
    assert len(raws) == 6
    assert (trace.how, trace.reason) == ("mta", "why")
    assert "expected a whole packet, got its beginning" in str(trace.problems)
    assert [one.name for one in trace.exchanges] == ["options", "'?'", "connect"]


def test_quit_ends_a_session_by_word() -> None:
    """Whoever closes the connection then."""
    converter = WireConverter("s")
    list(converter.take("mta", join([offer(), QUIT]), 0.0))
    assert [record["how"] for record in converter.end(0.0, "filter")] == ["quit"]


def test_records_that_make_no_sense_are_left_out_and_told() -> None:
    """One line each; the rest is used."""
    good = [dict(record) for record in Trace.of_steps(watched(tagger(), *WHOLE)[0]).records]
    bad = [
        {"session": "s", "direction": "sideways"},
        {"session": "s"},
        {"session": "s", "direction": "mta", "event": "mail", "fields": []},
        {"session": "s", "direction": "mta", "event": "mail", "raw": 1},
        {"session": "s", "direction": "mta", "event": "mail", "raw": "AAAA"},
        {"session": "s", "direction": "filter", "answer": 1},
        {"session": "s", "direction": "filter", "answer": [1], "changes": [], "time": "x"},
    ]
    trace = Trace("s", (bad[-2], *good[:5], *bad[:-2], bad[-1], *good[5:]), damage=("half a record",))
    assert len(trace.problems) == len(bad) + 1
    assert trace.exchanges[-1].name == "quit"
    assert trace.moments


def test_an_answer_to_nothing_is_passed_over() -> None:
    """A recording may begin in the middle."""
    trace = Trace("x", ({"session": "x", "direction": "filter", "time": 0.0, "event": "mail"},))
    assert (trace.exchanges, trace.problems) == ((), ())


def test_a_session_that_goes_on_after_another_on_the_same_socket_is_open() -> None:
    """QUIT_NC ended the one before it."""
    steps, _ = watched(define_event_handlers({"mail": keep}), *OPENING, QUIT_NC, *OPENING[1:], MAIL)
    last = max(number for number, step in enumerate(steps) if isinstance(step.event, ev.Mail))
    assert Trace.of_steps(steps[: last + 1]).how == "cut"
    assert Trace.of_steps(steps).how != "cut"

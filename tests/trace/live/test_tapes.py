"""Flights and capsules from the tape: the records that steps give, and in memory no more than those."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy import (
    default_event_handler,
    define_event_handlers,
    merge_handlers,
    reject,
    remember,
    send_action,
)
from demyjpy.engine.negotiation import EVENT_NAMES
from demyjpy.engine.tape import Stretch
from demyjpy.registry import Registry
from demyjpy.trace import CapsuleMaker, FlightRecorder, Privacy, Triggers, load, load_capsule
from demyjpy.trace.format.scrubbing import Scrubber
from demyjpy.trace.live.kept_sessions import keep_stretch
from tests.anyfilters import (
    BAD,
    CONNECTION_EVENTS,
    EDITS,
    GOOD,
    MESSAGE_EVENTS,
    OVERRIDES,
    SABOTAGE,
    VERDICTS,
    AnyFilter,
    Notebook,
    filters_of,
    finding_chains,
    several,
)
from tests.engine.harness import (
    ABORT,
    BODY,
    EOM,
    MESSAGE,
    OPENING,
    QUIT,
    QUIT_NC,
    join,
    keep,
    offer,
    packet,
)
from tests.engine.test_hot_path import sessions, setups
from tests.engine.test_tape import play
from tests.examples import share_of
from tests.polite import offered_steps
from tests.strategies import chunks_of
from tests.trace.sessions import WHOLE, tagger

# whose contexts tell another queue id than the MTA did: a tape has no contexts
_LIES = ("no macros", "junk macros")
_SABOTAGE = {name: one for name, one in SABOTAGE.items() if name not in _LIES}
any_of_them = st.one_of(
    several(filters_of(GOOD, EDITS)),
    several(filters_of(GOOD, VERDICTS, EDITS, _SABOTAGE)),
    several(filters_of(GOOD, VERDICTS, EDITS, BAD, _SABOTAGE)),
    several(filters_of(GOOD, VERDICTS, BAD, events=(*CONNECTION_EVENTS, *MESSAGE_EVENTS, *OVERRIDES))),
    finding_chains,
)


def _with_one_end(filters: list[AnyFilter]) -> list[AnyFilter]:
    """Only the first has a handler at the end: who is called with steps takes its step for the last."""
    return [
        AnyFilter(
            {k: v for k, v in one.handlers.items() if not one.number or k != "disconnect"},
            one.number,
            one.kind,
        )
        for one in filters
    ]


watched = any_of_them.map(_with_one_end)

PRIVACIES = {
    "all": Privacy(),
    "redacted": Privacy(redact={"Subject"}, hash_addresses=True, salt=b"x"),
    "headers": Privacy(keep="headers", hash_addresses=True, salt=b"x"),
    "plain headers": Privacy(keep="headers"),
    "envelope": Privacy(keep="envelope"),
    "hashed envelope": Privacy(keep="envelope", hash_addresses=True, salt=b"x"),
}


class _Registry:
    """In place of an `AnyFilter`: this filter, whatever it is."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def registry(self, notebook: Notebook) -> Registry:
        return self._registry


def of(registry: Any) -> list[Any]:
    """A filter for `play`."""
    return [_Registry(registry)]


def records_in(path: Path | None) -> list[dict[str, Any]]:
    """The records of a file, without what time has a say in."""
    lines = [] if path is None else path.read_bytes().splitlines()[1:]
    found = [json.loads(line) for line in lines]
    return [{k: v for k, v in one.items() if k not in ("time", "duration")} for one in found]


def without_changes(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in one.items() if k != "changes"} for one in records]


# ------------------------------------------------------------------------------------ as from steps
@pytest.fixture(scope="module", params=PRIVACIES)
def recorders(request: Any, tmp_path_factory: Any) -> Iterator[tuple[FlightRecorder, FlightRecorder]]:
    """One that reads tapes, and one that is called with steps."""
    quiet = Triggers(errors=False, slower_than=None)
    privacy = PRIVACIES[request.param]
    found = [
        FlightRecorder(tmp_path_factory.mktemp("flight"), privacy=privacy, triggers=quiet, files=10)
        for _ in range(2)
    ]
    yield found[0], found[1]
    for one in found:
        one.close()


@settings(max_examples=84)  # for each of six
@given(watched, offered_steps, sessions(), setups, st.data())
def test_a_flight_from_the_tape_is_that_from_steps(recorders, filters, steps, told, setup, data):
    """But for times and contexts."""
    names = data.draw(st.sets(st.sampled_from(["body", "end_of_message", "mail", "abort"]), max_size=2))
    setup = {"defers": lambda handler: handler.event in names, **setup}
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    share = data.draw(st.sampled_from([0, 2048, 1 << 16]))
    by_tape, by_steps = recorders
    keeps_bodies = by_tape.keeps_bodies or data.draw(st.booleans())
    play(filters, chunks, by_tape.read, share=share, keeps_bodies=keeps_bodies, **setup)
    play(filters, chunks, observer=by_steps, **setup)
    expected = without_changes(records_in(by_steps.dump()))
    assert without_changes(records_in(by_tape.dump())) == expected


def _tell_all(event: Any, ctx: Any) -> Any:
    """As a handler: what is secret is in everything that it queues, keeps and defines."""
    ctx = default_event_handler(event, remember(ctx.set("mine", "secret"), {"more": "secret"}))
    return send_action(
        ctx,
        act.ChangeSender("secret@secret.example", "X=secret"),
        act.Quarantine("secret"),
        act.AddHeader("X-Note", "secret"),
        act.ReplaceBody(b"secret"),
        act.ReplyCode(550, "5.7.1", "secret"),
        "secret",
    )


@pytest.mark.parametrize("defers", [True, False])
@pytest.mark.parametrize("event", ["options", "define_macros", *EVENT_NAMES])
def test_what_is_private_is_kept_of_no_event(event: str, defers: bool, tmp_path: Path) -> None:
    """Nor is it in the file, whatever handler queued it, and on both ways through the engine."""
    privacy = Privacy(keep="envelope", hash_addresses=True)
    by_tape, by_steps = [FlightRecorder(tmp_path / name, privacy=privacy) for name in ("t", "s")]
    scrubber = Scrubber(privacy)
    filters = of(define_event_handlers({"mail": keep, event: _tell_all}))
    chunks = [join([one]) for one in (*WHOLE[:-1], ABORT, packet("U", b"any\0"), QUIT)]
    kept: list[Any] = []

    def read(stretch: Stretch) -> None:
        kept.append(keep_stretch(stretch, scrubber))
        by_tape.read(stretch)

    play(filters, chunks, read, defers=lambda handler: defers)
    play(filters, chunks, observer=by_steps)
    for one in (by_tape, by_steps):
        one.dump()
        one.close()
    files = [path.read_bytes() for path in tmp_path.glob("*/*")]
    assert len(files) > 1
    assert not [data for data in files if b"secret" in data.lower()]
    assert kept
    assert "secret" not in repr(kept).lower()


@pytest.fixture(scope="module")
def directories(tmp_path_factory: Any) -> tuple[Path, Path]:
    return tmp_path_factory.mktemp("tape"), tmp_path_factory.mktemp("steps")


def capsules(maker: CapsuleMaker, directory: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """What the capsules there tell, and their records; the files are gone then."""
    assert maker._writer.wait(60)  # on a busy machine longer than `close` waits
    maker.close()
    found = []
    for path in sorted(
        directory.glob("*.capsule.jsonl"), key=lambda one: int(one.stem[:-8].split("-")[-1])
    ):
        about = json.loads(path.read_bytes().splitlines()[0])["capsule"]
        found.append(({**about, "traceback": None}, records_in(path)))
        path.unlink()
    return found


@settings(max_examples=share_of(500))
@given(watched, offered_steps, sessions(), setups, st.data())
def test_a_capsule_from_the_tape_is_that_from_steps(directories, filters, steps, told, setup, data):
    """But for times, and the contexts of messages that have ended.

    Another session on the same socket has all of the tape in its capsules, and only its own steps.
    """
    told = [one for one in told if one != QUIT_NC]
    names = data.draw(st.sets(st.sampled_from(["body", "end_of_message", "mail", "abort"]), max_size=2))
    setup = {"defers": lambda handler: handler.event in names, **setup}
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    share = data.draw(st.sampled_from([0, 2048, 1 << 16]))
    makers = [CapsuleMaker(one, rate=1000, same=1000) for one in directories]
    play(filters, chunks, makers[0].read, share=share, **setup)
    play(filters, chunks, observer=makers[1], **setup)
    by_tape, by_steps = map(capsules, makers, directories)
    assert [about for about, _ in by_tape] == [about for about, _ in by_steps]
    assert [without_changes(one) for _, one in by_tape] == [without_changes(one) for _, one in by_steps]
    assert all(maker.size == 0 for maker in makers)


# ------------------------------------------------------------------------------------------ flights
def flown(recorder: FlightRecorder, handlers: Any, *packets: Any, **options: Any) -> None:
    """A session whose tape it reads."""
    play(of(handlers), [join([one]) for one in packets], recorder.read, **options)
    recorder.close()  # its thread has written


def fail(event: Any, ctx: Any) -> Any:
    raise ValueError("errorword")


@pytest.mark.parametrize(
    ("triggers", "handlers", "written"),
    [
        ({}, {"mail": fail}, "error"),
        ({}, {"disconnect": fail}, "error"),
        ({"errors": False}, {"mail": fail}, None),
        ({"slower_than": 0.5}, {"mail": keep}, "slow"),
        ({"slower_than": 5.0}, {"mail": keep}, None),
        ({"slower_than": None}, {"mail": keep}, None),
        ({"outcomes": "rejected"}, {"mail": lambda event, ctx: reject(ctx)}, "outcome"),
        ({"outcomes": "accepted"}, {"mail": keep, "end_of_message": keep}, "outcome"),
        ({"outcomes": "rejected"}, {"mail": keep, "end_of_message": keep}, None),
        ({"when": lambda step: type(step.event).__name__ == "Mail"}, {"mail": keep}, "chosen"),
        ({"when": lambda step: False}, {"mail": keep}, None),
        ({"when": lambda step: False}, {"mail": fail}, "error"),
        ({"sample": 1.0}, {"mail": keep}, "sample"),
    ],
)
def test_what_happens_is_found_on_the_tape(
    triggers: dict[str, Any], handlers: Any, written: str | None, tmp_path: Path
) -> None:
    """As in steps."""
    recorder = FlightRecorder(tmp_path, triggers=Triggers(**triggers))
    flown(recorder, define_event_handlers(handlers), *WHOLE)
    assert [path.name.split("-")[1] for path in tmp_path.iterdir()] == ([written] if written else [])


def test_a_function_that_fails_costs_no_flight(tmp_path: Path) -> None:
    """It raises where the tapes of a server are read, which say so in the log."""
    calls: list[Any] = []

    def when(step: Any) -> bool:
        calls.append(step)
        raise LookupError

    recorder = FlightRecorder(tmp_path, triggers=Triggers(when=when))
    assert recorder.keeps_bodies

    def read(stretch: Stretch) -> None:
        with pytest.raises(LookupError):
            recorder.read(stretch)

    play(of(tagger()), [join([one]) for one in WHOLE], read)
    path = recorder.dump()
    assert path is not None
    assert load(path)[0].how == "quit"


def test_a_failure_has_its_contexts_if_all_is_kept(tmp_path: Path) -> None:
    """Those of its stretch; of messages before it there are none."""
    first = define_event_handlers({"end_of_message": lambda event, ctx: ctx.set("number", ctx["count"])})
    second = define_event_handlers(
        {"end_of_message": lambda event, ctx: fail(event, ctx) if ctx["count"] > 1 else ctx}
    )
    counts = itertools.count(1)
    start = define_event_handlers({"end_of_message": lambda event, ctx: ctx.set("count", next(counts))})
    recorder = FlightRecorder(tmp_path)
    chain = merge_handlers(start, first, second)
    flown(
        recorder,
        chain,
        *OPENING,
        *MESSAGE,
        *MESSAGE,
        QUIT,
        defers=lambda one: one.event == "end_of_message",
    )
    (path,) = tmp_path.iterdir()
    records = map(json.loads, path.read_bytes().splitlines())
    changes = [one.get("changes", {}).get("set", {}) for one in records]
    assert [one["number"] for one in changes if "number" in one] == [2]


def test_memory_and_one_session_are_bounded(tmp_path: Path) -> None:
    """In bytes; one that is too long is cut, and says so."""
    recorder = FlightRecorder(tmp_path, memory=40_000)
    for _ in range(30):
        flown(recorder, define_event_handlers({"body": keep}), *WHOLE)
        assert recorder.size <= 40_000
    path = recorder.dump()
    assert path is not None
    assert 3 < len(load(path)) < 30
    assert recorder.size == 0
    said = (*WHOLE[:-2], *[packet("B", b"x" * 1000)] * 30, EOM, QUIT)
    flown(recorder, define_event_handlers({"body": keep}), *said, share=0)
    path = recorder.dump("again")
    assert path is not None
    (trace,) = load(path)
    assert (trace.how, trace.reason) == ("cut", "it was too long to be kept")


def test_an_open_session_is_written_as_far_as_its_tape_was_cut(tmp_path: Path) -> None:
    """What comes later comes with its next cut."""
    recorder = FlightRecorder(tmp_path)
    stretches: list[Stretch] = []
    play(of(tagger()), [join([one]) for one in (*WHOLE[:-1], *WHOLE[3:])], stretches.append)
    for stretch in stretches[:-1]:
        recorder.read(stretch)
    path = recorder.dump()
    assert path is not None
    (trace,) = load(path)
    assert (trace.how, len(trace.messages)) == ("cut", 2)
    recorder.read(stretches[-1])
    path = recorder.dump()
    assert path is not None
    assert load(path)[0].how == "quit"


def test_what_cannot_be_played_again_is_told_and_the_rest_is_written(tmp_path: Path) -> None:
    """A tape on which others have returned than those that are asked."""
    recorder = FlightRecorder(tmp_path)
    stretches: list[Stretch] = []
    play(of(tagger()), [join([one]) for one in WHOLE], stretches.append)
    for stretch in stretches:
        others = tuple((None, result, took) for _, result, took in stretch.outcomes)
        recorder.read(stretch.with_outcomes(others))
    flown(recorder, tagger(), *WHOLE)
    path = recorder.dump()
    assert path is not None
    ends = [json.loads(line) for line in path.read_text().splitlines() if '"direction":"end"' in line]
    assert [one["how"] for one in ends] == ["cut", "quit"]
    assert ends[0]["reason"] == "it cannot be played again (LocalProtocolError)"


def test_after_quit_nc_there_is_another_session(tmp_path: Path) -> None:
    """On the same socket; each has its end (protocol file, section 8.7)."""
    recorder = FlightRecorder(tmp_path)
    flown(recorder, tagger(), *WHOLE[:-1], QUIT_NC, *WHOLE[1:])
    path = recorder.dump()
    assert path is not None
    ends = [json.loads(line) for line in path.read_text().splitlines() if '"direction":"end"' in line]
    assert [one["how"] for one in ends] == ["mta", "quit"]


# ----------------------------------------------------------------------------------------- capsules
def test_the_contexts_of_the_present_message_are_in_a_capsule(tmp_path: Path) -> None:
    """Those of messages before it are not."""
    handlers = {
        "recipient": lambda event, ctx: ctx.set("rcpt", 1),
        "header": fail,
        "end_of_message": keep,
    }
    maker = CapsuleMaker(tmp_path)
    play(of(define_event_handlers(handlers)), [join([one]) for one in WHOLE], maker.read)
    maker.close()
    (path,) = tmp_path.iterdir()
    found = load_capsule(path)
    assert (found.event, found.ctx["rcpt"], found.trace.exchanges[-1].name) == ("header", 1, "header")
    assert '"changes":{"set":{"rcpt":1}}' in path.read_text()


def test_a_capsule_of_a_long_session_is_cut(tmp_path: Path) -> None:
    """Its beginning stays, and it says so."""
    maker = CapsuleMaker(tmp_path, memory=20_000)
    handlers = {"body": keep, "end_of_message": fail}
    said = (*WHOLE[:-2], *[BODY] * 3, *[packet("B", b"x" * 3000)] * 9, EOM, QUIT)
    play(of(define_event_handlers(handlers)), [join([one]) for one in said], maker.read, share=0)
    maker.close()
    (path,) = tmp_path.iterdir()
    trace = load_capsule(path).trace
    assert (trace.how, trace.reason) == ("cut", "it was too long to be kept")
    assert maker.size == 0


def test_limits_hold_for_what_is_read_from_tapes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of capsules and of flights; what is left out is counted."""
    maker, recorder = CapsuleMaker(tmp_path / "c", same=1), FlightRecorder(tmp_path / "f", rate=1)
    for _ in range(3):
        play(of(define_event_handlers({"mail": fail})), [join([one]) for one in WHOLE], maker.read)
        flown(recorder, define_event_handlers({"mail": fail}), *WHOLE)
    maker.close()
    assert [len([*(tmp_path / name).iterdir()]) for name in "cf"] == [1, 1]
    assert caplog.text.count("left out: 1") == 2
    assert recorder.size == 0

"""A shadow: the candidate runs on the same events, is never felt, and differences are told."""

import queue
import threading
from typing import Any

import pytest

from demyjpy import (
    ChangeHeader,
    HandlerError,
    InsertHeader,
    Mail,
    Reject,
    ReplaceBody,
    TemporaryFailure,
    accept,
    define_event_handlers,
    merge_handlers,
    reject,
    running,
    scoped,
    send_action,
    skip,
    with_handlers,
)
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.handlers import watch_envelope
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.server import Server
from demyjpy.trace import FlightRecorder, load, shadow
from demyjpy.trace.replay.comparing import MessageDifference
from demyjpy.trace.rollout import shadow as shadowing
from tests.drivers.peer import Peer
from tests.engine.harness import (
    ABORT,
    EOM,
    MAIL,
    OPENING,
    QUIT,
    QUIT_NC,
    RCPT,
    Session,
    keep,
    macros,
)
from tests.integration.ports import wait_until
from tests.trace.sessions import tagger

LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()
PATIENCE = 20.0


class Told:
    """What was reported; a last session, whose difference is known, says that all before is through."""

    def __init__(self) -> None:
        self.found: queue.SimpleQueue[MessageDifference] = queue.SimpleQueue()

    def __call__(self, difference: MessageDifference) -> None:
        self.found.put(difference)

    def next(self) -> MessageDifference:
        return self.found.get(timeout=PATIENCE)


def differing(handlers: Any, told: Told, *scripts: Any) -> list[MessageDifference]:
    """Play these, then one that differs for certain: what came before that."""
    for script in (*scripts, session().mail("last@example.org").rcpt("b@c").message()):
        run(handlers, script, mta=Postfix())
    found = []
    while (one := told.next()).old.sender != "last@example.org":
        found.append(one)
    return found


def last_refused(handlers: Any) -> Any:
    """The same filter, which refuses the last message."""
    last = define_event_handlers()

    @last.mail
    def refuse(event: Any, ctx: Any) -> Any:
        return reject(ctx) if event.sender == "last@example.org" else ctx

    return merge_handlers(handlers, last)


def test_the_live_filter_answers_and_differences_are_told() -> None:
    """What both make of a message; nothing where that is the same."""
    told = Told()
    both = shadow(tagger("live"), last_refused(tagger("other")), report=told)
    result = run(both, LETTER, mta=Postfix())
    assert result.actions == run(tagger("live"), LETTER, mta=Postfix()).actions
    (one,) = [told.next()]
    assert one.kinds == ("headers",)
    assert (one.old.sender, one.new.sender) == ("ann@example.org", "ann@example.org")
    same = Told()
    bad = session().mail("a@b").rcpt("bad@b").rcpt("c@d").message()
    again = shadow(tagger("live"), last_refused(tagger("live")), report=same)
    assert differing(again, same, LETTER, bad, session().mail("given@up").drop()) == []


def test_a_candidate_that_always_fails_is_not_felt() -> None:
    """Its failures are differences; async ones, too."""

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError("candidate")

    async def fail_late(event: Any, ctx: Any) -> Any:
        raise ValueError("candidate")

    told = Told()
    events = dict.fromkeys(("connect", "header", "abort", "disconnect"), fail)
    broken = define_event_handlers({**events, "mail": fail_late})
    result = run(shadow(tagger(), broken, report=told), LETTER, mta=Postfix())
    assert result.is_delivered
    assert result.troubles == ()
    assert (told.next().new.outcome) == "tempfailed"


def test_a_candidate_that_hangs_is_not_felt() -> None:
    """The live filter has answered long before."""
    released = threading.Event()

    def hang(event: Any, ctx: Any) -> Any:
        released.wait(PATIENCE)
        return reject(ctx)

    told = Told()
    result = run(
        shadow(tagger(), define_event_handlers({"mail": hang}), report=told), LETTER, mta=Postfix()
    )
    assert result.is_delivered
    assert told.found.empty()
    released.set()
    assert told.next().new.verdict == Reject()


def test_verdicts_of_several_live_filters_are_one() -> None:
    """The first refusal, of an async one; a candidate that would not refuse is told."""

    async def refuse(event: Any, ctx: Any) -> Any:
        return reject(ctx)

    mild = define_event_handlers({"end_of_message": lambda event, ctx: accept(ctx), "mail": keep})
    strict = define_event_handlers({"end_of_message": refuse})
    told = Told()
    both = shadow(merge_handlers(mild, strict), merge_handlers(mild), report=told)
    assert run(both, LETTER, mta=Postfix()).verdict == Reject()
    one = told.next()
    assert (one.old.outcome, one.new.outcome) == ("rejected", "accepted")


def test_a_live_filter_that_fails_is_not_compared() -> None:
    """Nobody knows what it was answered with."""

    def fail(event: Any, ctx: Any) -> Any:
        if event.sender == "ann@example.org":
            raise ValueError("live")
        return ctx

    told = Told()
    both = shadow(define_event_handlers({"mail": fail}), last_refused(tagger()), report=told)
    opened = Session.open(both)
    ann = (ord("M"), b"<ann@example.org>\0")
    opened.say(*OPENING, macros("M", i="Q"), ann, ABORT, QUIT)
    opened.hang_up()
    assert differing(both, told) == []


def test_a_late_answer_is_that_of_no_other_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live handler that is late has failed, whatever it answers in the next message, or after all."""
    stages: list[Any] = []

    class Noted(shadowing._Stage):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            stages.append(self)

    monkeypatch.setattr(shadowing, "_Stage", Noted)
    gates = {"ann@example.org": threading.Event(), "bob@example.org": threading.Event()}
    begun: queue.SimpleQueue[str] = queue.SimpleQueue()

    def refuse_late(event: Any, ctx: Any) -> Any:
        if event.sender not in gates:
            return ctx
        begun.put(event.sender)
        gates[event.sender].wait(PATIENCE)
        return reject(ctx)

    live, told = define_event_handlers(), Told()
    live.add("mail", refuse_late, blocking=True)
    both = shadow(live, last_refused(define_event_handlers({"mail": keep})), report=told)
    with running(both, handler_timeout=0.5) as address, Peer(address) as peer:
        peer.begin().say(Mail("ann@example.org"))
        assert begun.get(timeout=PATIENCE) == "ann@example.org"
        assert peer.hear() == TemporaryFailure()
        peer.say(Mail("bob@example.org"))
        assert begun.get(timeout=PATIENCE) == "bob@example.org"
        gates["ann@example.org"].set()
        assert peer.hear() == TemporaryFailure()
        peer.vanish()
    gates["bob@example.org"].set()
    handlers = [one for one in threading.enumerate() if one.name.startswith("demyjpy-handler")]
    for one in handlers:
        one.join(PATIENCE)
    assert differing(both, told) == []
    assert stages[0]._open == {}


def test_live_handlers_that_return_nonsense_are_the_engines(caplog: pytest.LogCaptureFixture) -> None:
    """As without a shadow."""
    told = Told()
    both = shadow(define_event_handlers({"mail": lambda event, ctx: 5}), tagger(), report=told)
    assert len(run(both, LETTER, mta=Postfix()).troubles) == 1


def test_a_candidate_that_cannot_begin_is_told_once_a_message() -> None:
    """It never answers: the message is as if given up."""
    needy = define_event_handlers({"mail": keep}, actions={"add_header"})
    needy.options(lambda event, ctx: 1 / 0)
    told = Told()
    assert run(shadow(tagger(), needy, report=told), LETTER, mta=Postfix()).is_delivered
    assert told.next().new.outcome == "undecided"


def test_a_report_that_fails_leaves_the_session_out(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing else."""
    told = Told()

    def fail_once(found: MessageDifference) -> None:
        told(found)
        if found.old.sender == "ann@example.org":
            raise ValueError("report")

    both = shadow(tagger("live"), last_refused(tagger("other")), report=fail_once)
    assert len(differing(both, told, LETTER)) == 1
    wait_until(lambda: "is left out" in caplog.text, "the log")


def test_a_difference_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing else is chosen; under a real server."""
    with running(shadow(tagger("live"), tagger("other"))) as address:
        Server(address).run(LETTER, mta=Postfix())
    wait_until(lambda: "with the candidate (headers)" in caplog.text, "the log")


def test_what_the_thread_cannot_keep_up_with_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once told; later sessions are compared again."""
    released = threading.Event()

    def hang(event: Any, ctx: Any) -> Any:
        released.wait(PATIENCE)
        return ctx

    told = Told()
    slow = merge_handlers(tagger("other"), define_event_handlers({"connect": hang}))
    both = shadow(tagger("live"), last_refused(slow), report=told)
    monkeypatch.setattr(shadowing, "_MOST", 4)
    assert run(both, LETTER, mta=Postfix()).is_delivered
    assert caplog.text.count("does not keep up") == 1
    monkeypatch.setattr(shadowing, "_MOST", 20_000)
    released.set()
    assert differing(both, told) == []


def test_sessions_that_are_left_out_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come while the candidate hangs; of one that had begun, the end is kept."""
    released = threading.Event()

    def begin(ctx: Any) -> Any:
        released.wait(PATIENCE)
        return with_handlers(ctx, tagger())

    monkeypatch.setattr(shadowing, "_MOST", 4)
    stage = shadowing._Stage(begin, "tempfail", Told(), outside=False)
    offered, data = (ord("O"), b""), (ord("T"), b"")

    def put(session: str, *packets: Any) -> None:
        for packet in packets:
            stage._put(shadowing._Said(session, packet, 0.0))

    put("begun", offered)
    for number in range(50):
        put(str(number), offered, data, None)
    assert stage._writer.waiting == 4
    put("begun", data, None)
    assert stage._writer.waiting == 5
    assert stage._lost == {}
    released.set()
    assert stage._writer.wait(PATIENCE)
    put("short", offered, None)
    assert stage._writer.wait(PATIENCE)
    assert stage._lost == {}


def test_a_session_that_began_unseen_is_passed_over() -> None:
    """There is nothing to compare it with."""
    stage = shadowing._Stage(as_on_connect(tagger()), "tempfail", Told(), outside=False)
    stage._play(shadowing._Said("unknown", (ord("T"), b""), 0.0))


# --------------------------------------------------------------------------------------- chains
def editing(word: str, **options: Any) -> Any:
    """A filter that changes the subject and the body."""
    handlers = define_event_handlers(actions={"change_header", "change_body"}, **options)

    @handlers.end_of_message
    def edit(event: Any, ctx: Any) -> Any:
        return send_action(ctx, ChangeHeader(1, "Subject", word), ReplaceBody(word.encode()))

    return handlers


def reading(said: list[Any]) -> Any:
    """A filter that notes which subject and body it sees."""
    handlers = define_event_handlers({"connect": keep, "abort": lambda e, c: note("abort", c)})

    def note(what: Any, ctx: Any) -> Any:
        said.append(what)
        return ctx

    handlers.header(lambda e, c: note(e.value, c) if e.name == "Subject" else c)
    handlers.body(lambda e, c: note(bytes(e.data), c))
    return handlers


def test_the_candidate_sees_the_message_as_it_came() -> None:
    """Whatever the live filters make of it: it stands in the place of all of them."""
    seen: list[Any] = []
    told = Told()
    live = merge_handlers(editing("one"), editing("two"), reading([]))
    both = shadow(live, reading(seen), report=told, outside=True)
    result = run(both, LETTER, mta=Postfix())
    plain = run(live, LETTER, mta=Postfix())
    assert result.actions == plain.actions
    assert result.troubles == ()
    assert told.next().kinds == ("headers", "body")
    sent = run(reading(alone := []), LETTER, mta=Postfix())
    assert sent.is_delivered
    assert seen[: len(alone)] == alone


def test_the_live_filters_answers_are_those_without_a_shadow() -> None:
    """Also of one filter alone, whose edits go out as they are, and of several that refuse or accept."""

    def refuse(event: Any, ctx: Any) -> Any:
        return reject(ctx)

    def insert(event: Any, ctx: Any) -> Any:
        return send_action(ctx, InsertHeader(5, "X-A", "b"))

    alone = define_event_handlers({"end_of_message": insert}, actions={"add_header"})
    early = define_event_handlers({"header": refuse})
    reader = define_event_handlers({"body": lambda event, ctx: skip(ctx)})
    wide = define_event_handlers(dict.fromkeys(("connect", "unknown", "data", "body", "header"), keep))
    for live in (alone, early, reader, merge_handlers(reader, early), merge_handlers(tagger(), reader)):
        plain, both = (run(one, LETTER, mta=Postfix()) for one in (live, shadow(live, wide)))
        assert plain.troubles == both.troubles == ()
        assert (plain.actions, plain.verdict) == (both.actions, both.verdict)


def test_what_the_live_filter_accepts_early_is_not_compared() -> None:
    """What would have followed, and would have been the candidate's, has not come."""
    told = Told()
    trusting = define_event_handlers({"mail": lambda event, ctx: accept(ctx)})

    def refuse_last(event: Any, ctx: Any) -> Any:
        return reject(ctx) if event.sender == "last@example.org" else ctx

    candidate = merge_handlers(define_event_handlers({"mail": refuse_last}), tagger("other"))
    assert differing(shadow(trusting, candidate, report=told), told, LETTER) == []


def test_after_quit_nc_the_next_session_is_compared(caplog: pytest.LogCaptureFixture) -> None:
    """On the same connection, without another negotiation (protocol file, section 8.7)."""
    told = Told()
    both = shadow(tagger("live"), tagger("other"), report=told)
    opened = Session.open(both)
    opened.say(*OPENING, MAIL, RCPT, EOM, QUIT_NC, *OPENING[1:], MAIL, RCPT, EOM, QUIT)
    opened.hang_up()
    assert [told.next().kinds, told.next().kinds] == [("headers",)] * 2


def test_a_last_piece_of_the_body_may_come_with_the_end() -> None:
    """The candidate gets both, and gives one answer to both."""
    told = Told()
    body = define_event_handlers({"body": keep})
    both = shadow(
        merge_handlers(tagger("live"), body), merge_handlers(tagger("other"), body), report=told
    )
    opened = Session.open(both)
    opened.say(*OPENING, MAIL, RCPT, (ord("E"), b"last piece"), QUIT)
    opened.hang_up()
    one = told.next()
    assert (one.kinds, one.old.outcome, one.new.outcome) == (("headers",), "accepted", "accepted")


def test_a_shadow_cannot_be_merged() -> None:
    """The candidate would be compared with what the others do, too. It can be scoped and chosen."""
    both = shadow(tagger("live"), tagger("other"))
    with pytest.raises(HandlerError, match="expected filters to merge, got one that is observed"):
        merge_handlers(tagger(), both)
    assert merge_handlers(both) is both
    assert scoped("mine", both).parts[0].scope == ("mine",)


def test_macros_are_those_of_both() -> None:
    """A list of the candidate's has the live filter's, too, and what that relies on."""
    wants = define_event_handlers({"mail": keep}, macros={"mail": {"{auth_type}"}})
    both = shadow(define_event_handlers({"mail": keep}), wants)
    assert {"{auth_type}", "{auth_authen}", "i"} <= set(both.macros["mail"])
    assert shadow(wants, define_event_handlers({"mail": keep})).macros == wants.macros
    grown = define_event_handlers({"mail": keep})
    shadow(grown, wants).add("data", keep)
    assert "data" in grown


def test_others_watch_a_shadowed_filter_as_any(tmp_path: Any) -> None:
    """An observer, a tape, and who wants to see the envelope."""
    told = Told()
    live = define_event_handlers({"end_of_message": keep})
    both = watch_envelope(shadow(live, last_refused(tagger()), report=told))
    assert both.observer is not None
    assert {"mail", "recipient"} <= set(both)
    assert len(both) == len(list(both))
    assert both["end_of_message"].event == "end_of_message"
    assert (both.leaves, both.size) == (both.parts, len(both))
    steps: list[Any] = []
    opened = Session.open(both, observer=steps.append)
    opened.say(*OPENING, MAIL, MAIL, RCPT, EOM, QUIT)
    opened.hang_up()
    assert told.next().kinds == ("headers",)
    assert [type(one.event).__name__ for one in steps if one.sent] == [
        "Options",
        "Connect",
        "Hello",
        "EndOfMessage",
    ]
    recorder = FlightRecorder(tmp_path)
    with running(both, observer=recorder) as address:
        Server(address).run(LETTER, mta=Postfix())
    assert told.next().kinds == ("headers",)
    path = recorder.dump()
    assert path is not None
    assert len(load(path)[0].messages) == 1

"""The flight recorder: sessions in memory, written out when something happens; mail stays private."""

import json
import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from demyjpy import actions as act
from demyjpy import add_header, define_event_handlers, quarantine, reject, send_action
from demyjpy.trace import FlightRecorder, Privacy, Triggers, load
from demyjpy.trace.live.flight import SIGNAL
from tests.cli.servers import PATIENCE, program, read_until
from tests.drivers.peer import Peer
from tests.engine.harness import (
    EOM,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    RCPT,
    UNKNOWN,
    Session,
    keep,
    macros,
    packet,
)
from tests.integration.ports import wait_until
from tests.trace.format.test_records import VALIDATOR
from tests.trace.sessions import ROOT, WHOLE, tagger

Run = Callable[..., tuple[int, str, str]]


def fly(recorder: Any, handlers: Any, *packets: Any, **setup: Any) -> None:
    """A session that this recorder watches."""
    opened = Session.open(handlers, observer=recorder, **setup)
    opened.say(*packets)
    opened.hang_up()
    if isinstance(recorder, FlightRecorder):
        recorder.close()  # its thread has written


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl"))


def fail(event: Any, ctx: Any) -> Any:
    raise ValueError("private@example.org")


def test_nothing_is_written_until_something_happens(tmp_path: Path) -> None:
    """A handler that fails has its session written: whole, for its owner only."""
    directory = tmp_path / "flight"
    recorder = FlightRecorder(directory)
    for _ in range(5):
        fly(recorder, tagger(), *WHOLE)
    assert files(directory) == []
    fly(recorder, {"mail": fail}, *OPENING, MAIL, QUIT)
    (path,) = files(directory)
    assert "-error-" in path.name
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(directory.stat().st_mode)) == (0o600, 0o700)
    (trace,) = load(path)
    assert (trace.how, trace.messages[0].outcome) == ("quit", "tempfailed")
    assert trace.at("mail").errors == ("ValueError: private@example.org",)


@pytest.mark.parametrize(
    ("triggers", "written"),
    [
        ({"slower_than": 0.5}, "slow"),
        ({"slower_than": 5.0}, None),
        ({"slower_than": None}, None),
        ({"outcomes": "rejected"}, "outcome"),
        ({"outcomes": {"accepted"}}, None),
        ({"when": lambda step: step.handler is not None}, "chosen"),
        ({"when": lambda step: False}, None),
        ({"sample": 1.0}, "sample"),
        ({"sample": 0.0}, None),
    ],
)
def test_what_happens_is_chosen(triggers: dict[str, Any], written: str | None, tmp_path: Path) -> None:
    """Slowness, an outcome, a function, chance."""
    clock = iter(range(1000))
    recorder = FlightRecorder(tmp_path, triggers=Triggers(**triggers))
    handlers = {"mail": lambda event, ctx: reject(ctx)}
    fly(recorder, handlers, *OPENING, MAIL, QUIT, clock=lambda: float(next(clock)))
    assert [path.name.split("-")[1] for path in files(tmp_path)] == ([written] if written else [])


def test_outcomes_are_those_of_messages(tmp_path: Path) -> None:
    """Accepting a recipient is none; holding a mail at its end is."""
    held = define_event_handlers({"recipient": keep}, actions={"quarantine"})
    held.end_of_message(lambda event, ctx: quarantine(ctx, "odd"))
    fly(FlightRecorder(tmp_path, triggers=Triggers(outcomes=["quarantined"])), held, *WHOLE)
    assert len(files(tmp_path)) == 1
    for bad in ({"outcomes": "nonsense"}, {"sample": 2.0}):
        with pytest.raises(ValueError, match="must be"):
            Triggers(**bad)


def test_memory_is_bounded(tmp_path: Path) -> None:
    """In sessions, in bytes, and for one session; what does not fit is cut, and says so."""
    few = FlightRecorder(tmp_path / "few", sessions=3)
    for _ in range(10):
        fly(few, tagger(), *WHOLE)
    path = few.dump()
    assert path is not None
    assert len(load(path)) == 3
    small = FlightRecorder(tmp_path / "small", memory=40_000)
    for _ in range(30):
        fly(small, {"body": keep}, *OPENING, MAIL, *[packet("B", b"x" * 1000)] * 3, EOM, QUIT)
        assert small.size <= 40_000
    path = small.dump()
    assert path is not None
    assert 3 < len(load(path)) < 15
    assert small.size == 0
    fly(small, {"body": keep}, *OPENING, MAIL, *[packet("B", b"x" * 1000)] * 30, EOM, QUIT)
    path = small.dump("again")
    assert path is not None
    (trace,) = load(path)
    assert (trace.how, trace.reason) == ("cut", "it was too long to be kept")


def test_nothing_in_memory_is_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was written out is forgotten: asked once more, it is a line in the log."""
    caplog.set_level("INFO", "demyjpy")
    recorder = FlightRecorder(tmp_path)
    fly(recorder, tagger(), *WHOLE)
    assert recorder.dump() is not None
    assert recorder.dump() is None
    assert len(files(tmp_path)) == 1
    assert caplog.messages[-1] == "asked: nothing to write: no session is in memory"


def test_open_sessions_cannot_fill_the_memory(tmp_path: Path) -> None:
    """What comes when it is full is not kept."""
    recorder = FlightRecorder(tmp_path, memory=8_000)
    steps: list[Any] = []
    fly(steps.append, tagger(), *WHOLE)
    for number in range(50):
        for step in steps[:-1]:
            recorder(evolve(step, session=f"s{number}"))
    assert recorder.size <= 8_000


def test_the_disk_is_bounded(tmp_path: Path) -> None:
    """The oldest files go: those over the size, and those over the age."""
    recorder = FlightRecorder(tmp_path, disk=20_000, days=1.0)
    old = tmp_path / "20200101T000000Z-error-x.jsonl"
    old.write_text("{}\n")
    os.utime(old, (0, 0))
    big = tmp_path / "20300101T000000Z-error-x.jsonl"
    big.write_bytes(b"x" * 19_000)
    fly(recorder, {"mail": fail, "body": keep}, *WHOLE)
    assert not old.exists()
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 20_000


def test_a_disk_that_fails_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The mail goes on; when it is well again, so is the recorder."""
    directory = tmp_path / "flight"
    recorder = FlightRecorder(directory)
    directory.rmdir()
    for _ in range(3):
        fly(recorder, {"mail": fail}, *WHOLE)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "the mail goes on" in caplog.text
    directory.mkdir()
    fly(recorder, {"mail": fail}, *WHOLE)
    assert len(files(directory)) == 1


# ----------------------------------------------------------------------------------- privacy
SECRETS = ("alice", "bob@", "hello again", "text", "carol", "newbody", "Q1")


def edits() -> Any:
    handlers = define_event_handlers(
        {
            **dict.fromkeys(("connect", "recipient", "header"), keep),
            "unknown": lambda event, ctx: reject(ctx, "5.1.1", "no alice"),
        },
        actions={"add_header", "change_body", "add_recipient", "delete_recipient", "change_sender"},
    )

    @handlers.body
    def body(event: Any, ctx: Any) -> Any:
        return ctx.set("seen", event.data)

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        ctx = add_header(ctx, "Subject", "hello again")
        return send_action(
            ctx,
            act.ReplaceBody(b"newbody"),
            act.AddRecipient("carol"),
            act.DeleteRecipient("bob@example.org"),
            act.ChangeSender("", "RET=HDRS"),
        )

    return handlers


def kept(privacy: Privacy, tmp_path: Path, handlers: Any = None) -> str:
    """What stands in the file of a session with an error."""
    recorder = FlightRecorder(tmp_path, privacy=privacy)
    who = macros("M", i="Q1", mail_addr="alice@example.org", auth_authen="alice")
    mail = packet("M", b"<alice@example.org>\0AUTH=<alice>\0")
    chosen = edits() if handlers is None else handlers
    macro, subject = packet("D", b"M{auth_authen}\0"), packet("L", b"Subject\0 hello again\0")
    said = (*OPENING, UNKNOWN, macro, who, mail, RCPT, subject, *MESSAGE[4:], QUIT)
    fly(recorder, chosen, *said)
    path = recorder.dump()
    assert path is not None
    text = path.read_text()
    for line in text.splitlines():
        VALIDATOR.validate(json.loads(line))
    (trace,) = load(path)
    assert trace.messages[0].outcome == "accepted"
    return text


def test_all_is_kept_where_that_is_chosen(tmp_path: Path) -> None:
    """It is the default of the class."""
    text = kept(Privacy(), tmp_path)
    assert all(secret in text for secret in SECRETS)
    assert '"changes"' in text


def test_of_headers_bodies_are_left_out(tmp_path: Path) -> None:
    """And contexts, which may hold them; how much is told."""
    text = kept(Privacy(keep="headers", redact={"X-Other"}), tmp_path)
    assert [secret for secret in SECRETS if secret not in text] == ["text", "newbody"]
    assert '"changes"' not in text
    assert '"left_out":6' in text


def test_of_the_envelope_what_is_no_action_is_left_out():
    """It may be any text."""
    record = {"event": "mail", "actions": [{"action": "?", "text": "a mail"}]}
    assert Privacy(keep="envelope").of(record)["actions"] == [{"action": "?", "text": "(redacted)"}]


def test_of_the_envelope_header_values_are_left_out(tmp_path: Path) -> None:
    """Their names stay."""
    text = kept(Privacy(keep="envelope"), tmp_path)
    assert [secret for secret in SECRETS if secret not in text] == ["hello again", "text", "newbody"]
    assert "Subject" in text


def test_headers_are_redacted_by_name(tmp_path: Path) -> None:
    """In any case, and in what the filter says."""
    text = kept(Privacy(redact={"subject"}), tmp_path)
    assert [secret for secret in SECRETS if secret not in text] == ["hello again"]


def test_addresses_are_hashed(tmp_path: Path) -> None:
    """Equal ones alike, each part by itself; the null sender stays, and a salt makes them others."""
    text = kept(Privacy(keep="envelope", hash_addresses=True, salt=b"a"), tmp_path)
    for secret in ("alice", "bob", "carol", "example.org", "AUTH", "no alice"):
        assert secret not in text.replace("client.example", "")
    mails = [json.loads(line) for line in text.splitlines() if '"event":"mail","fields"' in line]
    hashed = mails[0]["fields"]["sender"]
    assert text.count(hashed) == 2
    assert len(hashed) == 25
    assert '"address":""' in text
    assert hashed not in kept(Privacy(keep="envelope", hash_addresses=True, salt=b"b"), tmp_path / "b")


def test_errors_are_told_without_their_text(tmp_path: Path) -> None:
    """It may hold anything."""
    recorder = FlightRecorder(tmp_path, privacy=Privacy(keep="headers"))
    fly(recorder, {"mail": fail}, *WHOLE)
    assert "private@example.org" not in files(tmp_path)[0].read_text()


def test_a_privacy_that_is_none_is_refused() -> None:
    """One of three."""
    with pytest.raises(ValueError, match="must be in"):
        Privacy(keep="nothing")


# ------------------------------------------------------------------------------- the program
def test_a_signal_has_all_written(run: Run, mail: Path, tmp_path: Path) -> None:
    """Also sessions that are still open; the program goes on."""
    directory, address = tmp_path / "flight", f"unix:{tmp_path}/s"
    options = ("--listen", address, "--flight", str(directory), "--flight-hash")
    with program("run", "--allow-root", f"{ROOT}/samples/bytecount.py", *options) as started:
        read_until(started, "INPUT_MAIL_FILTER")
        assert run("send", mail, "--to", address)[0] == 0
        with Peer(address) as peer:
            peer.negotiate()
            started.send_signal(SIGNAL)
            wait_until(lambda: bool(files(directory) and load(files(directory)[0])), "a file")
        assert run("send", mail, "--to", address)[0] == 0
    traces = load(files(directory)[0])
    assert [trace.how for trace in traces] == ["quit", "cut"]
    assert "@" in (traces[0].messages[0].sender or "")  # hashed, and seen although no handler wants it
    assert "ann@example.org" not in files(directory)[0].read_text()


def test_no_signal_is_handled_outside_of_the_main_thread(tmp_path: Path) -> None:
    """As with the others."""
    recorder = FlightRecorder(tmp_path)
    fly(recorder, tagger(), *WHOLE)
    before = signal.getsignal(SIGNAL)
    seen: list[Any] = []

    def obey() -> None:
        with recorder.obeying_signal():
            seen.append(signal.getsignal(SIGNAL))

    thread = threading.Thread(target=obey)
    thread.start()
    thread.join(PATIENCE)
    assert seen == [before]
    with recorder.obeying_signal():
        os.kill(os.getpid(), SIGNAL)
        wait_until(lambda: bool(files(tmp_path)), "a file")
    assert signal.getsignal(SIGNAL) == before

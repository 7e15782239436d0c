"""Crash capsules: a failure in one file, and a test made of it that fails the same way."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from demyjpy import define_event_handlers
from demyjpy.cli.commands.capsule import code_of
from demyjpy.cli.loading import Wanted
from demyjpy.testing import Postfix, session
from demyjpy.testing import run as play
from demyjpy.trace import CapsuleMaker, TraceError, load, load_capsule
from tests.cli.servers import program, read_until
from tests.engine.harness import (
    ABORT,
    BODY,
    EOM,
    HEADER,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    RCPT,
    UNKNOWN,
    Session,
    macros,
    packet,
)
from tests.trace.sessions import ROOT, WHOLE, tagger

Run = Callable[..., tuple[int, str, str]]

FILTER = """
    from demyjpy import define_event_handlers, add_header

    handlers = define_event_handlers(actions={"add_header"}, state={"subject": None})

    @handlers.header
    def note(event, ctx):
        if event.name == "X-Bad":
            raise ValueError(f"bad {event.value}")
        return ctx.set("subject", event.value) if event.name == "Subject" else ctx

    @handlers.end_of_message
    def end(event, ctx):
        return add_header(ctx, "X-Length", str(len(ctx["subject"])))
"""


@pytest.fixture
def filter_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / f"failing_{tmp_path.name.replace('-', '_')}.py"
    path.write_text(dedent(FILTER))
    return path


def capsules_of(directory: Path, handlers: Any, *packets: Any) -> list[Path]:
    """A session that is watched; its capsules."""
    maker = CapsuleMaker(directory)
    opened = Session.open(handlers, observer=maker)
    opened.say(*packets)
    opened.hang_up()
    maker.close()  # its thread has written
    return sorted(directory.glob("*.capsule.jsonl"))


def loaded(path: Path) -> Any:
    namespace: dict[str, Any] = {"__name__": path.stem}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    return namespace["handlers"]


def outcome_of(path: Path) -> "subprocess.CompletedProcess[str]":
    """What pytest says to a test."""
    options = ("-q", "-n", "0", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"))
    command = [sys.executable, "-m", "pytest", *options, str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def test_a_failure_is_a_file_with_all_about_it(tmp_path: Path, filter_path: Path) -> None:
    """Event, handler, error, traceback, context, queue id, versions; and the session up to it."""
    bad = packet("L", b"X-Bad\0thing\0")
    (path,) = capsules_of(
        tmp_path / "c", loaded(filter_path), *OPENING, macros("M", i="Q1"), MAIL, HEADER, bad, QUIT
    )
    found = load_capsule(path)
    assert (found.event, found.error, found.text) == ("header", "ValueError", "bad thing")
    assert found.handler.endswith(".note")
    assert (found.file, found.queue_id) == (str(filter_path), "Q1")
    assert "Traceback" in found.traceback
    assert found.ctx["subject"] == "hello"
    assert set(found.versions) >= {"python", "system", "attrs", "pyrsistent"}
    assert found.trace.exchanges[-1].name == "header"
    assert found.trace.how == "cut"
    assert len(load(path)) == 1


def test_nothing_is_written_where_nothing_fails(tmp_path: Path) -> None:
    """Not a file."""
    assert capsules_of(tmp_path, tagger(), *WHOLE) == []


def test_files_are_bounded(tmp_path: Path) -> None:
    """In number; the session in one, too."""
    maker = CapsuleMaker(tmp_path, most=3)
    for _ in range(5):
        opened = Session.open({"mail": lambda event, ctx: 1 / 0}, observer=maker)
        opened.say(*OPENING, MAIL, QUIT)
        opened.hang_up()
    maker.close()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_long_session_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning stays."""
    monkeypatch.setattr("demyjpy.trace.live.capsule._LONGEST", 2000)
    handlers = {"body": lambda event, ctx: ctx, "end_of_message": lambda event, ctx: None}
    (path,) = capsules_of(tmp_path, handlers, *OPENING, *[packet("B", b"x" * 300)] * 9, EOM)
    assert 0 < len(load_capsule(path).trace.exchanges) < 12


def test_a_disk_that_fails_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The mail goes on; when it is well again, so is this."""
    directory = tmp_path / "c"
    maker = CapsuleMaker(directory)
    directory.rmdir()
    for is_well in (False, False, True):
        if is_well:
            directory.mkdir()
        opened = Session.open({"mail": lambda event, ctx: 1 / 0}, observer=maker)
        opened.say(*OPENING, MAIL, QUIT)
        maker.close()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert len(list(directory.iterdir())) == 1


def test_errors_and_handlers_may_be_odd(tmp_path: Path) -> None:
    """An exception that cannot be told, a function that is wrapped or has no code."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    def inner(event: Any, ctx: Any) -> Any:
        raise MuteError

    def outer(event: Any, ctx: Any) -> Any:
        return inner(event, ctx)

    outer.__wrapped__ = inner
    handlers = define_event_handlers({"mail": outer, "unknown": divmod})
    one, two = map(load_capsule, capsules_of(tmp_path, handlers, *OPENING, UNKNOWN, MAIL))
    assert (one.error, one.file) == ("TypeError", "")
    assert (two.text, two.file) == ("<ValueError>", __file__)
    assert two.queue_id is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "a file that is no JSON"),
        (b"x", "a file that is no JSON"),
        (b"\xff\xfe", "a file that is no JSON"),
        (b"\x1f\x8bx", "a compressed file that is damaged"),
        (b"{}", "other JSON"),
        (b"[1]", "other JSON"),
        (b'{"capsule": 1}', "one that is damaged (TypeError(\"'int' object is not subscriptable\"))"),
        (b'{"trace": 1, "by": "x", "time": 0}', "a trace: try demyjpy explain"),
    ],
)
def test_what_is_no_capsule_is_refused(run: Run, tmp_path: Path, text: bytes, what: str) -> None:
    """In one line, status 2; so is one without a session, or that is not there."""
    path = tmp_path / "c.jsonl"
    path.write_bytes(text + b"\n")
    told = f"expected a capsule (demyjpy run --capsules writes them) in {path}, got {what}"
    assert run("capsule", path)[::2] == (2, f"demyjpy capsule: {told}\n")
    assert run("capsule", tmp_path / "none")[::2] == (
        2,
        f"demyjpy capsule: cannot read {tmp_path / 'none'}: No such file or directory\n",
    )


def test_a_capsule_without_session_is_refused(tmp_path: Path) -> None:
    """There is nothing to play."""
    (path,) = capsules_of(tmp_path, {"mail": lambda event, ctx: 1 / 0}, *OPENING, MAIL)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(TraceError, match="expected a session"):
        load_capsule(path)


# ------------------------------------------------------------------------------- the command
def test_the_command_shows_a_capsule(run: Run, tmp_path: Path, filter_path: Path) -> None:
    """What failed, when, with what, and where."""
    (path,) = capsules_of(tmp_path / "c", loaded(filter_path), *OPENING, MAIL, RCPT, *MESSAGE[4:], QUIT)
    status, output, _ = run("capsule", path)
    assert status == 0
    lines = output.splitlines()
    assert ".end failed at end_of_message: TypeError: object of type 'NoneType'" in lines[0]
    assert "  subject = None" in lines
    assert any(line.startswith("Traceback") for line in lines)
    assert "session: options, connect, hello, mail" in output


def test_a_test_is_made_that_fails_the_same_way(run: Run, tmp_path: Path, filter_path: Path) -> None:
    """With demyjpy.testing; when the filter is repaired, it passes."""
    bad = packet("L", b"X-Bad\0thing\0")
    packets = (*OPENING, MAIL, RCPT, HEADER, ABORT, UNKNOWN, MAIL, RCPT, HEADER, bad, QUIT)
    (path,) = capsules_of(tmp_path / "c", loaded(filter_path), *packets)
    made = tmp_path / "test_made.py"
    assert run("capsule", path, "--test", made, "--filter", filter_path)[0] == 0
    assert "from demyjpy.testing import Postfix, run, session" in made.read_text()
    failed = outcome_of(made)
    assert failed.returncode == 1
    assert "ValueError('bad thing')" in failed.stdout
    filter_path.write_text(filter_path.read_text().replace('"X-Bad"', '"X-Never"'))
    passed = outcome_of(made)
    assert passed.returncode == 0, passed.stdout


def test_what_no_client_can_make_fail_is_played_from_the_recording(
    run: Run, tmp_path: Path, filter_path: Path
) -> None:
    """The end of a message without any header: the model of the MTA would add some."""
    text = filter_path.read_text()
    value = '"x" if ctx["subject"] else str(1 / 0)'
    filter_path.write_text(text.replace('str(len(ctx["subject"]))', value))
    (path,) = capsules_of(tmp_path / "c", loaded(filter_path), *OPENING, HELO, BODY, EOM, QUIT)
    made = tmp_path / "test_made.py"
    assert run("capsule", path, "--test", made, "--filter", f"{filter_path}:handlers")[0] == 0
    failed = outcome_of(made)
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stdout


def test_a_handler_that_fails_no_more_is_told(run: Run, tmp_path: Path, filter_path: Path) -> None:
    """Status 1; the test is there."""
    bad = packet("L", b"X-Bad\0thing\0")
    (path,) = capsules_of(tmp_path / "c", loaded(filter_path), *OPENING, MAIL, bad, QUIT)
    filter_path.write_text(filter_path.read_text().replace('"X-Bad"', '"X-Never"'))
    status, output, errors = run(
        "capsule", path, "--test", tmp_path / "test_made.py", "--filter", filter_path
    )
    assert (status, output) == (1, f"written: {tmp_path / 'test_made.py'}\n")
    assert errors.endswith(
        "the handler does not fail: it is not a function of what it gets, or it has been changed since\n"
    )


def test_a_test_that_fails_is_not_replaced_by_one_that_does_not(
    run: Run, tmp_path: Path, filter_path: Path
) -> None:
    """Status 1, and it stays; one that fails again takes its place."""
    bad = packet("L", b"X-Bad\0thing\0")
    (path,) = capsules_of(tmp_path / "c", loaded(filter_path), *OPENING, MAIL, bad, QUIT)
    made = tmp_path / "test_made.py"
    made.touch()  # nothing is lost with it
    assert run("capsule", path, "--test", made, "--filter", filter_path)[0] == 0
    before = made.read_text()
    made.write_text(before + "# by hand\n")
    assert run("capsule", path, "--test", made, "--filter", filter_path)[0] == 0
    assert made.read_text() == before
    text = filter_path.read_text()
    other = filter_path.with_name(f"other_{filter_path.name}")
    other.write_text(text.replace('"X-Bad"', '"X-Never"'))
    status, output, errors = run("capsule", path, "--test", made, "--filter", other)
    assert (status, output) == (1, "")
    assert errors.endswith(f"changed since; {made} stays as it was\n")
    assert made.read_text() == before


def test_what_is_no_test_of_ours_is_not_overwritten(
    run: Run, tmp_path: Path, filter_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The capsule, the filter, what cannot be read: status 2, and nothing is changed."""
    bad = packet("L", b"X-Bad\0thing\0")
    (path,) = capsules_of(tmp_path / "c", loaded(filter_path), *OPENING, MAIL, bad, QUIT)
    capsule, text = path.read_bytes(), filter_path.read_bytes()
    assert run("capsule", path, "--test", path)[::2] == (
        2,
        f"demyjpy capsule: expected a new file for --test, got the capsule {path} itself\n",
    )
    told = (
        "demyjpy capsule: expected a new file for --test, or a test that demyjpy capsule has made, got "
        f"{filter_path}: choose another name, or remove it\n"
    )
    assert run("capsule", path, "--test", filter_path)[::2] == (2, told)
    assert (path.read_bytes(), filter_path.read_bytes()) == (capsule, text)

    def lacks(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", lacks)
    assert run("capsule", path, "--test", filter_path)[::2] == (
        2,
        f"demyjpy capsule: cannot write {filter_path}: Permission denied\n",
    )


def test_a_test_that_cannot_be_made_is_told(run: Run, tmp_path: Path, filter_path: Path) -> None:
    """No filter is known, or the file cannot be written: one line, status 2."""
    (path,) = capsules_of(tmp_path / "c", {"unknown": divmod}, *OPENING, UNKNOWN)
    status, _, errors = run("capsule", path, "--test", "x.py")
    assert (status, "expected --filter FILE.py:NAME" in errors) == (2, True)
    status, _, errors = run("capsule", path, "--test", "/nowhere/x.py", "--filter", filter_path)
    assert (status, "cannot write /nowhere/x.py: No such file or directory" in errors) == (2, True)


def test_a_capsule_of_the_kit_is_played_by_the_kit(tmp_path: Path, filter_path: Path, run: Run) -> None:
    """Any session becomes a script again."""
    script = (
        session(name="mx.example", client="192.0.2.7")
        .mail("a@b", SIZE="9")
        .rcpt("c@d")
        .message("Subject: x\nX-Bad: y\n\nbody\n")
    )
    maker = CapsuleMaker(tmp_path / "c")
    result = play(loaded(filter_path), script, mta=Postfix())
    for step in result.observed:
        maker(step)
    maker.close()
    (path,) = (tmp_path / "c").iterdir()
    made = tmp_path / "test_made.py"
    assert run("capsule", path, "--test", made, "--filter", filter_path)[0] == 0
    assert "192.0.2.7" not in made.read_text() or "session(client='192.0.2.7'" in made.read_text()
    assert json.loads(path.read_text().splitlines()[0])["by"] == "capsule"


def test_run_writes_capsules(run: Run, mail: Path, tmp_path: Path, filter_path: Path) -> None:
    """With --capsules."""
    mail.write_bytes(b"X-Bad: 1\n" + mail.read_bytes())
    options = ("--listen", f"unix:{tmp_path}/s", "--capsules", str(tmp_path / "c"))
    with program("run", "--allow-root", str(filter_path), *options) as started:
        read_until(started, "INPUT_MAIL_FILTER")
        assert run("send", mail, "--to", f"unix:{tmp_path}/s")[0] == 75
    (path,) = (tmp_path / "c").iterdir()
    assert load_capsule(path).error == "ValueError"


def test_what_the_kit_cannot_play_becomes_no_script(tmp_path: Path, filter_path: Path) -> None:
    """The recording is played then."""
    (path,) = capsules_of(tmp_path / "c", {"unknown": divmod}, *OPENING, UNKNOWN)
    assert code_of(load_capsule(path), Wanted([str(filter_path)]), "no filter") is None

"""Capsules that somebody else has made: nothing in them is run, and tests made of them are Python."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy.cli.commands import capsule as command
from demyjpy.cli.commands.capsule import code_of_records, code_of_script, script_of, scripts_of
from demyjpy.cli.loading import Wanted
from demyjpy.errors import TraceError
from demyjpy.mta import client_steps
from demyjpy.testing import Postfix
from demyjpy.testing import run as play
from demyjpy.testing.script_code import as_code, as_steps
from demyjpy.trace import load_capsule
from demyjpy.trace.live.capsule import Capsule
from tests.engine.harness import BODY, EOM, HEADER, MAIL, MESSAGE, OPENING, QUIT, RCPT, packet
from tests.trace.format.test_outside import ODD, is_harmless, nested
from tests.trace.live.test_capsule import capsules_of, outcome_of

Run = Callable[..., tuple[int, str, str]]

FAILING = """
from demyjpy import define_event_handlers

handlers = define_event_handlers({handlers!r})

@handlers.end_of_message
def end(event, ctx):
    raise ValueError("no")
"""


def a_capsule(tmp_path: Path, *packets: Any, **changed: Any) -> Path:
    """One whose end of message has failed, with something else in its header."""
    handlers = {"end_of_message": lambda event, ctx: 1 / 0, "header": lambda event, ctx: ctx}
    directory = tmp_path / f"c{len([*tmp_path.iterdir()])}"  # not beside one of a second ago
    path, *_ = capsules_of(directory, handlers, *(packets or (*OPENING, *MESSAGE, QUIT)))
    first, *others = path.read_text().splitlines(keepends=True)
    header = json.loads(first)
    header["capsule"] |= changed
    path.write_text("".join([json.dumps(header) + "\n", *others]))
    return path


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A filter that fails at the end of each message."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / f"fails_{tmp_path.name.replace('-', '_')}.py"
    path.write_text(FAILING.format(handlers={}))
    return path


# ----------------------------------------------------------------------- nothing of it is run
def test_nothing_is_run_because_a_capsule_names_it(run: Run, tmp_path: Path) -> None:
    """Neither a file nor a module: status 2, one line that says what to give, and no test."""
    ran = tmp_path / "ran"
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(ran)!r}, 'w')\nhandlers = {{}}\n")
    made = tmp_path / "test_made.py"
    for named in (str(evil), "evil", ""):
        path = a_capsule(tmp_path, file=named, handler="evil.end")
        status, output, errors = run("capsule", path, "--test", made)
        assert (status, output) == (2, "")
        assert errors.startswith("demyjpy capsule: expected --filter FILE.py:NAME: a filter is never")
        assert errors.endswith(f"this one names {named}\n" if named else "can write a capsule\n")
        assert run("capsule", path)[0] == 0
    assert not ran.exists()
    assert not made.exists()


def test_a_made_test_names_the_filter_that_was_given(run: Run, tmp_path: Path, failing: Path) -> None:
    """Not the one of the capsule."""
    path = a_capsule(tmp_path, file="/srv/evil.py", handler="fails.end", error="ValueError")
    made = tmp_path / "test_made.py"
    assert run("capsule", path, "--test", made, "--filter", failing)[0] == 0
    assert "evil" not in made.read_text()
    assert f"FILTER = {str(failing) + ':handlers'!r}" in made.read_text()


# --------------------------------------------------------------------------------- damage
@pytest.mark.parametrize(
    "changed",
    [
        {"context": {"set": [1]}},
        {"context": {"removed": 5}},
        {"context": json.loads(nested(400))["changes"]},
        {"context": {"set": {"a": {"set": [{"list": []}]}}}},
        {"versions": {"python": ["x"]}},
        {"versions": 3},
        {"handler": 7},
        {"text": "\ud800"},
        {"queue_id": {}},
    ],
    ids=lambda changed: str(changed)[:60],
)
def test_a_damaged_capsule_is_a_line_and_status_2(run: Run, tmp_path: Path, changed: Any) -> None:
    """Whatever is of another type, or nested, or half a character."""
    path = a_capsule(tmp_path, **changed)
    status, output, errors = run("capsule", path)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("demyjpy capsule: expected ")
    with pytest.raises(TraceError):
        load_capsule(path)


def test_an_odd_time_is_none(run: Run, tmp_path: Path) -> None:
    """It is shown as the first of all."""
    path = a_capsule(tmp_path)
    first, rest = path.read_text().split("\n", 1)
    for time in ("1e999", "-5", "NaN", "1" + "0" * 400, '"x"'):
        other = json.dumps({**json.loads(first), "time": 0}).replace('"time": 0', f'"time": {time}')
        path.write_text(f"{other}\n{rest}")
        status, output, _ = run("capsule", path)
        assert (status, "when: 1970-01-01 00:00:00 UTC" in output) == (0, True)


def test_no_control_character_of_a_capsule_is_printed(run: Run, tmp_path: Path, failing: Path) -> None:
    """From no field of it; nor into the test, whose name is a name."""
    odd = dict.fromkeys(("event", "handler", "file", "error", "text", "queue_id"), ODD)
    path = a_capsule(
        tmp_path, **odd, traceback=f"{ODD}\nx", versions={ODD: ODD}, context={"set": {ODD: ODD}}
    )
    for options in ((), ("--test", tmp_path / "test_made.py", "--filter", failing)):
        _, output, errors = run("capsule", path, *options)
        assert is_harmless(output + errors)
    text = (tmp_path / "test_made.py").read_text()
    assert is_harmless(text)
    compile(text, "test", "exec")


# ------------------------------------------------------------------------ tests that are made
def test_a_filter_without_end_of_headers_keeps_its_blank_line(tmp_path: Path) -> None:
    """What the filter declined is in the message all the same."""
    for said, content in (
        ((HEADER, BODY), b"Subject:hello\r\n\r\ntext\r\n"),
        ((HEADER, packet("N"), BODY, BODY), b"Subject:hello\r\n\r\ntext\r\ntext\r\n"),
        ((BODY,), b"\r\ntext\r\n"),
        ((HEADER,), b"Subject:hello\r\n\r\n"),
    ):
        found = load_capsule(a_capsule(tmp_path, *OPENING, MAIL, RCPT, *said, EOM))
        assert script_of(found.trace).steps[-1] == client_steps.Data(content)


def test_a_message_that_failed_in_its_header_ends_there(tmp_path: Path) -> None:
    """No blank line is made up."""
    handlers = {"header": lambda event, ctx: 1 / 0}
    path, *_ = capsules_of(tmp_path / "c", handlers, *OPENING, MAIL, RCPT, HEADER)
    assert script_of(load_capsule(path).trace).steps[-1] == client_steps.Data(b"Subject:hello\r\n")


def test_a_made_test_fails_as_the_handler_does(run: Run, tmp_path: Path, failing: Path) -> None:
    """With every name that it imports used, and parameters that are words of Python's."""
    mail = packet("M", b"<a@b>\0import=1\0SIZE=2\0raw\0")
    path = a_capsule(tmp_path, *OPENING, mail, RCPT, *MESSAGE[2:], QUIT, error="ValueError")
    made = tmp_path / "test_made.py"
    assert run("capsule", path, "--test", made, "--filter", failing)[0] == 0
    text = made.read_text()
    assert "import" in text
    names = [
        name
        for line in text.splitlines()
        if line.startswith("from ")
        for name in line.split(" import ")[1].split(", ")
    ]
    assert all(text.count(name) > 1 for name in names), names
    failed = outcome_of(made)
    assert failed.returncode == 1
    assert "ValueError('no')" in failed.stdout
    failing.write_text(failing.read_text().replace('raise ValueError("no")', "return ctx"))
    assert outcome_of(made).returncode == 0


def test_a_long_session_is_no_deep_expression(tmp_path: Path) -> None:
    """A thousand recipients, a body of many runs: Python's compiler takes both."""
    body = packet("B", b"".join(bytes((65 + number % 20,)) * 70 + b"\r\n" for number in range(400)))
    packets = (*OPENING, MAIL, *[RCPT] * 1000, *MESSAGE[2:5], body, EOM, QUIT)
    found = load_capsule(a_capsule(tmp_path, *packets))
    (script,) = scripts_of(found.trace)
    code = code_of_script(found, Wanted(["filter.py"]), script)
    assert script_in(code).steps == script.steps


def script_in(code: str) -> Any:
    """The script of a made test: what ``run`` is given."""
    found: list[Any] = []
    namespace: dict[str, Any] = {"__name__": "made"}
    exec(compile(code, "made", "exec"), namespace)
    namespace["load_filter"] = lambda name: type("Loaded", (), {"on_connect": {}})
    namespace["run"] = lambda handlers, script, mta: found.append(script) or play({}, script, mta=mta)
    next(value for name, value in namespace.items() if name.startswith("test_"))()
    return found[0]


WORD = st.one_of(
    st.sampled_from(
        ["import", "raw", "self", "sender", "refused", "SIZE", "__debug__", "ﬁ", "a b", '"', "'", "\\"]
    ),
    st.text(min_size=1, max_size=6).filter(lambda text: "\0" not in text),
    st.binary(min_size=1, max_size=4).map(lambda data: data.decode("utf-8", "surrogateescape")),
)


def _bytes(*words: str) -> bytes:
    return b"".join(word.replace("\0", "0").encode("utf-8", "surrogateescape") + b"\0" for word in words)


PACKET = st.one_of(
    st.builds(lambda a, words: packet("M", _bytes(f"<{a}>", *words)), WORD, st.lists(WORD, max_size=4)),
    st.builds(lambda a, words: packet("R", _bytes(f"<{a}>", *words)), WORD, st.lists(WORD, max_size=4)),
    st.builds(lambda name, value: packet("L", _bytes(name, value)), WORD, WORD),
    st.builds(lambda line: packet("U", _bytes(line)), WORD),
    st.builds(lambda name: packet("H", _bytes(name)), WORD),
    st.builds(lambda data: packet("B", data), st.binary(min_size=1, max_size=200)),
    st.sampled_from([packet("N"), packet("A"), packet("T"), EOM, MAIL, RCPT, BODY]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PACKET, max_size=12), WORD)
def test_whatever_was_recorded_a_test_of_it_compiles_and_plays_the_same(
    tmp_path_factory: pytest.TempPathFactory, packets: list[Any], name: str
) -> None:
    """As a script: the same steps; as records: the same records."""
    directory = tmp_path_factory.mktemp("capsule")
    found = load_capsule(
        a_capsule(
            directory,
            *OPENING,
            *packets,
            *MESSAGE,
            QUIT,
            handler=f"f.{name}".encode("utf-8", "replace").decode(),
        )
    )
    for script in scripts_of(found.trace):
        again = script_in(code_of_script(found, Wanted([f"{name}.py:handlers"]), script))
        assert again.steps == script.steps
        assert again.raw == script.raw
        assert _results(again) == _results(script)
    namespace: dict[str, Any] = {}
    exec(compile(code_of_records(found, Wanted(["filter.py"])), "made", "exec"), namespace)
    assert tuple(map(json.loads, namespace["RECORDS"])) == found.trace.records


def _results(script: Any) -> list[Any]:
    """What came of each step at a filter that fails."""
    result = play({"end_of_message": lambda event, ctx: 1 / 0}, script, mta=Postfix())
    return [(one.outcome.reply, one.outcome.mail) for one in result.steps]


def test_parameters_are_written_as_python_takes_them() -> None:
    """By name where that can be, else in a map; every step has its class in the flat form."""
    mail = client_steps.Mail("a", {"import": None, "SIZE": "1", "__debug__": "x", "ﬁ": "y"})
    assert as_code((client_steps.Connect(), mail), raw=True) == (
        "session(helo=None, raw=True)"
        ".mail('a', **{'import': None}, SIZE='1', **{'__debug__': 'x'}, **{'ﬁ': 'y'})"
    )
    flat = as_steps(
        (client_steps.Connect(), mail, client_steps.StartTls(), client_steps.Data(b"x" * 70)), ""
    )
    assert "client_steps.Data(b'x' * 70)," in flat
    assert "client_steps.Mail('a', (('import', None)," in flat


def test_what_cannot_be_read_is_no_step(tmp_path: Path) -> None:
    """The test is made of the rest."""
    path = a_capsule(tmp_path)
    bad = {"session": "session", "direction": "mta", "event": None, "raw": "AAAAAk0/"}
    path.write_text(path.read_text() + json.dumps(bad) + "\n")
    found: Capsule = load_capsule(path)
    assert any(exchange.packet == (ord("M"), b"?") for exchange in found.trace.exchanges)
    assert [type(one).__name__ for one in script_of(found.trace).steps] == [
        "Connect",
        "Ehlo",
        "Mail",
        "Rcpt",
        "Data",
    ]


def test_a_filter_is_named_as_it_was_given(tmp_path: Path) -> None:
    """A file by its whole path, a module as it is."""
    found = load_capsule(a_capsule(tmp_path))
    for given_name, written in (
        ("x.py", f"{Path.cwd()}/x.py:handlers"),
        ("a:b.py:mine", f"{Path.cwd()}/a:b.py:mine"),
        ("package.module:mine", "package.module:mine"),
        ("package.module", "package.module:handlers"),
    ):
        assert f"FILTER = {written!r}\n" in code_of_records(found, Wanted([given_name]))
    assert command.capsule.__module__ == "demyjpy.cli.commands.capsule"

"""`demyjpy check` and `check --play` of filters that get messages as values."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from demyjpy.cli import check_play
from tests.cli.filters import HEAD

Run = Callable[..., tuple[int, str, str]]
Check = Callable[..., tuple[int, list[str], list[str]]]

_TAGGER = """
from demyjpy import become, merge_handlers
{options}
@handlers.message{decorator}
def tag(event, ctx):
    return {what}
"""


def _filter(options: str, what: str, decorator: str = "") -> str:
    declared = f"handlers = define_event_handlers(name='tagger', {options})"
    return _TAGGER.format(options=declared, what=what, decorator=decorator)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a filter, at which few sessions are played."""
    monkeypatch.setattr(check_play, "_GENERATED", 3)

    def write(code: str) -> Path:
        path = tmp_path / "tagging.py"
        path.write_text(HEAD + code)
        return path

    return write


def test_a_message_handler_is_shown_with_what_the_engine_asks_for(
    run: Run, written: Callable[[str], Path]
) -> None:
    """Its limit, what becomes of larger messages, and the events that make up a message."""
    path = written(
        _filter("edits='headers'", "become(ctx, event)", "(limit=1000, beyond='reject', blocking=True)")
    )
    status, output, _ = run("check", path)
    assert status == 0
    assert "message  reply, blocking, up to 1,000 bytes, larger ones are rejected, progress" in output
    assert "  asked for, as message handlers get whole messages: mail recipient header body\n" in output
    assert "  optional:" not in output.partition("\nActions")[0]
    assert "\nChain" not in output
    report = json.loads(run("check", path, "--json")[1])
    (entry,) = report["handlers"]
    assert (entry["event"], entry["reply"], entry["progress"]) == ("message", True, 5.0)
    assert (entry["limit"], entry["beyond"]) == (1000, "reject")
    assert report["asked_for_messages"] == ["mail", "recipient", "header", "body"]
    assert report["chain"] == []


@pytest.mark.parametrize(
    ("what", "decorator", "is_found"),
    [
        ("ctx.set('at', len(event.body))", "", True),
        ("ctx.set('at', len(event.body))", "(beyond='reject')", False),
        ("ctx.set('at', len(event.body)) if event.is_whole else ctx", "", False),
        ("ctx.set('at', len(event.get('Subject', '')))", "", False),
    ],
)
def test_who_reads_the_body_of_a_message_that_came_without_it_is_found(
    run: Run, written: Callable[[str], Path], what: str, decorator: str, is_found: bool
) -> None:
    """The filter would refuse each mail above its limit for now, at every attempt."""
    path = written(_filter("", what, decorator))
    status, output, _ = run("check", "--play", path)
    assert status == is_found
    trouble = "message: tagger: tagging.tag fails for a message above its limit= (25,000,000 bytes)"
    assert (trouble in output) == is_found


def test_late_signs_of_life_of_a_message_handler_are_noted(
    run: Run, written: Callable[[str], Path]
) -> None:
    """As those of end_of_message are."""
    path = written(_filter("", "ctx", "(blocking=True, progress=60)"))
    notes = json.loads(run("check", path, "--json")[1])["notes"]
    assert notes[1].startswith("message: tagger: tagging.tag gives no sign of life within 10 s")


def test_message_handlers_wait_for_those_who_may_edit_header_or_body(
    run: Run, written: Callable[[str], Path]
) -> None:
    """A message counts as a header and a body."""
    path = written(
        """
from demyjpy import merge_handlers
first = define_event_handlers(name="first", edits="body")
last = define_event_handlers(name="last")

@first.message
@last.message
def look(event, ctx):
    return ctx

handlers = merge_handlers(first, last)
"""
    )
    _, output, _ = run("check", path)
    chain = output.partition("\nChain\n")[2].partition("\n\n")[0]
    assert chain.splitlines() == [
        "  #1 first: change_body",
        "  #2 last: no edits",
        "    message: waits for the end of first, which may use change_body",
    ]


@pytest.mark.parametrize(
    ("options", "what", "problems"),
    [
        ("edits='all'", "become(ctx, event.set('X-A', 'b').with_body(b'c'))", []),
        ("", "become(ctx, event)", []),
        (
            "",
            "become(ctx, event.with_body(b'c'))",
            ['become at message needs change_body: declare edits="body", or add it to actions='],
        ),
        (
            "edits='headers'",
            "become(ctx, event.set('X-A', 'b').with_body(b'c'))",
            ["become at message needs change_body: add it to actions="],
        ),
        (
            "",
            "become(ctx, event.set('X-A', 'b').add('X-C', 'd'))",
            ['become at message needs add_header, change_header: declare edits="headers", or add them'],
        ),
        (
            "edits='envelope'",
            "become(ctx, event.add_recipient('a@b', {'NOTIFY': 'NEVER'}))",
            ["become at message needs add_recipient_par: add it to actions="],
        ),
        (
            "edits='body'",
            "(become(ctx, event.with_body(b'c')), ctx)[1]",
            ["tag asks for become and drops it: it has to return the context"],
        ),
        ("", "1 / 0", ["fails: ZeroDivisionError: division by zero"]),
    ],
)
def test_what_wishes_need_is_found(check: Check, options: str, what: str, problems: list[str]) -> None:
    """With what to declare; a handler that fails for lack of it has no other problem."""
    _, found, _ = check(_filter(options, what))
    assert len(found) == len(problems)
    for one, expected in zip(found, problems, strict=True):
        assert one.startswith("message: tagger: ")
        assert expected in one


@pytest.mark.parametrize(
    ("options", "what", "unused"),
    [
        ("edits='headers'", "become(ctx, event.set('Subject', 'b'))", ""),
        ("edits='all'", "become(ctx, event.set('Subject', 'b').with_body(b'c'))", "add_recipient"),
        ("edits='envelope'", "become(ctx, event)", "add_recipient"),
        ("actions={'change_body', 'quarantine'}", "become(ctx, event.with_body(b'c'))", "quarantine"),
    ],
)
def test_what_wishes_never_need_is_noted(check: Check, options: str, what: str, unused: str) -> None:
    """But not what ``edits=`` declares along with it."""
    _, _, notes = check(_filter(options, what))
    never = [one for one in notes if one.startswith("declared in actions=")]
    assert len(never) == bool(unused)
    assert all(unused in one for one in never)


def test_macros_of_the_end_are_there_for_a_message_handler(check: Check) -> None:
    """So it is no note that it reads one of them; of one that is asked for nowhere it is."""
    code = _filter(
        "macros={'end_of_message': ('i',)}",
        "ctx.set('a', (get_macro(ctx, 'i'), get_macro(ctx, '{x}')))",
    )
    _, _, notes = check(code)
    reads = [one for one in notes if "reads" in one]
    assert [one.partition(", not")[0] for one in reads] == [
        "message: tagger: played_filter.tag reads {x}"
    ]


def test_what_facts_need_is_shown(run: Run, written: Callable[[str], Path]) -> None:
    """The events that are asked for because of them, and the macros."""
    path = written(_filter("facts={'sender', 'helo', 'user'}", "ctx", "(limit=1000)"))
    status, output, _ = run("check", path)
    assert status == 0
    assert "  asked for, as facts are read: hello mail\n" in output
    assert json.loads(run("check", path, "--json")[1])["asked_for_facts"] == ["hello", "mail"]

"""`demyjpy check`: what a filter asks for, and what is wrong with it."""

import json
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from tests.cli.filters import BYTECOUNT, ROOT

BOTH_LISTS = (
    "macros: Sendmail needs a list for both end_of_headers and end_of_message, so what is asked for at "
    "one only is asked for at both"
)


def place_of(sample: str, line: str) -> int:
    """The number of a line in a sample."""
    return 1 + (ROOT / f"samples/{sample}.py").read_text().splitlines().index(line)


def test_check_says_what_a_filter_asks_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events with their handlers, what is switched off, actions, macros; status 0."""
    monkeypatch.chdir(ROOT)
    note = place_of("macros", "@handlers.recipient(reply=False, rejected=True)")
    report = place_of("macros", "@handlers.end_of_message")
    status, output, errors = run("check", "samples/macros.py")
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "samples/macros.py:handlers (registry)",
        "",
        "Events",
        f"  recipient       no reply, refused recipients too  macros.note    samples/macros.py:{note}",
        f"  end_of_message  reply                             macros.report  samples/macros.py:{report}",
        "  switched off: connect hello mail data header end_of_headers body unknown",
        "",
        "Actions",
        "  required: none",
        "  optional: none",
        "",
        "Macros asked for",
        "  recipient       {rcpt_mailer} {rcpt_host} i",
        "  end_of_headers  i",
        "  end_of_message  i",
        "",
        "Notes",
        "  - macros: asked for if the MTA lets filters choose; other MTAs send their usual ones",
        f"  - {BOTH_LISTS}",
        "",
        "Nothing wrong found.",
    ]


def test_check_of_a_merged_filter_says_which_part_has_a_handler(run: Any) -> None:
    """Handlers of one event in the order in which they run."""
    status, output, _ = run("check", f"{ROOT}/samples/pipeline.py")
    found = [line.split() for line in output.splitlines() if line.startswith("  end_of_message")]
    assert (status, [words[-1] for words in found]) == (0, ["#2", "#3", "#4"])
    assert "(registry, 4 filters merged)" in output


def test_check_says_who_of_a_chain_waits_for_whom(run: Any, write: Callable[..., None]) -> None:
    """And why; which action is whose; what is asked for because several filters may edit."""
    _, output, _ = run("check", f"{ROOT}/samples/pipeline.py")
    chain = output.partition("\nChain\n")[2].partition("\n\n")[0]
    assert chain.splitlines() == [
        "  #1 blocked: no edits",
        "  #2 size: add_header",
        "  #3 mark: add_header change_header",
        "    header: waits for the end of size, which may use add_header",
        "  #4 checksum: add_header",
        (
            "    header: waits for the end of size, which may use add_header, mark, which may use "
            "add_header and change_header"
        ),
        "    body: waits for the end of those before it, because it comes after an event that waits",
    ]
    write(
        "both.py",
        """
        from demyjpy import define_event_handlers, merge_handlers
        keep = {"end_of_message": lambda event, ctx: ctx}
        one = define_event_handlers(keep, actions={"change_body"}, optional_actions={"quarantine"})
        two = define_event_handlers(keep, actions={"add_header"})
        handlers = merge_handlers(one=one, two=two)
        """,
    )
    _, output, _ = run("check", "both.py", "--json")
    report = json.loads(output)
    assert report["asked_for_edits"] == ["header"]
    assert report["chain"][0]["optional_actions"] == ["quarantine"]
    _, output, _ = run("check", "both.py")
    assert "  #1 one: change_body (optional: quarantine)\n  #2 two: add_header\n" in output
    assert "  asked for, as several filters may edit: header\n" in output


def test_check_prints_json_for_programs(run: Any) -> None:
    """The same in keys and values."""
    status, output, _ = run("check", BYTECOUNT, "--json", "--driver", "threads")
    report = json.loads(output)
    assert status == 0
    assert report["filter"] == f"{BYTECOUNT}:handlers"
    assert report["actions"] == ["add_header"]
    assert report["handlers"][2] == {
        "event": "end_of_message",
        "filter": 1,
        "function": "bytecount.report",
        "file": report["handlers"][0]["file"],
        "line": place_of("bytecount", "@handlers.end_of_message"),
        "reply": True,
        "is_async": False,
        "blocking": False,
        "rejected": False,
        "progress": 5.0,
        "limit": None,
        "beyond": None,
        "needs": [],
        "asking": None,
        "within": None,
    }


CHECKED = """
    import functools

    from demyjpy import default_event_handler, define_event_handlers, with_handlers

    def plain(event, ctx): return ctx
    async def later(event, ctx): return ctx

    empty = define_event_handlers()
    asynchronous = define_event_handlers({"mail": later})
    too_slow = define_event_handlers()
    too_slow.add("mail", plain, timeout=9)
    useless = define_event_handlers(
        {"mail": plain}, actions={"add_header"}, optional_actions={"quarantine"}
    )

    class Counter:
        def __call__(self, event, ctx): return ctx

    callables = define_event_handlers(
        {"mail": functools.partial(plain), "hello": Counter(), "connect": max, "abort": plain}
    )
    special = define_event_handlers(
        {"options": default_event_handler},
        actions={"add_recipient_par", "choose_macros"},
        optional_events={"unknown"},
        macros={"mail": ["i", "{if_name}"], "end_of_headers": ["{rcpt_addr}", "i"]},
    )

    @special.end_of_message(blocking=True, progress=None)
    def slow(event, ctx): return ctx

    patient = define_event_handlers()

    @patient.end_of_message(progress=20)
    async def wait(event, ctx): return ctx

    def on_connect(ctx): return with_handlers(ctx, {"body": plain})
    def nothing(ctx): pass
    def fails(ctx): return 1 / 0
    builtin = iter
"""


def test_check_keeps_what_a_filter_prints_out_of_its_report(
    run: Any, write: Callable[..., None]
) -> None:
    """It goes to standard error."""
    write("loud.py", "print('hello')\nhandlers = {'mail': lambda event, ctx: ctx}")
    status, output, errors = run("check", "loud.py", "--json")
    assert (status, json.loads(output)["problems"], errors) == (0, [], "hello\n")


def line_of(code: str) -> int:
    """Where something stands in the checked file."""
    return 1 + dedent(CHECKED).splitlines().index(code)


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (
            ["empty"],
            ["no handler at all: the filter accepts everything; register some: @handlers.body ..."],
        ),
        (["asynchronous"], []),
        (
            ["asynchronous", "--driver", "threads"],
            ["mail: checked.later is async def, which needs --driver asyncio"],
        ),
        (
            ["useless"],
            ["add_header, quarantine: can never be sent, because only a message handler"],
        ),
        (["too_slow"], ["expected the timeout= of all filters at mail to be at most 8 s together"]),
        (["callables"], []),
        (["on_connect"], []),
        (
            ["nothing"],
            ["on_connect failed: HandlerError: expected on_connect to return a context, got None: "],
        ),
        (
            ["fails"],
            ['on_connect failed: ZeroDivisionError: division by zero\n  File "checked.py", line '],
        ),
        (
            ["builtin"],
            ["on_connect failed: HandlerError: expected on_connect to return a context, got <"],
        ),
    ],
)
def test_check_finds_what_is_wrong_and_ends_with_status_1(
    run: Any, write: Callable[..., None], arguments: list[str], problems: list[str]
) -> None:
    """And with 0 where nothing is."""
    write("checked.py", CHECKED)
    name, *options = arguments
    status, output, _ = run("check", f"checked.py:{name}", "--json", *options)
    found = json.loads(output)["problems"]
    assert status == (1 if problems else 0)
    assert len(found) == len(problems)
    for one, expected in zip(found, problems, strict=True):
        assert one.startswith(expected)


@pytest.mark.parametrize(
    ("arguments", "notes"),
    [
        (["asynchronous"], []),
        (
            ["special"],
            [
                "options: demyjpy.handlers.default_event_handler negotiates; what is said here holds if",
                "end_of_message: checked.slow may block: it runs in one of --blocking-threads",
                "end_of_message: checked.slow gives no sign of life within 10 s, after which Sendmail",
                "unknown is an optional event, but has no handler: nothing is asked for",
                "add_recipient_par without add_recipient: recipients can be added with ESMTP",
                "macros: asked for if the MTA lets filters choose; other MTAs send their usual ones",
                BOTH_LISTS,
                "macros: i at mail: Postfix has no queue id before the second recipient",
                "macros: {if_name} at mail: not in Postfix",
                "macros: {rcpt_addr} at end_of_headers: Postfix has them earlier only; what came with",
            ],
        ),
        (["patient"], ["end_of_message: checked.wait gives no sign of life within 10 s, after which"]),
        (["on_connect"], ["checked.py:on_connect is a function, called for each connection: this is"]),
    ],
)
def test_check_notes_what_is_worth_to_know(
    run: Any, write: Callable[..., None], arguments: list[str], notes: list[str]
) -> None:
    """Nothing of it is wrong."""
    write("checked.py", CHECKED)
    name, *options = arguments
    status, output, _ = run("check", f"checked.py:{name}", "--json", *options)
    found = json.loads(output)["notes"]
    assert (status, len(found)) == (0, len(notes))
    for one, expected in zip(found, notes, strict=True):
        assert one.startswith(expected)


def test_check_shows_any_kind_of_handler(run: Any, write: Callable[..., None]) -> None:
    """Partials and objects by their function's place, a builtin without one; answered or never."""
    write("checked.py", CHECKED)
    _, output, _ = run("check", "checked.py:callables")
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.startswith("  ")}
    assert rows["connect"] == ["reply", "builtins.max", "?"]
    plain = f"checked.py:{line_of('def plain(event, ctx): return ctx')}"
    assert rows["hello"][-1] == f"checked.py:{line_of('    def __call__(self, event, ctx): return ctx')}"
    assert rows["mail"][-1] == plain
    assert rows["abort"] == ["never", "answered", "checked.plain", plain]


def test_check_lists_problems_under_one_another(run: Any, write: Callable[..., None]) -> None:
    """With the line where it happened."""
    write("checked.py", CHECKED)
    line = line_of("def fails(ctx): return 1 / 0")
    status, output, _ = run("check", "checked.py:fails")
    assert status == 1
    assert output.partition("Problems\n")[2].splitlines()[:3] == [
        "  - on_connect failed: ZeroDivisionError: division by zero",
        f'      File "checked.py", line {line}, in fails',
        "        def fails(ctx): return 1 / 0",
    ]
    assert "Nothing wrong found" not in output


def test_check_shows_flags_and_optional_events(run: Any, write: Callable[..., None]) -> None:
    """What is special about a handler stands beside it."""
    write("checked.py", CHECKED)
    assert "  optional: unknown\n" in run("check", "checked.py:special")[1]
    assert "reply, async, progress every 20 s" in run("check", "checked.py:patient")[1]

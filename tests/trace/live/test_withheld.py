"""What a filter that is only tried would have done is told: in a line, in records, in figures."""

import json
from typing import Any

import pytest

from demyjpy import (
    add_header,
    define_event_handlers,
    quarantine,
    reject,
    with_policy,
)
from demyjpy.cli.output import Paint
from demyjpy.cli.replay_report import SessionReport, session_lines
from demyjpy.cli.replay_steps import show_steps
from demyjpy.cli.session_page import session_page
from demyjpy.cli.session_views import played_views, recorded_views
from demyjpy.handlers import merge_handlers
from demyjpy.registry import Registry
from demyjpy.trace.display.sentences import sentences
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.live.explain_line import Explainer
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter
from tests.engine.harness import EOM, HEADER, MAIL, OPENING, QUIT, RCPT
from tests.trace.sessions import WHOLE, recorded, watched


def tried(word: str = "spam", *, name: str | None = "strict") -> Registry:
    """A filter that adds a header, holds the mail and refuses it, and is only tried."""
    handlers = define_event_handlers(name=name, edits="all")

    @handlers.recipient
    def check(event: Any, ctx: Any) -> Any:
        return reject(ctx, "5.1.1", word) if word == "nobody" else ctx

    @handlers.end_of_message
    def judge(event: Any, ctx: Any) -> Any:
        return reject(quarantine(add_header(ctx, "X-Word", word), "held"), "5.7.1", word)

    return with_policy(handlers, enforce=False)


def lines_of(handlers: Any, *packets: Any) -> list[str]:
    """What the explain line says of a session."""
    lines: list[str] = []
    explain = Explainer(lines.append)
    for step in watched(handlers, *packets)[0]:
        explain(step)
    return lines


def test_the_explain_line_says_what_each_filter_would_have_done() -> None:
    """By filter; and nobody is named as who decided or edited."""
    (line,) = lines_of(merge_handlers(tried(), tried("other", name=None)), *WHOLE)
    name = f"{__name__}.tried.<locals>.judge"
    assert line.endswith(
        ": accepted, would have: strict: reply 550 5.7.1 spam, quarantine, X-Word added; "
        f"{name}: reply 550 5.7.1 other, quarantine, X-Word added"
    )


def test_the_explain_line_has_room_for_a_few() -> None:
    """The rest of what is withheld is left out, and the next message begins with nothing."""
    packets = (*OPENING, MAIL, *[RCPT] * 20, EOM, MAIL, RCPT, EOM, QUIT)
    words = lines_of(tried("nobody"), *packets)
    assert [one.count("would have") for one in words] == [1, 1]
    parts: list[Any] = [
        (one, define_event_handlers({"header": lambda event, ctx: reject(ctx)}, name=f"filter {one}"))
        for one in range(12)
    ]
    handlers = merge_handlers(*(with_policy(part, enforce=False) for _, part in parts))
    (line,) = lines_of(handlers, *OPENING, MAIL, RCPT, HEADER, EOM, QUIT)
    assert line.count(": reject") == 10


def test_the_sentences_and_the_steps_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With the handler and the event; what is withheld is no decision and no dropped edit."""
    handlers = tried()
    trace = recorded(handlers, *WHOLE)
    told = list(sentences(trace, trace.messages[0]))
    name = f"strict: {__name__}.tried.<locals>.judge"
    assert (
        f"{name} is only tried, and would have at end_of_message: add header X-Word: spam; "
        "quarantine: held; reply 550 5.7.1 spam."
    ) in told
    assert not [one for one in told if one.startswith("Dropped") or "asked for" in one]
    for played in (None, handlers):
        show_steps(trace, played, Paint(False))
        assert "would have: add header X-Word: spam; quarantine: held; reply" in capsys.readouterr().out
    for views in (recorded_views(trace.moments), played_views(trace.step(handlers))):
        assert "would have: add header X-Word: spam" in session_page(trace, views, "as recorded")


def test_records_have_what_was_withheld() -> None:
    """Under a key of its own, beside what was queued; without what privacy leaves out."""
    trace = recorded(tried(), *WHOLE)
    (record,) = [one for one in trace.records if "withheld" in one]
    names = [one["action"] for one in record["withheld"]]
    assert names == ["AddHeader", "Quarantine", "ReplyCode"]
    assert "spam" in json.dumps(record)
    assert "spam" not in json.dumps(Privacy(keep="envelope").of(record))


def test_a_replay_compares_what_is_withheld() -> None:
    """Though no byte of it leaves; the difference says so in words."""
    trace = recorded(tried(), *WHOLE)
    assert compare_bytes(trace, Filter(tried())).is_same
    found = compare_bytes(trace, Filter(tried("ham")))
    assert found.difference is not None
    assert found.difference.is_withheld
    assert [type(one).__name__ for one in found.difference.new] == [
        "AddHeader",
        "Quarantine",
        "ReplyCode",
    ]
    where, old, new, *_ = session_lines(SessionReport.of(found))
    assert "differs in what is withheld at step" in where
    assert "spam" in old
    assert "ham" in new
    enforced = compare_bytes(trace, Filter(with_policy(tried(), enforce=True)))
    assert not enforced.is_same

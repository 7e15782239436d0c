"""Targets that read what others have made: trace files, capsules, the answers of a foreign milter.

The laws: whatever the bytes are, reading them gives values or one of our errors; what is printed of them
holds no control character; what is kept of them is bounded; tests that are made of them are Python.
"""

import gzip
import io
import os
import tempfile
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, Final

from demyjpy.cli.commands.capsule import code_of_records, code_of_script, scripts_of
from demyjpy.cli.loading import Wanted
from demyjpy.cli.output import Paint, say
from demyjpy.cli.recordings import message_json, message_line
from demyjpy.cli.replay_steps import show_steps
from demyjpy.cli.session_page import session_page
from demyjpy.cli.session_views import recorded_views
from demyjpy.cli.step_lines import step_lines
from demyjpy.errors import TraceError
from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import Answer, MilterLink, hear
from demyjpy.mta.milter_packets import MilterFailedError
from demyjpy.mta.profiles import Postfix, Sendmail
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import Exchange, new_session
from demyjpy.shown import safe
from demyjpy.trace import Trace
from demyjpy.trace.display.sentences import sentences
from demyjpy.trace.format.json_lines import weight_of
from demyjpy.trace.format.reading import Reading, dump_record, load
from demyjpy.trace.format.records import header
from demyjpy.trace.live.capsule import Capsule, load_capsule
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.recorded_filter import recorded_filter
from demyjpy.trace.replay.replaying import Filter
from tests.engine.test_captures import FILES, Capture

LONGEST: Final = 50_000
_NO_COLOURS: Final = Paint(False)

_ABOUT: Final = {
    "event": "mail",
    "handler": "filter.check",
    "file": "/srv/filter.py",
    "error": "ValueError",
    "text": "no",
    "traceback": "Traceback: ...",
    "queue_id": "Q1",
    "context": {"set": {"seen": {"pmap": [["a", {"list": [1, 2.5, {"bytes": "x"}]}]]}}},
    "versions": {"python": "3.11.2"},
}


def traces() -> list[bytes]:
    """What real MTAs and filters have said, as trace files; one of them compressed."""
    files = [
        b"".join(map(dump_record, (header("fuzz", 1.0), *trace.records)))
        for path in FILES
        for trace in load(path)
    ]
    return [*files, gzip.compress(files[0]), b"".join(files[:2])]


def capsules() -> list[bytes]:
    """The same as capsules."""
    first = dump_record({**header("capsule", 1.0), "capsule": _ABOUT})
    return [first + data.partition(b"\n")[2] for data in traces()[:-2]]


def answers() -> list[bytes]:
    """What filters have answered, for either MTA."""
    said = [
        b"".join(b"".join(part.answers) for part in one.exchanges) for one in map(Capture.load, FILES)
    ]
    return [bytes((number, 64)) + data for data in said for number in range(2)]


def _in_a_file(data: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix="demyjpy-fuzz-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
    return Path(name)


# ------------------------------------------------------------------------------- trace files
def read_trace(data: bytes) -> None:
    """A file of traces: sessions that all commands can show, or what is wrong with it in words."""
    path = _in_a_file(data)
    try:
        reading = Reading(str(path), LONGEST)
        for lines in reading.lines():
            assert sum(map(weight_of, lines.lines)) <= LONGEST
            _show_trace(lines.parse())
        _are_harmless(_printed(lambda: say(*reading.report())))
    except TraceError as error:
        _are_harmless([safe(str(error))])
    finally:
        path.unlink()


def _show_trace(trace: Trace) -> None:
    for record in trace.records:
        dump_record(record)

    def show() -> None:
        say(*trace.problems, trace.how, trace.reason, trace.name)
        for message in trace.messages:
            say(message_line(message), str(message_json(message)), *sentences(trace, message))
        show_steps(trace, None, _NO_COLOURS)

    _are_harmless(_printed(show))
    page = session_page(trace, recorded_views(trace.moments), "as recorded")
    _are_harmless(page.split("\n"))
    compare_bytes(trace, Filter(recorded_filter(trace)), twice=False)


def _printed(show: Any) -> list[str]:
    """The lines that were printed."""
    with redirect_stdout(io.StringIO()) as output:
        show()
    return output.getvalue().split("\n")


def _are_harmless(lines: list[str]) -> None:
    """No control character is in them, but a tab may be."""
    assert all(one.replace("\t", " ").isprintable() for one in lines)


# ----------------------------------------------------------------------------------- capsules
def read_capsule(data: bytes) -> None:
    """A capsule: it can be shown and made a test of, or it is none."""
    path = _in_a_file(data)
    try:
        found = load_capsule(path)
    except TraceError as error:
        _are_harmless([safe(str(error))])
        return
    finally:
        path.unlink()
    for code in codes_of(found):
        compile(code, "a test", "exec")


def codes_of(found: Capsule) -> list[str]:
    """All tests that may be made of a capsule."""
    scripts = [
        code_of_script(found, Wanted(["filter.py:handlers"]), one) for one in scripts_of(found.trace)
    ]
    return [*scripts, code_of_records(found, Wanted(["filter.py:handlers"]))]


# ---------------------------------------------------------------------------- foreign milters
class Stream:
    """A milter that says these bytes whenever an answer is due, a piece at a time."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._stream, self._piece = io.BytesIO(data), piece

    def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        """Read until an answer is complete."""
        link, answer = exchange.link, None
        while link.event is not None and answer is None:
            link, answer = hear(link, self._stream.read(self._piece))
        return link, answer


_STEPS: Final = (
    client_steps.Connect("192.0.2.1"),
    client_steps.Ehlo("client.example"),
    client_steps.Mail("a@example.org"),
    client_steps.Rcpt("b@example.net"),
    client_steps.Data(b"Subject: x\r\nTo: y\r\n\r\nbody\r\n"),
    client_steps.Quit(),
)


def answer(data: bytes) -> None:
    """A milter's answers to a whole session: an outcome for each step, whatever they are."""
    if len(data) < 2:
        return
    profile = (Postfix(), Sendmail())[data[0] % 2]
    session = new_session(profile, max_answer=LONGEST)
    milter = Stream(data[2:], 1 + data[1])
    for step in _STEPS:
        with suppress(MilterFailedError):
            session, outcome = play(take_step(session, step), [milter])
            lines = _printed(lambda one=outcome: say(*step_lines(one, ["milter"], _NO_COLOURS)))
            _are_harmless(lines)
            link = session.sides[0].link
            assert link.size <= LONGEST + 256
            assert len(link.warnings) <= 101

"""``demyjpy capsule``: a failure shown, and a test that fails the same way."""

import argparse
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field

from demyjpy import events as ev
from demyjpy.cli.arguments import FILTER_NAME, SETTINGS, Command, argument
from demyjpy.cli.capsule_answers import answer_from, answers_in, code_of_answers
from demyjpy.cli.errors import InputError, failing_to
from demyjpy.cli.loading import Wanted, load_filters
from demyjpy.cli.output import complain, say
from demyjpy.cli.replay_report import context_words
from demyjpy.cli.written_files import is_rewritable
from demyjpy.errors import LocalProtocolError, MilterError, TraceError
from demyjpy.mta import client_steps
from demyjpy.testing import Postfix, run
from demyjpy.testing.script import Script
from demyjpy.testing.script_code import as_code, as_steps
from demyjpy.trace.display.wording import shorten
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.live.capsule import Capsule, has_failed_again, load_capsule
from demyjpy.wire.fields import encode_text

_EPILOG: Final = """\
examples:
  demyjpy capsule capsules/20261121T120000Z-5a6aa0f5-1-1.capsule.jsonl
  demyjpy capsule FILE --test tests/test_failure.py --filter myfilter.py:handlers

demyjpy run --capsules DIRECTORY writes capsules. The test plays the session at the filter, and fails as
the handler does. If the session of an SMTP client does not make the handler fail, the test plays the
recorded session itself.
A test that this command has made before is replaced, if the new one fails. No other file is replaced.
Exit status: 0, 1 if the handler does not fail when it is played again, 2 if the arguments are wrong.
"""

_TEST: Final = '''"""Made by demyjpy capsule: {what}."""

{imports}
FILTER = {filter}


def test_{name}_does_not_fail():
    """Nor does any other handler in this session."""
    handlers = {load}(FILTER).on_connect
{body}'''
_MOST_STEPS: Final = 100  # calls of one another; more are too deep for Python's compiler
_LONGEST_NAME: Final = 60
_START: Final = _TEST.partition("{")[0].encode()
_SCRIPT: Final = """\
    script = {script}
{answers}    result = run(handlers, script, mta=Postfix(){given})
    assert [f"{{one.event}}: {{one.error!r}}" for one in result.troubles] == []
"""
_RECORDS: Final = """\
    trace = Trace("session", tuple(map(json.loads, RECORDS)))
    errors = [step.error for step in trace.step(handlers) if step.error is not None]
    assert errors == []
"""


def capsule(arguments: argparse.Namespace) -> int:
    """``demyjpy capsule``: 0; 1 if no test could be made that fails in the same way."""
    try:
        with failing_to(f"read {arguments.capsule}"):
            found = load_capsule(arguments.capsule)
    except TraceError as error:
        raise InputError(str(error)) from error
    if arguments.test is None:
        _show(found)
        return 0
    path = Path(arguments.test)
    has_test = is_rewritable(
        "--test",
        path,
        f"the capsule {path} itself",
        [arguments.capsule],
        "a test that demyjpy capsule has made",
        _START,
    )
    if arguments.filter is None:
        named = f"; this one names {found.file}" if found.file else ""
        raise InputError(
            "expected --filter FILE.py:NAME: a filter is never run only because a capsule "
            f"names it: anybody can write a capsule{named}"
        )
    return _write_test(found, Wanted(arguments.filter, arguments.settings), path, has_test=has_test)


def _show(found: Capsule) -> None:
    when = datetime.fromtimestamp(found.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    say(f"{found.handler} failed at {found.event}: {shorten(f'{found.error}: {found.text}')}")
    say(f"when: {when}, session {found.trace.name}, queue id {found.queue_id or '-'}")
    versions = ", ".join(f"{name} {one}" for name, one in found.versions.items())
    say(f"versions: {versions}", "", "context before:")
    say(*(f"  {key} = {value}" for key, value in sorted(context_words(found.ctx).items())))
    say("", f"session: {', '.join(exchange.name for exchange in found.trace.exchanges)}", "")
    say(*found.traceback.rstrip("\n").split("\n"))


def _write_test(found: Capsule, name: Wanted, path: Path, *, has_test: bool) -> int:
    """Write the test; one that does not fail takes the place of no other (``has_test``)."""
    with redirect_stdout(sys.stderr):  # whatever a filter prints
        handlers = load_filters(name).on_connect
        text = code_of(found, name, handlers)
        fails_again = text is not None or has_failed_again(found, found.trace.step(handlers))
    if fails_again or not has_test:
        with failing_to(f"write {path}"):
            path.write_text(text or code_of_records(found, name), encoding="utf-8")
        say(f"written: {path}")
    if fails_again:
        return 0
    stays = f"; {path} stays as it was" if has_test else ""
    complain(
        "capsule",
        "played again, the handler does not fail: it is not a function of what it gets, or it has been "
        f"changed since{stays}",
    )
    return 1


def code_of(found: Capsule, name: Wanted, handlers: Any) -> str | None:
    """A test with `demyjpy.testing`; None if that would not fail the same way."""
    answers = answers_in(found.trace)
    if answers is None:
        return None
    for script in scripts_of(found.trace):
        level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # it is expected to fail
        try:
            result = run(handlers, script, mta=Postfix(), answers=answer_from(answers))
        except (MilterError, KeyError):
            return None
        finally:
            logging.disable(level)
        if has_failed_again(found, result.observed):
            return code_of_script(found, name, script)
    return None


def code_of_script(found: Capsule, name: Wanted, script: Script) -> str:
    """A test that plays this script, with the answers that were learned then."""
    answers = answers_in(found.trace) or {}
    code = code_of_answers(answers)
    imports = [f"from demyjpy import {name}" for name in ("Failed", "Late") if f": {name}(" in code]
    imports.append(_loading(name)[1])
    answered = {
        "answers": code,
        "given": ", answers=lambda question: answers[repr(question)]" if code else "",
    }
    if _is_writable(script):
        text = as_code(script.steps, raw=script.raw)
        imports += ["from demyjpy.testing import Postfix, run, session"]
    else:
        text = as_steps(script.steps, "    ", raw=script.raw)
        imports += [
            "from demyjpy.mta import client_steps",
            "from demyjpy.testing import Postfix, Script, run",
        ]
    return _fill(found, name, "\n".join(imports) + "\n", _SCRIPT.format(script=text, **answered))


def _is_writable(script: Script) -> bool:
    """Whether methods of a script can build it: they take parameters by name, and nest step in step."""
    paths = [one for one in script.steps if isinstance(one, client_steps.Mail | client_steps.Rcpt)]
    names = [[key for key, _ in one.parameters.words] for one in paths]
    own = {"self", "sender", "address", "raw", "refused"}
    return len(script.steps) <= _MOST_STEPS and all(
        len({*keys}) == len(keys) and own.isdisjoint(keys) for keys in names
    )


def code_of_records(found: Capsule, name: Wanted) -> str:
    """A test that plays the recorded session itself."""
    lines = "\n".join(f"    {json.dumps(record)!r}," for record in found.trace.records)
    imports = (
        f"import json\n\n{_loading(name)[1]}\nfrom demyjpy.trace import Trace\n\n"
        f"RECORDS = [\n{lines}\n]\n"
    )
    return _fill(found, name, imports, _RECORDS)


def _loading(name: Wanted) -> tuple[str, str]:
    """What a test loads filters with, and the import of that."""
    if len(name.filters) == 1 and name.settings is None:
        return "load_filter", "from demyjpy.cli.loading import load_filter"
    return "load_filters", "from demyjpy.cli.loading import Wanted, load_filters"


def _fill(found: Capsule, name: Wanted, imports: str, body: str) -> str:
    short = re.sub(r"\W", "_", found.handler.rpartition(".")[2], flags=re.ASCII)[:_LONGEST_NAME]
    what = shorten(f"{found.handler} failed at {found.event} with {found.error}")
    what = what.replace("\\", "/").replace('"', "'")
    load, _ = _loading(name)
    filters = tuple(map(_anywhere, name.filters))
    if load == "load_filter":
        chosen = repr(filters[0])
    else:
        settings = name.settings and str(Path(name.settings).absolute())
        chosen = f"Wanted({filters!r}, {settings!r})"
    return _TEST.format(
        what=what, imports=imports, filter=chosen, load=load, name=short or "it", body=body
    )


def _anywhere(name: str) -> str:
    """The name of a filter, as it can be loaded from any directory."""
    source, colon, chosen = name.rpartition(":") if ":" in name else (name, ":", "handlers")
    where = str(Path(source).absolute()) if source.endswith(".py") else source
    return f"{where}{colon}{chosen}"


def scripts_of(trace: Trace) -> Iterator[Script]:
    """What to try: the session as a client may lead it, then with nothing put right."""
    script = script_of(trace)
    if len(script.steps) <= _MOST_STEPS:
        with suppress(LocalProtocolError):
            yield Script(()).then(*script.steps)
    yield script


def script_of(trace: Trace) -> Script:
    """The SMTP session that would make an MTA say what was recorded, as far as that is known."""
    writer = _Writer()
    for exchange in trace.exchanges:
        with suppress(MilterError):  # what cannot be read is no step of a client
            writer.take(exchange.event)
    return writer.script()


@define
class _Writer:
    """Steps on their way, from what the MTA said."""

    found: list[client_steps.ClientStep] = field(factory=list)
    connect: client_steps.Connect = field(factory=client_steps.Connect)
    content: list[bytes] = field(factory=list)
    blank: bytes = b"\r\n"
    """The blank line below the header, while it is still to be written."""
    is_open: bool = False

    def take(self, event: ev.Event) -> None:
        """Something that the MTA said."""
        match event:
            case ev.Connect():
                name = None if event.host_name.startswith("[") else event.host_name
                address = event.raw.removeprefix("IPv6:") if event.family in ("4", "6") else ""
                self.connect = client_steps.Connect(address, name, event.port or 0)
            case ev.Hello():
                self.found.append(client_steps.Ehlo(event.greeting))
            case ev.Mail():
                self.finish()
                self.found.append(client_steps.Mail(event.sender, event.parameters))
                self.is_open = True
            case ev.Recipient():
                self._begin()
                self.found.append(client_steps.Rcpt(event.address, event.parameters))
            case ev.Unknown():
                self.found.append(client_steps.Command(event.command))
            case ev.Abort():
                self.finish()
                self.found.append(client_steps.Rset())
            case ev.Header():
                raw = event.raw.replace("\n", "\r\n")
                self._add(encode_text(f"{event.name}:{raw}\r\n"))
            case ev.EndOfHeaders():
                self._add_below_header()
            case ev.Body():
                self._add_below_header(event.data)
            case ev.EndOfMessage():
                self._add_below_header()
                self.finish()

    def _add(self, data: bytes) -> None:
        """More of the message, after the envelope that it needs."""
        self._begin()
        self.content.append(data)

    def _add_below_header(self, data: bytes = b"") -> None:
        """The blank line first, also for a filter that has not asked for it."""
        self._add(self.blank + data)
        self.blank = b""

    def _begin(self) -> None:
        if not self.is_open:
            self.found += (
                client_steps.Mail("sender@example.org"),
                client_steps.Rcpt("recipient@example.net"),
            )
        self.is_open = True

    def finish(self) -> None:
        """The end of a message, if there is one."""
        if self.content:
            self.found.append(client_steps.Data(b"".join(self.content)))
        self.content, self.blank, self.is_open = [], b"\r\n", False

    def script(self) -> Script:
        """All of it."""
        self.finish()
        greeted = any(isinstance(one, client_steps.Ehlo) for one in self.found)
        hello = [] if greeted else [client_steps.Ehlo("client.example")]
        return Script((self.connect, *hello, *self.found), raw=True)


COMMAND: Final = Command(
    capsule,
    "Show a recorded failure of a handler; make a pytest that fails the same way.",
    _EPILOG,
    (
        argument("capsule", metavar="FILE", help="the capsule", is_file=True),
        argument("--test", metavar="FILE.py", help="write a test there, instead of showing it"),
        argument(
            "--filter",
            metavar="FILTER",
            action="append",
            help=f"{FILTER_NAME}; the filter that --test plays. The command never runs a filter only "
            "because a capsule names it. May be repeated: several are merged in this order",
        ),
        evolve(SETTINGS, needs="--filter"),
    ),
)

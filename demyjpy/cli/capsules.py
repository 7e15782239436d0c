"""``demyjpy capsule``: a failure shown, and a test that fails the same way."""

import argparse
import logging
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from demyjpy import events as ev
from demyjpy.cli.loading import load_filter
from demyjpy.cli.replay_words import context_words
from demyjpy.cli.show import safe, shorten
from demyjpy.cli.words import InputError
from demyjpy.errors import MilterError, TraceError
from demyjpy.mta import steps
from demyjpy.testing import Postfix, run
from demyjpy.testing.code import as_code
from demyjpy.testing.script import Script
from demyjpy.trace.capsule import Capsule, has_failed_alike, load_capsule
from demyjpy.trace.files import is_any_of
from demyjpy.trace.reading import dump_record
from demyjpy.trace.session import Trace
from demyjpy.wire.fields import encode_text

_TEST: Final = '''"""Made by demyjpy capsule: {what}."""

{imports}
FILTER = {filter!r}


def test_{name}_does_not_fail():
    """Nor does any other handler in this session."""
    handlers = load_filter(FILTER).on_connect
{body}'''
_START: Final = _TEST.partition("{")[0].encode()
_SCRIPT: Final = """\
    script = {script}
    result = run(handlers, script, mta=Postfix())
    assert [f"{{one.event}}: {{one.error!r}}" for one in result.troubles] == []
"""
_RECORDS: Final = """\
    trace = Trace("session", tuple(map(json.loads, RECORDS.splitlines())))
    errors = [step.error for step in trace.step(handlers) if step.error is not None]
    assert errors == []
"""


def capsule(arguments: argparse.Namespace) -> int:
    """``demyjpy capsule``: 0; 1 where no test could be made that fails the same way."""
    try:
        found = load_capsule(arguments.capsule)
    except OSError as error:
        raise InputError(f"cannot read {arguments.capsule}: {error.strerror}") from error
    except TraceError as error:
        raise InputError(str(error)) from error
    if arguments.test is None:
        _show(found)
        return 0
    name = arguments.filter or found.file
    if not name:
        raise InputError("expected --filter FILE.py:NAME, for the capsule does not tell where it is")
    path = Path(arguments.test)
    return _write_test(found, name, path, has_test=_has_test(path, arguments.capsule))


def _show(found: Capsule) -> None:
    when = datetime.fromtimestamp(found.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    print(f"{safe(found.handler)} failed at {found.event}: {shorten(f'{found.error}: {found.text}')}")
    print(f"when: {when}, session {safe(found.trace.name)}, queue id {safe(found.queue_id or '-')}")
    print("versions:", ", ".join(f"{name} {one}" for name, one in found.versions.items()))
    print("\ncontext before:")
    for key, value in sorted(context_words(found.ctx).items()):
        print(f"  {safe(key)} = {value}")
    print("\nsession:", ", ".join(exchange.name for exchange in found.trace.exchanges))
    print("\n" + "\n".join(map(safe, found.traceback.rstrip("\n").split("\n"))))


def _has_test(path: Path, capsule: str) -> bool:
    """Whether a test of ours is there; `InputError` where anything else is that would be lost."""
    try:
        if is_any_of(path, (capsule,)):
            raise InputError(f"expected a new file for --test, got the capsule {path} itself")
        if not path.is_file() or not path.stat().st_size:
            return False
        with path.open("rb") as file:
            is_ours = file.read(len(_START)) == _START
    except OSError as error:
        raise _cannot_write(path, error) from error
    if not is_ours:
        raise InputError(
            f"expected a new file for --test, or a test that demyjpy capsule has made, got {path}: "
            "choose another name, or remove it"
        )
    return True


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror}")


def _write_test(found: Capsule, name: str, path: Path, *, has_test: bool) -> int:
    """Write the test; one that does not fail takes the place of no other (``has_test``)."""
    with redirect_stdout(sys.stderr):  # whatever a filter prints
        handlers = load_filter(name).on_connect
        text = code_of(found, name, handlers)
        is_alike = text is not None or has_failed_alike(found, found.trace.step(handlers))
    if is_alike or not has_test:
        try:
            path.write_text(text or code_of_records(found, name), encoding="utf-8")
        except OSError as error:
            raise _cannot_write(path, error) from error
        print(f"written: {path}")
    if is_alike:
        return 0
    stays = f"; {path} stays as it was" if has_test else ""
    print(
        "demyjpy capsule: played again, the handler does not fail: it is not a function of what it "
        f"gets, or it has been changed since{stays}",
        file=sys.stderr,
    )
    return 1


def code_of(found: Capsule, name: str, handlers: Any) -> str | None:
    """A test with `demyjpy.testing`; None where that would not fail the same way."""
    script = script_of(found.trace)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # it is expected to fail
    try:
        result = run(handlers, script, mta=Postfix())
    except MilterError:
        return None
    finally:
        logging.disable(level)
    if not has_failed_alike(found, result.observed):
        return None
    imports = (
        "from demyjpy.cli.loading import load_filter\n"
        "from demyjpy.testing import Postfix, Script, run, session\n"
        "from demyjpy.mta import steps\n"
    )
    body = _SCRIPT.format(script=as_code(script.steps))
    needed = [line for line in imports.splitlines() if "steps" not in line or "steps." in body]
    return _fill(found, name, "\n".join(needed) + "\n", body)


def code_of_records(found: Capsule, name: str) -> str:
    """A test that plays the recorded session itself."""
    records = b"".join(map(dump_record, found.trace.records)).decode("utf-8")
    imports = (
        "import json\n\nfrom demyjpy.cli.loading import load_filter\nfrom demyjpy.trace import Trace\n\n"
        f"RECORDS = {records!r}\n"
    )
    return _fill(found, name, imports, _RECORDS)


def _fill(found: Capsule, name: str, imports: str, body: str) -> str:
    short = "".join(one if one.isalnum() else "_" for one in found.handler.rpartition(".")[2])
    what = safe(f"{found.handler} failed at {found.event} with {found.error}")
    what = what.replace("\\", "/").replace('"', "'")
    where = str(Path(name.partition(":")[0]).absolute()) + ":" + (name.partition(":")[2] or "handlers")
    chosen = where if name.partition(":")[0].endswith(".py") else name
    return _TEST.format(what=what, imports=imports, filter=chosen, name=short or "it", body=body)


def script_of(trace: Trace) -> Script:
    """The SMTP session that would make an MTA say what was recorded, as far as that can be told."""
    found: list[steps.Step] = []
    content: list[bytes] | None = None
    connect: steps.Step = steps.Connect()
    is_open = False

    def finish() -> None:
        nonlocal content
        if content is not None:
            found.append(steps.Data(b"".join(content)))
        content = None

    def begin() -> list[bytes]:
        nonlocal is_open
        if not is_open:
            found.extend((steps.Mail("sender@example.org"), steps.Rcpt("recipient@example.net")))
            is_open = True
        return []

    for exchange in trace.exchanges:
        event = exchange.event
        match event:
            case ev.Connect():
                name = None if event.host_name.startswith("[") else event.host_name
                connect = steps.Connect(event.raw.removeprefix("IPv6:"), name, event.port or 0)
            case ev.Hello():
                found.append(steps.Ehlo(event.greeting))
            case ev.Mail():
                finish()
                found.append(steps.Mail(event.sender, event.parameters))
                is_open = True
            case ev.Recipient():
                begin()
                found.append(steps.Rcpt(event.address, event.parameters))
            case ev.Header():
                content = begin() if content is None else content
                raw = event.raw.replace("\n", "\r\n")
                content.append(encode_text(f"{event.name}:{raw}\r\n"))
            case ev.EndOfHeaders() | ev.Body() | ev.EndOfMessage():
                content = begin() if content is None else content
                data = event.data if isinstance(event, ev.Body) else b""
                content.append(data or (b"\r\n" if isinstance(event, ev.EndOfHeaders) else b""))
            case ev.Unknown():
                found.append(steps.Command(event.command))
            case ev.Abort():
                finish()
                found.append(steps.Rset())
                is_open = False
        if isinstance(event, ev.EndOfMessage):
            finish()
            is_open = False
    finish()
    hello = [] if any(isinstance(one, steps.Ehlo) for one in found) else [steps.Ehlo("client.example")]
    return Script((connect, *hello, *found), raw=True)

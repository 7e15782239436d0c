"""How a session reads: as an SMTP dialogue, and as the code that builds it. Text only, for messages."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from demyjpy.errors import LocalProtocolError
from demyjpy.mta import steps
from demyjpy.mta.profiles import Reply
from demyjpy.mta.smtp import Outcome
from demyjpy.mta.steps import Step
from demyjpy.testing.script import Script

_RUN: Final = re.compile(rb"(.)\1{63,}", re.DOTALL)
_LONG_LINE: Final = 100
_MOST_LINES: Final = 20


# ------------------------------------------------------------------------------------ as dialogue
def dialogue(outcomes: Iterable[Outcome]) -> list[str]:
    """Lines that begin with ``C:`` (the client) and ``S:`` (the MTA)."""
    return [line for outcome in outcomes for line in _lines_of(outcome)]


def _lines_of(outcome: Outcome) -> list[str]:
    step = outcome.step
    reply = _reply_lines(outcome.reply)
    if isinstance(step, (steps.Connect, steps.Drop)):
        return [f"-- {_said(step)}", *reply]
    if isinstance(step, steps.Data) and outcome.interim is not None:
        content = [f"C: {line}" for line in content_lines(step.content)]
        return ["C: DATA", *_reply_lines(outcome.interim), *content, "C: .", *reply]
    return [f"C: {_said(step)}", *reply]


def _reply_lines(reply: Reply | None) -> list[str]:
    if reply is None:
        return []
    *first, last = (show(line) for line in reply.text.split("\n"))
    return [*(f"S: {reply.code}-{line}" for line in first), f"S: {reply.code} {last}"]


def _said(step: Step) -> str:
    match step:
        case steps.Connect():
            where = step.address or "standard input"
            return f"connected: {where}" + (f" ({show(step.name)})" if step.name else "")
        case steps.Drop():
            return "disconnected"
        case steps.Ehlo():
            return f"{step.verb} {show(step.name)}"
        case steps.Auth():
            macros = dict(step.macros)
            return f"AUTH {macros.get('auth_type', '')} ({show(macros.get('auth_authen', ''))})"
        case steps.Mail():
            return _envelope_line("MAIL FROM", step.raw or f"<{step.sender}>", step)
        case steps.Rcpt():
            return _envelope_line("RCPT TO", step.raw or f"<{step.address}>", step)
        case steps.Command():
            return show(step.line)
        case _:
            return type(step).__name__.upper()


def _envelope_line(verb: str, address: str, step: steps.Mail | steps.Rcpt) -> str:
    return show(" ".join((f"{verb}:{address}", *step.parameters.as_words())))


def content_lines(content: bytes) -> list[str]:
    """A message or body line by line, long lines and long texts shortened."""
    lines = content.split(b"\r\n")
    if lines[-1] == b"":
        lines.pop()
    shown = [_show_line(line) for line in lines]
    if len(shown) > _MOST_LINES:
        left_out = len(shown) - _MOST_LINES + 1
        shown[_MOST_LINES // 2 : -(_MOST_LINES // 2) + 1] = [f"[{left_out} lines more]"]
    return shown


def _show_line(line: bytes) -> str:
    """A line of a message; long runs of one byte are counted, long lines shortened."""
    counted = _RUN.sub(lambda run: b"[%d times %b]" % (len(run[0]), run[1]), line)
    text = show(counted.decode("utf-8", "surrogateescape"))
    if len(text) <= _LONG_LINE:
        return text
    half = _LONG_LINE // 2
    return f"{text[:half]}[{len(text) - 2 * half} more]{text[-half:]}"


def show(text: str) -> str:
    """Text on one line: bytes that are no UTF-8 and control characters are escaped."""
    return "".join(
        one if one.isprintable() else one.encode("utf-8", "surrogateescape").decode("latin-1")
        .encode("unicode_escape").decode("ascii")
        for one in text
    )


# ---------------------------------------------------------------------------------------- as code
def as_code(script: Script) -> str:
    """The expression that builds a script, to be pasted into a test."""
    helo: dict[str, str | None]
    match script.steps:
        case (steps.Connect() as first, steps.Ehlo(verb="EHLO") as hello, *rest):
            helo = {"helo": hello.name} if hello.name != "client.example" else {}
        case (first, *rest):
            helo = {"helo": None}
    return _start(first, helo) + "".join(_code_of(step) for step in rest)


def _start(step: Step, helo: Mapping[str, object]) -> str:
    if not isinstance(step, steps.Connect):
        raise LocalProtocolError(f"expected a script that begins with session(), got {step!r}")
    given = {"client": step.address, "name": step.name, "port": step.port}
    usual = {"client": "192.0.2.1", "name": None, "port": 40000}
    changed = {key: value for key, value in given.items() if value != usual[key]}
    return f"session({_options({**changed, **helo})})"


def _code_of(step: Step) -> str:
    match step:
        case steps.Ehlo():
            verb = {} if step.verb == "EHLO" else {"verb": step.verb}
            return f".ehlo({_arguments(step.name, verb)})"
        case steps.StartTls():
            return f".starttls({_options(dict(step.macros))})"
        case steps.Auth():
            macros = dict(step.macros)
            user, kind = macros.pop("auth_authen", ""), macros.pop("auth_type", "PLAIN")
            return f".auth({_arguments(user, {'kind': kind, **macros})})"
        case steps.Mail():
            raw = {} if step.raw is None else {"raw": step.raw}
            return f".mail({_arguments(step.sender, {**raw, **dict(step.parameters.words)})})"
        case steps.Rcpt():
            own = {"raw": step.raw, "refused": step.refused}
            set_own = {key: value for key, value in own.items() if value is not None}
            return f".rcpt({_arguments(step.address, {**set_own, **dict(step.parameters.words)})})"
        case steps.Data():
            return f".message({_short(step.content)})"
        case steps.Command():
            return f".command({step.line!r})"
        case _:
            return f".{type(step).__name__.lower()}()"


def _arguments(first: str, options: Mapping[str, object]) -> str:
    return ", ".join(filter(None, (repr(first), _options(options))))


def _options(options: Mapping[str, object]) -> str:
    return ", ".join(
        f"{key}={value!r}" if key.isidentifier() else f"**{{{key!r}: {value!r}}}"
        for key, value in options.items()
    )


def _short(data: bytes) -> str:
    """Bytes as code; a long run of one byte as a product."""
    parts: list[str] = []
    at = 0
    for found in _RUN.finditer(data):
        parts += [repr(data[at : found.start()])] if found.start() > at else []
        parts.append(f"{found[0][:1]!r} * {len(found[0])}")
        at = found.end()
    return " + ".join([*parts, *([repr(data[at:])] if at < len(data) or not parts else [])])

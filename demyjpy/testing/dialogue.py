"""How a session reads: as an SMTP dialogue. Text only, for messages."""

import re
from collections.abc import Iterable
from typing import Final

from demyjpy.mta import client_steps
from demyjpy.mta.client_steps import ClientStep
from demyjpy.mta.profiles import Reply
from demyjpy.mta.smtp_session import Outcome

_RUN: Final = re.compile(rb"(.)\1{63,}", re.DOTALL)
_LONG_LINE: Final = 100
_MOST_LINES: Final = 20


def dialogue(outcomes: Iterable[Outcome]) -> list[str]:
    """Lines that begin with ``C:`` (the client) and ``S:`` (the MTA)."""
    return [line for outcome in outcomes for line in _lines_of(outcome)]


def _lines_of(outcome: Outcome) -> list[str]:
    step = outcome.step
    reply = _reply_lines(outcome.reply)
    if isinstance(step, (client_steps.Connect, client_steps.Drop)):
        return [f"-- {_said(step)}", *reply]
    if isinstance(step, client_steps.Data) and outcome.interim is not None:
        content = [f"C: {line}" for line in content_lines(step.content)]
        return ["C: DATA", *_reply_lines(outcome.interim), *content, "C: .", *reply]
    return [f"C: {_said(step)}", *reply]


def _reply_lines(reply: Reply | None) -> list[str]:
    if reply is None:
        return []
    *first, last = (show(line) for line in reply.text.split("\n"))
    return [*(f"S: {reply.code}-{line}" for line in first), f"S: {reply.code} {last}"]


def _said(step: ClientStep) -> str:
    match step:
        case client_steps.Connect():
            where = step.address or "standard input"
            return f"connected: {where}" + (f" ({show(step.name)})" if step.name else "")
        case client_steps.Drop():
            return "disconnected"
        case client_steps.Ehlo():
            return f"{step.verb} {show(step.name)}"
        case client_steps.Auth():
            macros = dict(step.macros)
            return f"AUTH {macros.get('auth_type', '')} ({show(macros.get('auth_authen', ''))})"
        case client_steps.Mail():
            return _envelope_line("MAIL FROM", step.raw or f"<{step.sender}>", step)
        case client_steps.Rcpt():
            return _envelope_line("RCPT TO", step.raw or f"<{step.address}>", step)
        case client_steps.Command():
            return show(step.line)
        case _:
            return type(step).__name__.upper()


def _envelope_line(verb: str, address: str, step: client_steps.Mail | client_steps.Rcpt) -> str:
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
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(sign: str) -> str:
    """The bytes of a sign, as they would be written in Python."""
    return repr(sign.encode("utf-8", "surrogateescape"))[2:-1]

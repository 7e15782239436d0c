"""How a session with a milter is shown: verdicts and changes in words, a message's changes as a diff.

Values to lines of text; nothing is printed here. Whatever a mail or a milter says is made harmless for
a terminal first.
"""

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import frozen

from demyjpy.mta import steps
from demyjpy.mta.link import Answer, MilterFailedError
from demyjpy.mta.message import Mail
from demyjpy.mta.smtp import Heard, Outcome
from demyjpy.trace.display.wording import edit_words, path_words, plural, safe, shorten, verdict_words
from demyjpy.wire.fields import decode_text, encode_text

__all__ = [
    "Paint",
    "answer_lines",
    "diff_lines",
    "edit_words",
    "failure_words",
    "own_header",
    "paint_for",
    "plural",
    "safe",
    "said",
    "shorten",
    "step_lines",
    "verdict_words",
]

_CODES: Final = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
}
_LONGEST_RUN: Final = 12  # lines of a kind that are shown one after the other
_CONTEXT: Final = 2
_MOST_COMPARED: Final = 1500  # lines; comparing takes the square of it


@frozen
class Paint:
    """Colours, or none."""

    is_on: bool

    def __call__(self, colour: str, text: str) -> str:
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.is_on and text else text


def paint_for(choice: str) -> Paint:
    """What ``--color`` means: colours on a terminal, always, or never."""
    return Paint(choice == "always" or (choice == "auto" and sys.stdout.isatty()))


# ------------------------------------------------------------------------------------- in words
def failure_words(failure: MilterFailedError) -> str:
    """In one line, what a milter did wrong and at which step."""
    if failure.event == "connecting":
        return f"cannot connect: {safe(failure.reason).rpartition(': ')[2]}"
    if failure.event == "options":
        return f"no milter answers there: at the negotiation: {safe(failure.reason)}"
    return f"the milter failed at {failure.event}: {safe(failure.reason)}"


def said(step: steps.Step) -> str:
    """What the client did, as an SMTP line where there is one."""
    match step:
        case steps.Connect():
            where = step.address or "standard input"
            return safe(f"connect from {step.name} [{where}]" if step.name else f"connect from {where}")
        case steps.Ehlo():
            return safe(f"{step.verb} {step.name}")
        case steps.Mail():
            return safe(" ".join((f"MAIL FROM:{step.raw}", *step.parameters.as_words())))
        case steps.Rcpt():
            return safe(" ".join((f"RCPT TO:{step.raw}", *step.parameters.as_words())))
        case steps.Data():
            return f"DATA, {plural(len(step.content), 'byte')}" if step.content else "DATA"
        case steps.Command():
            return shorten(step.line)
        case steps.Drop():
            return "disconnected"
        case _:
            return type(step).__name__.upper()


def answer_lines(heard: Sequence[Heard], names: Sequence[str]) -> Iterator[str]:
    """What the milters answered, a line each; equal answers in a row are one."""
    at = 0
    while at < len(heard):
        one = heard[at]
        count = 1
        while at + count < len(heard) and heard[at + count] == one:
            count += 1
        times = f" x{count}" if count > 1 else ""
        yield f"{safe(names[one.milter])}: {one.event}{times}: {_answer_words(one)}"
        yield from (f"    {edit_words(edit)}" for edit in one.answer.modifications)
        at += count


def _answer_words(heard: Heard) -> str:
    answer: Answer = heard.answer
    if heard.event == "options":
        return "is a milter"
    words = verdict_words(answer.verdict)
    if answer.modifications:
        words += f", {plural(len(answer.modifications), 'change')}"
    if answer.progress:
        words += f", after {plural(answer.progress, 'sign')} of life"
    return words


def step_lines(
    outcome: Outcome, names: Sequence[str], paint: Paint, *, failures: bool = True
) -> Iterator[str]:
    """A step of the client with its reply, and below it what the milters answered.

    ``failures``: and which of them failed.
    """
    reply = outcome.reply
    line = f"{said(outcome.step):<44}"
    if reply is not None:
        colour = "dim" if reply.code < 400 else "yellow" if reply.code < 500 else "red"
        line += " " + paint(colour, shorten(f"{reply.code} {' / '.join(reply.text.split(chr(10)))}"))
    yield line.rstrip()
    yield from (f"    {line}" for line in answer_lines(outcome.heard, names))
    if failures:
        for one in outcome.failed:
            words = f"{safe(names[one.milter])}: {failure_words(one.error)}"
            yield f"    {paint('red', words)}"


# -------------------------------------------------------------------------------------- as diff
def diff_lines(before: Mail, after: Mail, paint: Paint) -> list[str]:
    """What changed from one mail to the other, with a little around it; none where nothing did.

    Envelope, header and body are compared, each by itself; the MTA's own header fields are left out.
    """
    parts = [
        list(_diff(*(part(mail) for mail in (before, after))))
        for part in (_envelope_lines, _header_lines, _body_lines)
    ]
    lines: list[str] = []
    for part in parts:
        if part:
            lines += [*(["..."] if lines else []), *part]
    colours = {"+": "green", "-": "red"}
    return [paint(colours[line[0]], line) if line[0] in colours else line for line in lines]


def _envelope_lines(mail: Mail) -> list[str]:
    envelope = mail.envelope
    return [
        f"MAIL FROM:{path_words(envelope.sender, envelope.parameters)}",
        *(f"RCPT TO:{path_words(address, words)}" for address, words in envelope.recipients),
    ]


def own_header(mail: Mail) -> list[tuple[str, str]]:
    """Names and raw values of the fields that are not the MTA's own, from the top."""
    fields = mail.message.fields
    return [(one.name, one.raw) for one in fields if one.owner == "message" and not one.is_deleted]


def _header_lines(mail: Mail) -> list[str]:
    return [line for name, raw in own_header(mail) for line in f"{name}:{raw}".split("\n")]


def _body_lines(mail: Mail) -> list[str]:
    lines = decode_text(mail.message.body).split("\r\n")
    return lines[:-1] if lines[-1] == "" else lines


def _diff(before: list[str], after: list[str]) -> Iterator[str]:
    """The lines that differ, after ``-`` and ``+``; those around them after a space."""
    if before == after:
        return
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    olds, news = before[start : len(before) - end], after[start : len(after) - end]
    above, below = before[max(0, start - _CONTEXT) : start], before[len(before) - end :][:_CONTEXT]
    yield from (f" {shorten(line)}" for line in above)
    if len(olds) > _MOST_COMPARED or len(news) > _MOST_COMPARED:
        yield from (*_run("-", olds), *_run("+", news))
    else:
        matcher = difflib.SequenceMatcher(None, olds, news, autojunk=False)
        for tag, from_old, to_old, from_new, to_new in matcher.get_opcodes():
            if tag == "equal":
                yield from _run(" ", olds[from_old:to_old])
            else:
                yield from _run("-", olds[from_old:to_old])
                yield from _run("+", news[from_new:to_new])
    yield from (f" {shorten(line)}" for line in below)


def _common(some: Iterable[str], others: Iterable[str]) -> int:
    """How many lines are the same at the start."""
    count = 0
    for one, other in zip(some, others, strict=False):
        if one != other:
            break
        count += 1
    return count


def _run(sign: str, lines: Sequence[str]) -> Iterator[str]:
    """Lines of one kind; the middle of many is left out."""
    most = 2 * _CONTEXT if sign == " " else _LONGEST_RUN
    if len(lines) <= most + 1:
        yield from (f"{sign}{shorten(line)}" for line in lines)
        return
    half = most // 2
    left_out = lines[half:-half]
    size = sum(len(encode_text(line)) + 2 for line in left_out)
    yield from (f"{sign}{shorten(line)}" for line in lines[:half])
    yield f"{sign}[{len(left_out)} lines more, {size} bytes]"
    yield from (f"{sign}{shorten(line)}" for line in lines[-half:])

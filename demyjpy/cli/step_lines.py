"""A session with a milter in lines of text: each step, what the milters answered, what failed.

Nothing is printed here. Whatever a mail or a milter says is made harmless for a terminal first.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from demyjpy.cli.output import Paint
from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import Answer, MilterFailedError
from demyjpy.mta.smtp_session import Heard, Outcome
from demyjpy.shown import safe
from demyjpy.trace.display.wording import edit_words, plural, shorten, verdict_words
from demyjpy.verdicts import join_bodies


def failure_words(failure: MilterFailedError) -> str:
    """In one line, what a milter did wrong and at which step."""
    if failure.event == "connecting":
        reason = safe(failure.reason).rpartition(": ")[2]
        return f"cannot connect: {reason}; is the milter running (demyjpy run ... --listen ADDRESS)?"
    if failure.event == "options":
        return f"no milter answers there: at the negotiation: {safe(failure.reason)}"
    return f"the milter failed at {failure.event}: {safe(failure.reason)}"


def smtp_line(step: client_steps.ClientStep) -> str:
    """What the client did, as an SMTP line if there is one."""
    match step:
        case client_steps.Connect():
            where = step.address or "standard input"
            return safe(f"connect from {step.name} [{where}]" if step.name else f"connect from {where}")
        case client_steps.Ehlo():
            return safe(f"{step.verb} {step.name}")
        case client_steps.Mail():
            return safe(" ".join((f"MAIL FROM:{step.raw}", *step.parameters.as_words())))
        case client_steps.Rcpt():
            return safe(" ".join((f"RCPT TO:{step.raw}", *step.parameters.as_words())))
        case client_steps.Data():
            return f"DATA, {plural(len(step.content), 'byte')}" if step.content else "DATA"
        case client_steps.Command():
            return shorten(step.line)
        case client_steps.Drop():
            return "disconnected"
        case _:
            return type(step).__name__.upper()


def answer_lines(heard: Sequence[Heard], names: Sequence[str]) -> Iterator[str]:
    """What the milters answered, a line each; equal answers in a row are one, and so is a long body."""
    for one, equal in groupby(heard):
        count = len(list(equal))
        times = f" x{count}" if count > 1 else ""
        yield f"{safe(names[one.milter])}: {one.event}{times}: {_answer_words(one)}"
        yield from (f"    {edit_words(edit)}" for edit in join_bodies(one.answer.modifications))


def _answer_words(heard: Heard) -> str:
    answer: Answer = heard.answer
    if heard.event == "options":
        return "is a milter"
    words = verdict_words(answer.verdict)
    if answer.modifications:
        words += f", {plural(len(join_bodies(answer.modifications)), 'change')}"
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
    line = f"{smtp_line(outcome.step):<44}"
    if reply is not None:
        colour = "dim" if reply.code < 400 else "yellow" if reply.code < 500 else "red"
        line += " " + paint(colour, shorten(f"{reply.code} {' / '.join(reply.text.split(chr(10)))}"))
    yield line.rstrip()
    yield from (f"    {line}" for line in answer_lines(outcome.heard, names))
    if failures:
        for one in outcome.failed:
            words = f"{safe(names[one.milter])}: {failure_words(one.error)}"
            yield f"    {paint('red', words)}"

"""What changed from one mail to another, as lines of text: envelope, header fields and body.

Nothing is printed here. Whatever a mail says is made harmless for a terminal first.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Final

from demyjpy.cli.output import Paint
from demyjpy.mta.stored_mail import StoredMail
from demyjpy.trace.display.wording import path_words, shorten
from demyjpy.wire.fields import decode_text, encode_text

_LONGEST_RUN: Final = 12  # lines of a kind that are shown one after the other
_CONTEXT: Final = 2
_MOST_COMPARED: Final = 1500  # lines; comparing takes the square of it


def diff_lines(before: StoredMail, after: StoredMail, paint: Paint) -> list[str]:
    """What changed from one mail to the other, with a little around it; none if nothing did.

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


def _envelope_lines(mail: StoredMail) -> list[str]:
    envelope = mail.envelope
    return [
        f"MAIL FROM:{path_words(envelope.sender, envelope.parameters)}",
        *(f"RCPT TO:{path_words(address, words)}" for address, words in envelope.recipients),
    ]


def own_header(mail: StoredMail) -> list[tuple[str, str]]:
    """Names and raw values of the fields that are not the MTA's own, from the top."""
    fields = mail.message.fields
    return [(one.name, one.raw) for one in fields if one.owner == "message" and not one.is_deleted]


def _header_lines(mail: StoredMail) -> list[str]:
    return [line for name, raw in own_header(mail) for line in f"{name}:{raw}".split("\n")]


def _body_lines(mail: StoredMail) -> list[str]:
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
    pairs = zip(some, others, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


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

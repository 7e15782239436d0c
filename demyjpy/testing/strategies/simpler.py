"""Simpler examples than one that goes wrong: what Hypothesis leaves over is taken away step by step."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import evolve

from demyjpy.errors import LocalProtocolError
from demyjpy.mta import client_steps
from demyjpy.mta.client_steps import ClientStep
from demyjpy.testing.script import Script
from demyjpy.testing.strategies.trial import Example

_LONGEST_CUT: Final = 6
_ADDRESS: Final = "alice@example.org"


def simplest(example: Example, is_still_wrong: Callable[[Example], bool]) -> Example:
    """The example after every simplification with which it is still wrong."""
    while True:
        better = next(filter(is_still_wrong, simpler(example)), None)
        if better is None:
            return example
        example = better


def simpler(example: Example) -> Iterator[Example]:
    """Examples that are simpler by one thing: without some steps, with plainer ones, a plainer cut."""
    whole = example.script.steps
    first = 2 if len(whole) > 1 and isinstance(whole[1], client_steps.Ehlo) else 1
    for length in range(_LONGEST_CUT, 0, -1):
        for at in range(first, len(whole) - length + 1):
            yield from _with_steps(example, (*whole[:at], *whole[at + length :]))
    for at, step in enumerate(whole):
        for plainer in _plainer(step):
            yield from _with_steps(example, (*whole[:at], plainer, *whole[at + 1 :]))
    if example.chunk != (1,):
        yield evolve(example, chunk=(1,))


def _with_steps(example: Example, some: Sequence[ClientStep]) -> Iterator[Example]:
    """The example with these steps, if a client may do them."""
    try:
        yield evolve(example, script=Script(()).then(*some))
    except LocalProtocolError:
        return


def _plainer(step: ClientStep) -> Iterator[ClientStep]:
    plain: list[ClientStep] = []
    match step:
        case client_steps.Connect():
            plain = [client_steps.Connect()]
        case client_steps.Ehlo():
            plain = [client_steps.Ehlo()]
        case client_steps.Mail():
            plain = [evolve(step, parameters=None), evolve(step, sender=_ADDRESS)]
        case client_steps.Rcpt():
            changes = ({"parameters": None}, {"address": _ADDRESS}, {"refused": None})
            plain = [evolve(step, **change) for change in changes]
        case client_steps.Data():
            plain = [client_steps.Data(content) for content in _plainer_contents(step.content)]
    yield from (one for one in plain if one != step)


def _plainer_contents(content: bytes) -> Iterator[bytes]:
    """Without some lines; the empty line between header and body stays."""
    header, empty, body = content.partition(b"\r\n\r\n")
    if content.startswith(b"\r\n"):
        header, empty, body = b"", b"\r\n", content[2:]
    for shorter in _without_a_line(header):
        yield (shorter + b"\r\n" if shorter else b"") + b"\r\n" + body
    for shorter in _without_a_line(body):
        yield header + empty + shorter


def _without_a_line(text: bytes) -> Iterator[bytes]:
    lines = text.split(b"\r\n")
    if text:
        yield b""
    for at in range(len(lines)):
        yield b"\r\n".join(lines[:at] + lines[at + 1 :])

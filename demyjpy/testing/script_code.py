"""How a session is written: the code that builds given steps. Text only."""

import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import asdict

from demyjpy.mta import client_steps
from demyjpy.mta.client_steps import ClientStep
from demyjpy.wire.fields import Parameters

_RUN: Final = re.compile(rb"(.)\1{63,}", re.DOTALL)


_MOST_PIECES: Final = 50  # a longer sum is too deep for Python's compiler


def as_code(some: Sequence[ClientStep], *, raw: bool = False) -> str:
    """The expression that builds a script of these steps, to be pasted into a test."""
    helo: dict[str, str | None] = {"helo": None}
    match some:
        case (client_steps.Connect() as first, client_steps.Ehlo(verb="EHLO") as hello, *rest):
            helo = {"helo": hello.name} if hello.name != "client.example" else {}
        case (client_steps.Connect() as first, *rest):
            pass
        case _:
            return f"Script({tuple(some)!r})"
    given = {"client": first.address, "name": first.name, "port": first.port}
    usual = {"client": "192.0.2.1", "name": None, "port": 40000}
    changed = {key: value for key, value in given.items() if value != usual[key]}
    taken = {"raw": True} if raw else {}
    return f"session({_options({**changed, **helo, **taken})})" + "".join(
        _code_of(step) for step in rest
    )


def as_steps(some: Sequence[ClientStep], indent: str, *, raw: bool = True) -> str:
    """The same as a `Script` of ``client_steps``: for what the methods of a script cannot write.

    Any number of steps is one level deep, and every parameter is kept as it is.
    """
    lines = [f"{indent}        {_step_of(step)}," for step in some]
    return "\n".join(
        ["Script(", f"{indent}    (", *lines, f"{indent}    ),", f"{indent}    raw={raw},", f"{indent})"]
    )


def _step_of(step: ClientStep) -> str:
    values = asdict(step, recurse=False).values()
    return f"client_steps.{type(step).__name__}({', '.join(map(_value, values))})"


def _value(value: object) -> str:
    if isinstance(value, Parameters):
        return repr(tuple(value.words))
    return _short(value) if isinstance(value, bytes) else repr(value)


def _code_of(step: ClientStep) -> str:
    match step:
        case client_steps.Ehlo():
            verb = {} if step.verb == "EHLO" else {"verb": step.verb}
            return f".ehlo({_arguments(step.name, verb)})"
        case client_steps.StartTls():
            return f".starttls({_options(dict(step.macros))})"
        case client_steps.Auth():
            macros = dict(step.macros)
            user, kind = macros.pop("auth_authen", ""), macros.pop("auth_type", "PLAIN")
            return f".auth({_arguments(user, {'kind': kind, **macros})})"
        case client_steps.Mail():
            raw = {} if step.raw is None else {"raw": step.raw}
            return f".mail({_arguments(step.sender, {**raw, **dict(step.parameters.words)})})"
        case client_steps.Rcpt():
            own = {"raw": step.raw, "refused": step.refused}
            set_own = {key: value for key, value in own.items() if value is not None}
            return f".rcpt({_arguments(step.address, {**set_own, **dict(step.parameters.words)})})"
        case client_steps.Data():
            return f".message({_short(step.content)})"
        case client_steps.Command():
            return f".command({step.line!r})"
        case _:
            return f".{type(step).__name__.lower()}()"


def _arguments(first: str, options: Mapping[str, object]) -> str:
    return ", ".join(filter(None, (repr(first), _options(options))))


def _options(options: Mapping[str, object]) -> str:
    return ", ".join(
        f"{key}={value!r}" if _is_plain(key) else f"**{{{key!r}: {value!r}}}"
        for key, value in options.items()
    )


def _is_plain(key: str) -> bool:
    """Whether Python takes it as the name of an argument; letters beyond ASCII it would fold."""
    is_reserved = keyword.iskeyword(key) or key == "__debug__"
    return key.isascii() and key.isidentifier() and not is_reserved


def _short(data: bytes) -> str:
    """Bytes as code; a long run of one byte as a product."""
    parts: list[str] = []
    at = 0
    for found in _RUN.finditer(data):
        parts += [repr(data[at : found.start()])] if found.start() > at else []
        parts.append(f"{found[0][:1]!r} * {len(found[0])}")
        at = found.end()
    parts += [repr(data[at:])] if at < len(data) or not parts else []
    return " + ".join(parts) if len(parts) <= _MOST_PIECES else f"b''.join(({', '.join(parts)}))"

"""Questions to programs: started for each question, without a shell, bounded in time and output."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final, Self

from attrs import field, frozen

from demyjpy.declarations import EFFECT_KEY
from demyjpy.errors import HandlerError, describe
from demyjpy.lookups.clients import client_of
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError, UnansweredError
from demyjpy.questions import Question, check_seconds

__all__ = ["Programs", "RunProgram"]

POOL: Final = 10
MOST_OUTPUT: Final = 65_536
"""Bytes that a program may write; one that writes more is killed."""

_MOST_ERRORS: Final = 1_000
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Programs:
    """Runs programs. A filter without such a resource has the default.

    ``pool``: programs at once. ``timeout``: seconds for one that says nothing else. The other options
    are those of `demyjpy.lookups.guard.Guard`. Each program has a circuit breaker of its own, which
    opens if it is not there: what hangs may do so because of one mail.
    """

    def __init__(self, *, pool: int = POOL, timeout: float = TIMEOUT, **breaker: Any) -> None:
        self._guard = Guard("program", places=pool, timeout=timeout, **breaker)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()

    async def run(
        self, command: tuple[str, ...], given: bytes, seconds: float | None
    ) -> tuple[int, bytes, bytes]:
        """The exit status of a program, and what it wrote. Errors as of `Guard.ask`."""

        async def is_there() -> None:
            if shutil.which(command[0], path=_PATH) is None:
                raise UnansweredError("no such program")

        return await self._guard.ask(
            command[0], lambda: _run(command, given), is_alive=is_there, seconds=seconds
        )


async def _run(command: tuple[str, ...], given: bytes) -> tuple[int, bytes, bytes]:
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(
        *(os.fsencode(one) for one in command),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        limit=MOST_OUTPUT,
        env={"PATH": _PATH, "LANG": "C.UTF-8"},
        start_new_session=True,  # so that what it starts ends with it
    )
    has_ended = False
    try:
        async with asyncio.TaskGroup() as group:
            out = group.create_task(_read(program.stdout, MOST_OUTPUT))
            errors = group.create_task(_read(program.stderr, MOST_OUTPUT))
            group.create_task(_write(program.stdin, given))
        status = await program.wait()
        has_ended = True
        return status, out.result(), errors.result()[-_MOST_ERRORS:]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        if not has_ended:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
        # its pipes, too: it does not count as ended while one is full that nobody reads
        program._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
        await program.wait()


async def _read(reader: Any, most: int) -> bytes:
    parts, left = [], most
    while part := await reader.read(left + 1):
        left -= len(part)
        if left < 0:
            raise RefusedError(f"expected at most {most} bytes of output, got more: it was killed")
        parts.append(part)
    return b"".join(parts)


async def _write(writer: Any, given: bytes) -> None:
    with suppress(ConnectionError, RuntimeError):  # it need not read; uvloop raises the second
        writer.write(given)
        await writer.drain()
        writer.close()


def _words(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, tuple | list):
        raise HandlerError(f'expected words as in ("spamc", "-c"), got {describe(given)}')
    for one in given:
        if not isinstance(one, str) or "\0" in one:
            raise HandlerError("expected words that are texts without NUL, got another")
    return tuple(given)


def _command(given: Any) -> tuple[str, ...]:
    words = _words(given)
    if not words or not words[0]:
        raise HandlerError("expected the name of a program, got none")
    return words


def _seconds(value: Any) -> float | None:
    return None if value is None else check_seconds("timeout=", value)


@frozen
class RunProgram(Question):
    """What a program says: a map of its exit ``status``, its ``output``, and the end of its ``errors``.

    ``command``: the program with its options, as ``("check", "-q", "--")``; ``arguments`` follow. These
    may be of a mail: without ``--`` before them, one that begins with ``-`` is an error. There is no
    shell. ``given``: its standard input. Output is bytes, at most `MOST_OUTPUT`. After ``timeout``
    seconds it is killed, with all that it has started. Its environment is ``PATH`` and ``LANG``.
    ``using``: the name of the resource. It may be an effect, too: then any status but 0 is a failure.
    """

    command: tuple[str, ...] = field(converter=_command)
    arguments: tuple[str, ...] = field(default=(), converter=_words)
    given: bytes = b""
    timeout: float | None = field(default=None, converter=_seconds)
    using: str = "programs"
    examples: ClassVar[tuple[Any, ...]] = (
        {"status": 0, "output": b"", "errors": b""},
        {"status": 1, "output": b"", "errors": b"no"},
    )

    def __attrs_post_init__(self) -> None:
        if self.command[-1] != "--" and any(one.startswith("-") for one in self.arguments):
            raise HandlerError(
                "expected arguments=, which may be of a mail, not to begin with '-', got one that does: "
                "it would be an option. Options of your own stand in command=; if the program knows "
                "'--', let that end with it"
            )

    async def perform(self, resources: Mapping[str, Any]) -> dict[str, Any]:
        """Run it. `RefusedError` if a signal has ended it, or an effect has another status than 0."""
        programs = client_of(resources, self.using, Programs, Programs)
        command = (*self.command, *self.arguments)
        status, output, errors = await programs.run(command, self.given, self.timeout)
        if status < 0:
            raise RefusedError(f"{command[0]} was ended by signal {-status}")
        if status and EFFECT_KEY in resources:
            raise RefusedError(f"expected {command[0]} to end with status 0, got {status}")
        return {"status": status, "output": output, "errors": errors}

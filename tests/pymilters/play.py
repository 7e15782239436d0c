"""Starts a filter on one of the two Pythons, and plays the sessions at it over its socket."""

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from demyjpy.mta.channel import Channel, Timeouts
from demyjpy.mta.profiles import Postfix, Profile, Sendmail
from demyjpy.mta.smtp_session import new_session
from demyjpy.testing import Script
from demyjpy.testing.result import Played, Result
from demyjpy.testing.run import messages_of, play_steps
from tests.integration import fetch_milters
from tests.integration.ports import free_port, wait_until
from tests.pymilters.filters import Filter
from tests.pymilters.outcomes import Outcome, outcome_of
from tests.pymilters.place import environment

Outcomes: TypeAlias = dict[tuple[str, str], Outcome]
"""What came of each session, by its name and the MTA's."""

MTAS: Final = (Postfix(), Sendmail())
TIMEOUTS: Final = Timeouts(2.0, 2.0, 2.0)
RESOLVER: Final = "127.0.0.77"

AT_ADDRESS: Final = """
import runpy, sys
import Milter
address, script, real = sys.argv[1], sys.argv[2], Milter.runmilter
Milter.runmilter = lambda name, socketname, *more, **options: real(name, address, *more, **options)
sys.argv = [script, *sys.argv[3:]]
runpy.run_path(script, run_name="__main__")
"""
"""Runs a script that has an address of its own on real pymilter, at another one."""


def command_of(one: Filter, script: list[str], address: str, is_ours: bool) -> list[str]:
    """How a filter is started."""
    if is_ours:
        listen = ["--listen", address] if one.has_own_address else []
        run = [sys.executable, "-m", "demyjpy", "run", "--allow-root", "--pymilter", script[0], *listen]
        return [*run, "--", *script[1:]]
    python = str(fetch_milters.pymilter_python())
    return [python, "-c", AT_ADDRESS, address, *script] if one.has_own_address else [python, *script]


@contextmanager
def running(one: Filter, is_ours: bool, *, unix: bool = False) -> Iterator[str]:
    """The filter while the block runs; its address. `RuntimeError` with its words if it ends at once."""
    with ExitStack() as stack:
        where = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pm", dir="/run")))
        where.chmod(0o755)
        address = f"unix:{where}/s" if unix else f"inet:{free_port()}@127.0.0.1"
        script = one.prepare(where, address)
        command = command_of(one, script, address, is_ours)
        log = stack.enter_context((where / "log").open("w+b"))
        process = subprocess.Popen(
            in_its_own_world(command, where),
            cwd=where,
            env={**environment(one.directory, is_ours), "TMPDIR": str(where)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: listens(address) or process.poll() is not None, f"{one.name} listens", 20)
            if process.poll() is not None:
                raise RuntimeError(f"{one.name} ended: {(where / 'log').read_text(errors='replace')}")
            yield address
        finally:
            process.kill()  # libmilter needs seconds to end by itself
            process.wait()


def in_its_own_world(command: list[str], where: Path) -> list[str]:
    """A command that asks our resolver, and has a place for its log."""
    (where / "resolv.conf").write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")
    mount = f"mount --bind {where}/resolv.conf /etc/resolv.conf"
    return ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *command]


def listens(address: str) -> bool:
    """Whether somebody takes connections there."""
    kind, _, rest = address.partition(":")
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family) as probe:
        where = rest if kind == "unix" else ("127.0.0.1", int(rest.partition("@")[0]))
        return not probe.connect_ex(where)


def outcomes(address: str, sessions: Mapping[str, Script]) -> Outcomes:
    """What comes of each session, played as each MTA would."""
    return {
        (name, mta.name): outcome_of(_played(address, script, mta))
        for name, script in sessions.items()
        for mta in MTAS
    }


def _played(address: str, script: Script, mta: Profile) -> Result:
    with Channel(address, TIMEOUTS) as channel:
        steps = play_steps(script, new_session(mta), [channel])
        played = tuple(Played(outcome) for _, outcome in steps)
    return Result(mta, played, messages_of(played))

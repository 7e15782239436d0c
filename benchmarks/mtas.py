"""Mail through a real Postfix or Sendmail: ``smtp-source`` to the server to ``smtp-sink``.

The servers are those of ``tests/integration``, unpacked below ``/var/tmp/demyjpy-mta`` by
``python -m tests.integration.fetch_mtas``; so are both programs, which belong to Postfix. Run by
`benchmarks.run` with an interpreter that has what these tests need. Prints a line of JSON:
``ms_a_mail``, one after the other, and ``mails_s``, several sessions at once. A session has one mail.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.integration.fetch_mtas import PREFIX, library_path, what_is_missing
from tests.integration.mta import Server
from tests.integration.ports import free_port, wait_until
from tests.integration.postfix import Postfix
from tests.integration.sendmail import Sendmail

SERVERS: Final[dict[str, type[Server]]] = {"postfix": Postfix, "sendmail": Sendmail}
_BODY: Final = 2048


def _program(name: str) -> str:
    return str(PREFIX / "postfix/usr/sbin" / name)


def _environment() -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": library_path()}


def _accepts(port: int) -> bool:
    probe = subprocess.run(
        [_program("smtp-source"), "-m", "1", f"127.0.0.1:{port}"],
        env=_environment(),
        capture_output=True,
        check=False,
    )
    return probe.returncode == 0


@contextmanager
def running_sink() -> Iterator[int]:
    """smtp-sink, which throws all mail away; its port."""
    port = free_port()
    command = [_program("smtp-sink"), "-u", "nobody", f"127.0.0.1:{port}", "1000"]
    with subprocess.Popen(command, env=_environment()) as process:
        try:
            wait_until(lambda: _accepts(port), "smtp-sink accepts mail")
            yield port
        finally:
            process.kill()


def send(port: int, mails: int, sessions: int) -> float:
    """Seconds until the server has taken so many mails."""
    command = [_program("smtp-source"), "-m", str(mails), "-s", str(sessions), "-l", str(_BODY)]
    command += ["-f", "sender@example.net", "-t", "rcpt@example.org", f"127.0.0.1:{port}"]
    start = time.monotonic()
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"smtp-source: {done.stderr.strip()}")
    return time.monotonic() - start


def _wait_for_mails(server: Server, wanted: int) -> str:
    """The server's log, once it says that so many mails were passed on; or `SystemExit`."""
    log, sent = "", 0
    end = time.monotonic() + 30
    while sent < wanted:
        if time.monotonic() > end:
            sys.exit(f"expected {wanted} mails to be passed on, got {sent}; the log ends: {log[-800:]}")
        time.sleep(0.05)
        log += server.new_log_lines() + "\n"
        sent = len(re.findall(r"status=sent|stat=Sent", log))
    return log


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Send mail through a real mail server.")
    parser.add_argument("--mta", choices=sorted(SERVERS), required=True)
    parser.add_argument(
        "--milter",
        action="append",
        default=[],
        help="its address, once for each in a row; without it the server asks nobody",
    )
    parser.add_argument("--mails", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=4)
    arguments = parser.parse_args()
    missing = what_is_missing()
    if missing or os.geteuid() != 0:
        sys.exit(
            f"expected root and both servers, got {missing or 'another user'}; run as root: "
            "python3 tests/integration/fetch_mtas.py"
        )
    with running_sink() as sink, SERVERS[arguments.mta](arguments.milter, sink) as server:
        send(server.port, arguments.sessions * 2, arguments.sessions)  # its processes are there now
        server.settle()
        one_by_one = send(server.port, arguments.mails // 2, 1)
        server.settle()
        at_once = send(server.port, arguments.mails, arguments.sessions)
        log = _wait_for_mails(server, arguments.sessions * 2 + arguments.mails // 2 + arguments.mails)
    figures = {
        "ms_a_mail": one_by_one * 1e3 / (arguments.mails // 2),
        "mails_s": arguments.mails / at_once,
        "errors": log.count("milter-reject") + log.count("Milter: to error state"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

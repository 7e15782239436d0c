"""Milters that `demyjpy run` serves: the program, its log, and what an MTA says to it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cli.filters import ROOT
from tests.engine.harness import join


def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """The command line as a program."""
    return subprocess.Popen(
        [sys.executable, "-m", "demyjpy", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


@contextmanager
def serving(*arguments: str, end: int = signal.SIGTERM) -> Iterator[tuple[list[str], list[str]]]:
    """``demyjpy run`` while the block runs, then a signal: its output so far, and its log at last."""
    log: list[str] = []
    with start("run", "--allow-root", *arguments) as program:
        try:
            yield read_lines(program), log
        finally:
            program.send_signal(end)
        log += program.communicate(timeout=30)[1].splitlines()
    assert program.returncode == 0, log


def port_in(lines: list[str]) -> int:
    """The port in the line for Postfix."""
    (line,) = (line for line in lines if line.startswith("smtpd_milters"))
    return int(line.rpartition(":")[2])


def talk(port: int, *packets: Any) -> bytes:
    """All that a filter answers to these packets, after which the MTA is gone."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as mta:
        mta.sendall(join(packets))
        mta.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: mta.recv(4096), b""))


def read_lines(program: "subprocess.Popen[str]") -> list[str]:
    """What it prints up to the last line for the MTAs."""
    lines: list[str] = []
    while not lines or not lines[-1].startswith("INPUT_MAIL_FILTER"):
        line = program.stdout.readline()
        assert line, program.stderr.read()
        lines.append(line.rstrip("\n"))
    return lines


def wait_for(program: "subprocess.Popen[str]", word: str) -> str:
    """The next line of the log with this word."""
    while line := program.stderr.readline():
        if word in line:
            return line
    raise AssertionError(f"expected {word} in the log, got its end")

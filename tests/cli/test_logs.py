"""The log as text and JSON, in files and in syslog."""

import json
import logging
import multiprocessing
import socket
from contextlib import contextmanager

import pytest

from demyjpy import AddressError, HandlerError, RemoteProtocolError
from demyjpy.cli import logs
from demyjpy.cli.logs import JsonLines, SharedFile, logging_to
from demyjpy.drivers.report import log, log_trouble
from demyjpy.engine.connection import Trouble

TROUBLE = Trouble(HandlerError("on\npurpose"), "mail", "filter.check", "4dX", "192.0.2.1")


def test_a_record_as_json(tmp_path):
    """One line with all that is known, whatever is in it."""
    path = tmp_path / "log"
    with logging_to(str(path), "info", as_json=True):
        log_trouble(TROUBLE, "1a-1")
        log.info("to all")
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert {
        key: first[key] for key in ("level", "session", "queue_id", "client", "event", "handler")
    } == {
        "level": "error",
        "session": "1a-1",
        "queue_id": "4dX",
        "client": "192.0.2.1",
        "event": "mail",
        "handler": "filter.check",
    }
    assert first["message"].startswith("session 1a-1: queue id 4dX: client 192.0.2.1: filter.check")
    assert "HandlerError" in first["traceback"]
    assert second["message"] == "to all"
    assert "session" not in second


def test_a_record_as_text(capsys):
    """Time, level, message; by default to standard error."""
    with logging_to("stderr", "warning", as_json=False):
        log.info("not told")
        log_trouble(Trouble(RemoteProtocolError("a", "b"), client="x\ny"), "1a-1")
    line = capsys.readouterr().err
    assert " WARNING session 1a-1: queue id -: client 'x\\ny': the MTA broke" in line


@pytest.mark.parametrize("as_json", [False, True])
def test_a_record_in_syslog(tmp_path, monkeypatch, as_json):
    """One datagram of the facility mail."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as device:
        device.bind(str(tmp_path / "log"))
        device.settimeout(20)
        monkeypatch.setattr(logs, "DEVICE", str(tmp_path / "log"))
        with logging_to("syslog", "info", as_json=as_json):
            log_trouble(TROUBLE, "1a-1")
        said = device.recv(65536).rstrip(b"\0")
    assert said.startswith(b"<19>demyjpy[")  # mail is 2, error is 3
    assert b"\n" not in said
    assert (b'"client": "192.0.2.1"' in said) == as_json


def test_a_file_that_is_full_is_moved_away(tmp_path):
    """So many old ones are kept."""
    path = tmp_path / "log"
    with logging_to(str(path), "info", as_json=False, size=50, kept=2):
        for number in range(5):
            log.info("%s", f"{number}" * 40)
    found = {
        one.name: one.read_text().split()[-1][0] for one in tmp_path.iterdir() if "lock" not in one.name
    }
    assert found == {"log": "4", "log.1": "3", "log.2": "2"}


def _write(path: str, word: str) -> None:
    handler = SharedFile(path, 500, 100)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for number in range(200):
        handler.handle(logging.makeLogRecord({"msg": f"{word} {number}"}))
    handler.close()


def test_processes_share_a_file(tmp_path):
    """No record is lost where several write and move it away."""
    path = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(str(path), word)) for word in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    files = [one for one in tmp_path.iterdir() if "lock" not in one.name]
    lines = [line for one in files for line in one.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{word} {number}" for word in "abc" for number in range(200))
    assert len(files) > 2


def test_a_file_that_is_gone_is_made_again(tmp_path):
    """Whoever moved it."""
    path = tmp_path / "log"
    with logging_to(str(path), "info", as_json=False, size=1000):
        path.unlink()
        log.info("first")
        path.rename(tmp_path / "old")
        log.info("second")
    assert path.read_text().endswith("second\n")


def test_a_file_that_cannot_be_made_again(tmp_path, monkeypatch):
    """Records go on into the old one, and whoever says them notices nothing."""
    path = tmp_path / "log"
    with logging_to(str(path), "info", as_json=False):
        log.info("first")
        path.rename(tmp_path / "old")
        monkeypatch.setattr(SharedFile, "_open", refuse)
        log.info("second")
        monkeypatch.undo()
        log.info("third")
    assert (tmp_path / "old").read_text().endswith("second\n")
    assert path.read_text().endswith("third\n")


def refuse(*_):
    """As a directory of somebody else's does."""
    raise PermissionError(13, "Permission denied")


def test_a_file_that_only_root_may_make(tmp_path, monkeypatch):
    """Is made by root, if that is who we are, in place of the user that will write it."""

    @contextmanager
    def acting_as(user, group):
        assert (user, group) == ("filter", None)
        refuse()
        yield

    monkeypatch.setattr(logs, "acting_as", acting_as)
    path = tmp_path / "log"
    with logging_to(str(path), "info", as_json=False, owner=("filter", None)):
        log.info("first")
    assert path.read_text().endswith("first\n")


def test_a_place_that_cannot_be_had(tmp_path):
    """Is an error in one line."""
    with (
        pytest.raises(AddressError, match=r"cannot log to .*: No such file"),
        logging_to(str(tmp_path / "none" / "log"), "info", as_json=False),
    ):
        pass


def test_what_has_no_session():
    """Its record has no such facts; whatever it says is a line of ASCII."""
    said = JsonLines().format(logging.makeLogRecord({"msg": "\udcff\n"}))
    assert said.isascii()
    assert "\n" not in said
    line = json.loads(said)
    assert line["message"] == "\udcff\n"
    assert set(line) == {"time", "level", "logger", "process", "message"}

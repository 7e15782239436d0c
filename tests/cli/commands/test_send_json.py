"""`demyjpy send --json`: one object with all of it."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

from demyjpy import (
    ChangeSender,
    ReplaceBody,
    running,
)
from tests.cli.conftest import MAIL
from tests.cli.filters import doing
from tests.cli.servers import answering, listening

Run = Callable[..., tuple[int, str, str]]


def test_json_has_all_of_it(run: Run, tmp_path: Path) -> None:
    """Steps, answers, changes, and the mail before and after, as text that any reader takes."""
    path = tmp_path / "mail"
    path.write_bytes(MAIL.replace(b"hi", b"\xff\xfe") + b"\x80\x00\n")
    edits = (ReplaceBody(b"new \xff\r\n"), ChangeSender("x@example.org", "RET=HDRS"))
    with running(doing(*edits)) as address:
        status, output, errors = run("send", "--to", address, path, "--json")
    assert (status, errors) == (0, "")
    assert "\\ud" not in output
    found = json.loads(output)
    assert found["milter"] == address
    assert found["mta"] == {"name": "postfix", "release": "3.7.11"}
    assert (found["verdict"], found["exit_status"]) == ("accepted", 0)
    assert found["reply"] == {"code": 250, "text": "2.0.0 Ok: queued as 4D3E5F0001"}
    assert (found["failure"], found["warnings"]) == (None, [])
    assert [one["step"] for one in found["steps"]] == ["connect", "ehlo", "mail", "rcpt", "data", "quit"]
    assert found["steps"][2]["sender"] == "ann@example.org"
    assert found["steps"][4]["answers"][-1]["event"] == "end_of_message"
    assert found["steps"][4]["answers"][-1]["verdict"] == {"action": "Continue"}
    assert found["modifications"] == [
        {"action": "ChangeSender", "address": "x@example.org", "parameters": ["RET=HDRS"]},
        {"action": "ReplaceBody", "data": "new \\xff\r\n"},
    ]
    delivered = found["delivered"]
    assert (found["sent"]["sender"], delivered["sender"]) == ("ann@example.org", "x@example.org")
    assert delivered["recipients"] == [{"address": "bob@example.net", "parameters": []}]
    assert {"name": "Subject", "raw": " \\xff\\xfe"} in delivered["header"]
    assert delivered["body"] == "new \\xff\r\n"
    message = base64.b64decode(delivered["message_base64"])
    assert message == MAIL.replace(b"\n", b"\r\n").replace(b"hi", b"\xff\xfe").replace(
        b"hello", b"new \xff"
    )
    before = base64.b64decode(found["sent"]["message_base64"])
    assert before == path.read_bytes().replace(b"\n", b"\r\n")


def test_json_of_a_failure_says_it(run: Run, mail: Path) -> None:
    """The event and the reason; nothing is delivered."""
    with listening(answering(M=b"")) as address:
        status, output, errors = run("send", "--to", address, mail, "--json")
    found = json.loads(output)
    assert (status, found["verdict"], found["exit_status"]) == (69, "failed", 69)
    assert found["failure"]["event"] == "mail"
    assert (found["reply"], found["delivered"]) == (None, None)
    assert errors.count("\n") == 1

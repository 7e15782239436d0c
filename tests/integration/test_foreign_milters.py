"""`demyjpy send` and the mail server in a box against milters that are not ours."""

import asyncio
import base64
import json
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from demyjpy.mta.box import Box
from demyjpy.mta.box_settings import Store
from tests.integration.foreign import c_filter, need_milters, opendkim, pymilter_filter, send

pytestmark = need_milters()

MAIL = """\
From: Ann <ann@example.org>
To: bob@example.net
Subject: hi
X-Gone: x
Date: Fri, 2 Jan 2026 09:30:00 +0100
Message-ID: <1@example.org>
{}
hello
world
"""

Start = Callable[[Path], AbstractContextManager[str]]


@pytest.fixture(scope="module", params=[c_filter, pymilter_filter], ids=["c", "pymilter"])
def milter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The filter over libmilter, in C or Python; its address."""
    start: Start = request.param
    with start(tmp_path_factory.mktemp("milter")) as address:
        yield address


def asking(directory: Path, what: str) -> Path:
    """A mail that asks the filter for something."""
    path = directory / f"{what or 'nothing'}.eml"
    path.write_text(MAIL.format(f"X-Ask: {what}\n" if what else ""))
    return path


@pytest.mark.parametrize(
    ("ask", "status", "last"),
    [
        ("", 0, "accepted, without changes"),
        ("reject", 1, "rejected at end_of_message: 550 5.7.1 Command rejected"),
        ("reply", 1, "rejected at end_of_message: 554 5.7.1 100% no"),
        (
            "tempfail",
            75,
            "tempfailed at end_of_message: 451 4.7.1 Service unavailable - try again later",
        ),
        ("quarantine", 4, "quarantined, without changes: looks odd"),
        (
            "discard",
            3,
            "discarded at end_of_message: the client gets 250, nothing is delivered",
        ),
    ],
)
def test_verdicts_of_libmilter_are_understood(
    milter: str, tmp_path: Path, ask: str, status: int, last: str
) -> None:
    """As exit status and in the last line."""
    done = send("--to", milter, asking(tmp_path, ask))
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (status, last, "")


@pytest.mark.parametrize("mta", ["postfix", "sendmail"])
def test_all_changes_of_libmilter_are_applied(milter: str, tmp_path: Path, mta: str) -> None:
    """Header, envelope and body; the macro i; PROGRESS; one of two recipients refused."""
    arguments = ("--rcpt", "bob@example.net", "--rcpt", "bad@example.net", "--macro", "i=Q1")
    done = send("--to", milter, asking(tmp_path, "edit"), "--mta", mta, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    delivered = found["delivered"]
    assert delivered["sender"] == "new@example.org"
    assert [one["address"] for one in delivered["recipients"]] == ["carol@example.net"]
    header = {one["name"]: one["raw"].strip() for one in delivered["header"]}
    assert header["X-Added"] == "Q1"
    assert header["X-Top"] == "inserted"
    assert header["Subject"] == "changed"
    assert "X-Gone" not in header
    assert delivered["body"] == "a new body\r\n"
    assert len(found["modifications"]) == 8
    assert [step["reply"]["code"] for step in found["steps"]] == [220, 250, 250, 250, 550, 250, 221]


@pytest.mark.parametrize("start", [c_filter, pymilter_filter], ids=["c", "pymilter"])
def test_a_libmilter_filter_that_dies_is_told(start: Start, tmp_path: Path) -> None:
    """One line, with the step; status 69."""
    with start(tmp_path) as address:
        done = send("--to", address, asking(tmp_path, ""), "--from", "close@example.org")
    assert done.returncode == 69
    assert done.stderr == (
        f"demyjpy send: {address}: the milter failed at mail: "
        "it closed the connection instead of answering\n"
    )


def signing_key(directory: Path) -> tuple[Path, str]:
    """A key for OpenDKIM, and its record in the DNS."""
    path = directory / "key.pem"
    subprocess.run(["openssl", "genrsa", "-out", path, "2048"], check=True, capture_output=True)
    show = ["openssl", "rsa", "-in", path, "-pubout"]
    shown = subprocess.run(show, check=True, capture_output=True, text=True).stdout
    key = "".join(line for line in shown.splitlines() if "-" not in line)
    return path, f"test._domainkey.example.org v=DKIM1; k=rsa; p={key}\n"


@pytest.fixture(scope="module")
def dkim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """An OpenDKIM that signs, and one that verifies."""
    directory = tmp_path_factory.mktemp("dkim")
    key, record = signing_key(directory)
    (directory / "dns").write_text(record)
    signing = {
        "Domain": "example.org",
        "Selector": "test",
        "KeyFile": str(key),
        "Canonicalization": "simple/simple",
        "InternalHosts": "192.0.2.1, 127.0.0.1",
    }
    verifying = {
        "TestDNSData": str(directory / "dns"),
        "AlwaysAddARHeader": "yes",
        "AuthservID": "me.example",
    }
    with (
        opendkim(directory, Mode="s", **signing) as signer,
        opendkim(directory, Mode="v", **verifying) as verifier,
    ):
        yield signer, verifier


def test_opendkim_signs_what_is_sent_and_finds_its_signature_good(
    dkim: tuple[str, str], tmp_path: Path
) -> None:
    """What send says would be delivered is what was signed, byte for byte; status 0."""
    signer, verifier = dkim
    done = send("--to", signer, asking(tmp_path, ""))
    assert (done.returncode, done.stderr) == (0, "")
    assert "+DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=example.org; s=test;" in done.stdout
    assert done.stdout.splitlines()[-1] == "accepted, with 1 change"
    delivered = json.loads(send("--to", signer, asking(tmp_path, ""), "--json").stdout)["delivered"]
    signed = tmp_path / "signed.eml"
    signed.write_bytes(base64.b64decode(delivered["message_base64"]))
    assert "dkim=pass" in send("--to", verifier, signed).stdout
    signed.write_bytes(signed.read_bytes().replace(b"world", b"globe"))
    assert "dkim=fail" in send("--to", verifier, signed).stdout


def test_the_box_asks_opendkim_twice(dkim: tuple[str, str], tmp_path: Path) -> None:
    """The second milter verifies what the first has signed; what is stored has both headers."""

    def deliver(port: int) -> Any:
        with smtplib.SMTP("127.0.0.1", port, "c.example", timeout=30) as client:
            return client.sendmail(
                "ann@example.org", ["bob@example.net"], MAIL.format("").replace("\n", "\r\n")
            )

    async def main() -> None:
        async with Box("inet:0@127.0.0.1", dkim, Store(tmp_path / "mail")) as box:
            await asyncio.to_thread(deliver, box.address.port)

    asyncio.run(main())
    (stored,) = (tmp_path / "mail/new").iterdir()
    text = stored.read_text()
    assert "\nDKIM-Signature: v=1;" in text
    assert "dkim=pass" in text.partition("\n\n")[0]

"""`samples/filters/attachments.py`: which names it finds, where, and how long it looks."""

from base64 import encodebytes
from typing import Any
from zipfile import ZIP_LZMA, ZIP_STORED

import pytest

from demyjpy.testing import Postfix, Sendmail, run
from demyjpy.testing.server import serving
from tests.message.zips import zipped
from tests.samples.pages import CLIENT, HELLO, sample, sent, settings_of

filters = sample("attachments")
SETTINGS = settings_of("filter-attachments")
REFUSED = "550 5.7.1 Not accepted: "


def with_file(header: str, data: bytes = b"MZ") -> bytes:
    """A mail with a file."""
    head = "From: a@b\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\ntext\n--x\n"
    part = f"{head}{header}\nContent-Transfer-Encoding: base64\n\n".encode("utf-8", "surrogateescape")
    return (part + encodebytes(data) + b"\n--x--\n").replace(b"\n", b"\r\n")


def named(name: str, data: bytes = b"MZ") -> bytes:
    return with_file(f'Content-Disposition: attachment; filename="{name}"', data)


def told(content: Any, **others: Any) -> str:
    """What the client hears of a mail."""
    result = run(filters.make, sent(CLIENT, content), mta=Postfix(), settings={**SETTINGS, **others})
    return str(result.reply)


HEADERS = [
    ('Content-Disposition: attachment; filename="invoice.pdf.EXE"', "invoice.pdf.EXE"),
    ('Content-Disposition: attachment; filename="a.scr. "', "a.scr"),
    ("Content-Disposition: attachment;\n filename*=utf-8''%C3%A4.js", "?.js"),
    ('Content-Disposition: attachment; filename="=?utf-8?B?YS52YnM=?="', "a.vbs"),
    ("Content-Disposition: attachment;\n filename*0=a.;\n filename*1=exe", "a.exe"),
    ('Content-Type: application/pdf; name="a.bat"', "a.bat"),
    ('Content-Type: text/plain; name="a.bat"\nContent-Disposition: inline; filename=a.txt', "a.bat"),
    ('Content-Disposition: attachment; filename="100%\udcff.exe"', "100%"),
]


@pytest.mark.parametrize(("header", "name"), HEADERS)
def test_it_finds_programs_by_their_names(header: str, name: str) -> None:
    """However the name is written, and if two names are there, by either."""
    assert told(with_file(header)).startswith(f"{REFUSED}attached program {name}")


BOMB = zipped(("a.txt", bytes(60_000_000)), ("b.zip", bytes(60_000_000)))
SEALED = zipped(("a.txt", b"x"), flags=1)
HIDDEN = [
    (zipped(("d/e.txt", b""), ("d\\run.JS", b"")), "attached program d\\run.JS"),
    (zipped(("a.zip", zipped(("b.zip", zipped(("c.exe", b"")))))), "attached program c.exe"),
    (b"stub" + zipped(("c.exe", b"")), "attached program c.exe"),
    (zipped(("c.exe", b""), flags=1), "attached program c.exe"),
    (SEALED, "an encrypted zip file"),
    (BOMB, "too much in a zip file"),
    (zipped(*((f"{at}.txt", b"") for at in range(5_001))), "too much in a zip file"),
    (zipped(("a.zip", zipped(("a", b""))), kind=ZIP_LZMA), "too much in a zip file"),
    (zipped(("a", b""))[:30], "a broken zip file"),
    (zipped(("a.zip", b"PK\3\4"), kind=ZIP_STORED), "a broken zip file"),
    (zipped(("a", b"")).replace(b"PK\1\2", b"PK\1\1"), "a broken zip file"),
]


@pytest.mark.parametrize(("data", "why"), HIDDEN, ids=range(len(HIDDEN)))  # they hold the time
def test_it_looks_into_zip_files(data: bytes, why: str) -> None:
    """Whatever they are named, and in each other. What it cannot look into does not come in."""
    assert told(named("invoice.dat", data)) == REFUSED + why


def test_it_looks_only_so_deep() -> None:
    """Four zip files in each other, not five."""
    data = zipped(("a.txt", b""))
    answers = []
    for _ in range(5):
        answers.append(told(named("a.zip", data))[:3])
        data = zipped(("a.zip", data))
    assert answers == ["250", "250", "250", "250", "550"]


def test_other_mail_passes() -> None:
    """Documents, texts, pictures; and encrypted zip files if they may."""
    documents = zipped(("a.docx", zipped(("word/document.xml", b""))), ("x.zip", zipped(("b.txt", b""))))
    assert told(HELLO)[:3] == told(named("a.zip", documents))[:3] == told(named("exe"))[:3] == "250"
    assert told(named("a.zip", SEALED), encrypted=True)[:3] == "250"
    inner = zipped(("a.zip", b"x"), flags=1)
    assert told(named("a.zip", inner), encrypted=True)[:3] == "250"


def test_what_is_too_large_or_has_too_many_parts() -> None:
    """Nobody has looked into it, so it does not come in."""
    many = named("a").replace(b"\r\n--x--", b"\r\n--x\r\n\r\n" * 1000 + b"\r\n--x--")
    assert told(many) == f"{REFUSED}too many parts"
    assert told(HELLO, limit=50) == f"{REFUSED}too large to look into"


def test_it_may_hold_mail_back() -> None:
    """With the name for whoever looks at it; the log has a line, too."""
    settings = {**SETTINGS, "action": "quarantine"}
    for mta in (Postfix(), Sendmail()):
        result = run(filters.make, sent(CLIENT, named("a.exe")), mta=mta, settings=settings)
        assert result.only.quarantine == "attached program a.exe"
        assert [one.text for one in result.notes] == ["attachment not wanted"]


def test_it_serves() -> None:
    """Over a socket."""
    with serving(filters.make, settings=SETTINGS, mta=Postfix()) as server:
        assert server.run(sent(CLIENT, named("a.zip", zipped(("a.exe", b""))))).reply.code == 550
        assert server.run(sent(CLIENT)).is_delivered

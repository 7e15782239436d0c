"""The names of the files in a message, also in zip files, and what bounds the look into these."""

import io
import tracemalloc
from base64 import encodebytes
from struct import pack
from zipfile import ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo
from zlib import crc32

import pytest

from demyjpy.message import FileNames, Message
from demyjpy.message.mime import archives
from tests.message.zips import zipped


def found(*files: bytes, head: str = "") -> FileNames:
    """In a message with these files, which have the names 0, 1 and so on."""
    parts = [
        f"--b\nContent-Disposition: attachment; filename={at}\n{head}"
        f"Content-Transfer-Encoding: base64\n\n{encodebytes(data).decode()}\n"
        for at, data in enumerate(files)
    ]
    text = f"Content-Type: multipart/mixed; boundary=b\n\n{''.join(parts)}--b--\n"
    return Message.parse(text.encode().replace(b"\n", b"\r\n")).file_names()


def test_names_of_parts_and_in_zip_files():
    """Those in a zip file after its own; both names of a part, if it has two."""
    inner = zipped(("c.txt", b""), ("d.txt", b""))
    data = zipped(("a.txt", b""), ("dir/B.ZIP. ", inner), ("e.docx", b"PK"))
    assert found(b"x", data, b"stub" + inner) == FileNames(
        ("0", "1", "a.txt", "dir/B.ZIP. ", "c.txt", "d.txt", "e.docx", "2", "c.txt", "d.txt")
    )
    assert found(b"x", head="Content-Type: a/b; name=other\n").names == ("0", "other")
    assert found(b"x", head="Content-Type: a/b; name=0\n").names == ("0",)
    assert Message.parse(b"\r\nhello\r\n").file_names() == FileNames()


def test_a_part_with_parts_may_be_a_file():
    """A mail program can save an attached message under the name that it has."""
    text = b"Content-Type: message/rfc822; name=a.exe\r\n\r\nContent-Type: a/b; name=b\r\n\r\nMZ\r\n"
    assert Message.parse(text).file_names() == FileNames(("a.exe", "b"))


def test_encrypted_files_have_names():
    """What is in them is not looked into, and that is said."""
    assert found(zipped(("a.zip", zipped(("b", b""))), flags=1)) == FileNames(("0", "a.zip"), None, True)


CUT = zipped(("a", b""))[:30]
BOMB = zipped(("a.zip", zipped(("b.txt", b"x"))), ("c.zip", bytes(archives.UNPACKED)))
UNSEEN = [
    (CUT, ("0",), "a broken zip file"),
    (zipped(("a.zip", CUT), ("b", b"")), ("0", "a.zip"), "a broken zip file"),
    (zipped(("a", b"")).replace(b"PK\1\2", b"PK\1\1"), ("0",), "a broken zip file"),
    (BOMB, ("0", "a.zip", "b.txt", "c.zip"), "too much in a zip file"),
    (zipped(("a.zip", b"x"), kind=ZIP_LZMA), ("0", "a.zip"), "too much in a zip file"),
    (zipped(("a.zip", b"PK\3\4"), kind=ZIP_STORED), ("0", "a.zip"), "a broken zip file"),
    (b"PK\1\2" * archives.MOST_MEMBERS + zipped(("a", b"")), ("0",), "too much in a zip file"),
]


@pytest.mark.parametrize(("data", "names", "why"), UNSEEN, ids=range(len(UNSEEN)))
def test_what_cannot_be_looked_into_is_said(data: bytes, names: tuple[str, ...], why: str):
    """The names before it count; nothing behind it is looked at."""
    assert found(data, b"x") == FileNames(names, why)


def test_many_extra_fields_are_too_much() -> None:
    """For each byte of them zipfile may copy all the others: a second for 2 MB."""
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for at in range(9):
            member = ZipInfo(str(at))
            member.extra = pack("<HH", 0x1234, 0) * 16_000
            archive.writestr(member, b"")
    assert found(file.getvalue()) == FileNames(("0",), "too much in a zip file")


def test_only_some_zip_files_in_each_other():
    """Four, and the names in the fourth are the last."""
    data = zipped(("a.txt", b""))
    for _ in range(archives.DEEPEST):
        assert found(data).unseen is None
        data = zipped(("a.zip", data))
    assert found(data) == FileNames(("0", *["a.zip"] * archives.DEEPEST), "too much in a zip file")


def test_more_parts_than_are_looked_at():
    """The names of those that are count."""
    told = found(*[b"x"] * 1_001)
    assert told.unseen == "too many parts"
    assert told.names[:2] == ("0", "1")


@pytest.mark.parametrize("told", [0, 10])
def test_no_more_is_unpacked_than_a_zip_file_says(told: int):
    """A file may say that it has a few bytes, and have many: they never stand in memory."""
    size = 3_000_000
    data = zipped(("a.zip", bytes(size)))
    at = data.index(b"PK\1\2") + 24
    data = data[:at] + told.to_bytes(4, "little") + data[at + 4 :]
    tracemalloc.start()
    try:
        told_of = found(data)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert told_of == FileNames(("0", "a.zip"), "a broken zip file")
    assert most < 7 * len(data) + size / 2


def test_a_second_name_in_a_zip_file():
    """Programs that unpack prefer the one in UTF-8 in the extra field (APPNOTE.TXT, section 4.6.9)."""
    member = ZipInfo("a.txt")
    name = "größer.exe".encode()
    member.extra = b"\x01\0\1\0x" + pack("<HHBL", 0x7075, 5 + len(name), 1, crc32(b"a.txt")) + name
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr(member, b"")
    assert found(file.getvalue()).names == ("0", "a.txt", "größer.exe")

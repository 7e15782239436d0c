"""The parts of a message: what each says of itself, and how far the walk goes."""

import email
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demyjpy.message import Message
from demyjpy.message.mime.parameters import Described


def mail_of(text):
    return Message.parse(text.encode("utf-8", "surrogateescape").replace(b"\n", b"\r\n"))


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a.txt"', "a.txt"),
        ("attachment; filename=a b.txt", "a b.txt"),
        ('attachment; filename="a;b\\"c\\\\.txt"', 'a;b"c\\.txt'),
        ("attachment; FileName*=utf-8'en'gr%C3%B6%C3%9Fer.txt", "größer.txt"),
        ("attachment; filename*=gr%C3%B6.txt", "grö.txt"),
        ("attachment; filename*=''gr%C3%B6.txt", "grö.txt"),
        ("attachment; filename*=nonesuch''gr%C3%B6.txt", "grö.txt"),
        ("attachment; filename*1*=%DFer.txt; filename*0*=iso-8859-1''gr%F6", "größer.txt"),
        ('attachment; filename*0="a b"; filename*1=c', "a bc"),
        ("attachment; filename*=utf-8''%E9.txt", "\ufffd.txt"),
        ("attachment; filename*=utf-8''a%0D%0Ab", "a  b"),
        ("attachment; filename=a.txt; filename*=utf-8''b.txt", "b.txt"),
        ('attachment; filename="=?utf-8?q?gr=C3=B6?= =?utf-8?q?=C3=9Fer=2Etxt?="', "größer.txt"),
        ('attachment; filename="größer.txt"', "größer.txt"),
        ('attachment; filename="gr\udcf6.txt"', "grö.txt"),
        ("attachment; filename*=x; filename*0*=y", "xy"),
        ('attachment; filename="a.txt', '"a.txt'),
        ("attachment; filename", ""),
        ("attachment; filename=<a.txt>", "a.txt"),
        ("attachment;;; x=y;", None),
        ("attachment", None),
    ],
)
def test_file_names_as_mail_programs_write_them(disposition, name):
    """RFC 2231, RFC 2047 within quotes, and 8-bit text; None if there is no name."""
    (part,) = mail_of(f"Content-Disposition: {disposition}\n\nx").parts()
    assert (part.file_name, part.disposition) == (name, "attachment")


def test_what_a_part_says_of_itself():
    """Type, character set, encoding and parameters; a name may stand in Content-Type."""
    head = "Content-Type: Text/HTML; charset=UTF-8; name=x.htm; Format=Flowed\n"
    (part,) = mail_of(head + "Content-Transfer-Encoding: Base64 \n\neA==\n").parts()
    assert (part.type, part.charset, part.encoding) == ("text/html", "utf-8", "base64")
    assert (part.file_name, part.parameter("FORMAT"), part.disposition) == ("x.htm", "Flowed", None)
    assert (part.content, part.text, part.size, part.raw_content) == (b"x", "x", 6, b"eA==\r\n")
    (plain,) = mail_of("\nx").parts()
    assert (plain.type, plain.charset, plain.encoding) == ("text/plain", None, "7bit")
    assert plain.file_name is None


@pytest.mark.parametrize(
    ("encoding", "data", "content"),
    [
        ("base64", b"aGk=", b"hi"),
        ("base64", b"aGk", b"hi"),
        ("base64", b"a!G?k=", b"hi"),
        ("base64", b"a", b"a"),
        ("quoted-printable", b"a=\r\nb=3Dc=ZZ", b"ab=c=ZZ"),
        ("x-uuencode", b'begin 644 x\r\n"86(\r\n`\r\nend\r\n', b"ab"),
        ("uuencode", b'begin 644 x\r\n"86)C9&5F9\r\nend\r\n', b"ab"),
        ("uue", b"no beginning", b"no beginning"),
        ("uue", b"begin 644 x\r\n\r\nx", b"begin 644 x\r\n\r\nx"),
        ("uue", b"begin 644 x\r\n\xff\xff\xff\r\n", b"begin 644 x\r\n\xff\xff\xff\r\n"),
        ("nonesuch", b"a=3D", b"a=3D"),
    ],
)
def test_what_cannot_be_decoded_stays(encoding, data, content):
    """Errors are ignored as by the standard library."""
    head = f"Content-Transfer-Encoding: {encoding}\n".encode()
    (part,) = Message.parse(head + b"\n" + data).parts()
    assert part.content.removesuffix(b"\r\n") == content.removesuffix(b"\r\n")


@pytest.mark.parametrize(
    ("head", "data", "text"),
    [
        ("; charset=iso-8859-1", b"\xe9", "é"),
        ("; charset=utf-8", b"\xe9", "\ufffd"),
        ("", "é".encode(), "é"),
        ("; charset=us-ascii", "é".encode(), "é"),
        ("; charset=nonesuch", "é".encode(), "é"),
    ],
)
def test_text_is_read_in_its_character_set(head, data, text):
    """As UTF-8 if that is not known, or not true."""
    message = Message.parse(f"Content-Type: text/plain{head}\n\n".encode() + data)
    assert message.parts()[0].text.removesuffix("\r\n") == text


@given(st.text("ab=;\"\\*0 '%<>"))
def test_the_standard_library_reads_the_same_parameters(value):
    """Names and values, except where it fails or the way of RFC 2231 is meant."""
    message = email.message_from_string("")
    message["Content-Type"] = f"a/b;{value}"
    if "*" not in value:
        theirs = [(name.lower(), text) for name, text in message.get_params()[1:]]
        assert [*Described.read(f"a/b;{value}").plain] == theirs


def test_lines_that_end_in_cr_alone():
    """They are lines, as for the standard library."""
    body = b"--b\r\rone\r--x\r--y\n--b\n\ntwo\r--b\rContent-Type: a/b\r\rthree\n--b--\n"
    message = Message.of([("Content-Type", " multipart/mixed; boundary=b")], body)
    assert [part.content for part in message.parts()] == [b"", b"one\r--x\r--y", b"two", b"three"]
    theirs = email.message_from_bytes(bytes(message))
    assert [one.get_content_type() for one in theirs.walk()] == [one.type for one in message.parts()]


def test_a_part_without_an_empty_line():
    """A delimiter ends a header, too."""
    message = mail_of("Content-Type: multipart/mixed; boundary=b\n\n--b\nA: 1\n--b\nno header\n--b--\n")
    assert [(part.content, part.defects) for part in message.parts()[1:]] == [
        *((b"", ()), (b"no header", ("MissingHeaderBodySeparator",)))
    ]


def test_a_folded_line_of_no_field():
    """What follows a line without a name, or the first line if it is folded, belongs to nothing."""
    message = mail_of("Content-Type: message/rfc822\n\n x\nA: 1\n: x\n y\nFrom z\n y\nB: 2\n\nbody\n")
    inner = message.parts()[1]
    assert [(field.name, field.raw) for field in inner.fields] == [("A", " 1"), ("B", " 2")]
    folded = "FirstHeaderLineIsContinuation"
    assert inner.defects == (folded, "InvalidHeader", folded, "MisplacedEnvelopeHeader", folded)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/mixed; boundary=b", b"--b\r\n\r\nx\r\n--b"),
        ("message/rfc822", b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b"),
    ],
)
def test_a_body_that_ends_in_a_delimiter(kind, body):
    """The part behind it is empty, and can be replaced."""
    message = Message.of([("Content-Type", f" {kind}")], body)
    *_, last = message.parts()
    new = message.replace_part(last, "new\n", type="text/plain")
    assert [one.path for one in new.parts()] == [one.path for one in message.parts()]
    assert new.parts()[-1].content == b"new\r\n"


def nested(levels):
    """A message with so many multiparts in each other."""
    heads = "".join(
        f"Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n" for level in range(levels)
    )
    return mail_of(heads + "\ninnermost\n")


def test_the_walk_is_never_deeper_than_100():
    """Whatever is asked for; the first part says that there is more."""
    parts = nested(10_000).parts(depth=1_000_000, most=1_000_000)
    assert len(parts) == 101
    assert "PartsNotSeen" in parts[0].defects
    assert len(nested(20).parts()) == 21


def test_limits_leave_parts_out():
    """The number of parts, how deep they are, and how much is in them."""
    body = "".join(f"--b\n\n{number:05}\n" for number in range(100)) + "--b--\n"
    message = mail_of(f"Content-Type: multipart/mixed; boundary=b\n\n{body}")
    assert len(message.parts()) == 101
    for limits, count in (({"most": 10}, 10), ({"unpacked": 50}, 11), ({"depth": 0}, 1)):
        parts = message.parts(**limits)
        assert (len(parts), "PartsNotSeen" in parts[0].defects) == (count, True)
        new = message.attach("x", "a/b", despite=())
        assert new.body.endswith(b"--b--\r\n")


PIECES = [
    *("--b\n", "--\n", "--b\n\n", "--b--\n", "A: 1\n", " \n", ";", '"', '"\\', "a=b;", "a*0=b;", "\\"),
    *("--b\nContent-Type: multipart/mixed; boundary=c\n\n", "--b\nContent-Type: message/rfc822\n\n"),
    *("=?", "--b ", "\r", "=?a?q?b?= "),
]


@pytest.mark.parametrize("piece", PIECES)
def test_time_is_linear(piece):
    """A piece 20,000 times in the body and in Content-Type: with quadratic time that takes minutes."""
    start = time.process_time()
    message = mail_of("Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + piece * 20_000)
    assert message.parts()
    assert message.parts(most=1_000_000)
    inner = piece.replace("\n", "") * 20_000
    for head in ("multipart/mixed; boundary=b", "text/plain; name=", "x/y; a*0="):
        (part, *_) = mail_of(f"Content-Type: {head}{inner}\n\nx").parts()
        assert part.file_name is None or isinstance(part.file_name, str)
    assert time.process_time() - start < 20

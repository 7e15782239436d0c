"""Messages as an MTA holds them."""

import pytest

from demyjpy.mta.stored_mail import Envelope, StoredField, StoredMessage, cut_header

TEXT = b"From: a@b\r\nX-Fold: one\r\n  two\r\nx-fold:three\r\n\r\nbody\r\n"


def test_parse_and_back():
    """A message is taken apart and put together byte for byte."""
    message = StoredMessage.parse(TEXT)
    assert bytes(message) == TEXT
    assert message.fields[1] == StoredField("X-Fold", " one\n  two")
    assert message.headers == [("From", "a@b"), ("X-Fold", "one\n  two"), ("x-fold", "three")]
    assert message.body == b"body\r\n"


@pytest.mark.parametrize(
    ("data", "headers", "body"),
    [
        (b"", [], b""),
        (b"\r\n", [], b""),
        (b"A: b", [("A", "b")], b""),
        (b"A: b\r\n", [("A", "b")], b""),
        (b"A: b\nno header\nC: d\n", [("A", "b")], b"no header\r\nC: d\r\n"),
        (b"text", [], b"text\r\n"),
        (b" A: b\r\n\r\n", [], b" A: b\r\n\r\n"),
        (b"A : b\r\n\r\n\r\nend", [("A", "b")], b"\r\nend\r\n"),
    ],
)
def test_parse_odd_ones(data, headers, body):
    """The header ends at the first line that is none; lines end in CRLF."""
    message = StoredMessage.parse(data)
    assert message.headers == headers
    assert message.body == body


def test_values_by_name():
    """Fields are found by name in any case; deleted ones are not."""
    message = StoredMessage.parse(TEXT)
    assert message["X-FOLD"] == "one\n  two"
    assert message.get_all("x-fold") == ["one\n  two", "three"]
    assert message["Subject"] is None
    assert "from" in message
    assert "Subject" not in message
    assert message.without("X-Fold").headers == [("From", "a@b")]
    gone = StoredMessage((StoredField("A", " b", is_deleted=True), StoredField("C", " d")))
    assert bytes(gone) == b"C: d\r\n\r\n"
    assert gone["A"] is None


def test_any_bytes():
    """Bytes that are no UTF-8 come back as they were."""
    data = b"X: gr\xfc\xdfe\r\n\r\n\xff\0\r\n"
    assert bytes(StoredMessage.parse(data)) == data


def test_envelope():
    """An envelope gives its recipients without their parameters."""
    (parameters,) = {Envelope().parameters}
    assert Envelope("a@b", parameters, (("c@d", parameters),)).addresses == ["c@d"]


@pytest.mark.parametrize(
    ("raw", "limit", "cut"),
    [
        (" 12345", 20, " 12345"),
        (" 12345", 6, " 123"),
        (" 1234\n 56\n 78", 11, " 1234\n 56"),
        (" 1234\n 56\n 78", 9, " 1234"),
    ],
)
def test_cut_header(raw, limit, cut):
    """A field over a limit loses the end of its first line, or whole further lines."""
    assert cut_header(StoredField("X", raw), limit).raw == cut

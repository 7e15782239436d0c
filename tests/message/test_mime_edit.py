"""Other contents in the parts of a message: what each edit writes, byte by byte."""

import email

import pytest

from demyjpy import LocalProtocolError
from demyjpy.message import Message
from demyjpy.message.mime.written import encoded_content


def mail_of(text):
    return Message.parse(text.encode().replace(b"\n", b"\r\n"))


def single(content_type, body, encoding=None):
    """A message without parts."""
    told = "" if encoding is None else f"Content-Transfer-Encoding: {encoding}\n"
    return mail_of(f"Subject: x\nMIME-Version: 1.0\nContent-Type: {content_type}\n{told}\n{body}")


MIXED = mail_of("""Subject: x
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

preamble
--b
Content-Type: multipart/alternative; boundary=c

--c
Content-Type: text/plain; charset=us-ascii

hello
--c
Content-Type: text/html; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

<html><body>hi =E4</body></html>
--c--

--b
Content-Type: application/pdf; name="x.pdf"
Content-Disposition: attachment; filename="x.pdf"
Content-Transfer-Encoding: base64
X-Own: kept

aGVsbG8=
--b--
epilogue
""")


def part_of(message, *path):
    return next(one for one in message.parts() if one.path == path)


def lines_between(message, first, last):
    """The lines of the body from one to another."""
    lines = message.body.decode().split("\r\n")
    return lines[lines.index(first) : lines.index(last)]


# ------------------------------------------------------------------------------------ replaced
def test_bytes_keep_header_and_encoding():
    """Without a type only the content changes; also X-Own stays."""
    message = MIXED.replace_part(part_of(MIXED, 2), b"other\0")
    part = part_of(message, 2)
    assert (part.content, part.fields) == (b"other\0", part_of(MIXED, 2).fields)
    assert message.body == MIXED.body.replace(b"aGVsbG8=", b"b3RoZXIA")


def test_text_keeps_its_character_set_if_it_can():
    """Else it becomes UTF-8, and the other parameters stay."""
    html = part_of(MIXED, 1, 2)
    assert b"<b>=F6</b>\r\n--c--" in MIXED.replace_part(html, "<b>ö</b>").body
    other = part_of(MIXED.replace_part(html, "<b>€</b>"), 1, 2)
    assert (other.text, other.charset, other.encoding) == ("<b>€</b>", "utf-8", "quoted-printable")
    flowed = single("text/plain; format=flowed; charset=us-ascii; x=y", "a\n")
    new = flowed.replace_part(flowed.parts()[0], "ü\n")
    assert new.get("Content-Type") == 'text/plain; charset="utf-8"; format=flowed; x=y'
    assert new.get("Content-Transfer-Encoding") == "quoted-printable"
    assert new.body == b"=C3=BC\r\n"


def test_a_new_type_makes_the_content_fields_new():
    """The name of the file goes, or is a new one; X-Own stays."""
    message = MIXED.replace_part(part_of(MIXED, 2), "Weg.\n", type="text/plain", file_name='a "b".txt')
    part = part_of(message, 2)
    assert [field.name for field in part.fields] == [
        *("Content-Type", "Content-Disposition", "Content-Transfer-Encoding", "X-Own")
    ]
    assert (part.type, part.text, part.encoding) == ("text/plain", "Weg.\r\n", "7bit")
    assert (part.file_name, part.disposition) == ('a "b".txt', "attachment")
    plain = part_of(MIXED.replace_part(part_of(MIXED, 2), b"\1\0", type="a/b"), 2)
    assert (plain.file_name, plain.disposition, plain.content) == (None, None, b"\1\0")


def test_the_message_itself_is_a_part():
    """Its Content- fields are those of the header, which keeps what came after parts()."""
    message = single("text/html", "<p>x\n", "base64")
    (part,) = message.parts()
    new = message.set("Subject", "y").replace_part(part, "plain ü", type="text/plain")
    assert bytes(new).decode().split("\r\n") == [
        *("Subject: y", "MIME-Version: 1.0", 'Content-Type: text/plain; charset="utf-8"'),
        *("Content-Transfer-Encoding: quoted-printable", "", "plain =C3=BC", ""),
    ]
    bare = mail_of("\nx")
    assert bytes(bare.replace_part(bare.parts()[0], "y")) == b"\r\ny\r\n"


def test_parts_of_one_call_are_replaced_and_dropped_one_after_the_other():
    """In any order; a container takes the changes in it with it."""
    parts = MIXED.parts()
    message = MIXED.drop_part(parts[4]).replace_part(parts[2], "one\n").replace_part(parts[2], "two")
    assert [part.type for part in message.parts()] == [
        *("multipart/mixed", "multipart/alternative", "text/plain", "text/html")
    ]
    assert part_of(message, 1, 1).content == b"two"
    assert part_of(message.replace_part(parts[1], "gone", type="text/plain"), 1).text == "gone"
    assert message.replace_part(parts[4], b"hello") is message
    with pytest.raises(LocalProtocolError, match="in another part that was replaced or dropped before"):
        message.replace_part(parts[1], "x", type="text/plain").replace_part(parts[2], "y")
    with pytest.raises(LocalProtocolError, match="in another part that was replaced or dropped before"):
        message.replace_part(parts[4], b"other")


def test_the_last_part_of_a_multipart_becomes_an_empty_text():
    """However many are dropped one after the other; so does a message without parts."""
    message = MIXED
    for part in MIXED.parts()[2:4]:
        message = message.drop_part(part)
    assert [(part.type, part.content) for part in message.parts()[1:3]] == [
        *(("multipart/alternative", b""), ("text/plain", b""))
    ]
    alone = single("image/png", "x\n")
    assert alone.drop_part(alone.parts()[0]).body == b""


@pytest.mark.parametrize("end", ["", "--b--\n"])
def test_dropping_leaves_the_last_delimiter(end):
    """It is written if there was none, so that the part before ends where it did."""
    message = single("multipart/mixed; boundary=b", f"--b\n\none\n--b\n\ntwo\n{end}")
    assert message.drop_part(part_of(message, 2)).body == b"--b\r\n\r\none\r\n--b--\r\n"
    assert message.drop_part(part_of(message, 1)).body.startswith(b"--b\r\n\r\ntwo\r\n")


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda one, part: one.replace_part(part, 7), "replace_part: expected bytes or text, got 7"),
        (lambda one, part: one.replace_part(part, "x", type="text"), "type as two words with a slash"),
        (lambda one, part: one.replace_part(part, "x", type=7), "like 'text/plain', got 7"),
        (lambda one, part: one.replace_part(part, "x", file_name="x"), "file_name= is given, so say"),
        (lambda one, part: one.replace_part(part, "x"), "the part is application/pdf: give bytes, or"),
        (lambda one, part: one.replace_part(one.parts()[0], b"x"), "is multipart/mixed, so say"),
        (lambda one, part: one.with_body(b"x").drop_part(part), "changed by something else than"),
        (lambda one, part: one.attach(b"x", "a/b").attach(b"x", "a/b").drop_part(part), "call parts()"),
        (lambda one, part: one.attach(b"x", "Multipart/mixed"), "a new part cannot be a multipart"),
        (lambda one, part: one.attach(b"x", "a b"), "like 'text/plain', got text of 3 characters"),
    ],
)
def test_what_cannot_be_is_an_error(edit, told):
    """It says what to do instead."""
    with pytest.raises(LocalProtocolError) as error:
        edit(MIXED, part_of(MIXED, 2))
    assert told in str(error.value)


# --------------------------------------------------------------------------------- longer texts
def test_a_text_is_appended_in_each_form():
    """Plain text and HTML get it, in their character sets; nothing else changes."""
    message = MIXED.append_text("Fuß & Hand\n")
    assert lines_between(message, "--c", "--c--") == [
        *("--c", 'Content-Type: text/plain; charset="utf-8"'),
        *("Content-Transfer-Encoding: quoted-printable", "", "hello", "Fu=C3=9F & Hand", "", "--c"),
        *("Content-Type: text/html; charset=iso-8859-1", "Content-Transfer-Encoding: quoted-printable"),
        *("", "<html><body>hi =E4<p>Fu=DF &amp; Hand</p>", "</body></html>"),
    ]
    assert message.body.endswith(MIXED.body[MIXED.body.index(b"\r\n--c--") :])
    own = MIXED.append_text("x", "<i>€</i>")
    assert part_of(own, 1, 2).text == "<html><body>hi ä<i>€</i></body></html>"


@pytest.mark.parametrize(
    ("content_type", "encoding", "body", "text", "result"),
    [
        ("text/plain", None, "a\n", "b", ("text/plain", "7bit", b"a\r\nb\r\n")),
        ("text/plain", "8BIT", "ü\n", "b\n", ("text/plain", "8bit", None)),
        ("text/plain; charset=utf-8", "8bit", "ü\n", "é", (None, "8bit", "ü\r\né\r\n".encode())),
        ("text/plain; charset=utf-8", "base64", "w7wK\n", "é", (None, "base64", b"w7wKw6kNCg==\r\n")),
        ("text/plain", "quoted-printable", "a=20\n=\n", "b", (None, None, b"a=20\r\nb\r\n")),
        ("text/plain", "quoted-printable", "a=3D", "b", (None, None, b"a=3D\r\nb\r\n")),
        ("text/plain; charset=nonesuch", None, "a\n", "é\n", (None, None, b"a\r\n=C3=A9\r\n")),
        ("text/html; charset=nonesuch", "8bit", "\xfc", "é", (None, "8bit", None)),
        ("text/plain; format=flowed", None, "a \n", "b \n> c\n-- \n d", (None, None, None)),
        ("text/plain", None, "", "b", (None, None, b"b\r\n")),
        ("text/html", None, "x</HTML>\n", "b", (None, None, b"x<p>b</p>\r\n</HTML>\r\n")),
        ("text/html", None, "x\n", "b<\nc", (None, None, b"x\r\n<p>b&lt;<br>\r\nc</p>\r\n")),
    ],
)
def test_a_text_in_a_message_without_parts(content_type, encoding, body, text, result):
    """Character set and transfer encoding are right, whatever they were."""
    message = single(content_type, body, encoding).append_text(text)
    (part,) = message.parts()
    kind, told, data = result
    assert kind is None or message.get("Content-Type") == kind
    assert told is None or part.encoding == told
    assert data is None or message.body == data
    parsed = email.message_from_bytes(bytes(message))
    assert parsed.get_payload(decode=True) == part.content


def test_format_flowed():
    """A line of the new text is a line of its own; the signature's separator stays."""
    message = single("text/plain; format=flowed", "a \n").append_text("b \n> c\n-- \n d\nFrom e")
    assert message.body == b"a \r\nb\r\n > c\r\n-- \r\n  d\r\n From e\r\n"


def test_utf_16_becomes_utf_8():
    """A text in UTF-16 cannot simply be longer."""
    data = "hällo".encode("utf-16").hex()
    body = "".join(f"={data[at : at + 2].upper()}" for at in range(0, len(data), 2))
    message = single("text/plain; charset=utf-16", body, "quoted-printable").append_text("€")
    assert message.parts()[0].text.replace("\r\n", "|").startswith("hällo")
    assert message.parts()[0].text.endswith("€\r\n")
    assert message.parts()[0].charset == "utf-8"


def test_a_text_in_an_unknown_character_set():
    """What the character set may not have becomes a question mark; in HTML it is written as a number."""
    message = Message.parse(b"Content-Type: text/plain; charset=nonesuch\r\n\r\n\xfc\xff\r\n")
    assert message.append_text("a€").parts()[0].content == b"\xfc\xff\r\na?\r\n"
    message = Message.parse(b"Content-Type: text/html; charset=nonesuch\r\n\r\n\xfc\xff</body>\r\n")
    assert b"&#8364;" in message.append_text("€").parts()[0].content


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("image/png", "x\n"),
        ("text/plain; name=log.txt", "x\n"),
        ("text/plain", "x\n"),
        ("multipart/mixed; boundary=b", "--b\nContent-Type: image/png\n\nx\n--b--\n"),
        ("multipart/mixed; boundary=b", "--b\nContent-Type: image/png\n\nx\n"),
        ("message/rfc822", "Subject: y\n\nx\n"),
    ],
)
def test_without_a_text_there_is_a_new_part(content_type, body):
    """It stands at the end and is shown, not attached; what was there keeps every byte."""
    encoding = "x-uuencode" if content_type == "text/plain" else None
    message = single(content_type, body, encoding)
    new = message.append_text("ü\n")
    *_, last = parts = new.parts()
    assert (last.type, last.disposition, last.text, last.path) == ("text/plain", "inline", "ü\r\n", (2,))
    assert parts[0].type == "multipart/mixed"
    assert [one.raw_content for one in parts if not one.is_container][:-1] == [
        one.raw_content for one in message.parts() if not one.is_container
    ]
    assert new.get("MIME-Version") == "1.0"
    assert message.append_text("") is message


def test_an_attachment_around_a_message_without_mime():
    """Its Content- fields move into the first part; the new boundary is in no part."""
    message = mail_of("Subject: x\nContent-Id: <1>\n\nhi\n").attach("ü", "text/plain", "größer.txt")
    lines = bytes(message).decode().split("\r\n")
    line = next(one for one in lines if one.startswith("--"))
    assert lines == [
        *("Subject: x", f'Content-Type: multipart/mixed; boundary="{line[2:]}"', "MIME-Version: 1.0"),
        *("", line, "Content-Id: <1>", "", "hi", "", line, 'Content-Type: text/plain; charset="utf-8"'),
        *("Content-Disposition: attachment;", " filename*=utf-8''gr%C3%B6%C3%9Fer.txt"),
        *("Content-Transfer-Encoding: quoted-printable", "", "=C3=BC", f"{line}--", ""),
    ]
    again = message.attach(b"1", "a/b").attach(b"2", "a/b")
    assert [part.type for part in again.parts()] == [
        *("multipart/mixed", "text/plain", "text/plain", "a/b", "a/b")
    ]


def test_a_long_file_name():
    """It is cut into parameters of RFC 2231; control characters are gone."""
    name = "größer\n" * 20
    (part,) = MIXED.attach(b"x", "a/b", name).parts()[5:]
    assert part.file_name == name.replace("\n", "_")
    assert max(len(line) for line in part.fields[1].raw.split("\n")) < 78


# ----------------------------------------------------------------------- lines like delimiters
@pytest.mark.parametrize("encoding", ["7bit", "8bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("line", ["--b", "--b--", "--c ", "--c--\t"])
def test_no_content_can_end_a_part(encoding, line):
    """A text that comes from the mail cannot add parts behind a filter that looked at all of them."""
    inner = f"--c\nContent-Transfer-Encoding: {encoding}\n\n\n--c--\n"
    body = f"--b\nContent-Type: multipart/mixed; boundary=c\n\n{inner}--b--\n"
    message = single("multipart/mixed; boundary=b", body)
    text = f"one\r\n{line}\r\nContent-Type: application/x-evil\r\n\r\ntwo"
    for new in (
        message.replace_part(part_of(message, 1, 1), text),
        message.replace_part(part_of(message, 1, 1), text.encode()),
        message.replace_part(part_of(message, 1, 1), text, type="text/html"),
        message.append_text(text),
    ):
        assert len(new.parts()) == 3
        assert part_of(new, 1, 1).content.strip() == text.strip().encode()
    added = message.attach(text, "text/plain")
    assert (len(added.parts()), part_of(added, 2).content) == (4, text.encode())


def test_a_message_can_be_attached_to_itself():
    """Its own delimiters are in it, so that it gets a multipart around it."""
    message = MIXED.attach(bytes(MIXED), "message/rfc822")
    assert message.parts()[-6].content == bytes(MIXED)
    assert [part.type for part in message.parts()] == [
        "multipart/mixed",
        *(types := [part.type for part in MIXED.parts()]),
        "message/rfc822",
        *types,
    ]
    eight = MIXED.attach("Subject: ü\n\nx\n", "message/rfc822").parts()[-2]
    assert (eight.encoding, eight.content) == ("8bit", "Subject: ü\r\n\r\nx\r\n".encode())


# ------------------------------------------------------------------------------------ protected
SIGNED = {
    "dkim": (single("text/plain", "x\n").add("DKIM-Signature", "v=1"), {"dkim"}),
    "pgp": (single('multipart/signed; protocol="application/pgp-signature"; boundary=b', ""), {"pgp"}),
    "pgp part": (
        single("multipart/mixed; boundary=b", "--b\nContent-Type: application/pgp-signature\n\n\n--b--"),
        {"pgp"},
    ),
    "smime": (single("multipart/signed; boundary=b", ""), {"smime"}),
    "smime part": (single("application/x-pkcs7-signature", ""), {"smime"}),
    "smime opaque": (single("application/pkcs7-mime; smime-type=signed-data", ""), {"smime"}),
    "smime closed": (single("application/pkcs7-mime; smime-type=enveloped-data", ""), {"encrypted"}),
    "pgp closed": (single("multipart/encrypted; boundary=b", ""), {"encrypted"}),
    "inline": (single("text/plain", "-----BEGIN PGP SIGNED MESSAGE-----\n"), {"inline"}),
    "inline signature": (single("text/plain", "x\n-----BEGIN PGP SIGNATURE-----\n"), {"inline"}),
    "inline closed": (single("text/plain", "a\n-----BEGIN PGP MESSAGE-----\n"), {"encrypted"}),
    "quoted": (single("text/plain", "> -----BEGIN PGP MESSAGE-----\n"), set()),
    "attached": (single("text/plain; name=x", "-----BEGIN PGP MESSAGE----- x\n"), set()),
    "forwarded": (single("message/rfc822", "\n-----BEGIN PGP SIGNED MESSAGE-----\n"), set()),
    "in a message": (
        single(
            "multipart/mixed; boundary=b",
            "--b\nContent-Type: message/rfc822\n\nContent-Type: multipart/signed\n\nx\n--b--\n",
        ),
        set(),
    ),
}


@pytest.mark.parametrize("kind", SIGNED)
def test_protected_mail_is_left_alone(kind):
    """Texts and attachments are not added, except if all kinds of protection are named."""
    message, found = SIGNED[kind]
    assert message.protection == found
    assert message.is_signed == bool(found - {"encrypted"})
    assert message.is_encrypted == ("encrypted" in found)
    edits = (
        lambda **how: message.append_text("y", **how),
        lambda **how: message.attach("y", "a/b", **how),
    )
    for edit in edits:
        assert (edit() is message) == bool(found)
        assert edit(despite=found) is not message
        with pytest.raises(LocalProtocolError, match="expected despite as some of dkim, smime, pgp"):
            edit(despite={"none"})


@pytest.mark.parametrize(
    ("data", "encoding", "is_text", "result"),
    [
        (b"a\r\n", "7bit", True, ("7bit", b"a\r\n")),
        (b"\xfc", "7bit", True, ("quoted-printable", b"=FC")),
        (b"\xfc", "binary", False, ("binary", b"\xfc")),
        (b"a" * 999, "8bit", True, ("quoted-printable", None)),
        (b"a\n", "8bit", True, ("base64", b"YQo=")),
        (b"a\0", "quoted-printable", True, ("base64", b"YQA=")),
        (b"a \r\nb", "quoted-printable", True, ("quoted-printable", b"a=20\r\nb")),
        (b"", "base64", False, ("base64", b"")),
    ],
)
def test_transfer_encodings(data, encoding, is_text, result):
    """The one that is asked for if it can carry the data; lines are short enough for every MTA."""
    told, coded = encoded_content(data, encoding, is_text=is_text)
    assert told == result[0]
    assert result[1] is None or coded == result[1]
    assert max(len(line) for line in coded.split(b"\r\n")) <= 76 or told == encoding

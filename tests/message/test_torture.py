"""Mails that nobody should send: the parts are those that other parsers find; edits leave the rest."""

import email
import re
from collections import Counter

import pytest
from fast_mail_parser import ParseError, parse_email_tree
from hypothesis import example, given, settings
from hypothesis import strategies as st

from demyjpy.message import Message
from demyjpy.message.mime.part import type_of
from tests.examples import share_of
from tests.message.torture import mail

MAILS = range(300)
CHUNKS = [MAILS[at : at + 20] for at in range(0, len(MAILS), 20)]


def message_of(number):
    return Message.parse(mail(number))


def standard_parts(data):
    """Type, whether it has parts, and content, as the standard library sees them."""
    return [
        (
            one.get_content_type().replace("\r\n", ""),
            one.is_multipart(),
            None if one.is_multipart() else one.get_payload(decode=True),
        )
        for one in email.message_from_bytes(data).walk()
    ]


def other_contents(data):
    """Contents of the parts that hold something, as a parser in Rust sees them; None if it gives up."""
    try:
        root = parse_email_tree(data)
    except ParseError:
        return None
    found, left = [], [root]
    while left:
        part = left.pop()
        if part.children:
            left += reversed(part.children)
        else:
            found.append((part.content_type, part.content))
    return found


def is_special(part):
    """What the standard library sees in its own way.

    A multipart without parts (there a line end may be missing or too many), a body that begins with
    ``From``, uuencoded text that is cut (it depends on the version of Python).
    """
    data = part.raw_content
    return (
        part.type.startswith("multipart/")
        or data.startswith(b"From ")
        or (part.encoding == "x-uuencode" and b"\nend" not in data)
        or not part.type.isprintable()
    )


@pytest.mark.parametrize("numbers", CHUNKS, ids=lambda numbers: str(numbers[0]))
def test_the_parts_are_those_of_the_standard_library(numbers):
    """The same types in the same order, and what is in each of them."""
    for number in numbers:
        message = message_of(number)
        parts, theirs = message.parts(), standard_parts(bytes(message))
        ours = [(one.type.encode("ascii", "replace"), one.is_container) for one in parts]
        assert ours == [(one[0].encode("ascii", "replace"), one[1]) for one in theirs], number
        for part, (_, is_container, content) in zip(parts, theirs, strict=True):
            if not is_container and not is_special(part):
                assert part.content == content, (number, part.path)


def test_where_two_parsers_agree_the_content_is_theirs():
    """A second parser, which is no Python, says the same in most of the mails."""
    counts = Counter()
    for number in MAILS:
        message = message_of(number)
        data = bytes(message)
        ours = [one for one in message.parts() if not one.is_container]
        theirs = [one for one in standard_parts(data) if not one[1]]
        others = other_contents(data)
        if others is None or len(others) != len(theirs):
            counts["structure"] += 1
            continue
        for part, (_, _, first), (_, second) in zip(ours, theirs, others, strict=True):
            if first == second:
                counts["agreed"] += 1
                assert part.content == first, (number, part.path)
            else:
                counts["not agreed"] += 1
    assert counts["agreed"] > 150, counts


@pytest.mark.parametrize("numbers", CHUNKS, ids=lambda numbers: str(numbers[0]))
def test_what_is_not_asked_for_is_not_changed(numbers):
    """A part in its own place, and a field with its own text, give the same message."""
    for number in numbers:
        message = message_of(number)
        for part in message.parts():
            if not part.is_container:
                assert message.replace_part(part, part.content) is message
                assert message.replace_part(part, part.text) is message
        for field in message.fields:
            assert message.set(field.name, message.get(field.name)) is message
        assert message.with_body(message.body) is message


@pytest.mark.parametrize("numbers", CHUNKS, ids=lambda numbers: str(numbers[0]))
def test_other_parts_keep_every_byte(numbers):
    """Each part in turn is replaced or dropped; all others have their header and body as before."""
    for number in numbers:
        message = message_of(number)
        for part in message.parts():
            if not part.path:
                continue
            if not part.is_container:
                new = message.replace_part(part, "Weg! größer\n", type="text/plain", file_name="weg.txt")
                assert others_of(new, part.path) == others_of(message, part.path), number
                there = at(new, part.path)
                assert (there.text, there.type) == ("Weg! größer\r\n", "text/plain"), number
                assert there.file_name == "weg.txt"
            assert kept(message.drop_part(part)) <= kept(message) + Counter([(b"", b"")]), number


def others_of(message, path):
    """Place, header and body of each part that is neither this one nor around it."""
    return [
        (one.path, header_of(one), one.raw_content)
        for one in message.parts()
        if path[: len(one.path)] != one.path and one.path[: len(path)] != path
    ]


def header_of(part):
    return part.base[part.place.head : part.place.body]


def kept(message):
    """How often each content is there."""
    return Counter(
        (b"", one.raw_content) for one in message.parts() if not one.is_container and not is_special(one)
    )


def at(message, path):
    return next(one for one in message.parts() if one.path == path)


@pytest.mark.parametrize("numbers", CHUNKS, ids=lambda numbers: str(numbers[0]))
def test_text_and_attachments_leave_the_other_parts(numbers):
    """All leaves are still there after an attachment; a text changes at most the texts."""
    for number in numbers:
        message = message_of(number)
        new = message.attach(b"\0data", "application/octet-stream", "x.bin", despite=message.protection)
        leaves = [one.raw_content for one in message.parts() if not one.is_container]
        there = [one.raw_content for one in new.parts() if not one.is_container]
        assert there == [*leaves, b"AGRhdGE="], number
        longer = message.append_text("Mit Grüßen\n", despite=message.protection)
        before, after = message.parts(), longer.parts()
        if len(before) == len(after):
            for one, other in zip(before, after, strict=True):
                if not one.is_container and one.raw_content != other.raw_content:
                    assert one.type in {"text/plain", "text/html"}
                    assert other.text.startswith(one.text[:5]) or one.type == "text/html", number
        else:
            assert after[-1].text == "Mit Grüßen\r\n", number


TOKENS = [
    *(b"--a", b"--b", b"--", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"x", b" ", b"\t"),
    *(b"X: y\r\n", b":\r\n"),
    b"Content-Type: multipart/mixed; boundary=a\r\n",
    b"Content-Type: multipart/digest; boundary=b\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
]


@settings(max_examples=share_of(200))
@given(
    st.sampled_from(["multipart/mixed; boundary=a", "multipart/mixed; boundary=b", "message/rfc822"]),
    st.lists(st.sampled_from(TOKENS), max_size=25).map(b"".join),
)
@example("message/rfc822", b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b")
@example("multipart/mixed; boundary=a", b"--a\r\nX: y\r\n:\r\n Content-Type: a/b\r\n--a")
def test_any_body(kind, body):
    """Parts are those of the standard library; each can be replaced, and the others stay."""
    message = Message.of([("Content-Type", f" {kind}")], body)
    parts = message.parts()
    theirs = [(re.sub(r"\s", "", one[0]), one[1]) for one in standard_parts(bytes(message))]
    assert [(re.sub(r"\s", "", one.type), one.is_container) for one in parts] == theirs
    for part in parts[1:]:
        if not part.is_container:
            new = message.replace_part(part, "W\n", type="text/plain")
            assert at(new, part.path).content == b"W\r\n"
            assert others_of(new, part.path) == others_of(message, part.path)


def test_nothing_raises_for_any_mail():
    """Every attribute of every part, and every view of the header."""
    for number in range(300, 500):
        message = message_of(number)
        for part in message.parts():
            assert isinstance(part.text, str)
            assert part.file_name is None or isinstance(part.file_name, str)
            assert type_of(part.fields, "text/plain")[0]
            assert repr(part)
        assert message.parsed().get_content_type()
        assert message.protection is not None
        message.addresses("From")
        message.decoded("Subject")


def test_the_walk_ends_at_its_limits():
    """Most, depth and unpacked leave parts out, and the first part says so."""
    seen = 0
    for number in MAILS[:60]:
        message = message_of(number)
        parts = message.parts()
        for limits in ({"most": 3}, {"depth": 1}, {"unpacked": 100}):
            some = message.parts(**limits)
            is_cut = "PartsNotSeen" in some[0].defects
            seen += is_cut
            assert is_cut or [one.path for one in some] == [one.path for one in parts]
            assert len(some) <= len(parts)
    assert seen > 30

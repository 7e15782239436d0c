"""A message as a value: what it tells, and what each method makes of it."""

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from demyjpy import LocalProtocolError
from demyjpy.events import Mail, Recipient
from demyjpy.message import Kept, Message, difference, draft_of
from demyjpy.message.content import Patch, Patched, is_equal, pieces_of, read_all, size_of

ODD = (
    b"Received: from a\r\n\tby b;\r\n now\r\n"
    b"Subject:no space\r\n"
    b"X-Eight:  zwei Leerzeichen \xfc\xff\r\n"
    b"x-spam-FLAG: yes\r\nX-Spam-Level: ***\r\nX-Spam-Flag: no\r\nEmpty:\r\n"
    b"\r\nbody \xe9\r\n.\r\n"
)
MAIL = Mail("a@example.org", {"SIZE": "100"})
TO = ("b@example.org", Recipient("c@example.org", {"NOTIFY": "NEVER"}))
ODD_MESSAGE = Message.parse(ODD, MAIL, TO)


def names(message):
    return [field.name for field in message.fields]


def changes(wish, got=ODD_MESSAGE):
    return difference(draft_of(got), draft_of(wish, got))


# ----------------------------------------------------------------------------------------- to read
def test_a_message_is_its_bytes():
    """Folding, 8-bit, missing and leading spaces are as they came."""
    assert bytes(ODD_MESSAGE) == b"".join(ODD_MESSAGE.pieces()) == ODD
    assert ODD_MESSAGE.size == len(ODD)
    assert ODD_MESSAGE.body == b"body \xe9\r\n.\r\n"
    assert ODD_MESSAGE.is_whole
    assert Message.of([("A", " 1")], b"x\r\n") == Message.parse(b"A: 1\n\nx")


def test_what_a_message_tells():
    """Envelope, and fields by name in any case."""
    assert (ODD_MESSAGE.sender, ODD_MESSAGE.sender_parameters["SIZE"]) == ("a@example.org", "100")
    assert [one.address for one in ODD_MESSAGE.recipients] == ["b@example.org", "c@example.org"]
    assert ODD_MESSAGE.get("subject") == "no space"
    assert ODD_MESSAGE.get("X-None") is None
    assert ODD_MESSAGE.get("X-None", 1) == 1
    assert ODD_MESSAGE.get_all("X-SPAM-FLAG") == ("yes", "no")
    assert ODD_MESSAGE.get("Empty") == ""


def test_parsed_is_an_email_message():
    """It reads what the standard library reads, and a field that it cannot read is a text."""
    message = Message.parse(b"Subject: =?utf-8?q?=C3=A9?=\r\nContent-Type: text/plain\r\n\r\nhi\r\n")
    parsed = message.parsed()
    assert parsed["Subject"] == "é"
    assert parsed.get_content() == "hi\r\n"
    bad = Message.parse(b"To: " + b"(" * 5000 + b"\r\nMessage-Id: <@[:\r\nDate: x\r\n\r\n").parsed()
    assert bad["To"].startswith("((")
    assert isinstance(bad["Message-Id"], str)
    long = Message.parse(b"Content-Type: text/plain; " + b"a=b; " * 100_000 + b"\r\n\r\n").parsed()
    assert long.get_content_type() == "text/plain"
    head = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    deep = Message.parse(b"".join(head % (level, level) for level in range(5000))).parsed()
    assert (deep.get_content_type(), deep.is_multipart()) == ("multipart/mixed", False)


# -------------------------------------------------------------------------------------- the header
def test_set_changes_the_first_of_a_name_or_adds_one():
    """Spelling of the name and space after the colon stay as they are."""
    message = ODD_MESSAGE.set("SUBJECT", "[EXT] " + ODD_MESSAGE.get("Subject")).set("X-New", "1")
    assert b"\r\nSubject:[EXT] no space\r\n" in bytes(message)
    assert bytes(message).partition(b"\r\n\r\n")[0].endswith(b"\r\nX-New: 1")
    assert ODD_MESSAGE.set("X-Spam-Flag", "maybe").get_all("X-Spam-Flag") == ("maybe", "no")
    assert ODD_MESSAGE.set("Empty", "full").fields[-1].raw == " full"
    assert ODD_MESSAGE.set("Subject", " lead").get("Subject") == " lead"


def test_set_only_leaves_one():
    """The others of the name go."""
    message = ODD_MESSAGE.set_only("X-Spam-Flag", "maybe")
    assert message.get_all("X-Spam-Flag") == ("maybe",)
    assert ODD_MESSAGE.set_only("x-new", "1").get_all("X-New") == ("1",)


def test_add_and_prepend():
    """One goes to the end, the other to the top; the last one to the very top."""
    message = ODD_MESSAGE.add("X-A", "1").add("X-A", "2").prepend("X-B", "1").prepend("X-B", "2")
    assert names(message) == ["X-B", "X-B", *names(ODD_MESSAGE), "X-A", "X-A"]
    assert message.get_all("X-B") == ("2", "1")


def test_without_takes_patterns_and_a_predicate():
    """Upper and lower case do not matter; a star does not cross the end of the name."""
    assert not ODD_MESSAGE.without("X-Spam-*").get_all("x-spam-flag")
    assert names(ODD_MESSAGE.without(["x-spam-flag", "E[lm]pty", "Sub"]))[-1] == "X-Spam-Level"
    kept = ODD_MESSAGE.without("X-Spam-*", where=lambda field: field.value == "no")
    assert kept.get_all("X-Spam-Flag") == ("yes",)
    assert ODD_MESSAGE.without([]) is ODD_MESSAGE
    assert ODD_MESSAGE.without("X-None") is ODD_MESSAGE


def test_first_only():
    """Of several fields of a name the first is left, of other names all."""
    assert ODD_MESSAGE.first_only("X-SPAM-FLAG").get_all("X-Spam-Flag") == ("yes",)
    assert ODD_MESSAGE.first_only(["Subject", "Received"]) is ODD_MESSAGE


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("Bad Name", "x", ("a header field: expected name of printable ASCII",)),
        (b"X", "x", ("a header field: expected name",)),
        ("X-A", "a\nb", ("X-A: expected value as text without NUL", "with LF")),
        ("X-A", "a\0", ("X-A: ", "with NUL")),
        ("X-A", 7, ("X-A: expected the value as text (str), got 7",)),
        ("X-A", "\ud800", ("X-A: ",)),
        ("X-A", "x" * 2001, ("X-A: expected lines of at most 2000 bytes, got one of 2002", "fold")),
        ("X-A", "ok\n " + "é" * 1500, ("X-A: expected lines of at most 2000 bytes, got one of 3001",)),
    ],
)
@pytest.mark.parametrize("method", ["set", "set_only", "add", "prepend"])
def test_an_illegal_field_is_an_error(method, name, value, told):
    """It names the field, says what to do, and does not show the value."""
    if name == b"X" and method in ("set", "set_only"):
        return
    with pytest.raises(LocalProtocolError) as error:
        getattr(ODD_MESSAGE, method)(name, value)
    for part in told:
        assert part in str(error.value)


def test_a_long_line_of_the_mail_is_no_error():
    """Who sends a mail cannot choose that a filter fails that puts a word before the subject."""
    message = Message.of([("Subject", " " + "x" * 5000)])
    assert message.set("Subject", "[EXT] " + message.get("Subject")).get("Subject").startswith("[EXT]")
    with pytest.raises(LocalProtocolError, match="got one of 7201"):
        message.set("Subject", "x" * 2200 + message.get("Subject"))


@pytest.mark.parametrize("moved", [lambda fields: fields[::-1], lambda fields: (fields[0], *fields)])
def test_a_moved_field_is_an_error(moved):
    """The difference says which one, and what to do."""
    wish = evolve(ODD_MESSAGE, fields=moved(ODD_MESSAGE.fields))
    with pytest.raises(LocalProtocolError, match="moved: an MTA cannot move a field; take it out with"):
        changes(wish)


# -------------------------------------------------------------------------------- body and envelope
def test_with_body_has_the_line_ends_of_the_mta():
    """LF becomes CRLF, and the last line is complete; the same body is no change."""
    assert ODD_MESSAGE.with_body(b"a\nb").body == b"a\r\nb\r\n"
    assert ODD_MESSAGE.with_body(b"").body == b""
    assert ODD_MESSAGE.with_body(bytes(bytearray(ODD_MESSAGE.body))) is ODD_MESSAGE
    with pytest.raises(LocalProtocolError, match="with_body: expected bytes, got text of 1 characters"):
        ODD_MESSAGE.with_body("x")


def test_recipients():
    """One who is there is not added again; a drop covers any spelling; an unknown one is no error."""
    more = ODD_MESSAGE.add_recipient("<d@example.org>", "NOTIFY=NEVER").add_recipient("b@example.org")
    assert [one.address[0] for one in more.recipients] == ["b", "c", "d"]
    assert [one.address[0] for one in more.drop_recipient("B@EXAMPLE.org").recipients] == ["c", "d"]
    assert ODD_MESSAGE.drop_recipient("x@example.org") is ODD_MESSAGE
    assert ODD_MESSAGE.drop_recipient("b@example.org", "<c@example.org>").recipients == ()
    assert ODD_MESSAGE.add_recipient("b@example.org") is ODD_MESSAGE
    with pytest.raises(LocalProtocolError, match="AddRecipient: expected address as one address"):
        ODD_MESSAGE.add_recipient("a@b, c@d")


def test_the_difference_of_envelopes():
    """A recipient with other parameters is dropped and added; what was taken back is no change."""
    again = ODD_MESSAGE.drop_recipient("c@example.org").add_recipient("c@example.org", "NOTIFY=FAILURE")
    assert [type(one).__name__ for one in changes(again)] == ["DropAddress", "AddAddress"]
    same = ODD_MESSAGE.drop_recipient("c@example.org").add_recipient("c@example.org", "NOTIFY=NEVER")
    assert changes(same) == ()
    assert ODD_MESSAGE.with_sender("a@example.org") is ODD_MESSAGE
    (edit,) = changes(ODD_MESSAGE.with_sender(""))
    assert (edit.address, dict(edit.parameters)) == ("", {})
    (edit,) = changes(ODD_MESSAGE.with_sender("a@example.org", "RET=HDRS"))
    assert dict(edit.parameters) == {"RET": "HDRS"}


def test_what_was_not_asked_to_change_is_no_edit():
    """The message itself, and one that was changed and changed back."""
    assert changes(ODD_MESSAGE) == ()
    back = (
        ODD_MESSAGE.set("Subject", "x")
        .set("Subject", "no space")
        .with_body(b"")
        .with_body(ODD_MESSAGE.body)
    )
    assert changes(back) == ()
    assert changes(ODD_MESSAGE.add("X", "1").without("X")) == ()


# ------------------------------------------------------------------------------ a body of the engine
def kept(pieces, size=None):
    """A body as the engine keeps it, and the list that says how often it was read."""
    read = []

    def again():
        read.append(1)
        return iter(pieces)

    return Kept(sum(map(len, pieces)) if size is None else size, again), read


def test_a_kept_body_is_read_at_each_use():
    """It is not kept a second time, and not read for header fields or for a body of another size."""
    body, read = kept([b"one\r\n", b"two\r\n"])
    message = Message.of([("A", " 1")], body)
    assert (message.size, message.get("A"), message.set("A", "2").is_whole) == (18, "1", True)
    assert changes(message.with_body(b"x").set("A", "2"), message)[1].data == b"x\r\n"
    assert not read
    assert message.body == message.body == b"one\r\ntwo\r\n"
    assert bytes(message) == b"A: 1\r\n\r\none\r\ntwo\r\n"
    assert len(read) == 3
    assert message.with_body(b"one\r\ntwo\r\n") is message
    assert message.with_body(b"one\r\ntwe\r\n") is not message
    assert changes(message.set("A", "2"), message)[0].raw == " 2"
    assert len(read) == 5


def test_a_body_after_the_message_has_ended():
    """Reading it is an error that says so."""
    message = Message.of([], Kept(3, lambda: None))
    for read in (bytes, Message.parts, Message.parsed, lambda one: one.body, lambda one: one.is_signed):
        with pytest.raises(LocalProtocolError, match="this message has ended: keep in the context what"):
            read(message)


def test_a_body_that_was_too_large():
    """The header can be read and changed, and the body replaced; reading the body is an error."""
    message = Message.of([("Subject", " big")], Kept(30_000_000))
    assert (message.is_whole, message.size) == (False, 30_000_016)
    assert [*map(type, changes(message.set("Subject", "x"), message))]
    with pytest.raises(LocalProtocolError, match=r"so its body \(30000000 bytes\) was not kept"):
        _ = message.body
    new = message.with_body(b"gone")
    assert (new.is_whole, changes(new, message)[0].data) == (True, b"gone\r\n")
    same_size = Message.of([], Kept(3))
    assert changes(evolve(same_size, content=b"abc"), same_size)[0].data == b"abc"


@given(st.binary(max_size=40), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.binary())))
@example(b"abcd", [(1, 0, b"x"), (1, 0, b"y"), (3, 0, b"z"), (1, 2, b"w")])
def test_patches(base, wanted):
    """Patches that do not overlap leave all other bytes; one around others takes their place."""
    body, expected = Patched(base, base), {}
    for start, length, data in wanted:
        end = min(start + length, len(base))
        inside = [one for one in expected if start <= one[0] and one[1] <= end]
        others = [one for one in expected if one not in inside]
        if start > end or any(one[0] < end and start < one[1] for one in others):
            continue
        for one in inside:
            del expected[one]
        expected[start, end] = data
        body = body.with_patch(Patch(start, end, data))
    text = base
    for (start, end), data in sorted(expected.items(), reverse=True):
        text = text[:start] + data + text[end:]
    assert read_all(body) == text
    assert size_of(body) == len(text)
    assert is_equal(body, text)
    assert not is_equal(body, text + b"x")


def test_a_large_body_comes_in_pieces():
    """Of 64 KiB at most."""
    data = bytes(200_000)
    assert [len(piece) for piece in pieces_of(data)] == [65_536] * 3 + [3_392]
    assert [*pieces_of(b"")] == []
    assert is_equal(Kept(200_000, lambda: [data[:100], data[100:]]), data)
    assert not is_equal(Kept(200_000, lambda: [data[:100], bytes(199_899), b"x"]), data)

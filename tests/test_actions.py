"""The values that stand for what a filter says: each checks itself where it is made."""

import attrs
import pytest

from demyjpy import actions as act
from demyjpy.errors import LocalProtocolError
from demyjpy.texts import NO_REASON
from demyjpy.wire.codes import CHUNK_SIZE, ActionFlag, ProtocolFlag
from demyjpy.wire.fields import Parameters

SURROGATE = "\ud800"
LONG = "x" * 65_528

GOOD_VALUES = ["", "v", " v", "\tv", "a\n b", "a\r\n b", "a\n\tb", "ä", "\udcff", "a\n b\n c"]
GOOD_VALUES += ["a\n \n b", "a\n ", "\n \n\t", " \n "]
BAD_VALUES = ["\0", "a\nb", "a\n", "a\n\n b", "a\r\nb", SURROGATE, LONG, 5, b"v"]
BAD_NAMES = ["", "a b", "a:", "a\t", "ä", "a\n", "\x7f", 5, None]
HEADERS = [
    act.AddHeader,
    lambda name, value: act.InsertHeader(0, name, value),
    lambda name, value: act.ChangeHeader(1, name, value),
]


@pytest.mark.parametrize("make", HEADERS)
@pytest.mark.parametrize("value", GOOD_VALUES)
def test_a_header_value_may_be_folded_text(make, value):
    """CRLF becomes LF; raw has the one usual space before a value."""
    action = make("X-Name", value)
    assert action.value == value.replace("\r\n", "\n")
    assert action.raw == (f" {action.value}" if value else "")


@pytest.mark.parametrize("make", HEADERS)
@pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: repr(value)[:12])
def test_a_header_value_that_would_break_the_message_is_refused(make, value):
    """NUL, a line break that starts no continuation, too long, or no text."""
    with pytest.raises(LocalProtocolError, match=r"expected (the )?value") as caught:
        make("X", value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("make", HEADERS)
@pytest.mark.parametrize(
    ("given", "value"), [("a\rb", "a b"), ("a\r", "a "), ("a\r\r\n\tb", "a \n\tb"), ("\r", " ")]
)
def test_a_lone_cr_in_a_header_value_becomes_a_space(make, given, value):
    """Both MTAs show one that an earlier milter of the chain has written."""
    assert make("X", given).value == value


@pytest.mark.parametrize("make", HEADERS)
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_header_name_is_printable_ascii_without_colon(make, name):
    """The message says whose name, what was expected and what came."""
    with pytest.raises(
        LocalProtocolError, match=r'expected name of printable ASCII without space or ":", got '
    ):
        make(name, "v")


@pytest.mark.parametrize(
    ("raw", "value"),
    [("v", "v"), (" v", "v"), ("\tv", "\tv"), ("", ""), ("  v", " v"), ("a\r\n b", "a\n b")],
)
def test_raw_is_exactly_what_follows_the_colon(raw, value):
    """raw= instead of a value gives the space, or its absence."""
    for action in (
        act.AddHeader("X", raw=raw),
        act.InsertHeader(0, "X", raw=raw),
        act.ChangeHeader(1, "X", raw=raw),
    ):
        assert (action.value, action.raw) == (value, raw.replace("\r\n", "\n"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"expected the value as text \(str\), got None"),
        ({"value": 5}, r"expected the value as text \(str\), got 5"),
        ({"value": "a", "raw": "b"}, "expected either a value or raw=, got both"),
    ],
)
def test_a_header_takes_a_value_or_raw(given, said):
    """Neither, both, or what is no text is an error that names the class."""
    with pytest.raises(LocalProtocolError, match=f"AddHeader: {said}"):
        act.AddHeader("X", **given)
    with pytest.raises(LocalProtocolError, match=f"InsertHeader: {said}"):
        act.InsertHeader(0, "X", **given)
    with pytest.raises(LocalProtocolError, match=f"ChangeHeader: {said}"):
        act.ChangeHeader(1, "X", **given)


def test_raw_is_checked_like_a_value():
    """What is no text, or breaks the message, is refused."""
    with pytest.raises(LocalProtocolError, match="expected value as text without NUL"):
        act.AddHeader("X", raw="a\nb")
    with pytest.raises(LocalProtocolError):
        act.AddHeader("X", raw=5)


INDEXES = [
    (lambda index: act.InsertHeader(index, "X", "v"), 0),
    (lambda index: act.ChangeHeader(index, "X", "v"), 1),
    (lambda index: act.DeleteHeader(index, "X"), 1),
]


@pytest.mark.parametrize(("make", "first"), INDEXES)
def test_an_index_counts_from_its_first(make, first):
    """0 for insertion, 1 for changes, up to what a 32 bit MTA takes."""
    assert make(first).index == first
    assert make(act.MAX_INDEX).index == 2**31 - 1
    for bad in (first - 1, 2**31, "1", 1.0, True, None):
        shown = "text of 1 characters" if bad == "1" else repr(bad)
        with pytest.raises(
            LocalProtocolError, match=f"expected index from {first} to 2147483647, got {shown}"
        ):
            make(bad)


# -------------------------------------------------------------------------------------- addresses
ADDRESSES = [
    ("a@b", "a@b"),
    ("<a@b>", "a@b"),
    (" <a@b> ", "a@b"),
    ('"a b, <c>"@x', '"a b, <c>"@x'),
    ('<"a\\"b"@x>', '"a\\"b"@x'),
    ("bob", "bob"),
    ("ä@ö", "ä@ö"),
    ("\udcff@x", "\udcff@x"),
    ("<@a,@b:c@x>", "c@x"),
    ("@a.example,@b.example:c@x", "c@x"),
    ('@[IPv6:::1],@b:"c:d"@x', '"c:d"@x'),
    ("@:c@x", "c@x"),
    ("@a:@x", "@x"),
    ("@x", "@x"),
    ('"@a:b"@x', '"@a:b"@x'),
    ("<<a@x>>", "a@x"),
    ("a@x>", "a@x"),
    ("< a@x >", "a@x"),
    ("<Bob <bob@x>>", "bob@x"),
    ("<bob@x> (Bob)", "bob@x"),
    ("a@x (a comment)", "a@x (a comment)"),
    ("a b@x", "a b@x"),
    ("a\rb@x", "a b@x"),
    ("a\\,b@x", "a\\,b@x"),
    ("a\\ b@x", "a\\ b@x"),
    ('"a>b"@x', '"a>b"@x'),
]
BAD_ADDRESSES = [
    "a@x b@y",
    "a,b",
    "a@x,b@y",
    "<a@x>,<b@y>",
    "<a@x> <b@y>",
    "a@x <b@y>",
    "a<b",
    "<a@b",
    "<a@b>\n",
    "a\n",
    "a\0",
    SURROGATE,
    LONG,
    5,
    None,
    b"a@b",
    '"a b@c',
]
ENVELOPE = [act.AddRecipient, act.DeleteRecipient, act.ChangeSender]


@pytest.mark.parametrize("kind", ENVELOPE)
@pytest.mark.parametrize(("given", "address"), ADDRESSES)
def test_an_address_is_taken_with_or_without_brackets(kind, given, address):
    """It is kept without; quotes may hold what is else refused."""
    assert kind(given).address == address


@pytest.mark.parametrize("kind", ENVELOPE)
@pytest.mark.parametrize("given", BAD_ADDRESSES, ids=lambda value: repr(value)[:12])
def test_what_is_not_one_address_is_refused(kind, given):
    """Spaces, commas and brackets outside of quotes, line breaks, and what is no text."""
    with pytest.raises(LocalProtocolError, match=f"{kind.__name__}: expected address "):
        kind(given)


def test_only_a_sender_may_be_null():
    """The null sender is "" or <>; there is no null recipient."""
    assert act.ChangeSender("<>").address == act.ChangeSender("").address == ""
    for kind in (act.AddRecipient, act.DeleteRecipient):
        with pytest.raises(LocalProtocolError, match="expected address as one address"):
            kind("<>")


PARAMETERS = [
    (None, ()),
    ("", ()),
    ("NOTIFY=NEVER  ORCPT=rfc822;a@b", ("NOTIFY=NEVER", "ORCPT=rfc822;a@b")),
    ({"NOTIFY": "NEVER", "X": None}, ("NOTIFY=NEVER", "X")),
    (Parameters([("a", "1")]), ("a=1",)),
]
BAD_PARAMETERS = [
    5,
    ["NOTIFY=NEVER"],
    {"A": "b c"},
    {"A\0": None},
    {"": None},
    {5: "x"},
    {"A": SURROGATE},
]


@pytest.mark.parametrize("kind", [act.AddRecipient, act.ChangeSender])
@pytest.mark.parametrize(("given", "words"), PARAMETERS)
def test_parameters_are_a_mapping_or_text(kind, given, words):
    """Text is split at spaces, words at the first =."""
    assert kind("a@b", given).parameters.as_words() == words


@pytest.mark.parametrize("kind", [act.AddRecipient, act.ChangeSender])
@pytest.mark.parametrize("given", BAD_PARAMETERS)
def test_parameters_that_cannot_be_words_are_refused(kind, given):
    """Each word is text without white space."""
    with pytest.raises(
        LocalProtocolError, match=f"{kind.__name__}: expected parameters as ESMTP parameters"
    ):
        kind("a@b", given)


@pytest.mark.parametrize("kind", [act.AddRecipient, act.ChangeSender])
def test_address_and_parameters_fit_one_packet(kind):
    """Together they may not be longer than what one packet carries."""
    assert kind("a@b", {"X": "y" * 65_000})
    with pytest.raises(
        LocalProtocolError, match="expected parameters of less than 65527 bytes with the address"
    ):
        kind("a" * 600, {"X": "y" * 65_000})


REASONS = [
    ("it is late", "it is late"),
    ("attachment a\r\n b.exe", "attachment a b.exe"),
    ("a\n\tb\n \nc", "a b c"),
    ("a\0b\x1b", "a b"),
    ("", NO_REASON),
    (" \r\n ", NO_REASON),
    (SURROGATE, "?"),
    (LONG, LONG[:980]),
    ("\udcff", "\udcff"),
]


@pytest.mark.parametrize(("given", "reason"), REASONS, ids=lambda value: repr(value)[:20])
def test_the_reason_of_a_quarantine_is_one_clean_line(given, reason):
    """It may come from mail."""
    assert act.Quarantine(given).reason == reason


@pytest.mark.parametrize("reason", [None, 5, b"x"])
def test_the_reason_of_a_quarantine_is_text(reason):
    """What is none is the author's mistake."""
    with pytest.raises(LocalProtocolError, match="Quarantine: expected reason as text, got "):
        act.Quarantine(reason)


@pytest.mark.parametrize("data", ["text", None, bytearray(b"x"), 5])
def test_a_body_is_bytes(data):
    """Of any size, also none; but bytes."""
    assert act.ReplaceBody(b"").data == b""
    with pytest.raises(
        LocalProtocolError, match=r'ReplaceBody: expected data as bytes, b"..." or text.encode\(\), got '
    ):
        act.ReplaceBody(data)


# ---------------------------------------------------------------------------------------- replies
REPLIES = [
    ((550,), (550, None, ("",)), False),
    ((421, "4.7.0", "later"), (421, "4.7.0", ("later",)), True),
    ((599, "5.999.999", "a\nb"), (599, "5.999.999", ("a", "b")), False),
    ((400, "", ["a", "b%"]), (400, None, ("a", "b%")), True),
    ((550, None, ("x" * 480,) * 32), (550, None, ("x" * 480,) * 32), False),
    ((550, None, "192.0.2.7 is listed"), (550, "5.7.1", ("192.0.2.7 is listed",)), False),
    ((421, None, ["no", "7 of 9"]), (421, "4.7.1", ("no", "7 of 9")), True),
    ((550, None, "4.1.1 who?"), (550, "5.7.1", ("4.1.1 who?",)), False),
    ((550, None, "5.1.1 who?\n5.1.1 you?"), (550, None, ("5.1.1 who?", "5.1.1 you?")), False),
    ((550, None, "5.1.1 who?\n7 of 9"), (550, "5.7.1", ("5.1.1 who?", "7 of 9")), False),
    ((550, "5.1.1", "7 of 9"), (550, "5.1.1", ("7 of 9",)), False),
]


@pytest.mark.parametrize(("given", "wanted", "is_temporary"), REPLIES)
def test_a_reply_is_code_enhanced_code_and_lines(given, wanted, is_temporary):
    """Text is cut into lines at LF; % is given as it is."""
    reply = act.ReplyCode(*given)
    assert (reply.code, reply.enhanced, reply.lines) == wanted
    assert reply.is_temporary is is_temporary


BAD_REPLIES = [
    ((250,), "expected code from 400 to 599, got 250"),
    ((600,), "expected code from 400 to 599, got 600"),
    (("550",), "expected code from 400 to 599, got text of 3 characters"),
    ((550.0,), "expected code from 400 to 599, got 550.0"),
    ((550, "2.1.1"), "expected enhanced like 5.7.1 or 4.7.1, or None, got text of 5 characters"),
    ((550, "5.7"), "got text of 3 characters"),
    ((550, "5.7.1000"), "got text of 8 characters"),
    ((550, "5.7.1 "), "got text of 6 characters"),
    ((550, "5.\u0667.1"), "got "),
    ((550, 571), "got 571"),
    ((550, "4.7.1"), "expected code and enhanced code of one class, got 550 and 4.7.1"),
    ((451, "5.7.1"), "expected code and enhanced code of one class, got 451 and 5.7.1"),
    ((550, None, b"text"), "expected lines as text: a string, or strings"),
    ((550, None, ["a", b"b"]), "expected lines as text: a string, or strings"),
    ((550, None, 5), "expected lines as text: a string, or strings"),
]


@pytest.mark.parametrize(("given", "message"), BAD_REPLIES)
def test_a_reply_that_an_mta_would_not_take_is_refused(given, message):
    """The message says what was expected and what came."""
    with pytest.raises(LocalProtocolError) as caught:
        act.ReplyCode(*given)
    assert "ReplyCode: expected " in str(caught.value)
    assert message in str(caught.value)


CLEANED = [
    ("a\rb", ("a b",)),
    ("a\r\nb", ("a", "b")),
    (["a\nb"], ("a b",)),
    ("a\n b", ("a", " b")),
    ("\0\x1b[0m\t\x7f\x85", ("  [0m   ",)),
    ("x" * 981, ("x" * 980,)),
    ("ä" * 491, ("ä" * 490,)),
    ("x" + "€" * 400, ("x" + "€" * 326,)),
    ("\udcff" * 981, ("\udcff" * 980,)),
    (["x"] * 33, ("x",) * 32),
    ([], ("",)),
    (SURROGATE, ("?",)),
    ("\u00ca\u00cdx\u00cb\udc8a", ("??x\u00cb?",)),
    (["x" * 980] * 32, ("x" * 980,) * 16),
    (["%" * 980] * 32, ("%" * 980,) * 8),
]


@pytest.mark.parametrize(("given", "lines"), CLEANED, ids=lambda value: repr(value)[:20])
def test_the_text_of_a_reply_is_cut_and_cleaned(given, lines):
    """It may come from mail: a refusal refuses, whatever the text."""
    reply = act.ReplyCode(550, None, given)
    assert reply.lines == lines
    assert act.ReplyCode(550, None, reply.lines) == reply


# ------------------------------------------------------------------------------------------ all
def test_flags_of_an_answer_are_flags():
    """Plain numbers become the enums; a version that is no number is refused."""
    answer = act.Negotiate(6, 1, 0x10)
    assert answer.actions is ActionFlag.ADDHDRS
    assert answer.protocol is ProtocolFlag.NOBODY
    with pytest.raises(TypeError):
        act.Negotiate("6", 0, 0)


SAMPLES = [
    act.Continue(),
    act.ReplyCode(550, "5.7.1", "no"),
    act.AddHeader("X", "v"),
    act.InsertHeader(0, "X", "v"),
    act.ChangeHeader(1, "X", "v"),
    act.DeleteHeader(1, "X"),
    act.ReplaceBody(b"x"),
    act.AddRecipient("a@b", "X=y"),
    act.ChangeSender("a@b"),
    act.Quarantine("x"),
    act.Negotiate(6, 0, 0, ((0, ("i",)),)),
]


@pytest.mark.parametrize("action", SAMPLES, ids=lambda action: type(action).__name__)
def test_an_action_is_a_value(action):
    """It cannot be changed, and equal ones have one hash."""
    for one in attrs.fields(type(action)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(action, one.name, None)
    assert len({action, action}) == 1
    assert action != act.Accept()


@pytest.mark.parametrize(("character", "size"), [("x", 1), ("é", 2), ("€", 3), ("😀", 4)])
def test_what_a_packet_holds_is_counted_in_bytes(character, size):
    """A header field of as many as fit, and of one more."""
    most = (CHUNK_SIZE - 8 - 1) // size
    assert act.AddHeader("X", character * most).value == character * most
    with pytest.raises(LocalProtocolError, match="of less than 65527 bytes"):
        act.AddHeader("X", character * (most + 1))

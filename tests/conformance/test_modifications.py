"""Rows 104-124: changes to header, envelope and body, and quarantine: at end of message only."""

import pytest

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    LocalProtocolError,
    Quarantine,
    Reject,
    ReplaceBody,
    delete_headers,
)
from tests.conformance.talk import (
    ACTIONS,
    ANSWERED,
    CONTINUE,
    EOM,
    MODIFICATIONS,
    REJECT,
    STEPS,
    TEMPFAIL,
    Talk,
    options,
    packet,
)

PLAIN_OFFER = options(6, ACTIONS, STEPS & ~0x100000)

EACH = {
    "add_header": AddHeader("X-A", "v"),
    "insert_header": InsertHeader(0, "X-A", "v"),
    "change_header": ChangeHeader(1, "X-A", "v"),
    "delete_header": DeleteHeader(1, "X-A"),
    "change_body": ReplaceBody(b"new\r\n"),
    "add_recipient": AddRecipient("a@b"),
    "add_recipient_par": AddRecipient("a@b", "NOTIFY=NEVER"),
    "delete_recipient": DeleteRecipient("c@d"),
    "change_sender": ChangeSender("n@x"),
    "quarantine": Quarantine("why"),
}
NEEDS = {"insert_header": "add_header", "delete_header": "change_header"}
"""Permissions that have another name than the action."""


def edits(*actions, offer=PLAIN_OFFER):
    """What goes out at end of message, before the verdict."""
    talk = Talk({"end_of_message": actions}, actions=MODIFICATIONS).go_to("end_of_message", offer)
    answer = talk.say(EOM)
    assert talk.troubles == []
    assert answer.endswith(CONTINUE)
    return answer.removesuffix(CONTINUE)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("event", sorted(set(ANSWERED) - {"end_of_message"}))
def test_row_104_outside_of_end_of_message(event, name):
    """A modification before the end of message is the handler's error; nothing of it is sent."""
    talk = Talk({event: EACH[name]}, actions=MODIFICATIONS).go_to(event)
    assert talk.say(ANSWERED[event]) == TEMPFAIL
    assert talk.errors == [LocalProtocolError]


@pytest.mark.parametrize("event", ["abort", "quit", "disconnect"])
def test_row_104_after_the_message(event):
    """A modification where nothing can be said is the handler's error, too."""
    talk = Talk({event: AddHeader("X", "v")}, actions=MODIFICATIONS).go_to("data")
    assert talk.say(packet(b"Q")) == b""
    assert talk.errors == [LocalProtocolError]


@pytest.mark.parametrize("name", EACH)
def test_row_105_without_permission(name):
    """An action that was not asked for in the negotiation is refused, whatever else was granted."""
    others = set(MODIFICATIONS) - {NEEDS.get(name, name)}
    talk = Talk({"end_of_message": EACH[name]}, actions=others).go_to("end_of_message")
    assert talk.say(EOM) == TEMPFAIL
    assert talk.errors == [LocalProtocolError]


def test_row_105_nothing_of_the_plan_is_sent():
    """One bad action in a plan, and none of it is sent."""
    talk = Talk(
        {"end_of_message": (AddHeader("X", "v"), Quarantine("why"), AddHeader("Y", "w"))},
        actions={"add_header"},
    )
    assert talk.go_to("end_of_message").say(EOM) == TEMPFAIL


def test_row_106_add_header():
    """ADDHEADER is two strings."""
    assert edits(AddHeader("X-A", "v")) == bytes.fromhex("0000000768582d41007600")
    assert edits(AddHeader("X-A", "")) == packet(b"h", b"X-A\0\0")


@pytest.mark.parametrize(
    ("index", "number"), [(0, b"\0\0\0\0"), (1, b"\0\0\0\x01"), (0x7FFFFFFF, b"\x7f\xff\xff\xff")]
)
def test_row_107_insert_header(index, number):
    """INSHEADER is an index in network order, from 0, and two strings."""
    assert edits(InsertHeader(index, "X-A", "v")) == packet(b"i", number + b"X-A\0v\0")


@pytest.mark.parametrize("index", [-1, 0x80000000, True, "1", 1.0])
def test_row_107_index_out_of_range(index):
    """An index that an MTA might take for a negative one is refused."""
    with pytest.raises(LocalProtocolError, match="index"):
        InsertHeader(index, "X-A", "v")


@pytest.mark.parametrize("action", [DeleteHeader(1, "X-A"), ChangeHeader(1, "X-A", "")])
def test_row_108_delete_header(action):
    """CHGHEADER with an empty value deletes: it ends in two NUL."""
    assert edits(action) == bytes.fromhex("0000000a6d0000000158 2d410000")


@pytest.mark.parametrize("index", [0, -1])
def test_row_109_change_header_index(index):
    """CHGHEADER counts from 1: a lower index is refused."""
    with pytest.raises(LocalProtocolError, match="index from 1"):
        ChangeHeader(index, "X-A", "v")
    with pytest.raises(LocalProtocolError, match="index from 1"):
        DeleteHeader(index, "X-A")


def test_row_110_delete_several():
    """Several header fields of a name are deleted from the last to the first, as both MTAs want it."""
    talk = Talk(
        {"end_of_message": lambda event, ctx: delete_headers(ctx, "X", (1, 3, 2, 3))},
        actions={"change_header"},
    ).go_to("end_of_message")
    wanted = b"".join(packet(b"m", bytes((0, 0, 0, index)) + b"X\0\0") for index in (3, 2, 1))
    assert talk.say(EOM) == wanted + CONTINUE


@pytest.mark.parametrize("name", ["", "X A", "X:", "X\tA", "X\nA", "X\0", "\x7f", "Ü", " X", None, b"X"])
def test_row_111_header_name(name):
    """A header name is printable ASCII without space or colon."""
    for make in (
        lambda: AddHeader(name, "v"),
        lambda: InsertHeader(0, name, "v"),
        lambda: ChangeHeader(1, name, "v"),
        lambda: DeleteHeader(1, name),
    ):
        with pytest.raises(LocalProtocolError, match="name"):
            make()


VALUES = {"h": AddHeader, "i": lambda *v: InsertHeader(0, *v), "m": lambda *v: ChangeHeader(1, *v)}


@pytest.mark.parametrize("letter", VALUES)
def test_row_112_crlf_becomes_lf(letter):
    """A value folded with CRLF goes out folded with LF."""
    assert edits(VALUES[letter]("X", "a\r\n b\r\n\tc")).endswith(b"X\0a\n b\n\tc\0")


@pytest.mark.parametrize("letter", VALUES)
@pytest.mark.parametrize("value", ["\0", "a\0b", "a\0"])
def test_row_113_nul_in_a_value(letter, value):
    """NUL in a value is refused."""
    with pytest.raises(LocalProtocolError, match="value"):
        VALUES[letter]("X", value)


@pytest.mark.parametrize("letter", VALUES)
@pytest.mark.parametrize("value", ["a\nb", "a\n", "a\n\n b", "a\r\n", "a\r\nb", "\nX-Evil: 1"])
def test_row_114_line_breaks_in_a_value(letter, value):
    """A line break that starts no continuation is refused: it would start another header, or junk."""
    with pytest.raises(LocalProtocolError, match="value"):
        VALUES[letter]("X", value)
    with pytest.raises(LocalProtocolError, match="value"):
        AddHeader("X", raw=value)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"value": "v"}, b" v"),
        ({"value": " v"}, b"  v"),
        ({"value": "\tv"}, b" \tv"),
        ({"value": ""}, b""),
        ({"raw": "v"}, b"v"),
        ({"raw": " v"}, b" v"),
        ({"raw": "\tv"}, b"\tv"),
    ],
)
def test_row_115_leading_space(given, sent):
    """With HDR_LEADSPC a value gets one space put before it, and ``raw=`` goes out as it is."""
    offer = options(6, ACTIONS, STEPS)
    assert edits(AddHeader("X", **given), offer=offer) == packet(b"h", b"X\0" + sent + b"\0")
    assert edits(InsertHeader(1, "X", **given), offer=offer).endswith(b"X\0" + sent + b"\0")
    assert edits(ChangeHeader(1, "X", **given), offer=offer).endswith(b"X\0" + sent + b"\0")


def test_row_116_large_body():
    """A body is cut into packets of 65535 bytes, one after the other."""
    body = bytes(range(256)) * 547
    parts = [body[:65535], body[65535:131070], body[131070:140000]]
    assert edits(ReplaceBody(body[:140000])) == b"".join(packet(b"b", part) for part in parts)
    assert [len(part) for part in parts] == [65535, 65535, 8930]


@pytest.mark.parametrize(("size", "packets"), [(65535, 1), (65536, 2), (131070, 2), (131071, 3)])
def test_row_116_no_empty_rest(size, packets):
    """A body that fills its packets is followed by no empty one."""
    assert len(edits(ReplaceBody(bytes(size)))) == size + 5 * packets


def test_row_117_empty_body():
    """An empty body is one empty packet."""
    assert edits(ReplaceBody(b"")) == packet(b"b")


def test_row_118_body_in_one_run():
    """All of a body goes out in one run, in whatever order it was queued with other changes."""
    sent = edits(
        ReplaceBody(b"x" * 65530),
        AddHeader("A", "1"),
        ReplaceBody(b"y" * 10),
        AddRecipient("a@b"),
        ReplaceBody(b"z"),
    )
    assert sent == (
        packet(b"h", b"A\x001\0")
        + packet(b"+", b"<a@b>\0")
        + packet(b"b", b"x" * 65530 + b"y" * 5)
        + packet(b"b", b"y" * 5 + b"z")
    )


@pytest.mark.parametrize("spelled", ["a@b", "<a@b>", " a@b ", " <a@b>"])
def test_row_119_brackets(spelled):
    """Addresses go out in brackets, given with or without them."""
    assert edits(AddRecipient(spelled)) == packet(b"+", b"<a@b>\0")
    assert edits(DeleteRecipient(spelled)) == packet(b"-", b"<a@b>\0")
    assert edits(ChangeSender(spelled)) == packet(b"e", b"<a@b>\0")


@pytest.mark.parametrize("spelled", ["", "<>"])
def test_row_119_null_address(spelled):
    """The null address is a sender, and no recipient."""
    assert edits(ChangeSender(spelled)) == packet(b"e", b"<>\0")
    for kind in (AddRecipient, DeleteRecipient):
        with pytest.raises(LocalProtocolError, match="address"):
            kind(spelled)


def test_row_120_no_parameters():
    """Without parameters there is one string, and no empty second one."""
    assert edits(ChangeSender("n@x")) == packet(b"e", b"<n@x>\0")
    assert edits(ChangeSender("n@x", {})) == packet(b"e", b"<n@x>\0")
    assert edits(AddRecipient("a@b", "")) == packet(b"+", b"<a@b>\0")


@pytest.mark.parametrize(
    "given", ["NOTIFY=NEVER RET=HDRS", " NOTIFY=NEVER  RET=HDRS ", {"NOTIFY": "NEVER", "RET": "HDRS"}]
)
def test_row_121_parameters(given):
    """Parameters are a second string, with spaces between them."""
    assert edits(AddRecipient("a@b", given)) == packet(b"2", b"<a@b>\0NOTIFY=NEVER RET=HDRS\0")
    assert edits(ChangeSender("a@b", given)) == packet(b"e", b"<a@b>\0NOTIFY=NEVER RET=HDRS\0")


def test_row_121_bare_parameter():
    """A parameter without value is its key."""
    assert edits(ChangeSender("a@b", {"SMTPUTF8": None})) == packet(b"e", b"<a@b>\0SMTPUTF8\0")


@pytest.mark.parametrize("kind", [AddRecipient, DeleteRecipient, ChangeSender])
@pytest.mark.parametrize(
    "address",
    ["a@b\r\nDATA", "a\nb@c", "a\0b@c", "<a@b>\n", "a@b,c@d", "<a@b>,<c@d>", "a@b c@d", "<a@b", None],
)
def test_row_122_address_with_more_in_it(kind, address):
    """CR, LF, NUL, a comma or a second address are refused."""
    with pytest.raises(LocalProtocolError, match="address"):
        kind(address)


@pytest.mark.parametrize("kind", [AddRecipient, ChangeSender])
@pytest.mark.parametrize("given", [{"X": "a b"}, {"X": "a\n"}, {"X": "\0"}, {"": None}, {"A B": None}])
def test_row_122_parameters_with_more_in_them(kind, given):
    """Space, CR, LF or NUL within a parameter are refused."""
    with pytest.raises(LocalProtocolError, match="parameters"):
        kind("a@b", given)


@pytest.mark.parametrize("given", ["", "a\nb", "a\0b", "a\r\n b"])
def test_row_123_reason_on_one_line(given):
    """A quarantine has a reason, on one line."""
    assert edits(Quarantine(given)) == packet(b"q", (b"a b" if given else b"no reason given") + b"\0")


@pytest.mark.parametrize("reason", [None, b"why"])
def test_row_123_quarantine_without_reason(reason):
    """A reason is text."""
    with pytest.raises(LocalProtocolError, match="reason"):
        Quarantine(reason)


def test_row_124_order():
    """The order is kept within header and envelope; these come first, then body, then quarantine."""
    assert edits(
        Quarantine("why"),
        AddRecipient("1@b"),
        DeleteHeader(2, "A"),
        DeleteRecipient("2@b"),
        AddHeader("B", "1"),
        ReplaceBody(b"x"),
        ChangeSender("3@b"),
        InsertHeader(0, "C", "2"),
        AddRecipient("4@b"),
        AddHeader("A", "3"),
    ) == (
        packet(b"m", b"\0\0\0\x02A\0\0")
        + packet(b"h", b"B\x001\0")
        + packet(b"i", b"\0\0\0\0C\x002\0")
        + packet(b"h", b"A\x003\0")
        + packet(b"+", b"<1@b>\0")
        + packet(b"-", b"<2@b>\0")
        + packet(b"e", b"<3@b>\0")
        + packet(b"+", b"<4@b>\0")
        + packet(b"b", b"x")
        + packet(b"q", b"why\0")
    )


def test_row_124_verdict_last():
    """The verdict comes last, whenever it was queued."""
    talk = Talk({"end_of_message": (Reject(), AddHeader("X", "v"))}, actions={"add_header"})
    assert talk.go_to("end_of_message", PLAIN_OFFER).say(EOM) == packet(b"h", b"X\0v\0") + REJECT

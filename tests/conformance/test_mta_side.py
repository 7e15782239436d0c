"""Rows 153-169: the MTA's side, seen from the milter that it talks to."""

import pickle

import pytest

from demyjpy import (
    AddHeader,
    Body,
    Connect,
    Continue,
    DeleteHeader,
    Header,
    LocalProtocolError,
    Mail,
    Options,
    Quarantine,
    Reject,
    ReplaceBody,
    ReplyCode,
    Skip,
)
from demyjpy.actions import Shutdown
from demyjpy.mta.milter_link import (
    Answer,
    MilterFailedError,
    MilterLink,
    Strictness,
    body_chunks,
    hear,
    say,
    start,
)
from demyjpy.mta.profiles import OFFER
from demyjpy.mta.stored_mail import StoredMessage
from tests.conformance.mta_side import BOTH, END, POSTFIX, SENDMAIL, at, heard, negotiate
from tests.model.case import (
    CONTINUE,
    MAIL,
    MESSAGE,
    ONE,
    RCPT,
    header,
    negotiation,
    packet,
    reply,
)
from tests.model.playing import ScriptedFilter, play_steps

OFF = {"C": 0x1, "H": 0x2, "M": 0x4, "R": 0x8, "B": 0x10, "L": 0x20, "N": 0x40, "U": 0x100, "T": 0x200}
QUIET = {
    "L": 0x80,
    "C": 0x1000,
    "H": 0x2000,
    "M": 0x4000,
    "R": 0x8000,
    "T": 0x10000,
    "U": 0x20000,
    "N": 0x40000,
    "B": 0x80000,
}


# ------------------------------------------------------------------------------- what is asked
@BOTH
@pytest.mark.parametrize("letter", OFF)
def test_row_153_declined_command(profile, letter):
    """A command that the filter has declined is not sent."""
    steps = ("EHLO c.test", "XFOO", *ONE[1:])
    everything, _ = heard({}, profile, steps)
    said, _ = heard({"O": negotiation(protocol=OFF[letter])}, profile, steps)
    assert said == everything.replace(letter, "")


@BOTH
@pytest.mark.parametrize("letter", QUIET)
def test_row_154_no_reply(profile, letter):
    """Where the filter has promised no reply, none is awaited."""
    steps = ("EHLO c.test", "XFOO", *ONE[1:])
    everything, _ = heard({}, profile, steps)
    # an answer would be the end of the connection
    said, played = heard({"O": negotiation(protocol=QUIET[letter]), letter: b""}, profile, steps)
    assert said == everything
    assert len(played.delivered) == 1


@BOTH
def test_row_155_progress_at_the_end(profile):
    """PROGRESS before the verdict is no verdict, however often it comes."""
    link, answer = at(END, packet("p") * 3, profile)
    assert answer is None
    _, answer = hear(link, packet("p") + CONTINUE)
    assert answer == Answer(Continue(), (), 4)


def test_row_155_progress_elsewhere():
    """Before the end Postfix takes PROGRESS as well, Sendmail does not."""
    _, answer = at(Mail("a@b"), packet("p") + CONTINUE)
    assert answer == Answer(Continue(), (), 1)
    with pytest.raises(MilterFailedError, match="expected an answer to mail, got Progress"):
        at(Mail("a@b"), packet("p") + CONTINUE, SENDMAIL)


@BOTH
def test_row_156_modifications_in_order(profile):
    """Modifications are collected in their order, until the verdict."""
    edits = header("h", b"X", b"1") + packet("b", b"new") + packet("q", b"odd\0")
    _, answer = at(END, edits + header("m", b"X", b"", 2) + packet("a"), profile)
    assert answer is not None
    assert answer.modifications == (
        AddHeader("X", "1"),
        ReplaceBody(b"new"),
        Quarantine("odd"),
        DeleteHeader(2, "X"),
    )


@BOTH
def test_row_157_modification_before_the_end(profile):
    """A modification before the end of the message is an error."""
    with pytest.raises(MilterFailedError, match="modifications at end of message only") as caught:
        at(Header("X", "y"), header("h", b"X", b"1"), profile)
    assert caught.value.kind == "nonsense"


def test_row_158_payload_of_a_verdict():
    """Bytes after a verdict are an error to Postfix, nothing to Sendmail."""
    with pytest.raises(MilterFailedError, match="expected nothing after Continue"):
        at(Mail("a@b"), packet("c", b"x"))
    _, answer = at(Mail("a@b"), packet("c", b"x"), SENDMAIL)
    assert answer == Answer()


MALFORMED = ("250 2.0.0 fine", "abc", "", "55x 5.7.1 no", "550-a\r\nb", "550-5.7.1 a\r\n450 4.7.1 b")


@pytest.mark.parametrize("text", [*MALFORMED, "550", "550 4.7.1 no"])
def test_row_159_malformed_reply_is_misuse(text):
    """Postfix calls a malformed reply a configuration error, and passes nothing of it on."""
    with pytest.raises(MilterFailedError, match="expected an SMTP reply of class 4 or 5") as caught:
        at(Mail("a@b"), reply(text))
    assert caught.value.kind == "misuse"
    _, played = heard({"M": reply(text)})
    assert played.replies[2] == "451 4.3.5 Server configuration problem - try again later"


@pytest.mark.parametrize("answer", [*map(reply, [*MALFORMED, "550 5.7.1 100%"]), packet("y", b"550 x")])
def test_row_159_malformed_reply_is_a_rejection(answer):
    """Sendmail rejects with its own text instead."""
    link, answered = at(Mail("a@b"), answer, SENDMAIL)
    assert answered == Answer(Reject())
    assert "expected an SMTP reply" in link.warnings[0]
    _, played = heard({"M": answer}, SENDMAIL)
    assert played.replies[2] == "550 5.7.1 <a@test>... Command rejected"


@BOTH
def test_row_159_reply_that_no_action_can_be(profile):
    """A reply that libmilter would not send, for its length, goes on as it is."""
    _, played = heard({"M": reply("550 5.7.1 " + "x" * 981)}, profile)
    assert played.replies[2].endswith(" " + "x" * 981)


def test_row_159_reply_that_postfix_mends():
    """Postfix takes a reply without NUL, and drops lone percent signs."""
    link, answer = at(Mail("a@b"), packet("y", b"550 5.7.1 100% no, 5%% yes"))
    assert answer == Answer(ReplyCode(550, "5.7.1", "100 no, 5% yes"))
    assert link.warnings == ("a reply without NUL: Postfix sends on what lies behind it",)


def test_row_160_end_instead_of_reply():
    """The end of the connection instead of an answer is the end of this milter."""
    with pytest.raises(MilterFailedError, match="it closed the connection instead of answering"):
        at(Mail("a@b"), b"")


@BOTH
@pytest.mark.parametrize("letter", "CHMRTLNBE")
def test_row_160_later_events_are_skipped(profile, letter):
    """After a failure nothing more is said to a milter, not even QUIT."""
    said, played = heard({letter: b""}, profile)
    assert said.endswith(letter)
    assert played.delivered == ()


@BOTH
@pytest.mark.parametrize("data", [bytes(8), b"\x80\0\0\0a", b"\x7f\xff\xff\xffa"])
def test_row_160_lengths_of_nonsense(profile, data):
    """A length that no packet can have is a failure."""
    with pytest.raises(MilterFailedError, match="expected a packet length"):
        at(Mail("a@b"), data, profile)


@BOTH
def test_row_161_index_zero(profile):
    """CHGHEADER of index 0 is that of index 1."""
    _, answer = at(END, header("m", b"X", b"", 0) + CONTINUE, profile)
    assert answer is not None
    assert answer.modifications == (DeleteHeader(1, "X"),)


# ---------------------------------------------------------------------------------- what is said
@pytest.mark.parametrize(
    ("size", "pieces"), [(0, []), (1, [1]), (65535, [65535]), (140000, [65535, 65535, 8930])]
)
def test_row_162_body_in_pieces(size, pieces):
    """A body is cut at 65535 bytes; an empty one is not sent at all."""
    chunks = body_chunks(bytes(size))
    assert [len(chunk.data) for chunk in chunks] == pieces
    assert all(isinstance(chunk, Body) for chunk in chunks)


@pytest.mark.parametrize(
    ("line", "without", "verbatim"),
    [
        (b"S:  two", b" two", b"  two"),
        (b"S:\ttab", b"\ttab", b"\ttab"),
        (b"S:v", b"v", b"v"),
        (b"S:", b"", b""),
        (b"S: one", b"one", b" one"),
    ],
)
@BOTH
def test_row_163_leading_space(profile, line, without, verbatim):
    """Without HDR_LEADSPC one space is taken off, and no tab; with it the value is as it stands."""
    steps = ("EHLO c.test", MAIL, RCPT, line + b"\r\n\r\n", "QUIT")
    for flag, value in ((0, without), (0x100000, verbatim)):
        milter = ScriptedFilter({"O": negotiation(protocol=flag)})
        play_steps(profile, steps, [milter])
        (said, *_) = (one for one in milter.heard if one[:1] == b"L")
        assert said == b"LS\0" + value + b"\0"


@BOTH
def test_row_164_folding(profile):
    """Continuation lines are joined with LF alone."""
    content = b"X: a\r\n  b\r\n\tc\r\n\r\n"
    milter = ScriptedFilter({})
    play_steps(profile, ("EHLO c.test", MAIL, RCPT, content, "QUIT"), [milter])
    assert b"LX\0a\n  b\n\tc\0" in milter.heard


@pytest.mark.parametrize(
    ("letter", "profile", "letters"),
    [("C", POSTFIX, "OC"), ("C", SENDMAIL, "OCQ"), ("H", POSTFIX, "OCH"), ("H", SENDMAIL, "OCHQ")],
)
def test_row_165_accepted_client(letter, profile, letters):
    """After ACCEPT at connect or HELO there are no more events; Sendmail says QUIT."""
    said, played = heard({letter: packet("a")}, profile)
    assert said == letters
    assert len(played.delivered) == 1


@BOTH
@pytest.mark.parametrize("verdict", "adr")
@pytest.mark.parametrize("letter", "MTLNB")
def test_row_166_decided_message(profile, verdict, letter):
    """After a verdict on a message it gets no more events, but the next one does."""
    steps = (*ONE[:-1], "RSET", *ONE[1:])
    said, _ = heard({f"{letter}0": packet(verdict)}, profile, steps)
    first, _, second = said.removeprefix("OCH").rpartition("M")
    assert first.rstrip("A").endswith(letter)
    assert second.rstrip("AQ") == "RTLLLLLNBE"


@BOTH
def test_row_167_refused_recipient(profile):
    """A recipient that the MTA itself refuses is not sent without RCPT_REJ."""
    steps = ("EHLO c.test", MAIL, "RCPT TO:<x@refused.test>", RCPT, MESSAGE, "QUIT")
    said, played = heard({}, profile, steps)
    assert said.count("R") == 1
    assert played.replies[3].startswith("550 5.1.1 ")


@BOTH
def test_row_168_unknown_command(profile):
    """UNKNOWN is not sent to a filter of version 2."""
    said, played = heard({"O": negotiation(2)}, profile, ("EHLO c.test", "XFOO", "QUIT"))
    assert "U" not in said
    assert played.replies[2].startswith("500 ")


@BOTH
def test_row_169_rset(profile):
    """RSET is ABORT if a message is open in the filter, else nothing."""
    for steps, aborts in (
        (("EHLO c.test", "RSET", "QUIT"), 0),
        (("EHLO c.test", MAIL, "RSET", "RSET", "QUIT"), 1),
        (("EHLO c.test", MAIL, RCPT, "RSET", MAIL, "RSET", "QUIT"), 2),
    ):
        said, _ = heard({}, profile, steps)
        of_quit = 1 if profile.habits.aborts_always else 0
        assert said.count("A") == aborts + of_quit


# ------------------------------------------------------------------------------- beside the rows
def test_saying_out_of_turn():
    """One thing is said after the other, and bytes are heard only where they are awaited."""
    link, _ = say(negotiate(negotiation()), Mail("a@b"))
    with pytest.raises(LocalProtocolError, match="expected the answer to mail before"):
        say(link, END)
    link, _ = hear(link, CONTINUE)
    with pytest.raises(LocalProtocolError, match="expected to wait for an answer"):
        hear(link, CONTINUE)


def test_surplus_packets():
    """More than an answer is told of in a warning; a real MTA takes it for the next answer."""
    link, answer = at(Mail("a@b"), CONTINUE + CONTINUE)
    assert answer == Answer()
    assert link.warnings == ("1 packets more than the answer to mail",)


def test_answer_byte_by_byte():
    """An answer may come in pieces of any size."""
    link, _ = say(negotiate(negotiation()), END)
    data = header("h", b"X", b"y") + CONTINUE
    for byte in data[:-1]:
        link, answer = hear(link, bytes((byte,)))
        assert answer is None
    _, answer = hear(link, data[-1:])
    assert answer == Answer(Continue(), (AddHeader("X", "y"),))


def test_skip():
    """SKIP is an answer everywhere, but at the end Sendmail has no use for it."""
    assert at(Body(b"x"), packet("s"))[1] == Answer(Skip())
    assert at(END, packet("s"))[1] == Answer(Skip())
    with pytest.raises(MilterFailedError, match="expected no SKIP"):
        at(END, packet("s"), SENDMAIL)


def test_shutdown():
    """SHUTDOWN is obeyed by Postfix only."""
    assert at(Mail("a@b"), packet("4"))[1] == Answer(Shutdown())
    with pytest.raises(MilterFailedError, match="got Shutdown"):
        at(Mail("a@b"), packet("4"), SENDMAIL)


@BOTH
@pytest.mark.parametrize("letter", "fO")
def test_answers_to_nothing(profile, letter):
    """CONN_FAIL and a second OPTNEG are answers to nothing."""
    payload = negotiation()[5:] if letter == "O" else b""
    with pytest.raises(MilterFailedError, match="expected an answer to connect"):
        at(Connect("localhost"), packet(letter, payload), profile)


def test_headers_that_no_action_can_be():
    """An edit that makes no header is an error to Postfix; Sendmail passes it over."""
    edit = header("h", b"", b"v")
    with pytest.raises(MilterFailedError, match="ADDHEADER"):
        at(END, edit + CONTINUE)
    link, answer = at(END, edit + CONTINUE, SENDMAIL)
    assert answer == Answer()
    assert link.warnings[0].startswith("passed over: ")


@BOTH
def test_cr_in_a_header(profile):
    """A CR before a line break is kept and told of: a real MTA writes it into the message."""
    link, answer = at(END, header("h", b"X", b"a\r\n b") + CONTINUE, profile)
    assert answer is not None
    (edit,) = answer.modifications
    assert isinstance(edit, AddHeader)
    assert edit.value == "a\r\n b"
    assert "a CR in a header value" in link.warnings[0]


@BOTH
def test_no_address(profile):
    """No recipient is added or deleted without an address."""
    link, answer = at(END, packet("+", b"\0") + packet("-", b"<>\0") + CONTINUE, profile)
    assert answer == Answer()
    assert link.warnings == ("no address in '+'", "no address in '-'")


def test_failures_are_picklable():
    """A failure survives pickling, with all that it says."""
    failure = MilterFailedError("mail", "gone", "misuse")
    again = pickle.loads(pickle.dumps(failure))
    assert (again.event, again.reason, again.kind, str(again)) == (
        "mail",
        "gone",
        "misuse",
        "the milter failed at mail: gone",
    )


def test_strictness_of_no_mta():
    """Without saying more, what is not quite right is an error."""
    link, _ = start(MilterLink(OFFER, Strictness()))
    with pytest.raises(MilterFailedError, match="version"):
        hear(link, negotiation(7))
    assert Options(6, 0x1FF, 0x1FFFFF) == OFFER
    assert StoredMessage() == StoredMessage.parse(b"")

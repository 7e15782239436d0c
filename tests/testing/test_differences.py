"""How results, messages and contexts read when they differ."""

import pytest
from attrs import evolve

from demyjpy import add_header, define_event_handlers, quarantine, reject
from demyjpy.message import Message
from demyjpy.mta import client_steps
from demyjpy.testing import Postfix, Script, Sendmail, StoredMail, StoredMessage, context, run, session
from demyjpy.testing.dialogue import show
from demyjpy.testing.differences import compare_mtas, explain_difference

SCRIPT = session().mail("a@b", SIZE="9").rcpt("c@d").message("Subject: x\n\nhello\n")
IDLE = define_event_handlers()


def test_contexts_differ_by_key():
    """The user's keys, what is queued and what is remembered are shown; the rest of the engine's not."""
    handlers = define_event_handlers(actions={"add_header"}, state={"n": 0, "same": 1})
    ctx = context(handlers)
    after = add_header(ctx.set("n", 3), "X", "y")
    after = after.set("connection", after["connection"].set("k", "v"))
    assert explain_difference(after, ctx) == [
        "- n: 0",
        "+ n: 3",
        "+ queued: AddHeader(name='X', value='y', raw=' y')",
        "+ remembered k: 'v'",
        "  same: 1",
    ]


def test_messages_differ_by_line():
    """Header fields and body lines; what is no text is escaped."""
    left, right = (
        StoredMessage.parse(data) for data in (b"A: 1\nB: \xff\n c\n\nx\n", b"A: 1\nB: 2\n\nx\n")
    )
    assert explain_difference(left, right) == [
        "  A: 1",
        "- B: 2",
        "+ B: \\xff",
        "+  c",
        "  ",
        "  x",
    ]


def test_messages_as_values_differ_by_envelope_and_line():
    """Of a body that is not there any more only the size is told."""
    left, right = (
        Message.parse(b"A: 1\r\n\r\n" + body, "a@b", ["c@d"]) for body in (b"x\r\n", b"y\r\n")
    )
    assert explain_difference(left.drop_recipient("c@d"), right) == [
        "  MAIL FROM:<a@b>",
        "- RCPT TO:<c@d>",
        "  A: 1",
        "  ",
        "- y",
        "+ x",
    ]
    gone = run(define_event_handlers({"message": lambda event, ctx: ctx}), SCRIPT, mta=Postfix())
    (step,) = gone.at("message")
    assert isinstance(step.event, Message)
    whole = gone.message
    assert explain_difference(step.event, whole)[-1] == f"+ (body of {len(whole.body)} bytes)"
    assert step.event.fields == whole.fields


def test_results_differ_by_dialogue_actions_and_mail():
    """And lists of messages by what became of each."""
    held = define_event_handlers(
        {"end_of_message": lambda event, ctx: quarantine(ctx, "why")}, actions={"quarantine"}
    )
    left, right = run(held, SCRIPT), run(IDLE, SCRIPT)
    lines = explain_difference(left, right)
    assert "+ asked: Quarantine(reason='why')" in lines
    assert "+ held: why" in lines
    assert "  C: MAIL FROM:<a@b> SIZE=9" in lines
    assert explain_difference(left.messages, right.messages)[:2] == [
        "  Accept(): 250 2.0.0 Ok: queued as 4D3E5F0001",
        "+ asked: Quarantine(reason='why')",
    ]
    assert "+ held: why" in explain_difference(left.only, right.only)
    mail = left.only.mail
    assert isinstance(mail, StoredMail)
    assert "+ held: why" in explain_difference(mail, right.only.mail)


def test_a_difference_that_cannot_be_seen_is_told():
    """Two values may read alike."""
    left = StoredMessage.parse(b"A: 1\n\n")
    right = evolve(left, fields=(evolve(left.fields[0], owner="mta"),))
    assert explain_difference(left, right) == ["no difference to be seen: the values differ in kind"]


@pytest.mark.parametrize("other", [3, "x", [], [3], None])
def test_values_of_others_are_not_explained(other):
    """That is pytest's."""
    assert explain_difference(other, 4) == []
    assert explain_difference(context(IDLE), other) == []


def test_a_dialogue_reads_like_one():
    """What the client says, what it is told, and where it is only heard of."""
    script = session(client="", helo="x").command("GET\xff").drop()
    assert run(IDLE, script, mta=Postfix()).dialogue.splitlines()[0] == "-- connected: standard input"
    script = session(name="mx.example").starttls().ehlo().auth("joe").mail("").rcpt("c@d")
    script = script.rcpt("no@d", refused="5.1.1 unknown").message(b"A: \xff\r\n\r\n" + b"x" * 200)
    refusing = define_event_handlers({"end_of_message": lambda event, ctx: reject(ctx, "5.7.1", "a\nb")})
    lines = run(refusing, script.rset().drop(), mta=Postfix()).dialogue.splitlines()
    said = [line for line in lines if not line.startswith("S: ")]
    assert said == [
        "-- connected: 192.0.2.1 (mx.example)",
        "C: EHLO client.example",
        "C: STARTTLS",
        "C: EHLO client.example",
        "C: AUTH PLAIN (joe)",
        "C: MAIL FROM:<>",
        "C: RCPT TO:<c@d>",
        "C: RCPT TO:<no@d>",
        "C: DATA",
        "C: A: \\xff",
        "C: ",
        "C: [200 times x]",
        "C: .",
        "C: RSET",
        "-- disconnected",
    ]
    assert [line for line in lines if "5.7.1" in line] == ["S: 550-5.7.1 a", "S: 550 5.7.1 b"]


def test_a_refused_data_command_has_no_message():
    """The client never got to send it."""
    refusing = define_event_handlers({"data": lambda event, ctx: reject(ctx)})
    lines = run(refusing, SCRIPT, mta=Postfix()).dialogue.splitlines()
    assert lines[-4:-2] == ["C: DATA", "S: 550 5.7.1 Command rejected"]


def test_long_messages_are_shortened():
    """The beginning and the end of many lines and of long ones are shown."""
    lines = [f"line {number}" for number in range(100)] + ["ab" * 100]
    script = session().mail("a@b").rcpt("c@d").message("\n" + "\n".join(lines) + "\n")
    shown = run(IDLE, script).dialogue
    assert "C: [83 lines more]" in shown
    assert "[100 more]" in shown
    assert "C: line 8\n" in shown
    assert "C: line 50\n" not in shown


@pytest.mark.parametrize(
    "script",
    [
        SCRIPT,
        session(helo=None),
        session(client="", helo="x").quit(),
        session(client="2001:db8::1", name="mx.example", port=1).ehlo(verb="HELO").rset().drop(),
        session().starttls(tls_version="1").ehlo("y").auth("joe", "LOGIN", auth_ssf="1").command("X"),
        session().mail("", raw="<>", **{"X-A": None}).rcpt("c@d", refused="no", raw="c@d", NOTIFY="X"),
        SCRIPT.mail("a@b").rcpt("c@d").message(b"\r\n" + b"x" * 70000 + b"ab" + b"\n" * 64),
        session(helo=None).ehlo(verb="HELO").mail("a@b").rcpt("c@d").message(b""),
    ],
)
def test_a_script_can_be_written_as_code(script):
    """Evaluating it gives the script."""
    assert eval(repr(script), {"session": session}) == script


def test_a_part_of_a_session_is_its_steps():
    """Only what begins with a client can be built with session()."""
    assert repr(Script((client_steps.Quit(),))) == "Script((Quit(),))"


def test_escapes_are_those_of_python():
    """Text stays; control characters and stray bytes do not."""
    assert show("grüße\t\r\0\udcff") == "grüße\\t\\r\\x00\\xff"


def test_mtas_that_tell_of_different_numbers_of_messages_are_compared_in_whole():
    """Nothing is left out for what they do without a filter: no message belongs to another."""
    one = run(IDLE, SCRIPT)
    two = run(IDLE, SCRIPT.mail("e@f").rcpt("c@d").message("Subject: y\n\nhello\n"), mta=Sendmail())
    difference = compare_mtas(one, two, plain=lambda: (one, two))
    assert "Subject: y" in difference

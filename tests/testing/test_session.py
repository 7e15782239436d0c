"""`session`: every legal SMTP session can be built, and nothing that no MTA would pass on."""

from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest

from demyjpy import LocalProtocolError, define_event_handlers, get_macro, remember
from demyjpy.mta import client_steps
from demyjpy.testing import Postfix, Sendmail, run, session

EMPTY_KEY = {"": "1"}
BEGUN = session().mail("a@b").rcpt("c@d")


def test_a_session_is_a_value_that_grows():
    """Each method gives a new script; the old one stays as it was."""
    short = session()
    long = short.mail("a@b", SIZE="100", SMTPUTF8=None).rcpt("<c@d>", raw="C@D", NOTIFY="NEVER")
    assert short.steps == (client_steps.Connect(), client_steps.Ehlo())
    assert long.steps[2:] == (
        client_steps.Mail("a@b", {"SIZE": "100", "SMTPUTF8": None}),
        client_steps.Rcpt("c@d", {"NOTIFY": "NEVER"}, "C@D"),
    )
    assert short.then(*long.steps[2:]) == long


def test_everything_that_a_client_may_do_can_be_built():
    """EHLO again, TLS, AUTH, unknown commands, RSET, several messages, any end."""
    script = (
        session(client="2001:db8::1", name="mx.example", port=1, helo="mx.example")
        .starttls(tls_version="TLSv1.2", cipher="AES")
        .ehlo()
        .auth("joe", auth_ssf="256")
        .command("XYZZY 1")
        .mail("")
        .command("FOO")
        .rcpt("c@d", refused="5.1.1 unknown")
        .rset()
        .rset()
        .mail("a@b")
        .rcpt("c@d")
        .message(b"")
        .mail("a@b")
        .ehlo("again", verb="HELO")
        .quit()
    )
    result = run(define_event_handlers(), script, mta=Postfix())
    assert [reply[:3] for reply in result.replies] == [
        *("220", "250", "220", "250", "235", "500", "250", "500", "550", "250", "250", "250", "250"),
        *("250", "250", "250", "221"),
    ]


@pytest.mark.parametrize("mta", [Postfix(), Sendmail()])
def test_macros_are_those_that_the_mta_would_send(mta):
    """TLS, AUTH and the client are told under the names that both MTAs use."""
    handlers = define_event_handlers()
    names = ("tls_version", "auth_authen", "auth_type", "j", "i")

    @handlers.mail
    def note(event, ctx):
        return remember(ctx, {name: get_macro(ctx, name) for name in names})

    script = session().starttls().ehlo().auth("joe").mail("a@b")
    found = run(handlers, script, mta=mta).steps[-2].context["connection"]
    assert tuple(found[name] for name in names[:4]) == ("TLSv1.3", "joe", "PLAIN", mta.host)
    assert (found["i"] is None) is (mta == Postfix())


@pytest.mark.parametrize(
    "illegal",
    [
        lambda: session(client="example.org"),
        lambda: session(port=65536),
        lambda: session(name="a b"),
        lambda: session(helo=""),
        lambda: session(helo="a b"),
        lambda: session(helo="a\r\nRSET"),
        lambda: session().ehlo(verb="LHLO"),
        lambda: session(helo=None).starttls(),
        lambda: session().starttls().ehlo().starttls(),
        lambda: session(helo=None).auth("joe"),
        lambda: session().ehlo(verb="HELO").auth("joe"),
        lambda: session().starttls().auth("joe"),
        lambda: session().auth("joe").auth("ann"),
        lambda: BEGUN.auth("joe"),
        lambda: BEGUN.mail("a@b"),
        lambda: BEGUN.command("X").mail("a@b"),
        lambda: session().mail("a\nb"),
        lambda: session().mail("a" * 2048),
        lambda: session().mail("a@b", SIZE="1 2"),
        lambda: session().mail("a@b", SIZE=""),
        lambda: session().mail("a@b", **EMPTY_KEY),
        lambda: session().mail("a@b", A_B="1"),
        lambda: session().rcpt("c@d"),
        lambda: BEGUN.message().rcpt("c@d"),
        lambda: BEGUN.rcpt(""),
        lambda: BEGUN.rcpt("c\0d"),
        lambda: BEGUN.rcpt("c@d", refused="5.1.1 no\r\n"),
        lambda: BEGUN.rset().message(),
        lambda: session().mail("a@b").message(),
        lambda: session().command(""),
        lambda: session().command(" "),
        lambda: session().command("noop"),
        lambda: session().command("A\r\nB"),
        lambda: session().quit().rset(),
        lambda: session().drop().quit(),
    ],
)
def test_what_no_mta_would_pass_on_is_refused(illegal):
    """The error says what was expected, what came, and how to say it all the same."""
    with pytest.raises(LocalProtocolError, match=r"(?s)expected .*, got .*raw=True"):
        illegal()


def test_raw_sessions_say_anything():
    """The MTA then answers as it would."""
    script = session(raw=True).rcpt("c@d").mail("a@b").message().command("").quit().quit()
    replies = run(define_event_handlers(), script, mta=Postfix()).replies
    assert [reply[:3] for reply in replies] == ["220", "250", "503", "250", "554", "500", "221"]


@pytest.mark.parametrize("content", ["Subject: x\n\nä\n", b"Subject: x\r\n\r\n\xc3\xa4\r\n"])
def test_a_message_is_text_or_bytes(content):
    """Text gets CRLF line ends; bytes are taken as they are."""
    assert BEGUN.message(content).steps[-1].content == b"Subject: x\r\n\r\n\xc3\xa4\r\n"


def test_a_message_may_be_a_file(tmp_path: Path):
    """By path, or by its name."""
    path = tmp_path / "plain.eml"
    path.write_bytes(b"Subject: x\n\r\nhello\n")
    for content in (path, str(path)):
        assert BEGUN.message(content).steps[-1].content == b"Subject: x\r\n\r\nhello\r\n"


def test_a_message_may_be_an_email_message():
    """Of either kind, with its own policy but for the line ends."""
    message = EmailMessage()
    message["Subject"] = "grüße"
    message.set_content("hello")
    content = BEGUN.message(message).steps[-1].content
    assert content.startswith(b"Subject: =?utf-8?")
    assert content.endswith(b"\r\n\r\nhello\r\n")
    old = BytesParser().parsebytes(b"Subject: gr\xfc\n\nhello\n")
    assert BEGUN.message(old).steps[-1].content == b"Subject: gr\xfc\r\n\r\nhello\r\n"


@pytest.mark.parametrize("content", ["no such file.eml", "", 3, None])
def test_what_is_no_message_is_refused(content):
    """A string without a line break is a path."""
    with pytest.raises(LocalProtocolError, match="expected a message as"):
        BEGUN.message(content)

"""What no scenario and no recorded case shows of a session: other settings, other clients, TLS, AUTH."""

import pytest

from demyjpy import AddHeader, ChangeHeader, Reject, ReplaceBody
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.events import Connect
from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import Answer, MilterLink
from demyjpy.mta.profiles import Postfix, Profile, Sendmail
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import Exchange, Heard, new_session
from demyjpy.testing.memory_filter import MemoryFilter
from tests.integration.filters import body_counter
from tests.integration.scenario import HEADERS, ONE_MAIL, OWN, Mail, at_end
from tests.model.case import MAIL, MESSAGE, ONE, RCPT, negotiation, packet, reply
from tests.model.playing import Played, ScriptedFilter, play_steps

BOTH = pytest.mark.parametrize("profile", [Postfix(), Sendmail()], ids=lambda one: one.name)


def played_with(profile: Profile, answers: dict[str, bytes], *said: str | bytes) -> Played:
    return play_steps(profile, said or ONE, [ScriptedFilter(answers)])


def letters(milter: ScriptedFilter) -> str:
    return "".join(chr(one[0]) for one in milter.heard if one[:1] != b"D")


# ----------------------------------------------------------------------------- without the milter
UNUSABLE = {
    (Postfix, "tempfail"): (220, "451 4.7.1 Service unavailable - try again later"),
    (Postfix, "reject"): (554, "550 5.5.0 Service unavailable"),
    (Sendmail, "tempfail"): (220, "451 4.3.2 Please try again later"),
    (Sendmail, "reject"): (554, "550 5.0.0 Command rejected"),
}


@pytest.mark.parametrize(("kind", "action"), UNUSABLE)
@pytest.mark.parametrize("letter", "OC")
def test_default_action(kind, action, letter):
    """Where the milter cannot be asked, the MTA does as it is configured, from the banner on."""
    banner, mail = UNUSABLE[kind, action]
    played = played_with(kind(default_action=action), {letter: b""})
    assert played.replies[0].startswith(str(banner))
    assert played.replies[2] == mail
    assert played.delivered == ()


@BOTH
@pytest.mark.parametrize("letter", "OCHMRTLNBE")
def test_default_action_accept(profile, letter):
    """With accept, mail passes as if the milter did not exist."""
    played = played_with(type(profile)(default_action="accept"), {letter: b""})
    assert [mail.recipients for mail in played.delivered] == [("b@test",)]


@pytest.mark.parametrize("letter", "OCHMRTLNBE")
def test_default_action_quarantine(letter):
    """With quarantine, Postfix holds what the milter has not seen to its end."""
    played = played_with(Postfix(default_action="quarantine"), {letter: b""})
    assert played.delivered == ()
    assert played.held == ("a@test: None",)


def test_default_action_quarantine_keeps_the_milters_reason():
    """What another milter has quarantined keeps its reason."""
    first = ScriptedFilter({"E": packet("q", b"odd\0") + packet("c")})
    session = new_session(Postfix(default_action="quarantine"), 2)
    mail = None
    for step in (
        *(
            client_steps.Connect(),
            client_steps.Mail("a@test"),
            client_steps.Rcpt("b@test"),
            client_steps.Data(MESSAGE),
        ),
    ):
        session, outcome = play(take_step(session, step), [first, ScriptedFilter({"M": b""})])
        mail = outcome.mail or mail
    assert mail is not None
    assert mail.quarantine == "odd"


@pytest.mark.parametrize("letter", "OCHMRTLNBE")
def test_default_action_quarantine_stops_at_the_milter_that_failed(letter):
    """Those behind a milter that cannot be asked see nothing from there on, and the mail is held."""
    milters = [ScriptedFilter({letter: b""}), ScriptedFilter({})]
    played = play_steps(Postfix(default_action="quarantine"), ONE, milters)
    assert played.held == ("a@test: None",)
    before = {"O": "", "C": "", "H": "OC", "M": "OCH", "R": "OCHM", "T": "OCHMR"}.get(letter, "OCHMRT")
    assert letters(milters[1]).replace("A", "").replace("Q", "") == before


@BOTH
def test_default_action_shutdown(profile):
    """With shutdown, the client is told to go."""
    shutdown = type(profile)(default_action="shutdown")
    assert played_with(shutdown, {"O": b""}).replies[:2] == (
        f"421 {profile.host} Service unavailable - try again later"
        if isinstance(profile, Postfix)
        else f"421 4.7.0 {profile.host} closing connection",
        "closed",
    )
    assert played_with(shutdown, {"M": b""}).replies[2].startswith("421 4.7.")
    assert played_with(shutdown, {"E": b""}).replies[5].startswith("421 4.7.")


def test_misuse_is_a_reply_of_its_own():
    """To Postfix wrong use is its own fault, whatever the default action."""
    rejecting = Postfix(default_action="reject")
    said = played_with(rejecting, {"M": reply("abc")}).replies[2]
    assert said == "451 4.3.5 Server configuration problem - try again later"
    leaving = Postfix(default_action="shutdown")
    said = played_with(leaving, {"M": reply("abc")}).replies[2]
    assert said == "421 4.3.5 Server configuration problem - try again later"


def test_failure_of_cleanup_is_noticed_late():
    """What failed with the content, smtpd(8) of Postfix notices when it next asks something."""
    declined = negotiation(protocol=0x100 | 0x4)  # neither unknown commands nor MAIL
    talk = ("EHLO c.test", MAIL, RCPT, MESSAGE, "XFOO", MAIL, RCPT, "QUIT")
    played = played_with(Postfix(), {"O": declined, "E": b""}, *talk)
    assert [said[:3] for said in played.replies[5:]] == ["451", "500", "250", "451", "221"]


# ---------------------------------------------------------------------------------- two milters
@BOTH
def test_second_sees_what_the_first_left(profile):
    """The second milter sees the message as edited by the first, and what both did is delivered."""
    first = at_end(ChangeHeader(1, "Subject", "changed"), ReplaceBody(b"x" * 98 + b"\r\n"))
    setups = [
        Setup(as_on_connect(one)) for one in (first, body_counter(), at_end(AddHeader("X-A", "b")))
    ]
    with (
        MemoryFilter(setups[0]) as one,
        MemoryFilter(setups[1]) as two,
        MemoryFilter(setups[2]) as three,
    ):
        played = play_steps(profile, ONE_MAIL, [one, two, three])
    headers = (OWN, *HEADERS[:2], "Subject: changed", *HEADERS[3:])
    added = ("X-Body: 100 bytes in 1 chunks", "X-A: b")
    assert played.delivered == (Mail(headers=(*headers, *added), body=b"x" * 98 + b"\r\n"),)


@BOTH
def test_refusal_by_the_second(profile):
    """The refusal of one milter is enough, though the other accepts."""
    setups = [
        Setup(as_on_connect(at_end(AddHeader("X-A", "b")))),
        Setup(as_on_connect(at_end(Reject()))),
    ]
    with MemoryFilter(setups[0]) as one, MemoryFilter(setups[1]) as two:
        played = play_steps(profile, ONE_MAIL, [one, two])
    assert played.replies[5].endswith("5.7.1 Command rejected")
    assert played.delivered == ()


# ------------------------------------------------------------------------- refused recipients
@pytest.mark.parametrize(
    ("profile", "wants", "said"),
    [
        (Postfix(), 0x800, "DRR"),
        (Postfix(), 0, ""),
        (Sendmail(), 0x800, "DRR"),
        (Sendmail(), 0, "DR"),
    ],
)
def test_unknown_recipient(profile, wants, said):
    """Of a recipient that does not exist both tell a filter that wants to know, whatever it answers."""
    milter = ScriptedFilter({"O": negotiation(protocol=wants), "R": packet("r")})
    session = new_session(profile)
    for step in (client_steps.Connect(), client_steps.Mail("a@test")):
        session, _ = play(take_step(session, step), [milter])
    before = len(milter.heard)
    step = client_steps.Rcpt("x@test", refused="5.1.1 User unknown")
    session, outcome = play(take_step(session, step), [milter])
    packets = milter.heard[before:]
    assert "".join(chr(one[0]) + chr(one[1]) * (one[:1] == b"D") for one in packets) == said
    assert str(outcome.reply).startswith("550 5.1.1 <x@test>")
    assert session.envelope is not None
    assert session.envelope.addresses == []
    if said:
        assert b"{rcpt_mailer}\0error\0" in packets[0]
        assert b"{rcpt_host}\x005.1.1\0" in packets[0]
        assert b"User unknown\0" in packets[0]


# -------------------------------------------------------------------------------- TLS and AUTH
TLS = client_steps.StartTls({"tls_version": "TLSv1.3", "cipher": "X"})
AUTH = client_steps.Auth({"auth_type": "PLAIN", "auth_authen": "joe"})


def talk_with(profile: Profile, *talk: client_steps.ClientStep) -> tuple[ScriptedFilter, list[str]]:
    milter, session, replies = ScriptedFilter({}), new_session(profile), []
    for step in (client_steps.Connect(), *talk):
        session, outcome = play(take_step(session, step), [milter])
        replies.append(str(outcome.reply))
    return milter, replies


def macros_of(milter: ScriptedFilter, letter: bytes) -> bytes:
    """The last macro packet of a command."""
    return [one for one in milter.heard if one[:2] == b"D" + letter][-1]


@BOTH
def test_starttls(profile):
    """After STARTTLS comes HELO again, with macros of TLS; Postfix says ABORT before."""
    milter, replies = talk_with(
        profile, client_steps.Ehlo(), TLS, client_steps.Ehlo(), client_steps.Mail("a@b")
    )
    assert letters(milter) == ("OCHAHM" if isinstance(profile, Postfix) else "OCHHM")
    assert replies[2] == "220 2.0.0 Ready to start TLS"
    assert macros_of(milter, b"H") == b"DH{tls_version}\0TLSv1.3\0{cipher}\0X\0"


@BOTH
def test_starttls_before_ehlo(profile):
    """STARTTLS without EHLO gives nothing up."""
    milter, _ = talk_with(profile, TLS, client_steps.Ehlo())
    assert letters(milter) == "OCH"


@BOTH
def test_auth(profile):
    """AUTH gives MAIL its macros."""
    milter, replies = talk_with(profile, client_steps.Ehlo(), AUTH, client_steps.Mail("a@b"))
    assert replies[2].startswith("235 ")
    assert b"{auth_type}\0PLAIN\0{auth_authen}\0joe\0" in macros_of(milter, b"M")


# -------------------------------------------------------------------------------------- clients
@pytest.mark.parametrize(
    ("profile", "client", "host", "family", "raw"),
    [
        (Postfix(), client_steps.Connect("2001:db8::1"), "[2001:db8::1]", "6", "2001:db8::1"),
        (
            Sendmail(),
            client_steps.Connect("2001:db8::1"),
            "[IPv6:2001:db8:0:0:0:0:0:1]",
            "6",
            "IPv6:2001:db8:0:0:0:0:0:1",
        ),
        (Sendmail(), client_steps.Connect("::ffff:192.0.2.1"), "[192.0.2.1]", "4", "192.0.2.1"),
        (
            Sendmail(),
            client_steps.Connect("2001:db8::1", "a.test"),
            "a.test",
            "6",
            "IPv6:2001:db8:0:0:0:0:0:1",
        ),
        (Postfix(), client_steps.Connect("192.0.2.1", "a.test", 25), "a.test", "4", "192.0.2.1"),
    ],
)
def test_clients(profile, client, host, family, raw):
    """How the MTA tells of a client."""
    event = profile.connect_event(client)
    assert isinstance(event, Connect)
    assert (event.host_name, event.family, event.raw, event.port) == (host, family, raw, client.port)


def test_unknown_command_of_newer_postfix():
    """From 3.8 on Postfix tells of an unknown command in whole."""
    assert [Postfix(release=one).tells_whole_command for one in ("3.7.11", "3.8.0", "3.10")] == [
        *(False, True, True)
    ]
    milter = ScriptedFilter({})
    play_steps(Postfix(release="3.9.1"), ("XFOO bar", "QUIT"), [milter])
    assert b"UXFOO bar\0" in milter.heard


def test_missing_fields_are_not_added_for_strangers():
    """Postfix adds missing header fields only to mail of its own network."""
    milter = ScriptedFilter({})
    play_steps(Postfix(), ("EHLO c.test", MAIL, RCPT, b"Subject: s\r\n\r\n"), [milter], "192.0.2.1")
    assert [one for one in milter.heard if one[:1] == b"L"] == [b"LSubject\0s\0"]


# ------------------------------------------------------------------------------------- outcomes
@BOTH
def test_outcome(profile):
    """An outcome has the interim reply to DATA, who said what, and the mail."""
    session, milter = new_session(profile), ScriptedFilter({"E": packet("p") + packet("c")})
    for step in (client_steps.Connect(), client_steps.Mail("a@test"), client_steps.Rcpt("b@test")):
        session, outcome = play(take_step(session, step), [milter])
        assert outcome.interim is None
    session, outcome = play(take_step(session, client_steps.Data(b"S: t\r\n\r\n")), [milter])
    assert str(outcome.interim).startswith("354 ")
    assert [heard.event for heard in outcome.heard] == [
        *("data", "header", "end_of_headers", "end_of_message")
    ]
    assert outcome.heard[-1] == Heard(0, "end_of_message", Answer(progress=1))
    assert outcome.mail is not None
    assert not outcome.is_discarded


@BOTH
@pytest.mark.parametrize("letter", "MRTLNBE")
def test_discarded(profile, letter):
    """A step that ends in DISCARD says so."""
    session, milter = new_session(profile), ScriptedFilter({letter: packet("d")})
    talk = (
        client_steps.Connect(),
        client_steps.Mail("a@test"),
        client_steps.Rcpt("b@test"),
        client_steps.Data(MESSAGE),
    )
    outcomes = []
    for step in (*talk, *talk[1:]):
        session, outcome = play(take_step(session, step), [milter])
        outcomes.append(outcome)
    discarded = [type(outcome.step).__name__ for outcome in outcomes if outcome.is_discarded]
    at = {"M": ["Mail", "Data"], "R": ["Rcpt", "Data"]}.get(letter, ["Data"])
    assert discarded == at * 2
    assert not any(outcome.mail for outcome in outcomes)


def test_without_milters():
    """A session without milters is led by the MTA alone."""
    played = play_steps(Postfix(), ONE, [])
    assert len(played.delivered) == 1


def test_rewriting_carriers_are_seen():
    """A carrier may see all that is said, for it gets every exchange."""

    class Spy:
        def __init__(self) -> None:
            self.milter = ScriptedFilter({})
            self.closed = 0

        def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
            self.closed += exchange.closes
            return self.milter.carry_out(exchange)

    spy = Spy()
    play_steps(Sendmail(), ONE, [spy])
    assert spy.closed == 1

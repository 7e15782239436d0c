"""The samples that ask: what they decide, who answers them, and both over sockets with both drivers."""

import base64
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from attrs import evolve

from demyjpy import Accept, Failed, Late, Message, Registry, ReplyCode
from demyjpy.questions import Outcome
from demyjpy.testing import Postfix, Sendmail, run, session
from demyjpy.testing.result import Result
from demyjpy.testing.server import serving
from tests.test_samples import load

__all__ = ["load"]

BOTH = pytest.mark.parametrize("driver", ["asyncio", "threads"])
CLIENT = session(client="192.0.2.7", helo="mx.example.org")
TO_BOB = CLIENT.mail("alice@example.org").rcpt("bob@example.org")
HELLO = "Subject: hello\n\nHello Bob\n"


def answered_by(handlers: Registry, performers: dict[type, Any]) -> Registry:
    """The same filter with others to answer its questions."""
    return Registry(handlers, evolve(handlers.declarations, asks=performers))


def codes(result: Result) -> list[int]:
    """What the client was told for each command between EHLO and QUIT."""
    return [one.outcome.reply.code for one in result.steps[2:-1]]


# ------------------------------------------------------------------------------------- greylist
def test_greylist_puts_off_what_must_wait(load: Any) -> None:
    """The question names client, sender and recipient; whom the table lets in comes in."""
    module = load("greylist")
    bob, carol = (
        module.Attempt("192.0.2.7", "alice@example.org", name)
        for name in ("bob@example.org", "carol@example.org")
    )
    script = TO_BOB.rcpt("Carol@example.org").message(HELLO)
    result = run(module.handlers, script, answers={bob: 12.0, carol: 0.0})
    assert result.recipients == ["Carol@example.org"]
    assert str(result.steps[3].outcome.reply) == "451 4.7.1 Please try again in 12 s"
    assert [one.question for one in result.asked] == [bob, carol]


@pytest.mark.parametrize("outcome", [Failed("no table"), Late()])
def test_greylist_lets_mail_in_if_the_table_does_not_answer(load: Any, outcome: Outcome) -> None:
    """A table that fails, or is late, costs no mail."""
    module = load("greylist")
    result = run(module.handlers, TO_BOB.message(HELLO), answers={module.Attempt: outcome})
    assert result.verdict == Accept()


def test_a_greylist_knows_who_tried_when(load: Any) -> None:
    """A triplet waits for the delay, is let in then, and begins anew when it is too old."""
    module, now = load("greylist"), [1000.0]
    attempts = module.Attempts(delay=300, keep=3600, clock=lambda: now[0])
    ann, ben = (module.Attempt("192.0.2.7", name, "bob@example.org") for name in ("ann", "ben"))
    waits = []
    for seconds, who in ((0, ann), (100, ann), (0, ben), (200, ann), (3300, ann), (10, ann), (290, ann)):
        now[0] += seconds
        waits.append(attempts(who, {}))
    assert waits == [300, 200, 300, 0, 0, 300, 10]


def test_a_greylist_keeps_so_many_attempts(load: Any) -> None:
    """The oldest goes, and has to wait again."""
    module, now = load("greylist"), [0.0]
    attempts = module.Attempts(delay=10, most=2, clock=lambda: now[0])
    names = [module.Attempt("192.0.2.7", name, "bob") for name in "abc"]
    assert [attempts(one, {}) for one in names] == [10, 10, 10]
    now[0] = 10
    assert [attempts(one, {}) for one in reversed(names)] == [0, 0, 10]


@BOTH
def test_greylist_over_a_socket(load: Any, driver: Any) -> None:
    """A client is put off at RCPT, and may come in when it connects again: the table is still there."""
    module = load("greylist")
    handlers = answered_by(module.handlers, {module.Attempt: module.Attempts(delay=0.001)})
    with serving(handlers, driver=driver, mta=Postfix()) as server:
        assert codes(server.run(TO_BOB)) == [250, 451]
        assert codes(server.run(TO_BOB)) == [250, 250]


# ----------------------------------------------------------------------------------- recipients
def test_recipients_refuses_whom_the_table_does_not_have(load: Any) -> None:
    """Each recipient has an answer of its own; what cannot be answered is put off."""
    module = load("recipients")
    known = {"bob@example.org": True, "nobody@example.org": False, "carol@example.org": Late()}
    answers = {module.IsKnown(address): known[address] for address in known}
    script = TO_BOB.rcpt("nobody@example.org").rcpt("carol@example.org").message(HELLO)
    result = run(module.handlers, script, answers=answers)
    assert codes(result) == [250, 250, 550, 451, 250]
    assert result.recipients == ["bob@example.org"]


@pytest.mark.parametrize(
    ("address", "is_known"),
    [
        ("Alice@Example.org", True),
        ("anything@lists.example.org", True),
        ("nobody@example.org", False),
        ("lists.example.org", False),
        ("postmaster", True),
        ("", False),
    ],
)
def test_the_table_of_recipients_has_addresses_and_domains(
    load: Any, address: str, is_known: bool
) -> None:
    """In upper or lower case; a line that is only part of an address says nothing."""
    assert load("recipients").IsKnown(address).perform({}) is is_known


@BOTH
def test_recipients_over_a_socket(load: Any, driver: Any) -> None:
    """The file is read while the client waits; the second time the answers are remembered."""
    with serving(load("recipients").handlers, driver=driver, mta=Postfix()) as server:
        for _ in range(2):
            assert codes(server.run(TO_BOB.rcpt("nobody@example.org"))) == [250, 250, 550]


@BOTH
def test_recipients_without_its_file(load: Any, driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Everybody is put off, nobody is refused for good, and the log says it once."""
    module = load("recipients")
    missing = {module.IsKnown: lambda question, resources: Path("/no/such/file").read_text()}
    with serving(answered_by(module.handlers, missing), driver=driver, mta=Postfix()) as server:
        assert codes(server.run(TO_BOB.rcpt("carol@example.org"))) == [250, 451, 451]
    (line,) = (one for one in caplog.messages if "IsKnown" in one)
    assert line.startswith("recipients: question IsKnown: FileNotFoundError:")


# ---------------------------------------------------------------------------------------- quota
LOGGED_IN = CLIENT.auth("ann").mail("alice@example.org")


def test_quota_is_for_those_who_have_logged_in(load: Any) -> None:
    """Who has used up the day is put off at RCPT; about others nothing is asked."""
    module = load("quota")
    both = LOGGED_IN.rcpt("bob@example.org").rcpt("carol@example.org").message(HELLO)
    counts = iter([module.A_DAY, module.A_DAY + 1])
    result = run(
        module.handlers, both, mta=Postfix(), answers={module.OneMore("ann"): lambda one: next(counts)}
    )
    assert result.recipients == ["bob@example.org"]
    other = run(module.handlers, TO_BOB.message(HELLO))
    assert (other.is_delivered, other.asked) == (True, ())


@pytest.mark.parametrize("outcome", [Failed("no database"), Late()])
def test_quota_lets_mail_out_if_nobody_counts(load: Any, outcome: Outcome) -> None:
    """A table that fails, or is late, costs no mail."""
    module, script = load("quota"), LOGGED_IN.rcpt("bob@example.org").message(HELLO)
    assert run(module.handlers, script, answers={module.OneMore: outcome}).is_delivered


def test_quota_counts_each_user_by_the_day(load: Any) -> None:
    """The next day begins at one; threads lose no count."""
    module, now = load("quota"), [86_399.0]
    usage = module.Usage(clock=lambda: now[0])
    assert [usage(module.OneMore(name), {}) for name in ("ann", "ann", "ben")] == [1, 2, 1]
    now[0] += 1
    threads = [Thread(target=usage, args=(module.OneMore("ann"), {})) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert usage(module.OneMore("ann"), {}) == 51


@BOTH
def test_quota_over_a_socket(load: Any, driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count goes on from one connection to the next."""
    module = load("quota")
    monkeypatch.setattr(module, "A_DAY", 3)
    handlers = answered_by(module.handlers, {module.OneMore: module.Usage()})
    script = LOGGED_IN.rcpt("bob@example.org").rcpt("carol@example.org")
    with serving(handlers, driver=driver, mta=Postfix()) as server:
        assert codes(server.run(script))[-2:] == [250, 250]
        assert codes(server.run(script))[-2:] == [250, 451]


# ------------------------------------------------------------------------------------------ spf
@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        ("pass", "pass"),
        ("none", "none"),
        (Failed("SERVFAIL"), "temperror"),
        (Late(), "temperror"),
    ],
)
def test_spf_writes_down_what_it_learned(load: Any, outcome: Any, text: str) -> None:
    """A failure and a late answer are written down, too, and refuse nothing."""
    module = load("sender_networks")
    question = module.MaySend("192.0.2.7", "example.org")
    result = run(module.handlers, TO_BOB.message(HELLO), answers={question: outcome})
    assert result.message.get("X-Sender-Network") == text


def test_spf_refuses_a_client_that_may_not_send(load: Any) -> None:
    """At the end of the message, for this is where it waits."""
    result = run(
        load("sender_networks").handlers, TO_BOB.message(HELLO), answers=lambda question: "fail"
    )
    assert isinstance(result.verdict, ReplyCode)
    assert codes(result) == [250, 250, 550]


def test_spf_asks_nothing_about_mail_from_this_machine(load: Any) -> None:
    """Sendmail tells of a client without an address if it is on standard input; that has no networks."""
    script = session(client="").mail("alice@example.org").rcpt("bob@example.org")
    result = run(load("sender_networks").handlers, script.message(HELLO), mta=Sendmail())
    assert result.message.get("X-Sender-Network") == "none"


@pytest.mark.parametrize(
    ("client", "domain", "found"),
    [
        ("192.0.2.7", "example.org", "pass"),
        ("2001:db8::7", "example.org", "pass"),
        ("198.51.100.1", "example.org", "fail"),
        ("192.0.2.7", "no-mail.example", "fail"),
        ("192.0.2.7", "example.net", "none"),
        ("192.0.2.7", "", "none"),
    ],
)
def test_the_table_of_networks(load: Any, client: str, domain: str, found: str) -> None:
    """Both families; a domain without networks sends nothing; of others nothing is known."""
    module = load("sender_networks")
    assert module.TABLE(module.MaySend(client, domain), {}) == found


@BOTH
def test_spf_over_a_socket(load: Any, driver: Any) -> None:
    """Two messages on one connection have answers of their own."""
    script = TO_BOB.message(HELLO).mail("x@no-mail.example").rcpt("bob@example.org").message(HELLO)
    with serving(load("sender_networks").handlers, driver=driver, mta=Postfix()) as server:
        result = server.run(script)
    assert codes(result) == [250, 250, 250, 250, 250, 550]
    assert result.messages[0].message.get("X-Sender-Network") == "pass"


# -------------------------------------------------------------------------------------- scanner
def with_attachment(data: bytes) -> bytes:
    """A message with a file, in base64."""
    part = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return (
        b"Subject: see\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
        b"--x\r\n\r\ntext\r\n--x\r\n" + part + base64.encodebytes(data) + b"\r\n--x--\r\n"
    )


def test_scanner_finds_the_test_file_in_an_attachment(load: Any) -> None:
    """Also between other bytes; such a message is refused."""
    module = load("scanner")

    def verdict(content: bytes) -> Any:
        script = TO_BOB.message(content)
        answers = {module.Scan: lambda question: module.scan(question, {})}
        return run(module.handlers, script, answers=answers).verdict

    found = ReplyCode(550, "5.7.1", "Virus found: EICAR-Test-File")
    assert verdict(with_attachment(b"MZ" + module.EICAR + bytes(9))) == found
    assert verdict(with_attachment(b"MZ")) == Accept()


def test_scanner_does_not_pass_what_it_has_not_seen(load: Any) -> None:
    """A message with more parts than are looked at makes it fail."""
    module = load("scanner")
    many = with_attachment(b"").replace(b"\r\n--x--", b"\r\n--x\r\n\r\n" * 1000 + b"\r\n--x--")
    with pytest.raises(ValueError, match="fewer parts"):
        module.scan(module.Scan(Message.parse(many)), {})


@pytest.mark.parametrize("outcome", [Failed("no scanner"), Late()])
def test_scanner_lets_nothing_in_that_was_not_scanned(load: Any, outcome: Outcome) -> None:
    """It is put off, for the sender to try again."""
    module = load("scanner")
    result = run(module.handlers, TO_BOB.message(HELLO), answers={module.Scan: outcome})
    assert result.verdict == ReplyCode(451, "4.7.0", "The message could not be scanned")


@BOTH
def test_scanner_over_a_socket(load: Any, driver: Any) -> None:
    """A message that lies in a file is scanned in a thread as one in memory is."""
    module = load("scanner")
    with serving(module.handlers, driver=driver, mta=Postfix(), spool=1000) as server:
        for content in (with_attachment(module.EICAR), with_attachment(module.EICAR + bytes(5000))):
            assert codes(server.run(TO_BOB.message(content))) == [250, 250, 550]
        assert codes(server.run(TO_BOB.message(with_attachment(bytes(5000))))) == [250, 250, 250]

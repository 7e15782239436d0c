"""The samples that were pymilter's filters: what the documentation of these promises."""

import io
import zipfile

import pytest

from demyjpy import Accept, ReplyCode, merge_handlers
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.strategies import check_filter
from demyjpy.testing.strategies.properties import PROPERTIES
from samples import encrypted_zip, own_from
from tests.test_docs import ROOT

CLIENT = session(client="192.0.2.7").auth("ann").mail("ann@example.net").rcpt("bob@example.com")
FOREIGN = "From: Boss <boss@bank.example>\nSubject: hi\n\nhello\n"
REFUSED = ReplyCode(554, "5.7.0", "From has a domain that is not ours")


def archive(*, encrypted: bool, members: int = 1) -> bytes:
    """A zip file whose last member says that it is encrypted, or not."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for number in range(members):
            written.writestr(zipfile.ZipInfo(f"{number}.txt"), b"")
    data = bytearray(stream.getvalue())
    if encrypted:
        data[data.rindex(b"PK\1\2") + 8] |= 1
    return bytes(data)


def with_file(data: bytes) -> bytes:
    """A mail with this as an attachment, which is named as a text."""
    head = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="cut"\r\n\r\n--cut\r\n'
    kind = b'Content-Type: text/plain; name="a.txt"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
    return head + kind + data + b"\r\n--cut--\r\n"


@pytest.mark.parametrize("name", ["encrypted_zip", "own_from"])
def test_the_page_counts_the_lines(name: str):
    """Beside those of the old filter, in docs/coming-from-pymilter.md."""
    lines = (ROOT / f"samples/{name}.py").read_text(encoding="utf-8").count("\n")
    page = (ROOT / "docs/coming-from-pymilter.md").read_text(encoding="utf-8")
    assert f"| {lines}: [`{name}.py`]" in page


# -------------------------------------------------------------------------------- encrypted_zip
@pytest.mark.parametrize(
    ("data", "is_refused"),
    [
        (archive(encrypted=True, members=3), True),
        (archive(encrypted=False), False),
        (archive(encrypted=False, members=encrypted_zip.MEMBERS + 1), True),
        (b"hello", False),
        (archive(encrypted=True)[:-30], False),
    ],
    ids=["encrypted", "open", "too many files", "text", "broken"],
)
def test_encrypted_zip_refuses_what_cannot_be_looked_into(data: bytes, is_refused: bool):
    """Whatever the name says; what is no zip file, or none that opens, goes on."""
    result = run(encrypted_zip.handlers, CLIENT.message(with_file(data)))
    refusal = ReplyCode(550, "5.7.1", "We do not accept encrypted zip files")
    assert result.verdict == (refusal if is_refused else Accept())


# ------------------------------------------------------------------------------------- own_from
@pytest.mark.parametrize(
    ("author", "is_refused"),
    [
        ("Ann <ann@Example.NET>", False),
        ("ann@mail.example.org", False),
        ("boss@bank.example", True),
        ("ann@notexample.org", True),
        ("ann@example.net, boss@bank.example", True),
        ("<>", True),
    ],
)
def test_own_from_refuses_a_domain_that_is_not_in_the_table(author: str, is_refused: bool):
    """Those below one of the table are ours, too; of several authors each must be."""
    result = run(own_from.handlers, CLIENT.message(f"From: {author}\n\nhello\n"))
    assert result.verdict == (REFUSED if is_refused else Accept())


def test_own_from_can_hold_the_mail_instead():
    """The MTA keeps it, with the reason."""
    result = run(own_from.make(action="quarantine"), CLIENT.message(FOREIGN))
    assert result.quarantine == REFUSED.lines[0]


@pytest.mark.parametrize(
    ("content", "answers_to"),
    [(FOREIGN, "Boss <boss@bank.example>"), ("Reply-To: c@d.example\n" + FOREIGN, "c@d.example")],
)
def test_own_from_can_mend_the_mail(content: str, answers_to: str):
    """From is the sender then; a Reply-To that is there stays."""
    message = run(own_from.make(action="fix"), CLIENT.message(content)).message
    assert message.get("From") == "<ann@example.net>"
    assert message.get_all("Reply-To") == (answers_to,)


@pytest.mark.parametrize("sender", ["", "boss@bank.example"])
def test_own_from_mends_only_what_has_another_sender(sender: str):
    """A bounce has no sender to write into it."""
    script = session().mail(sender).rcpt("bob@example.com").message(FOREIGN)
    assert run(own_from.make(action="fix"), script).message.get("From") == "Boss <boss@bank.example>"


def test_own_from_begins_anew_with_each_message():
    """What ``vrfydmn`` does not: a Reply-To of the message before is forgotten."""
    script = CLIENT.message("Reply-To: c@d.example\n" + FOREIGN)
    script = script.mail("ann@example.net").rcpt("bob@example.com").message(FOREIGN)
    _, second = run(own_from.make(action="fix"), script, mta=Postfix()).messages
    assert second.message.get("Reply-To") == "Boss <boss@bank.example>"


def test_what_holds_for_every_filter_holds_for_the_ported_ones():
    """No session fails them, and nothing leaks."""
    both = merge_handlers(encrypted_zip.handlers, own_from.make(action="fix"))
    check_filter(both, mta=Postfix(), max_examples=1, skip=set(PROPERTIES) - {"errors", "leaks"})

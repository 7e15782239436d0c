"""How mails and verdicts are shown: diffs, short names, escapes."""

from attrs import evolve

from demyjpy import (
    Continue,
    ReplyCode,
    TemporaryFailure,
)
from demyjpy.cli.mail_diff import diff_lines
from demyjpy.cli.output import Paint
from demyjpy.cli.played_mail import PlayedMail, summary
from demyjpy.mta.milter_link import MilterFailedError
from demyjpy.mta.stored_mail import Envelope, StoredMail, StoredMessage
from demyjpy.trace.display.wording import verdict_words


def mail_of(body: str, header: str = "A: 1\nB: 2\nC: 3\nD: 4\nE: 5\n") -> StoredMail:
    return StoredMail(Envelope("a@b"), StoredMessage.parse(f"{header}\n{body}".encode()))


def diff(before: StoredMail, after: StoredMail) -> list[str]:
    return diff_lines(before, after, Paint(is_on=False))


def test_a_diff_shows_little_around_what_changed() -> None:
    """Two lines above and below; the middle of what is equal between two changes is left out."""
    lines = [f"{number}" for number in range(40)]
    other = [*lines[:5], "five", *lines[6:20], "twenty", *lines[21:]]
    assert diff(mail_of("\n".join(lines)), mail_of("\n".join(other))) == [
        " 3", " 4", "-5", "+five", " 6", " 7", " [10 lines more, 38 bytes]",
        " 18", " 19", "-20", "+twenty", " 21", " 22",
    ]  # fmt: skip


def test_a_long_diff_is_shortened() -> None:
    """Many lines of a kind, and very long ones."""
    after = mail_of("".join(f"{number}\n" for number in range(100)) + "x" * 500)
    lines = diff(mail_of("old\n"), after)
    assert lines[0] == "-old"
    assert lines[1:7] == [f"+{number}" for number in range(6)]
    assert lines[7] == "+[89 lines more, 352 bytes]"
    assert lines[-1] == f"+{'x' * 160} [340 more]"


def test_a_huge_diff_is_not_computed_line_by_line() -> None:
    """Old and new one after the other, in no time."""
    old = "".join(f"a{number}\n" for number in range(20_000))
    new = "".join(f"b{number}\n" for number in range(20_000))
    lines = diff(mail_of(old), mail_of(new))
    assert len(lines) == 26
    assert [line[:2] for line in (lines[0], lines[12], lines[13], lines[-1])] == ["-a", "-a", "+b", "+b"]


def test_a_diff_of_equal_mails_is_empty() -> None:
    """No line at all."""
    assert diff(mail_of("x"), mail_of("x")) == []


def test_what_failed_has_no_more_to_say_than_that() -> None:
    """The reason goes to standard error."""
    failure = MilterFailedError("mail", "no")
    assert summary(PlayedMail((), mail_of(""), (), failure)) == "failed"


def test_bytes_that_are_no_text_are_escaped() -> None:
    """As are control characters."""
    before, after = mail_of("x"), mail_of("x")
    after = evolve(after, message=evolve(after.message, body=b"\xff\t\x1b\r\n"))
    assert diff(before, after) == ["-x", "+\\xff\t\\x1b"]


def test_verdicts_have_short_names() -> None:
    """As they are said in the handlers' shorthands."""
    verdicts = (Continue(), TemporaryFailure(), ReplyCode(451, None, "x"))
    assert [verdict_words(one) for one in verdicts] == ["continue", "tempfail", "reply 451 x"]

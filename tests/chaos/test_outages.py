"""What `tests.chaos.servers` holds against its filter, by mails that are made up."""

import pytest

from tests.chaos.outages import KINDS, Mail, Outage, problems_of, row_of

OUTAGE = Outage("sql", "kill", 10, 25, 40)


def mail(ended, *, reply=250, slowest=0.1, **heard):
    """One that took a second."""
    return Mail(ended - 1, ended, slowest, reply, {**dict.fromkeys(KINDS, "answered"), **heard})


GOOD = (
    mail(5),
    mail(13, reply=451, slowest=3.0, sql="late"),
    mail(20, reply=451, sql="failed"),
    mail(27, reply=451, sql="failed"),
    mail(30),
)


def test_an_outage_that_went_as_it_must():
    """Nothing is wrong; the figures are those of its time."""
    assert [*problems_of([OUTAGE], GOOD, 6, 14)] == []
    row = row_of(OUTAGE, GOOD, 7)
    assert (row.mails, row.failed, row.late, row.slowest, row.rest) == (4, 2, 1, 3.0, 0.1)
    assert (row.first_back, row.all_back) == (5, 2)
    assert row.as_text().split()[:5] == ["sql", "kill", "15.0", "4", "2"]


@pytest.mark.parametrize(
    ("mails", "said"),
    [
        ([*GOOD, mail(20, dns="failed")], "only {'sql'} was away"),
        ([*GOOD, mail(50, reply=451, sql="failed")], "only nothing was away"),
        ([*GOOD, mail(20, sql="failed")], "expected 451, got 250"),
        ([*GOOD, mail(20, slowest=6.5)], "an answer took 6.50 s, 6 s at most"),
        (GOOD[:1], "nobody has noticed it"),
        (GOOD[:4], "the first answer came inf s after it was back"),
        ([*GOOD, mail(39.5, reply=451, sql="late")], "the last failure 14.5 s after it; 14 s at most"),
    ],
)
def test_what_is_wrong_is_said(mails, said):
    """In a line."""
    assert any(said in one for one in problems_of([OUTAGE], mails, 6, 14))

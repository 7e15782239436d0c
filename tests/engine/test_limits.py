"""How much one peer may send."""

import pytest

from demyjpy.engine.limits import NOTHING_COUNTED, Counts, Limits


def test_the_usual_limits_are_those_of_the_documentation():
    """A packet of 1 MiB and its letter, no more than the protocol's usual payload agreed on."""
    assert Limits() == Limits(
        packet=1_048_577,
        headers=10_000,
        recipients=50_000,
        message=1 << 30,
        header_size=1 << 23,
        command_size=65_536,
        macro_size=65_536,
        data_size=65_535,
    )


BAD = [
    {"packet": 65_535},
    {"headers": 0},
    {"recipients": 0},
    {"message": 0},
    {"header_size": 0},
    {"command_size": 0},
    {"macro_size": 0},
    {"data_size": 100_000},
    {"packet": 65_536, "data_size": 1_048_575},
]


@pytest.mark.parametrize("given", BAD)
def test_limits_that_no_mail_could_pass_are_refused(given):
    """Smaller than what an MTA may send at any time, or at odds with each other."""
    with pytest.raises(ValueError):
        Limits(**given)


COUNTED = [
    ("R", (1, 0, 0)),
    ("L", (0, 1, 5)),
    ("B", (0, 0, 5)),
    ("M", (0, 0, 0)),
    ("T", (0, 0, 0)),
    ("U", (0, 0, 0)),
]


@pytest.mark.parametrize(("letter", "wanted"), COUNTED)
def test_what_counts(letter, wanted):
    """Recipients, header fields, and the bytes of header and body."""
    found = NOTHING_COUNTED.count(ord(letter), b"12345")
    assert found == Counts(*wanted)
    assert (found is NOTHING_COUNTED) == (wanted == (0, 0, 0))


PASSED = [
    ("R", Counts(recipients=2), None),
    ("R", Counts(recipients=3), "2 recipients"),
    ("L", Counts(recipients=3), None),
    ("L", Counts(headers=3), None),
    ("L", Counts(headers=4), "3 headers"),
    ("L", Counts(size=8), None),
    ("L", Counts(size=9), "8 bytes of header"),
    ("B", Counts(size=9), None),
    ("B", Counts(size=11, headers=4), "10 bytes of message"),
]


@pytest.mark.parametrize(("letter", "counts", "wanted"), PASSED)
def test_a_limit_is_what_may_just_be(letter, counts, wanted):
    """One more passes it; each packet is held against its own limits."""
    assert (
        counts.passed(ord(letter), Limits(headers=3, recipients=2, message=10, header_size=8)) == wanted
    )

"""What stands behind MAIL FROM and RCPT TO."""

import pytest

from demyjpy.mta.smtp_path import split_path

PATHS = [
    ("<a@b>", ("<a@b>", "a@b", {})),
    ("<>", ("<>", "", {})),
    ("a@b", ("a@b", "a@b", {})),
    ('<"a b"@c> SIZE=10 SMTPUTF8', ('<"a b"@c>', '"a b"@c', {"SIZE": "10", "SMTPUTF8": None})),
]


@pytest.mark.parametrize(("text", "expected"), PATHS)
def test_a_path_is_taken_apart(text, expected):
    """The path as it was given, the address without brackets, and the parameters."""
    assert split_path(text) == expected


@pytest.mark.parametrize("text", ["", "<a@b", "<a@b>SIZE=1"])
def test_what_is_no_path_is_said_to_be_none(text):
    """Not guessed at."""
    assert split_path(text) is None

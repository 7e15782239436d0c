"""What differs is shown, also at the end of something long."""

import pytest

from demyjpy.actions import AddHeader, ReplaceBody
from demyjpy.cli.differing_words import answers_words, edits_differ, pair_words
from demyjpy.trace.format.exchanges import Unreadable

LONG = "x" * 300


def test_long_lines_begin_near_what_differs() -> None:
    """With their beginning, and with how much was left out."""
    one, other = pair_words(f"a{LONG}1", f"a{LONG}\n")
    assert one == f"a{'x' * 39} [241 the same] {'x' * 20}1"
    assert other == f"a{'x' * 39} [241 the same] {'x' * 20}\\n"
    assert pair_words("a1", f"a{LONG}") == ("a1", f"a{'x' * 159} [141 more]")


def test_an_answer_shows_in_what_its_edits_differ() -> None:
    """Each beside its counterpart."""
    same = AddHeader("A", LONG)
    old, new = answers_words(
        (same, AddHeader("B", LONG + "1")), (same, AddHeader("B", LONG + "2"), same)
    )
    assert old[0] == new[0] == new[2]
    assert old[1].endswith(f"{'x' * 20}1")
    assert new[1].endswith(f"{'x' * 20}2")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([AddHeader("A", "1")], [], [("-", "add header A: 1")]),
        ([], [Unreadable("z", b"")], [("+", "a packet 'z' that cannot be read")]),
        (
            [AddHeader("A", "1")],
            [AddHeader("A", "2")],
            [("-", "add header A: 1"), ("+", "add header A: 2")],
        ),
        ([ReplaceBody(b"a\nb")], [ReplaceBody(b"a\n"), ReplaceBody(b"b")], []),
        ([ReplaceBody(b"a\nb\n")], [ReplaceBody(b"a\nc\n")], [("", r"body, line 2: 'b\n' -> 'c\n'")]),
        (
            [ReplaceBody(b"a\n")],
            [ReplaceBody(b"a\nc")],
            [
                ("-", "replace body, 2 bytes"),
                ("+", "replace body, 3 bytes"),
                ("", "body, line 2: no such line -> 'c'"),
            ],
        ),
        (
            [AddHeader("A", "1  2")],
            [AddHeader("A", "1 2")],
            [("", "the order of the changes, or white space")],
        ),
    ],
)  # fmt: skip
def test_edits_of_a_message_that_differ(old, new, said) -> None:
    """Of bodies, the first line that differs; a body in pieces is one."""
    assert list(edits_differ(old, new)) == said

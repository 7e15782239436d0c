"""Drafts for tests: made of lines, and random edits of them."""

from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy.engine.chain_edits import AT_END
from demyjpy.message import Draft

RECIPIENTS = ("b@test", "c@test", "D@test")


def draft_of(*lines, recipients=RECIPIENTS):
    """What an MTA sent: ``"Name: text"`` a field, as it stands in the message."""
    return Draft.of([line.split(":", 1) for line in lines], recipients)


def lines_of(draft):
    """The fields of a draft as they stand in the message."""
    return [f"{field.name}:{field.raw}" for field in draft.fields]


def after(draft, apply, *filters):
    """The draft after the edits of each of these filters."""
    for edits in filters:
        draft = apply(draft, edits)
    return draft


# ------------------------------------------------------------------------------- what may be drawn
NAMES = st.sampled_from(["X-A", "x-a", "X-B", "Subject", "SUBJECT", "Received", "Date", "From", "X-New"])
TEXTS = st.sampled_from([" one", " two", "close", "  deep", " a\n b", "\tx\n\ty", " \udcfc"])
OWN_NAMES = st.sampled_from(["X-A", "x-a", "X-B", "Subject", "Received", "X-C"])
_ADDRESSES = st.sampled_from([*RECIPIENTS, "B@test", "d@TEST", "n@test", "N@test", "m@test"])
_PARAMETERS = st.sampled_from([None, "NOTIFY=NEVER"])
_NUMBERS = st.integers(1, 4)
_PLACES = st.sampled_from([0, 1, AT_END])


def _raw(klass, *parts, texts=TEXTS):
    return st.builds(lambda *values: klass(*values[:-1], raw=values[-1]), *parts, texts)


HEADER_EDITS = st.one_of(
    _raw(act.AddHeader, NAMES, texts=st.one_of(TEXTS, st.just(""))),
    _raw(act.InsertHeader, _PLACES, NAMES),
    _raw(act.ChangeHeader, _NUMBERS, NAMES, texts=st.one_of(TEXTS, st.just(""))),
    st.builds(act.DeleteHeader, _NUMBERS, NAMES),
)
OTHER_EDITS = st.one_of(
    st.builds(act.AddRecipient, _ADDRESSES, _PARAMETERS),
    st.builds(act.DeleteRecipient, _ADDRESSES),
    st.builds(act.ChangeSender, _ADDRESSES),
    st.builds(act.ReplaceBody, st.sampled_from([b"", b"x", b"two\r\n", b"a\nb\r\n", b"\r"])),
    st.builds(act.Quarantine, st.sampled_from(["odd", "very odd"])),
)
FILTERS = st.lists(
    st.lists(st.one_of(HEADER_EDITS, HEADER_EDITS, OTHER_EDITS), max_size=6), min_size=1, max_size=3
)
"""What each of up to three filters asks for."""


@st.composite
def headers(draw, always=("From: a@test", "Date: now", "Message-Id: <1@test>")):
    """Lines of a header; some names several times, and those that Sendmail would add."""
    lines = [f"{name}:{text}" for name, text in draw(st.lists(st.tuples(OWN_NAMES, TEXTS), max_size=7))]
    return draw(st.permutations([*lines, *always]))

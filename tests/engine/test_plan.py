"""The plan of one handler call: legal as a whole, or none of it is sent."""

import pytest

from demyjpy import actions as act
from demyjpy.engine.plan import EMPTY_PLAN, Plan, check_plan, encode_answer, in_sending_order
from demyjpy.errors import LocalProtocolError, describe
from demyjpy.registry import HANDLER_NAMES
from demyjpy.verdicts import LEGAL
from tests.engine.harness import letters, split

ALL = frozenset(
    {
        "add_header",
        "change_body",
        "add_recipient",
        "add_recipient_par",
        "delete_recipient",
        "change_header",
        "quarantine",
        "change_sender",
    }
)
VERDICTS = {
    "c": act.Continue(),
    "a": act.Accept(),
    "r": act.Reject(),
    "t": act.TemporaryFailure(),
    "y": act.ReplyCode(550, "5.7.1", "no"),
    "d": act.Discard(),
    "s": act.Skip(),
}
MESSAGE = "cartyd"
WHERE = {
    "connect": "carty",
    "hello": "carty",
    "mail": MESSAGE,
    "recipient": MESSAGE,
    "data": MESSAGE,
    "header": MESSAGE,
    "end_of_headers": MESSAGE,
    "body": MESSAGE + "s",
    "message": MESSAGE,
    "end_of_message": MESSAGE,
    "unknown": "crty",
}


def test_where_nothing_was_queued_there_is_nothing_to_check():
    """No actions are a legal plan anywhere."""
    for event in HANDLER_NAMES:
        assert check_plan((), event, True, frozenset()) == EMPTY_PLAN == Plan((), None)


@pytest.mark.parametrize("event", HANDLER_NAMES)
@pytest.mark.parametrize("letter", VERDICTS)
def test_a_verdict_is_legal_where_every_mta_takes_it(event, letter):
    """Protocol file, section 8.4; where none is legal the message says so."""
    verdict = VERDICTS[letter]
    if letter in WHERE.get(event, ""):
        assert check_plan([verdict], event, True, ALL) == Plan((), verdict)
        return
    with pytest.raises(LocalProtocolError) as caught:
        check_plan([verdict], event, True, ALL)
    assert str(caught.value).startswith(f"expected at {event} ")
    assert describe(verdict) in str(caught.value)
    assert event in WHERE or "expected at " + event + " no answer, got" in str(caught.value)


ADVICE = [
    ("mail", act.Skip(), "SKIP works at body only"),
    ("hello", act.Discard(), "there is no message to discard"),
    ("abort", act.Reject(), "answer at an earlier or later event"),
]


@pytest.mark.parametrize(("event", "verdict", "advice"), ADVICE)
def test_an_illegal_verdict_is_answered_with_advice(event, verdict, advice):
    """The message ends in what to do instead."""
    with pytest.raises(LocalProtocolError, match=f"{advice}$"):
        check_plan([verdict], event, True, ALL)


def test_an_observer_may_not_answer():
    """Where no answer is due even Continue is one."""
    for verdict in (act.Continue(), act.Reject()):
        with pytest.raises(LocalProtocolError, match=r"expected no answer at body, .*reply=False"):
            check_plan([verdict], "body", False, ALL)


def test_there_is_one_verdict():
    """The message names both."""
    with pytest.raises(
        LocalProtocolError, match=r"expected one verdict at mail, got Accept\(\) and Reject\(\)"
    ):
        check_plan([act.Accept(), act.Reject()], "mail", True, ALL)


MODIFICATIONS = [
    (act.AddHeader("X", "v"), "add_header"),
    (act.InsertHeader(0, "X", "v"), "add_header"),
    (act.ChangeHeader(1, "X", "v"), "change_header"),
    (act.DeleteHeader(1, "X"), "change_header"),
    (act.AddRecipient("a@b"), "add_recipient"),
    (act.AddRecipient("a@b", "X=y"), "add_recipient_par"),
    (act.DeleteRecipient("a@b"), "delete_recipient"),
    (act.ChangeSender("a@b"), "change_sender"),
    (act.ReplaceBody(b"x"), "change_body"),
    (act.Quarantine("x"), "quarantine"),
]


@pytest.mark.parametrize(("action", "name"), MODIFICATIONS)
def test_a_modification_needs_its_permission(action, name):
    """With it, it is legal at end of message; without it the message says what to declare."""
    assert check_plan([action], "end_of_message", True, frozenset({name})) == Plan((action,), None)
    with pytest.raises(LocalProtocolError) as caught:
        check_plan([action], "end_of_message", True, ALL - {name})
    assert f"needs the permission {name!r}, but the filter has" in str(caught.value)
    assert ": declare it in actions=" in str(caught.value)


def test_without_any_permission_the_message_says_none():
    """An empty list would read badly."""
    with pytest.raises(LocalProtocolError, match="but the filter has none: declare"):
        check_plan([act.AddHeader("X", "v")], "end_of_message", True, frozenset())


@pytest.mark.parametrize(
    "event", [name for name in HANDLER_NAMES if name not in ("message", "end_of_message")]
)
def test_modifications_are_for_the_end_of_message(event):
    """Anywhere else the message says to remember them."""
    with pytest.raises(
        LocalProtocolError, match=r"at message and end_of_message only, got AddHeader.* at \w+; remember"
    ):
        check_plan([act.AddHeader("X", "v")], event, True, ALL)


@pytest.mark.parametrize(
    "action", [act.Negotiate(6, 0, 0), act.Progress(), act.Shutdown(), act.ConnectionFailed()]
)
def test_what_the_library_says_a_filter_may_not(action):
    """SHUTDOWN and CONN_FAIL are never sent; progress and negotiation are the library's."""
    with pytest.raises(LocalProtocolError, match="expected an action that a filter may ask for, got "):
        check_plan([action], "end_of_message", True, ALL)


@pytest.mark.parametrize("thing", ["reject", None, 5, act.Reject])
def test_what_is_no_action_is_no_plan(thing):
    """The message shows it."""
    with pytest.raises(LocalProtocolError, match="expected an action, got "):
        check_plan([thing], "end_of_message", True, ALL)


class MyReject(act.Reject):
    """A user's class of action."""


def test_a_subclass_of_an_action_is_none():
    """No row says how it goes over the wire, so it is refused before anything is sent."""
    with pytest.raises(LocalProtocolError, match="expected an action, got MyReject"):
        check_plan([MyReject()], "mail", True, ALL)


SCRAMBLED = [
    act.Quarantine("x"),
    act.ReplaceBody(b"1"),
    act.AddRecipient("a@b"),
    act.DeleteHeader(2, "X"),
    act.ReplaceBody(b"2"),
    act.ChangeSender("a@b"),
    act.AddHeader("X", "v"),
    act.DeleteHeader(1, "X"),
]


def test_modifications_are_sent_header_envelope_body_quarantine():
    """Within a group they stay as they were queued."""
    ordered = in_sending_order(SCRAMBLED)
    assert ordered == tuple(SCRAMBLED[at] for at in (3, 6, 7, 2, 5, 1, 4, 0))
    plan = check_plan([act.Reject(), *SCRAMBLED], "end_of_message", True, ALL)
    assert plan == Plan(ordered, act.Reject())


def test_an_answer_is_all_packets_and_the_verdict_last():
    """The parts of a body are one body; a rejection does not keep edits back."""
    sent = encode_answer(in_sending_order(SCRAMBLED), act.Reject(), False)
    assert letters(sent) == "mhm+ebqr"
    assert (ord("b"), b"12") in split(sent)


@pytest.mark.parametrize("parts", [[b""], [b"", b""]])
def test_an_empty_body_is_one_empty_packet(parts):
    """Zero packets would leave the old body as it is."""
    sent = encode_answer([act.ReplaceBody(part) for part in parts], act.Continue(), False)
    assert split(sent) == [(ord("b"), b""), (ord("c"), b"")]


def test_a_large_body_is_cut_without_anything_between():
    """140000 bytes are three packets in a row (protocol file, row 116)."""
    edits = [act.ReplaceBody(b"x" * 70_000), act.ReplaceBody(b"x" * 70_000)]
    sent = split(
        encode_answer([act.AddHeader("X", "v"), *edits, act.Quarantine("x")], act.Continue(), False)
    )
    assert [(chr(letter), len(payload)) for letter, payload in sent] == [
        ("h", 4),
        ("b", 65535),
        ("b", 65535),
        ("b", 8930),
        ("q", 2),
        ("c", 0),
    ]


def test_the_leading_space_is_sent_where_it_was_agreed_on():
    """encode_answer hands it to each header edit."""
    edit = act.AddHeader("X", "v")
    assert b"X\0v\0" in encode_answer([edit], act.Continue(), False)
    assert b"X\0 v\0" in encode_answer([edit], act.Continue(), True)


def test_every_event_with_a_verdict_is_an_event():
    """The table knows no name that the registry does not."""
    assert set(LEGAL) == set(WHERE) < set(HANDLER_NAMES)

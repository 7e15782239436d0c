"""Rows 12-27: what is offered, what is wanted, and what both agree on. Row 28 is in test_server."""

import pytest

from demyjpy import (
    AddHeader,
    Limits,
    LocalProtocolError,
    Negotiate,
    NegotiationError,
    Reject,
    RemoteProtocolError,
    Skip,
)
from tests.conformance.talk import (
    ACTIONS,
    ANSWERED,
    BODY,
    CONNECT,
    CONTINUE,
    DATA,
    EOM,
    EVENTS,
    MODIFICATIONS,
    OFFER,
    REJECT,
    SESSION,
    SKIP,
    STEPS,
    TEMPFAIL,
    UNKNOWN,
    Talk,
    header,
    macros,
    options,
    packet,
    recipient,
)

ALL = {**MODIFICATIONS, "choose_macros": 0x100}
EXTRAS = 0x100400  # SKIP and HDR_LEADSPC: wanted always
NEW_EVENTS = {"data", "unknown"}  # those that old versions lack

OFF = {
    "connect": 0x1,
    "hello": 0x2,
    "mail": 0x4,
    "recipient": 0x8,
    "body": 0x10,
    "header": 0x20,
    "end_of_headers": 0x40,
    "unknown": 0x100,
    "data": 0x200,
}
QUIET = {
    "header": 0x80,
    "connect": 0x1000,
    "hello": 0x2000,
    "mail": 0x4000,
    "recipient": 0x8000,
    "data": 0x10000,
    "unknown": 0x20000,
    "end_of_headers": 0x40000,
    "body": 0x80000,
}


def test_row_012_offer_of_today():
    """A full offer of version 6 gets one OPTNEG of 12 bytes: what is wanted, and no more."""
    talk = Talk(actions={"add_header", "change_header"})
    assert talk.say(OFFER) == options(6, 0x11, EXTRAS)
    assert talk.connection.scope.context["actions"] == {"add_header", "change_header"}
    assert talk.connection.scope.context["events"] == set(EVENTS) - {"disconnect"}
    assert talk.heard == []


def test_row_012_lists_follow():
    """Macro lists follow the 12 bytes in the same packet."""
    talk = Talk(macros={"hello": ("j",)})
    assert talk.say(OFFER) == options(6, 0x100, EXTRAS, b"\0\0\0\x01j\0")


@pytest.mark.parametrize("event", OFF)
def test_row_012_events_without_handler_are_switched_off(event):
    """What has no handler is declined by its NO* flag, and nothing else is."""
    talk = Talk(events=set(EVENTS) - {event})
    assert talk.say(OFFER) == options(6, 0, EXTRAS | OFF[event])


@pytest.mark.parametrize("event", QUIET)
def test_row_012_observers_promise_no_reply(event):
    """A handler that never answers sets the NR_* flag of its event, and nothing else."""
    talk = Talk(quiet={event})
    assert talk.say(OFFER) == options(6, 0, EXTRAS | QUIET[event])


def test_row_012_rejected_recipients():
    """A handler for refused recipients sets RCPT_REJ."""
    assert Talk(rejected=True).say(OFFER) == options(6, 0, EXTRAS | 0x800)


def test_row_013_offer_of_version_2():
    """Version 2 is answered with version 2 and no bit from outside its offer."""
    talk = Talk(
        events={"mail", *NEW_EVENTS}, quiet={"mail"}, optional_events=NEW_EVENTS, optional_actions=ALL
    )
    assert talk.say(options(2, 0x3F, 0x7F)) == options(2, 0x3F, 0x7B)
    assert talk.connection.scope.context["actions"] == {name for name, bit in ALL.items() if bit <= 0x3F}
    assert talk.connection.scope.context["events"] == {"mail"}


@pytest.mark.parametrize(
    ("version", "missing"), [(2, {"data", "unknown"}), (3, {"data"}), (4, set()), (5, set())]
)
def test_row_013_events_newer_than_the_offer(version, missing):
    """An event that a version lacks refuses the session where it is required, and names it."""
    talk = Talk()
    answered = talk.say(options(version, ACTIONS, STEPS))
    if not missing:
        assert answered == options(version, 0, EXTRAS)
        return
    assert answered == b""
    assert talk.is_closed
    assert talk.errors == [NegotiationError]
    assert set(talk.troubles[0].error.events) == missing


def test_row_014_offer_from_the_future():
    """Version 9 with every bit set is answered with version 6, and no unknown bit is echoed."""
    talk = Talk(optional_actions=ALL, macros={"mail": ("i",)})
    everything = 0xFFFFFFFF
    assert talk.say(options(9, everything, everything)) == options(6, 0x1FF, EXTRAS, b"\0\0\0\x02i\0")


@pytest.mark.parametrize(
    "reply",
    [
        Negotiate(7, 0, 0),
        Negotiate(1, 0, 0),
        Negotiate(6, 0x200, 0),
        Negotiate(6, 0, 0x200000),
        Negotiate(6, 0, 0x40000000),
    ],
    ids=["newer", "too old", "action", "step", "reserved step"],
)
def test_row_014_override_cannot_leave_the_offer(reply):
    """An options handler that answers beyond the offer is stopped: nothing is sent, all is closed."""
    talk = Talk({"options": reply})
    assert talk.say(OFFER) == b""
    assert talk.errors == [LocalProtocolError]
    assert talk.heard == ["options", "disconnect"]
    assert talk.is_closed


@pytest.mark.parametrize("version", [0, 1])
def test_row_015_versions_too_old(version):
    """Versions 0 and 1 are not answered: the connection is closed."""
    talk = Talk()
    assert talk.say(options(version, ACTIONS, STEPS), CONNECT) == b""
    assert talk.heard == ["disconnect"]
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed


@pytest.mark.parametrize("size", [0, 4, 8, 11])
def test_row_016_short_offer(size):
    """An offer of less than 12 bytes is not answered: the connection is closed."""
    talk = Talk()
    assert talk.say(packet(b"O", OFFER[5:][:size])) == b""
    assert talk.heard == ["disconnect"]
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed


def test_row_017_long_offer():
    """Bytes after the three words of an offer are ignored."""
    talk = Talk()
    assert talk.say(packet(b"O", OFFER[5:] + b"8 more..")) == options(6, 0, EXTRAS)
    assert talk.say(CONNECT) == CONTINUE
    assert talk.troubles == []


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ((0, 0), (0x0F, 0x3B)),
        ((0, STEPS), (0x0F, EXTRAS | 0x37B)),
        ((ACTIONS, 0), (0xFF, 0x3B)),
    ],
)
def test_row_018_nothing_offered(offered, agreed):
    """A word of flags that is 0 means those of version 1."""
    talk = Talk(events={"mail", "end_of_message"}, optional_actions=MODIFICATIONS)
    assert talk.say(options(6, *offered)) == options(6, *agreed)


def test_row_018_required_beyond_version_1():
    """What version 1 had not is missing from an offer of 0."""
    talk = Talk(actions={"change_header"})
    assert talk.say(options(6, 0, 0)) == b""
    assert talk.troubles[0].error.actions == ("change_header",)


@pytest.mark.parametrize("name", ALL)
def test_row_019_required_action_not_offered(name):
    """A required action that is not offered refuses the session without reply; the error names it."""
    talk = Talk(actions={name}, optional_actions=ALL)
    assert talk.say(options(6, ACTIONS & ~ALL[name], STEPS)) == b""
    assert talk.errors == [NegotiationError]
    assert talk.troubles[0].error.actions == (name,)
    assert talk.heard == ["disconnect"]
    assert talk.is_closed


@pytest.mark.parametrize("name", MODIFICATIONS)
def test_row_020_optional_action_not_offered(name):
    """An optional action that is not offered is not requested."""
    talk = Talk(optional_actions=MODIFICATIONS)
    offered = 0xFF & ~ALL[name]
    assert talk.say(options(6, offered, STEPS)) == options(6, offered, EXTRAS)
    assert talk.connection.scope.context["actions"] == set(MODIFICATIONS) - {name}


def test_row_020_use_of_what_was_not_granted():
    """To use an action that was not granted is the handler's error; nothing of it is sent."""
    talk = Talk({"end_of_message": AddHeader("X", "v")}, optional_actions={"add_header"})
    talk.go_to("end_of_message", options(6, ACTIONS & ~1, STEPS))
    assert talk.say(EOM) == TEMPFAIL
    assert talk.errors == [LocalProtocolError]


def test_row_021_unwanted_events_that_cannot_be_switched_off():
    """Where NODATA and NOUNKNOWN are not offered, the library answers DATA and UNKNOWN with CONTINUE."""
    talk = Talk(events={"mail", "recipient"})
    offered = STEPS & ~0x300
    assert talk.say(options(6, ACTIONS, offered)) == options(6, 0, EXTRAS | 0x73)
    assert talk.say(UNKNOWN) == CONTINUE
    talk.say(SESSION["mail"], SESSION["recipient"])
    assert talk.say(DATA) == CONTINUE
    assert talk.say(UNKNOWN) == CONTINUE
    assert talk.troubles == []


@pytest.mark.parametrize("event", OFF)
def test_row_021_any_unwanted_event(event):
    """Whatever cannot be switched off is answered by the library: CONTINUE, but SKIP at body."""
    talk = Talk(events=set(EVENTS) - {event}).go_to(event, options(6, ACTIONS, STEPS & ~OFF[event]))
    assert talk.say(ANSWERED[event]) == (SKIP if event == "body" else CONTINUE)
    assert talk.heard == []
    assert talk.troubles == []


@pytest.mark.parametrize("event", QUIET)
def test_row_022_no_reply_not_offered(event):
    """Where an NR_* flag is not offered it is omitted, and the library answers for the observer."""
    talk = Talk(quiet={event})
    offer = options(6, ACTIONS, STEPS & ~QUIET[event])
    assert talk.say(offer) == options(6, 0, EXTRAS)
    talk = Talk(quiet={event}).go_to(event, offer)
    assert talk.say(ANSWERED[event]) == CONTINUE
    assert talk.heard == [event]
    assert talk.troubles == []


def test_row_023_skip_not_offered():
    """Without SKIP in the offer a skip is answered with CONTINUE, and the body handler is left alone."""
    talk = Talk({"body": Skip()})
    offer = options(6, ACTIONS, STEPS & ~0x400)
    assert talk.say(offer) == options(6, 0, 0x100000)
    talk = Talk({"body": Skip()}).go_to("body", offer)
    assert talk.say(BODY, BODY, EOM) == 3 * CONTINUE
    assert talk.heard == ["body", "end_of_message"]


def test_row_023_rejected_recipients_not_offered():
    """Without RCPT_REJ in the offer every recipient is an ordinary one."""
    talk = Talk({"recipient": Reject()}, rejected=True)
    offer = options(6, ACTIONS, STEPS & ~0x800)
    assert talk.say(offer) == options(6, 0, EXTRAS)
    talk = Talk({"recipient": Reject()}, rejected=True).go_to("recipient", offer)
    assert talk.say(macros(b"R", b"{rcpt_mailer}", b"error"), recipient(b"<x@y>")) == REJECT


def test_row_023_leading_space_not_offered():
    """Without HDR_LEADSPC in the offer the MTA takes off and puts on the one space."""
    said = {"end_of_message": (AddHeader("X", "v"), AddHeader("Y", raw=" w"))}
    offer = options(6, ACTIONS, STEPS & ~0x100000)
    assert Talk(said, actions={"add_header"}).say(offer) == options(6, 1, 0x400)
    talk = Talk(said, actions={"add_header"}).go_to("header", offer)
    talk.say(header(b"Subject", b" two"))
    assert [(event.value, event.raw) for event in talk.events("header")] == [(" two", "  two")]
    assert talk.say(EOM) == packet(b"h", b"X\0v\0") + packet(b"h", b"Y\0w\0") + CONTINUE


@pytest.mark.parametrize("offered", [STEPS, STEPS | 0x40000000])
def test_row_024_data_size_not_offered(offered):
    """Bits 28-30 are never set unless offered: not even if the filter would like them."""
    talk = Talk(limits=Limits(data_size=1_048_575))
    assert talk.say(options(6, ACTIONS, offered)) == options(6, 0, EXTRAS)


def test_row_024_data_size_not_wanted():
    """Nor are they set because they are offered: the filter has to opt in."""
    assert Talk().say(options(6, ACTIONS, STEPS | 0x70000000)) == options(6, 0, EXTRAS)


@pytest.mark.parametrize(
    ("bit", "size"), [(0x10000000, 262_143), (0x20000000, 1_048_575)], ids=["256K", "1M"]
)
def test_row_025_data_size_agreed(bit, size):
    """An offered size that the filter opted into is echoed, and payloads of that size are accepted."""
    talk = Talk(limits=Limits(data_size=1_048_575))
    assert talk.say(options(6, ACTIONS, STEPS | bit)) == options(6, 0, EXTRAS | bit)
    talk.say(*list(SESSION.values())[:-2])
    assert talk.say(packet(b"B", b"x" * size)) == CONTINUE
    assert len(talk.events("body")[0].data) == size


def test_row_025_one_size_is_agreed():
    """Of several offered sizes one is chosen: the largest that is wanted."""
    offer = options(6, ACTIONS, STEPS | 0x30000000)
    assert Talk(limits=Limits(data_size=1_048_575)).say(offer) == options(6, 0, EXTRAS | 0x20000000)
    assert Talk(limits=Limits(data_size=262_143)).say(offer) == options(6, 0, EXTRAS | 0x10000000)


@pytest.mark.parametrize("letter", [bytes((letter,)) for letter in b"DCHMRTLNBEUAQK"])
def test_row_026_commands_before_the_offer(letter):
    """Any command before the negotiation closes the connection without a word."""
    whole = {one[4:5]: one for one in (*ANSWERED.values(), macros(b"C", b"j", b"x"))}
    talk = Talk()
    assert talk.say(whole.get(letter, packet(letter)), OFFER) == b""
    assert talk.heard == ["disconnect"]
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed


@pytest.mark.parametrize("event", list(SESSION))
def test_row_027_second_offer(event):
    """A second offer closes the connection: there is never a second negotiation."""
    talk = Talk().go_to(event)
    assert talk.say(OFFER, CONNECT) == b""
    in_message = list(SESSION).index(event) > list(SESSION).index("mail")
    assert talk.heard == (["abort"] if in_message else []) + ["disconnect"]
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed

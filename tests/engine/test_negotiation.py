"""What the MTA offers and what the filter wants, to what both agree on."""

import pytest

from demyjpy.actions import Negotiate
from demyjpy.engine.negotiation import (
    ACTION_FLAGS,
    EVENT_NAMES,
    MACRO_EVENTS,
    Agreement,
    Wants,
    agree,
    check_reply,
    macro_lists,
    offered_flags,
    sent_events,
    with_data_size,
)
from demyjpy.errors import LocalProtocolError, NegotiationError, RemoteProtocolError
from demyjpy.events import Options
from demyjpy.wire.codes import ProtocolFlag as P

FULL = Options(6, 0x1FF, 0x1FFFFF)
OFF = {
    "connect": P.NOCONNECT,
    "hello": P.NOHELO,
    "mail": P.NOMAIL,
    "recipient": P.NORCPT,
    "body": P.NOBODY,
    "header": P.NOHDRS,
    "end_of_headers": P.NOEOH,
    "unknown": P.NOUNKNOWN,
    "data": P.NODATA,
}
QUIET = {
    "connect": P.NR_CONN,
    "hello": P.NR_HELO,
    "mail": P.NR_MAIL,
    "recipient": P.NR_RCPT,
    "body": P.NR_BODY,
    "header": P.NR_HDR,
    "end_of_headers": P.NR_EOH,
    "unknown": P.NR_UNKN,
    "data": P.NR_DATA,
}


def test_a_filter_that_wants_nothing_declines_all():
    """All NO* flags, no NR_*, no actions, and what is of use to any filter."""
    reply = agree(FULL, Wants())
    assert reply == Negotiate(6, 0, 0x37F | P.SKIP | P.HDR_LEADSPC)


@pytest.mark.parametrize("name", OFF)
def test_what_has_a_handler_is_not_declined(name):
    """Each event clears its own NO* bit, and sets its NR_* bit if it is only observed."""
    rest = P(0x37F) & ~OFF[name] | P.SKIP | P.HDR_LEADSPC
    wanted = frozenset({name})
    assert agree(FULL, Wants(events=wanted)).protocol == rest
    assert agree(FULL, Wants(events=wanted, quiet=wanted)).protocol == rest | QUIET[name]


def test_an_event_that_is_not_wanted_is_not_quiet():
    """NR_* only stands for what is sent."""
    assert not agree(FULL, Wants(quiet=frozenset({"body"}))).protocol & P.NR_BODY


def test_rejected_recipients_are_asked_for_where_they_are_wanted():
    """RCPT_REJ is set for rejected=True only."""
    assert agree(FULL, Wants(rejected=True)).protocol & P.RCPT_REJ
    assert not agree(FULL, Wants()).protocol & P.RCPT_REJ


@pytest.mark.parametrize("offered", [0x7F, 0x17F, 0x37F, 0x1FFFFF, 0x3F, 0x400, 0xFFFFFFFF])
def test_no_bit_is_answered_that_was_not_offered(offered):
    """Sendmail refuses a filter that answers one."""
    everything = frozenset(EVENT_NAMES)
    for wants in (Wants(), Wants(rejected=True), Wants(events=everything, quiet=everything)):
        reply = agree(Options(6, 0x1FF, offered), wants)
        assert not int(reply.protocol) & ~offered
        assert not int(reply.protocol) >> 21


VERSIONS = [(2, 2), (4, 4), (6, 6), (9, 6), (0xFFFFFFFF, 6)]


@pytest.mark.parametrize(("offered", "answered"), VERSIONS)
def test_the_version_is_the_lower_of_both(offered, answered):
    """Nothing above 6 is spoken here."""
    assert agree(Options(offered, 0x1FF, 0x1FFFFF), Wants()).version == answered


@pytest.mark.parametrize("version", [0, 1])
def test_a_version_below_2_is_no_milter_protocol(version):
    """The MTA's error, not the filter's."""
    with pytest.raises(
        RemoteProtocolError, match=f"expected protocol version 2 or later, got version {version}"
    ):
        agree(Options(version, 0x1FF, 0x1FFFFF), Wants())


WORDS = [
    ((0, 0), (0x0F, 0x3F)),
    ((0x1FF, 0), (0x1FF, 0x3F)),
    ((0, 0x7F), (0x0F, 0x7F)),
    ((1, 1), (1, 1)),
]


@pytest.mark.parametrize(("given", "meant"), WORDS)
def test_a_word_without_any_bit_is_that_of_version_1(given, meant):
    """Each word for itself, as libmilter reads it."""
    assert offered_flags(Options(2, *given)) == meant


def test_required_actions_are_granted_or_refused():
    """What is missing is listed; what is optional is taken if it is offered."""
    wants = Wants(
        actions=frozenset({"add_header", "quarantine"}), optional_actions=frozenset({"change_sender"})
    )
    assert agree(FULL, wants).actions == 0x61
    assert agree(Options(6, 0x3F, 0x1FFFFF), wants).actions == 0x21
    with pytest.raises(NegotiationError) as caught:
        agree(Options(6, 0x1F, 0x1FFFFF), wants)
    assert (caught.value.actions, caught.value.events) == (("quarantine",), ())


EVENTS_OF_VERSION = [(2, {"unknown", "data"}), (3, {"data"}), (4, set()), (6, set())]


@pytest.mark.parametrize(("version", "missing"), EVENTS_OF_VERSION)
def test_required_events_are_sent_or_refused(version, missing):
    """UNKNOWN came with version 3, DATA with 4; optional ones are switched off instead."""
    offer, events = Options(version, 0x1FF, 0x1FFFFF), frozenset({"data", "unknown", "mail"})
    assert sent_events(events, version) == events - missing
    if missing:
        with pytest.raises(NegotiationError) as caught:
            agree(offer, Wants(events=events))
        assert set(caught.value.events) == missing
    reply = agree(offer, Wants(events=events, optional_events=frozenset({"data", "unknown"})))
    assert bool(reply.protocol & P.NODATA) == ("data" in missing)
    assert bool(reply.protocol & P.NOUNKNOWN) == ("unknown" in missing)


# ----------------------------------------------------------------------------------------- macros
LISTS = [
    ({}, ()),
    ({"connect": ("j",)}, ((0, ("j", "_")),)),
    ({"connect": ("_",), "mail": ("{i}",)}, ((0, ("_",)), (2, ("{i}",)))),
    (
        {"data": ("a",), "recipient": ("b",), "mail": ("c",), "hello": ("d",)},
        ((1, ("d",)), (2, ("c", "i")), (3, ("b", "i")), (4, ("a", "i"))),
    ),
    ({"end_of_message": ("i",)}, ((5, ("i",)), (6, ("i",)))),
    ({"end_of_headers": ("i",)}, ((5, ("i",)), (6, ("i",)))),
    ({"end_of_message": ("i",), "end_of_headers": ("j",)}, ((5, ("i",)), (6, ("j", "i")))),
    ({"mail": (), "hello": ()}, ((1, ()), (2, ("i",)))),
]


@pytest.mark.parametrize(("macros", "lists"), LISTS)
def test_macros_are_asked_for_by_stage(macros, lists):
    """In order of the stage; the lists for end of headers and of message come together, for Sendmail."""
    assert macro_lists(macros) == lists


def test_macros_are_asked_for_only_where_they_can_be():
    """The permission is taken with the lists, and neither without the offer or the wish."""
    wants = Wants(macros={"mail": ("i",)})
    assert agree(FULL, wants) == Negotiate(6, 0x100, 0x37F | P.SKIP | P.HDR_LEADSPC, ((2, ("i",)),))
    without = agree(Options(6, 0xFF, 0x1FFFFF), wants)
    assert (without.actions, without.macros) == (0, ())
    assert agree(FULL, Wants()).actions == 0


def test_only_events_with_a_stage_have_macros():
    """There is no list for header, body and unknown."""
    assert set(MACRO_EVENTS) == {
        "connect",
        "hello",
        "mail",
        "recipient",
        "data",
        "end_of_headers",
        "end_of_message",
    }
    with pytest.raises(KeyError):
        macro_lists({"body": ("i",)})


# ------------------------------------------------------------------------------------- agreements
SIZES = [
    (0x30000000, 1_048_575, P.MDS_1M),
    (0x30000000, 262_143, P.MDS_256K),
    (0x30000000, 65_535, P.NONE),
    (0x10000000, 1_048_575, P.MDS_256K),
    (0x20000000, 262_143, P.NONE),
    (0, 1_048_575, P.NONE),
]


@pytest.mark.parametrize(("offered", "wanted", "bit"), SIZES)
def test_the_largest_size_that_both_want_is_agreed_on(offered, wanted, bit):
    """Never a size bit that was not offered."""
    reply = with_data_size(Negotiate(6, 0, P.SKIP), Options(6, 0x1FF, 0x1FFFFF | offered), wanted)
    assert reply == Negotiate(6, 0, P.SKIP | bit)


AGREEMENTS = [
    (0, (False, False, False)),
    (P.HDR_LEADSPC, (True, False, False)),
    (P.SKIP, (False, True, False)),
    (P.RCPT_REJ, (False, False, True)),
    (P.MDS_256K, (False, False, False)),
]


@pytest.mark.parametrize(("protocol", "wanted"), AGREEMENTS)
def test_an_agreement_is_read_off_the_answer(protocol, wanted):
    """Each bit means one thing for the rest of the connection."""
    found = Agreement.of(Negotiate(6, 0x03, protocol))
    assert (found.leading_space, found.may_skip, found.reports_rejected) == wanted
    assert found.actions == {"add_header", "change_body"}
    assert found.off == set()


def test_an_agreement_knows_what_is_not_sent():
    """By the letters of the commands."""
    assert bytes(sorted(Agreement.of(Negotiate(6, 0, 0x37F)).off)) == b"BCHLMNRTU"
    assert bytes(Agreement.of(Negotiate(6, 0, P.NOMAIL | P.NR_RCPT)).off) == b"M"


BAD_REPLIES = [
    Negotiate(7, 0, 0),
    Negotiate(1, 0, 0),
    Negotiate(6, 0x200, 0),
    Negotiate(6, 0, 0x10000000),
    Negotiate(6, 0, 0x80000000),
]


@pytest.mark.parametrize("reply", BAD_REPLIES)
def test_an_answer_that_an_mta_would_refuse_is_refused_here(reply):
    """A version too high or too low, or a bit outside the offer; the message shows both."""
    with pytest.raises(
        LocalProtocolError, match=r"expected an answer within version 6, .*, got Negotiate"
    ):
        check_reply(reply, FULL)


@pytest.mark.parametrize("reply", [Negotiate(6, 0x1FF, 0x1FFFFF), Negotiate(2, 0, 0)])
def test_an_answer_within_the_offer_is_good(reply):
    """All that was offered, or nothing."""
    assert check_reply(reply, FULL) is None


def test_an_answer_may_not_exceed_a_lower_version():
    """What counts is what the MTA speaks."""
    with pytest.raises(LocalProtocolError, match="within version 2"):
        check_reply(Negotiate(3, 0, 0), Options(2, 0x3F, 0x7F))


def test_there_is_a_name_for_each_action_flag():
    """The names of the ancestors, one bit each."""
    assert sum(int(flag) for flag in ACTION_FLAGS.values()) == 0x1FF

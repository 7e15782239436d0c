"""Rows 29-33: asking for macros (SETSYMLIST). The lists ride in the answer to OPTNEG."""

import pytest

from demyjpy import HandlerError, Negotiate, define_event_handlers, merge_handlers
from demyjpy.codec import decode_action, encode_action
from demyjpy.wire.framing import join_frame
from tests.conformance.talk import ACTIONS, OFFER, STEPS, Talk, options, strings

WANTED = 0x100400  # SKIP and HDR_LEADSPC


def entry(stage: int, names: bytes) -> bytes:
    return bytes((0, 0, 0, stage)) + strings(names)


def test_row_029_as_in_the_vector():
    """A list is the stage as U32 and one string; lists follow the twelve bytes."""
    whole = bytes.fromhex("0000001c4f00000006000001ff00000400000000006a207b787d000000000500")
    reply = Negotiate(6, 0x1FF, 0x400, ((0, ("j", "{x}")), (5, ())))
    assert join_frame(*encode_action(reply)) == whole
    assert decode_action((ord("O"), whole[5:])) == reply


def test_row_029_lists_of_stages_0_and_5():
    """What a filter asks for at connect and end of message goes out as stages 0 and 5."""
    talk = Talk(macros={"connect": ("j", "{daemon_name}"), "end_of_message": ("i", "msg_id")})
    lists = entry(0, b"j {daemon_name} _") + entry(5, b"i {msg_id}") + entry(6, b"i {msg_id}")
    assert talk.say(OFFER) == options(6, 0x100, WANTED, lists)


def test_row_029_every_stage():
    """Each event that has a stage has its own number; stages go out in numeric order.

    With each goes what the library itself needs: the client, and from MAIL on the queue id.
    """
    stages = ("connect", "hello", "mail", "recipient", "data", "end_of_message", "end_of_headers")
    asked = {name: (f"{{of_{name}}}",) for name in reversed(stages)}
    own = (b" _", b"", *[b" i"] * 5)
    lists = b"".join(
        entry(stage, b"{of_%s}%s" % (name.encode(), own[stage])) for stage, name in enumerate(stages)
    )
    assert Talk(macros=asked).say(OFFER) == options(6, 0x100, WANTED, lists)


@pytest.mark.parametrize("event", ["header", "body", "unknown", "abort", "quit"])
def test_row_029_events_without_stage(event):
    """Macros cannot be asked for at an event that has no stage."""
    with pytest.raises(HandlerError, match=event):
        define_event_handlers(macros={event: ("i",)})


@pytest.mark.parametrize("event", ["end_of_message", "end_of_headers"])
def test_row_030_end_of_message_and_end_of_headers_go_together(event):
    """A list for either of the last two stages stands in for the other: Sendmail needs both."""
    lists = entry(5, b"i") + entry(6, b"i")
    assert Talk(macros={event: ("i",)}).say(OFFER) == options(6, 0x100, WANTED, lists)


def test_row_030_both_lists_given():
    """Where both lists are given, each is sent as it is, with the queue id."""
    talk = Talk(macros={"end_of_message": ("i",), "end_of_headers": ("j",)})
    assert talk.say(OFFER) == options(6, 0x100, WANTED, entry(5, b"i") + entry(6, b"j i"))


def test_row_031_not_offered():
    """Where SETSYMLIST is not offered there are no lists, and no bit."""
    talk = Talk(macros={"mail": ("i",), "end_of_message": ("i",)}, optional_actions={"choose_macros"})
    assert talk.say(options(6, ACTIONS & ~0x100, STEPS)) == options(6, 0, WANTED)
    assert talk.troubles == []


def test_row_032_empty_list():
    """An empty list is a single NUL after the stage."""
    assert Talk(macros={"hello": ()}).say(OFFER) == options(6, 0x100, WANTED, b"\0\0\0\x01\0")


def test_row_033_fifty_names():
    """Fifty names are the most that Sendmail takes for a stage."""
    names = [f"{{m{number}}}" for number in range(50)]
    lists = entry(2, " ".join(names).encode())
    assert Talk(macros={"mail": names}).say(OFFER) == options(6, 0x100, WANTED, lists)


def test_row_033_more_than_fifty_names():
    """The fifty-first name is refused where the filter is defined."""
    with pytest.raises(HandlerError, match="at most 50 macros for 'mail'"):
        define_event_handlers(macros={"mail": [f"{{m{number}}}" for number in range(51)]})


def test_row_033_more_than_fifty_names_together():
    """It is refused also where two filters ask for too many together."""
    first = define_event_handlers(macros={"mail": [f"{{a{number}}}" for number in range(30)]})
    second = define_event_handlers(macros={"mail": [f"{{b{number}}}" for number in range(30)]})
    with pytest.raises(HandlerError, match="at most 50 macros for 'mail'"):
        merge_handlers(first, second)

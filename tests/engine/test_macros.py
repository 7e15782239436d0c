"""Macros in force: stored by their command, looked up from the last, dropped in time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demyjpy.engine import macros as macros_module
from demyjpy.engine.macros import NO_MACROS, Macros, value_in
from demyjpy.wire.codes import Command
from demyjpy.wire.fields import take_strings

C = Command


def after(script: str) -> Macros:
    """Macros after a script: ``DM:i=1`` defines, ``M`` is the command, ``.`` the end of a message."""
    macros = NO_MACROS
    for word in script.split():
        if word == ".":
            macros = macros.end_message()
        elif word[0] == "D" and ":" in word:
            pairs = [pair.partition("=")[::2] for pair in word[3:].split(",") if pair]
            strings = b"".join(text.encode() + b"\0" for pair in pairs for text in pair)
            macros = macros.define(ord(word[1]), strings)
        else:
            macros = macros.arrive(ord(word))
    return macros


LOOKUPS = [
    ("nothing was sent", "", None),
    ("sent for a command", "DM:i=1 M", "1"),
    ("sent before, not yet for the command that is there", "DM:i=1", "1"),
    ("the later stage wins", "DC:i=1 C DH:i=2 H", "2"),
    ("the later stage wins, whatever the order", "DE:i=2 DN:i=1 E", "2"),
    ("a name that is missing later is found earlier", "DC:i=1 C DH:j=2 H DM:k=3 M", "1"),
    ("one packet replaces the one before", "DM:i=1,j=1 DM:j=2 M", None),
    ("an empty packet empties", "DM:i=1 M DM: M", None),
    ("empty values are values", "DM:i= M", ""),
    ("HELO drops what belongs to messages", "DC:j=1 C DM:i=1 M H", None),
    ("HELO keeps its own", "DH:i=1 H", "1"),
    ("CONNECT drops all but its own", "DC:j=9 DH:i=1 C", None),
    ("CONNECT keeps its own", "DC:i=1 C H M", "1"),
    ("a new message drops what came after MAIL", "DT:i=1 T M", None),
    ("MAIL keeps its own", "DM:i=1 M R R T L N B E", "1"),
    ("MAIL drops what was sent for a recipient before", "DR:i=1 DM:j=1 M", None),
    ("a recipient keeps its own", "DM:j=1 M DR:i=1 R", "1"),
    ("the next recipient has none of it", "DM:j=1 M DR:i=1 R R", None),
    ("nor has DATA", "M DR:i=1 R T", None),
    ("nor has a header", "M DR:i=1 R L", None),
    ("nor have those of a recipient that never came", "M DR:i=1 T", None),
    ("DATA, end of headers and end of message stay", "M DT:i=1 T L N B E", "1"),
    ("those of a header are for that header", "M DL:i=1 L", "1"),
    ("the next header has none of it", "M DL:i=1 L L", None),
    ("those of a header win over all others", "DE:i=2 DL:i=1 L", "1"),
    ("those of a body chunk end with it", "M DB:i=1 B E", None),
    ("those of an unknown command end with it", "DU:i=1 U M", None),
    ("a letter that nobody knows is stored like these", "DX:i=1", "1"),
    ("the end of a message drops its macros", "DM:i=1 M E .", None),
    ("and keeps those of the connection", "DC:i=1 C DH:j=1 H DM:k=1 M E .", "1"),
    ("and those sent for the next message", "M E DM:i=1 .", "1"),
]


@pytest.mark.parametrize(("what", "script", "value"), LOOKUPS, ids=[row[0] for row in LOOKUPS])
def test_the_macro_in_force(what, script, value):
    """After this script the macro i has this value."""
    assert after(script).get("i") == value


@pytest.mark.parametrize("sent", ["i", "{i}"])
@pytest.mark.parametrize("asked", ["i", "{i}"])
def test_braces_make_no_difference(sent, asked):
    """I and {i} are one macro, however it was sent and is asked for."""
    assert NO_MACROS.define(C.MAIL, f"{sent}\0value\0".encode()).get(asked) == "value"


def test_a_name_without_value_has_none():
    """An odd number of strings: the last name has no value."""
    macros = NO_MACROS.define(C.MAIL, b"i\x001\0j\0")
    assert macros.get("i") == "1"
    assert macros.get("j") is None


def test_within_a_packet_the_first_counts():
    """As libmilter reads it."""
    assert NO_MACROS.define(C.MAIL, b"i\x001\0i\x002\0").get("i") == "1"


def test_a_value_without_value_hides_earlier_ones():
    """The name is there, so the search ends."""
    macros = NO_MACROS.define(C.CONNECT, b"i\x001\0").define(C.MAIL, b"i\0")
    assert macros.get("i") is None


@pytest.mark.parametrize("letter", [C.CONNECT, C.HELO, C.MAIL, C.RCPT, C.DATA, C.BODYEOB, C.UNKNOWN])
def test_where_nothing_changes_the_value_stays_the_same(letter):
    """No new objects for packets without macros, of which a mail has many."""
    assert NO_MACROS.arrive(letter) is NO_MACROS
    assert NO_MACROS.end_message() is NO_MACROS


def test_macros_are_values():
    """Defining gives new macros; the old ones are as they were, and equal ones are equal."""
    one = NO_MACROS.define(C.MAIL, b"i\x001\0")
    assert NO_MACROS.get("i") is None
    assert one == NO_MACROS.define(C.MAIL, b"i\x001\0")
    assert hash(one) == hash(NO_MACROS.define(C.MAIL, b"i\x001\0"))


def reads_of(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is read from now on, each time that it is."""
    found: list[bytes] = []

    def read(payload: bytes) -> tuple[str, ...]:
        found.append(payload)
        return take_strings(payload)

    monkeypatch.setattr(macros_module, "take_strings", read)
    return found


def test_a_packet_is_read_once(monkeypatch):
    """However often and for whatever somebody asks; one that nobody asks for, never."""
    read = reads_of(monkeypatch)
    macros = NO_MACROS.define(C.CONNECT, b"j\0mx\0").arrive(C.CONNECT).meet(C.MAIL, b"a\x001\0")
    assert read == []
    for letter in (C.RCPT, C.DATA, C.HEADER, C.EOH, C.BODY, C.BODYEOB):
        macros = macros.arrive(letter)
        assert (macros.get("j"), macros.get("nowhere"), macros.get("a")) == ("mx", None, "1")
    macros = macros.end_message().define(C.MAIL, b"a\x002\0").arrive(C.MAIL)
    assert (macros.get("j"), macros.get("a")) == ("mx", "2")
    assert read == [b"a\x001\0", b"j\0mx\0", b"a\x002\0"]


def test_the_same_packet_is_not_read_again(monkeypatch):
    """Postfix sends the same one before each header field."""
    read = reads_of(monkeypatch)
    macros = NO_MACROS.define(C.DATA, b"j\0mx\0").arrive(C.DATA)
    for _ in range(5):
        macros = macros.define(C.HEADER, bytes(bytearray(b"i\x001\0"))).arrive(C.HEADER)
        assert (macros.get("i"), macros.get("j")) == ("1", "mx")
    assert read == [b"i\x001\0", b"j\0mx\0"]


def test_reading_changes_no_value():
    """What was asked is equal to what was not, with the same hash; older values stay as they are."""
    before = NO_MACROS.define(C.MAIL, b"i\x001\0")
    alike = NO_MACROS.define(C.MAIL, b"i\x001\0")
    after = before.define(C.MAIL, b"i\x002\0")
    assert (before.get("i"), after.get("i")) == ("1", "2")
    assert before == alike
    assert hash(before) == hash(alike)
    assert repr(before) == repr(alike)


def test_the_size_is_what_is_in_force():
    """In bytes, over all commands."""
    macros = NO_MACROS.define(C.CONNECT, b"j\0mx\0").define(C.MAIL, b"i\x001\0")
    assert (NO_MACROS.size, macros.size) == (0, 9)
    assert macros.define(C.MAIL, b"").size == 5


told = st.tuples(st.sampled_from([*b"CHMRTLNBEAU"]), st.sampled_from([b"i\0" + b"1\0", b"i\0" + b"2\0"]))


@given(st.lists(st.one_of(told, st.sampled_from([*b"CHMRTLNBEAU"]), st.none()), max_size=8), told)
def test_a_command_with_its_own_macros_is_one_step(script, last):
    """`meet` is `define` and `arrive`, whatever came before; where nothing changes, it is the same."""
    macros = NO_MACROS
    for one in script:
        if one is None:
            macros = macros.end_message()
        else:
            macros = macros.arrive(one) if isinstance(one, int) else macros.define(*one)
    met = macros.meet(*last)
    assert met == macros.define(*last).arrive(last[0])
    assert met.meet(*last) is met


NAMES = st.text("i{}jé\udcff", max_size=4)


def bare(name: str) -> str:
    return name[1:-1] if name[:1] == "{" and name[-1:] == "}" else name


@given(st.lists(st.text("i{}j\0é\udcff", max_size=3), max_size=8), NAMES)
def test_a_value_that_is_looked_for_is_the_one_that_is_read(strings, name):
    """Whatever names and values there are, with braces and without, and bytes that are no text."""
    payload = "\0".join(strings).encode("utf-8", "surrogateescape")
    assert value_in(payload, bare(name)) == NO_MACROS.define(C.MAIL, payload).get(name)


def test_nobody_can_have_sent_some_names():
    """With a NUL, or a surrogate that stands for no byte."""
    assert value_in(b"a\0b\0", "a\0b", "none") == "none"
    assert value_in(b"a\0b\0", "\ud800", "none") == "none"
    assert value_in(b"a\0b", "b", "none") == "none"  # it has no end
    assert value_in(b"a\0", "a", "none") is None
    assert value_in(b"{x}\x001\0{{x}}\x002\0", "{x}") == "2"


def test_of_a_large_packet_only_what_was_asked_for_is_kept(monkeypatch):
    """Text takes ten times as many bytes, and would be there for as long as the macros are."""
    read = reads_of(monkeypatch)
    words = b"".join(b"{m%d}\0%d\0" % (number, number) for number in range(3000))
    macros = NO_MACROS.define(C.MAIL, words)
    for _ in range(2):
        assert (macros.get("m2999"), macros.get("{m0}"), macros.get("i")) == ("2999", "0", None)
    (kept,) = [one for one in macros.slots if one is not None]
    assert {*kept.found} == {"m2999", "m0", "i"}
    for number in range(3000):
        assert macros.get(f"m{number}") == str(number)
    assert len(kept.found) == 64
    assert read == []

"""How values lie in a packet: strings, numbers, lists, and the mappings made of them."""

import pytest
from pyrsistent import pmap

from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.wire import fields
from demyjpy.wire.fields import Definitions, Parameters

TEXTS = [
    (b"", ""),
    (b"plain", "plain"),
    ("ä".encode(), "ä"),
    (b"\xff\xfe", "\udcff\udcfe"),
    (b"\xed\xa0\x80", "\udced\udca0\udc80"),
]


@pytest.mark.parametrize(("data", "text"), TEXTS)
def test_text_is_utf8_and_any_other_byte_a_surrogate(data, text):
    """Both directions, for bytes that are UTF-8 and bytes that are not."""
    assert fields.decode_text(data) == text
    assert fields.encode_text(text) == data


def test_a_surrogate_that_stands_for_no_byte_is_refused():
    """Text that cannot have come from bytes cannot become bytes."""
    with pytest.raises(
        LocalProtocolError, match=r"expected text that UTF-8 can carry, got text of 1 characters"
    ):
        fields.encode_text("\ud800")


def test_a_string_ends_in_nul_and_holds_none():
    """STR is the text and one NUL."""
    assert fields.encode_string("ab") == b"ab\0"
    with pytest.raises(
        LocalProtocolError, match=r"expected text without NUL, got text of 3 characters with NUL"
    ):
        fields.encode_string("a\0b")


def test_a_string_is_taken_from_the_start():
    """What follows the first NUL is left over; without a NUL there is no string."""
    assert fields.take_string(b"ab\0c\0d", "x") == ("ab", b"c\0d")
    with pytest.raises(RemoteProtocolError, match="expected a name that ends in NUL, got 2 bytes"):
        fields.take_string(b"ab", "a name")


@pytest.mark.parametrize(
    ("data", "strings"),
    [(b"", ()), (b"a\0b\0", ("a", "b")), (b"a\0frag", ("a",)), (b"frag", ()), (b"\0\0", ("", ""))],
)
def test_strings_are_taken_but_not_a_fragment_at_the_end(data, strings):
    """A trailing fragment without NUL is dropped, as libmilter does."""
    assert fields.take_strings(data) == strings


def test_numbers_are_in_network_order():
    """Both directions, in two sizes."""
    assert fields.take_number(b"\0\x19rest", 2, "a port") == (25, b"rest")
    assert fields.encode_number(258, 4, "an index") == b"\0\0\1\2"


@pytest.mark.parametrize("number", [-1, 65536])
def test_a_number_that_does_not_fit_is_refused(number):
    """The message names what it was, its size and the number."""
    with pytest.raises(LocalProtocolError, match=f"expected a port of 2 bytes, got {number}"):
        fields.encode_number(number, 2, "a port")


def test_a_number_cut_short_is_the_mtas_error():
    """The message says how much was there."""
    with pytest.raises(RemoteProtocolError, match=r"expected a port of 2 bytes, got 1 bytes"):
        fields.take_number(b"\0", 2, "a port")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "nothing"),
        (b"ab", "2 bytes"),
    ],
)
def test_of_bytes_no_more_than_their_number_is_shown(data, shown):
    """An error message holds nothing of a packet."""
    assert fields.show_bytes(data) == shown


# ------------------------------------------------------------------------------------- mappings
def test_parameters_are_found_in_any_case_and_kept_as_they_came():
    """Keys are upper case; spelling, order and duplicates stay in words."""
    found = Parameters.parse(["size=1", "BODY=8BITMIME", "SMTPUTF8", "Size=2", "ENVID=a=b"])
    assert found["Size"] == "1"
    assert found["smtputf8"] is None
    assert found["ENVID"] == "a=b"
    assert list(found) == ["SIZE", "BODY", "SMTPUTF8", "ENVID"]
    assert len(found) == 4
    assert found.as_words() == ("size=1", "BODY=8BITMIME", "SMTPUTF8", "Size=2", "ENVID=a=b")
    assert "SIZE" in found
    assert "NOTIFY" not in found
    with pytest.raises(KeyError):
        found["NOTIFY"]


def test_definitions_are_found_with_and_without_braces():
    """I and {i}, auth_type and {auth_type} are the same name; the first of several counts."""
    found = Definitions.parse(["i", "1", "{auth_type}", "PLAIN", "{i}", "2", "alone"])
    assert found["i"] == found["{i}"] == "1"
    assert found["auth_type"] == "PLAIN"
    assert found["alone"] is None
    assert list(found) == ["i", "auth_type", "alone"]


@pytest.mark.parametrize(
    ("name", "key"), [("{}", ""), ("{", "{"), ("}", "}"), ("{a", "{a"), ("a}", "a}"), ("", "")]
)
def test_only_a_pair_of_braces_is_taken_off(name, key):
    """Names that are not in braces are as they are."""
    assert Definitions.key_of(name) == key


def test_mappings_compare_by_what_is_found():
    """Equal to any map with the same keys and values, and equal ones have one hash."""
    one, other = Parameters([("SIZE", "1"), ("A", None)]), Parameters([("a", None), ("size", "1")])
    assert one == other
    assert hash(one) == hash(other)
    assert one == {"SIZE": "1", "A": None}
    assert one != {"SIZE": "2", "A": None}
    assert one != Parameters()
    assert one != "SIZE=1"
    assert repr(one) == "{'SIZE': '1', 'A': None}"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, ()),
        ({"SIZE": "1"}, (("SIZE", "1"),)),
        (pmap({"a": None}), (("a", None),)),
        ([("a", "1"), ("A", "2")], (("a", "1"), ("A", "2"))),
    ],
)
def test_a_mapping_is_made_of_whatever_a_caller_has(given, wanted):
    """None, a mapping or pairs; what is one already stays the same object."""
    found = Parameters.of(given)
    assert found.words == wanted
    assert Parameters.of(found) is found


@pytest.mark.parametrize(
    ("name", "spelled"),
    [("i", "i"), ("{i}", "{i}"), ("auth_type", "{auth_type}"), ("{auth_type}", "{auth_type}"), ("", "")],
)
def test_a_macro_name_is_spelled_as_it_goes_over_the_wire(name, spelled):
    """A long name in braces; one letter as it is given."""
    assert fields.spell_macro(name) == spelled


def test_the_common_base_knows_no_names():
    """Which names are one is the subclass's to say."""
    with pytest.raises(NotImplementedError):
        len(fields._Words([("a", None)]))

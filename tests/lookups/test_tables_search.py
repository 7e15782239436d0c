"""Which keys stand for an address or a host, in order: access(5) and virtual(5)."""

import pytest

from demyjpy.lookups.tables_search import keys_to_try

KEYS = [
    # search, key, delimiter, dotted, keys
    ("key", "Ann@Example.org", "+", False, ["Ann@Example.org"]),
    ("key", "", "", False, [""]),
    ("host", "mx.example.org", "", False, ["mx.example.org", "example.org", "org"]),
    ("host", "mx.example.org", "", True, ["mx.example.org", ".example.org", ".org"]),
    ("host", "example.org.", "", False, ["example.org", "org"]),
    ("host", "localhost", "", False, ["localhost"]),
    ("host", "", "", False, []),
    ("host", "192.0.2.7", "", False, ["192.0.2.7", "192.0.2", "192.0", "192"]),
    (
        *("host", "2001:db8::7", "", False),
        ["2001:db8::7", "2001:db8:", "2001:db8", "2001"],
    ),
    ("host", "fe80::1%a:b.c", "", False, ["fe80::1%a:b.c", "c"]),  # no address: Postfix sends no scope
    (
        "address",
        "ann@mx.example.org",
        "",
        False,
        ["ann@mx.example.org", *["mx.example.org", "example.org", "org", "ann@"]],
    ),
    (
        "address",
        "ann@mx.example.org",
        "+",
        True,
        ["ann@mx.example.org", *["mx.example.org", ".example.org", ".org", "ann@"]],
    ),
    ("address", "ann+x@b", "+", False, ["ann+x@b", "ann@b", "b", "ann+x@", "ann@"]),
    ("address", "ann-x+y@b", "+-", False, ["ann-x+y@b", "ann@b", "b", "ann-x+y@", "ann@"]),
    ("address", "+x@b", "+", False, ["+x@b", "b", "+x@"]),
    ("address", "Postmaster@b", "s", False, ["Postmaster@b", "b", "Postmaster@"]),
    ("address", "owner-x@b", "-", False, ["owner-x@b", "b", "owner-x@"]),
    ("address", "x-request@b", "-+", False, ["x-request@b", "b", "x-request@"]),
    ("address", "owner-x+y@b", "+", False, ["owner-x+y@b", "owner-x@b", "b", "owner-x+y@", "owner-x@"]),
    ("address", "", "", False, ["<>"]),
    ("address", "ann", "", False, ["ann", "ann@"]),
    ("address", "ann@b.", "", False, ["ann@b", "b", "ann@"]),
    ("address", '"ann"@b', "", False, ["ann@b", "b", "ann@"]),  # quotes that need not be
    ("address", r'"a\nn"@b', "", False, ["ann@b", "b", "ann@"]),
    ("address", '"a b"@c', "", False, ['"a b"@c', "a b@c", "c", '"a b"@', "a b@"]),
    ("address", r'"a\"b"@c', "", False, [r'"a\"b"@c', 'a"b@c', "c", r'"a\"b"@', 'a"b@']),
    ("address", '"a@b"@c', "", False, ['"a@b"@c', "a@b@c", "c", '"a@b"@', "a@b@"]),
    ("address", "@b", "", False, ['""@b', "@b", "b", '""@', "@"]),
    ("virtual", "ann+x@b.org", "+", False, ["ann+x@b.org", "ann@b.org", "@b.org"]),
    ("virtual", "ann", "", False, ["ann"]),
]


@pytest.mark.parametrize(("search", "key", "delimiter", "dotted", "keys"), KEYS)
def test_the_most_exact_key_comes_first(search, key, delimiter, dotted, keys):
    """As Postfix asks its tables."""
    assert [*keys_to_try(key, search, delimiter, dotted=dotted)] == keys


def test_a_domain_that_none_can_have_has_no_parents():
    """So that nobody makes a table be asked thousands of times."""
    domain = "a." * 128 + "org"
    assert keys_to_try(domain, "host", "", dotted=False) == (domain,)
    scoped = "::1%" + ":" * 9_990
    assert keys_to_try(scoped, "host", "", dotted=False) == (scoped,)
    assert len(keys_to_try(f"x@{domain}", "address", "", dotted=False)) == 3
    assert len(keys_to_try(domain[4:], "host", "", dotted=False)) == 127

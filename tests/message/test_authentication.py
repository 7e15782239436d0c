"""The field Authentication-Results, as servers write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demyjpy.message import Message, parse_authentication_results

OWN = (
    "mx.example; spf=pass (client (1) is ok) smtp.mailfrom=a.example; "
    'dkim=fail reason="bad; key" header.d=x'
)


def test_a_field_of_one_server():
    """Server, methods, results, reason and properties; comments are left out."""
    found = parse_authentication_results(OWN.replace("; dkim", ";\n\tDKIM/1"))
    spf, dkim = found.results
    assert found.server == "mx.example"
    assert (spf.method, spf.result, spf.get("SMTP.mailfrom")) == ("spf", "pass", "a.example")
    assert (dkim.method, dkim.result, dkim.reason) == ("dkim", "fail", "bad; key")
    assert dkim.properties == (("header.d", "x"),)
    assert (found.get("SPF"), found.get("arc"), spf.get("x.y")) == ("pass", None, None)


@pytest.mark.parametrize(
    ("value", "server", "results"),
    [
        ("mx.example 1; none", "mx.example", []),
        ('"MX.example"; spf = pass', "mx.example", [("spf", "pass")]),
        (
            "spf=pass (IP is 192.0.2.1) smtp.mailfrom=x;dmarc=none action=none;compauth=pass reason=109",
            "",
            [("spf", "pass"), ("dmarc", "none"), ("compauth", "pass")],
        ),
        (
            "mx;\n dkim=pass header.i=@x header.b=AbC/+1==;\n dkim=fail",
            "mx",
            [("dkim", "pass"), ("dkim", "fail")],
        ),
        ("", "", []),
        (";;;", "", []),
        ("mx; foo; spf=", "mx", []),
        ("mx; (open spf=pass", "mx", []),
    ],
)
def test_what_servers_write(value, server, results):
    """Also Microsoft, which leaves the name of the server out."""
    found = parse_authentication_results(value)
    assert (found.server, [(one.method, one.result) for one in found.results]) == (server, results)


def test_forged_results_are_taken_out():
    """Those that claim to be of one's own server go, and one's own goes on top."""
    message = Message.of(
        [("Authentication-Results", f" {OWN}"), ("Authentication-Results", " other; spf=none")]
    )

    def is_ours(field):
        return parse_authentication_results(field.value).server == "mx.example"

    clean = message.without("Authentication-Results", where=is_ours).prepend(
        "Authentication-Results", "mx.example; spf=fail"
    )
    assert [one.server for one in clean.authentication_results()] == ["mx.example", "other"]
    assert clean.authentication_results()[0].get("spf") == "fail"


@given(st.text('ab=;"\\() /.\n\udcfc'))
def test_nothing_raises(value):
    """Whatever stands in the field."""
    parse_authentication_results(value)


def test_a_long_field_takes_no_longer_for_each_word():
    """Each of these takes seconds if time is quadratic."""
    for piece in ("(", '"', ";", "a=b ", "a", " ", "\\", "=", "(a)", 'a="'):
        parse_authentication_results(piece * 20_000)

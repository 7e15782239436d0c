"""The field Authentication-Results, as servers write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demyjpy.message import (
    AuthenticationResult,
    AuthenticationResults,
    Message,
    parse_authentication_results,
)

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
        (r'"mx.\example"; spf=pass', "mx.example", [("spf", "pass")]),
        ("mx.example spf=pass smtp.mailfrom=x; dkim=pass", "mx.example", [("dkim", "pass")]),
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


def test_a_field_is_written():
    """A line for each result; properties without a value are left out, comments are not read again."""
    results = (
        AuthenticationResult("spf", "pass", properties=(("smtp.mailfrom", "a@b.example"), ("x.y", ""))),
        AuthenticationResult("dmarc", "fail", "109", (("header.from", "b.example"),), "p=reject"),
    )
    value = AuthenticationResults("mx.example", results).text()
    assert value == (
        "mx.example;\n\tspf=pass smtp.mailfrom=a@b.example;"
        "\n\tdmarc=fail (p=reject) reason=109 header.from=b.example"
    )
    spf, dmarc = parse_authentication_results(value).results
    assert (spf.properties, dmarc.reason) == ((("smtp.mailfrom", "a@b.example"),), "109")
    assert AuthenticationResults("mx.example").text() == "mx.example;\n\tnone"


@given(st.lists(st.text('ab=;"\\() /.,:\n\r\t\0<>@-\udcfcß'), min_size=6, max_size=6))
def test_nothing_that_is_written_can_say_more(texts):
    """Whatever a mail has in its names: one server, one method, one result, and a legal field."""
    server, method, result, comment, reason, value = texts
    one = AuthenticationResult(
        f"m{method}", f"r{result}", reason, (("header.d", value), (f"x.{value}", "y")), comment
    )
    text = AuthenticationResults(f"s{server}", (one,)).text()
    message = Message.parse(b"\r\nhello\r\n").prepend("Authentication-Results", text)
    (found,) = message.authentication_results()
    assert found.server.startswith("s")
    ((method, result),) = [(one.method, one.result) for one in found.results]
    assert (method[0], result[0]) == ("m", "r")
    assert text.count(";") == 1


def test_what_is_written_is_short():
    """Of a name or value 253 characters."""
    one = AuthenticationResult("a" * 999, "b" * 999, properties=(("c" * 999, "d" * 999),))
    assert len(one.text()) == 4 * 253 + 3

"""The names that filters import: decorators, constants, parameters, and what a filter does by itself."""

from typing import Any

import pytest

from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter import constants, milter


def test_the_constants_are_those_of_libmilter() -> None:
    """Some of each kind, as pymilter 1.0.5 shows them."""
    assert (Milter.REJECT, Milter.TEMPFAIL, Milter.NOREPLY, Milter.SKIP, Milter.ALL_OPTS) == (
        1,
        4,
        7,
        8,
        10,
    )
    assert (Milter.CHGHDRS, Milter.MODBODY, Milter.CURR_ACTS, Milter.V2_ACTS) == (16, 2, 511, 63)
    assert (Milter.P_NODATA, Milter.P_NR_HDR, Milter.P_HDR_LEADSPC) == (512, 128, 1048576)
    assert (Milter.M_EOM, Milter.M_EOH, Milter.FAILURE) == (5, 6, -1)
    assert all(getattr(milter, name) == getattr(Milter, name) for name in constants.__all__)


def test_what_the_low_level_module_has_is_in_the_package_too() -> None:
    """As with pymilter."""
    assert all(getattr(Milter, name) is getattr(milter, name) for name in milter.__all__)
    assert Milter.milter is milter


@pytest.mark.parametrize("decorator", [Milter.noreply, Milter.nocallback])
def test_a_callback_that_is_not_waited_for_returns_continue(decorator: Any) -> None:
    """Anything else is an error; so is the decorator on another method."""

    def body(self: Any, said: int) -> int:
        return said

    assert decorator(body)(None, Milter.CONTINUE) == Milter.CONTINUE
    with pytest.raises(
        RuntimeError, match=f"body return code must be CONTINUE with @{decorator.__name__}"
    ):
        decorator(body)(None, Milter.REJECT)

    def eom(self: Any) -> int:
        return Milter.CONTINUE

    with pytest.raises(ValueError, match=f"@{decorator.__name__} applied to non-optional method: eom"):
        decorator(eom)


def test_macros_are_asked_for_where_there_are_any() -> None:
    def body(self: Any) -> int:
        return Milter.CONTINUE

    with pytest.raises(ValueError, match="@symlist applied to method without macros: body"):
        Milter.symlist("i")(body)


def test_what_a_class_wants_of_the_protocol() -> None:
    """As bits that are not to be set, as pymilter has them."""

    class Both(Milter.Base):
        def header(self, name, value):
            return Milter.CONTINUE

    assert Milter.Base.protocol_mask() == 0x1FF880
    assert Both.protocol_mask() == 0x1FF8A0
    kept = Milter.header_leading_space(Milter.rejected_recipients(Both)).protocol_mask()
    assert kept == 0x1FF8A0 & ~Milter.P_RCPT_REJ & ~Milter.P_HDR_LEADSPC
    opts = [0x1FF, 0x1FFFFF, 9, 9]
    assert Milter.Base().negotiate(opts) == Milter.CONTINUE
    assert opts == [0x1FF, 0x77F, 0, 0]


def test_parameters_as_maps() -> None:
    """Keys in upper case."""
    words = ("SIZE=10", "body=8BITMIME", "FLAG", "X=y=z")
    assert Milter.dictfromlist(words) == {"SIZE": "10", "BODY": "8BITMIME", "X": "y=z"}
    assert Milter.param2dict(words) == {"SIZE": "10", "BODY": "8BITMIME", "FLAG": None, "X": "y=z"}

    def called(*given: Any, **named: Any) -> Any:
        return given, named

    assert Milter.envcallback(called, ("<a@b>", "SIZE=1", "FLAG")) == (("<a@b>", "FLAG"), {"SIZE": "1"})


def test_bits_by_name() -> None:
    assert Milter.decode_mask(0x1801, ["P_NR_CONN", "P_RCPT_REJ", "P_NOHELO"]) == [
        *("P_NR_CONN", "P_RCPT_REJ"),
        "0x1",
    ]
    assert Milter.decode_mask(1, ["ADDHDRS"]) == ["ADDHDRS"]


def test_no_number_is_given_twice() -> None:
    assert Milter.uniqueID() < Milter.uniqueID()


def test_a_filter_that_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by itself nor with a log."""
    for klass in (Milter.Base, Milter.Milter):
        one = klass()
        said = [one.connect("c", 2, ("192.0.2.1", 25)), one.hello("h"), one.envfrom("<a@b>", "SIZE=1")]
        said += [one.envrcpt("<c@d>"), one.data(), one.header("A", "b"), one.eoh(), one.body(b"x")]
        said += [one.unknown("X"), one.eom(), one.abort(), one.close()]
        assert said == [Milter.CONTINUE] * 12
        one.log("x")
    printed = capsys.readouterr().out
    assert printed.startswith(
        "Milter:\nconnect from c at ('192.0.2.1', 25)\n\nMilter:\nhello from h\n\n"
    )
    assert printed.endswith("Milter:\nclose\n\nMilter:\nx\n\n")


def test_what_a_client_says_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A greeting may hold anything."""
    Milter.Milter().hello("\x1b[2Jh\ud800")
    assert capsys.readouterr().out == "Milter:\nhello from \\x1b[2Jh\\ud800\n\n"

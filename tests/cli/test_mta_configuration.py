"""The lines for the configuration of the MTAs."""

from pathlib import Path
from typing import Any

import pytest

from demyjpy.cli.mta_configuration import mta_lines
from demyjpy.drivers.address import parse_address


def lines(address: str, **options: Any) -> list[str]:
    return mta_lines(parse_address(address), **options).splitlines()


@pytest.mark.parametrize(
    ("address", "postfix", "sendmail"),
    [
        ("inet:20025@localhost", "inet:localhost:20025", "inet:20025@localhost"),
        ("inet:20025@0.0.0.0", "inet:127.0.0.1:20025", "inet:20025@127.0.0.1"),
        ("inet6:20025@::", "inet:[::1]:20025", "inet6:20025@::1"),
        ("inet:[2001:db8::1]:20025", "inet:[2001:db8::1]:20025", "inet6:20025@2001:db8::1"),
        ("unix:/run/demyjpy/x.sock", "unix:/run/demyjpy/x.sock", "unix:/run/demyjpy/x.sock"),
        ("unix:/var/spool/postfix/demyjpy/x", "unix:demyjpy/x", "unix:/var/spool/postfix/demyjpy/x"),
    ],
)
def test_lines_spell_the_address_as_each_mta_reads_it(address: str, postfix: str, sendmail: str) -> None:
    """Port and host are swapped; Postfix reads a path from its queue directory."""
    found = lines(address)
    assert f"smtpd_milters = {postfix}" in found
    assert found[-1] == f"INPUT_MAIL_FILTER(`demyjpy', `S={sendmail}, F=T, T=S:10s;R:10s;E:5m')dnl"


def test_lines_for_a_relative_path_have_it_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An MTA has another current directory."""
    monkeypatch.chdir(tmp_path)
    assert f"smtpd_milters = unix:{tmp_path}/x.sock" in lines("unix:./x.sock")


@pytest.mark.parametrize(
    ("address", "options", "is_told"),
    [
        ("unix:/run/x", {}, True),
        ("unix:/var/spool/postfix/x", {}, True),
        ("unix:/run/x?group=postfix", {}, False),
        ("unix:/run/x?mode=666", {}, False),
        ("unix:/run/x", {"is_inherited": True}, False),
    ],
)
def test_lines_tell_that_postfix_may_not_connect(
    address: str, options: dict[str, bool], is_told: bool
) -> None:
    """Where only the filter's own user may: unless somebody else has made the socket."""
    assert any("?group=postfix" in line for line in lines(address, **options)) is is_told


def test_lines_are_comments_or_settings() -> None:
    """All can be pasted as they are."""
    postfix, _, sendmail = mta_lines(parse_address("unix:/run/x")).partition("\n\n")
    assert all(line.startswith("# ") or " = " in line for line in postfix.splitlines())
    assert all(line.startswith(("dnl ", "INPUT_MAIL_FILTER(")) for line in sendmail.splitlines())

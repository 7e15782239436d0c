"""The lines that tell Postfix and Sendmail where a filter listens. Text only.

Sources: Postfix's MILTER_README and postconf(5); Sendmail's libmilter/README and cf/README.
"""

from pathlib import Path
from typing import Final

from attrs import evolve

from demyjpy.drivers.address import Address, as_postfix

POSTFIX_QUEUE: Final = Path("/var/spool/postfix")
"""Postfix's queue directory: in Debian its smtpd(8) and cleanup(8) see nothing else of the disk."""

_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read, not listened on


def mta_lines(address: Address, *, is_inherited: bool = False) -> str:
    """What to paste into Postfix's main.cf and Sendmail's .mc for a filter that listens there.

    ``is_inherited``: somebody else has made the socket, and decided who may connect.
    """
    address = _as_reached(address)
    return "\n".join((*_postfix(address, is_inherited), "", *_sendmail(address)))


def _as_reached(address: Address) -> Address:
    """The address from where a server on the same machine sees it."""
    if address.kind == "unix":
        return evolve(address, path=str(Path(address.path).absolute()))
    host = _ANYWHERE.get(address.host, address.host)
    return evolve(address, host=host, kind="inet6" if ":" in host else address.kind)


def _postfix(address: Address, is_inherited: bool) -> list[str]:
    where, notes = as_postfix(address), []
    if address.kind == "unix":
        path = Path(address.path)
        if path.is_relative_to(POSTFIX_QUEUE):
            inside = path.relative_to(POSTFIX_QUEUE)
            where = f"unix:{inside}"
            notes.append(f"# read from Postfix's queue directory, {POSTFIX_QUEUE}, chrooted or not")
        else:
            notes += [
                f"# if smtpd and cleanup run chrooted (Debian's do), they see {POSTFIX_QUEUE} only:",
                f"# listen on unix:{POSTFIX_QUEUE}/demyjpy/{path.name} instead, or on inet:...",
            ]
        if address.mode is None and address.group is None and not is_inherited:
            notes += [
                "# only the user that runs the filter may connect: for Postfix, listen on",
                f"# unix:{address.path}?group=postfix",
            ]
    return [
        "# Postfix, main.cf (then: postfix reload)",
        *notes,
        f"smtpd_milters = {where}",
        "non_smtpd_milters = $smtpd_milters",
        "# while the filter is down, clients get 451 and try again later",
        "milter_default_action = tempfail",
    ]


def _sendmail(address: Address) -> list[str]:
    notes = []
    if address.kind == "unix":
        notes = [
            "dnl the socket's directory, and all above it, must be writable for its owner only, or",
            "dnl Sendmail calls the socket unsafe: not below /tmp; /run/demyjpy is a good place",
        ]
    return [
        "dnl Sendmail, sendmail.mc (then rebuild sendmail.cf and restart)",
        *notes,
        "dnl F=T: while the filter is down, clients get 451 and try again later",
        f"INPUT_MAIL_FILTER(`demyjpy', `S={address}, F=T, T=S:10s;R:10s;E:5m')dnl",
    ]

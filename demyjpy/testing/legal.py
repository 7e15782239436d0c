"""What an SMTP client may do when, as `demyjpy.testing.session` sees it: one check for each step.

A step that passes makes an MTA do what it is there for; one that does not would be answered by the MTA
itself (501, 503 ...) and never reach a milter. Values and functions only.
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Final

from demyjpy.errors import LocalProtocolError
from demyjpy.mta import client_steps
from demyjpy.mta.client_steps import ClientStep
from demyjpy.wire.fields import Parameters, encode_text

LONGEST_LINE: Final = 2048
"""Bytes in a command line, with CRLF (Postfix's ``line_length_limit``, Sendmail's ``MAXLINE``)."""

KNOWN_VERBS: Final = frozenset(
    {
        *("AUTH", "BDAT", "DATA", "EHLO", "ETRN", "EXPN", "HELO", "HELP", "MAIL", "NOOP", "QUIT"),
        *("RCPT", "RSET", "STARTTLS", "VERB", "VRFY", "XCLIENT", "XFORWARD"),
    }
)
"""Commands that MTAs answer themselves: no milter hears of them."""

_PASSING: Final = (client_steps.Command, client_steps.Auth)
_IN_MAIL: Final = (client_steps.Mail, client_steps.Rcpt)
_ENDS: Final = (client_steps.Quit, client_steps.Drop)


def check_step(before: Sequence[ClientStep], step: ClientStep) -> None:
    """Nothing, or `LocalProtocolError` where no MTA would pass this step on to a milter."""
    if before and isinstance(before[-1], _ENDS):
        refuse("nothing after the end of the session", step)
    check = _CHECKS.get(type(step))
    if check is not None:
        check(before, step)


def last_word(before: Sequence[ClientStep]) -> ClientStep | None:
    """The last step that says how far the mail transaction has come."""
    return next((step for step in reversed(before) if not isinstance(step, _PASSING)), None)


def is_in_mail(before: Sequence[ClientStep]) -> bool:
    """Whether a mail transaction is open after these steps."""
    return isinstance(last_word(before), _IN_MAIL)


def refuse(expected: str, got: object) -> None:
    """Raise the error that says what no MTA would do."""
    raise LocalProtocolError(
        f"expected {expected}, got {got!r:.200}; no MTA would say that to a milter, session(raw=True) "
        "plays it all the same"
    )


def _check_connect(before: Sequence[ClientStep], step: client_steps.Connect) -> None:
    try:
        step.address and ip_address(step.address)
    except ValueError:
        refuse('the client\'s IP address, or "" for standard input', step.address)
    if not 0 <= step.port <= 65535:
        refuse("a port from 0 to 65535", step.port)
    if step.name is not None:
        _check_text("a host name without spaces", step.name, spaces=False)


def _check_ehlo(before: Sequence[ClientStep], step: client_steps.Ehlo) -> None:
    if step.verb not in ("EHLO", "HELO"):
        refuse("EHLO or HELO", step.verb)
    _check_text("a name without spaces", step.name, spaces=False)


def _check_starttls(before: Sequence[ClientStep], step: client_steps.StartTls) -> None:
    if _ehlo_is_missing(before):
        refuse("EHLO before STARTTLS", step)
    if any(isinstance(one, client_steps.StartTls) for one in before):
        refuse("STARTTLS once", step)


def _check_auth(before: Sequence[ClientStep], step: client_steps.Auth) -> None:
    if _ehlo_is_missing(before):
        refuse("EHLO before AUTH", step)
    if any(isinstance(one, client_steps.Auth) for one in before):
        refuse("AUTH once", step)
    if is_in_mail(before):
        refuse("AUTH before MAIL", step)


def _check_mail(before: Sequence[ClientStep], step: client_steps.Mail) -> None:
    if is_in_mail(before):
        refuse("RSET, EHLO or the message before a second MAIL", step)
    _check_text("a sender", step.sender, step.raw, empty=True, extra=step.parameters)
    _check_parameters(step.parameters)


def _check_rcpt(before: Sequence[ClientStep], step: client_steps.Rcpt) -> None:
    if not is_in_mail(before):
        refuse("MAIL before RCPT", step)
    _check_text("a recipient", step.address, step.raw, step.refused, extra=step.parameters)
    _check_parameters(step.parameters)


def _check_data(before: Sequence[ClientStep], step: client_steps.Data) -> None:
    if not isinstance(last_word(before), client_steps.Rcpt):
        refuse("RCPT before a message", step)


def _check_command(before: Sequence[ClientStep], step: client_steps.Command) -> None:
    _check_text("a command line", step.line)
    words = step.line.split()
    if not words or words[0].upper() in KNOWN_VERBS:
        refuse("a command that the MTA does not know", step.line)


_CHECKS: Final[dict[type[Any], Callable[[Sequence[ClientStep], Any], None]]] = {
    client_steps.Connect: _check_connect,
    client_steps.Ehlo: _check_ehlo,
    client_steps.StartTls: _check_starttls,
    client_steps.Auth: _check_auth,
    client_steps.Mail: _check_mail,
    client_steps.Rcpt: _check_rcpt,
    client_steps.Data: _check_data,
    client_steps.Command: _check_command,
}


def _ehlo_is_missing(before: Sequence[ClientStep]) -> bool:
    for step in reversed(before):
        if isinstance(step, client_steps.Ehlo):
            return step.verb != "EHLO"
        if isinstance(step, client_steps.StartTls):
            return True
    return True


def _check_text(
    what: str,
    *texts: str | None,
    empty: bool = False,
    spaces: bool = True,
    extra: Parameters | None = None,
) -> None:
    line = " ".join((*(text or "" for text in texts[:2]), *(extra.as_words() if extra else ())))
    for text in texts:
        if text is None:
            continue
        if any(sign in text for sign in "\0\r\n"):
            refuse(f"{what} without NUL, CR or LF", text)
        if not (text or empty) or not (spaces or " " not in text):
            refuse(what, text)
    if len(encode_text(line)) > LONGEST_LINE - 20:
        refuse(f"{what} that fits into a line of {LONGEST_LINE} bytes", line)


def _check_parameters(parameters: Parameters) -> None:
    for key, value in parameters.words:
        if not _is_keyword(key) or not _is_esmtp_value(value):
            refuse("parameters KEY=value or KEY of printable characters", parameters)


def _is_keyword(key: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", key) is not None


def _is_esmtp_value(value: str | None) -> bool:
    return value is None or re.fullmatch(r"[^\0-\x20=\x7f]+", value) is not None

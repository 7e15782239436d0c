"""What an SMTP client may do when, as `demyjpy.testing.session` sees it: one check for each step.

A step that passes makes an MTA do what it is there for; one that does not would be answered by the MTA
itself (501, 503 ...) and never reach a milter. Values and functions only.
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

from demyjpy.errors import LocalProtocolError
from demyjpy.mta import client_steps
from demyjpy.mta.client_steps import ClientStep
from demyjpy.wire.fields import encode_text

LONGEST_LINE: Final = 2048
"""Bytes in a command line, with CRLF (Postfix's ``line_length_limit``, Sendmail's ``MAXLINE``)."""

KNOWN_VERBS: Final = frozenset(
    {
        *("AUTH", "BDAT", "DATA", "EHLO", "ETRN", "EXPN", "HELO", "HELP", "MAIL", "NOOP", "QUIT"),
        *("RCPT", "RSET", "STARTTLS", "VERB", "VRFY", "XCLIENT", "XFORWARD"),
    }
)
"""Commands that MTAs answer themselves: no milter hears of them."""

Check: TypeAlias = Callable[[Sequence[ClientStep], Any], None]
"""Raises if a step is not legal behind the others."""

_PASSING: Final = (client_steps.Command, client_steps.Auth)
_IN_MAIL: Final = (client_steps.Mail, client_steps.Rcpt)
_ENDS: Final = (client_steps.Quit, client_steps.Drop)


def check_step(before: Sequence[ClientStep], step: ClientStep) -> None:
    """Nothing, or `LocalProtocolError` if no MTA would pass this step on to a milter."""
    if before and isinstance(before[-1], _ENDS):
        refuse("nothing after the end of the session", step)
    for check in _CHECKS.get(type(step), ()):
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


def _rule(expected: str, is_legal: Callable[[Sequence[ClientStep], Any], object], of: str = "") -> Check:
    """What must be so; ``of`` is the attribute of the step that is shown if it is not so."""

    def check(before: Sequence[ClientStep], step: ClientStep) -> None:
        if not is_legal(before, step):
            refuse(expected, getattr(step, of) if of else step)

    return check


def _text(what: str, *attributes: str, empty: bool = False, spaces: bool = True) -> Check:
    """These attributes are text for a line of SMTP; the first two stand in it, with the parameters."""

    def check(before: Sequence[ClientStep], step: ClientStep) -> None:
        texts = [getattr(step, attribute) for attribute in attributes]
        for text in texts:
            if text is not None and any(sign in text for sign in "\0\r\n"):
                refuse(f"{what} without NUL, CR or LF", text)
            if text is not None and (not (text or empty) or not (spaces or " " not in text)):
                refuse(what, text)
        words = step.parameters.as_words() if isinstance(step, _IN_MAIL) else ()
        line = " ".join((*(text or "" for text in texts[:2]), *words))
        if len(encode_text(line)) > LONGEST_LINE - 20:
            refuse(f"{what} that fits into a line of {LONGEST_LINE} bytes", line)

    return check


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_greeted(before: Sequence[ClientStep]) -> bool:
    """Whether the last greeting, or STARTTLS, is EHLO."""
    greetings = [one for one in before if isinstance(one, client_steps.Ehlo | client_steps.StartTls)]
    return bool(greetings) and getattr(greetings[-1], "verb", "") == "EHLO"


def _is_first(before: Sequence[ClientStep], step: ClientStep) -> bool:
    return not any(isinstance(one, type(step)) for one in before)


def _is_parameter(key: str, value: str | None) -> bool:
    is_keyword = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", key) is not None
    return is_keyword and (value is None or re.fullmatch(r"[^\0-\x20=\x7f]+", value) is not None)


_PARAMETERS: Final = _rule(
    "parameters KEY=value or KEY of printable characters",
    lambda before, step: all(_is_parameter(*word) for word in step.parameters.words),
    of="parameters",
)
_CHECKS: Final[dict[type[Any], tuple[Check, ...]]] = {
    client_steps.Connect: (
        _rule(
            'the client\'s IP address, or "" for standard input',
            lambda before, step: not step.address or _is_ip(step.address),
            of="address",
        ),
        _rule("a port from 0 to 65535", lambda before, step: 0 <= step.port <= 65535, of="port"),
        _text("a host name without spaces", "name", spaces=False),
    ),
    client_steps.Ehlo: (
        _rule("EHLO or HELO", lambda before, step: step.verb in ("EHLO", "HELO"), of="verb"),
        _text("a name without spaces", "name", spaces=False),
    ),
    client_steps.StartTls: (
        _rule("EHLO before STARTTLS", lambda before, step: _is_greeted(before)),
        _rule("STARTTLS once", _is_first),
    ),
    client_steps.Auth: (
        _rule("EHLO before AUTH", lambda before, step: _is_greeted(before)),
        _rule("AUTH once", _is_first),
        _rule("AUTH before MAIL", lambda before, step: not is_in_mail(before)),
    ),
    client_steps.Mail: (
        _rule(
            "RSET, EHLO or the message before a second MAIL",
            lambda before, step: not is_in_mail(before),
        ),
        _text("a sender", "sender", "raw", empty=True),
        _PARAMETERS,
    ),
    client_steps.Rcpt: (
        _rule("MAIL before RCPT", lambda before, step: is_in_mail(before)),
        _text("a recipient", "address", "raw", "refused"),
        _PARAMETERS,
    ),
    client_steps.Data: (
        _rule(
            "RCPT before a message",
            lambda before, step: isinstance(last_word(before), client_steps.Rcpt),
        ),
    ),
    client_steps.Command: (
        _text("a command line", "line"),
        _rule(
            "a command that the MTA does not know",
            lambda before, step: {*step.line.upper().split()[:1]} - KNOWN_VERBS,
            of="line",
        ),
    ),
}

"""One frozen class for each thing that the filter says; every one checks itself.

What they look like on the wire is in `demyjpy.codec`; where they are legal, in `demyjpy.engine.plan`. A
bad value raises `LocalProtocolError` at once, in the handler that made it.

Whatever an event gives, an action takes: who sends the mail must not choose that the filter fails. So
texts that are for people (replies, reasons) are cut and cleaned, and addresses are brought into the
form in which both MTAs know them; what only the author of a filter can have done wrong raises.

Header values are given as they should read after the colon and one space. They may be folded with
LF (or CRLF) and white space, and a line may be white space only; CR alone becomes a space. NUL, and
a line break that starts no continuation, are refused: no event has them, and they would become
other headers or stray bytes. ``raw=`` instead of a value gives the text right after the colon,
which is exact if the MTA grants ``SMFIP_HDR_LEADSPC``.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from attrs import Attribute, field, frozen
from attrs import validators as v

from demyjpy.errors import LocalProtocolError, describe
from demyjpy.texts import as_lines, as_reason, bare_address, is_encodable, unquoted
from demyjpy.wire.codes import CHUNK_SIZE, ActionFlag, ProtocolFlag
from demyjpy.wire.fields import Parameters, encode_text

MAX_INDEX: Final = 0x7FFFFFFF
"""The largest header index; larger ones are negative to an MTA with a 32 bit ``ssize_t``."""

_SURELY_FITS: Final = (CHUNK_SIZE - 8) // 4
"""Characters that are no more bytes than fit a packet, whatever they are."""

_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")
ENHANCED: Final = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}")
"""An enhanced status code of a refusal (RFC 3463)."""

_CONTROL: Final = re.compile(r"[\0\r\n]")
_Validator: TypeAlias = Callable[[Any, "Attribute[Any]", Any], None]


def _refuse(instance: object, attribute: "Attribute[Any]", expected: str, got: object) -> None:
    raise LocalProtocolError(
        f"{type(instance).__name__}: expected {attribute.name} {expected}, got {describe(got)}"
    )


def _check(expected: str, is_good: Callable[[Any], bool]) -> _Validator:
    def validate(instance: object, attribute: "Attribute[Any]", value: object) -> None:
        if not is_good(value):
            _refuse(instance, attribute, expected, value)

    return validate


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _CONTROL.search(value) and is_encodable(value)


def _is_index(first: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and first <= value <= MAX_INDEX


def _is_header_value(value: object) -> bool:
    if isinstance(value, str) and value.isascii() and value.isprintable():
        return True  # most are
    if not isinstance(value, str) or "\0" in value or not is_encodable(value):
        return False
    return all(line[:1] in (" ", "\t") for line in value.split("\n")[1:])


def _is_address(value: object) -> bool:
    if not isinstance(value, str) or not _is_text(value):
        return False
    signs = unquoted(value)
    if re.search(r"\s", signs):  # Sendmail takes RCPT TO:<a b@c>; with two "@" it is a list
        return not re.search(r'[,<>"]', signs) and signs.count("@") < 2
    return not re.search(r"[,<>]", signs)


def _is_parameters(value: Parameters) -> bool:
    return all(_is_text(word) and word and not re.search(r"\s", word) for word in value.as_words())


def _parameters(value: Mapping[str, str | None] | str | None) -> Any:
    if isinstance(value, str):
        return Parameters.parse(value.split())
    if value is None or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        return Parameters.of(value)
    return value


_name: Final = _check(
    'of printable ASCII without space or ":"',
    lambda value: isinstance(value, str) and bool(_HEADER_NAME.fullmatch(value)),
)
_value: Final = _check(
    "as text without NUL, each line break followed by space or tab (as in value.replace('\\n', '\\n '))",
    _is_header_value,
)
_mail_address: Final = _check(
    "as one address, without space, comma or angle brackets outside of quotes",
    lambda value: _is_address(value) and value != "",
)
_sender_address: Final = _check(
    'as one address or "", without space, comma or angle brackets outside of quotes', _is_address
)
_esmtp: Final = _check(
    "as ESMTP parameters: a mapping of key to value or None, or text 'KEY=value KEY'",
    lambda value: isinstance(value, Parameters) and _is_parameters(value),
)


def _fits(*others: str) -> _Validator:
    """The attribute and ``others`` together fit one packet, with an index and the NULs."""

    def validate(instance: object, attribute: "Attribute[Any]", value: str) -> None:
        text = value + "".join(getattr(instance, name) for name in others)
        if len(text) > _SURELY_FITS and len(encode_text(text)) > CHUNK_SIZE - 8:
            _refuse(instance, attribute, f"of less than {CHUNK_SIZE - 8} bytes", value)

    return validate


def _fits_with_address(instance: Any, attribute: "Attribute[Any]", value: Parameters) -> None:
    if len(encode_text(instance.address + " ".join(value.as_words()))) > CHUNK_SIZE - 8:
        _refuse(instance, attribute, f"of less than {CHUNK_SIZE - 8} bytes with the address", value)


# ------------------------------------------------------------------------------------- verdicts
@frozen
class Continue:
    """Go on; at end of message: accept it, with its modifications."""


@frozen
class Accept:
    """The filter is done: at connect and hello with the connection, else with the message."""


@frozen
class Reject:
    """Refuse with the MTA's own text: 5xx. At recipient only that recipient."""


@frozen
class TemporaryFailure:
    """Refuse for now with the MTA's own text: 4xx. At recipient only that recipient."""


@frozen
class Discard:
    """Let the client believe that the message was taken, and drop it."""


@frozen
class Skip:
    """At body: the filter wants no more of this message's body."""


def _none_if_empty(value: str | None) -> str | None:
    return value or None


def _begins_with_digit(lines: tuple[str, ...], klass: str) -> bool:
    """Whether a line begins with a digit, and not all begin with an enhanced code of the class.

    To Postfix such a digit is the class: with another it says 451 and drops the milter (milter8.c; from
    3.8 on it looks at every line).
    """
    words = [line.partition(" ")[0] for line in lines]
    if all(word[:1] == klass and ENHANCED.fullmatch(word) for word in words):
        return False
    return any(word[:1] != "" and word[0] in "0123456789" for word in words)


@frozen
class ReplyCode:
    """Refuse with a reply of one's own.

    ``code`` is 400 to 599: a temporary failure or a rejection; 421 makes the MTA close the SMTP
    session. ``enhanced`` is an enhanced status code of the same class (RFC 3463), or None. None becomes
    5.7.1 or 4.7.1 if a line of the text begins with a digit, which Postfix takes for such a code.
    ``lines`` is the text: a string, cut at LF, or strings. Give ``%`` as it is. The text may come from
    mail: of it are kept 32 lines, 980 bytes of each, 16000 in all; a control character becomes a space,
    and a character that would break the line under Sendmail ``?``.
    """

    code: int = field(
        validator=_check("from 400 to 599", lambda value: type(value) is int and 400 <= value <= 599)
    )
    enhanced: str | None = field(
        default=None,
        converter=_none_if_empty,
        validator=_check(
            "like 5.7.1 or 4.7.1, or None",
            lambda value: value is None or (isinstance(value, str) and bool(ENHANCED.fullmatch(value))),
        ),
    )
    lines: tuple[str, ...] = field(
        default="",
        converter=as_lines,
        validator=_check(
            "as text: a string, or strings",
            lambda value: isinstance(value, tuple) and all(isinstance(line, str) for line in value),
        ),
    )

    def __attrs_post_init__(self) -> None:
        if self.enhanced and self.enhanced[0] != str(self.code)[0]:
            raise LocalProtocolError(
                f"ReplyCode: expected code and enhanced code of one class, "
                f"got {self.code} and {self.enhanced}"
            )
        klass = str(self.code)[0]
        if self.enhanced is None and _begins_with_digit(self.lines, klass):
            object.__setattr__(self, "enhanced", f"{klass}.7.1")

    @property
    def is_temporary(self) -> bool:
        """Whether it is a 4xx reply."""
        return self.code < 500


# -------------------------------------------------------------------------------- modifications
def _value_after_colon(value: str | None, raw: str | None, who: str) -> tuple[str, str]:
    """Value and raw from whichever of the two was given."""
    given = value if raw is None else raw
    if value is not None and raw is not None:
        raise LocalProtocolError(f"{who}: expected either a value or raw=, got both")
    if not isinstance(given, str):
        raise LocalProtocolError(f"{who}: expected the value as text (str), got {describe(given)}")
    text = given.replace("\r\n", "\n").replace("\r", " ")
    if raw is not None:
        return text.removeprefix(" "), text
    return text, f" {text}" if text else ""


@frozen(init=False)
class AddHeader:
    """Add a header field at the end of the header.

    Sendmail puts it before the first of that name, if there is one; to force the end, use
    `InsertHeader` with a large index. ``AddHeader(name, value)`` or ``AddHeader(name, raw=...)``.
    """

    name: str = field(validator=_name)
    value: str = field(validator=[_value, _fits("name")])
    raw: str = field(kw_only=True)

    def __init__(self, name: str, value: str | None = None, *, raw: str | None = None) -> None:
        text, after_colon = _value_after_colon(value, raw, "AddHeader")
        self.__attrs_init__(name, text, raw=after_colon)


@frozen(init=False)
class InsertHeader:
    """Insert a header field at ``index``: 0 is above everything, the MTA's own Received included.

    A number larger than the count appends. Postfix counts the header as it will be delivered,
    Sendmail counts defaults that it does not send: only 0, 1 and a large number mean the same to both.
    """

    index: int = field(validator=_check(f"from 0 to {MAX_INDEX}", _is_index(0)))
    name: str = field(validator=_name)
    value: str = field(validator=[_value, _fits("name")])
    raw: str = field(kw_only=True)

    def __init__(
        self, index: int, name: str, value: str | None = None, *, raw: str | None = None
    ) -> None:
        text, after_colon = _value_after_colon(value, raw, "InsertHeader")
        self.__attrs_init__(index, name, text, raw=after_colon)


@frozen(init=False)
class ChangeHeader:
    """Give the ``index``-th header field of that name (from 1, any case) another value.

    Beyond the last one the field is added. An empty value deletes. Postfix also takes over the
    spelling of ``name``; Sendmail keeps the old one.
    """

    index: int = field(validator=_check(f"from 1 to {MAX_INDEX}", _is_index(1)))
    name: str = field(validator=_name)
    value: str = field(validator=[_value, _fits("name")])
    raw: str = field(kw_only=True)

    def __init__(
        self, index: int, name: str, value: str | None = None, *, raw: str | None = None
    ) -> None:
        text, after_colon = _value_after_colon(value, raw, "ChangeHeader")
        self.__attrs_init__(index, name, text, raw=after_colon)


@frozen
class DeleteHeader:
    """Delete the ``index``-th header field of that name (from 1, any case).

    In Postfix the later ones move up at once, in Sendmail they keep their numbers: delete several in
    descending order, as `demyjpy.delete_headers` does.
    """

    index: int = field(validator=_check(f"from 1 to {MAX_INDEX}", _is_index(1)))
    name: str = field(validator=[_name, _fits()])


@frozen
class ReplaceBody:
    """Replace the whole body, of any size; lines end in CRLF. Several in one plan are one body."""

    data: bytes = field(
        validator=_check('as bytes, b"..." or text.encode()', lambda value: isinstance(value, bytes))
    )


@frozen
class AddRecipient:
    """Add an envelope recipient. With ESMTP parameters it needs ``add_recipient_par``.

    ``parameters`` is a mapping, or text such as ``"NOTIFY=NEVER"``. Postfix knows NOTIFY and ORCPT;
    Sendmail ignores the whole recipient if it does not know a parameter.
    """

    address: str = field(converter=bare_address, validator=[_mail_address, _fits()])
    parameters: Parameters = field(
        default=None, converter=_parameters, validator=[_esmtp, _fits_with_address]
    )


@frozen
class DeleteRecipient:
    """Delete an envelope recipient, given as it came in `Recipient`; an unknown one is no error.

    Of a source route (``@a,@b:user@example.org``) the address is kept, which is what both MTAs know.
    """

    address: str = field(converter=bare_address, validator=[_mail_address, _fits()])


@frozen
class ChangeSender:
    """Change the envelope sender; ``""`` is the null sender. ``parameters`` as in `AddRecipient`.

    Postfix knows RET and ENVID.
    """

    address: str = field(converter=bare_address, validator=[_sender_address, _fits()])
    parameters: Parameters = field(
        default=None, converter=_parameters, validator=[_esmtp, _fits_with_address]
    )


@frozen
class Quarantine:
    """Keep the message in the MTA's quarantine (Postfix: the hold queue, which keeps 100 bytes).

    ``reason`` may come from mail: it is unfolded into one line, control characters become spaces, 980
    bytes are kept, and an empty one becomes `NO_REASON`.
    """

    reason: str = field(
        converter=as_reason, validator=_check("as text", lambda value: isinstance(value, str))
    )


# ------------------------------------------------------------------------- said by the library
@frozen
class Negotiate:
    """The answer to `Options`. ``macros`` are pairs of a stage number and macro names."""

    version: int = field(validator=v.instance_of(int))
    actions: ActionFlag = field(converter=ActionFlag)
    protocol: ProtocolFlag = field(converter=ProtocolFlag)
    macros: tuple[tuple[int, tuple[str, ...]], ...] = ()


@frozen
class Progress:
    """The filter is still at work; restarts the MTA's timeout at end of message."""


@frozen
class Shutdown:
    """``SMFIR_SHUTDOWN``. Read for the sake of the MTA's side, never sent: Postfix loses the mail."""


@frozen
class ConnectionFailed:
    """``SMFIR_CONN_FAIL``. Read for the sake of the MTA's side, never sent."""


Verdict: TypeAlias = Continue | Accept | Reject | TemporaryFailure | Discard | Skip | ReplyCode
HeaderEdit: TypeAlias = AddHeader | InsertHeader | ChangeHeader | DeleteHeader
EnvelopeEdit: TypeAlias = AddRecipient | DeleteRecipient | ChangeSender
Modification: TypeAlias = HeaderEdit | EnvelopeEdit | ReplaceBody | Quarantine
Action: TypeAlias = Verdict | Modification | Negotiate | Progress | Shutdown | ConnectionFailed

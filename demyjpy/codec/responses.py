"""What the filter says: one table row for each packet, by its letter.

A row is the only place that knows a response's letter, class, layout, permission and place in a plan.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from attrs import frozen

from demyjpy import actions as act
from demyjpy.codec.commands import decode_options, encode_flags
from demyjpy.errors import RemoteProtocolError
from demyjpy.wire.codes import ActionFlag, Response
from demyjpy.wire.fields import (
    encode_number,
    encode_string,
    take_number,
    take_string,
)

A = TypeVar("A", bound=act.Action)

_A = ActionFlag


@frozen
class ActionRow:
    """What the filter says with one letter, and the classes of ``actions`` that it stands for.

    ``group`` orders a plan: 1 header, 2 envelope, 3 body, 4 quarantine, 5 verdict; 0 stands alone.
    ``needs`` is the permission it takes, ``permission`` the name of that in ``actions=``.
    """

    letter: Response
    actions: tuple[type[Any], ...]
    decode: Callable[[bytes, bool], act.Action]
    encode: Callable[[Any, bool], bytes]
    group: int
    needs: ActionFlag = ActionFlag(0)
    permission: str = ""


def _bare(letter: Response, kind: type[Any], group: int = 5) -> ActionRow:
    """A response without payload; surplus bytes are ignored, as Sendmail does."""
    action = kind()
    return ActionRow(letter, (kind,), lambda payload, exact: action, lambda action, exact: b"", group)


def _decode_negotiate(payload: bytes, leading_space: bool) -> act.Negotiate:
    offer = decode_options(payload, leading_space)
    rest = payload[12:]
    macros: list[tuple[int, tuple[str, ...]]] = []
    while rest:
        stage, rest = take_number(rest, 4, "a macro stage")
        names, rest = take_string(rest, "a list of macro names")
        macros.append((stage, tuple(names.replace(",", " ").split())))
    return act.Negotiate(offer.version, offer.actions, offer.protocol, tuple(macros))


def _encode_negotiate(action: act.Negotiate, leading_space: bool) -> bytes:
    words = encode_flags(action)
    lists = (
        encode_number(stage, 4, "a macro stage") + encode_string(" ".join(names))
        for stage, names in action.macros
    )
    return words + b"".join(lists)


def _decode_reply(payload: bytes, leading_space: bool) -> act.ReplyCode:
    text, _ = take_string(payload, "an SMTP reply")
    code: int | None = None
    enhanced: str | None = None
    lines = []
    physical = text.split("\r\n")
    for number, line in enumerate(physical, 1):
        mark = " " if number == len(physical) else "-"
        if not (line[:3].isascii() and line[:3].isdigit() and line[3:4] == mark):
            raise RemoteProtocolError(f"a reply line 'NNN{mark}text'", repr(line))
        first, _, after = line[4:].partition(" ")
        if number == 1:
            code = int(line[:3])
            enhanced = first if first[:1] == line[0] and act.ENHANCED.fullmatch(first) else None
        if int(line[:3]) != code:
            raise RemoteProtocolError(f"the same code {code} in each line", repr(line))
        if "\r" in line or "\n" in line:
            raise RemoteProtocolError("a reply line without CR or LF", repr(line))
        lines.append(_halve_percent(after if enhanced and first == enhanced else line[4:]))
    return exact_reply(code or 0, enhanced, lines)


def exact_reply(code: int, enhanced: str | None, lines: Iterable[str]) -> act.ReplyCode:
    """A reply as a filter said it: what the class cuts, cleans and adds is for what is to be said."""
    return _exactly(act.ReplyCode(code, enhanced), "lines", tuple(lines))


def _exactly(action: A, name: str, value: object) -> A:
    object.__setattr__(action, name, value)
    return action


def _decode_quarantine(payload: bytes, leading_space: bool) -> act.Quarantine:
    reason, _ = take_string(payload, "a reason")
    action = act.Quarantine(reason)
    return _exactly(action, "reason", reason) if reason else action


def _halve_percent(text: str) -> str:
    halved = text.replace("%%", "\0")
    if "%" in halved:
        raise RemoteProtocolError('each "%" doubled in a reply', repr(text))
    return halved.replace("\0", "%")


def _encode_reply(action: act.ReplyCode, leading_space: bool) -> bytes:
    last = len(action.lines) - 1
    start = f"{action.enhanced} " if action.enhanced else ""
    lines = (
        f"{action.code}{' ' if number == last else '-'}{start}{text.replace('%', '%%')}"
        for number, text in enumerate(action.lines)
    )
    return encode_string("\r\n".join(lines))


def _after_colon(action: act.AddHeader | act.InsertHeader | act.ChangeHeader, raw: bool) -> bytes:
    return encode_string(action.name) + encode_string(action.raw if raw else action.value)


def _literal(kind: type[Any], index: tuple[int, ...], name: str, value: str, exact: bool) -> Any:
    """A header edit exactly as it was sent: what the class makes of CR is for values of our own."""
    action: Any = object.__new__(kind)
    text, raw = (value.removeprefix(" "), value) if exact else (value, f" {value}" * bool(value))
    action.__attrs_init__(*index, name, text, raw=raw)
    return action


def _take_field(payload: bytes) -> tuple[str, str]:
    name, rest = take_string(payload, "a header name")
    value, _ = take_string(rest, "a header value")
    return name, value


def _decode_insert(payload: bytes, leading_space: bool) -> Any:
    index, rest = take_number(payload, 4, "a header index")
    return _literal(act.InsertHeader, (index,), *_take_field(rest), leading_space)


def _decode_change(payload: bytes, leading_space: bool) -> Any:
    index, rest = take_number(payload, 4, "a header index")
    name, value = _take_field(rest)
    index = index or 1  # both MTAs take 0 for the first
    if not value:
        return act.DeleteHeader(index, name)
    return _literal(act.ChangeHeader, (index,), name, value, leading_space)


def _encode_index(action: act.InsertHeader | act.ChangeHeader | act.DeleteHeader) -> bytes:
    return encode_number(action.index, 4, "a header index")


def _encode_change(action: Any, raw: bool) -> bytes:
    is_gone = isinstance(action, act.DeleteHeader)
    value = encode_string(action.name) + b"\0" if is_gone else _after_colon(action, raw)
    return _encode_index(action) + value


def _decode_address(kind: type[Any], payload: bytes) -> Any:
    return kind(take_string(payload, "an address")[0])


def _decode_with_parameters(kind: type[Any], payload: bytes) -> Any:
    address, rest = take_string(payload, "an address")
    return kind(address, take_string(rest, "ESMTP parameters")[0] if rest else None)


def _encode_with_parameters(action: act.AddRecipient | act.ChangeSender, leading_space: bool) -> bytes:
    words = " ".join(action.parameters.as_words())
    return _encode_angle(action.address) + (encode_string(words) if words else b"")


def _encode_angle(address: str) -> bytes:
    return encode_string(f"<{address}>")


_R = Response
_ROWS: Final = (
    _bare(_R.CONTINUE, act.Continue),
    _bare(_R.ACCEPT, act.Accept),
    _bare(_R.REJECT, act.Reject),
    _bare(_R.TEMPFAIL, act.TemporaryFailure),
    _bare(_R.DISCARD, act.Discard),
    _bare(_R.SKIP, act.Skip),
    ActionRow(_R.REPLYCODE, (act.ReplyCode,), _decode_reply, _encode_reply, 5),
    _bare(_R.PROGRESS, act.Progress, 0),
    _bare(_R.SHUTDOWN, act.Shutdown, 0),
    _bare(_R.CONN_FAIL, act.ConnectionFailed, 0),
    ActionRow(
        _R.ADDHEADER,
        (act.AddHeader,),
        lambda payload, exact: _literal(act.AddHeader, (), *_take_field(payload), exact),
        _after_colon,
        1,
        _A.ADDHDRS,
        "add_header",
    ),
    ActionRow(
        _R.INSHEADER,
        (act.InsertHeader,),
        _decode_insert,
        lambda action, raw: _encode_index(action) + _after_colon(action, raw),
        1,
        _A.ADDHDRS,
        "add_header",
    ),
    ActionRow(
        _R.REPLBODY,
        (act.ReplaceBody,),
        lambda payload, _: act.ReplaceBody(payload),
        lambda action, _: action.data,
        3,
        _A.CHGBODY,
        "change_body",
    ),
    ActionRow(
        _R.ADDRCPT,
        (act.AddRecipient,),
        lambda payload, _: _decode_address(act.AddRecipient, payload),
        lambda action, _: _encode_angle(action.address),
        2,
        _A.ADDRCPT,
        "add_recipient",
    ),
    ActionRow(
        _R.ADDRCPT_PAR,
        (),  # AddRecipient, too, if it has parameters
        lambda payload, _: _decode_with_parameters(act.AddRecipient, payload),
        _encode_with_parameters,
        2,
        _A.ADDRCPT_PAR,
        "add_recipient_par",
    ),
    ActionRow(
        _R.DELRCPT,
        (act.DeleteRecipient,),
        lambda payload, _: _decode_address(act.DeleteRecipient, payload),
        lambda action, _: _encode_angle(action.address),
        2,
        _A.DELRCPT,
        "delete_recipient",
    ),
    ActionRow(
        _R.CHGHEADER,
        (act.ChangeHeader, act.DeleteHeader),
        _decode_change,
        _encode_change,
        1,
        _A.CHGHDRS,
        "change_header",
    ),
    ActionRow(
        _R.QUARANTINE,
        (act.Quarantine,),
        _decode_quarantine,
        lambda action, _: encode_string(action.reason),
        4,
        _A.QUARANTINE,
        "quarantine",
    ),
    ActionRow(
        _R.CHGFROM,
        (act.ChangeSender,),
        lambda payload, _: _decode_with_parameters(act.ChangeSender, payload),
        _encode_with_parameters,
        2,
        _A.CHGFROM,
        "change_sender",
    ),
    ActionRow(
        _R.OPTNEG,
        (act.Negotiate,),
        _decode_negotiate,
        _encode_negotiate,
        0,
        _A.SETSYMLIST,  # for its macro lists
        "choose_macros",
    ),
)

ACTIONS: Final = {int(row.letter): row for row in _ROWS}
"""What the filter says, by letter."""

ROW_OF_ACTION: Final = {kind: row for row in _ROWS for kind in row.actions}
"""The same rows by class; `AddRecipient` with parameters takes that of ``ADDRCPT_PAR`` instead."""

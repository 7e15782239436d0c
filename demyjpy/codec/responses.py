"""What the filter says: one table row for each packet, by its letter.

A row is the only place that knows a response's letter, class, layout, permission and place in a plan.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

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

_A = ActionFlag


@frozen
class ActionRow:
    """What the filter says with one letter; ``needs`` is the permission it takes.

    ``group`` orders a plan: 1 header, 2 envelope, 3 body, 4 quarantine, 5 verdict; 0 stands alone.
    """

    letter: Response
    decode: Callable[[bytes, bool], act.Action]
    encode: Callable[[Any, bool], bytes]
    group: int
    needs: ActionFlag = ActionFlag(0)


def _bare(letter: Response, action: act.Action, group: int = 5) -> ActionRow:
    """A response without payload; surplus bytes are ignored, as Sendmail does."""
    return ActionRow(
        letter, lambda payload, leading_space: action, lambda action, leading_space: b"", group
    )


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
            enhanced = first if _is_enhanced(first, line[0]) else None
        if int(line[:3]) != code:
            raise RemoteProtocolError(f"the same code {code} in each line", repr(line))
        if "\r" in line or "\n" in line:
            raise RemoteProtocolError("a reply line without CR or LF", repr(line))
        lines.append(_halve_percent(after if enhanced and first == enhanced else line[4:]))
    return exact_reply(code or 0, enhanced, lines)


def exact_reply(code: int, enhanced: str | None, lines: Iterable[str]) -> act.ReplyCode:
    """A reply as a filter said it: what the class cuts, cleans and adds is for what is to be said."""
    reply: act.ReplyCode = _exactly(act.ReplyCode(code, enhanced), lines=tuple(lines))
    return reply


def _exactly(action: Any, **attributes: object) -> Any:
    for name, value in attributes.items():
        object.__setattr__(action, name, value)
    return action


def _decode_quarantine(payload: bytes, leading_space: bool) -> act.Quarantine:
    reason, _ = take_string(payload, "a reason")
    action = act.Quarantine(reason)
    if reason:
        _exactly(action, reason=reason)
    return action


def _is_enhanced(word: str, klass: str) -> bool:
    parts = word.split(".")
    return (
        len(parts) == 3
        and parts[0] == klass
        and all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts)
    )


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


def _literal(kind: type[Any], place: tuple[Any, ...], value: str, leading_space: bool) -> Any:
    """A header edit exactly as it was sent: what the class makes of CR is for values of our own."""
    action: Any = object.__new__(kind)
    if leading_space:
        action.__attrs_init__(*place, value.removeprefix(" "), raw=value)
    else:
        action.__attrs_init__(*place, value, raw=f" {value}" if value else "")
    return action


def _decode_add(payload: bytes, leading_space: bool) -> act.AddHeader:
    name, rest = take_string(payload, "a header name")
    value, _ = take_string(rest, "a header value")
    action: act.AddHeader = _literal(act.AddHeader, (name,), value, leading_space)
    return action


def _decode_insert(payload: bytes, leading_space: bool) -> act.InsertHeader:
    index, rest = take_number(payload, 4, "a header index")
    name, rest = take_string(rest, "a header name")
    value, _ = take_string(rest, "a header value")
    action: act.InsertHeader = _literal(act.InsertHeader, (index, name), value, leading_space)
    return action


def _decode_change(payload: bytes, leading_space: bool) -> act.ChangeHeader | act.DeleteHeader:
    index, rest = take_number(payload, 4, "a header index")
    name, rest = take_string(rest, "a header name")
    value, _ = take_string(rest, "a header value")
    index = index or 1  # both MTAs take 0 for the first
    if not value:
        return act.DeleteHeader(index, name)
    action: act.ChangeHeader = _literal(act.ChangeHeader, (index, name), value, leading_space)
    return action


def _encode_index(action: act.InsertHeader | act.ChangeHeader | act.DeleteHeader) -> bytes:
    return encode_number(action.index, 4, "a header index")


def _decode_with_parameters(kind: type[Any], payload: bytes) -> Any:
    address, rest = take_string(payload, "an address")
    words = take_string(rest, "ESMTP parameters")[0] if rest else None
    return kind(address, words)


def _encode_with_parameters(action: act.AddRecipient | act.ChangeSender, leading_space: bool) -> bytes:
    words = " ".join(action.parameters.as_words())
    return _encode_angle(action.address) + (encode_string(words) if words else b"")


def _encode_angle(address: str) -> bytes:
    return encode_string(f"<{address}>")


def _actions(*rows: ActionRow) -> dict[int, ActionRow]:
    return {int(row.letter): row for row in rows}


_R = Response
ACTIONS: Final = _actions(
    ActionRow(_R.OPTNEG, _decode_negotiate, _encode_negotiate, 0),
    _bare(_R.CONTINUE, act.Continue()),
    _bare(_R.ACCEPT, act.Accept()),
    _bare(_R.REJECT, act.Reject()),
    _bare(_R.TEMPFAIL, act.TemporaryFailure()),
    _bare(_R.DISCARD, act.Discard()),
    _bare(_R.SKIP, act.Skip()),
    ActionRow(_R.REPLYCODE, _decode_reply, _encode_reply, 5),
    _bare(_R.PROGRESS, act.Progress(), 0),
    _bare(_R.SHUTDOWN, act.Shutdown(), 0),
    _bare(_R.CONN_FAIL, act.ConnectionFailed(), 0),
    ActionRow(_R.ADDHEADER, _decode_add, _after_colon, 1, _A.ADDHDRS),
    ActionRow(
        _R.INSHEADER,
        _decode_insert,
        lambda action, raw: _encode_index(action) + _after_colon(action, raw),
        1,
        _A.ADDHDRS,
    ),
    ActionRow(
        _R.CHGHEADER,
        _decode_change,
        lambda action, raw: (
            _encode_index(action)
            + (
                encode_string(action.name) + b"\0"
                if isinstance(action, act.DeleteHeader)
                else _after_colon(action, raw)
            )
        ),
        1,
        _A.CHGHDRS,
    ),
    ActionRow(
        _R.ADDRCPT,
        lambda payload, _: act.AddRecipient(take_string(payload, "an address")[0]),
        lambda action, _: _encode_angle(action.address),
        2,
        _A.ADDRCPT,
    ),
    ActionRow(
        _R.ADDRCPT_PAR,
        lambda payload, _: _decode_with_parameters(act.AddRecipient, payload),
        _encode_with_parameters,
        2,
        _A.ADDRCPT_PAR,
    ),
    ActionRow(
        _R.DELRCPT,
        lambda payload, _: act.DeleteRecipient(take_string(payload, "an address")[0]),
        lambda action, _: _encode_angle(action.address),
        2,
        _A.DELRCPT,
    ),
    ActionRow(
        _R.CHGFROM,
        lambda payload, _: _decode_with_parameters(act.ChangeSender, payload),
        _encode_with_parameters,
        2,
        _A.CHGFROM,
    ),
    ActionRow(
        _R.REPLBODY,
        lambda payload, _: act.ReplaceBody(payload),
        lambda action, _: action.data,
        3,
        _A.CHGBODY,
    ),
    ActionRow(
        _R.QUARANTINE,
        _decode_quarantine,
        lambda action, _: encode_string(action.reason),
        4,
        _A.QUARANTINE,
    ),
)
"""What the filter says, by letter."""

LETTER_OF_ACTION: Final[dict[type[Any], Response]] = {
    act.Negotiate: _R.OPTNEG,
    act.Continue: _R.CONTINUE,
    act.Accept: _R.ACCEPT,
    act.Reject: _R.REJECT,
    act.TemporaryFailure: _R.TEMPFAIL,
    act.Discard: _R.DISCARD,
    act.Skip: _R.SKIP,
    act.ReplyCode: _R.REPLYCODE,
    act.Progress: _R.PROGRESS,
    act.Shutdown: _R.SHUTDOWN,
    act.ConnectionFailed: _R.CONN_FAIL,
    act.AddHeader: _R.ADDHEADER,
    act.InsertHeader: _R.INSHEADER,
    act.ChangeHeader: _R.CHGHEADER,
    act.DeleteHeader: _R.CHGHEADER,
    act.AddRecipient: _R.ADDRCPT,
    act.DeleteRecipient: _R.DELRCPT,
    act.ChangeSender: _R.CHGFROM,
    act.ReplaceBody: _R.REPLBODY,
    act.Quarantine: _R.QUARANTINE,
}
"""The letter of each action; `AddRecipient` with parameters takes ``ADDRCPT_PAR`` instead."""

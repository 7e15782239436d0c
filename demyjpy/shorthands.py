"""Shorthands that queue one action each: ``reject(ctx)`` for ``send_action(ctx, Reject())``.

Each returns a new context and raises `LocalProtocolError` for a bad value. No decisions are made here.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Never

from pyrsistent import PMap

from demyjpy import actions as act
from demyjpy.actions import Verdict
from demyjpy.context import Context, send_action
from demyjpy.errors import LocalProtocolError, describe

_CALLS: Final = {
    "reject": 'reject(ctx, "5.7.1", "no thanks")',
    "tempfail": 'tempfail(ctx, "4.7.1", "try later")',
}


def _first(ctx: Context, call: str) -> Context:
    """The context, if it is one; else somebody has left it out, and other errors would mislead him."""
    if isinstance(ctx, PMap):
        return ctx
    given: object = ctx
    raise LocalProtocolError(f"expected the context first, as in {call}, got {type(given).__name__}")


def _index(index: object, call: str) -> None:
    """Else the error would be about another argument."""
    if not isinstance(index, int):
        raise LocalProtocolError(
            f"expected the number of the field before its name, as in {call}, got {describe(index)}"
        )


def accept(ctx: Context) -> Context:
    """Queue `Accept`."""
    return send_action(_first(ctx, "accept(ctx)"), act.Accept())


def reject(
    ctx: Context,
    enhanced: str | None = None,
    text: str | Iterable[str] = "",
    *more: Never,
    code: int = 550,
) -> Context:
    """Queue a rejection: with the MTA's text, or with one's own and a code from 500 to 599.

    ``reject(ctx)``, ``reject(ctx, "5.7.1", "no thanks")``, ``reject(ctx, "5.1.1", "who?", code=553)``.
    """
    return send_action(
        _first(ctx, _CALLS["reject"]),
        _refusal(act.Reject(), enhanced, text, more, code, 550, "reject"),
    )


def tempfail(
    ctx: Context,
    enhanced: str | None = None,
    text: str | Iterable[str] = "",
    *more: Never,
    code: int = 451,
) -> Context:
    """Queue a temporary failure: with the MTA's text, or with one's own and a code of 400 to 499."""
    return send_action(
        _first(ctx, _CALLS["tempfail"]),
        _refusal(act.TemporaryFailure(), enhanced, text, more, code, 451, "tempfail"),
    )


def _refusal(
    plain: Verdict,
    enhanced: str | None,
    text: str | Iterable[str],
    more: tuple[Never, ...],
    code: int,
    usual: int,
    who: str,
) -> Verdict:
    if more or isinstance(enhanced, int):
        raise LocalProtocolError(
            f"expected {_CALLS[who][:-1]}, code={usual}): the code comes last, by its name"
        )
    if isinstance(enhanced, str) and enhanced and not text and not act.ENHANCED.fullmatch(enhanced):
        raise LocalProtocolError(
            f"{who}: expected an enhanced status code before the text, as in {_CALLS[who]}, got "
            f"{describe(enhanced)}; for a reply without one write {who}(ctx, text=...)"
        )
    if not isinstance(code, int) or code // 100 != usual // 100:
        lowest = usual // 100 * 100
        raise LocalProtocolError(
            f"{who}: expected a code from {lowest} to {lowest + 99}, got {describe(code)}"
        )
    if not enhanced and not text and code == usual:
        return plain
    return act.ReplyCode(code, enhanced, text)


def discard(ctx: Context) -> Context:
    """Queue `Discard`."""
    return send_action(_first(ctx, "discard(ctx)"), act.Discard())


def skip(ctx: Context) -> Context:
    """Queue `Skip`: no more of this message's body."""
    return send_action(_first(ctx, "skip(ctx)"), act.Skip())


def add_header(ctx: Context, name: str, value: str | None = None, *, raw: str | None = None) -> Context:
    """Queue `AddHeader`."""
    return send_action(_first(ctx, "add_header(ctx, name, value)"), act.AddHeader(name, value, raw=raw))


def insert_header(
    ctx: Context, index: int, name: str, value: str | None = None, *, raw: str | None = None
) -> Context:
    """Queue `InsertHeader`."""
    _index(index, "insert_header(ctx, 0, name, value)")
    return send_action(
        _first(ctx, "insert_header(ctx, index, name, value)"),
        act.InsertHeader(index, name, value, raw=raw),
    )


def change_header(
    ctx: Context, index: int, name: str, value: str | None = None, *, raw: str | None = None
) -> Context:
    """Queue `ChangeHeader`."""
    _index(index, "change_header(ctx, 1, name, value)")
    return send_action(
        _first(ctx, "change_header(ctx, index, name, value)"),
        act.ChangeHeader(index, name, value, raw=raw),
    )


def delete_header(ctx: Context, index: int, name: str) -> Context:
    """Queue `DeleteHeader`."""
    return send_action(_first(ctx, "delete_header(ctx, index, name)"), act.DeleteHeader(index, name))


def delete_headers(ctx: Context, name: str, indexes: Iterable[int]) -> Context:
    """Queue `DeleteHeader` for several of one name, numbered as the filter saw them.

    They are queued in descending order, which both MTAs understand in the same way.
    """
    descending = sorted(set(indexes), reverse=True)
    return send_action(
        _first(ctx, "delete_headers(ctx, name, indexes)"),
        *(act.DeleteHeader(index, name) for index in descending),
    )


def replace_body(ctx: Context, data: bytes) -> Context:
    """Queue `ReplaceBody`."""
    return send_action(_first(ctx, "replace_body(ctx, data)"), act.ReplaceBody(data))


def add_recipient(
    ctx: Context, address: str, parameters: Mapping[str, str | None] | str | None = None
) -> Context:
    """Queue `AddRecipient`."""
    return send_action(_first(ctx, "add_recipient(ctx, address)"), act.AddRecipient(address, parameters))


def delete_recipient(ctx: Context, address: str) -> Context:
    """Queue `DeleteRecipient`."""
    return send_action(_first(ctx, "delete_recipient(ctx, address)"), act.DeleteRecipient(address))


def change_sender(
    ctx: Context, address: str, parameters: Mapping[str, str | None] | str | None = None
) -> Context:
    """Queue `ChangeSender`."""
    return send_action(_first(ctx, "change_sender(ctx, address)"), act.ChangeSender(address, parameters))


def quarantine(ctx: Context, reason: str) -> Context:
    """Queue `Quarantine`."""
    return send_action(_first(ctx, "quarantine(ctx, reason)"), act.Quarantine(reason))

"""What the contract says of a wish: the methods of a message as a value, in plain lists."""

from collections.abc import Iterable, Sequence
from typing import Any

from demyjpy import AddRecipient, ChangeSender, DeleteRecipient, ReplaceBody
from tests.law.filters import WishEdit

Line = list[str]
"""A header field: name, raw text, place."""


def after_wish(
    wish: Iterable[WishEdit], shown: Sequence[Line]
) -> tuple[list[Line], list[Line | None], list[Line]]:
    """What it makes of the header: new fields at the top, those shown or None, new ones at the end."""
    top: list[Line] = []
    kept: list[Line | None] = [list(one) for one in shown]
    end: list[Line] = []
    for method, *arguments in wish:
        name = str(arguments[0]).lower()
        if method in ("set", "set_only"):
            found = _named(name, top, kept, end)
            if found:
                space = " " if found[0][1].startswith(" ") else ""  # the one behind the colon stays
                found[0][1] = space + arguments[1]
            else:
                end.append([arguments[0], f" {arguments[1]}", "end"])
        elif method == "add":
            end.append([arguments[0], f" {arguments[1]}", "end"])
        elif method == "prepend":
            top.insert(0, [arguments[0], f" {arguments[1]}", "top"])
        less = {"set_only": 1, "first_only": 1, "without": 0}.get(method)
        if less is not None:
            out = _named(name, top, kept, end)[less:]
            top = [one for one in top if not _is_in(one, out)]
            kept = [None if one is None or _is_in(one, out) else one for one in kept]
            end = [one for one in end if not _is_in(one, out)]
    return top, kept, end


def _named(name: str, *places: Sequence[Line | None]) -> list[Line]:
    return [one for place in places for one in place if one is not None and one[0].lower() == name]


def _is_in(line: Line, lines: Iterable[Line]) -> bool:
    return any(line is one for one in lines)


def envelope_of_wish(wish: Iterable[WishEdit], sender: str, told: Sequence[str]) -> list[Any]:
    """The edits of envelope and body that it comes to, if the filter was told of this envelope."""
    standing, now = [*told], sender
    body: list[Any] = []
    for method, *arguments in wish:
        if method == "add_recipient" and arguments[0] not in standing:
            standing.append(arguments[0])
        elif method == "drop_recipient":
            standing = [one for one in standing if one.lower() != arguments[0].lower()]
        elif method == "with_sender":
            now = arguments[0]
        elif method == "with_body":
            data = arguments[0]
            body = [ReplaceBody(data + (b"" if data.endswith(b"\r\n") or not data else b"\r\n"))]
    return [
        *(DeleteRecipient(one) for one in told if one not in standing),
        *(AddRecipient(one) for one in standing if one not in told),
        *([ChangeSender(now)] if now != sender else []),
        *body,
    ]

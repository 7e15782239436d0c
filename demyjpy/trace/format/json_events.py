"""Events and actions as JSON and back: one row a class, with what it takes to make it again."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final

from attrs import fields_dict, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import ROW_OF_NAME
from demyjpy.codec.responses import ROW_OF_ACTION
from demyjpy.errors import MilterError, TraceError
from demyjpy.reports import Count, Note
from demyjpy.requests import Request
from demyjpy.trace.format.json_context import dump_value, load_value
from demyjpy.trace.format.json_questions import dump_request, load_request
from demyjpy.wire.fields import Parameters
from demyjpy.wire.json_bytes import (
    dump_bytes,
    dump_optional,
    dump_text,
    load_bytes,
    load_optional,
    load_text,
)

_LARGEST: Final = (1 << 32) - 1  # no packet has a larger number

_Dump = Callable[[Any], Any]
_Load = Callable[[Any], Any]


@frozen
class _Kind:
    """How an attribute is written, and read again."""

    dump: _Dump
    load: _Load


def _load_number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise TraceError(f"expected a whole number of 32 bits, got {value!r:.60}")
    return value


def _load_pairs(value: Any) -> tuple[tuple[str, str | None], ...]:
    if not isinstance(value, list) or any(not isinstance(one, list) or len(one) != 2 for one in value):
        raise TraceError(f"expected a list of pairs, got {value!r:.60}")
    return tuple((load_text(name), load_optional(text)) for name, text in value)


def _load_list(value: Any, load: _Load) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TraceError(f"expected a list, got {value!r:.60}")
    return tuple(load(one) for one in value)


def _load_macros(value: Any) -> tuple[tuple[int, tuple[str, ...]], ...]:
    pairs = _load_list(value, lambda pair: _load_list(pair, lambda one: one))
    if any(len(pair) != 2 for pair in pairs):
        raise TraceError(f"expected pairs of a stage and names, got {value!r:.60}")
    return tuple((_load_number(stage), _load_list(names, load_text)) for stage, names in pairs)


_TEXT: Final = _Kind(dump_text, load_text)
_OPTIONAL: Final = _Kind(dump_optional, load_optional)
_BYTES: Final = _Kind(dump_bytes, load_bytes)
_NUMBER: Final = _Kind(int, _load_number)
_PORT: Final = _Kind(lambda port: port, lambda value: None if value is None else _load_number(value))
_WORDS: Final = _Kind(
    lambda words: [[dump_text(name), dump_optional(value)] for name, value in words.words],
    lambda value: Parameters(_load_pairs(value)),
)
_DEFINITIONS: Final = _Kind(_WORDS.dump, _load_pairs)
_LINES: Final = _Kind(
    lambda lines: [dump_text(line) for line in lines], lambda value: _load_list(value, load_text)
)
_PAIRS: Final = _Kind(
    lambda pairs: [[dump_text(name), dump_value(one)] for name, one in pairs],
    lambda value: tuple(
        [(load_text(name), load_value(one)) for name, one in _load_list(value, lambda pair: pair)]
    ),
)
_AMOUNT: Final = _Kind(lambda amount: amount, lambda value: value)
_MACROS: Final = _Kind(
    lambda macros: [[stage, [dump_text(name) for name in names]] for stage, names in macros],
    _load_macros,
)


@frozen
class _Row:
    """One class: its attributes in the order of its arguments, and how it is made of them.

    ``usual`` gives the value that ``raw`` would have by default; then it is left out.
    """

    attributes: dict[str, _Kind]
    make: Callable[..., Any]
    usual: Callable[[Any], str] | None = None

    def dump(self, value: Any) -> dict[str, Any]:
        found = {name: kind.dump(getattr(value, name)) for name, kind in self.attributes.items()}
        if self.usual is not None and value.raw != self.usual(value):
            found["raw"] = dump_text(value.raw)
        return found

    def load(self, fields: dict[str, Any]) -> Any:
        given = {
            name: kind.load(fields[name]) for name, kind in self.attributes.items() if name in fields
        }
        if self.usual is not None and "raw" in fields:
            given["raw"] = load_text(fields["raw"])
        return self.make(**given)


def _make_connect(
    host_name: str, family: str = "U", address: str | None = None, port: int | None = None, raw: str = ""
) -> ev.Connect:
    if family == "U":
        return ev.Connect(host_name)
    found: Any = address
    if family in ("4", "6"):
        found = ip_address(address or "")
    return ev.Connect(host_name, family, found, port, raw=raw or address or "")


def _make_header(name: str, value: str, raw: str | None = None) -> ev.Header:
    return ev.Header(name, value) if raw is None else ev.Header(name, value, raw=raw)


def _edit(klass: type[Any], *names: str) -> _Row:
    """A header edit: made from its raw value, which says it all."""

    def make(value: str, raw: str | None = None, **others: Any) -> Any:
        return klass(**others, raw=f" {value}" if raw is None else raw)

    attributes = {name: _NUMBER if name == "index" else _TEXT for name in (*names, "value")}
    return _Row(attributes, make, lambda edit: f" {edit.value}")


def _plain(klass: type[Any], **attributes: _Kind) -> _Row:
    return _Row(attributes, klass)


def _address(klass: type[Any], name: str) -> _Row:
    return _Row({name: _TEXT, "parameters": _WORDS}, klass, lambda event: f"<{getattr(event, name)}>")


_WITH_PARAMETERS: Final = {"address": _TEXT, "parameters": _WORDS}
_FLAGS: Final = {"version": _NUMBER, "actions": _NUMBER, "protocol": _NUMBER}

_EVENT_ROWS: Final[dict[type[Any], _Row]] = {
    ev.Options: _plain(ev.Options, **_FLAGS),
    ev.DefineMacros: _plain(ev.DefineMacros, event=_TEXT, definitions=_DEFINITIONS),
    ev.Connect: _Row(
        {
            "host_name": _TEXT,
            "family": _TEXT,
            "address": _Kind(
                lambda found: None if found is None else dump_text(str(found)), load_optional
            ),
            "port": _PORT,
        },
        _make_connect,
        lambda event: "" if event.address is None else str(event.address),
    ),
    ev.Hello: _plain(ev.Hello, greeting=_TEXT),
    ev.Mail: _address(ev.Mail, "sender"),
    ev.Recipient: _address(ev.Recipient, "address"),
    ev.Header: _Row({"name": _TEXT, "value": _TEXT}, _make_header, lambda header: f" {header.value}"),
    ev.Body: _plain(ev.Body, data=_BYTES),
    ev.Unknown: _plain(ev.Unknown, command=_TEXT),
}
_ACTION_ROWS: Final[dict[type[Any], _Row]] = {
    act.ReplyCode: _plain(act.ReplyCode, code=_NUMBER, enhanced=_OPTIONAL, lines=_LINES),
    act.AddHeader: _edit(act.AddHeader, "name"),
    act.InsertHeader: _edit(act.InsertHeader, "index", "name"),
    act.ChangeHeader: _edit(act.ChangeHeader, "index", "name"),
    act.DeleteHeader: _plain(act.DeleteHeader, index=_NUMBER, name=_TEXT),
    act.ReplaceBody: _plain(act.ReplaceBody, data=_BYTES),
    act.AddRecipient: _plain(act.AddRecipient, **_WITH_PARAMETERS),
    act.DeleteRecipient: _plain(act.DeleteRecipient, address=_TEXT),
    act.ChangeSender: _plain(act.ChangeSender, **_WITH_PARAMETERS),
    act.Quarantine: _plain(act.Quarantine, reason=_TEXT),
    act.Negotiate: _plain(act.Negotiate, **_FLAGS, macros=_MACROS),
    Note: _plain(Note, text=_TEXT, fields=_PAIRS),
    Count: _plain(Count, name=_TEXT, amount=_AMOUNT, labels=_PAIRS),
    **{klass: _plain(klass) for klass in ROW_OF_ACTION if not fields_dict(klass)},
}
_BARE: Final = _Row({}, dict)
_ACTIONS: Final = {klass.__name__: row for klass, row in _ACTION_ROWS.items()}


def dump_event(event: ev.Event) -> dict[str, Any]:
    """The fields of an event."""
    return _EVENT_ROWS.get(type(event), _BARE).dump(event)


def load_event(name: Any, fields: Any) -> ev.Event:
    """The inverse, with the event's name; `TraceError` if it is none."""
    if name == "disconnect":
        return ev.Disconnect()
    row = ROW_OF_NAME.get(name) if isinstance(name, str) else None
    if row is None:
        raise TraceError(f"expected the name of an event, got {name!r:.60}")
    known = _EVENT_ROWS.get(row.event)
    found: ev.Event = _load(known or _plain(row.event), fields, name)
    return found


def dump_action(action: Any) -> dict[str, Any]:
    """An action: its class under ``action``, and its attributes; any other value as its ``repr``."""
    row = _ACTION_ROWS.get(type(action))
    if row is None and isinstance(action, Request):
        return dump_request(action)
    if row is None:
        return {"action": "?", "text": dump_text(f"{action!r:.200}")}
    return {"action": type(action).__name__, **row.dump(action)}


def load_action(value: Any) -> act.Action:
    """The inverse; `TraceError` if it is none."""
    if isinstance(value, dict) and value.get("action") in ("Ask", "Request"):
        request: Any = load_request(value)
        return request  # type: ignore[no-any-return]  # it was queued like an action
    row = _ACTIONS.get(str(value.get("action"))) if isinstance(value, dict) else None
    if row is None:
        raise TraceError(f"expected an action, got {value!r:.60}")
    found: act.Action = _load(row, value, value["action"])
    return found


def _load(row: _Row, fields: Any, name: str) -> Any:
    if not isinstance(fields, dict):
        raise TraceError(f"expected the fields of {name}, got {fields!r:.60}")
    try:
        return row.load(fields)
    except (MilterError, TypeError, ValueError) as error:
        raise TraceError(f"expected {name}, got {fields!r:.100}: {error}") from None

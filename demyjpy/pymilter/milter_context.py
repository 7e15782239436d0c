"""What an instance of a filter's class speaks through: pymilter's ``milterContext``.

One for each connection. It takes what the instance asks for while one of its callbacks runs, and turns
it, with what the callback returned, into a context for the engine. Which callbacks there are, and what
they get, is known in `demyjpy.pymilter.filters`.
"""

import re
import weakref
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

from demyjpy import actions as act
from demyjpy.actions import Action, ReplyCode, Verdict
from demyjpy.context import Context, send_action
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.errors import LocalProtocolError, describe
from demyjpy.pymilter.constants import (
    ACCEPT,
    CONTINUE,
    DISCARD,
    NOREPLY,
    REJECT,
    SKIP,
    TEMPFAIL,
)
from demyjpy.pymilter.errors import DisabledAction, error
from demyjpy.wire.fields import encode_text

_EDITED: Final = "end_of_message"
_VERDICTS: Final[Mapping[int, Verdict | None]] = {
    CONTINUE: None,
    NOREPLY: None,
    REJECT: act.Reject(),
    DISCARD: act.Discard(),
    ACCEPT: act.Accept(),
    TEMPFAIL: act.TemporaryFailure(),
    SKIP: act.Skip(),
}
_PERMISSIONS: Final = {
    "add_header": "ADDHDRS",
    "change_header": "CHGHDRS",
    "change_body": "CHGBODY",
    "add_recipient": "ADDRCPT",
    "add_recipient_par": "ADDRCPT_PAR",
    "delete_recipient": "DELRCPT",
    "change_sender": "CHGFROM",
    "quarantine": "QUARANTINE",
}

_CODE: Final = re.compile("[45][0-9]{2}")
_ENHANCED: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_ALONE: Final = re.compile("(?<!%)(?:%%)*%(?!%)")
_LONGEST_LINE: Final = 980  # bytes: MAXREPLYLEN of libmilter
_MOST_LINES: Final = 32  # MAXREPLIES
_MOST_SHOWN: Final = 12  # attributes of an instance
_LONGEST_SHOWN: Final = 40
_LARGE: Final = 10**18
_EMPTY_LINE: Final = re.compile(r"\n\r?\n")
_UNFOLDED: Final = re.compile(r"\r?\n(?![ \t])")

_AFTER_MESSAGE: Final = frozenset({"unknown", "disconnect"})
"""The events at which libmilter still finds the macros of the last message."""


def _attributes(instance: Any) -> dict[str, Any]:
    return dict(getattr(instance, "__dict__", {}))  # a copy: its callback may run


def _shown(value: Any, most: int = 3) -> str:
    """A value of an instance for people: cut, and without code of the filter's own, or an address."""
    kind = type(value)
    if value is None or kind in (bool, float) or (kind is int and abs(value) < _LARGE):
        return repr(value)
    if kind in (str, bytes):
        return repr(value[:_LONGEST_SHOWN]) + ("..." if len(value) > _LONGEST_SHOWN else "")
    if kind is list and len(value) <= most:
        return f"[{', '.join(_shown(one, 0) for one in value)}]"
    if kind in (list, tuple, dict, set, frozenset, bytearray):
        return f"<{kind.__name__} of {len(value)}>"
    return f"<{kind.__name__}>"


class MilterContext:
    """The way of one instance to the MTA. Its methods are pymilter's, with pymilter's names."""

    __slots__ = (
        "__weakref__",
        "_private",
        "_reply",
        "ctx",
        "edits",
        "event",
        "filter",
        "is_message_over",
        "is_raw",
        "macro_lists",
        "macros",
        "of_recipient",
        "recipient",
    )

    is_of_one_connection: Final = True
    """It is not what a filter remembers on purpose: `check_filter` finds what its instance lets leak."""

    def __init__(self, *, is_raw: bool = False, recipient: str = "pymilter recipient") -> None:
        self.filter: Any = None
        """The instance."""
        self.is_raw = is_raw
        """Whether header values begin right after the colon."""
        self.is_message_over = False
        """Whether a callback has failed, which ended the message: libmilter does not call ``abort``."""
        self.recipient = recipient
        """Under which key a message keeps the macros of its last recipient."""
        self.macro_lists: dict[int, str] | None = None
        """What ``setsymlist`` asked for, while that can be asked."""
        self.ctx: Context | None = None
        """The context of the callback that runs."""
        self.event = ""
        """Its event, or that of the last one."""
        self.edits: list[Action] = []
        """What was asked for and is not in a context yet."""
        self.macros: Macros = NO_MACROS
        """Those that were in force at the last event of a message."""
        self.of_recipient: Macros = NO_MACROS
        """Those of the last recipient of the last message."""
        self._reply: ReplyCode | None = None
        self._private: Any = None

    def __repr__(self) -> str:
        """The instance's class and its public attributes, as they are now; the same in each trace."""
        name = type(self.filter).__name__
        own = {key: value for key, value in _attributes(self.filter).items() if key[:1] != "_"}
        shown = [f"{key:.40}={_shown(own[key])}" for key in islice(own, _MOST_SHOWN)]
        more = ["..."] if len(own) > _MOST_SHOWN else []
        return f"<{name} on this connection{': ' if shown else ''}{', '.join([*shown, *more])}>"

    # ------------------------------------------------------------------------- around a callback
    def begin(self, event: str, ctx: Context) -> None:
        """A callback for this event is to be called.

        While ``ctx`` is there it runs: one that took too long, if another is to be called.
        """
        self.event, self.ctx = event, ctx

    def way(self) -> "Way":
        """What the instance has under ``_ctx``."""
        return Way(self)

    def with_recipient(self, ctx: Context) -> Context:
        """The context with the macros of a recipient, which are found to the end of the message."""
        self.of_recipient = self.macros
        return ctx.set(self.recipient, self.macros)

    def edited(self, ctx: Context) -> Context:
        """The context with the edits that were asked for, which are forgotten here."""
        edits, self.edits = self.edits, []
        return send_action(ctx, *edits) if edits else ctx

    def answered(self, ctx: Context, said: Any, callback: str) -> Context:
        """The context with the edits, and what a callback returned as the answer.

        A reply that was set before is used up by the first refusal of its class, however long that is
        after it (libmilter's ``smfi_setreply``).
        """
        if not isinstance(said, int):
            raise error(f"The {callback} callback must return int, got {describe(said)}")
        if said not in _VERDICTS:
            raise error(
                f"expected {callback} to return one of CONTINUE, REJECT, DISCARD, ACCEPT, TEMPFAIL, "
                f"SKIP, got {int(said)}"
            )
        ctx = self.edited(ctx)
        verdict = _VERDICTS[said]
        if verdict is None or (said == SKIP and self.event != "body"):
            return ctx
        if self._reply is not None and said == (TEMPFAIL if self._reply.is_temporary else REJECT):
            verdict, self._reply = self._reply, None
        return send_action(ctx, verdict)

    def forget_reply(self) -> None:
        """The reply of an exception takes the place of one that was set."""
        self._reply = None

    # -------------------------------------------------------------------------- pymilter's names
    def getsymval(self, name: str) -> str | None:
        """The value of a macro, None if it has none. A name of more than one letter has braces."""
        _check_text("getsymval", 1, name)
        if self.ctx is None or (len(name) > 1 and name[0] != "{"):
            return None
        value = self.ctx["macros"].get(name)
        if value is None and self.recipient in self.ctx:
            value = self.ctx[self.recipient].get(name)
        if value is None and self.event in _AFTER_MESSAGE:
            value = self.macros.get(name)
            if value is None:
                value = self.of_recipient.get(name)
        return None if value is None else str(value)

    def setreply(self, rcode: str, xcode: str | None = None, *lines: str | None) -> None:
        """The SMTP reply of the next REJECT (a code of class 5) or TEMPFAIL (class 4).

        Each ``%`` is given as ``%%``, else `ValueError`. An enhanced code of another class than the code
        gets the code's class: Postfix would give up the filter.
        """
        _check_text("setreply", 1, rcode)
        given = [line for line in lines if line is not None]
        for line in given:
            if not isinstance(line, str):
                raise TypeError(f"setreply() expects its text as str, got {describe(line)}")
            if _ALONE.search(line):
                raise ValueError(f"'%' must be doubled: {line}")
        too_long = any(len(encode_text(line)) > _LONGEST_LINE for line in given)
        if (
            not _CODE.fullmatch(rcode)
            or not (xcode is None or _ENHANCED.fullmatch(xcode))
            or too_long
            or len(given) > _MOST_LINES
            or any("\r" in line or "\n" in line for line in given)
        ):
            raise error(
                "cannot set reply: expected a code of class 4 or 5, an enhanced code such as 5.7.1 or "
                f"None, and at most {_MOST_LINES} lines of {_LONGEST_LINE} bytes"
            )
        if xcode is None and len(given) > 1:
            xcode = f"{rcode[0]}.0.0"
        enhanced = None if xcode is None else f"{rcode[0]}{xcode[1:]}"
        self._reply = ReplyCode(int(rcode), enhanced, [line.replace("%%", "%") for line in given])

    setmlreply = setreply

    def addheader(self, field: str, value: str, idx: int = -1) -> None:
        """Add a header field: at the end, or at ``idx`` (0 is above all)."""
        self._check("add_header", "add header")
        _check_text("addheader", 1, field)
        text = self._value("addheader", 2, value)
        if idx < 0:
            self._edit("add header", lambda: act.AddHeader(field, **text))
        else:
            self._edit("add header", lambda: act.InsertHeader(int(idx), field, **text))

    def chgheader(self, field: str, idx: int, value: str | None) -> None:
        """Change the ``idx``-th field of the name, from 1; 0 is the first. None or ``""`` deletes it."""
        self._check("change_header", "change header")
        _check_text("chgheader", 1, field)
        if not isinstance(idx, int):
            raise TypeError(f"chgheader() argument 2 must be int, got {describe(idx)}")
        if not value and value is not None and not isinstance(value, str):
            _check_text("chgheader", 3, value)
        index = int(idx) or 1
        if not value:
            self._edit("change header", lambda: act.DeleteHeader(index, field))
            return
        text = self._value("chgheader", 3, value)
        self._edit("change header", lambda: act.ChangeHeader(index, field, **text))

    def addrcpt(self, rcpt: str, params: str | None = None) -> None:
        """Add a recipient, with ESMTP parameters if they are given."""
        self._check("add_recipient", "add recipient")
        if params is not None:
            self._check("add_recipient_par", "add recipient")
            _check_text("addrcpt", 2, params)
        _check_text("addrcpt", 1, rcpt)
        self._edit("add recipient", lambda: act.AddRecipient(rcpt, params or None))

    def delrcpt(self, rcpt: str) -> None:
        """Delete a recipient, given as ``envrcpt`` got it."""
        self._check("delete_recipient", "delete recipient")
        _check_text("delrcpt", 1, rcpt)
        self._edit("delete recipient", lambda: act.DeleteRecipient(rcpt))

    def replacebody(self, body: str | bytes) -> None:
        """Replace the body; a second call adds to the new one. Text is sent as UTF-8."""
        self._check("change_body", "replace message body")
        if isinstance(body, str):
            data = encode_text(body)
        elif isinstance(body, bytes | bytearray | memoryview):
            data = bytes(body)
        else:
            raise TypeError(f"a bytes-like object is required, got {describe(body)}")
        self._edit("replace message body", lambda: act.ReplaceBody(data))

    def chgfrom(self, sender: str, params: str | None = None) -> None:
        """Change the sender; ``<>`` is the null sender."""
        self._check("change_sender", "change sender")
        _check_text("chgfrom", 1, sender)
        if not sender:
            raise error("cannot change sender: expected an address, or <>, got an empty text")
        self._edit("change sender", lambda: act.ChangeSender(sender, params or None))

    def quarantine(self, reason: str) -> None:
        """Have the MTA keep the message in its quarantine."""
        self._check("quarantine", "quarantine message")
        _check_text("quarantine", 1, reason)
        if not reason:
            raise error("cannot quarantine message: expected a reason, got an empty text")
        self._edit("quarantine message", lambda: act.Quarantine(reason))

    def progress(self) -> None:
        """Nothing: while ``eom`` runs, the MTA hears of it every few seconds in any case."""

    def setsymlist(self, stage: int, macros: str) -> None:
        """Ask for these macros at a stage (``M_ENVFROM`` ...). Only in ``negotiate``."""
        if self.macro_lists is None:
            raise error("cannot set macro list: expected it in negotiate, where the MTA can be asked")
        self.macro_lists[stage] = macros

    def setpriv(self, value: Any) -> None:
        """Keep a value for the connection."""
        self._private = value

    def getpriv(self) -> Any:
        """The value that was kept."""
        return self._private

    # ------------------------------------------------------------------------------------- within
    def _check(self, permission: str, what: str) -> None:
        """`DisabledAction` for what the MTA does not grant, `error` for an edit at another time."""
        if self.ctx is not None and permission not in self.ctx["actions"]:
            raise DisabledAction(_PERMISSIONS[permission])
        if self.ctx is None or self.event != _EDITED:
            raise error(f"cannot {what}: expected it in eom, got it elsewhere")

    def _edit(self, what: str, make: Callable[[], Action]) -> None:
        try:
            self.edits.append(make())
        except LocalProtocolError as problem:
            raise error(f"cannot {what}: {problem}") from problem

    def _value(self, who: str, place: int, value: object) -> dict[str, str]:
        """A header value as the actions take it. A line that is not folded begins with a tab."""
        _check_text(who, place, value)
        if _EMPTY_LINE.search(str(value).rstrip("\r\n")):
            raise error(
                f"expected {who}() to get a value without an empty line, got {value!r:.80}: an empty "
                "line ends the header of a mail"
            )
        folded = _UNFOLDED.sub("\n\t", str(value).rstrip("\r\n"))
        return {"raw" if self.is_raw else "value": folded}


class Way:
    """What an instance has under ``_ctx``: the `MilterContext` of its connection, as long as that lasts.

    The connection holds the instance, so this does not hold the connection. It may be a key of a map.
    """

    __slots__ = ("_link",)

    def __init__(self, link: MilterContext) -> None:
        self._link = weakref.ref(link)

    def __getattr__(self, name: str) -> Any:
        link = self._link()
        if link is None:
            raise error(f"cannot use {name}: expected a connection that is open, got one that has ended")
        return getattr(link, name)


def _check_text(who: str, place: int, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{who}() argument {place} must be str, got {describe(value)}")

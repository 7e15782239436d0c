"""What the contract of `merge_handlers` says of filters made of data: plain lists, no demyjpy.message.

`foresee` plays a session through filters by their plans, and gives of each message what each filter
sees, who refuses it, and what is delivered. It knows no MTA: what it says holds under both.
`Foreseen.differs` names the rules of the list "where the MTAs differ" that the message touches; without
any, each MTA does the same by itself with the filters in a row.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from attrs import Factory, define, field, frozen

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    ReplaceBody,
)
from tests.law.filters import REFUSALS, Plan, shown_message
from tests.law.oracle_wishes import after_wish, envelope_of_wish

OWN: Final = "(the MTA's own)"
"""Stands for the name of the MTA's Received; its text is left out."""

_IN_HEADER: Final = (AddHeader, InsertHeader, ChangeHeader, DeleteHeader)


@frozen
class Letter:
    """One message of a session, as the client sends it. ``fields``: names with raw values."""

    sender: str
    recipients: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def content(self) -> bytes:
        """The message as it goes over the wire."""
        lines = (f"{name}:{raw}\r\n" for name, raw in self.fields)
        return "".join(lines).encode() + b"\r\n" + self.body


@define
class Foreseen:
    """What is foreseen of one message.

    ``seen``: what each filter sees. ``refusal``: the event and the answer by which it is refused,
    ``refuser`` the filter.
    ``rejected``: recipients, each with the answer that refused it. ``came``: whether its content came
    to the filters. The rest is what is delivered, if there is no refusal and somebody stands.
    """

    seen: list[list[str]]
    differs: set[str] = field(factory=set)
    refusal: tuple[str, str] | None = None
    rejected: list[tuple[str, str]] = field(factory=list)
    refuser: int = 1000
    came: bool = False
    sender: str = ""
    recipients: list[str] = field(factory=list)
    fields: list[tuple[str, str]] = field(factory=list)
    body: bytes = b""
    held: str | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the message goes on, or is held."""
        return self.came and self.refusal is None and bool(self.recipients)


def foresee(plans: Sequence[Plan], letters: Iterable[Letter], greeting: str) -> list[Foreseen]:
    """The messages of a session in which no filter refuses the connection or the greeting."""
    gone: set[int] = set()
    for name, entry in (("connect", "CONNECT"), ("hello", f"HELO {greeting}")):
        gone |= {n for n, plan in enumerate(plans) if _answer(plan, name, entry) == "accept"}
    return [_Message(plans, letter, set(gone)).foreseen() for letter in letters]


def _answer(plan: Plan, name: str, entry: str) -> str | None:
    """What a filter says; None also if it does not listen."""
    return plan.answers.get(entry, plan.answers.get(name)) if name in plan.events else None


@define
class _Message:
    """One message on its way. ``fields`` are lists of name, raw text and place."""

    plans: Sequence[Plan]
    letter: Letter
    done: set[int]
    begun: set[int] = field(factory=set)
    ended: set[int] = field(factory=set)
    fields: list[list[str]] = field(factory=list)
    gone: set[str] = field(factory=set)
    told: list[str] = field(factory=list)
    out: Foreseen = Factory(lambda self: Foreseen([[] for _ in self.plans]), takes_self=True)

    def foreseen(self) -> Foreseen:
        out, letter = self.out, self.letter
        out.sender, out.body = letter.sender, letter.body
        self.fields = [[name, raw, "sent"] for name, raw in letter.fields]
        self._talk()
        for number in sorted(self.begun - self.done - self.ended):
            out.seen[number].append("ABORT")
        own = [OWN, "", "below"]  # it stands above all that is not at the top
        tops = sum(place == "top" for _, _, place in self.fields)
        fields = [*self.fields[:tops], own, *self.fields[tops:]]
        out.fields = [(name, raw) for name, raw, _ in fields]
        return out

    def _talk(self) -> None:
        out, letter = self.out, self.letter
        if self._ask("mail", f"MAIL {letter.sender}"):
            return
        for address in letter.recipients:
            refusal = self._ask("recipient", f"RCPT {address}")
            if refusal == "discard":
                return
            if refusal:
                if any(plan.wish is not None for plan in self.plans[: out.refuser]):
                    out.differs.add("recipient refused by a later filter")
                out.rejected.append((address, refusal))
                out.refusal, out.refuser = None, 1000
            elif address not in out.recipients:
                out.recipients.append(address)
        if not out.recipients or self._ask("data", "DATA"):
            return
        out.came = True
        self.told = [*out.recipients]
        for number in range(len(self.plans)):
            if number not in self.done and self._show(number):
                return

    def _ask(self, name: str, entry: str) -> str | None:
        """Ask all in order until one refuses."""
        for number in range(len(self.plans)):
            if number not in self.done and self._tell(number, name, entry):
                return self.out.refusal[1] if self.out.refusal else None
        return None

    def _tell(self, number: int, name: str, entry: str) -> bool:
        """One filter sees an event: whether it refuses."""
        plan = self.plans[number]
        if name not in plan.events:
            return False
        self.out.seen[number].append(entry)
        self.begun.add(number)
        answer = _answer(plan, name, entry)
        if name == "end_of_message" and (plan.is_forbidden or self._has_bad_index(plan)):
            answer = "raise"  # nothing of the plan is done, whatever the verdict
        if answer == "550" and self._has_new_sender(plan, name):
            self.out.differs.add("reply behind a new sender")
        if answer == "accept":
            self.done.add(number)
        if answer not in REFUSALS:
            return False
        self.out.refusal, self.out.refuser = (name, str(answer)), number
        if answer == "discard" or (answer != "raise" and name != "recipient"):
            self.ended.add(number)
        return True

    # ----------------------------------------------------------------------------- the content
    def _show(self, number: int) -> bool:
        """All of the content to one filter, with its edits: whether it refuses."""
        plan = self.plans[number]
        for name, entry in list(self._content()):
            if self._tell(number, name, entry):
                return True
            if number in self.done and name != "end_of_message":
                if name == "message" and plan.wishes_at == "message":
                    self._edit(number, ())
                return False
        self.ended.add(number)
        self._edit(number, plan.edits if "end_of_message" in plan.events else ())
        return False

    def _has_bad_index(self, plan: Plan) -> bool:
        """Whether it inserts a field between others, which merged filters cannot."""
        places = [edit.index for edit in plan.edits if isinstance(edit, InsertHeader)]
        is_bad = any(1 < place <= len(self.fields) for place in places)
        if is_bad:
            self.out.differs.add("index of insert_header")
        return is_bad

    def _has_new_sender(self, plan: Plan, name: str) -> bool:
        """Whether an MTA that gets the edits of each filter at once knows of another sender."""
        changes = any(isinstance(edit, ChangeSender) for edit in plan.edits)
        changes = changes or any(one[0] == "with_sender" for one in plan.wish or ())
        at_end = name in ("message", "end_of_message")
        return self.out.sender != self.letter.sender or (changes and at_end)

    def _content(self) -> Iterator[tuple[str, str]]:
        for name, raw, _ in self.fields:
            yield "header", f"HEADER {name}:{raw}"
        yield "end_of_headers", "EOH"
        if self.out.body:
            yield "body", f"BODY {_whole(self.out.body).decode('latin-1')}"
        fields = [(name, raw) for name, raw, _ in self.fields]
        shown = shown_message(self.letter.sender, fields, _whole(self.out.body))
        yield "message", shown + "".join(f" {one}" for one in self.told)
        yield "end_of_message", "EOM"

    def _edit(self, number: int, edits: Sequence[Any]) -> None:
        """A filter's wish, then its edits, each as the contract says."""
        plan, out = self.plans[number], self.out
        later = [one for n, one in enumerate(self.plans) if n > number and n not in self.done]
        self._edit_fields([one for one in edits if isinstance(one, _IN_HEADER)], plan)
        for edit in (*envelope_of_wish(plan.wish or (), self.letter.sender, self.told), *edits):
            match edit:
                case AddRecipient():
                    self._add_recipient(edit.address)
                case DeleteRecipient():
                    self._delete_recipient(edit.address)
                case ChangeSender():
                    out.sender = edit.address
                case ReplaceBody():
                    out.body = edit.data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
                    are_shown = any("body" in one.events or one.wish is not None for one in later)
                    if out.body != _whole(out.body) and are_shown:
                        out.differs.add("body without a last line end")
                case Quarantine():
                    out.held = edit.reason
                    if later:
                        out.differs.add("quarantine")
        out.body = _whole(out.body)

    def _add_recipient(self, address: str) -> None:
        standing = self.out.recipients
        if address.lower() in {one.lower() for one in standing}:
            self.out.differs.add("recipient who stands")
        if address not in standing:
            standing.append(address)

    def _delete_recipient(self, address: str) -> None:
        out = self.out
        dropped = [one for one in out.recipients if one.lower() == address.lower()]
        if dropped not in ([], [address]):
            out.differs.add("recipient in other case")
        out.recipients = [one for one in out.recipients if one not in dropped]

    def _edit_fields(self, edits: Sequence[Any], plan: Plan) -> None:
        """Numbers count what the filter was shown; new fields go to one of three places."""
        shown = [list(one) for one in self.fields]
        kept: list[list[str] | None] = [list(one) for one in shown]
        top: list[list[str]] = []
        below: list[list[str]] = []
        end: list[list[str]] = []
        self._find_differences(edits, shown, plan)
        if plan.wish:
            top, kept, end = after_wish(plan.wish, shown)
            left_names = {one[0].lower() for one in kept if one is not None}
            self.gone |= {name.lower() for name, _, _ in shown} - left_names
        for edit in edits:
            if isinstance(edit, InsertHeader) and edit.index <= 1:
                target = below if edit.index else top
                target.insert(0, [edit.name, edit.raw, "below" if edit.index else "top"])
                continue
            at = None
            if isinstance(edit, (ChangeHeader, DeleteHeader)):
                at = _number_of(shown, edit.name, edit.index)
            if isinstance(edit, DeleteHeader):
                if at is not None:
                    kept[at] = None
                    self.gone.add(edit.name.lower())
            elif at is not None:
                kept[at] = [shown[at][0], edit.raw, shown[at][2]]
            else:
                end.append([edit.name, edit.raw, "end"])
        left = [one for one in kept if one is not None]
        tops = [one for one in left if one[2] == "top"]
        rest = [one for one in left if one[2] != "top"]
        self.fields = [*top, *tops, *below, *rest, *end]

    def _find_differences(self, edits: Sequence[Any], shown: list[list[str]], plan: Plan) -> None:
        """What of these edits the MTAs do each in its own way, or both not as the contract says."""
        differs, moved = self.out.differs, set[str]()
        for one in plan.wish or ():
            name = str(one[1]).lower()
            moved |= self.gone if one[0] == "without" else {name}
            if name in self.gone and one[0] in ("set", "set_only", "add"):
                differs.add("add_header of a name that is there")
        has_top = any(place == "top" for _, _, place in shown)
        names = {name.lower() for name, _, _ in shown}
        for edit in edits:
            name = edit.name.lower()
            if name in moved:
                differs.add("edits of one name by one filter")
            is_known = name in names or name in self.gone
            match edit:
                case AddHeader():
                    if is_known:
                        differs.add("add_header of a name that is there")
                    moved.add(name)
                case InsertHeader():
                    if edit.index == 1 and has_top:
                        differs.add("insert_header below Received with one above")
                    has_top = has_top or edit.index == 0
                    moved.add(name)
                case ChangeHeader() | DeleteHeader():
                    at = _number_of(shown, edit.name, edit.index)
                    if at is None and is_known:
                        differs.add("number beyond the last")
                    if at is not None and shown[at][0] != edit.name and isinstance(edit, ChangeHeader):
                        differs.add("name in other case")
                    if name in self.gone and "header" not in plan.events:
                        differs.add("number of a field that was not shown")
                    if at is None or isinstance(edit, DeleteHeader):
                        moved.add(name)


def _number_of(fields: list[list[str]], name: str, number: int) -> int | None:
    """Where the field of that name and number (from 1) is."""
    found = [at for at, one in enumerate(fields) if one[0].lower() == name.lower()]
    return found[number - 1] if 1 <= number <= len(found) else None


def _whole(body: bytes) -> bytes:
    return body + b"\r\n" if body and not body.endswith(b"\r\n") else body

"""The filters of a merged registry on one connection: what each may do, and which of them wait.

`merge_handlers` does what an MTA does with several milters in a row (docs/chains.md). What follows from
the registries and from the negotiation alone is worked out here, once. What happens to one message is
in `demyjpy.engine.chain_state`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import field, frozen

from demyjpy.declarations import ANY_EDITS, BODY_EDITS, HEADER_EDITS, RECIPIENT_EDITS
from demyjpy.decorators import Beyond
from demyjpy.engine.letters import (
    BODY,
    BODYEOB,
    CONNECT,
    DATA,
    EOH,
    HEADER,
    HELO,
    MAIL,
    MESSAGE,
    RCPT,
)
from demyjpy.errors import HandlerError
from demyjpy.handlers import watch_only
from demyjpy.registry import Registry, name_of_filter

CONTENT: Final = (HEADER, EOH, BODY)
"""Letters of the content of a message, in the order in which it comes."""

STEPS: Final = (*CONTENT, MESSAGE, BODYEOB)
"""The same with what follows at the end of it."""

_NAMES: Final = {
    CONNECT: "connect",
    HELO: "hello",
    MAIL: "mail",
    RCPT: "recipient",
    DATA: "data",
    HEADER: "header",
    EOH: "end_of_headers",
    BODY: "body",
    MESSAGE: "message",
    BODYEOB: "end_of_message",
}

OF_MESSAGE: Final = frozenset(_NAMES) - {CONNECT, HELO}
"""Letters of the events of a message."""

Waits: TypeAlias = Mapping[int, frozenset[int]]
"""By the number of a filter that waits: the letters whose handlers wait."""


@frozen
class Member:
    """One filter of several.

    ``actions``: what it declared and was granted. ``handled``: the letters of events for which it has
    handlers; ``answered``: those of them that it may answer. ``alternative``: see `Declarations`.
    ``limit``: the largest message, in bytes, that its message handler gets whole; None without such a
    handler. ``beyond``: what it does with a larger one. ``reads_header``: it reads facts
    from the header.
    """

    name: str
    actions: frozenset[str]
    handled: frozenset[int]
    answered: frozenset[int]
    alternative: str = ""
    limit: int | None = None
    beyond: Beyond = "headers"
    reads_header: bool = False

    def has_more(self, letter: int) -> bool:
        """Whether it has a handler for this content or what comes after it in a message."""
        return not self.handled.isdisjoint(STEPS[STEPS.index(letter) :])


@frozen
class Members:
    """All of them, in their order; one filter, too, if it has a message handler.

    ``differs``: two or more may edit, so their edits become one plan.

    ``keeps_fields`` and ``keeps_recipients``: what that plan needs to know of the message. ``may_wait``:
    some filter may have to wait for the end of those before it. ``rereads``: the numbers of filters that
    read facts from the header, which one before them may edit.
    """

    filters: tuple[Member, ...]
    differs: bool
    keeps_fields: bool
    keeps_recipients: bool
    may_wait: bool
    rereads: frozenset[int] = frozenset()
    gives_messages: bool = field(init=False)
    waits_at_first: Waits = field(init=False, repr=False)

    @gives_messages.default
    def _have_messages(self) -> bool:
        return any(one.limit is not None for one in self.filters)

    @waits_at_first.default
    def _waits_of_all(self) -> Waits:
        return self._work_out(frozenset())

    @property
    def turns_content(self) -> bool:
        """Whether content never takes the hot path."""
        return self.differs or self.may_wait

    @property
    def takes_turns(self) -> bool:
        """Whether the end of a message never takes it: the filters get it one after the other."""
        return self.turns_content or self.gives_messages

    def waits(self, done: frozenset[int]) -> Waits:
        """Who waits in a message, if these filters are done with it when its content begins."""
        return self._work_out(done) if done else self.waits_at_first

    def _work_out(self, done: frozenset[int]) -> Waits:
        waits: dict[int, frozenset[int]] = {}
        header_edited = body_edited = False
        for number, one in enumerate(self.filters):
            if number in done:
                continue
            waiting: set[int] = set()
            is_reader = one.reads_header and header_edited  # as one with a header handler
            for letter in (*CONTENT, MESSAGE):
                edited = (letter != BODY and header_edited) or (
                    letter in (BODY, MESSAGE) and body_edited
                )
                if letter in one.handled and (edited or waiting or is_reader):
                    waiting.add(letter)
            if waiting:
                waits[number] = frozenset(waiting)
            header_edited = header_edited or bool(one.actions & HEADER_EDITS)
            body_edited = body_edited or bool(one.actions & BODY_EDITS)
        return waits

    def is_alone(self, number: int) -> bool:
        """Whether no other filter is ever asked about the messages that this one is asked about."""
        if len(self.filters) == 1:
            return True
        own = self.filters[number].alternative
        others = [one.alternative for n, one in enumerate(self.filters) if n != number]
        return bool(own) and all(other not in ("", own) for other in others)

    def has_more_before(self, number: int, letter: int, done: frozenset[int], waits: Waits) -> bool:
        """Whether a filter before this one, not done yet, still gets content, or the end, after this."""
        return any(
            n in waits or one.has_more(letter)
            for n, one in enumerate(self.filters[:number])
            if n not in done
        )


def members_of(
    registry: Registry, granted: frozenset[str], off: frozenset[int] = frozenset()
) -> Members | None:
    """The filters that a registry was merged from; None if it is one filter without message handler.

    ``granted``: the actions that were agreed, by name; ``off``: the letters of the commands that are not
    sent. If an ``options`` handler has switched off what a plan of several needs, each one's edits go
    out as they are.
    """
    parts = registry.parts
    if len(parts) < 2 and "message" not in registry:
        return None
    filters = tuple(_member(part, granted) for part in parts)
    differs = sum(bool(one.actions & ANY_EDITS) for one in filters) > 1
    edits_header = any(one.actions & HEADER_EDITS for one in filters)
    edits_recipients = any(one.actions & RECIPIENT_EDITS for one in filters)
    if (edits_header and HEADER in off) or (edits_recipients and RCPT in off):
        differs = False
    waits = Members(filters, False, False, False, False).waits_at_first
    rereads = _rereading(filters)
    members = Members(
        filters,
        differs,
        keeps_fields=(differs and edits_header) or bool(rereads),
        keeps_recipients=differs and edits_recipients,
        may_wait=bool(waits or rereads),
        rereads=rereads,
    )
    missing = sorted(_NAMES[one] for one in _OF_VALUES & off)
    if members.gives_messages and missing:
        raise HandlerError(
            f"expected the options handler to ask for {' and '.join(missing)}, which a message handler "
            "needs: leave these events switched on"
        )
    return members


def _rereading(filters: Sequence[Member]) -> frozenset[int]:
    """The filters that read facts from the header, behind one that may edit it."""
    editors = [number for number, one in enumerate(filters) if one.actions & HEADER_EDITS]
    first = min(editors, default=len(filters))
    return frozenset(n for n, one in enumerate(filters) if one.reads_header and n > first)


_OF_VALUES: Final = frozenset({MAIL, RCPT, HEADER, BODY})
"""Letters of the commands that a message as a value is made of."""


def _member(part: Registry, granted: frozenset[str]) -> Member:
    handled = {
        letter: part[name]
        for letter, name in _NAMES.items()
        if name in part and part[name].function is not watch_only
    }
    return Member(
        name_of_filter(part),
        (part.actions | part.optional_actions) & granted,
        frozenset(handled),
        frozenset(letter for letter, handler in handled.items() if handler.reply),
        part.declarations.alternative,
        handled[MESSAGE].limit if MESSAGE in handled else None,
        handled[MESSAGE].beyond if MESSAGE in handled else "headers",
        "origin_client" in part.declarations.facts,
    )


def begun_by(members: Members, letters: Iterable[int]) -> frozenset[int]:
    """The filters that have seen a message begin, if these commands of it have come."""
    come = OF_MESSAGE.intersection(letters)
    return frozenset(n for n, one in enumerate(members.filters) if not one.handled.isdisjoint(come))

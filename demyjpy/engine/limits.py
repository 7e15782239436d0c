"""How much one peer may send, and how much of a message it has sent. Values; no answers, no log."""

from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen
from attrs import validators as v

from demyjpy.engine.letters import BODY, HEADER, RCPT
from demyjpy.wire.codes import CHUNK_SIZE


@frozen
class Limits:
    """How much of anything one peer may send; all are checked before memory is spent.

    - ``packet``: the largest length field, in bytes. A larger one closes the connection.
    - ``headers`` (fields), ``header_size`` (their bytes), ``message`` (bytes of header and body):
      beyond them the message is refused with 552.
    - ``recipients``: further ones are refused with 452.
    - ``command_size``: bytes of CONNECT, HELO, MAIL, RCPT or an unknown command, which come from lines
      of SMTP. A longer one closes the connection.
    - ``macro_size``: bytes of macros in force. More close the connection, because macros have no
      answer.
    - ``data_size``: the largest payload to negotiate (65535: none; 262143 and 1048575 need an MTA built
      with MDS).
    """

    packet: int = field(default=1_048_577, validator=v.ge(CHUNK_SIZE + 1))
    headers: int = field(default=10_000, validator=v.ge(1))
    recipients: int = field(default=50_000, validator=v.ge(1))
    message: int = field(default=1 << 30, validator=v.ge(1))
    header_size: int = field(default=1 << 23, validator=v.ge(1))
    command_size: int = field(default=1 << 16, validator=v.ge(1))
    macro_size: int = field(default=1 << 16, validator=v.ge(1))
    data_size: int = field(default=CHUNK_SIZE, validator=v.in_((CHUNK_SIZE, 262_143, 1_048_575)))

    def __attrs_post_init__(self) -> None:
        if self.packet <= self.data_size:
            raise ValueError(
                f"expected packet to be more than data_size, got {self.packet} and {self.data_size}: "
                "what is agreed on has to fit"
            )


@frozen
class Budget:
    """What one connection may use before others have their turn; what is left waits.

    ``packets``: so many are taken. ``answer``: once so many bytes are to be sent, no more is taken.
    ``seconds``: nor once so much time has gone since the first packets, by ``clock`` (seconds from
    any beginning; None for no such bound). It is looked at between packets: no handler is interrupted.
    """

    packets: int = field(default=100, validator=v.ge(2))
    answer: int = field(default=65_536, validator=v.ge(0))
    seconds: float = field(default=0.0005, validator=v.ge(0))
    clock: Callable[[], float] | None = None


class Meter:
    """What of a budget a connection has used: packets taken, bytes of answers, time."""

    __slots__ = ("_budget", "_until", "answered", "taken")

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._until = 0.0
        self.taken = self.answered = 0

    def is_used_up(self) -> bool:
        """Whether what is left has to wait until others have had their turn."""
        budget = self._budget
        if budget is None:
            return False
        if self.taken >= budget.packets or self.answered > budget.answer:
            return True
        if budget.clock is None:
            return False
        now = budget.clock()
        self._until = self._until or now + budget.seconds
        return now >= self._until


NO_END: Final = 1 << 62
"""More packets than come."""


@frozen
class Weight:
    """What a packet of one command counts against the limits of a message.

    ``has_content``: its bytes are some of the message's. The hot path and the turn both go by these.
    """

    recipients: int = 0
    headers: int = 0
    has_content: bool = False


NO_WEIGHT: Final = Weight()

WEIGHTS: Final = {
    RCPT: Weight(recipients=1),
    HEADER: Weight(headers=1, has_content=True),
    BODY: Weight(has_content=True),
}
"""By letter; others have `NO_WEIGHT`."""


@define(unsafe_hash=True)  # frozen, its making would take several times as long: nobody changes one
class Counts:
    """How much of a message has come: recipients, header fields, bytes of header and body."""

    recipients: int = 0
    headers: int = 0
    size: int = 0

    def count(self, letter: int, payload: bytes) -> "Counts":
        """With one packet more; packets that have no limit do not count."""
        weight = WEIGHTS.get(letter)
        if weight is None:
            return self
        return Counts(
            self.recipients + weight.recipients,
            self.headers + weight.headers,
            self.size + (len(payload) if weight.has_content else 0),
        )

    def passed(self, letter: int, limits: Limits) -> str | None:
        """The limit that the last packet, with this letter, has passed, in words; None for none."""
        recipients = (self.recipients, limits.recipients, "recipients")
        header = (self.size, limits.header_size, "bytes of header")
        content = (
            (self.size, limits.message, "bytes of message"),
            (self.headers, limits.headers, "headers"),
        )
        watched = {RCPT: (recipients,), HEADER: (header, *content)}.get(letter, content)
        return next((f"{most} {what}" for count, most, what in watched if count > most), None)


NOTHING_COUNTED: Final = Counts()

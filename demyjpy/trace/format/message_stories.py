"""What became of the messages of a session: envelope, verdict, edits, and where it was decided.

It is read off replies, recorded or replayed: what the MTA said, and what a filter said to it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from attrs import define, field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import encode_action
from demyjpy.trace.format.exchanges import Reply, Unreadable
from demyjpy.verdicts import Fate, edits_made, ends_message, fate_of, is_verdict
from demyjpy.wire.codes import Command

_C: Final = Command
_OF_MESSAGE: Final = frozenset({_C.MAIL, _C.RCPT, _C.DATA, _C.HEADER, _C.EOH, _C.BODY, _C.BODYEOB})
_GIVES_UP: Final = frozenset({_C.MAIL, _C.HELO, _C.ABORT, _C.QUIT, _C.QUIT_NC})


def _as_edit(one: Any) -> act.Modification | Unreadable:
    """What was said at the end of a message, as a change; another negotiation, say, is none."""
    if isinstance(one, act.Modification | Unreadable):
        return one
    letter, payload = encode_action(one)
    return Unreadable(chr(letter), payload)


@frozen
class MessageStory:
    """What became of one message.

    ``outcome`` is its fate, ``at`` the event where that was decided, ``verdict`` what was said there.
    ``refused`` are recipients with what was said to them, ``edits`` the changes that were made: none if
    the message did not go on. ``first`` and ``last`` are the numbers of its exchanges. ``milter`` is the
    name of the milter that was asked, if the recording has it. ``left_out`` counts the recipients
    that are not kept.
    """

    session: str
    number: int
    first: int
    last: int
    outcome: Fate
    at: str
    verdict: act.Verdict | None = None
    queue_id: str | None = None
    client: str = ""
    helo: str = ""
    sender: str | None = None
    recipients: tuple[str, ...] = ()
    refused: tuple[tuple[str, act.Verdict], ...] = ()
    edits: tuple[act.Modification | Unreadable, ...] = ()
    time: float = 0.0
    left_out: int = 0
    milter: str = ""

    @property
    def name(self) -> str:
        """Queue id, or where it is to be found."""
        return self.queue_id or f"{self.session}#{self.number}"


@define
class OpenMessage:
    """A message on its way."""

    first: int
    time: float
    last: int = 0
    queue_id: str | None = None
    sender: str | None = None
    recipients: list[str] = field(factory=list)
    refused: list[tuple[str, act.Verdict]] = field(factory=list)
    left_out: int = 0
    refused_count: int = 0
    last_refusal: act.Verdict | None = None


@define
class Follower:
    """One session on its way.

    `take` gets replies in order, and gives the messages that end with them. If the filter had nothing
    to say, what the MTA said can be added as it is, which costs less: `meet`, `begin`, `add_recipient`,
    `decide`, `give_up`. ``most``: recipients of a message that are kept; the others are counted.
    """

    session: str
    most: float = math.inf
    count: int = 0
    client: str = ""
    helo: str = ""
    standing: tuple[act.Verdict, str] | None = None  # what the connection was answered with, for good
    open: OpenMessage | None = None

    def take(self, reply: Reply) -> Iterator[MessageStory]:
        """What the MTA said, and what the filter said to it: the messages that end there."""
        letter, name = reply.exchange.letter, reply.exchange.name
        if letter in _GIVES_UP:
            yield from self.give_up(name)
        if letter in (_C.CONNECT, _C.HELO):
            self._take_greeting(reply)
        if letter in _OF_MESSAGE:
            yield from self._take_part(reply)

    def greet(self, event: ev.Event | None) -> None:
        """A client connected or said hello; None if that cannot be read."""
        if isinstance(event, ev.Connect):
            self.meet(event.host_name, event.raw)
        elif isinstance(event, ev.Hello):
            self.helo = event.greeting
            if self.standing and self.standing[1] == "hello":
                self.standing = None

    def meet(self, host_name: str, address: str) -> None:
        """A client connected; its address as sent, empty if there is none."""
        self.client = f"{host_name} [{address}]" if address else host_name

    def begin(self, number: int = 0, time: float = 0.0) -> OpenMessage:
        """The message that is open; if none is, one begins."""
        if self.open is None:
            self.open = OpenMessage(number, time)
        return self.open

    def add_recipient(self, address: str, verdict: act.Verdict | None = None) -> None:
        """A recipient, and what the filter said to it."""
        message = self.begin()
        if len(message.recipients) < self.most:
            message.recipients.append(address)
        else:
            message.left_out += 1
        if verdict is not None and fate_of(verdict) is not Fate.ACCEPTED:
            message.refused_count += 1
            message.last_refusal = verdict
            if len(message.refused) < self.most:
                message.refused.append((address, verdict))

    def decide(self, verdict: act.Verdict | None, edits: Sequence[Any]) -> MessageStory:
        """The end of the message that is open came, and this was answered."""
        fate = fate_of(verdict, edits)
        made = edits_made(verdict, edits) if edits else ()
        return self._close(fate, "end_of_message", verdict, made)

    def give_up(self, at: str) -> list[MessageStory]:
        """The message that is open, if any is, ends without an answer to its end."""
        message = self.open
        if message is None:
            return []
        verdict, count = message.last_refusal, len(message.recipients) + message.left_out
        if verdict is not None and message.refused_count == count:
            return [self._close(fate_of(verdict), "recipient", verdict)]
        return [self._close(Fate.GIVEN_UP, at, None)]

    def _take_greeting(self, reply: Reply) -> None:
        verdict = reply.verdict
        self.greet(reply.exchange.readable_event)
        if verdict is not None and not isinstance(verdict, act.Continue):
            self.standing = (verdict, reply.exchange.name)

    def _take_part(self, reply: Reply) -> Iterator[MessageStory]:
        exchange, verdict = reply.exchange, reply.verdict
        is_first = self.open is None
        if is_first and exchange.letter != _C.MAIL and reply.is_skipped:
            return  # what was left of a message that has been decided
        message = self.begin(exchange.number, exchange.time)
        message.last = exchange.number
        message.queue_id = exchange.queue_id or message.queue_id
        event = reply.exchange.readable_event if exchange.letter in (_C.MAIL, _C.RCPT) else None
        if isinstance(event, ev.Mail):
            message.sender = event.sender
        elif isinstance(event, ev.Recipient):
            self.add_recipient(event.address, verdict)
        if reply.is_skipped and self.standing is not None and is_first:
            standing, at = self.standing
            yield self._close(fate_of(standing), at, standing)
        elif exchange.letter == _C.BODYEOB and not reply.is_skipped:
            yield self.decide(verdict, [_as_edit(one) for one in reply.actions if not is_verdict(one)])
        elif verdict is not None and ends_message(exchange.name, verdict):
            yield self._close(fate_of(verdict), exchange.name, verdict)

    def _close(
        self, outcome: Fate, at: str, verdict: act.Verdict | None, edits: tuple[Any, ...] = ()
    ) -> MessageStory:
        message, self.open = self.begin(), None
        self.count += 1
        return MessageStory(
            self.session,
            self.count,
            message.first,
            message.last,
            outcome,
            at,
            verdict,
            message.queue_id,
            self.client,
            self.helo,
            message.sender,
            tuple(message.recipients),
            tuple(message.refused),
            edits,
            message.time,
            message.left_out,
        )


def reading_messages(session: str, most: float = math.inf) -> Callable[[Reply], list[MessageStory]]:
    """A function that takes the replies of a session one by one, and gives the messages that end there.

    ``most``: recipients of a message that are kept; the others are counted.
    """
    follower = Follower(session, most)
    return lambda reply: list(follower.take(reply))


def messages_of(session: str, replies: Iterable[Reply]) -> list[MessageStory]:
    """The messages of a session, in order."""
    follower = Follower(session)
    found = [message for reply in replies for message in follower.take(reply)]
    return [*found, *follower.give_up("disconnect")]

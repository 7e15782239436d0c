"""Sessions with filters that ask, and somebody who answers when the test says so."""

from collections.abc import Callable, Iterable
from typing import Any

from attrs import evolve, frozen

from demyjpy.context import Context
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import (
    as_on_connect,
    hang_up,
    open_connection,
    receive_data,
    resume,
    run_call,
    take_answer,
)
from demyjpy.errors import HandlerError
from demyjpy.handlers import define_event_handlers
from demyjpy.questions import Answered, Question, answer, ask
from demyjpy.registry import Registry
from demyjpy.wire.framing import Packet, join_frame
from tests.engine.harness import letters


@frozen
class About(Question):
    """A question about something."""

    what: Any = ""


class Values:
    """As a driver without hot path holds a connection: a value each time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def leave(self) -> Any:
        return self._connection

    def hold(self, connection: Any) -> None:
        self._connection = connection

    def receive_data(self, data: bytes) -> None:
        self._connection = receive_data(self._connection, data)

    def resume(self, outcome: Any, duration: float | None = None) -> None:
        self._connection = resume(self._connection, outcome, duration)

    def take_answer(self, number: int, outcome: Any, duration: float | None) -> None:
        self._connection = take_answer(self._connection, number, outcome, duration)

    def hang_up(self) -> None:
        self._connection = hang_up(self._connection)


class Talk:
    """One connection: what is open, what was sent; answers are given by key, in any order."""

    def __init__(self, handlers: Any, way: Any = Line, tape: Any = None, **setup: Any) -> None:
        opened = open_connection(Setup(as_on_connect(handlers), **setup), "session")
        self._line = way(opened) if tape is None else way(opened, tape)
        self.sent = b""
        self.troubles: list[Any] = []
        self.numbers: set[int] = set()
        self._note(None)

    @property
    def connection(self) -> Any:
        """All that is known now."""
        return self._line.leave()

    def _note(self, sent: bytes | None) -> bytes:
        connection = self._line.leave()
        sent = connection.data_to_send if sent is None else sent
        self.sent += sent
        self.troubles += connection.troubles
        if connection.data_to_send or connection.troubles or connection.requests:
            self._line.hold(evolve(connection, data_to_send=b"", troubles=(), requests=()))
        self.numbers.update(connection.open_questions)
        return sent

    def feed(self, data: bytes) -> bytes:
        """Bytes come; handlers that are handed out are called."""
        return self._note(self._line.receive_data(data)) + self.run_calls()

    def run_calls(self) -> bytes:
        """Call what was handed out."""
        sent = b""
        while self.connection.call is not None:
            self._line.resume(run_call(self.connection.call))
            sent += self._note(None)
        return sent

    def say(self, *packets: Packet) -> str:
        """Packets come; the letters of the answers."""
        return letters(b"".join([self.feed(join_frame(*one, limit=1 << 24)) for one in packets]))

    def open(self) -> list[str]:
        """The keys of open questions, in order."""
        return [one.key for one in self.asked()]

    def asked(self) -> list[Asked]:
        """The open questions, in order."""
        return [one for _, one in sorted(self.connection.open_questions.items())]

    def learn(self, key: str, outcome: Any = None, place: int | None = None) -> str:
        """An answer comes: a value, or an outcome; the letters of what is sent."""
        one = next(one for one in self.asked() if one.key == key and place in (None, one.filter))
        given = outcome if hasattr(type(outcome), "__attrs_attrs__") else Answered(outcome)
        return self.learn_number(one.number, given)

    def learn_number(self, number: int, outcome: Any) -> str:
        """The answer to the question with this number."""
        self._line.take_answer(number, outcome, None)
        return letters(self._note(None) + self.run_calls())

    @property
    def waits(self) -> list[str]:
        """The keys of those for which a handler waits."""
        connection = self.connection
        if connection.wait is None:
            return []
        return sorted(connection.open_questions[number].key for number in connection.wait.numbers)

    def hang_up(self) -> None:
        """The peer goes."""
        self._line.hang_up()
        self._note(None)
        self.run_calls()

    @property
    def errors(self) -> list[str]:
        """What went wrong, in words."""
        return [str(one.error) for one in self.troubles]


class Filter:
    """A filter that writes down what it got, and asks at events: ``asks`` are keys by event."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.read: list[Any] = []

    def handlers(
        self,
        *names: str,
        asks: Any = None,
        needs: Any = None,
        asking: Any = None,
        reads: Iterable[str] = (),
        then: Any = None,
        declared: Any = None,
        **options: Any,
    ) -> Registry:
        """Handlers of these events, and of those that are named anywhere."""
        asks, needs, asking, then = asks or {}, needs or {}, asking or {}, then or {}
        made = define_event_handlers(**(declared or {}))
        keys = {*reads, *[key for some in needs.values() for key in some]}
        for name in dict.fromkeys((*names, *asks, *needs, *asking, *then)):
            more = {**options} if name in needs or name in asking else {}
            if name in needs:
                more["needs"] = set(needs[name])
            if name in asking:
                more["asking"] = self._asking(name, asking[name])
            made.add(name, self._handler(name, asks.get(name, ()), keys, then.get(name)), **more)
        return made

    def _asking(self, name: str, keys: Any) -> Callable[[Any, Context], Any]:
        def asking(event: Any, ctx: Context) -> Any:
            self.calls.append(f"asking at {name}")
            return keys(event, ctx) if callable(keys) else {key: About(key) for key in keys}

        return asking

    def _handler(self, name: str, keys: Any, reads: Any, then: Any) -> Callable[[Any, Context], Any]:
        def handle(event: Any, ctx: Context) -> Any:
            self.calls.append(name)
            known = {}
            for key in sorted(reads):
                try:
                    known[key] = answer(ctx, key)
                except HandlerError:
                    continue
            self.read.append((name, known))
            for key in keys:
                ctx = ask(ctx, key, About(name))
            return ctx if then is None else then(event, ctx)

        return handle

    def seen(self, name: str) -> list[Any]:
        """What could be read at this event, each time."""
        return [known for one, known in self.read if one == name]

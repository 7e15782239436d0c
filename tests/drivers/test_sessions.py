"""Sessions over real sockets, the same for both drivers."""

import threading
from contextlib import ExitStack
from typing import Any

import pytest

from demyjpy import (
    Body,
    Continue,
    EndOfMessage,
    Mail,
    Quit,
    ReplaceBody,
    Unknown,
    add_header,
    define_event_handlers,
    replace_body,
    running,
    with_handlers,
)
from tests.drivers.peer import CONTENT, ENVELOPE, MESSAGE, WAIT, Peer, packet


def marking() -> Any:
    """A filter that adds the sender, the size of the body and the number of chunks."""
    handlers = define_event_handlers(
        actions={"add_header"}, state={"sender": "", "size": 0, "chunks": 0}
    )

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return ctx.set("sender", event.sender)

    @handlers.body
    def body(event: Any, ctx: Any) -> Any:
        return ctx.update({"size": ctx["size"] + len(event.data), "chunks": ctx["chunks"] + 1})

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Mark", f"{ctx['sender']} {ctx['size']} {ctx['chunks']}")

    return handlers


def mark(answer: tuple[Any, ...]) -> str:
    """What that filter has added."""
    header, verdict = answer
    assert verdict == Continue()
    return str(header.value)


def test_a_message_is_answered(driver):
    """A message goes through its handlers, and what they ask for comes back."""
    with running(marking(), driver=driver) as address, Peer(address) as peer:
        assert mark(peer.begin().message()) == "from@example.org 7 1"


def test_messages_on_one_connection_do_not_mix(driver):
    """Each message of a connection starts from the same context."""
    with running(marking(), driver=driver) as address, Peer(address) as peer:
        peer.begin()
        assert {mark(peer.message()) for _ in range(5)} == {"from@example.org 7 1"}


def test_one_byte_at_a_time(driver):
    """A peer that sends a byte at a time is served like any other."""
    with running(marking(), driver=driver) as address, Peer(address) as peer:
        peer.begin()
        for byte in peer.bytes_of(*MESSAGE):
            peer.send(bytes((byte,)))
        assert mark(peer.hear_answers(*MESSAGE)[-1]) == "from@example.org 7 1"


def test_all_at_once(driver):
    """A peer that does not wait for answers gets them all, in order."""
    senders = [f"{number}@example.org" for number in range(200)]
    messages = [(Mail(sender), *ENVELOPE[1:], *CONTENT, EndOfMessage()) for sender in senders]
    with running(marking(), driver=driver) as address, Peer(address) as peer:
        peer.begin()
        peer.say(*(event for message in messages for event in message))
        assert [mark(peer.hear_answers(*message)[-1]) for message in messages] == [
            f"{sender} 7 1" for sender in senders
        ]


def test_connections_are_isolated(driver):
    """A hundred connections at a time, step by step in turn, see nothing of each other."""
    with running(marking(), driver=driver) as address, ExitStack() as stack:
        peers = [stack.enter_context(Peer(address)) for _ in range(100)]
        for peer in peers:
            peer.begin()
        for step in (None, *ENVELOPE[1:], *CONTENT):
            for number, peer in enumerate(peers):
                peer.ask(Mail(f"{number}@example.org") if step is None else step)
                if step == CONTENT[-1] and number % 2:
                    peer.ask(Body(b"more"))
        marks = [mark(peer.finish_message()) for peer in reversed(peers)]
    assert marks == [
        f"{number}@example.org {'11 2' if number % 2 else '7 1'}" for number in reversed(range(100))
    ]


def test_many_peers_at_full_speed(driver):
    """Peers that work at the same time all get all of their answers."""
    failures: list[BaseException] = []

    def work(address: str) -> None:
        try:
            with Peer(address) as peer:
                peer.begin()
                for _ in range(10):
                    assert mark(peer.message()) == "from@example.org 7 1"
        except BaseException as error:
            failures.append(error)
            raise

    with running(marking(), driver=driver) as address:
        threads = [threading.Thread(target=work, args=(address,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


@pytest.mark.parametrize("address", ["inet6:0@::1", "unix:{}", "{}?mode=666", "local:{}"])
def test_every_kind_of_socket(driver, address, tmp_path):
    """IPv6 and Unix sockets serve like IPv4."""
    where = address.format(tmp_path / "milter.sock")
    with running(marking(), address=where, driver=driver) as actual, Peer(actual) as peer:
        assert mark(peer.begin().message()) == "from@example.org 7 1"
    assert list(tmp_path.iterdir()) == []


def test_several_milters_in_one_process(driver):
    """Milters in one process have nothing in common but the log."""
    sessions: list[str] = []
    other = define_event_handlers()
    other.add("mail", lambda event, ctx: ctx)

    with (
        running(marking(), driver=driver, observer=lambda step: sessions.append(step.session)) as one,
        running(other, driver=driver, observer=lambda step: sessions.append(step.session)) as two,
        running(marking(), driver="threads" if driver == "asyncio" else "asyncio") as three,
        Peer(one) as first,
        Peer(two) as second,
        Peer(three) as third,
    ):
        assert mark(first.begin().message()) == "from@example.org 7 1"
        assert second.begin().message() == (Continue(),)
        assert mark(third.begin().message()) == "from@example.org 7 1"
    assert len(set(sessions)) == 2


def test_on_connect_is_called_once_a_connection(driver):
    """A function as on_connect makes the context of each connection, once."""
    calls: list[int] = []

    def on_connect(ctx: Any) -> Any:
        calls.append(len(calls))
        return with_handlers(ctx, marking()).set("size", 100 * len(calls))

    with running(on_connect, driver=driver) as address:
        for total in (107, 207):
            with Peer(address) as peer:
                assert mark(peer.begin().message()) == f"from@example.org {total} 1"
                assert mark(peer.message()) == f"from@example.org {total} 1"
    assert calls == [0, 1]


def test_a_large_answer_arrives_whole(driver):
    """An answer that no socket buffer holds is sent as the peer reads it."""
    content = bytes(range(256)) * 65_536
    handlers = define_event_handlers(actions={"change_body"})
    handlers.add("end_of_message", lambda event, ctx: replace_body(ctx, content))
    with running(handlers, driver=driver) as address, Peer(address) as peer:
        *chunks, verdict = peer.begin().message()
        assert verdict == Continue()
        assert {type(chunk) for chunk in chunks} == {ReplaceBody}
        assert b"".join(chunk.data for chunk in chunks) == content
        assert peer.message()[-1] == Continue()


def test_a_session_ends_with_quit(driver):
    """After QUIT the milter closes the connection."""
    with running(marking(), driver=driver) as address, Peer(address) as peer:
        peer.begin().message()
        peer.say(Quit())
        assert peer.has_ended()


def test_a_slow_handler_holds_up_no_other_session(way, gate):
    """While a handler takes its time, other connections are served."""
    handlers = define_event_handlers()
    way.add_slow(handlers, "mail", gate)
    way.add(handlers, "hello", lambda event, ctx: ctx)
    with running(handlers, driver=way.driver) as address, Peer(address) as slow, Peer(address) as quick:
        slow.begin().say(ENVELOPE[0])
        quick.begin()
        gate.set()
        assert slow.hear() == Continue()


def test_a_slow_handler_keeps_the_order(way, gate):
    """What comes while a handler runs waits for its turn."""
    handlers = define_event_handlers(actions={"add_header"}, state={"sender": ""})
    way.add(handlers, "mail", lambda event, ctx: ctx.set("sender", event.sender))
    way.add_slow(
        handlers, "end_of_message", gate, lambda event, ctx: add_header(ctx, "X-Mark", ctx["sender"])
    )
    senders = [f"{number}@example.org" for number in range(3)]
    events = [event for sender in senders for event in (Mail(sender), *MESSAGE[1:])]
    with running(handlers, driver=way.driver) as address, Peer(address) as peer:
        peer.begin().say(*events)
        gate.set()
        answers = peer.hear_answers(*events)
    assert [mark(answer) for answer in answers if len(answer) > 1] == senders


def test_a_peer_that_does_not_wait_is_stopped(way, gate):
    """While a handler runs, only a bounded amount of what follows is taken."""
    handlers = define_event_handlers()
    way.add_slow(handlers, "end_of_message", gate)
    chunk = packet(Unknown("x" * 60_000))
    with running(handlers, driver=way.driver) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        peer.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.socket.sendall(chunk * 400)
        gate.set()
        peer.socket.settimeout(WAIT)
        assert peer.hear_answer() == (Continue(),)

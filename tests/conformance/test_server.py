"""Rows 28 and 149-152: what takes a real socket and time; both drivers alike.

Some rows that the engine answers for are asked once more here, to see that a driver does as it is told.
"""

import threading
import time
from contextlib import ExitStack, contextmanager

from demyjpy import (
    AddHeader,
    ReplaceBody,
    define_event_handlers,
    get_macro,
    running,
    send_action,
)
from demyjpy.drivers.options import ServerOptions
from tests.conformance.client import PATIENCE, Client
from tests.conformance.talk import (
    ABORT,
    BODY,
    CONNECT,
    CONTINUE,
    DATA,
    EOH,
    EOM,
    EVENTS,
    HEADER,
    HELO,
    MAIL,
    OFFER,
    QUIT,
    RCPT,
    SESSION,
    UNKNOWN,
    Talk,
    macros,
    mail,
    options,
    packet,
    recipient,
)


class Told(list):
    """The names of the handlers that ran, in order; and a filter that writes them down."""

    def __init__(self):
        super().__init__()
        self.ended = threading.Event()
        self.filter = define_event_handlers({name: self._handler(name) for name in EVENTS})

    def without_ends(self):
        """But for the ends of connections: there are more of those where a test knocks at the door."""
        return [name for name in self if name != "disconnect"]

    def _handler(self, name):
        def handler(event, ctx):
            self.append(name)
            if name == "disconnect":
                self.ended.set()
            return ctx

        return handler


@contextmanager
def stopping(stack: ExitStack):
    """Stop what is in the stack, in the background, while the block runs."""
    thread = threading.Thread(target=stack.close)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def is_refused(address: str) -> bool:
    """Whether connections are refused, now or soon."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with Client(address):
                time.sleep(0.01)
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # it came into the backlog of a listener that was just closing
    return False


def test_row_002_byte_by_byte_over_a_socket(driver):
    """A driver says what the engine says, also where each byte is sent alone."""
    stream = b"".join((OFFER, *SESSION.values(), ABORT, QUIT))
    told = Told()
    with running(told.filter, driver=driver) as address, Client(address) as client:
        for byte in stream:
            client.say(bytes((byte,)))
        answered = b"".join(iter(client.receive, b""))
    assert answered == Talk().say(stream)
    assert told == [*SESSION, "quit", "disconnect"]


def test_row_010_unknown_command_over_a_socket(driver):
    """What closes the connection closes the socket, without a reply."""
    told = Told()
    with running(told.filter, driver=driver) as address, Client(address) as client:
        assert len(client.ask(OFFER, CONNECT, MAIL)) == 3
        client.say(packet(b"Z"))
        assert client.receive() == b""
    assert told == ["connect", "mail", "abort", "disconnect"]


def test_row_028_negotiation_waits_for_nobody(driver):
    """An offer is answered at once, though a handler of another session is busy."""
    go_on = threading.Event()
    handlers = define_event_handlers()

    @handlers.connect(blocking=True)
    def wait(event, ctx):
        go_on.wait(PATIENCE)
        return ctx

    chosen = {"blocking_threads": 1} if driver == "asyncio" else {}
    with (
        running(handlers, driver=driver, **chosen) as address,
        Client(address) as first,
        Client(address) as second,
    ):
        started = time.monotonic()
        agreed = first.ask(OFFER)
        first.say(CONNECT)
        assert second.ask(OFFER) == agreed == [options(6, 0, 0x10077E)]
        assert time.monotonic() - started < 5
        second.say(CONNECT)
        go_on.set()
        assert [first.receive(), second.receive()] == [CONTINUE, CONTINUE]


def test_row_141_end_within_a_message_over_a_socket(driver):
    """A peer that is gone within a message: one abort, one end of the connection."""
    told = Told()
    with running(told.filter, driver=driver) as address:
        with Client(address) as client:
            client.ask(OFFER, CONNECT, MAIL)
            client.say(RCPT[:-3])
        assert told.ended.wait(PATIENCE)
    assert told == ["connect", "mail", "abort", "disconnect"]


def test_row_149_stopped_while_idle(driver):
    """A milter that stops takes no new connections, and closes those between messages at once."""
    told = Told()
    stack = ExitStack()
    address = stack.enter_context(running(told.filter, driver=driver, grace=PATIENCE))
    with Client(address) as client:
        client.ask(OFFER, CONNECT, HELO)
        started = time.monotonic()
        with stopping(stack):
            assert client.receive() == b""
            assert is_refused(address)
        assert time.monotonic() - started < PATIENCE / 2
    assert told.without_ends() == ["connect", "hello"]
    assert "disconnect" in told


def test_row_149_stopped_within_a_message(driver):
    """A message that is on its way when the milter stops may come to its end; then its session ends."""
    told = Told()
    stack = ExitStack()
    address = stack.enter_context(running(told.filter, driver=driver, grace=PATIENCE))
    with Client(address) as client:
        client.ask(OFFER, CONNECT, MAIL, RCPT)
        with stopping(stack):
            assert is_refused(address)
            assert client.ask(DATA, HEADER, EOH, BODY, EOM) == 5 * [CONTINUE]
            assert client.receive() == b""
    assert told.without_ends() == [name for name in SESSION if name != "hello"]


def test_row_149_grace_is_over(driver):
    """A message that does not come to its end within the grace period is cut: abort, disconnect."""
    told = Told()
    stack = ExitStack()
    address = stack.enter_context(running(told.filter, driver=driver, grace=0.2))
    with Client(address) as client:
        client.ask(OFFER, CONNECT, MAIL)
        with stopping(stack):
            assert client.receive() == b""
    assert told == ["connect", "mail", "abort", "disconnect"]


def test_row_150_nothing_is_said(driver):
    """A peer that says nothing for the idle timeout is closed; an open message is aborted."""
    told = Told()
    with running(told.filter, driver=driver, idle_timeout=0.3) as address, Client(address) as client:
        client.ask(OFFER, CONNECT, MAIL)
        assert client.receive() == b""
        assert told.ended.wait(PATIENCE)
    assert told == ["connect", "mail", "abort", "disconnect"]


def test_row_150_something_is_said(driver):
    """Whatever is said starts the idle timeout anew."""
    told = Told()
    with running(told.filter, driver=driver, idle_timeout=1.0) as address, Client(address) as client:
        client.ask(OFFER, CONNECT)
        for _ in range(14):
            time.sleep(0.1)
            assert client.ask(UNKNOWN) == [CONTINUE]


def test_row_150_default():
    """The default is libmilter's: an SMTP client may idle for two hours."""
    assert ServerOptions().idle_timeout >= 7210


def test_row_151_nothing_is_read(driver):
    """A peer that does not read its answer for the write timeout is closed."""
    ended = threading.Event()
    size = 30_000_000
    handlers = define_event_handlers(actions={"change_body"})

    @handlers.end_of_message
    def replace(event, ctx):
        return send_action(ctx, ReplaceBody(bytes(size)))

    @handlers.disconnect
    def end(event, ctx):
        ended.set()
        return ctx

    with (
        running(handlers, driver=driver, write_timeout=0.3) as address,
        Client(address, receive_buffer=4096) as client,
    ):
        client.ask(OFFER, MAIL)
        client.say(EOM)
        assert ended.wait(PATIENCE)
        assert client.rest() < size


def test_row_152_many_at_once(driver):
    """A hundred sessions in step, each with its own context and macros."""
    handlers = define_event_handlers(actions={"add_header"}, state={"found": ()})

    @handlers.connect
    @handlers.mail
    @handlers.recipient
    def keep(event, ctx):
        said = getattr(event, "host_name", None) or getattr(event, "sender", None) or event.address
        return ctx.set("found", (*ctx["found"], said, get_macro(ctx, "i")))

    @handlers.end_of_message
    def report(event, ctx):
        return send_action(ctx, AddHeader("X", " ".join(map(str, ctx["found"]))))

    with running(handlers, driver=driver) as address, ExitStack() as stack:
        clients = [stack.enter_context(Client(address)) for _ in range(100)]
        assert {client.ask(OFFER)[0] for client in clients} == {options(6, 1, 0x100772)}
        for round_number in (1, 2):
            steps = [
                lambda n, r: (mail(b"<%d-%d@b>" % (n, r)),),
                lambda n, r: (macros(b"R", b"i", b"Q%d-%d" % (n, r)), recipient(b"<r%d@b>" % n)),
            ]
            if round_number == 1:
                steps.insert(0, lambda n, _: (packet(b"C", b"h%d\0U" % n),))
            for step in steps:
                for number, client in enumerate(clients):
                    client.say(*step(number, round_number))
                for client in clients:
                    assert client.receive() == CONTINUE
            for client in clients:
                client.say(EOM)
            for number, client in enumerate(clients):
                wanted = (
                    f"h{number} None {number}-{round_number}@b None r{number}@b Q{number}-{round_number}"
                )
                assert client.receive() == packet(b"h", f"X\0 {wanted}\0".encode())
                assert client.receive() == CONTINUE

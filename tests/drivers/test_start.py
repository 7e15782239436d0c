"""`start_milter`, as a program of its own."""

import signal
import socket
import threading
from typing import Any

import pytest

from demyjpy import (
    AddressError,
    Continue,
    EndOfMessage,
    HandlerError,
    define_event_handlers,
    running,
    serve,
    start_milter,
)
from demyjpy.drivers import start_milter as without_observers
from tests.drivers.peer import ENVELOPE, MESSAGE, WAIT, Peer
from tests.drivers.program import INTERRUPTED, program

SIMPLE = """
handlers.add("mail", lambda event, ctx: ctx)
start_milter(sys.argv[1], handlers, driver=sys.argv[2], on_ready=on_ready)
say("stopped", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, len(threading.enumerate()))
"""
ANYWHERE = "inet:0@127.0.0.1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it(driver, number):
    """SIGTERM and SIGINT stop a milter, which then returns and leaves signals as they were."""
    with program(SIMPLE, ANYWHERE, driver) as milter:
        with Peer(milter.address()) as peer:
            assert peer.begin().message() == (Continue(),)
            milter.tell(number)
            assert peer.has_ended()
        assert milter.end()[-1] == "stopped True 1"
        assert milter.troubles() == []


def test_a_message_in_flight_is_finished(driver, tmp_path):
    """After the signal the message in flight is finished; the file of the socket is gone."""
    with program(SIMPLE, f"unix:{tmp_path}/x.sock", driver) as milter:
        with Peer(milter.address()) as peer:
            peer.begin().ask(MESSAGE[0])
            milter.tell()
            for event in MESSAGE[1:-1]:
                assert peer.ask(event) in (None, Continue())
            assert peer.finish_message() == (Continue(),)
            assert peer.has_ended()
        assert "stopped" in milter.end()[-1]
    assert list(tmp_path.iterdir()) == []


SLOW = """
handlers.add("mail", lambda event, ctx: ctx)

@handlers.end_of_message(blocking=True)
def slow(event, ctx):
    say("at work")
    time.sleep(1000)
handlers.add("disconnect", lambda event, ctx: say("disconnected") or ctx)
start_milter("inet:0@127.0.0.1", handlers, driver=sys.argv[1], grace=1000, on_ready=on_ready)
say("stopped")
"""


def test_a_second_signal_stops_it_at_once(driver):
    """A second signal ends what is still in flight, and no handler that hangs keeps the program."""
    with program(SLOW, driver) as milter:
        address = milter.address()
        with Peer(address) as idle, Peer(address) as busy:
            idle.begin().begin_message()
            busy.begin().begin_message().say(EndOfMessage())
            milter.wait_for("at work")
            milter.tell(signal.SIGTERM)
            milter.tell(signal.SIGINT)
            busy.drain()
            idle.drain()
            assert milter.end()[-1] == "stopped"
    troubles = [line for line in milter.lines if line.startswith(("WARNING", "ERROR"))]
    assert len(troubles) == 2
    assert all("it had not finished when the milter stopped" in line for line in troubles)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_in_the_midst_of_the_first_stops_it_at_once(driver, workers):
    """It is a second one also where the first one has not yet been obeyed."""
    script = INTERRUPTED + SLOW.replace("grace=1000", f"grace=1000, workers={workers}")
    with program(script, driver) as milter, Peer(milter.address()) as busy:
        busy.begin().begin_message().say(EndOfMessage())
        milter.wait_for("at work")
        milter.tell()
        busy.drain()
        assert milter.end()[-1] == "stopped"


def test_a_second_signal_stops_a_handler_that_hangs_before_the_end():
    """A plain handler runs in the thread of its session, which is left where it is."""
    script = SLOW.replace("end_of_message(blocking=True)", "recipient").replace(
        'add("mail"', 'add("hello"'
    )
    with program(script, "threads") as milter, Peer(milter.address()) as busy:
        busy.begin().say(*ENVELOPE)
        milter.wait_for("at work")
        milter.tell(signal.SIGTERM)
        milter.tell(signal.SIGINT)
        busy.drain()
        assert milter.end()[-1] == "stopped"
    (told,) = [line for line in milter.lines if line.startswith(("WARNING", "ERROR"))]
    assert told.endswith("-1: queue id -: closed: it had not finished when the milter stopped")


IN_A_THREAD = """
import asyncio

@handlers.end_of_message
async def slow(event, ctx):
    say(await asyncio.to_thread("{} {at}".format, "look", at="at it"))
    await asyncio.to_thread(time.sleep, 1000)
start_milter("inet:0@127.0.0.1", handlers, loop=sys.argv[1], grace=0.1, on_ready=on_ready)
say("stopped")
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_thread_of_asyncio_is_not_waited_for(loop):
    """A function that was given to `asyncio.to_thread` is left where it is."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with program(IN_A_THREAD, loop) as milter, Peer(milter.address()) as busy:
        busy.begin().begin_message().say(EndOfMessage())
        milter.wait_for("look at it")
        milter.tell()
        busy.drain()
        assert milter.end()[-1] == "stopped"


def test_a_third_signal_ends_a_program_that_hangs():
    """Where a handler blocks the event loop, the third signal does what it does without a milter.

    It is the handler's failure, or one that comes later ends the program: that depends on the time.
    """
    # under nohup SIGINT is ignored, and would be again
    script = "signal.signal(signal.SIGINT, signal.default_int_handler)" + SLOW.replace(
        "blocking=True", ""
    )
    with program(script, "asyncio") as milter:
        with Peer(milter.address()) as peer:
            peer.begin().begin_message().say(EndOfMessage())
            milter.wait_for("at work")
            milter.tell(signal.SIGTERM)
            milter.tell_until_ended(signal.SIGINT)
        assert milter.wait() in (0, -signal.SIGINT)
        assert any("KeyboardInterrupt" in line for line in milter.lines)


def test_a_signal_may_come_early(driver):
    """A signal that comes before the milter serves is not lost."""
    script = """
def on_ready(address):
    os.kill(os.getpid(), signal.SIGTERM)
    say("killed")
start_milter("inet:0@127.0.0.1", handlers, driver=sys.argv[1], on_ready=on_ready)
say("stopped")
"""
    with program(script, driver) as milter:
        assert milter.end()[-2:] == ["killed", "stopped"]


def test_it_can_be_started_again(driver):
    """A program may start one milter after the other, at the same address."""
    script = """
for number in range(2):
    start_milter(sys.argv[1], handlers, driver=sys.argv[2], on_ready=on_ready)
say("stopped")
"""
    with running({}, driver=driver) as free:
        pass
    with program(script, free, driver) as milter:
        for _ in range(2):
            with Peer(milter.address()) as peer:
                peer.begin()
                milter.tell()
                assert peer.has_ended()
        assert milter.end()[-1] == "stopped"


def test_the_log_says_where_it_listens(driver):
    """A program that asks for nothing finds the address in its log."""
    script = 'start_milter("inet:0@127.0.0.1", handlers, driver=sys.argv[1])'
    with program(script, driver) as milter:
        with Peer(milter.wait_for(rf"INFO listening on (\S+) \(driver {driver}, workers 1\)")) as peer:
            peer.begin()
            milter.tell()
            assert peer.has_ended()
        milter.end()


def test_an_inherited_socket(driver):
    """A socket that a supervisor listens on is taken over by its number."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        fd = listener.fileno()
        with program(SIMPLE, f"fd:{fd}", driver, fds=(fd,)) as milter:
            address = milter.address()
            assert address == f"inet:{listener.getsockname()[1]}@127.0.0.1"
            with Peer(address) as peer:
                assert peer.begin().message() == (Continue(),)
                milter.tell()
                assert peer.has_ended()
            milter.end()


def test_in_another_thread(driver):
    """In a thread that is not the main one a milter serves without handling signals."""
    script = """
arguments = {"driver": sys.argv[1], "on_ready": on_ready}
threading.Thread(target=start_milter, args=(0, handlers), kwargs=arguments, daemon=True).start()
sys.stdin.read()
"""
    script = script.replace("sys.stdin.read()", "signal.sigwait({signal.SIGUSR1})")
    script = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n" + script
    with program(script, driver) as milter:
        with Peer(milter.address()) as peer:
            peer.begin()
        milter.tell(signal.SIGUSR1)
        milter.end()


def test_workers_need_the_main_thread():
    """Several workers are refused in a thread that is not the main one."""
    errors: list[BaseException] = []

    def start() -> None:
        try:
            start_milter(0, {}, workers=2)
        except HandlerError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(WAIT)
    (error,) = errors
    assert "expected workers=1 in a thread that is not the main one, got 2" in str(error)


async def async_handler(event: Any, ctx: Any) -> Any:
    """One that needs an event loop."""
    return ctx


BAD = {
    "driver": ({"driver": "trio"}, HandlerError, "expected driver 'asyncio' or 'threads', got 'trio'"),
    "workers": ({"workers": 0}, HandlerError, "expected workers to be a number from 1, got 0"),
    "workers type": ({"workers": "2"}, HandlerError, "expected workers to be a number from 1, got '2'"),
    "filter": ({"on_connect": 42}, HandlerError, "expected a registry or a function ctx -> ctx, got 42"),
    "on_error": ({"on_error": "panic"}, HandlerError, "expected on_error .* got 'panic'"),
    "async": (
        {"driver": "threads", "on_connect": define_event_handlers({"body": async_handler})},
        HandlerError,
        r"expected plain handlers .*got async def tests\.drivers\.\S+async_handler at body",
    ),
    "async map": (
        {"driver": "threads", "on_connect": {"body": async_handler}},
        HandlerError,
        'use driver="asyncio"',
    ),
    "option": ({"graze": 1}, TypeError, "graze"),
    "time": ({"idle_timeout": 0}, ValueError, "idle_timeout"),
    "limits": ({"limits": 3}, TypeError, "limits"),
    "connections": ({"max_connections": 0}, ValueError, "connections"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_run_is_refused_first(name, tmp_path):
    """A filter or an option that cannot be right is refused before anything is opened."""
    options, kind, message = BAD[name]
    path = tmp_path / "x.sock"
    path.write_text("not touched")
    arguments = {"on_connect": {}, **options}
    for start in (start_milter, running_once):
        if start is start_milter or "workers" not in options:
            with pytest.raises(kind, match=message):
                start(address=path, **arguments)


def running_once(**arguments: Any) -> None:
    """`running`, begun and left."""
    with running(**arguments):
        pass


def test_an_address_that_cannot_be_used(tmp_path):
    """Where it cannot listen, starting raises `AddressError`."""
    path = tmp_path / "x.sock"
    path.write_text("not touched")
    for start in (start_milter, running_once):
        with pytest.raises(AddressError, match="the file there is no socket"):
            start(address=path, on_connect={})


def test_a_driver_that_cannot_start(driver):
    """What keeps a driver from starting in the background is raised where it was asked for."""
    script = """
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), 64))
try:
    with running(handlers, driver=sys.argv[1]):
        pass
except OSError as error:
    say("failed", error.strerror)
"""
    with program(script.replace("/proc/self/fd", "/proc/self/fd"), driver) as milter:
        milter.wait_for("failed Too many open files")
        milter.wait()


@pytest.mark.parametrize("function", [start_milter, serve, without_observers, running])
def test_an_option_that_there_is_not(function):
    """The function is named, and what was meant."""
    start = {running: lambda *given, **options: running(*given[1:], **options).__enter__()}
    for name, meant in (("driverr", "; did you mean driver=?"), ("idle_timout", "; did you mean idle_")):
        if function is serve and name == "driverr":
            continue
        with pytest.raises(TypeError) as error:
            start.get(function, function)(ANYWHERE, define_event_handlers(), **{name: 3})
        expected = f"{function.__name__}: expected one of its options, got {name}={meant}"
        assert str(error.value).startswith(expected)
    with pytest.raises(TypeError, match=r"expected one of its options, got xyzzy=$"):
        start.get(function, function)(ANYWHERE, define_event_handlers(), xyzzy=3)


def test_workers_may_be_misspelled():
    """By one letter."""
    with pytest.raises(TypeError, match=r"^start_milter: .*worker=; did you mean workers=\?$"):
        start_milter(ANYWHERE, define_event_handlers(), worker=3)


STUBBORN = """
import asyncio

@handlers.end_of_message
async def hang(event, ctx):
    say("at work")
    children = [asyncio.create_task(stay()) for _ in range(2)]
    await stay()

async def stay():
    while True:
        try:
            await asyncio.sleep(3600)
        except CAUGHT:
            pass

@handlers.abort
async def abort(event, ctx):
    say("abort")
    return ctx

@handlers.disconnect
async def disconnect(event, ctx):
    say("disconnect")
    return ctx

start_milter("inet:0@127.0.0.1", handlers, on_ready=on_ready, grace=0.2, workers=int(sys.argv[1]))
say("stopped")
"""


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("caught", ["asyncio.CancelledError", "BaseException"])
def test_a_coroutine_that_swallows_its_cancellation_is_left_behind(number, workers, caught):
    """After one signal and the grace period; its session ends as any other, and the log says so.

    Who swallows its GeneratorExit, too, would never end once it is forgotten.
    """
    with program(STUBBORN.replace("CAUGHT", caught), workers) as milter, Peer(milter.address()) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        milter.wait_for("at work")
        milter.tell(number)
        peer.drain()
        assert milter.end()[-1] == "stopped"
    assert milter.lines.count("abort") == milter.lines.count("disconnect") == 1
    failed, left = [line for line in milter.lines if line.startswith(("WARNING", "ERROR"))]
    assert "hang failed at end_of_message: HandlerError: it had not finished when the milter" in failed
    assert left == "WARNING tasks that were cancelled have not ended, and are left behind: 3"


HANGING = """
@handlers.mail
def hang(event, ctx):
    say("at work")
    while True:
        time.sleep(0.01)

start_milter("inet:0@127.0.0.1", handlers, on_ready=on_ready, grace=0)
say("stopped")
"""


def test_interrupting_a_handler_that_hangs_stops_the_milter():
    """The third signal ends the handler, and with it what was asked for twice is done."""
    with program(HANGING) as milter, Peer(milter.address()) as peer:
        peer.begin().say(ENVELOPE[0])
        milter.wait_for("at work")
        milter.tell_until_ended(signal.SIGINT)
    assert milter.lines[-1] == "stopped" or milter.process.returncode in (1, -signal.SIGINT)


def test_one_signal_stops_it_while_a_handler_is_at_work(driver):
    """What a handler raises is its own failure; Ctrl-C is the milter's."""
    script = """
@handlers.mail
def work(event, ctx):
    say("at work")
    time.sleep(0.5)
    return ctx

start_milter("inet:0@127.0.0.1", handlers, driver=sys.argv[1], on_ready=on_ready, grace=0)
say("stopped")
"""
    with program(script, driver) as milter, Peer(milter.address()) as peer:
        peer.begin().say(ENVELOPE[0])
        milter.wait_for("at work")
        milter.tell(signal.SIGINT)
        assert milter.end()[-1] == "stopped"

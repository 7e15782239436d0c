"""Resources of filters: opened before they serve, closed after the last session, or not opened."""

import asyncio
import os
import queue
import signal
import threading
from contextlib import asynccontextmanager, contextmanager

import pytest

from demyjpy import HandlerError, define_event_handlers, merge_handlers, running, serve
from demyjpy.drivers import resources as resources_module
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.resources import Resources
from demyjpy.drivers.side_loop import SideLoop
from demyjpy.drivers.threads import ThreadServer
from tests.drivers.filters import wait_until
from tests.drivers.peer import WAIT, Peer
from tests.drivers.program import children, is_gone, program


class Kept:
    """What was opened and closed, in order; it makes the functions that do it."""

    def __init__(self):
        self.notes = []

    def plain(self, name):
        """One with a plain context manager."""

        @contextmanager
        def make(settings):
            self.notes.append(("open", name, settings.get("at")))
            try:
                yield name.upper()
            finally:
                self.notes.append(("close", name))

        return make

    def asynchronous(self, name):
        """One with an async context manager, which is left in the task that entered it."""

        @asynccontextmanager
        async def make(settings):
            async with asyncio.timeout(None):
                self.notes.append(("open", name, settings.get("at")))
                yield name.upper()
                self.notes.append(("close", name))

        return make


@pytest.fixture
def kept():
    """What this test opens and closes."""
    return Kept()


@contextmanager
def opened(handlers, settings=None, seconds=WAIT):
    """The resources of a server, with the loop that the threads driver has."""
    side = SideLoop()
    found = Resources(settings or {}, side)
    try:
        yield found, found.open(handlers, seconds)
    finally:
        for one in found.end():
            one.result(WAIT)
        side.stop()


def test_they_are_open_before_the_first_connection_and_closed_after_the_last(driver, kept):
    """In the order of the declaration, with the settings; closed the other way round."""
    makes = {"redis": kept.plain("redis"), "http": kept.asynchronous("http")}
    filter_ = define_event_handlers(resources=makes, name="greylist")
    with running(filter_, driver=driver, settings={"at": "here"}) as address:
        assert kept.notes == [("open", "redis", "here"), ("open", "http", "here")]
        with Peer(address) as peer:
            peer.begin().message()
        assert len(kept.notes) == 2
    assert kept.notes[2:] == [("close", "http"), ("close", "redis")]


def test_each_filter_has_its_own(kept):
    """Though they have the same names, and a copy of a filter has those of the filter."""
    a = define_event_handlers(resources={"db": kept.plain("a")}, name="a")
    b = define_event_handlers({"mail": lambda event, ctx: ctx}, resources={"db": kept.plain("b")})
    other = define_event_handlers(resources={"db": kept.plain("c")}, name="c")
    with opened(merge_handlers(a, b)) as (resources, opening):
        opening.result(WAIT)
        assert resources.of(a.declarations) == {"db": "A"}
        assert resources.of(b.declarations) == {"db": "B"}
        copy = define_event_handlers(resources=b.declarations.resources, name="copy")
        assert resources.of(copy.declarations) == {"db": "B"}
        assert resources.of(define_event_handlers().declarations) == {}
        with pytest.raises(HandlerError, match="expected the resources db to be open, got none"):
            resources.of(other.declarations)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda settings: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda settings: 42, "no context manager but 42"),
    ],
)
def test_one_that_does_not_open_ends_the_start(driver, kept, make, why):
    """The error names filter and resource; what was opened before is closed."""
    filter_ = define_event_handlers(resources={"db": kept.plain("db"), "bad": make}, name="acl")
    said = f"expected the resource 'bad' of acl to open, got {why}"
    with pytest.raises(HandlerError, match=said), running(filter_, driver=driver):
        raise AssertionError
    wait_until(lambda: kept.notes == [("open", "db", None), ("close", "db")])


def test_an_async_one_that_does_not_open():
    """It says the same."""

    @asynccontextmanager
    async def make(settings):
        raise OSError("no route")
        yield

    filter_ = define_event_handlers(resources={"http": make}, name="acl")
    said = "'http' of acl to open, got OSError: no route"
    with opened(filter_) as (_, opening), pytest.raises(HandlerError, match=said):
        opening.result(WAIT)


def test_one_that_takes_too_long_ends_the_start(driver, gate, kept):
    """When it opens after all, it is closed."""

    @contextmanager
    def slow(settings):
        gate.wait(WAIT)
        with kept.plain("slow")(settings):
            yield

    filter_ = define_event_handlers(resources={"slow": slow}, name="acl")
    said = r"'slow' of acl to open within 0\.05 s \(the option load_timeout=\)"
    started = running(filter_, driver=driver, load_timeout=0.05)
    with pytest.raises(HandlerError, match=said), started:
        raise AssertionError
    gate.set()
    wait_until(lambda: kept.notes == [("open", "slow", None), ("close", "slow")])


def test_one_that_fails_too_late_is_not_heard_any_more(gate):
    """There is nothing to close."""
    is_over = threading.Event()

    def slow(settings):
        gate.wait(WAIT)
        is_over.set()
        raise OSError("late")

    with opened(define_event_handlers(resources={"slow": slow}), seconds=0.05) as (_, opening):
        with pytest.raises(HandlerError, match=r"within 0\.05 s"):
            opening.result(WAIT)
        gate.set()
        assert is_over.wait(WAIT)


def test_a_server_in_threads_of_the_users_takes_another_filter(kept):
    """`ThreadServer.adopt` says when it has, or why not."""
    first = define_event_handlers(resources={"db": kept.plain("first")})
    second = define_event_handlers(resources={"db": kept.plain("second")})
    ended = queue.SimpleQueue()
    with ThreadServer(parse_address("inet:0@127.0.0.1"), first) as server:
        server.adopt(second, ended.put)
        assert ended.get(timeout=WAIT) == ""
        wait_until(lambda: kept.notes[-1] == ("close", "first"))
        assert server.resources_of(second.declarations) == {"db": "SECOND"}


def test_an_async_one_that_takes_too_long_is_cancelled(monkeypatch):
    """It is waited for no more."""
    monkeypatch.setattr(resources_module, "_LATER", 0.0)
    ended = threading.Event()

    @asynccontextmanager
    async def hang(settings):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        yield

    filter_ = define_event_handlers(resources={"hang": hang}, name="acl")
    with opened(filter_, seconds=0.05) as (_, opening):
        with pytest.raises(HandlerError, match="expected the resource 'hang' of acl to open"):
            opening.result(WAIT)
        assert ended.wait(WAIT)


def test_one_that_does_not_close_is_logged_and_the_others_are_closed(driver, kept, log):
    """The line names it."""

    @contextmanager
    def bad(settings):
        yield
        raise OSError("broken pipe")

    @asynccontextmanager
    async def worse(settings):
        yield
        raise OSError("gone")

    makes = {"db": kept.plain("db"), "bad": bad, "worse": worse}
    with running(define_event_handlers(resources=makes, name="acl"), driver=driver):
        pass
    assert log.take() == [
        "the resource 'worse' of acl did not close: OSError: gone",
        "the resource 'bad' of acl did not close: OSError: broken pipe",
    ]
    assert kept.notes[-1] == ("close", "db")


def test_one_that_hangs_as_it_closes_is_left(driver, gate, log, monkeypatch):
    """The milter stops all the same."""
    for module in ("aio", "threads"):
        monkeypatch.setattr(f"demyjpy.drivers.{module}.CLOSING", 0.05)

    @contextmanager
    def hangs(settings):
        yield
        gate.wait(WAIT)

    with running(define_event_handlers(resources={"db": hangs}), driver=driver):
        pass
    assert log.take_one() == "resources did not close within 0.05 s, and are left as they are"


def test_a_holder_keeps_them_open(kept):
    """The last one to release them closes them, once."""
    with opened(define_event_handlers(resources={"db": kept.plain("db")})) as (_, opening):
        one = opening.result(WAIT)
        one.hold()
        one.release()
        assert kept.notes == [("open", "db", None)]
        one.release()
        one.closed.result(WAIT)
        assert kept.notes[-1] == ("close", "db")
        one.close()
    assert len(kept.notes) == 2


def test_what_opens_as_the_server_ends_is_closed(gate, kept):
    """Nobody will ask for it."""

    @contextmanager
    def slow(settings):
        gate.wait(WAIT)
        with kept.plain("slow")(settings):
            yield

    with opened(define_event_handlers(resources={"slow": slow})) as (resources, opening):
        assert resources.end() == ()
        gate.set()
        opening.result(WAIT).closed.result(WAIT)
        assert kept.notes[-1] == ("close", "slow")


def test_without_a_thread_nothing_opens_and_what_is_open_is_left(monkeypatch, kept, log):
    """The error and the log say so."""
    filter_ = define_event_handlers(resources={"db": kept.plain("db")})
    start = BIRTHS.start

    def fail(thread):
        if thread.name in missing:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(BIRTHS, "start", fail)
    missing = {"demyjpy-open"}
    said = "expected a thread to open resources in, got none"
    with opened(filter_) as (_, opening), pytest.raises(HandlerError, match=said):
        opening.result(WAIT)
    missing = {"demyjpy-open-all"}
    with opened(filter_) as (_, opening), pytest.raises(RuntimeError, match="can't start"):
        opening.result(WAIT)
    missing = {"demyjpy-close"}
    with opened(filter_) as (_, opening):
        opening.result(WAIT)
    assert log.take_one() == "cannot close resources: can't start new thread"


def test_settings_are_a_map():
    """Anything else is an error; nobody can change them."""
    with pytest.raises(HandlerError, match="settings"):
        ServerOptions(settings=3)
    assert ServerOptions(settings=None).settings == {}
    with pytest.raises(TypeError):
        ServerOptions(settings={"a": 1}).settings["a"] = 2


def test_a_server_in_a_loop_of_the_users_has_them_too(kept):
    """And says what a filter has: `resources_of`."""
    filter_ = define_event_handlers(resources={"http": kept.asynchronous("http")})

    async def main():
        async with serve("inet:0@127.0.0.1", filter_, grace=1) as server:
            return server.resources_of(filter_.declarations)["http"]

    assert asyncio.run(main()) == "HTTP"
    assert kept.notes[-1] == ("close", "http")


# -------------------------------------------------------------------------- in a program of its own
SERVE = """
from contextlib import asynccontextmanager, contextmanager
versions = []

def make():
    version = str(len(versions))
    versions.append(version)

    @contextmanager
    def open_it(settings):
        if version in sys.argv[3].split(","):
            raise ConnectionRefusedError("no database")
        if version == "1" and os.path.exists(sys.argv[3]):
            os.unlink(sys.argv[3])
            raise ConnectionRefusedError("not yet")
        say("opened", version, os.getpid())
        yield
        say("closed", version, os.getpid())

    @asynccontextmanager
    async def open_async(settings):
        say("entered", version, settings["name"])
        yield

    makes = {"db": open_it, "http": open_async}
    found = define_event_handlers(actions={"add_header"}, resources=makes, name="acl")
    found.add("mail", lambda event, ctx: ctx)
    found.add("end_of_message", lambda event, ctx: add_header(ctx, "X-Version", version))
    return found

options = {"driver": sys.argv[1], "workers": int(sys.argv[2]), "settings": {"name": "x"}, "grace": 5}
start_milter("inet:0@127.0.0.1", make(), on_ready=on_ready, reload=make, **options)
say("stopped")
"""


def version(peer):
    """The version of the filter that a message meets."""
    return peer.message()[0].value


def test_at_a_reload_the_old_ones_close_after_the_last_session(driver):
    """Those of the new filter are open before it serves."""
    with program(SERVE, driver, "1", "-") as milter:
        address = milter.address()
        milter.wait_for("entered 0 x")
        with Peer(address) as peer:
            assert version(peer.begin()) == "0"
            milter.tell(signal.SIGHUP)
            milter.wait_for("entered 1 x")
            milter.wait_for("the filter was loaded again")
            assert version(peer) == "0"
            with Peer(address) as other:
                assert version(other.begin()) == "1"
            assert not [line for line in milter.lines if line.startswith("closed")]
        milter.wait_for("closed 0")
        milter.tell()
        milter.wait_for("closed 1")
        milter.end()
    assert milter.troubles() == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_filter_whose_resources_do_not_open_at_a_reload_changes_nothing(driver, workers):
    """One line says why, and the old filter stays; the next attempt may work."""
    with program(SERVE, driver, workers, "1,2" if workers == "1" else "1") as milter:
        address = milter.address()
        for _ in range(int(workers)):
            milter.wait_for("entered 0 x")
        milter.tell(signal.SIGHUP)
        line = milter.wait_for("ERROR .*")
        assert line == (
            "ERROR the filter was not loaded again and stays as it was: expected the resource 'db' of "
            "acl to open, got ConnectionRefusedError: no database"
        )
        with Peer(address) as peer:
            assert version(peer.begin()) == "0"
        if workers == "2":  # the process that loads has its own count
            wait_until(lambda: len(children(milter.process.pid)) <= 3)
        milter.tell()
        milter.end()
    assert milter.troubles() == [line]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_filter_whose_resources_do_not_open_does_not_start(driver, workers):
    """The exit status is 1, and the error says why."""
    with program(SERVE, driver, workers, "0") as milter:
        assert milter.wait() == 1
        last = milter.lines[-1]
    assert last.endswith("'db' of acl to open, got ConnectionRefusedError: no database")
    assert last.startswith("demyjpy.errors.HandlerError: expected the resource")
    assert "stopped" not in milter.lines


def test_workers_with_new_resources_replace_the_old_ones():
    """The old ones close theirs when they end."""
    with program(SERVE, "asyncio", "2", "-") as milter:
        address = milter.address()
        old = [int(milter.wait_for(r"opened 0 (\d+)")) for _ in range(2)]
        milter.wait_for("entered 0")
        milter.tell(signal.SIGHUP)
        milter.wait_for("the filter was loaded again")
        for _ in range(2):
            milter.wait_for("has an old filter")
        assert all(is_gone(pid) for pid in old)
        with Peer(address) as peer:
            assert version(peer.begin()) == "1"
        milter.tell()
        milter.end()
    assert len([line for line in milter.lines if line.startswith("closed 0")]) == 2
    assert milter.troubles() == []


def test_a_later_worker_that_cannot_open_them_is_tried_again(tmp_path):
    """The log says why it has ended."""
    script = SERVE.replace('version == "1" and', 'version == "0" and')
    flag = tmp_path / "not yet"
    with program(script, "asyncio", "2", str(flag)) as milter:
        milter.address()
        pids = [int(milter.wait_for(r"opened 0 (\d+)")) for _ in range(2)]
        flag.touch()
        os.kill(pids[0], signal.SIGKILL)
        milter.wait_for("ended with signal 9; starting another")
        line = milter.wait_for("ERROR (.*)")
        assert "ended with expected the resource 'db' of acl to open, got ConnectionRefusedErr" in line
        assert "not yet; starting another in" in line
        milter.wait_for("opened 0")
        milter.tell()
        milter.end()

"""Jobs of filters: done every so often, by one process of all, never twice at once."""

import asyncio
import os
import queue
import signal
import tempfile
import threading
from contextlib import contextmanager
from typing import Any

import pytest
from attrs import frozen

from demyjpy import HandlerError, define_event_handlers, merge_handlers, running
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.roles import Role
from demyjpy.drivers.threads import ThreadServer
from demyjpy.testing import run_job
from tests.drivers.filters import wait_until
from tests.drivers.peer import WAIT
from tests.drivers.program import is_gone, program

OFTEN = 0.02


@frozen
class Tell:
    """A job that tells what it got."""

    told: Any

    def perform(self, resources):
        self.told.put((threading.current_thread().name, dict(resources)))
        return len(resources)


@frozen
class TellAsync:
    """The same in a loop."""

    told: Any

    async def perform(self, resources):
        await asyncio.sleep(0)
        self.told.put((threading.current_thread().name, dict(resources)))
        return len(resources)


@frozen
class Slow:
    """A job that takes until the gate opens, and counts how many run at once."""

    gate: Any
    told: Any

    def perform(self, resources):
        self.told.put("begins")
        self.gate.wait(WAIT)
        self.told.put("ends")


@frozen
class Fails:
    """A job that fails."""

    told: Any

    def perform(self, resources):
        self.told.put("fails")
        raise KeyError("on purpose")


@pytest.fixture
def told():
    """What the jobs of this test tell."""
    return queue.SimpleQueue()


@contextmanager
def open_db(settings):
    """A resource: its name is in the settings."""
    yield settings.get("db", "DB")


def test_a_job_is_done_again_and_again_with_its_resources(driver, told):
    """A plain one in a thread, an async one in the driver's loop or in the side loop."""
    a = define_event_handlers(every={OFTEN: Tell(told)}, resources={"db": open_db}, name="a")
    b = define_event_handlers(every={OFTEN: TellAsync(told)}, name="b")
    with running(merge_handlers(a, b), driver=driver):
        heard = [told.get(timeout=WAIT) for _ in range(12)]
    loop = "demyjpy-side-loop" if driver == "threads" else "demyjpy-asyncio"
    assert set(map(str, heard)) == {
        str(("demyjpy-job", {"db": "DB"})),
        str((loop, {})),
    }


def test_a_job_never_runs_twice_at_once(driver, told, gate):
    """What is due meanwhile is not made up for."""
    handlers = define_event_handlers(every={OFTEN: Slow(gate, told), 2 * OFTEN: Tell(told)})
    with running(handlers, driver=driver, grace=WAIT):
        heard = []
        while sum(one != "begins" for one in heard) < 3:  # the other one goes on
            heard.append(told.get(timeout=WAIT))
        assert heard.count("begins") == 1
        gate.set()
    assert "ends" in [told.get() for _ in range(told.qsize())]


def test_it_is_first_done_after_its_period(driver, told):
    """Not when the milter starts."""
    with running(define_event_handlers(every={3600: Tell(told)}), driver=driver):
        pass
    assert told.empty()


def test_failures_are_logged_once_a_minute(driver, told, log):
    """One line for a cause, with the names of job and filter."""
    with running(define_event_handlers(every={OFTEN: Fails(told)}, name="acl"), driver=driver):
        for _ in range(4):
            told.get(timeout=WAIT)
    assert log.take_one() == "the job Fails of acl failed: KeyError: 'on purpose'"


def test_a_job_that_has_not_ended_after_the_grace_period_is_left(driver, told, gate, log):
    """The log names it, and the milter stops."""
    handlers = define_event_handlers(every={OFTEN: Slow(gate, told)}, name="acl")
    with running(handlers, driver=driver, grace=0.05):
        told.get(timeout=WAIT)
    said = "the job Slow of acl: it had not finished when the milter stopped"
    assert log.take_one() == said


def test_an_async_one_is_cancelled_then(driver, told, log):
    """It can clean up."""

    @frozen
    class Hang:
        async def perform(self, resources):
            told.put("begins")
            try:
                await asyncio.Event().wait()
            finally:
                told.put("cancelled")

    with running(define_event_handlers(every={OFTEN: Hang()}, name="acl"), driver=driver, grace=0.05):
        told.get(timeout=WAIT)
    assert told.get(timeout=WAIT) == "cancelled"
    assert log.take_one() == "the job Hang of acl: it had not finished when the milter stopped"


def test_without_a_thread_none_is_done(driver, told, log, monkeypatch):
    """The log says so; the mail is served."""
    start = BIRTHS.start

    def fail(thread):
        if thread.name == missing:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(BIRTHS, "start", fail)
    handlers = define_event_handlers(every={OFTEN: Tell(told)}, name="acl")
    missing = "demyjpy-jobs"
    with running(handlers, driver=driver):
        pass
    assert log.take_one() == "no jobs run: can't start new thread"
    missing = "demyjpy-job"
    with running(handlers, driver=driver):
        wait_until(log.records)
    assert log.take_one() == "the job Tell of acl failed: RuntimeError: can't start new thread"
    assert told.empty()


def test_the_jobs_of_another_filter_replace_them(told):
    """Those that run go on, and only when they have ended the others begin."""
    gate = threading.Event()
    first = define_event_handlers(every={OFTEN: Slow(gate, told)})
    second = define_event_handlers(every={OFTEN: Tell(told)})
    with ThreadServer(parse_address("inet:0@127.0.0.1"), first) as server:
        assert told.get(timeout=WAIT) == "begins"
        server.adopt(second, told.put)
        assert told.get(timeout=WAIT) == ""
        threading.Event().wait(5 * OFTEN)
        assert told.empty()
        gate.set()
        assert told.get(timeout=WAIT) == "ends"
        assert told.get(timeout=WAIT) == ("demyjpy-job", {})
        assert "begins" not in [told.get(timeout=WAIT) for _ in range(3)]


# ------------------------------------------------------------------------------------------- roles
def test_one_owner_has_a_role_at_a_time():
    """Another one when it has left."""
    role = Role()
    assert role.take("a")
    assert role.take("a")
    assert not role.take("b")
    role.leave("b")
    assert not role.take("b")
    role.leave("a")
    assert role.take("b")
    role.close()


def test_without_a_file_for_it_nobody_has_a_shared_role(monkeypatch, log, tmp_path):
    """The log says so."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    role = Role.shared()
    assert not role.take("a")
    role.leave("a")
    role.close()
    assert log.take_one().startswith("no jobs run: cannot make a file that says which worker")


SERVE = """
from attrs import frozen

@frozen
class Tell:
    version: int
    def perform(self, resources):
        say("job", self.version, os.getpid())

versions = []
def make():
    versions.append(1)
    return define_event_handlers({"mail": lambda event, ctx: ctx}, every={0.05: Tell(len(versions))})

options = {"driver": sys.argv[1], "workers": 2, "on_ready": on_ready, "reload": make}
start_milter("inet:0@127.0.0.1", make(), **options)
"""


def test_of_several_workers_one_does_them_until_it_dies(driver):
    """Then another does; after a reload it is one with the new filter."""
    with program(SERVE, driver) as milter:
        milter.address()
        first = int(milter.wait_for(r"^job 1 (\d+)"))
        assert {int(milter.wait_for(r"^job 1 (\d+)")) for _ in range(8)} == {first}
        os.kill(first, signal.SIGKILL)
        assert is_gone(first)
        milter.wait_for("ended with signal 9")
        second = int(milter.wait_for(r"^job 1 (\d+)"))
        assert second != first
        assert {int(milter.wait_for(r"^job 1 (\d+)")) for _ in range(8)} == {second}
        milter.tell(signal.SIGHUP)
        third = int(milter.wait_for(r"^job 2 (\d+)"))
        assert {int(milter.wait_for(r"^job (?:1|2) (\d+)")) for _ in range(8)} == {third}
        milter.tell()
        milter.end()


# -------------------------------------------------------------------------------------------- tests
def test_run_job_does_one_once(told):
    """By its period or by itself, with what the filter declares or what is given."""
    job = TellAsync(told)
    handlers = define_event_handlers(every={60: Tell(told), 3600: job}, resources={"db": open_db})
    assert run_job(handlers, 60, settings={"db": "test"}) == 1
    assert told.get()[1] == {"db": "test"}
    assert run_job(handlers, job, resources={}) == 0
    assert told.get()[1] == {}


def test_run_job_raises_what_the_job_raises(told):
    """Nothing is logged."""
    with pytest.raises(KeyError, match="on purpose"):
        run_job(define_event_handlers(every={60: Fails(told)}), 60)


def test_run_job_names_the_jobs_that_there_are(told):
    """If the filter has not this one."""
    with pytest.raises(HandlerError, match="among 60: Tell; got 61"):
        run_job(define_event_handlers(every={60: Tell(told)}), 61)
    with pytest.raises(HandlerError, match="among none; got 61"):
        run_job(define_event_handlers(), 61)

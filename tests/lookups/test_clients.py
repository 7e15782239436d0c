"""How a question finds its client, and how the metrics see what breakers do."""

import asyncio
import gc
import os

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from demyjpy import define_event_handlers
from demyjpy.drivers.asker import CANCELLED_LATE
from demyjpy.drivers.breaker_log import BREAKERS, MOST_CHANGES, BreakerLog, Change, Mark
from demyjpy.errors import HandlerError
from demyjpy.lookups.clients import DEFAULTS, Defaults, client_of
from demyjpy.metrics import Metrics, counting
from demyjpy.metrics.board import Board
from demyjpy.metrics.figures import GAUGES, Shared
from tests.drivers.test_asker import Once, answers, asked
from tests.engine.harness import OPENING, play


class Client:
    """Any client."""


def test_the_resource_of_the_filter_comes_before_the_default():
    """The default is one for each loop."""

    async def main():
        own = Client()
        assert client_of({"x": own}, "x", Client, Client) is own
        shared = client_of({}, "x", Client, Client)
        assert client_of({}, "x", Client, Client) is shared
        return shared

    assert asyncio.run(main()) is not asyncio.run(main())


def test_a_loop_that_is_gone_takes_its_clients_with_it():
    """Nothing is kept for a loop that has ended."""
    defaults = Defaults()

    async def main():
        defaults.get(Client, Client)

    asyncio.run(main())
    gc.collect()
    assert len(defaults._by_loop) == 0
    assert DEFAULTS is not defaults


@pytest.mark.parametrize(("resources", "got"), [({}, "none"), ({"x": 3}, "int")])
def test_an_error_says_what_to_declare(resources, got):
    """With the line to write."""
    with pytest.raises(HandlerError) as caught:
        client_of(resources, "x", Client, example='Client("redis://...")')
    assert f"to be a Client, got {got}" in str(caught.value)
    assert "declare resources={'x': lambda settings: Client(\"redis://...\")}" in str(caught.value)


def test_an_async_performer_is_told_that_it_was_late():
    """A circuit breaker counts that; one whose client has gone away is cancelled without a word."""
    words = []

    async def perform(question, resources):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            words.append(error.args)
            raise

    async def go_away(asker):
        cancel = asker.begin(asked(Once("b"), perform), lambda *told: None)
        await asyncio.sleep(0)
        cancel()

    answers(asked(Once("a"), perform, within=0.01), before=go_away)
    assert words == [(), (CANCELLED_LATE,)]


# ------------------------------------------------------------------------------------- the metrics
def test_each_reader_takes_each_change_once():
    """What is too old is lost, not repeated."""
    log = BreakerLog()
    one = Mark(log)
    change = Change("dns", "a", is_open=True)
    log.add(change)
    other = Mark(log)
    assert (one.take(), one.take(), other.take()) == ((change,), (), ())
    for _ in range(MOST_CHANGES + 1):
        log.add(change)
    assert (len(one.take()), len(other.take()), one.take()) == (MOST_CHANGES, MOST_CHANGES, ())


def shown_by(metrics, collect):
    """What Prometheus reads of breakers when a session has been, in which one opened."""
    handlers = define_event_handlers({"mail": lambda event, ctx: ctx})
    BREAKERS.add(Change("dns", "192.0.2.1", is_open=True))
    BREAKERS.add(Change("redis", "192.0.2.2", is_open=True))
    BREAKERS.add(Change("redis", "192.0.2.2", is_open=False))
    play(handlers, *OPENING, observer=metrics)
    lines = generate_latest(collect).decode().splitlines()
    return [line for line in lines if line.startswith("demyjpy_breaker") and "_created" not in line]


EXPECTED = {
    'demyjpy_breakers_open{lookup="dns",server="192.0.2.1"} 1.0',
    'demyjpy_breakers_open{lookup="redis",server="192.0.2.2"} 0.0',
    'demyjpy_breaker_openings_total{lookup="dns",server="192.0.2.1"} 1.0',
    'demyjpy_breaker_openings_total{lookup="redis",server="192.0.2.2"} 1.0',
}


def test_the_metrics_show_which_breakers_are_open():
    """In a registry of Prometheus, and on the board of several processes."""
    registry = CollectorRegistry()
    assert set(shown_by(Metrics(registry), registry)) == EXPECTED
    board = Board(1, GAUGES)
    shared = Shared(board)
    assert set(shown_by(Metrics(sink=shared), shared)) == EXPECTED
    board.close()


def test_a_process_that_has_ended_has_no_open_breaker():
    """The one in its place begins with none; what was counted stays counted."""
    board = Board(1, GAUGES)
    shared = Shared(board)
    if not (pid := os.fork()):
        shown_by(Metrics(sink=shared), shared)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.figures()["breakers_open", "dns", "192.0.2.1"] == [1.0]
    shared.add([])
    assert board.figures()["breakers_open", "dns", "192.0.2.1"] == [0.0]
    assert board.figures()["breaker_openings", "dns", "192.0.2.1"] == [1.0]
    board.close()


def test_servers_that_are_told_apart_are_bounded(monkeypatch):
    """Else mail could name as many as it likes."""
    monkeypatch.setattr(counting, "_MOST_SERVERS", 1)
    registry = CollectorRegistry()
    assert {line.rpartition(" ")[0] for line in shown_by(Metrics(registry), registry)} == {
        f'demyjpy_{name}{{lookup="{lookup}",server="{server}"}}'
        for name in ("breakers_open", "breaker_openings_total")
        for lookup, server in (("dns", "192.0.2.1"), ("redis", "other"))
    }

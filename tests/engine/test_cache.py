"""What is worked out once, for all connections to come."""

import gc
from typing import Any
from weakref import ref

from demyjpy import events as ev
from demyjpy.context import new_context
from demyjpy.engine.cache import Cache, Caches
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.handlers import default_event_handler, define_event_handlers, with_handlers
from demyjpy.starting import seeing
from tests.engine.harness import Session, keep, offer


def test_what_is_made_once_is_made_for_each_key():
    """And kept, but not without end."""
    cache = Cache()
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [cache.once("x", make), cache.once("x", make), cache.once("y", make)] == [1, 1, 2]
    for number in range(100):
        cache.once(number, make)
    assert cache.once("x", make) > 100


def test_what_was_kept_is_found():
    """Under its key; None under others."""
    cache = Cache()
    assert cache.keep("x", 5) == 5
    assert (cache.get("x"), cache.get("y")) == (5, None)


def test_a_filter_is_gone_with_its_last_connection():
    """Also if a function makes one for each connection; what was worked out for it goes, too."""
    made: list[Any] = []

    def connect(ctx: Any) -> Any:
        handlers = define_event_handlers({"mail": keep})
        made.append(ref(handlers))
        return with_handlers(ctx, handlers)

    setup = Setup(as_on_connect(connect))
    seen = seeing(connect)
    for _ in range(3):
        Session(open_connection(setup)).say(offer())
        seen(new_context())
    gc.collect()
    assert sum(one() is not None for one in made) <= 1  # the last, of which the envelope is seen


def test_caches_have_a_bound():
    """As a filter may be held by what was worked out for it."""
    caches, owners = Caches(), [define_event_handlers() for _ in range(100)]
    for owner in owners:
        caches.of(owner).keep("x", owner)
    assert caches.of(owners[-1]).get("x") is owners[-1]
    assert caches.of(owners[0]).get("x") is None


def test_answers_to_offers_do_not_keep_a_filter():
    """It is gone with its last connection, as after a reload."""
    handlers = define_event_handlers({"mail": keep})
    default_event_handler(ev.Options(6, 0x1FF, 0x1FFFFF), with_handlers(new_context(), handlers))
    gone = ref(handlers)
    del handlers
    gc.collect()
    assert gone() is None

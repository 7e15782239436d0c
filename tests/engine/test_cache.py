"""What is worked out once, for all connections to come."""

import gc
from weakref import ref

from demyjpy import events as ev
from demyjpy.context import new_context
from demyjpy.engine.cache import Cache
from demyjpy.handlers import default_event_handler, define_event_handlers, with_handlers
from tests.engine.harness import keep


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


def test_answers_to_offers_do_not_keep_a_filter():
    """It is gone with its last connection, as after a reload."""
    handlers = define_event_handlers({"mail": keep})
    default_event_handler(ev.Options(6, 0x1FF, 0x1FFFFF), with_handlers(new_context(), handlers))
    gone = ref(handlers)
    del handlers
    gc.collect()
    assert gone() is None

"""`start_milter` with what watches it: the envelope is seen although no handler wants it."""

from typing import Any

import pytest

from demyjpy import HandlerError, define_event_handlers, merge_handlers, new_context, with_handlers
from demyjpy.drivers.loading import Reload, loading_to
from demyjpy.handlers import watch_envelope, watch_only
from demyjpy.starting import seeing
from demyjpy.testing import Postfix, run, session
from demyjpy.trace import Trace
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter
from tests.engine.harness import keep
from tests.trace.sessions import WHOLE, watched

LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


def test_what_has_handlers_for_both_stays_as_it_is() -> None:
    """The very same registry."""
    handlers = define_event_handlers({"mail": keep, "recipient": keep})
    assert watch_envelope(handlers) is handlers


def test_what_is_missing_is_watched_and_never_answered() -> None:
    """Declarations and other handlers stay; in a merged filter the first one watches."""
    one = define_event_handlers({"mail": keep}, actions={"add_header"}, state={"n": 1})
    two = define_event_handlers({"body": keep}, macros={"mail": ("i",)}, state={"m": 2})
    for plain in (one, merge_handlers(one, two)):
        seen = watch_envelope(plain)
        assert seen["mail"].function is not watch_only
        assert (seen["recipient"].reply, len(seen.parts)) == (False, len(plain.parts))
        assert (seen.actions, seen.macros, dict(seen.state)) == (
            plain.actions,
            plain.macros,
            dict(plain.state),
        )
        assert "recipient" in seen.optional_events
    assert set(watch_envelope(define_event_handlers())) == {"mail", "recipient"}
    assert set(watch_envelope(merge_handlers())) == {"mail", "recipient"}


def test_functions_and_what_is_loaded_again_are_watched_alike() -> None:
    """Whatever ``on_connect`` is; what is none is for the driver to refuse."""
    handlers = define_event_handlers({"body": keep})
    connect = seeing(lambda ctx: with_handlers(ctx, handlers))
    again: Any = loading_to(lambda: handlers, seeing)
    reload: Any = loading_to(Reload(lambda: handlers, ("true",)), seeing)
    assert reload.probe == ("true",)
    for on_connect in (seeing(handlers), connect, again(), reload.load()):
        result = run(on_connect, LETTER, mta=Postfix())
        assert [type(step.event).__name__ for step in result.observed].count("Recipient") == 1
    assert connect(new_context())["handlers"] is connect(new_context())["handlers"]
    assert loading_to(None, seeing) is None
    assert seeing(3) == 3
    with pytest.raises(HandlerError, match="expected on_connect to return a context"):
        seeing(lambda ctx: None)(new_context())


def test_a_recording_that_saw_the_envelope_replays_without_a_difference() -> None:
    """The filter itself has no handlers for it: replay asks as the recorder did."""
    handlers: Any = {"end_of_message": keep}
    trace = Trace.of_steps(watched(watch_envelope(define_event_handlers(handlers)), *WHOLE)[0])
    assert trace.messages[0].sender == "alice@example.org"
    found = compare_bytes(trace, Filter(handlers))
    assert (found.is_same, found.impure, found.gaps) == (True, (), ())

"""Calling handlers directly, and what importing the library brings along."""

import subprocess
import sys

import pytest

import demyjpy.testing
from demyjpy import Body, EndOfMessage, HandlerError, add_header, define_event_handlers, with_handlers
from demyjpy.testing import context


def filter_with_state():
    handlers = define_event_handlers(
        actions={"add_header"}, optional_actions={"quarantine"}, state={"byte_count": 0, "other": 1}
    )

    @handlers.body
    def count(event, ctx):
        return ctx.set("byte_count", ctx["byte_count"] + len(event.data))

    @handlers.end_of_message
    def report(event, ctx):
        return add_header(ctx, "X-Size", str(ctx["byte_count"]))

    return handlers


@pytest.mark.parametrize("as_function", [False, True])
def test_a_handler_can_be_called_with_a_context_of_its_filter(as_function):
    """The state is the filter's but for what is given; all that it asks for counts as agreed."""
    handlers = filter_with_state()
    given = (lambda ctx: with_handlers(ctx, handlers)) if as_function else handlers
    ctx = context(given, byte_count=3)
    assert handlers["body"](Body(b"x"), ctx) == ctx.set("byte_count", 4)
    assert handlers["end_of_message"](EndOfMessage(), ctx) == add_header(ctx, "X-Size", "3")
    assert ctx["other"] == 1
    assert ctx["events"] == {"body", "end_of_message"}
    assert ctx["actions"] == {"add_header", "quarantine"}


def test_the_engines_keys_cannot_be_given():
    """They belong to the engine."""
    with pytest.raises(HandlerError, match="got queue: these belong to the engine"):
        context(filter_with_state(), queue=())


def test_what_is_not_there_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = demyjpy.testing.nothing


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("demyjpy", "demyjpy.testing"),
        ("demyjpy.testing", "hypothesis"),
        ("demyjpy.testing", "pytest"),
        ("demyjpy.testing.plugin", "hypothesis"),
    ],
)
def test_a_filter_in_production_loads_nothing_for_tests(module, absent):
    """And tests load Hypothesis only if they use it."""
    code = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

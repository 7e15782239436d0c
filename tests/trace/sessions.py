"""Sessions for the tests of traces: filters, and the engine's steps with them."""

from pathlib import Path
from typing import Any

from demyjpy import add_header, define_event_handlers, reject
from demyjpy.engine.connection import Step
from demyjpy.trace import Trace
from tests.engine.harness import MESSAGE, OPENING, QUIT, Session, macros

ROOT = Path(__file__).parents[2]
CAPTURES = sorted((ROOT / "tests/captures").glob("*/*.jsonl"))


def tagger(word: str = "yes") -> Any:
    """A filter that counts recipients, adds a header and refuses one recipient."""
    handlers = define_event_handlers(actions={"add_header"}, state={"count": 0})

    @handlers.recipient
    def count(event: Any, ctx: Any) -> Any:
        ctx = ctx.set("count", ctx["count"] + 1)
        return reject(ctx, "5.1.1", "nobody") if event.address.startswith("bad") else ctx

    @handlers.end_of_message
    def tag(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Tag", f"{word} {ctx['count']}")

    return handlers


def watched(handlers: Any, *packets: Any, **setup: Any) -> tuple[list[Step], Session]:
    """A session after these packets and the end, and its steps."""
    steps: list[Step] = []
    session = Session.open(handlers, observer=steps.append, **setup)
    session.say(*packets)
    session.hang_up()
    session.finish_calls()
    return steps, session


def recorded(handlers: Any, *packets: Any, **setup: Any) -> Trace:
    """The same, as a trace."""
    return Trace.of_steps(watched(handlers, *packets, **setup)[0], source="test")


WHOLE = (*OPENING, macros("M", i="Q1"), *MESSAGE, QUIT)
"""A session with one message."""

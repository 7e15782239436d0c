"""A milter, as a program, that gets a signal at an event: for the tests of what becomes of the mail.

``python -m tests.integration.doomed_milter ADDRESS DRIVER EVENT SIGNAL`` says ``ready`` when it listens,
edits each message at its end, and at EVENT sends itself SIGNAL.
"""

import os
import signal
import sys
from typing import Any

from demyjpy import (
    AddHeader,
    ReplaceBody,
    define_event_handlers,
    merge_handlers,
    send_action,
    start_milter,
)

EDITS = (AddHeader("X-Edited", "yes"), ReplaceBody(b"edited\r\n" * 50_000))


def editing() -> Any:
    """A filter that edits header and body."""
    handlers = define_event_handlers(actions={"add_header", "change_body"})

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return ctx  # it answers, so a client that was let pass knows that the milter has the message

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        return send_action(ctx, *EDITS)

    return handlers


def doomed(event_name: str, number: signal.Signals) -> Any:
    """A filter that sends its process a signal at an event."""
    handlers = define_event_handlers()

    def fall(event: Any, ctx: Any) -> Any:
        os.kill(os.getpid(), number)
        return ctx

    getattr(handlers, event_name)(fall)
    return handlers


if __name__ == "__main__":
    address, driver, event_name, signal_name = sys.argv[1:]
    start_milter(
        address,
        merge_handlers(editing(), doomed(event_name, signal.Signals[signal_name])),
        driver=driver,
        on_ready=lambda _: print("ready", flush=True),  # noqa: T201  # a program's output
    )

"""Filters that the tests of the commands serve."""

from pathlib import Path
from typing import Any

from demyjpy import AddHeader, define_event_handlers, reject, send_action

ROOT = Path(__file__).parents[2]
BYTECOUNT = f"{ROOT}/samples/bytecount.py"

FILTER = """
    from demyjpy import define_event_handlers, with_handlers

    handlers = define_event_handlers()

    @handlers.mail
    def look(event, ctx):
        return ctx
"""

HEAD = """
import asyncio, os, socket, subprocess, sys, time
from demyjpy import *
handlers = define_event_handlers(macros={"recipient": ("{rcpt_host}",)})
"""

ALL = (
    "add_header change_header change_body quarantine change_sender "
    "add_recipient add_recipient_par delete_recipient"
)


def doing(*actions: Any, at: str = "end_of_message") -> Any:
    """A filter that asks for actions at an event."""
    return define_event_handlers(
        {at: lambda event, ctx: send_action(ctx, *actions)}, actions=ALL.split()
    )


def adding(name: str) -> Any:
    """A filter that adds a header, and rejects recipients that begin with bad."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.recipient
    def recipient(event: Any, ctx: Any) -> Any:
        return reject(ctx, "5.7.1", f"{name} says no\nnever") if event.address.startswith("bad") else ctx

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        return send_action(ctx, AddHeader("X-Seen", name))

    return handlers

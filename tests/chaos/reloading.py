"""The filter of `tests.chaos.reloads`: it says which settings and which rows of its tables it has."""

import os
from pathlib import Path

from demyjpy import Registry, add_header, answer, define_event_handlers
from demyjpy.lookups.tables import Tables, look_up

NETWORK = "192.0.2.7"
NAME = "version@example.org"


def make(*, version: str, networks: str, names: str) -> Registry:
    """``networks`` and ``names``: the files of its tables."""
    handlers = define_event_handlers(
        name="reloading",
        actions={"add_header"},
        state={"sender": ""},
        resources={"tables": Tables({"networks": f"cidr:{networks}", "names": f"texthash:{names}"})},
    )
    notes = Path(os.environ["DEMYJPY_CHAOS_NOTES"])

    def questions(event, ctx):
        return {"network": look_up(ctx, "networks", NETWORK), "name": look_up(ctx, "names", NAME)}

    @handlers.mail
    def mail(event, ctx):
        return ctx.set("sender", event.sender)

    @handlers.end_of_message(asking=questions, blocking=True)
    def end_of_message(event, ctx):
        with notes.open("a", encoding="utf-8") as file:
            file.write(f"{ctx['sender']}\n")
        return add_header(
            ctx, "X-Have", f"{version} {answer(ctx, 'network').value} {answer(ctx, 'name').value}"
        )

    return handlers

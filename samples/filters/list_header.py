"""Gives mail to a mailing list the header fields of lists (RFC 2369, RFC 2919, RFC 8058).

A table of recipients says which addresses are lists. Such fields that the mail came with go, because
mail programs show a button for them: else a stranger would choose where it leads.
"""

import re
from email.header import Header
from typing import Final

from pyrsistent import pmap

from demyjpy import (
    AddHeader,
    Context,
    Message,
    Recipient,
    Registry,
    answer,
    become,
    count,
    define_event_handlers,
    note,
    with_policy,
)
from demyjpy.lookups.tables import Lookup, Tables, look_up

ADDRESS: Final = re.compile(r"[a-z0-9][a-z0-9._-]*@[a-z0-9][a-z0-9.-]*")
"""What may stand in a URL of a field as it is; no other address is a list."""


def filled(template: str, address: str, text: str) -> str:
    """The value of a field; ``text`` is that of the row, encoded if it is not ASCII."""
    local, _, domain = address.partition("@")
    words = Header(text).encode()
    return template.format(address=address, local=local, domain=domain, text=words).strip()


def make(*, lists: str, fields: dict[str, str], enforce: bool = True) -> Registry:
    """``lists``: a table of addresses. ``fields``: by name, with ``{address}`` and the like."""
    for name, template in fields.items():
        AddHeader(name, filled(template, "list@example.org", "A list"))  # a mistake ends loading
    handlers = define_event_handlers(
        name="list_header",
        edits="headers",
        state={"lists": pmap()},
        resources={"tables": Tables({"lists": lists})},
    )

    def in_table(event: Recipient, ctx: Context) -> dict[str, Lookup]:
        address = event.address.lower()
        return {"row": look_up(ctx, "lists", address)} if ADDRESS.fullmatch(address) else {}

    @handlers.recipient(asking=in_table, needs={"row"})
    def see_list(event: Recipient, ctx: Context) -> Context:
        """If the table does not answer, it is no list: a mail without these fields is no harm."""
        row = answer(ctx, "row", failed=None, late=None, unasked=None)
        return ctx if row is None else ctx.set("lists", ctx["lists"].set(event.address.lower(), row))

    @handlers.message(limit=1)  # the body is not looked at
    def add_fields(event: Message, ctx: Context) -> Context:
        """A recipient may have been refused since. Of two lists nobody knows which one is meant."""
        rows = ctx["lists"]
        found = {one.address.lower() for one in event.recipients} & {*rows}
        if not found:
            return ctx
        wanted = {} if len(found) > 1 else fields
        names = {name.lower() for name in wanted}
        message = event.without("List-*", where=lambda field: field.name.lower() not in names)
        if not wanted:
            ctx = note(ctx, "more than one list", lists=len(found))
        for address in found:
            for name, template in wanted.items():
                message = message.set_only(name, filled(template, address, rows[address]))
        return become(count(ctx, "lists"), message)

    return with_policy(handlers, enforce=enforce)

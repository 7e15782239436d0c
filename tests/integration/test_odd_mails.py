"""Odd mails through real servers: a filter that looks, and one that puts all back, change no byte.

The oracle is what the server delivers if nobody listens at its milter's address. The model of Postfix
must deliver the same bytes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from demyjpy import change_header, define_event_handlers, replace_body, running
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.mta import client_steps
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import new_session
from demyjpy.testing.memory_filter import MemoryFilter
from tests.integration.mta import Server
from tests.integration.odd_mails import MAILS
from tests.integration.running import MTAS, SERVERS, milter_address
from tests.integration.scenario import Mta
from tests.integration.smtp import Sink, converse, running_sink
from tests.model.playing import PROFILES

PASSED: Final = "250"
_CHANGING: Final = re.compile(
    rb"\b(?:[0-9A-Za-z]{8}\d{6}|\d{14}(?=\.)|[0-9A-F]{10,12})\b"
    rb"|(?!Sat, 21 Nov 2026)[A-Z][a-z]{2}, +\d+ [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d "
    rb"(?:[+-]\d{4}(?: \([A-Z]+\))?|GMT)"
)


def looking() -> Any:
    """A filter that is told everything, and says nothing."""
    handlers = define_event_handlers()
    for name in ("connect", "hello", "mail", "recipient", "data", "header", "end_of_headers", "body"):
        getattr(handlers, name)(_look)
    handlers.end_of_message(_look)
    return handlers


def _look(event: Any, ctx: Any) -> Any:
    return ctx


def putting_back() -> Any:
    """A filter that puts back each field and the body, as it was told of them.

    But not those that Postfix adds: it cannot change the last field if it has added that itself.
    """
    handlers = define_event_handlers(
        actions={"change_header", "change_body"}, state={"fields": (), "chunks": ()}
    )

    @handlers.header
    def header(event: Any, ctx: Any) -> Any:
        return ctx.set("fields", (*ctx["fields"], (event.name, event.raw)))

    @handlers.body
    def body(event: Any, ctx: Any) -> Any:
        return ctx.set("chunks", (*ctx["chunks"], event.data))

    @handlers.end_of_message
    def put_back(event: Any, ctx: Any) -> Any:
        counts: dict[str, int] = {}
        for name, raw in ctx["fields"]:
            counts[name.lower()] = number = counts.get(name.lower(), 0) + 1
            if raw and name.lower() not in ("date", "from", "message-id"):  # an empty one deletes
                ctx = change_header(ctx, number, name, raw=raw)
        return replace_body(ctx, b"".join(ctx["chunks"]))

    return handlers


def _plain(content: bytes) -> bytes:
    """A mail without what differs from one time to the next, and with its empty line."""
    plain = _CHANGING.sub(b"*", content)
    return plain if b"\r\n\r\n" in plain or plain.startswith(b"\r\n") else plain + b"\r\n"


def _sent(server: Server, sink: Sink) -> dict[str, bytes | str]:
    """What became of each mail: the bytes at the next hop, or the reply that refused it."""
    names = dict(enumerate(MAILS))
    outcome: dict[str, bytes | str] = {}
    for number, name in names.items():
        said = ("EHLO c.test", "MAIL FROM:<a@test>", f"RCPT TO:<n{number}@test>", MAILS[name], "QUIT")
        reply = converse(server.port, said)[5]
        if not reply.startswith(PASSED):
            outcome[name] = reply
    server.settle()
    for delivery in sink.take():
        if delivery.sender != "a@test":
            continue  # a notice to the postmaster
        number = int(delivery.recipients[0].partition("@")[0][1:])
        outcome[names[number]] = _plain(delivery.content)
    return outcome


def _differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    return [name for name in MAILS if one.get(name) != two.get(name)]


@pytest.fixture(scope="module", params=MTAS)
def outcomes(request: pytest.FixtureRequest) -> Iterator[tuple[Mta, dict[str, dict[str, Any]]]]:
    """What became of all mails: without a filter, and with each."""
    mta: Mta = request.param
    with milter_address("inet") as address, running_sink() as sink:
        with SERVERS[mta]([address], sink.port, "accept") as server:
            found = {"nobody": _sent(server, sink)}
            for name, handlers in (("looking", looking()), ("putting back", putting_back())):
                with running(handlers, address=address, on_error="reject"):
                    found[name] = _sent(server, sink)
        yield mta, found


@pytest.mark.parametrize("name", ["looking", "putting back"])
def test_no_byte_is_changed(outcomes: tuple[Mta, dict[str, dict[str, Any]]], name: str) -> None:
    """With the filter every mail is what it is without."""
    _, found = outcomes
    assert _differing(found["nobody"], found[name]) == []
    assert len(found["nobody"]) == len(MAILS)


@pytest.mark.parametrize("handlers", [looking(), putting_back()], ids=["looking", "putting back"])
def test_the_model_delivers_the_same(
    outcomes: tuple[Mta, dict[str, dict[str, Any]]], handlers: Any
) -> None:
    """The model of Postfix, with a filter in memory, gives the bytes that Postfix gave without one."""
    mta, found = outcomes
    if mta != "postfix":
        return  # Sendmail's breaking of long lines is not in its model
    modelled = {}
    for number, (name, content) in enumerate(MAILS.items()):
        with MemoryFilter(Setup(as_on_connect(handlers), "reject")) as milter:
            session = new_session(PROFILES[mta])
            for step in (
                client_steps.Connect("127.0.0.1", "localhost"),
                client_steps.Ehlo("c.test"),
                client_steps.Mail("a@test"),
                client_steps.Rcpt(f"n{number}@test"),
                client_steps.Data(content),
            ):
                session, outcome = play(take_step(session, step), [milter])
        assert outcome.mail is not None, (name, outcome.reply)
        modelled[name] = _plain(bytes(outcome.mail.message))
    assert _differing(found["nobody"], modelled) == []

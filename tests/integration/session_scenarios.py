"""Whole sessions: several messages on one connection, large ones, filters that fail or are merged."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from demyjpy import (
    AddHeader,
    Continue,
    Quarantine,
    Reject,
    add_header,
    define_event_handlers,
    discard,
    merge_handlers,
    reject,
    send_action,
)
from tests.integration.filters import accepting, body_counter, failing_at, witness
from tests.integration.scenario import (
    GREETING,
    Mail,
    PerMta,
    Scenario,
    at_end,
    envelope,
    message,
    with_headers,
)
from tests.integration.verdict_scenarios import FIRST_UNSEEN, SECOND, STEPS, TAKEN, refused_first

# ------------------------------------------------------------------- nothing leaks between messages
_CLIENT: Final = ("connect 4 127.0.0.1", "hello client.test")
_CONTENT: Final = ("data", "Subject", "eoh", "body 43")


def _seen(sender: str, *hellos: str, before: int = 0, given_up: int = 0) -> Mail:
    """A mail with the headers that the witness adds."""
    seen = (*_CLIENT, *hellos, f"mail <{sender}>", "rcpt <b@test>", *_CONTENT)
    return with_headers(
        f"X-Seen: {', '.join(seen)}",
        f"X-Count: {before} before, {given_up} given up",
        sender=sender,
    )


def _refusing(sender: str) -> Any:
    """A filter that refuses one sender."""
    handlers = define_event_handlers()

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return reject(ctx, "5.7.1", "no") if event.sender == sender else ctx

    return handlers


def _collecting() -> Any:
    """A filter that writes down the recipients of a message, and has no handler for MAIL."""
    handlers = define_event_handlers(actions={"add_header"}, state={"to": ()})
    handlers.recipient(lambda event, ctx: ctx.set("to", (*ctx["to"], event.address)))
    handlers.end_of_message(lambda event, ctx: add_header(ctx, "X-To", ",".join(ctx["to"])))
    return handlers


LEAKS: Final = (
    Scenario(
        "three messages, RSET and a second EHLO between",
        witness(),
        (
            *(GREETING, *envelope("first@test"), message()),
            *(*envelope("given-up@test"), "RSET", *envelope("second@test"), message()),
            *(*envelope("given-up@test"), "EHLO again.test", *envelope("third@test"), message()),
            "QUIT",
        ),
        "220 | 250 | 250 | 250 | 354 | 250 | 250 | 250 | 250 | 250 | 250 | 354 | 250 "
        "| 250 | 250 | 250 | 250 | 250 | 354 | 250 | 221",
        (
            _seen("first@test"),
            _seen("second@test", before=1, given_up=1),
            _seen("third@test", "hello again.test", before=2, given_up=2),
        ),
        everywhere=True,
    ),
    Scenario(
        "a sender that is refused, then another without RSET",
        witness(refused="first@test"),
        (GREETING, "MAIL FROM:<first@test>", *envelope("second@test"), message(), "QUIT"),
        "220 | 250 | 550 5.7.1 | 250 | 250 | 354 | 250 | 221",
        (_seen("second@test"),),
    ),
    Scenario(
        "a sender that another filter refuses: for this one the message is given up",
        merge_handlers(witness(), _refusing("first@test")),
        (GREETING, "MAIL FROM:<first@test>", *envelope("second@test"), message(), "QUIT"),
        "220 | 250 | 550 5.7.1 | 250 | 250 | 354 | 250 | 221",
        (_seen("second@test", given_up=1),),
    ),
    Scenario(
        "a recipient that is given up with RSET, of a filter without a handler for MAIL",
        _collecting(),
        (GREETING, *envelope("a@test", "given-up@test"), "RSET", *envelope(), message(), "QUIT"),
        "220 | 250 | 250 | 250 | 250 | 250 | 250 | 354 | 250 | 221",
        (with_headers("X-To: b@test"),),
        everywhere=True,
    ),
    Scenario(
        "a client that goes in the middle of its second message",
        witness(),
        (GREETING, *envelope("first@test"), message(), *envelope("second@test")),
        "220 | 250 | 250 | 250 | 354 | 250 | 250 | 250",
        (_seen("first@test"),),
    ),
)


# ------------------------------------------------------------------------------------ large bodies
LARGE: Final = b"".join(b"%06d %s\r\n" % (n, b"x" * 70) for n in range(64_000))
"""A body of 5 MB."""

_LARGE_MAIL: Final = (GREETING, *envelope(), message(body=LARGE), "QUIT")

_CHUNK: Final = 65_535
_CHUNKS: Final = -(-len(LARGE) // _CHUNK)

LARGE_BODIES: Final = (
    Scenario(
        "SKIP at the first piece of 5 MB",
        body_counter(skip_after=1),
        _LARGE_MAIL,
        delivered=(with_headers(f"X-Body: {_CHUNK} bytes in 1 chunks", body=LARGE),),
        everywhere=True,
    ),
    Scenario(
        "SKIP at the third piece of 5 MB",
        body_counter(skip_after=3),
        _LARGE_MAIL,
        delivered=(with_headers(f"X-Body: {3 * _CHUNK} bytes in 3 chunks", body=LARGE),),
    ),
    Scenario(
        "SKIP in the body of the first of two messages",
        body_counter(skip_after=1),
        (GREETING, *envelope(), message(body=LARGE), *envelope(), message(), "QUIT"),
        "220 | 250 | 250 | 250 | 354 | 250 | 250 | 250 | 354 | 250 | 221",
        (
            with_headers("X-Body: 43 bytes in 1 chunks"),
            with_headers(f"X-Body: {_CHUNK} bytes in 1 chunks", body=LARGE),
        ),
    ),
    Scenario(
        "all of 5 MB, answered piece by piece",
        body_counter(),
        _LARGE_MAIL,
        delivered=(with_headers(f"X-Body: {len(LARGE)} bytes in {_CHUNKS} chunks", body=LARGE),),
    ),
    Scenario(
        "all of 5 MB, only observed",
        body_counter(reply=False),
        _LARGE_MAIL,
        delivered=(with_headers(f"X-Body: {len(LARGE)} bytes in {_CHUNKS} chunks", body=LARGE),),
        everywhere=True,
    ),
)


# -------------------------------------------------------------------------------- failing filters
def _illegal_at(event_name: str, *actions: Any) -> Any:
    """A filter whose plan at that event is not legal, for whatever message."""
    handlers = define_event_handlers(actions={"add_header"})
    getattr(handlers, event_name)(lambda event, ctx: send_action(ctx, *actions))
    return handlers


def _forgetful() -> Any:
    """A filter whose handler returns no context."""
    return define_event_handlers({"recipient": lambda event, ctx: None})


def _rescue(error: Exception, event: Any, ctx: Any) -> Any:
    """An exception policy that rejects, naming the error."""
    return reject(ctx, "5.3.0", f"{type(error).__name__} at {type(event).__name__}")


_TEMPFAILED_AT_END: Final = PerMta(
    "220 | 250 | 250 | 250 | 354 | 451 4.7.1 | 221", "220 | 250 | 250 | 250 | 354 | 451 4.3.2 | 221"
)


def _failures() -> Iterator[Scenario]:
    stages = ("mail", "data", "header", "end_of_headers", "body", "end_of_message")
    for stage in stages:
        yield Scenario(
            f"a handler that raises at {stage} is a tempfail",
            failing_at(stage),
            STEPS,
            refused_first("tempfail", stage),
            (SECOND,),
            everywhere=stage == "end_of_message",
        )
    for stage in ("mail", "body", "end_of_message"):
        yield Scenario(
            f"a handler that raises at {stage}, on_error=reject",
            failing_at(stage),
            STEPS,
            refused_first("reject", stage),
            (SECOND,),
            on_error="reject",
        )
        yield Scenario(
            f"a handler that raises at {stage}, on_error=accept",
            failing_at(stage),
            STEPS,
            f"220 | 250 | {TAKEN} | 250 | 250 | 250 | 354 | 250 | 221",
            (FIRST_UNSEEN, SECOND),
            on_error="accept",
        )
    yield Scenario(
        "a handler that raises, on_error is a function",
        failing_at("header"),
        STEPS,
        "220 | 250 | 250 | 250 | 250 | 354 | 550 5.3.0 ZeroDivisionError at Header | 250 "
        "| 250 | 250 | 354 | 250 | 221",
        (SECOND,),
        on_error=_rescue,
    )
    yield Scenario(
        "a handler that returns no context",
        _forgetful(),
        replies=PerMta(
            "220 | 250 | 250 | 451 4.7.1 | 554 5.5.1 | 221", "220 | 250 | 250 | 451 4.3.2 | 503 | 221"
        ),
        delivered=(),
    )
    for name, actions in {
        "two verdicts": (AddHeader("X-Added", "value"), Reject(), Continue()),
        "an action that was not declared": (AddHeader("X-Added", "value"), Quarantine("odd")),
    }.items():
        yield Scenario(
            f"an illegal plan is not sent at all: {name}",
            _illegal_at("end_of_message", *actions),
            replies=_TEMPFAILED_AT_END,
            delivered=(),
        )
    yield Scenario(
        "an illegal plan is not sent at all: a modification before the end",
        _illegal_at("body", AddHeader("X-Added", "value")),
        replies=_TEMPFAILED_AT_END,
        delivered=(),
    )


# ------------------------------------------------------------------- how handlers are put together
def _async_filter() -> Any:
    """A filter of ``async def`` handlers, which give way to others in between."""
    handlers = define_event_handlers(actions={"add_header"}, state={"subject": ""})

    @handlers.header
    async def header(event: Any, ctx: Any) -> Any:
        await asyncio.sleep(0)
        return ctx.set("subject", event.value) if event.name == "Subject" else ctx

    @handlers.end_of_message
    async def end_of_message(event: Any, ctx: Any) -> Any:
        await asyncio.sleep(0.01)
        return add_header(ctx, "X-Was", ctx["subject"])

    return handlers


def _blocking_filter() -> Any:
    """The same with handlers that may block."""
    handlers = define_event_handlers(actions={"add_header"}, state={"subject": ""})

    @handlers.header(blocking=True)
    def header(event: Any, ctx: Any) -> Any:
        return ctx.set("subject", event.value) if event.name == "Subject" else ctx

    @handlers.end_of_message(blocking=True, progress=None)
    def end_of_message(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Was", ctx["subject"])

    return handlers


def _rejecting_recipient(address: str) -> Any:
    handlers = define_event_handlers()

    @handlers.recipient
    def recipient(event: Any, ctx: Any) -> Any:
        return reject(ctx, "5.1.1", "not here") if event.address == address else ctx

    return handlers


def _discarding() -> Any:
    handlers = define_event_handlers()
    handlers.end_of_message(lambda event, ctx: discard(ctx))
    return handlers


_WAS: Final = (with_headers("X-Was: as sent"),)
_TWO_RECIPIENTS: Final = (GREETING, *envelope("a@test", "b@test", "c@test"), message(), "QUIT")

TOGETHER: Final = (
    Scenario("async handlers", _async_filter(), delivered=_WAS, drivers=("asyncio",)),
    Scenario("blocking handlers", _blocking_filter(), delivered=_WAS, everywhere=True),
    Scenario("no handlers at all", define_event_handlers()),
    Scenario(
        "merged filters edit one after the other",
        merge_handlers(at_end(AddHeader("X-A", "1")), at_end(AddHeader("X-B", "2"))),
        delivered=(with_headers("X-A: 1", "X-B: 2"),),
    ),
    Scenario(
        "merged filters: one accepts, the other goes on",
        merge_handlers(accepting("a@test"), body_counter()),
        delivered=(with_headers("X-Body: 43 bytes in 1 chunks"),),
    ),
    Scenario(
        "merged filters: both accept, neither sees more",
        merge_handlers(accepting("a@test"), accepting("a@test")),
    ),
    Scenario(
        "merged filters: one refuses a recipient, the other marks the mail",
        merge_handlers(at_end(AddHeader("X-A", "1")), _rejecting_recipient("c@test")),
        _TWO_RECIPIENTS,
        PerMta(
            "220 | 250 | 250 | 250 | 550 5.1.1 not here | 354 | 250 | 221",
            "220 | 250 | 250 | 250 | 550 5.1.1 <c@test>... not here | 354 | 250 | 221",
        ),
        (with_headers("X-A: 1"),),
    ),
    Scenario(
        "merged filters: the first refusal is the answer",
        merge_handlers(_discarding(), at_end(Reject()), at_end(AddHeader("X-A", "1"))),
        delivered=(),
    ),
)

SCENARIOS: Final = (*LEAKS, *LARGE_BODIES, *_failures(), *TOGETHER)

"""Filters that ask, and the same ones without a question: what `benchmarks.questions` measures.

``sleeping_*`` wait 200 ms at MAIL, in four ways. The others are asked what is remembered, or nothing.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from demyjpy import Context, EndOfMessage, Mail, Question, Registry, answer, ask, define_event_handlers

SECONDS: Final = 0.2


@frozen
class Sleep(Question):
    """Nobody else's question is equal: it is not pure, so each is performed."""

    async def perform(self, resources: Mapping[str, Any]) -> bool:
        """In an event loop."""
        await asyncio.sleep(SECONDS)
        return True


@frozen
class Block(Question):
    """The same in a thread."""

    def perform(self, resources: Mapping[str, Any]) -> bool:
        """It blocks."""
        time.sleep(SECONDS)
        return True


@frozen
class Remembered(Question, pure=True, remember_for=3600):
    """One answer for all messages of a run."""

    number: int

    async def perform(self, resources: Mapping[str, Any]) -> bool:
        """At once."""
        return True


def read(event: Any, ctx: Context) -> Context:
    """The handler needs the answer."""
    answer(ctx, "key")
    return ctx


def let_go_on(event: Any, ctx: Context) -> Context:
    """The handler without a question."""
    return ctx


def _at(event: str, question: Any) -> Registry:
    handlers = define_event_handlers()
    getattr(handlers, event)(asking=lambda event, ctx: {"key": question})(read)
    return handlers


sleeping_async_question = _at("mail", Sleep())
sleeping_plain_question = _at("mail", Block())
sleeping_async_handler = define_event_handlers()
sleeping_plain_handler = define_event_handlers()


@sleeping_async_handler.mail
async def sleep(event: Mail, ctx: Context) -> Context:
    """What a filter was without questions, for asyncio."""
    await asyncio.sleep(SECONDS)
    return ctx


@sleeping_plain_handler.mail(blocking=True)
def block(event: Mail, ctx: Context) -> Context:
    """What it was without questions, in a thread."""
    time.sleep(SECONDS)
    return ctx


mail_alone = define_event_handlers({"mail": let_go_on})
mail_asks = _at("mail", Remembered(1))
recipient_alone = define_event_handlers({"recipient": let_go_on})
recipient_asks = _at("recipient", Remembered(1))
early_alone = define_event_handlers({"mail": let_go_on, "end_of_message": let_go_on})
early_asks = define_event_handlers()


@early_asks.mail
def ask_early(event: Mail, ctx: Context) -> Context:
    """It is used at the end."""
    return ask(ctx, "key", Remembered(1))


@early_asks.end_of_message(needs={"key"})
def use(event: EndOfMessage, ctx: Context) -> Context:
    """It is there."""
    answer(ctx, "key")
    return ctx

"""``run(handlers, session(...))``: a filter and a session in, what happens out.

No socket, no thread, no sleep: the session is encoded, the engine decodes it and answers, the answers
are decoded and applied, all in memory. The models of Postfix and Sendmail are `demyjpy.mta`'s.
"""

import asyncio
import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from attrs import evolve

from demyjpy import actions as act
from demyjpy.connection import Connection, Limits, OnError, Setup, Step
from demyjpy.mta import steps
from demyjpy.mta.link import Answer, Link, hear
from demyjpy.mta.profiles import Postfix, Profile, Sendmail
from demyjpy.mta.smtp import Exchange, Outcome, new_session, play, take_step
from demyjpy.pipeline import as_on_connect, hang_up, open_connection, receive_data, resume, run_call
from demyjpy.testing.result import MessageResult, Played, Result
from demyjpy.testing.script import Script


class _Filter:
    """The engine in memory, as a driver runs it: one connection at a time."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._observed: list[Step] = []
        self.troubles: list[str] = []
        setup = evolve(setup, observer=self._observed.append)
        self.connection = self._follow(open_connection(setup, "test"))

    def take_observed(self) -> tuple[Step, ...]:
        taken = tuple(self._observed)
        self._observed.clear()
        return taken

    def carry_out(self, exchange: Exchange) -> tuple[Link, Answer | None]:
        """Write, and read the answer; `MilterFailedError` as over a socket."""
        link, answer = exchange.link, None
        for data in exchange.writes:
            self.connection = self._follow(receive_data(self.connection, data))
            sent = b"".join(self._sent)
            if link.event is not None and sent:
                link, answer = hear(link, sent)
        if link.event is not None and answer is None:
            link, answer = hear(link, b"")
        if exchange.closes:
            self.end()
        return link, answer

    def end(self) -> None:
        """The MTA closes the connection."""
        self.connection = self._follow(hang_up(self.connection))

    def _follow(self, connection: Connection) -> Connection:
        self._sent: list[bytes] = []
        while True:
            self._sent.append(connection.data_to_send)
            self.troubles += [f"{type(one.error).__name__}: {one.error}" for one in connection.troubles]
            call = connection.call
            if call is None:
                return connection
            outcome = run_call(call)
            if inspect.isawaitable(outcome):
                outcome = _run_async(outcome)
            connection = resume(connection, outcome)


def _run_async(awaitable: Any) -> Any:
    async def wait() -> Any:
        try:
            return await awaitable
        except Exception as error:  # noqa: BLE001  # what a handler raises is the engine's to judge
            return error

    return asyncio.run(wait())


def run(
    handlers: Any,
    script: Script,
    *,
    mta: Profile | None = None,
    on_error: OnError = "tempfail",
    limits: Limits | None = None,
) -> Result:
    """Play a session at a filter, as an MTA would.

    ``handlers`` is a registry or an ``on_connect`` function. ``mta`` is `Postfix()` or `Sendmail()`;
    without it both are played, and it is an `AssertionError` if they would not deliver the same.
    ``on_error`` and ``limits`` as for `demyjpy.start_milter`.
    """
    setup = Setup(as_on_connect(handlers), on_error, limits or Limits())
    if mta is not None:
        return _run_one(setup, script, mta)
    postfix, sendmail = (_run_one(setup, script, one) for one in (Postfix(), Sendmail()))
    difference = compare(postfix, sendmail)
    if difference:
        raise AssertionError(
            "Postfix and Sendmail would not do the same (say which one is meant with mta=Postfix() or "
            "mta=Sendmail()):\n" + difference
        )
    return postfix


def _run_one(setup: Setup, script: Script, profile: Profile) -> Result:
    milter = _Filter(setup)
    session = new_session(profile)
    played: list[Played] = []
    whole = script.steps
    if not isinstance(whole[-1], (steps.Quit, steps.Drop)):
        whole = (*whole, steps.Quit())
    for step in whole:
        if session.is_closed:
            break
        session, outcome = play(take_step(session, step), [milter])
        played.append(Played(outcome, milter.connection.context, milter.take_observed()))
    milter.end()
    observed = tuple(step for one in played for step in one.observed) + milter.take_observed()
    return Result(profile, tuple(played), _messages(played), observed, tuple(milter.troubles))


def _messages(played: Iterable[Played]) -> list[MessageResult]:
    """What became of each message: each MAIL begins one, until DATA, or a refusal that ends it."""
    messages: list[MessageResult] = []
    recipients: list[MessageResult] = []
    for one in played:
        outcome = one.outcome
        match outcome.step:
            case steps.Mail() if outcome.reply and outcome.reply.is_refusal:
                messages.append(_refused(outcome))
            case steps.Mail():
                recipients = []
            case steps.Rcpt() if outcome.reply and outcome.reply.is_refusal:
                recipients.append(_refused(outcome))
            case steps.Data() if outcome.reply:
                messages.append(_ended(outcome, recipients))
    return messages


def _refused(outcome: Outcome) -> MessageResult:
    assert_reply = outcome.reply
    if assert_reply is None:
        raise AssertionError("expected a reply to a refused step, got none")
    last = outcome.heard[-1].answer.verdict if outcome.heard else act.TemporaryFailure()
    return MessageResult(last, assert_reply)


def _ended(outcome: Outcome, refused: list[MessageResult]) -> MessageResult:
    reply = outcome.reply
    if reply is None:
        raise AssertionError("expected a reply to DATA, got none")
    if not outcome.heard and refused and reply.is_refusal:
        return refused[-1]  # no recipient was left
    edits = tuple(edit for heard in outcome.heard for edit in heard.answer.modifications)
    if outcome.mail is not None:
        return MessageResult(act.Accept(), reply, edits, outcome.mail)
    if not reply.is_refusal:
        return MessageResult(act.Discard(), reply)
    return _refused(outcome)


# -------------------------------------------------------------------------------- differences
def compare(one: Result, other: Result) -> str:
    """How two results differ in what is delivered and refused, as a diff; ``""`` if they do not."""
    lines = difflib.unified_diff(
        _describe(one), _describe(other), one.mta.name, other.mta.name, lineterm="", n=2
    )
    return "\n".join(lines)


def _describe(result: Result) -> list[str]:
    lines: list[str] = []
    for number, message in enumerate(result.messages, 1):
        lines.append(f"message {number}: {type(message.verdict).__name__} ({message.reply.code})")
        if message.mail is not None:
            lines.append(f"MAIL FROM:<{message.sender}> {message.mail.envelope.parameters}")
            lines += [
                f"RCPT TO:<{address}> {parameters}"
                for address, parameters in message.mail.envelope.recipients
            ]
            lines.append(f"quarantine: {message.quarantine}")
            lines += bytes(message.message).decode("utf-8", "replace").splitlines()
    return lines

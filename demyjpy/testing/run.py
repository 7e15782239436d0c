"""``run(handlers, session(...))``: a filter and a session in, what happens out.

No socket, no thread, no sleep: the session is encoded, the engine decodes it and answers, the answers
are decoded and applied, all in memory. The models of Postfix and Sendmail are `demyjpy.mta`'s.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final

from attrs import evolve, frozen
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.context import Context
from demyjpy.drivers.report import log_trouble
from demyjpy.effects import Do
from demyjpy.engine.connection import Setup
from demyjpy.engine.limits import Limits
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.errors import LocalProtocolError
from demyjpy.filter_policy import OnError
from demyjpy.known_facts import as_networks
from demyjpy.mta import client_steps
from demyjpy.mta.profile import AnyVerdict
from demyjpy.mta.profiles import Postfix, Profile, Reply, Sendmail
from demyjpy.mta.smtp import Carrier, play, take_step
from demyjpy.mta.smtp_session import Outcome, SmtpSession, new_session
from demyjpy.questions import Outcome as QuestionOutcome
from demyjpy.settings.making import Settings, settle
from demyjpy.testing.answers import Answers, AskedQuestion, answering, unanswered
from demyjpy.testing.clocks import Clock, wall_of
from demyjpy.testing.differences import compare_mtas
from demyjpy.testing.memory_filter import Chunk, MemoryFilter
from demyjpy.testing.result import FilterResult, MessageResult, Played, Result
from demyjpy.testing.script import Script
from demyjpy.trace.filter_connection import Order, at_once
from demyjpy.verdicts import REFUSALS

_RESETS: Final = (client_steps.Rset, client_steps.StartTls, client_steps.Quit, client_steps.Drop)


def run(
    handlers: Any,
    script: Script,
    *,
    mta: Profile | None = None,
    chunk: Chunk | None = None,
    on_error: OnError = "tempfail",
    limits: Limits | None = None,
    answers: Answers | None = None,
    clock: Clock | None = None,
    trusted_relays: str | Iterable[str] = (),
    settings: Settings = None,
) -> Result:
    """Play a session at a filter, as an MTA would; or at several in a row.

    - ``handlers``: a registry or an ``on_connect`` function, or a list of these. The filters of a list
      are asked one after another, as in ``smtpd_milters = a, b``. Each has a connection of its own, and
      sees the message as those before it have made it. ``result.filters`` has a part for each.
    - ``mta``: `Postfix()` or `Sendmail()`. Without it both are played, and the result is Postfix's. It
      is an `AssertionError` if they would not do the same with the messages, except for what they also
      do without a filter.
    - ``chunk``: cut bodies into pieces of so many bytes, or of these sizes one after the other, the
      last one for the rest.
    - ``on_error``, ``limits`` and ``trusted_relays``: as for `demyjpy.start_milter`.
    - ``answers``: the answers to its questions. A map from questions or their classes to values, to
      outcomes such as ``Late()``, or to functions of the question; or one function for all. In a row
      they are for each filter, or under the name of one. A question without an answer is an
      `AssertionError`. ``result.asked`` has the questions.
    - ``clock``: the time that `demyjpy.now` returns: a `datetime.datetime` or seconds since 1970, or a
      function that returns one, which is called once for each packet at which a handler asks. Without
      it, that is the real time.
    - ``settings``, as for `demyjpy.start_milter`: for a filter that is a function of them; in a row for
      each such function.

    Errors in the filter are logged as by a server, and are in ``result.troubles``.
    """
    row = [settle(one, settings).on_connect for one in filters_of(handlers)]
    wall = None if clock is None else wall_of(clock)
    relays = as_networks(trusted_relays)
    setups = [
        Setup(as_on_connect(one), on_error, limits or Limits(), wall=wall, trusted_relays=relays)
        for one in row
    ]
    answer = answering(answers)
    results = [play_row(setups, script, one, chunk=chunk, answer=answer) for one in profiles_of(mta)]
    for result in results:
        for number, one in enumerate(result.filters, 1):
            where = f", filter {number}" if len(row) > 1 else ""
            for trouble in one.troubles:
                log_trouble(trouble, f"test ({result.mta.name}{where})")
    return agreed(results, script)


def filters_of(handlers: Any) -> tuple[Any, ...]:
    """The filters that are meant: those of a list, or one; `LocalProtocolError` for an empty list."""
    if not isinstance(handlers, list | tuple):
        return (handlers,)
    if not handlers:
        raise LocalProtocolError(
            "expected a filter, or a list of filters that are asked one after another, got an empty list"
        )
    return tuple(handlers)


def profiles_of(mta: Profile | None) -> tuple[Profile, ...]:
    """The one that is meant, or both; `LocalProtocolError` for what is none."""
    if not isinstance(mta, Profile | None):
        raise LocalProtocolError(f"expected mta=Postfix() or mta=Sendmail(), got {mta!r:.200}")
    return (Postfix(), Sendmail()) if mta is None else (mta,)


def agreed(results: Sequence[Result], script: Script) -> Result:
    """The first of these results; `AssertionError` if others do something else with the messages.

    What the MTAs do by themselves is no difference: with a mail that has no Date, say.
    """
    first = results[0]
    alone = Setup(as_on_connect({}))
    for other in results[1:]:

        def plain(profile: Profile = other.mta) -> tuple[Result, Result]:
            return play_script(alone, script, first.mta), play_script(alone, script, profile)

        difference = compare_mtas(first, other, plain=plain)
        if difference:
            raise AssertionError(
                "expected Postfix and Sendmail to do the same with the mail, or a test that says which "
                f"one it means (mta=Postfix() or mta=Sendmail()), got:\n{difference}"
            )
    return first


@frozen
class Past:
    """What a session begins its first message with, as if there had been others before it.

    ``remembered`` is ``ctx["connection"]``, ``messages`` their number.
    """

    remembered: Context
    messages: int


def play_script(
    setup: Setup,
    script: Script,
    profile: Profile,
    *,
    chunk: Chunk | None = None,
    past: Past | None = None,
    beside: Callable[[Carrier], Carrier] = lambda carrier: carrier,
    answer: Callable[[Asked], QuestionOutcome] = unanswered,
    order: Order = at_once,
) -> Result:
    """One session at a filter in memory, under one MTA.

    ``beside`` may put itself between the MTA and the filter, to do something else meanwhile. ``answer``
    answers questions, in an ``order``.
    """
    return play_row(
        (setup,),
        script,
        profile,
        chunk=chunk,
        past=past,
        beside=beside,
        answer=answer,
        order=order,
    )


def play_row(
    setups: Sequence[Setup],
    script: Script,
    profile: Profile,
    *,
    chunk: Chunk | None = None,
    past: Past | None = None,
    beside: Callable[[Carrier], Carrier] = lambda carrier: carrier,
    answer: Callable[[Asked], QuestionOutcome] = unanswered,
    order: Order = at_once,
) -> Result:
    """One session at filters in memory that are asked one after another, under one MTA."""
    with ExitStack() as stack:
        row = [stack.enter_context(MemoryFilter(setup, chunk, answer, order)) for setup in setups]

        def begin_mail() -> None:
            if past is not None:
                for milter in row:
                    milter.remember(past.remembered)

        session = evolve(new_session(profile, len(row)), messages=past.messages if past else 0)
        steps = play_steps(script, session, [*map(beside, row)], begin_mail)
        played = [[_played(before, outcome, milter) for milter in row] for before, outcome in steps]
        for milter in row:
            milter.end()
        return _result(profile, row, played)


def _played(before: SmtpSession, outcome: Outcome, milter: MemoryFilter) -> Played:
    """A step, with what one filter has after it."""
    return Played(
        outcome,
        milter.context,
        milter.take_observed(),
        before.envelope is not None,
        before.messages,
        milter.take_asked(),
        tuple(milter.connection.open_questions.values()),
    )


def _result(profile: Profile, row: Sequence[MemoryFilter], played: Sequence[Sequence[Played]]) -> Result:
    """The result of a session; of each step there is what each filter saw."""
    filters: list[FilterResult] = []
    for number, milter in enumerate(row):
        own = [step[number] for step in played]
        seen = (*(step for one in own for step in one.observed), *milter.take_observed())
        mine = tuple(evolve(one, outcome=only_of(one.outcome, number)) for one in own)
        left = tuple(milter.connection.open_questions.values())
        done = tuple(one.request.effect for one in milter.requests if isinstance(one.request, Do))
        filters.append(FilterResult(profile, mine, seen, tuple(milter.troubles), left, done))
    if len(row) == 1:
        steps, observed = tuple(step[0] for step in played), filters[0].observed
    else:
        steps, observed = tuple(map(_of_row, played)), ()
    messages = messages_of(steps)
    troubles = tuple(trouble for one in filters for trouble in one.troubles)
    return Result(profile, steps, messages, observed, troubles, tuple(filters))


def _of_row(step: Sequence[Played]) -> Played:
    """A step of several filters, without what each has for itself."""
    asked = tuple(one for own in step for one in own.asked)
    left = tuple(one for own in step for one in own.open_questions)
    return evolve(step[0], context=pmap(), observed=(), asked=asked, open_questions=left)


def only_of(outcome: Outcome, number: int) -> Outcome:
    """What came of a step, with the answers and failures of one filter only."""
    heard = tuple(one for one in outcome.heard if one.milter == number)
    return evolve(
        outcome, heard=heard, failed=tuple(one for one in outcome.failed if one.milter == number)
    )


def play_steps(
    script: Script,
    session: SmtpSession,
    carriers: Sequence[Carrier],
    begin_mail: Callable[[], None] = lambda: None,
) -> Iterator[tuple[SmtpSession, Outcome]]:
    """Play a script: before each MAIL ``begin_mail`` is called.

    Of each step that the client does the session before it, and what came of it. A script without an
    end is ended with QUIT; what is no script raises `LocalProtocolError`. RSET is said before MAIL if
    the last message was refused and is open, unless the script is raw.
    """
    if not isinstance(script, Script):
        raise LocalProtocolError(f"expected a script, made with session(...), got {script!r:.200}")
    ends = script.steps and isinstance(script.steps[-1], (client_steps.Quit, client_steps.Drop))
    for step in (*script.steps, *(() if ends else (client_steps.Quit(),))):
        is_mail = isinstance(step, client_steps.Mail)
        said = [step]
        if is_mail:
            begin_mail()
        if is_mail and session.envelope is not None and not script.raw:
            said = [client_steps.Rset(), step]
        for one in () if session.is_closed else said:
            before = session
            session, outcome = play(take_step(session, one), carriers)
            yield before, outcome


# -------------------------------------------------------------------------- what became of messages
def messages_of(played: Iterable[Played]) -> list[MessageResult]:
    """What became of each message that ended.

    A message ends with DATA, with the refusal of MAIL, or with that of its only recipients. One that
    is given up (RSET, EHLO, the end of the session) before is none.
    """
    messages: list[MessageResult] = []
    standing: AnyVerdict | None = None  # what the connection was refused with
    recipients: list[Outcome] | None = None  # of the message that is open
    asked: list[AskedQuestion] = []  # about it
    for one in played:
        outcome, step, reply = one.outcome, one.step, one.reply
        if recipients is not None and isinstance(step, (client_steps.Mail, client_steps.Ehlo, *_RESETS)):
            messages += _all_refused(recipients, asked)
            recipients = None
        if isinstance(step, client_steps.Mail):
            asked = []
        asked += one.asked
        match step:
            case client_steps.Connect() | client_steps.Ehlo():
                standing = _refusal(outcome) or standing
            case client_steps.Mail() if reply is not None and reply.is_refusal:
                verdict = _refusal(outcome) or standing
                messages.append(MessageResult(verdict, reply, asked=tuple(asked)))
            case client_steps.Mail():
                recipients = []
            case client_steps.Rcpt() if recipients is not None:
                recipients.append(outcome)
            case client_steps.Data() if recipients is not None and reply is not None:
                messages += _all_refused(recipients, asked) or [_ended(outcome, reply, asked)]
                recipients = None
    return messages + _all_refused(recipients or [], asked)


def _refusal(outcome: Outcome) -> AnyVerdict | None:
    verdicts = [heard.answer.verdict for heard in outcome.heard]
    return next((one for one in verdicts if isinstance(one, (*REFUSALS, act.Shutdown))), None)


def _all_refused(recipients: Sequence[Outcome], asked: Iterable[AskedQuestion]) -> list[MessageResult]:
    """The last refusal, if there were recipients and each was refused."""
    replies = [one.reply for one in recipients if one.reply is not None and one.reply.is_refusal]
    if not replies or len(replies) < len(recipients):
        return []
    return [MessageResult(_refusal(recipients[-1]), replies[-1], asked=tuple(asked))]


def _ended(outcome: Outcome, reply: Reply, asked: Iterable[AskedQuestion]) -> MessageResult:
    edits = tuple(edit for heard in outcome.heard for edit in heard.answer.modifications)
    if outcome.mail is not None:
        return MessageResult(act.Accept(), reply, edits, outcome.mail, tuple(asked))
    verdict = _refusal(outcome) if reply.is_refusal else act.Discard()
    return MessageResult(verdict, reply, edits, asked=tuple(asked))

"""Each verdict at each stage.

The filter adds ``X-Late`` to every message that it sees to its end, and gives its verdict on one thing:
the connection or HELO; or the first of two messages (from first@test); of that one's recipients the
second (c@test); of two unknown commands XFIRST. So each scenario shows what became of the verdict,
and that what followed was filtered as usual.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from demyjpy import (
    Accept,
    AddHeader,
    Continue,
    Discard,
    Reject,
    ReplyCode,
    TemporaryFailure,
    define_event_handlers,
    send_action,
)
from tests.integration.scenario import (
    GREETING,
    ONE_MAIL,
    Mail,
    PerMta,
    Scenario,
    envelope,
    message,
    with_headers,
)
from tests.integration.smtp import CLOSED

LATE: Final = "X-Late: seen"

FIRST: Final = with_headers(LATE, sender="first@test", recipients=("b@test", "c@test"))
FIRST_UNSEEN: Final = Mail("first@test", ("b@test", "c@test"))
FIRST_TO_B: Final = with_headers(LATE, sender="first@test")
SECOND: Final = with_headers(LATE, sender="second@test")

STEPS: Final = (
    GREETING,
    *envelope("first@test", "b@test", "c@test"),
    message(),
    "RSET",
    *envelope("second@test"),
    message(),
    "QUIT",
)

VERDICTS: Final[Mapping[str, Any]] = {
    "continue": Continue(),
    "accept": Accept(),
    "discard": Discard(),
    "reject": Reject(),
    "tempfail": TemporaryFailure(),
    "reply 554": ReplyCode(554, "5.7.9", "not from you"),
    "reply 452": ReplyCode(452, "4.7.9", "not now"),
}

TAKEN: Final = "250 | 250 | 250 | 354 | 250"

PLACES: Final = {
    "mail": "{} | 503 | 503 | 503",
    "recipient": "250 | 250 | {} | 354 | 250",
    "data": "250 | 250 | 250 | {}",
    "header": "250 | 250 | 250 | 354 | {}",
    "end_of_headers": "250 | 250 | 250 | 354 | {}",
    "body": "250 | 250 | 250 | 354 | {}",
    "end_of_message": "250 | 250 | 250 | 354 | {}",
}
"""The replies to the first message, and which of them a refusal at a stage makes its own."""


def verdict_at(event_name: str, *verdict: Any) -> Any:
    """A filter that gives the verdict at that event."""
    handlers = define_event_handlers(actions={"add_header"}, state={"is_meant": False})

    def judge(event: Any, ctx: Any) -> Any:
        return send_action(ctx, *verdict) if ctx["is_meant"] else ctx

    def judge_mail(event: Any, ctx: Any) -> Any:
        ctx = ctx.set("is_meant", event.sender == "first@test")
        return judge(event, ctx) if event_name == "mail" else ctx

    def judge_recipient(event: Any, ctx: Any) -> Any:
        return judge(event, ctx) if event.address == "c@test" else ctx

    def judge_unknown(event: Any, ctx: Any) -> Any:
        return send_action(ctx, *verdict) if event.command == "XFIRST" else ctx

    def judge_end(event: Any, ctx: Any) -> Any:
        ctx = send_action(ctx, AddHeader("X-Late", "seen"))
        return judge(event, ctx) if event_name == "end_of_message" else ctx

    def judge_client(event: Any, ctx: Any) -> Any:
        return send_action(ctx, *verdict)

    special = {
        "connect": judge_client,
        "hello": judge_client,
        "recipient": judge_recipient,
        "unknown": judge_unknown,
    }
    handlers.mail(judge_mail)
    handlers.end_of_message(judge_end)
    if event_name not in ("mail", "end_of_message"):
        getattr(handlers, event_name)(special.get(event_name, judge))
    return handlers


_ADDRESS: Final = {"mail": "<first@test>... ", "recipient": "<c@test>... "}
"""What Sendmail puts before a text at these stages, with the codes 450 and 550."""


def refusal(verdict: str, stage: str) -> PerMta[str]:
    """The replies by which the servers hand on a verdict."""
    late = stage not in ("mail", "recipient", "data", "unknown")
    code = 554 if late else 550
    return {
        "reject": PerMta(
            "550 5.7.1 Command rejected", f"{code} 5.7.1 {_ADDRESS.get(stage, '')}Command rejected"
        ),
        "tempfail": PerMta(
            "451 4.7.1 Service unavailable - try again later", "451 4.3.2 Please try again later"
        ),
        "reply 554": PerMta("554 5.7.9 not from you", "554 5.7.9 not from you"),
        "reply 452": PerMta("452 4.7.9 not now", "452 4.7.9 not now"),
    }[verdict]


def refused_first(verdict: str, stage: str) -> PerMta[str]:
    """The replies in a session of which the first message meets a verdict at a stage."""
    said = refusal(verdict, stage)
    first = PerMta(PLACES[stage].format(said.postfix), PLACES[stage].format(said.sendmail))
    return PerMta(_in_session(first.postfix), _in_session(first.sendmail))


def _in_session(first: str) -> str:
    return f"220 | 250 | {first} | 250 | 250 | 250 | 354 | 250 | 221"


def _delivered(verdict: str, stage: str) -> tuple[Mail, ...]:
    if verdict == "continue":
        return (FIRST, SECOND)
    if verdict == "accept":
        return (FIRST if stage == "end_of_message" else FIRST_UNSEEN, SECOND)
    if verdict != "discard" and stage == "recipient":
        return (FIRST_TO_B, SECOND)
    return (SECOND,)


def _on_messages() -> Iterator[Scenario]:
    for stage in PLACES:
        for name, verdict in VERDICTS.items():
            is_refusal = name not in ("continue", "accept", "discard")
            yield Scenario(
                f"{name} at {stage}",
                verdict_at(stage, verdict),
                STEPS,
                refused_first(name, stage) if is_refusal else _in_session(TAKEN),
                _delivered(name, stage),
                everywhere=(name, stage) == ("reject", "end_of_message"),
            )


# ------------------------------------------------------------------------- at connect and hello
_SEEN: Final = (with_headers(LATE),)


def _refused_mail(mail: str, banner: str = "220") -> str:
    """The replies of a server that refuses MAIL, and then lacks it for all that follows."""
    return f"{banner} | 250 | {mail} | 503 | 503 | 221"


def _refused_all(text: str, banner: str = "220") -> str:
    """The replies of a server that says the same to each command of a message."""
    return f"{banner} | 250 | {text} | {text} | {text} | 221"


_REFUSED_CLIENTS: Final = {
    ("reject", "connect"): PerMta(
        _refused_mail("550 5.7.1 Command rejected", "554"),
        _refused_all("550 5.0.0 Command rejected", "554"),
    ),
    ("reject", "hello"): PerMta(
        _refused_mail("550 5.7.1 Command rejected"), _refused_all("550 5.0.0 Command rejected")
    ),
    ("tempfail", "connect"): PerMta(_refused_mail("451 4.7.1"), _refused_mail("451 4.3.2")),
    ("tempfail", "hello"): PerMta(_refused_mail("451 4.7.1"), _refused_mail("451 4.3.2")),
    # Sendmail keeps no more of a reply at connect than its class
    ("reply 554", "connect"): PerMta(
        _refused_mail("554 5.7.9 not from you", "554"),
        _refused_all("550 5.0.0 Command rejected", "554"),
    ),
    ("reply 554", "hello"): PerMta(
        _refused_mail("554 5.7.9 not from you"), _refused_all("554 5.7.9 not from you")
    ),
    ("reply 452", "connect"): PerMta(_refused_mail("452 4.7.9 not now"), _refused_mail("451 4.3.2")),
    ("reply 452", "hello"): PerMta(
        _refused_mail("452 4.7.9 not now"), _refused_all("452 4.7.9 not now")
    ),
    # an illegal plan, as no server understands it
    ("discard", "connect"): PerMta(_refused_mail("451 4.7.1"), _refused_mail("451 4.3.2")),
    ("discard", "hello"): PerMta(_refused_mail("451 4.7.1"), _refused_mail("451 4.3.2")),
}


def _on_clients() -> Iterator[Scenario]:
    for stage in ("connect", "hello"):
        yield Scenario(f"continue at {stage}", verdict_at(stage, Continue()), delivered=_SEEN)
        yield Scenario(
            f"accept at {stage}",
            verdict_at(stage, Accept()),
            (GREETING, *envelope(), message(), *envelope(), message(), "QUIT"),
            "220 | 250 | 250 | 250 | 354 | 250 | 250 | 250 | 354 | 250 | 221",
            (Mail(), Mail()),
        )
    for (name, stage), replies in _REFUSED_CLIENTS.items():
        handlers = verdict_at(stage, VERDICTS[name])
        yield Scenario(f"{name} at {stage}", handlers, ONE_MAIL, replies, ())


# --------------------------------------------------------------------------- at unknown commands
_UNKNOWN: Final = (GREETING, "XFIRST", "XSECOND", *envelope(), "XFIRST", message(), "QUIT")


def _on_unknown() -> Iterator[Scenario]:
    own = PerMta("500 5.5.2", "500 5.5.1")
    for name in ("continue", "reject", "tempfail", "reply 554", "reply 452"):
        said = own if name == "continue" else refusal(name, "unknown")
        yield Scenario(
            f"{name} at unknown",
            verdict_at("unknown", VERDICTS[name]),
            _UNKNOWN,
            PerMta(_with_unknown(said.postfix, own.postfix), _with_unknown(said.sendmail, own.sendmail)),
            _SEEN,
        )


def _with_unknown(first: str, second: str) -> str:
    return f"220 | 250 | {first} | {second} | 250 | 250 | {first} | 354 | 250 | 221"


# ------------------------------------------------------------------------------- replies in words
_LINES: Final = ReplyCode(550, "5.7.1", ["100% sure:", "", "go away, %s"])


def _in_words() -> Iterator[Scenario]:
    said = "550 5.7.1 {}100% sure:\n5.7.1 \n5.7.1 go away, %s"
    for stage, address in {
        "mail": "<first@test>... ",
        "recipient": "<c@test>... ",
        "end_of_message": "",
    }.items():
        yield Scenario(
            f"a reply of three lines with percent signs at {stage}",
            verdict_at(stage, _LINES),
            STEPS,
            PerMta(
                _in_session(PLACES[stage].format(said.format(""))),
                _in_session(PLACES[stage].format(said.format(address))),
            ),
            _delivered("reject", stage),
            everywhere=stage == "end_of_message",
        )
    later = ReplyCode(421, "4.7.0", "come back later")
    for stage, replies in {
        "hello": _closed_after("220 | 421 4.7.0 come back later", 4),
        "mail": _closed_after("220 | 250 | 421 4.7.0 come back later", 8),
        "end_of_message": _closed_after(
            "220 | 250 | 250 | 250 | 250 | 354 | 421 4.7.0 come back later", 5
        ),
    }.items():
        steps = ONE_MAIL if stage == "hello" else STEPS
        yield Scenario(f"reply 421 at {stage}", verdict_at(stage, later), steps, replies, ())


def _closed_after(replies: str, steps: int) -> str:
    """These replies, then a closed connection for so many steps."""
    return " | ".join([replies, *[CLOSED] * steps])


SCENARIOS: Final = (*_on_messages(), *_on_clients(), *_on_unknown(), *_in_words())

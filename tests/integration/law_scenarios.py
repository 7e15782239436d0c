"""What an event gives, an action takes: filters that say again what a mail told them.

Who sends the mail must not choose that the filter fails: each does what it says under both servers.
"""

from collections.abc import Callable
from typing import Any, Final

from demyjpy import (
    add_header,
    add_recipient,
    change_header,
    change_sender,
    define_event_handlers,
    delete_recipient,
    insert_header,
    quarantine,
    reject,
    remember,
    tempfail,
)
from tests.integration.scenario import (
    GREETING,
    HEADERS,
    ONE_MAIL_TAKEN,
    OWN,
    Mail,
    PerMta,
    Scenario,
    envelope,
    message,
)

ACTIONS: Final = {
    *("add_header", "change_header", "quarantine", "change_sender"),
    *("add_recipient", "delete_recipient"),
}
ROUTE: Final = "@a.example,@b.example:user@test"
BLANKS: Final = "one\n \n two\n\t"


def _said(ctx: Any, name: str) -> Any:
    return ctx["connection"][name]


def keeping(say: Callable[[Any], Any]) -> Any:
    """A filter that keeps all that it is told, and at the end says ``say(ctx)``."""
    handlers = define_event_handlers(actions=ACTIONS)

    @handlers.mail
    def keep_sender(event: Any, ctx: Any) -> Any:
        return remember(ctx, sender=event.sender)

    @handlers.recipient
    def keep_recipient(event: Any, ctx: Any) -> Any:
        return remember(ctx, recipient=event.address)

    @handlers.header
    def keep_subject(event: Any, ctx: Any) -> Any:
        return remember(ctx, value=event.value, raw=event.raw) if event.name == "Subject" else ctx

    @handlers.end_of_message
    def answer(event: Any, ctx: Any) -> Any:
        return say(ctx)

    return handlers


def _with_subject(value: str) -> bytes:
    lines = [f"Subject: {value}" if line.startswith("Subject") else line for line in HEADERS]
    return message(line.replace("\n", "\r\n") for line in lines)


def _taken(value: str, recipients: tuple[str, ...] = ("b@test",)) -> Any:
    return (GREETING, *envelope("a@test", *recipients), _with_subject(value), "QUIT")


def _header(subject: str, *more: str) -> tuple[str, ...]:
    lines = [f"Subject: {subject}" if line.startswith("Subject") else line for line in HEADERS]
    return (OWN, *(line.replace("\n", "\r\n") for line in (*lines, *more)))


def _put_back(ctx: Any) -> Any:
    value, raw = _said(ctx, "value"), _said(ctx, "raw")
    ctx = add_header(ctx, "X-Value", value)
    ctx = add_header(ctx, "X-Raw", raw=raw)
    ctx = insert_header(ctx, 1_000_000, "X-Last", value)
    return change_header(ctx, 1, "Subject", f"[EXT] {value}")


def _readdressed(ctx: Any) -> Any:
    ctx = delete_recipient(ctx, _said(ctx, "recipient"))
    return change_sender(add_recipient(ctx, _said(ctx, "sender")), _said(ctx, "recipient"))


_REFUSED: Final = "220 | 250 | 250 | 250 | 354 | {} | 221"
_CUT: Final = f"550 5.7.1 Not wanted: {'x' * 968}"

SCENARIOS: Final = (
    Scenario(
        "a value with lines of white space only is put back",
        keeping(_put_back),
        _taken(BLANKS),
        delivered=(
            Mail(
                headers=_header(
                    f"[EXT] {BLANKS}", f"X-Value: {BLANKS}", f"X-Raw: {BLANKS}", f"X-Last: {BLANKS}"
                )
            ),
        ),
        everywhere=True,
    ),
    Scenario(
        "a recipient with a source route is deleted, and becomes the sender",
        keeping(_readdressed),
        _taken("s", (ROUTE,)),
        delivered=(Mail("user@test", ("a@test",), _header("s")),),
    ),
    Scenario(
        "a sender with a source route becomes a recipient",
        keeping(_readdressed),
        (GREETING, *envelope(ROUTE), message(), "QUIT"),
        delivered=(Mail("b@test", ("user@test",)),),
    ),
    Scenario(
        "a folded name is the reason of a quarantine",
        keeping(lambda ctx: quarantine(ctx, f"attachment {_said(ctx, 'value')}")),
        _taken("very long\n\tname.exe"),
        delivered=(),
        held=PerMta(("a@test: None",), ("a@test: attachment very long name.exe",)),
    ),
    Scenario(
        "a long value is the text of a refusal",
        keeping(lambda ctx: reject(ctx, "5.7.1", f"Not wanted: {_said(ctx, 'value')}")),
        _taken("x" * 1000),
        _REFUSED.format(_CUT),
        delivered=(),
        on_error="accept",
    ),
    Scenario(
        "a folded value is the text of a refusal",
        keeping(lambda ctx: reject(ctx, "5.7.1", f"Not wanted: {_said(ctx, 'value')}")),
        _taken("100%\n \n\t4.7.1 \x1b[2J"),
        _REFUSED.format("550 5.7.1 Not wanted: 100%\n5.7.1  \n5.7.1  4.7.1  [2J"),
        delivered=(),
        on_error="accept",
    ),
    Scenario(
        "a value in UTF-8 of every byte is the text of a refusal",
        keeping(lambda ctx: reject(ctx, "5.7.1", _said(ctx, "value"))),
        _taken("\u00c0".join(map(chr, range(0xA1, 0x180)))),
        _REFUSED.format("550"),
        delivered=(),
        on_error="accept",
    ),
    Scenario(
        "a refusal of more lines than Sendmail sends",
        keeping(lambda ctx: reject(ctx, "5.7.1", ["x" * 990] * 40)),
        _taken("s"),
        _REFUSED.format("\n".join(["550 5.7.1 " + "x" * 980, *["5.7.1 " + "x" * 980] * 15])),
        delivered=(),
        on_error="accept",
    ),
    Scenario(
        "a refusal without an enhanced code that begins with an address",
        keeping(lambda ctx: reject(ctx, text="192.0.2.7 is listed\nsee 192.0.2.7\n7 of 9")),
        _taken("s"),
        _REFUSED.format("550 5.7.1 192.0.2.7 is listed\n5.7.1 see 192.0.2.7\n5.7.1 7 of 9"),
        delivered=(),
        on_error="accept",
    ),
    Scenario(
        "a temporary failure without an enhanced code that begins with a number",
        keeping(lambda ctx: tempfail(ctx, text="5 minutes more")),
        _taken("s"),
        _REFUSED.format("451 4.7.1 5 minutes more"),
        delivered=(),
        on_error="accept",
    ),
    Scenario(
        "a header of white space only, and one of nothing, are put back",
        keeping(lambda ctx: add_header(add_header(ctx, "X-A", _said(ctx, "value")), "X-B", "")),
        _taken(" \n \n\t"),
        ONE_MAIL_TAKEN,
        delivered=(Mail(headers=_header(" \n \n\t", "X-A:  \n \n\t", "X-B:")),),
    ),
)

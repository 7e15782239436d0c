"""What filters see: addresses, parameters, headers of any bytes, macros, refused recipients, clients."""

from typing import Any, Final

from demyjpy import add_header, define_event_handlers
from tests.integration.filters import digest, macro_reader, namer, notary
from tests.integration.scenario import (
    GREETING,
    HEADERS,
    OWN,
    Mail,
    PerMta,
    Scenario,
    envelope,
    message,
    with_headers,
)


def _envelope_reader(rejected: bool = False) -> Any:
    """A filter that adds what it was told of client and envelope."""
    handlers = define_event_handlers(actions={"add_header"}, state={"told": ()})

    def tell(ctx: Any, *words: object) -> Any:
        return ctx.set("told", (*ctx["told"], " ".join(map(str, words))))

    @handlers.connect
    def connect(event: Any, ctx: Any) -> Any:
        return tell(ctx, event.host_name, event.family, event.address)

    @handlers.hello
    def hello(event: Any, ctx: Any) -> Any:
        return tell(ctx, event.greeting)

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return tell(ctx, repr(event.sender), event.raw, *event.parameters.items())

    @handlers.recipient(rejected=rejected)
    def recipient(event: Any, ctx: Any) -> Any:
        return tell(ctx, repr(event.address), event.raw, *event.parameters.items())

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        for told in ctx["told"]:
            ctx = add_header(ctx, f"X-Told-{len(ctx['queue'])}", told)
        return ctx

    return handlers


def _told(*words: str, **others: Any) -> tuple[Mail, ...]:
    """The usual mail with what the envelope reader was told."""
    headers = (f"X-Told-{number}: {line}" for number, line in enumerate(words))
    return (with_headers(*headers, **others),)


_CLIENT: Final = ("localhost 4 127.0.0.1", "client.test")


def _steps(sender: str, recipient: str, content: bytes | None = None) -> tuple[str | bytes, ...]:
    return (GREETING, *envelope(sender, recipient), content or message(), "QUIT")


ENVELOPES: Final = (
    Scenario(
        "an IPv4 client",
        _envelope_reader(),
        delivered=_told(*_CLIENT, "'a@test' <a@test>", "'b@test' <b@test>"),
    ),
    Scenario(
        "an IPv6 client",
        _envelope_reader(),
        delivered=PerMta(
            _told("[::1] 6 ::1", "client.test", "'a@test' <a@test>", "'b@test' <b@test>"),
            _told(
                *("[IPv6:0:0:0:0:0:0:0:1] 6 ::1", "client.test"),
                *("'a@test' <a@test>", "'b@test' <b@test>"),
            ),
        ),
        client="::1",
        everywhere=True,
    ),
    Scenario(
        "the null sender",
        _envelope_reader(),
        _steps("", "b@test"),
        delivered=_told(*_CLIENT, "'' <>", "'b@test' <b@test>", sender=""),
    ),
    Scenario(
        "ESMTP parameters",
        _envelope_reader(),
        _steps("a@test RET=HDRS ENVID=x+3D1", "b@test NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@test"),
        delivered=_told(
            *_CLIENT,
            "'a@test' <a@test> ('RET', 'HDRS') ('ENVID', 'x+3D1')",
            "'b@test' <b@test> ('NOTIFY', 'SUCCESS,FAILURE') ('ORCPT', 'rfc822;o@test')",
            sender="a@test ENVID=x+3D1 RET=HDRS",
            recipients=("b@test NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@test",),
        ),
    ),
    Scenario(
        "a quoted local part",
        _envelope_reader(),
        _steps('"a,b"@test', "b@test"),
        delivered=_told(
            *_CLIENT, '\'"a,b"@test\' <"a,b"@test>', "'b@test' <b@test>", sender='"a,b"@test'
        ),
    ),
    Scenario(
        "SMTPUTF8 addresses, which only Postfix knows",
        _envelope_reader(),
        _steps("grüße@test SMTPUTF8", "bücher@test"),
        PerMta("220 | 250 | 250 | 250 | 354 | 250 | 221", "220 | 250 | 501 5.1.7 | 503 | 503 | 221"),
        PerMta(
            _told(
                *_CLIENT,
                "'grüße@test' <grüße@test> ('SMTPUTF8', None)",
                "'bücher@test' <bücher@test>",
                sender="grüße@test SMTPUTF8",
                recipients=("bücher@test",),
            ),
            (),
        ),
        everywhere=True,
    ),
    Scenario(
        "a recipient that the server refuses is not shown",
        _envelope_reader(),
        (GREETING, *envelope("a@test", "x@refused.test", "b@test"), message(), "QUIT"),
        "220 | 250 | 250 | 550 5.1.1 | 250 | 354 | 250 | 221",
        _told(*_CLIENT, "'a@test' <a@test>", "'b@test' <b@test>"),
    ),
    Scenario(
        "a recipient that the server refuses is shown if wanted, by Postfix",
        _envelope_reader(rejected=True),
        (GREETING, *envelope("a@test", "x@refused.test", "b@test"), message(), "QUIT"),
        "220 | 250 | 250 | 550 5.1.1 | 250 | 354 | 250 | 221",
        PerMta(
            _told(
                *(*_CLIENT, "'a@test' <a@test>"),
                *("'x@refused.test' <x@refused.test>", "'b@test' <b@test>"),
            ),
            _told(*_CLIENT, "'a@test' <a@test>", "'b@test' <b@test>"),
        ),
    ),
)

_ODD_HEADERS: Final = (
    *HEADERS,
    "X-Close:close",
    "X-Spaces:   three",
    "X-Tab:\ttab",
    "X-Folded: one\r\n  two\r\n\tthree",
    "X-Empty:",
    "X-Utf8: Grüße, 你好",
    b"X-Latin: gr\xfc\xdfe".decode("utf-8", "surrogateescape"),
)
_ODD_BODY: Final = b"8 bit: gr\xc3\xbc\xc3\x9fe \xff\xfe\r\n..\r\n.\r\n\r\n \r\n"


def _notarized(headers: tuple[str, ...], body: bytes, **others: Any) -> tuple[Mail, ...]:
    stamp = f"X-Digest: {digest(message(headers, body))}"
    return (Mail(headers=(OWN, *headers, stamp), body=body, **others),)


CONTENTS: Final = (
    Scenario(
        "headers of any bytes are seen as sent",
        notary(),
        _steps("a@test BODY=8BITMIME", "b@test", message(_ODD_HEADERS, _ODD_BODY)),
        delivered=_notarized(_ODD_HEADERS, _ODD_BODY, sender="a@test BODY=8BITMIME"),
        everywhere=True,
    ),
    Scenario(
        "a message without a body is seen as sent",
        notary(),
        _steps("a@test", "b@test", message(body=b"")),
        delivered=_notarized(HEADERS, b""),
    ),
    Scenario(
        "who asks for macros still knows message and client",
        namer(),
        delivered=(with_headers("X-Known: i _ j"),),
    ),
    Scenario(
        "macros asked for by event",
        macro_reader(
            connect=("j",),
            mail=("{mail_addr}", "{mail_mailer}"),
            recipient=("{rcpt_addr}",),
            end_of_message=("{daemon_name}",),
        ),
        delivered=PerMta(
            (
                with_headers(
                    *("X-0: j=postfix.test", "X-1: {mail_addr}=a@test", "X-2: {mail_mailer}=smtp"),
                    *("X-3: {rcpt_addr}=b@test", "X-4: {daemon_name}=postfix.test"),
                ),
            ),
            (
                with_headers(
                    *("X-0: j=sendmail.test", "X-1: {mail_addr}=a@test"),
                    *("X-2: {mail_mailer}=relay", "X-3: {rcpt_addr}=b@test"),
                    "X-4: {daemon_name}=MTA",
                ),
            ),
        ),
    ),
)

SCENARIOS: Final = (*ENVELOPES, *CONTENTS)

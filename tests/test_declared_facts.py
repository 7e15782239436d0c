"""Facts: what a filter declares, and what it reads then of client, envelope, login and encryption."""

from ipaddress import ip_address
from typing import Any

import pytest

from demyjpy import (
    Client,
    Context,
    EndOfMessage,
    HandlerError,
    Recipient,
    Tls,
    accept,
    define_event_handlers,
    facts,
    get_macro,
    merge_handlers,
    new_context,
    only_if,
    recipients,
    reject,
    scoped,
    send_action,
    with_handlers,
    with_policy,
)
from demyjpy.actions import Reject
from demyjpy.facts import check_declared, origin_in
from demyjpy.handlers import wants_of
from demyjpy.known_facts import NO_FACTS, SOURCES, KnownFacts, Way, as_networks, is_trusted
from demyjpy.registry import Registry
from demyjpy.testing import Postfix, Script, Sendmail, context, run, session

ALL = frozenset(SOURCES)
EVENTS = ("connect", "hello", "mail", "recipient", "data", "header", "end_of_message")
PAIR = session().mail("a@test").rcpt("b@test").rcpt("c@test").message()


def watching(fact: str, *events: str, **options: Any) -> tuple[Registry, list[Any]]:
    """A filter that reads one fact at these events, and what it has read."""
    seen: list[Any] = []
    handlers = define_event_handlers(facts={fact}, **options)

    def look(event: Any, ctx: Context) -> Context:
        seen.append(
            [one.address for one in recipients(ctx)]
            if fact == "recipients"
            else getattr(facts(ctx), fact)
        )
        return ctx

    for event in events or EVENTS:
        handlers.add(event, look)
    return handlers, seen


def told(fact: str, script: Script, *events: str, mta: Any = None, **options: Any) -> list[Any]:
    """What a filter reads of a fact."""
    handlers, seen = watching(fact, *events)
    assert not run(handlers, script, mta=mta or Postfix(), **options).troubles
    return seen


# ------------------------------------------------------------------------------------- each fact
def test_facts_are_none_until_they_are_known():
    """Of a session with one message, at each of its events."""
    assert told("sender", PAIR) == [None, None, *["a@test"] * 6]
    assert told("helo", PAIR)[:2] == [None, "client.example"]
    assert told("recipients", PAIR) == [*[[]] * 4, ["b@test"], *[["b@test", "c@test"]] * 3]
    assert set(told("client", PAIR)) == {Client(ip_address("192.0.2.1"))}


def test_what_belongs_to_a_message_ends_with_it():
    """However it ends; the greeting stays until the next."""
    script = session(helo="one").mail("a@test").rcpt("b@test").rset().mail("").rcpt("c@test")
    script = script.ehlo("two").mail("d@test").rcpt("e@test").message()
    for mta in (Postfix(), Sendmail()):
        assert told("sender", script, "hello", "mail", mta=mta) == [None, "a@test", "", None, "d@test"]
        assert told("helo", script, "mail", mta=mta) == ["one", "one", "two"]
        assert told("recipients", script, "mail", "data", mta=mta) == [[], [], [], ["e@test"]]


def test_the_client_with_its_name():
    """Of a client that has one, and of a program on the same machine."""
    named = session(client="2001:db8::1", name="mx.test").mail("a@test").rcpt("b@test").message()
    (seen,) = set(told("client", named))
    assert (str(seen), seen.is_verified) == ("mx.test [2001:db8::1]", True)
    assert told("client", session(client=""), "connect", mta=Sendmail()) == [Client(None, "localhost")]


@pytest.mark.parametrize("mta", [Postfix(), Sendmail()])
def test_who_has_logged_in(mta: Any):
    """From MAIL on; another session is not logged in."""
    script = session().auth("ann").mail("a@test").rcpt("b@test").message()
    assert told("user", script, mta=mta)[:3] == [None, None, "ann"]
    assert set(told("user", PAIR, mta=mta)) == {None}


def test_an_encrypted_session():
    """From the greeting after STARTTLS on."""
    macros = {"tls_version": "TLSv1.3", "cipher": "AES", "cipher_bits": "256"}
    script = session().starttls(**macros).ehlo().mail("a@test").rcpt("b@test").message()
    assert told("tls", script, "hello", "mail") == [None, *[Tls("TLSv1.3", "AES", 256)] * 2]


@pytest.mark.parametrize(
    ("macros", "expected"),
    [
        ({"v": "Postfix 3.7.11", "cert_subject": "cn"}, (True, "cn")),
        ({"v": "8.17.1", "cert_subject": "/CN=x", "verify": "OK"}, (True, "/CN=x")),
        ({"v": "8.17.1", "cert_subject": "/CN=x", "verify": "FAIL"}, (False, "/CN=x")),
        ({"cert_subject": "/CN=x"}, (False, "/CN=x")),
        ({"v": "Postfix 3.7.11", "verify": "OK", "cert_subject": ""}, (False, None)),
    ],
)
def test_a_certificate_counts_if_the_mta_trusts_it(macros: dict[str, str], expected: Any):
    """Sendmail says so; Postfix names no other."""
    payload = "".join(f"{name}\0{value}\0" for name, value in {"tls_version": "T", **macros}.items())
    ctx = context(define_event_handlers(facts={"tls"}))
    ctx = ctx.set("macros", ctx["macros"].define(ord("H"), payload.encode()))
    tls = facts(ctx).tls
    assert tls is not None
    assert (tls.is_verified, tls.subject) == expected


@pytest.mark.parametrize("bits", ["", "many", "²", "9" * 5_000])
def test_bits_that_are_no_number_are_none(bits: str):
    """Whatever stands there."""
    ctx = context(define_event_handlers(facts={"tls"}))
    payload = f"tls_version\0T\0cipher_bits\0{bits}\0"
    ctx = ctx.set("macros", ctx["macros"].define(ord("H"), payload.encode()))
    assert facts(ctx).tls == Tls("T")


def test_names_that_need_no_declaration():
    """The queue id and the session, in any filter."""
    seen: list[Any] = []
    handlers = define_event_handlers()

    @handlers.end_of_message
    def look(event: EndOfMessage, ctx: Context) -> Context:
        seen.append((facts(ctx).queue_id == get_macro(ctx, "i"), facts(ctx).session))
        return ctx

    run(handlers, PAIR, mta=Postfix())
    assert seen == [(True, "test")]


# ---------------------------------------------------------------------------------------- origin
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (session().mail("a@test"), "smtp"),
        (session().mail(""), "bounce"),
        (session().auth("ann").mail(""), "submission"),
        (session(client="127.0.0.1").mail("a@test"), "local"),
        (session(client="::1").mail("a@test"), "local"),
        (session(client="127.0.0.1").mail(""), "bounce"),
        (session(client="").mail("a@test"), "local"),
    ],
)
def test_where_a_mail_comes_from(script: Script, expected: str):
    """The first rule that holds."""
    assert told("origin", script, "mail", mta=Sendmail()) == [expected]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("{daemon_port}", "587", "submission"),
        ("{daemon_port}", "465", "submission"),
        ("{daemon_port}", "25", "smtp"),
        ("{daemon_name}", "MSA", "submission"),
        ("{daemon_name}", "ORIGINATING", "submission"),
        ("{daemon_name}", "MTA", "smtp"),
    ],
)
def test_a_port_or_a_daemon_for_submission(name: str, value: str, expected: str):
    """As the macros tell; before anything is known of the client it is SMTP."""
    ctx = context(define_event_handlers(facts={"origin"}))
    macros = ctx["macros"].define(ord("C"), f"{name}\0{value}\0".encode())
    assert facts(ctx.set("macros", macros)).origin == expected
    assert origin_in(ctx.remove("facts")) == "smtp"


# ------------------------------------------------------------------------------------- recipients
@pytest.mark.parametrize("mta", [Postfix(), Sendmail()])
@pytest.mark.parametrize("verdict", [reject, lambda ctx: send_action(ctx, Reject())])
def test_a_refused_recipient_does_not_stand(mta: Any, verdict: Any):
    """Whichever of merged filters refuses it; it does for none of them. So it is in the message."""
    first, seen = watching("recipients", "recipient", "data")
    second = define_event_handlers()
    values: list[Any] = []

    @second.recipient
    def refuse(event: Recipient, ctx: Context) -> Context:
        return verdict(ctx) if event.address == "b@test" else ctx

    @first.message
    def keep(event: Any, ctx: Context) -> Context:
        values.append([one.address for one in event.recipients])
        assert tuple(recipients(ctx)) == event.recipients
        return ctx

    assert not run(merge_handlers(first, second), PAIR, mta=mta).troubles
    assert seen == [[], [], ["c@test"]]
    assert values == [["c@test"]]


def test_a_recipient_that_the_filter_alone_refuses():
    """Also one that it gets although the MTA has refused it, and one over a limit."""
    seen: list[Any] = []
    handlers = define_event_handlers(facts={"recipients"})

    @handlers.recipient(rejected=True)
    def refuse(event: Recipient, ctx: Context) -> Context:
        seen.append(event.address)
        return reject(ctx) if event.address == "b@test" else ctx

    @handlers.data
    def look(event: Any, ctx: Context) -> Context:
        seen.append([one.address for one in recipients(ctx)])
        return ctx

    script = session().mail("a@test").rcpt("b@test").rcpt("x@test", refused="5.1.1 no").rcpt("c@test")
    run(handlers, script.message(), mta=Sendmail())
    assert seen == ["b@test", "x@test", "c@test", ["c@test"]]


# -------------------------------------------------------------------------------- what is declared
def test_a_fact_that_is_not_declared_shows_the_line_to_write():
    """The filter's own facts are in it."""
    ctx = context(define_event_handlers(facts={"sender"}))
    with pytest.raises(HandlerError) as caught:
        _ = facts(ctx).client
    assert str(caught.value) == (
        "expected facts(ctx).client of a fact that the filter has declared, got 'client', which it has "
        'not: write define_event_handlers(..., facts={"client", "sender"})'
    )
    with pytest.raises(HandlerError, match=r'recipients\(ctx\) .* facts=\{"recipients"\}'):
        recipients(context(define_event_handlers()))
    assert check_declared(KnownFacts(ALL), "tls", "x").names == ALL


@pytest.mark.parametrize("name", [*sorted(ALL - {"recipients"})])
def test_each_fact_has_to_be_declared(name: str):
    """None is read by chance."""
    with pytest.raises(HandlerError, match=name):
        getattr(facts(context(define_event_handlers(facts=ALL - {name}))), name)
    assert getattr(facts(context(define_event_handlers(facts={name}))), name) in (None, "smtp")


def test_of_merged_filters_each_reads_what_it_has_declared():
    """Also in ``asking=``, in a corner, and in ``on_error``."""
    seen: list[str] = []

    def look(name: str) -> Any:
        def handler(event: Any, ctx: Context) -> Context:
            for fact in ("sender", "helo"):
                try:
                    seen.append(f"{name}: {getattr(facts(ctx), fact)}")
                except HandlerError:
                    seen.append(f"{name}: no {fact}")
            return ctx

        return handler

    def failing(event: Any, ctx: Context) -> Context:
        raise OSError

    one = define_event_handlers({"mail": look("one")}, facts={"sender"})
    two = define_event_handlers({"mail": look("two")}, facts={"helo"}, edits="headers")
    three = define_event_handlers({"mail": look("three")})
    four = define_event_handlers({"mail": failing}, facts={"helo"}, state={"x": 1})
    four = with_policy(four, on_error=lambda error, event, ctx: look("four")(event, ctx))
    result = run(merge_handlers(one, scoped("s", two), three, scoped("f", four)), PAIR, mta=Postfix())
    assert seen == [
        *("one: a@test", "one: no helo", "two: no sender", "two: client.example"),
        *("three: no sender", "three: no helo", "four: no sender", "four: client.example"),
    ]
    assert [type(one.error) for one in result.troubles] == [OSError]


def test_a_filter_that_changes_the_facts_of_others_fails():
    """They are the engine's."""
    bad = define_event_handlers({"mail": lambda event, ctx: ctx.set("facts", NO_FACTS)})
    other, seen = watching("sender", "mail")
    result = run(merge_handlers(bad, other), PAIR, on_error="accept", mta=Postfix())
    assert "leave the key 'facts' alone" in str(result.troubles[0].error)
    assert seen == ["a@test"]


def test_a_filter_that_spoils_its_own_facts_has_none():
    """Nothing but that: the session goes on."""
    handlers = define_event_handlers(facts={"sender", "origin_client"}, actions={"add_header"})
    handlers.add("connect", lambda event, ctx: ctx.set("facts", 5))
    result = run(handlers, PAIR, mta=Postfix())
    assert result.is_delivered


def test_only_if_shows_what_was_known_then():
    """The predicate reads the facts of its filter; the filter gets what it has missed as it was."""
    inner, seen = watching("recipients", "mail", "recipient", "data")
    chosen = only_if(lambda event, ctx: len(recipients(ctx)) > 1 or None, inner)
    run(chosen, PAIR.then(), mta=Postfix())
    assert seen == [[], [], ["b@test"], ["b@test", "c@test"]]


# ------------------------------------------------------------------------------ what the MTA is asked
def test_what_is_asked_of_the_mta():
    """Events without an answer, and macros beside those that the MTA sends in any case."""
    handlers = define_event_handlers(facts=ALL)
    handlers.add("end_of_message", lambda event, ctx: accept(ctx))
    assert {"i", "{auth_authen}", "{mail_addr}"} <= set(handlers.macros["mail"])
    assert {"j", "{client_resolve}", "{daemon_port}"} <= set(handlers.macros["connect"])
    wants = wants_of(with_handlers(new_context(), handlers))
    assert wants.quiet == wants.optional_events == wants.events - {"end_of_message"}
    assert wants.quiet == {"connect", "hello", "mail", "recipient", "header", "end_of_headers"}
    own = define_event_handlers(facts={"user"}, macros={"mail": ("{x}",)})
    assert own.macros == {"mail": ("{x}", "{auth_authen}")}
    assert define_event_handlers().macros == {}
    assert merge_handlers(own, define_event_handlers({"mail": lambda event, ctx: ctx})).macros["mail"][
        :2
    ] == ("{x}", "{auth_authen}")


def test_too_many_macros_with_those_of_facts():
    """The error names the fact."""
    many = tuple(f"{{m{number}}}" for number in range(50))
    with pytest.raises(HandlerError, match=r"at most 50 macros for 'mail' .* fact 'user' .* got 51"):
        define_event_handlers(facts={"user"}, macros={"mail": many})


@pytest.mark.parametrize("given", ["client", {"clients"}, 5])
def test_facts_that_there_are_not(given: Any):
    """A text is no set of names."""
    with pytest.raises(HandlerError, match="facts"):
        define_event_handlers(facts=given)


# ---------------------------------------------------------------------------------------- by hand
def test_facts_of_a_handler_that_is_called_by_hand():
    """As a test gives them; what is not given is None."""
    handlers = define_event_handlers(facts={"client", "sender", "recipients", "user", "origin_client"})
    client = Client(ip_address("2001:db8::1"), "x", True)
    given = {"client": "192.0.2.1", "origin_client": client, "sender": "", "recipients": ["b@test"]}
    ctx = context(handlers, facts=given)
    assert facts(ctx).client == Client(ip_address("192.0.2.1"))
    assert (facts(ctx).origin_client, facts(ctx).sender, facts(ctx).user) == (client, "", None)
    assert recipients(ctx) == (Recipient("b@test"),)
    assert context(handlers, facts={"recipients": [Recipient("x")]})["facts"].given is not None
    assert "facts" not in context(define_event_handlers())


def test_facts_by_hand_that_nobody_reads():
    """They are mistakes."""
    handlers = define_event_handlers(facts={"client"})
    with pytest.raises(HandlerError, match=r"that the filter declares \(client\), got 'tls'"):
        context(handlers, facts={"tls": None})
    with pytest.raises(HandlerError, match=r"declares \(none\)"):
        context(define_event_handlers(), facts={"tls": None})
    with pytest.raises(HandlerError, match="client as an IP address or a Client, got 'mx'"):
        context(handlers, facts={"client": "mx"})


# -------------------------------------------------------------------------------- trusted relays
RELAYS = ("192.0.2.0/24", "2001:db8::/32")
NEXT = "from r2 (r2 [192.0.2.2]) by r1"
LAST = "from x (unknown [203.0.113.9]) by r2"
FORGED = "from bank (bank [198.51.100.1]) by x"


def way_of(*received: str, client: str = "192.0.2.1") -> Any:
    """The origin client of a mail with these fields at its end, and at each event before."""
    fields = "".join(f"Received: {one}\n" for one in received)
    script = session(client=client).mail("a@test").rcpt("b@test")
    script = script.message(f"{fields}From: a@test\nDate: Sat, 21 Nov 2026 10:00:00 +0000\n\nhi\n")
    seen = told("origin_client", script, trusted_relays=RELAYS)
    return [None if one is None else str(one) for one in seen]


def test_the_client_itself_is_the_origin_if_it_is_no_relay():
    """From connect on, whatever the fields say."""
    assert set(way_of(NEXT, LAST, client="203.0.113.1")) == {"[203.0.113.1]"}
    assert set(told("origin_client", PAIR)) == {Client(ip_address("192.0.2.1"))}


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ((LAST,), "[203.0.113.9]"),
        ((NEXT, LAST, FORGED), "[203.0.113.9]"),
        (("from r (r [IPv6:2001:db8::5]) by r1", LAST), "[203.0.113.9]"),
        ((NEXT, "by r2 (Postfix, from userid 0)", FORGED), "r2 [192.0.2.2]"),
        ((NEXT,), "r2 [192.0.2.2]"),
        ((), "[192.0.2.1]"),
        (("by r1 (Postfix)", FORGED), "[192.0.2.1]"),
        (("odd", LAST), None),
        ((NEXT, "odd", LAST), None),
    ],
)
def test_the_client_behind_relays(received: tuple[str, ...], expected: str | None):
    """The first that is not trusted; nothing below is believed."""
    seen = way_of(*received)
    assert seen[-1] == expected
    assert seen[:5] == [None] * 5


def test_the_origin_client_is_known_from_its_field_on():
    """And the next message begins anew."""
    assert way_of(NEXT, LAST)[5:8] == [None, "[203.0.113.9]", "[203.0.113.9]"]
    one = session(client="192.0.2.1").mail("a@test").rcpt("b@test").message(f"Received: {LAST}\n\n")
    two = one.mail("a@test").rcpt("b@test").message(f"Received: {NEXT}\n\n")
    seen = told("origin_client", two, "mail", "end_of_message", trusted_relays=RELAYS, mta=Sendmail())
    assert [str(one) for one in seen] == ["None", "[203.0.113.9]", "None", "r2 [192.0.2.2]"]


def test_networks_as_people_write_them():
    """In a text or one by one."""
    networks = as_networks("192.0.2.0/24, 2001:db8::/32")
    assert as_networks(RELAYS) == networks == as_networks(networks)
    assert is_trusted(ip_address("2001:db8::1"), networks)
    assert is_trusted(ip_address("::ffff:192.0.2.1"), networks)
    assert not is_trusted(ip_address("192.0.3.1"), networks)
    assert not is_trusted("/run/socket", networks)
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        as_networks("192.0.2.0/24,")


def test_a_way_that_is_lost_is_not_found_again():
    """There is nothing more to be read from."""
    assert Way(None, "lost").end() == Way(None, "lost")

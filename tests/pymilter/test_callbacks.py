"""`filter_of`: which callbacks are called, with what, and what comes of what they return."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from demyjpy import (
    Abort,
    Accept,
    Connect,
    Continue,
    Discard,
    EndOfMessage,
    HandlerError,
    Header,
    Mail,
    Recipient,
    Reject,
    ReplyCode,
    TemporaryFailure,
    merge_handlers,
    new_context,
    with_handlers,
)
from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter import filter_of
from demyjpy.testing import Postfix, Sendmail, check_filter, run, session

ONE = session(client="192.0.2.1", name="client.example").mail(
    "ann@example.org", SIZE="10", SMTPUTF8=None
)
ONE = ONE.rcpt("bob@example.net", NOTIFY="NEVER")
LETTER = "Subject: hi\nX-Two:  two\n\nhello\n"


class Logging(Milter.Base):
    """Each callback notes what it got; a function may say what it returns."""

    seen: list[Any]

    def note(self, *said: Any) -> int:
        self.seen.append(said)
        return Milter.CONTINUE

    def connect(self, *given):
        return self.note("connect", *given)

    def hello(self, *given):
        return self.note("hello", *given)

    def envfrom(self, *given):
        return self.note("envfrom", *given)

    def envrcpt(self, *given):
        return self.note("envrcpt", *given)

    def data(self):
        return self.note("data")

    def header(self, *given):
        return self.note("header", *given)

    def eoh(self):
        return self.note("eoh")

    def body(self, chunk):
        return self.note("body", chunk)

    def unknown(self, command):
        return self.note("unknown", command)

    def eom(self):
        return self.note("eom")

    def abort(self):
        return self.note("abort")

    def close(self):
        return self.note("close")


def seen_in(script: Any, klass: type[Logging] = Logging, mta: Any = None) -> list[Any]:
    """What a class saw of a session, but for what it saw of the client."""
    ours = type(klass.__name__, (klass,), {"seen": []})
    run(filter_of(ours), script, mta=mta or Postfix())
    return ours.seen[2:] if "connect" in ours.seen[0] else ours.seen


def verdict_of(callback: str, said: Any, script: Any = None) -> Any:
    """What comes of a session if one callback returns this, or what a function of the instance gives."""

    def method(self: Any, *given: Any) -> Any:
        return said(self) if callable(said) else said

    klass = type("Saying", (Milter.Base,), {callback: method})
    return run(filter_of(klass), script or ONE.message(LETTER)).messages[0].verdict


def test_all_callbacks_are_called_with_what_pymilter_gives() -> None:
    """Addresses as they were sent, parameters as words, header values without the one space."""
    assert seen_in(ONE.message(LETTER).command("FOO bar").mail("x@y.example").rset()) == [
        ("envfrom", "<ann@example.org>", "SIZE=10", "SMTPUTF8"),
        ("envrcpt", "<bob@example.net>", "NOTIFY=NEVER"),
        ("data",),
        ("header", "Subject", "hi"),
        ("header", "X-Two", " two"),
        ("eoh",),
        ("body", b"hello\r\n"),
        ("eom",),
        ("unknown", "FOO"),
        ("envfrom", "<x@y.example>"),
        ("abort",),
        ("close",),
    ]


@pytest.mark.parametrize(
    ("event", "given"),
    [
        (Connect("c", "4", ip_address("192.0.2.1"), 25), (2, ("192.0.2.1", 25))),
        (Connect("c", "L", "/tmp/x", 0), (1, "/tmp/x")),
        (Connect("c"), (0, None)),
    ],
)  # fmt: skip
def test_the_client_is_given_as_the_socket_module_has_it(event: Connect, given: Any) -> None:
    """The family is the number of a constant."""
    ours = type("Ours", (Logging,), {"seen": []})
    registry = filter_of(ours)
    registry["connect"](event, with_handlers(new_context(), registry))
    assert ours.seen == [("connect", "c", *given)]
    assert given[0] in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNSPEC)


def test_an_address_of_ipv6_has_four_parts() -> None:
    """Flow and scope are zero."""
    ours = type("Ours", (Logging,), {"seen": []})
    run(filter_of(ours), session(client="2001:db8::1"), mta=Postfix())
    assert ours.seen[0][2:] == (socket.AF_INET6, ("2001:db8::1", 40000, 0, 0))


def test_only_what_is_overridden_is_asked_for() -> None:
    """The MTA need not say more."""

    class OnlyEom(Milter.Base):
        def eom(self):
            return Milter.CONTINUE

        @Milter.nocallback
        def hello(self, hostname):
            return Milter.CONTINUE

    assert set(filter_of(OnlyEom)) == {"end_of_message"}
    assert set(filter_of(Milter.Base)) == set()
    registry = filter_of(Milter.Milter)
    assert "body" not in registry
    assert not registry["header"].reply
    assert registry["end_of_message"].reply
    assert registry["end_of_message"].name == "Milter: demyjpy.pymilter.base.Milter.eom"


def test_a_connection_has_one_instance_of_its_own() -> None:
    """It lasts from message to message, and no other connection sees it."""

    class Counting(Milter.Base):
        def __init__(self):
            self.count = 0

        def eom(self):
            self.count += 1
            self.addheader("X-Count", str(self.count))
            return Milter.CONTINUE

    script = ONE.message(LETTER).mail("a@b.example").rcpt("c@d.example").message(LETTER)
    registry = filter_of(Counting)
    for _ in range(2):
        found = run(registry, script)
        assert [one.message.get("X-Count") for one in found.messages] == ["1", "2"]


@pytest.mark.parametrize(
    ("callback", "said", "verdict"),
    [
        ("envfrom", Milter.REJECT, Reject()),
        ("envfrom", True, Reject()),
        ("header", Milter.TEMPFAIL, TemporaryFailure()),
        ("eoh", Milter.DISCARD, Discard()),
        ("data", Milter.ACCEPT, Accept()),
        ("eom", Milter.NOREPLY, Accept()),
        ("body", Milter.SKIP, Accept()),
        ("header", Milter.SKIP, Accept()),
        ("eom", False, Accept()),
        ("eom", lambda self: self.setreply("554", "5.7.2", "100%% no", "really") or Milter.REJECT,
         ReplyCode(554, "5.7.2", "100% no\nreally")),
        ("eom", lambda self: self.setmlreply("450", None, "a", "b") or Milter.TEMPFAIL,
         ReplyCode(450, "4.0.0", "a\nb")),
        ("eom", lambda self: self.setreply("450", None, "a") or Milter.REJECT, Reject()),
        ("eom", lambda self: self.setreply("550", "4.7.1", "a") or Milter.REJECT, ReplyCode(550, "5.7.1", "a")),
        ("eom", lambda self: self.setreply("550") or Milter.REJECT, ReplyCode(550)),
    ],
)  # fmt: skip
def test_what_a_callback_returns_is_the_answer(callback: str, said: Any, verdict: Any) -> None:
    """A reply counts if it is of the class of the refusal."""
    assert verdict_of(callback, said) == verdict


@pytest.mark.parametrize("said", [None, "x", 99, 1.0])
def test_what_is_no_answer_is_an_exception(said: Any) -> None:
    """As under pymilter; there a number that is none is an answer that never comes."""
    assert verdict_of("eom", said) == ReplyCode(451, "4.3.0", "pymilter: untrapped exception in Saying")


def test_a_reply_is_kept_until_a_refusal_uses_it() -> None:
    """Also past the end of a message."""

    class Keeping(Milter.Base):
        def envfrom(self, sender, *parameters):
            if sender == "<ann@example.org>":
                self.setreply("554", "5.7.2", "kept")
            return Milter.CONTINUE

        def header(self, name, value):
            return Milter.REJECT if name == "X-Reject" else Milter.CONTINUE

    refused = "X-Reject: 1\n\n"
    script = ONE.message(LETTER).mail("a@b.example").rcpt("c@d.example").message(refused)
    script = script.mail("a@b.example").rcpt("c@d.example").message(refused)
    found = run(filter_of(Keeping), script)
    assert [one.verdict for one in found.messages] == [
        Accept(),
        ReplyCode(554, "5.7.2", "kept"),
        Reject(),
    ]


def test_a_recipient_that_the_mta_refused_is_seen_and_not_answered() -> None:
    """If the class asks for these."""

    @Milter.rejected_recipients
    class Seeing(Logging):
        def envrcpt(self, *given):
            self.note(*given, self.getsymval("{rcpt_mailer}"))
            return Milter.REJECT

    assert Seeing.protocol_mask() & Milter.P_RCPT_REJ == 0
    script = session().mail("a@b.example").rcpt("no@b.example", refused="5.1.1 no").rcpt("c@d.example")
    assert [one for one in seen_in(script, Seeing) if len(one) == 2] == [
        ("envfrom", "<a@b.example>"),
        ("<no@b.example>", "error"),
        ("<c@d.example>", "smtp"),
    ]


# ------------------------------------------------------------------------------ bytes and text
EIGHT = "X-A: caf\udce9\nX-B: é\n\n"


@pytest.mark.parametrize(
    ("strategy", "values"),
    [
        (None, ["caf\udce9", "é"]),
        ("surrogateescape", ["caf\udce9", "é"]),
        ("bytes", [b"caf\xe9", "é".encode()]),
        ("strict", [b"caf\xe9", "é"]),
        ("ignore", ["caf", "é"]),
        ("replace", ["caf\ufffd", "é"]),
    ],
)
def test_what_is_no_utf_8_comes_as_the_filter_wants_it(strategy: str | None, values: Any) -> None:
    """In header fields."""

    class Reading(Logging):
        def header(self, name, value):
            return self.note("header", value)

    if strategy is not None:
        Milter.decode(strategy)(Reading.header)
    found = [one[1] for one in seen_in(ONE.message(EIGHT), Reading) if one[0] == "header"]
    assert found == values


def test_an_address_comes_with_its_parameters_as_text_or_all_as_bytes() -> None:
    """Strictly: what cannot be decoded is not."""

    class Reading(Logging):
        @Milter.decode("strict")
        def envrcpt(self, *given):
            return self.note("envrcpt", *given)

    script = session().mail("a@b.example").rcpt("c\udce9@d.example", NOTIFY="NEVER").rcpt("e@f.example")
    assert [one[1:] for one in seen_in(script, Reading) if one[0] == "envrcpt"] == [
        (b"<c\xe9@d.example>", b"NOTIFY=NEVER"),
        ("<e@f.example>",),
    ]


def test_a_filter_may_take_bytes_before_they_are_decoded() -> None:
    """And give them on."""

    class Reading(Logging):
        def header_bytes(self, name, value):
            self.note("bytes", name, value)
            return super().header_bytes(name, value)

        def envfrom_bytes(self, *given):
            self.note("bytes", *given)
            return super().envfrom_bytes(*given)

        def envrcpt_bytes(self, *given):
            self.note("bytes", *given)
            return super().envrcpt_bytes(*given)

    found = seen_in(ONE.message("X-A: caf\udce9\n\n"), Reading)
    assert found[:4] == [
        ("bytes", b"<ann@example.org>", b"SIZE=10", b"SMTPUTF8"),
        ("envfrom", "<ann@example.org>", "SIZE=10", "SMTPUTF8"),
        ("bytes", b"<bob@example.net>", b"NOTIFY=NEVER"),
        ("envrcpt", "<bob@example.net>", "NOTIFY=NEVER"),
    ]
    assert ("bytes", "X-A", b"caf\xe9") in found
    assert ("header", "X-A", "caf\udce9") in found


def test_header_values_with_all_their_space() -> None:
    """In what it reads and in what it writes."""

    @Milter.header_leading_space
    class Exact(Logging):
        def eom(self):
            self.addheader("X-None", "v")
            self.addheader("X-Three", "  v")
            self.chgheader("Subject", 1, "\tnew")
            return Milter.CONTINUE

    assert ("header", "X-Two", "  two") in seen_in(ONE.message(LETTER), Exact)
    ours = type("Exact", (Exact,), {"seen": []})
    found = run(filter_of(ours), ONE.message(LETTER)).message
    raws = {one.name: one.raw for one in found.fields}
    assert (raws["X-None"], raws["X-Three"], raws["Subject"]) == ("v", "  v", "\tnew")


# --------------------------------------------------------------------------------- what goes wrong
class Failing(Milter.Base):
    """It fails at the end of a message that asks for that, or where its sender says."""

    aborted: list[str]

    def envfrom(self, sender, *parameters):
        self.setreply("450", "4.7.1", "not this")
        if "fail" in sender:
            raise ValueError("asked for")
        return Milter.CONTINUE

    @Milter.noreply
    def header(self, name, value):
        if name == "X-Fail":
            raise ValueError("asked for")
        return Milter.REJECT if name == "X-Reject" else Milter.CONTINUE

    def eom(self):
        self.addheader("X-Before", "1")
        raise SystemExit("asked for")

    def abort(self):
        self.aborted.append("abort")
        return Milter.CONTINUE


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (Milter.TEMPFAIL, ReplyCode(451, "4.3.0", "pymilter: untrapped exception in f")),
        (Milter.REJECT, ReplyCode(554, "5.3.0", "pymilter: untrapped exception in f")),
        (Milter.CONTINUE, Accept()),
        (Milter.ACCEPT, Accept()),
    ],
)
@pytest.mark.parametrize("mta", [Postfix(), Sendmail()])
def test_an_exception_is_answered_as_the_policy_says(policy: int, verdict: Any, mta: Any) -> None:
    """Edits that were asked for before it count, and abort is not called."""
    ours = type("Ours", (Failing,), {"aborted": []})
    found = run(filter_of(ours, name="f", policy=policy), ONE.message(LETTER), mta=mta)
    assert (found.verdict, ours.aborted) == (verdict, [])
    if verdict == Accept():
        assert found.message.get("X-Before") == "1"


def test_an_exception_at_the_first_callback_keeps_the_instance() -> None:
    """With what it had set."""
    ours = type("Ours", (Failing,), {"aborted": []})
    script = session().mail("fail@example.org").rset().mail("a@b.example").rcpt("c@d.example").rset()
    found = run(filter_of(ours, policy=Milter.CONTINUE), script, mta=Postfix())
    contexts = [one.after["connection"] for one in found.observed]
    made = {id(one["pymilter: Ours"]) for one in contexts if one}
    assert len(made) == 1
    assert ours.aborted == ["abort", "abort"]  # the first: with that policy the message went on


def test_nobody_hears_of_an_exception_in_a_callback_without_reply() -> None:
    """Nor of a refusal, which is one."""

    class Quiet(Failing):
        def eom(self):
            return Milter.CONTINUE

    for field in ("X-Fail", "X-Reject"):
        assert run(filter_of(Quiet), ONE.message(f"{field}: 1\n\n")).verdict == Accept()


def test_an_instance_in_which_a_callback_still_runs_is_left_to_it() -> None:
    """As when it took too long: what it does is lost, and the connection gets another."""
    ours = type("Ours", (Logging,), {"seen": []})
    registry = filter_of(ours)
    ctx = with_handlers(new_context(), registry)
    ctx = registry["mail"](Mail("a@b"), ctx)
    (old,) = ctx["connection"].values()
    old.begin("mail", ctx)  # and never ends
    after = registry["header"](Header("A", "b"), ctx)
    (new,) = after["connection"].values()
    assert new is not old
    assert registry["header"](Header("A", "b"), after) is after
    policy = registry.declarations.policy.on_error
    assert policy(ValueError(), Header("A", "b"), ctx)["connection"] == ctx["connection"]


def test_a_context_after_a_callback_that_asks_for_nothing_is_the_same() -> None:
    """The engine need not look at it."""
    ours = type("Ours", (Logging,), {"seen": []})
    registry = filter_of(ours)
    ctx = registry["recipient"](Recipient("a@b"), with_handlers(new_context(), registry))
    for event in (EndOfMessage(), Abort()):
        name = "abort" if isinstance(event, Abort) else "end_of_message"
        assert registry[name](event, ctx) is ctx


def test_a_connection_that_was_never_negotiated_has_no_instance() -> None:
    """A probe that connects and goes away."""
    ours = type("Ours", (Logging,), {"seen": []})
    registry = filter_of(ours)
    ctx = with_handlers(new_context(), registry)
    assert registry["disconnect"](None, ctx) is ctx
    assert ours.seen == []


# ------------------------------------------------------------------------------------- negotiation
def test_macros_are_asked_for_by_callback() -> None:
    """Which pymilter 1.0.5 means to do, and does not under Python 3."""

    class Asking(Milter.Base):
        @Milter.symlist("i", "{rcpt_mailer}")
        def envrcpt(self, to, *parameters):
            return Milter.CONTINUE

    assert filter_of(Asking).macros == {"recipient": ("i", "{rcpt_mailer}")}


@pytest.mark.parametrize("said", [Milter.CONTINUE, Milter.ALL_OPTS])
def test_a_filter_may_negotiate_itself(said: int) -> None:
    """To do without an event or an action, and to ask for macros."""

    class Negotiating(Logging):
        def negotiate(self, opts):
            super().negotiate(opts)
            opts[0] &= ~Milter.ADDHDRS
            opts[1] |= Milter.P_NOBODY
            self.setsymlist(Milter.M_ENVFROM, "i", "{auth_authen}")
            return said

        def eom(self):
            try:
                self.addheader("X-A", "b")
            except Milter.DisabledAction as problem:
                self.note("disabled", str(problem))
            return Milter.CONTINUE

    found = [one[0] for one in seen_in(ONE.message(LETTER), Negotiating)]
    is_less = said == Milter.CONTINUE
    assert ("body" in found, "disabled" in found) == (not is_less, is_less)


def test_a_filter_that_negotiates_nothing_that_is_known_has_no_session() -> None:
    """It fails at once."""

    class Negotiating(Milter.Base):
        def negotiate(self, opts):
            return Milter.REJECT

    found = run(filter_of(Negotiating), ONE.message(LETTER), mta=Postfix())
    assert "expected negotiate to return CONTINUE or ALL_OPTS, got 1" in str(found.troubles[0].error)


# ---------------------------------------------------------------------------- seen by all the rest
@pytest.mark.parametrize("factory", [5, lambda: object()])
def test_what_makes_no_instance_is_refused(factory: Any) -> None:
    """With what was expected."""
    with pytest.raises(HandlerError, match=r"Milter\.factory"):
        filter_of(factory)


def test_the_mta_has_to_grant_what_set_flags_says() -> None:
    """All edits if nothing is said. What is used besides is used if it is granted."""
    found = filter_of(Milter.Base, flags=Milter.ADDHDRS | Milter.SETSYMLIST)
    assert found.actions == {"add_header"}
    assert filter_of(Milter.Base).actions == found.actions | found.optional_actions


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"expected policy= as TEMPFAIL.*got 2"):
        filter_of(Milter.Base, policy=Milter.DISCARD)


def test_a_factory_may_be_a_function() -> None:
    """Which is called once to see what it makes."""

    def make() -> Milter.Milter:
        return Milter.Milter()

    assert set(filter_of(make)) == set(filter_of(Milter.Milter))


def test_a_leak_between_messages_is_found() -> None:
    """By the test kit, through the instance."""

    class Leaking(Milter.Base):
        def __init__(self):
            self.fields = 0

        def header(self, name, value):
            self.fields += 1
            return Milter.CONTINUE

        def eom(self):
            self.addheader("X-Fields", str(self.fields))
            return Milter.CONTINUE

    class Sound(Leaking):
        def envfrom(self, sender, *parameters):
            self.fields = 0
            return Milter.CONTINUE

    skip = {"mtas"}  # they do not add a field at the same place
    with pytest.raises(AssertionError, match="leaks between messages"):
        check_filter(filter_of(Leaking), max_examples=1, skip=skip)
    check_filter(filter_of(Sound), max_examples=1, skip=skip, mta=Postfix())


def test_old_and_new_filters_are_merged() -> None:
    """The second gets what the first has made of the message."""

    class First(Milter.Base):
        def eom(self):
            self.chgheader("Subject", 1, "changed")
            return Milter.CONTINUE

    class Second(Milter.Base):
        def header(self, name, value):
            self.found = getattr(self, "found", "") + value
            return Milter.CONTINUE

        def eom(self):
            self.addheader("X-Found", self.found)
            return Milter.CONTINUE

    merged = merge_handlers(filter_of(First), filter_of(Second))
    assert run(merged, ONE.message("Subject: hi\n\n")).message.get("X-Found") == "changed"
    assert Continue() not in run(merged, ONE.message(LETTER)).actions

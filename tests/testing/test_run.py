"""`run`: what a session comes to, under which MTA, with which kind of handlers."""

import asyncio
import logging
import warnings

import pytest

from demyjpy import (
    Accept,
    AddHeader,
    ChangeHeader,
    Discard,
    Limits,
    LocalProtocolError,
    Reject,
    ReplyCode,
    TemporaryFailure,
    accept,
    add_header,
    change_header,
    define_event_handlers,
    discard,
    get_macro,
    merge_handlers,
    quarantine,
    reject,
    remember,
    skip,
    tempfail,
    with_handlers,
)
from demyjpy.mta.smtp_session import Outcome
from demyjpy.testing import Postfix, Sendmail, run, session

LETTER = session().mail("a@example.net").rcpt("b@example.org").message()


def tagger():
    handlers = define_event_handlers(actions={"add_header", "change_header"}, state={"s": None, "n": 0})

    @handlers.header
    def note(event, ctx):
        return ctx.set("s", event.value) if event.name == "Subject" else ctx

    @handlers.body
    async def count(event, ctx):
        await asyncio.sleep(0)
        return ctx.set("n", ctx["n"] + len(event.data))

    @handlers.end_of_message(blocking=True)
    def write(event, ctx):
        ctx = change_header(ctx, 1, "Subject", f"[EXTERNAL] {ctx['s']}")
        return add_header(ctx, "X-Size", str(ctx["n"]))

    return handlers


def one(event, answer, **declared):
    """A filter with one handler, which gives this answer."""
    return define_event_handlers({event: lambda event, ctx: answer(ctx)}, **declared)


def test_a_filter_test_is_an_equality():
    """Verdict, envelope, message and actions can be compared with what was expected."""
    script = session(client="203.0.113.9", helo="mx.example").mail("a@example.net", SIZE="100")
    script = script.rcpt("b@example.org").rcpt("<c@example.org>").message("Subject: Lunch\n\nhi\n")
    result = run(tagger(), script)
    assert result.verdict == Accept()
    assert result.fate == "accepted"
    assert result.sender == "a@example.net"
    assert result.recipients == ["b@example.org", "c@example.org"]
    assert result.message.get("Subject") == "[EXTERNAL] Lunch"
    assert result.message.body == b"hi\r\n"
    assert result.actions == (ChangeHeader(1, "Subject", "[EXTERNAL] Lunch"), AddHeader("X-Size", "4"))
    assert result.delivered.startswith(b"Received: from mx.example")
    assert result.is_delivered
    assert result.quarantine is None
    assert result.reply.code == 250
    assert result.troubles == ()


def test_each_step_tells_reply_verdict_and_context():
    """What the client was told, what the filter said and what it keeps can be asked step by step."""
    handlers = define_event_handlers(state={"seen": ()})
    for event in ("mail", "recipient", "end_of_message"):
        handlers.add(event, lambda event, ctx: ctx.set("seen", (*ctx["seen"], type(event).__name__)))
    result = run(handlers, LETTER, mta=Postfix())
    mail, rcpt, data = result.steps[2:5]
    assert (mail.reply.code, str(mail.verdict), mail.context["seen"]) == (250, "Continue()", ("Mail",))
    assert rcpt.context["seen"] == ("Mail", "Recipient")
    assert data.context["seen"] == ()
    assert data.step == LETTER.steps[-1]
    assert result.steps[0].verdict is None
    assert result.at("end_of_message")[-1].after["seen"] == ("Mail", "Recipient", "EndOfMessage")
    assert len(result.at("disconnect")) == 1
    assert [reply[:3] for reply in result.replies] == ["220", "250", "250", "250", "250", "221"]


def test_several_messages_give_a_list():
    """Each message that comes to an end has a result; asking for the only one is an error."""
    script = LETTER.mail("x@example.net").rcpt("y@example.org").rset().mail("c@d").rcpt("e@f").message()
    result = run(define_event_handlers(), script)
    assert [message.recipients for message in result.messages] == [["b@example.org"], ["e@f"]]
    with pytest.raises(AssertionError, match=r"one message, got 2: use result\.messages"):
        _ = result.verdict
    assert run(define_event_handlers(), session()).messages == []


@pytest.mark.parametrize("event", ["connect", "mail", "recipient", "data", "header", "end_of_message"])
@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (reject, Reject()),
        (tempfail, TemporaryFailure()),
        (lambda ctx: reject(ctx, "5.7.1", "no"), ReplyCode(550, "5.7.1", "no")),
    ],
)
def test_a_refusal_is_the_verdict_wherever_it_falls(event, answer, verdict):
    """Both MTAs refuse the message, and the result tells what the filter said."""
    result = run(one(event, answer), LETTER)
    assert result.verdict == verdict
    assert result.recipients == []
    assert not result.is_delivered
    with pytest.raises(AssertionError, match="expected a delivered message, got"):
        _ = result.message


@pytest.mark.parametrize("event", ["mail", "recipient", "header", "end_of_message"])
def test_mail_is_discarded_or_accepted_early(event):
    """Discard tells the client that all is well and delivers nothing; Accept delivers."""
    lost = run(one(event, discard), LETTER)
    assert (lost.verdict, lost.reply.code, lost.is_delivered) == (Discard(), 250, False)
    kept = run(one(event, accept), LETTER)
    assert (kept.verdict, kept.is_delivered) == (Accept(), True)


def test_quarantined_mail_is_held():
    """It is accepted and not passed on."""
    handlers = one("end_of_message", lambda ctx: quarantine(ctx, "why"), actions={"quarantine"})
    result = run(handlers, LETTER)
    assert (result.verdict, result.quarantine, result.is_delivered) == (Accept(), "why", False)


def test_a_refused_recipient_ends_a_message_only_if_it_was_the_last():
    """With another recipient the message goes on; without, the refusal is its verdict."""
    handlers = define_event_handlers()

    @handlers.recipient
    def judge(event, ctx):
        return reject(ctx, "5.1.1", "no") if event.address == "no@example.org" else ctx

    begun = session().mail("a@example.net").rcpt("no@example.org")
    assert run(handlers, begun.rcpt("b@example.org").message()).recipients == ["b@example.org"]
    refused = ReplyCode(550, "5.1.1", "no")
    assert run(handlers, begun).verdict == refused
    assert run(handlers, begun.message()).verdict == refused
    assert run(handlers, begun.rset()).verdict == refused
    own = session().mail("a@example.net").rcpt("b@example.org", refused="5.1.1 unknown")
    assert run(handlers, own.message(), mta=Postfix()).verdict is None


def test_a_client_resets_a_refused_message_before_the_next():
    """As real clients do; told raw=True it does not, and the MTA answers as it would."""
    handlers = one("recipient", reject)
    begun = session().mail("a@b").rcpt("c@d").message()
    result = run(handlers, begun.mail("e@f").rcpt("g@h").message(), mta=Postfix())
    assert [str(message.verdict) for message in result.messages] == ["Reject()", "Reject()"]
    assert "C: RSET" in result.dialogue
    raw = session(raw=True).mail("a@b").rcpt("c@d").message().mail("e@f")
    assert "503" in run(handlers, raw, mta=Postfix()).replies[-2]


def test_the_mtas_must_agree_unless_one_is_meant():
    """Postfix has no queue id at MAIL, so a filter that answers by it differs."""
    handlers = one("mail", lambda ctx: ctx if get_macro(ctx, "i") else reject(ctx))
    with pytest.raises(AssertionError, match=r"(?s)which one it means.*-message 1: Reject"):
        run(handlers, LETTER)
    assert run(handlers, LETTER, mta=Sendmail()).verdict == Accept()
    assert run(handlers, LETTER, mta=Postfix()).verdict == Reject()


def test_what_mtas_say_in_their_own_words_is_no_difference():
    """Queue ids, host names and the case of a changed field's name may differ."""
    handlers = define_event_handlers(actions={"add_header", "change_header"})

    @handlers.end_of_message
    def write(event, ctx):
        ctx = change_header(ctx, 1, "SUBJECT", "other")
        return add_header(ctx, "X-Seen", f"{get_macro(ctx, 'i')} at {get_macro(ctx, 'j')}")

    assert run(handlers, LETTER).message.get("Subject") == "other"


ODD_MAILS = {
    "no Date": b"Subject: x\r\n\r\nhi\r\n",
    "nothing": b"",
    "Bcc": b"Bcc: eve@example.com\r\nContent-Length: 3\r\n\r\nhi\r\n",
    "mbox": b"From eve\r\nSubject: x\r\n\r\nhi\r\n",
    "bare CR": b"Subject: x\r\n\r\nh\ri\r\n",
    "long": b"Subject: " + b"x" * 3000 + b"\r\n\r\nhi\r\n",
}


@pytest.mark.parametrize("client", ["127.0.0.1", "192.0.2.1", ""])
@pytest.mark.parametrize("content", ODD_MAILS.values(), ids=ODD_MAILS)
def test_what_mtas_do_by_themselves_is_no_difference(client, content):
    """Postfix gives a local client's mail a Date and a Message-Id, Sendmail refuses a bare CR, ..."""
    letter = session(client=client).mail("a@example.net").rcpt("b@example.org").message(content)
    tag = define_event_handlers(
        {"end_of_message": lambda event, ctx: add_header(ctx, "X-Tag", "1")}, actions={"add_header"}
    )
    assert run({}, letter).verdict == Accept()
    assert run(tag, letter).message.get("X-Tag") == "1"


def test_what_a_filter_does_is_a_difference_also_in_such_a_mail():
    """The lines that the MTAs write by themselves hide nothing of the filter's."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.end_of_message
    def tell(event, ctx):
        return add_header(ctx, "X-Daemon", get_macro(ctx, "daemon_name"))

    letter = session(client="127.0.0.1").mail("a@b.test").rcpt("c@d.test").message(ODD_MAILS["no Date"])
    with pytest.raises(AssertionError, match="X-Daemon: MTA") as caught:
        run(handlers, letter)
    assert "Message-Id" not in str(caught.value)
    twice = letter.mail("a@b.test").rcpt("c@d.test").message(ODD_MAILS["bare CR"])
    with pytest.raises(AssertionError, match="X-Daemon: MTA") as caught:
        run(handlers, twice)
    assert "message 2" not in str(caught.value)


def test_where_a_filter_ends_the_session_all_counts():
    """Messages that come under one MTA only are a difference, whatever the MTAs do by themselves."""
    handlers = one("hello", lambda ctx: ctx if get_macro(ctx, "daemon_addr") else tempfail(ctx))
    letter = session(client="127.0.0.1").mail("a@b.test").rcpt("c@d.test").message(ODD_MAILS["no Date"])
    with pytest.raises(AssertionError, match="which one it means"):
        run(handlers, letter)


@pytest.mark.parametrize("event", ["connect", "mail", "recipient", "data", "end_of_message"])
@pytest.mark.parametrize("mta", [Postfix(), Sendmail()], ids=["postfix", "sendmail"])
def test_who_asks_for_macros_still_knows_the_queue_id(event, mta):
    """What the library needs is asked for as well; its log names message and client."""
    handlers = define_event_handlers(macros={event: ("{auth_authen}",)})
    known = []

    @handlers.end_of_message
    def fail(event, ctx):
        known.append((get_macro(ctx, "i"), get_macro(ctx, "_")))
        raise ValueError("no")

    result = run(handlers, LETTER, mta=mta)
    (trouble,) = result.troubles
    assert known == [(trouble.queue_id, trouble.client)]
    assert trouble.queue_id == mta.queue_id(1)
    assert "192.0.2.1" in str(trouble.client)


def test_bodies_can_be_cut_anywhere():
    """chunk= gives sizes, the last one for the rest; the message is the same."""
    sizes = []
    handlers = define_event_handlers()

    @handlers.body
    def note(event, ctx):
        sizes.append(len(event.data))
        return ctx

    script = session().mail("a@b").rcpt("c@d").message(b"\r\n0123456789")
    for mta in (Postfix(), Sendmail()):
        result = run(handlers, script, mta=mta, chunk=(1, 5))
        assert sizes == [1, 5, 5, 1]
        assert result.message.body == b"0123456789\r\n"
        sizes.clear()
    run(handlers, script, mta=Postfix(), chunk=7)
    assert sizes == [7, 5]


def test_a_cut_body_ends_where_the_filter_wants_no_more():
    """After Skip or a refusal the other pieces are not sent; an observer gets all of them."""
    seen = []

    def look(answer):
        def look(event, ctx):
            seen.append(event.data)
            return answer(ctx)

        return look

    script = session().mail("a@b").rcpt("c@d").message(b"\r\nabcd\r\n")
    assert run(define_event_handlers({"body": look(skip)}), script, mta=Postfix(), chunk=2).is_delivered
    assert seen == [b"ab"]
    assert run(define_event_handlers({"body": look(reject)}), script, chunk=2).verdict == Reject()
    seen.clear()
    quiet = define_event_handlers()
    quiet.body(reply=False)(look(lambda ctx: ctx))
    run(quiet, script, mta=Sendmail(), chunk=2)
    assert seen == [b"ab", b"cd", b"\r\n"]


@pytest.mark.parametrize("chunk", [0, 65536, (3, -1), "x"])
def test_impossible_pieces_are_refused(chunk):
    """No MTA sends them."""
    with pytest.raises(LocalProtocolError, match="expected chunk= in bytes from 1 to 65535"):
        run(define_event_handlers(), LETTER, chunk=chunk)


def test_the_exception_policy_is_the_engines_and_errors_are_logged(caplog):
    """A handler that raises meets on_error; its error is in the result, and logged with traceback."""
    handlers = define_event_handlers({"mail": lambda event, ctx: 1 / 0})
    with caplog.at_level(logging.ERROR, "demyjpy"):
        result = run(handlers, LETTER, mta=Postfix())
    assert result.verdict == TemporaryFailure()
    assert [type(trouble.error) for trouble in result.troubles] == [ZeroDivisionError]
    assert "test (postfix)" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert run(handlers, LETTER, on_error="accept").verdict == Accept()


def test_async_handlers_that_raise_meet_the_policy_too():
    """And one loop serves a whole session."""
    loops = set()
    handlers = define_event_handlers()

    @handlers.mail
    async def note(event, ctx):
        loops.add(asyncio.get_running_loop())
        return ctx

    @handlers.recipient
    async def fail(event, ctx):
        loops.add(asyncio.get_running_loop())
        raise KeyError(event.address)

    result = run(handlers, LETTER, mta=Postfix())
    assert [type(trouble.error) for trouble in result.troubles] == [KeyError]
    assert len(loops) == 1


def test_in_an_event_loop_it_says_what_to_do_instead():
    """Async handlers cannot be run within a running loop; in a thread they can. Plain ones always."""

    async def test():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(LocalProtocolError, match=r"asyncio\.to_thread"):
                run(tagger(), LETTER)
            plain = run(define_event_handlers(), LETTER)
            return plain, await asyncio.to_thread(run, tagger(), LETTER)

    plain, other = asyncio.run(test())
    assert plain.is_delivered
    assert other.message.get("Subject") == "[EXTERNAL] test"


def test_a_filter_that_the_mta_cannot_use_is_a_failure():
    """Options that no MTA grants end in the MTA's own reply, without a verdict."""
    handlers = define_event_handlers({"options": lambda event, ctx: ctx})
    result = run(handlers, LETTER, mta=Postfix())
    assert (result.verdict, result.reply.code) == (None, 451)
    assert [failure.event for failure in result.failures] == ["options"]
    assert run(handlers, LETTER, mta=Postfix(default_action="accept")).is_delivered


def test_on_connect_functions_and_merged_filters_are_filters():
    """What start_milter takes is what run takes."""
    merged = merge_handlers(tagger(), one("mail", lambda ctx: remember(ctx, n=1)))
    result = run(lambda ctx: with_handlers(ctx, merged), LETTER)
    assert result.message.get("X-Size") == "7"
    assert result.steps[-2].context["connection"] == {"n": 1}


def test_limits_are_the_engines():
    """They are passed on."""
    handlers = one("recipient", lambda ctx: ctx)
    script = session().mail("a@b").rcpt("c@d").rcpt("e@f").message()
    assert run(handlers, script, limits=Limits(recipients=1)).recipients == ["c@d"]


def test_a_dropped_connection_runs_abort_and_disconnect():
    """Wherever the client leaves, the filter hears of it."""
    heard = []
    handlers = one("mail", lambda ctx: ctx)
    for event in ("abort", "disconnect"):
        handlers.add(event, lambda event, ctx: heard.append(type(event).__name__) or ctx)
    result = run(handlers, session().mail("a@b").rcpt("c@d").drop(), mta=Sendmail())
    assert heard == ["Abort", "Disconnect"]
    assert result.messages == []
    assert isinstance(result.steps[-1].outcome, Outcome)
    assert result.steps[-1].reply is None


def test_results_are_equal_if_the_same_came_of_the_same():
    """Two filters that do the same give equal results; contexts do not count."""
    script = session().mail("a@b").rcpt("c@d").message("Subject: x\n\n")
    assert run(tagger(), script) == run(tagger(), script)
    assert run(tagger(), script) != run(define_event_handlers(), script)


@pytest.mark.parametrize("mta", [Postfix, "postfix"])
def test_what_is_no_mta_is_refused(mta):
    """With what was expected."""
    with pytest.raises(LocalProtocolError, match=r"expected mta=Postfix\(\) or mta=Sendmail\(\), got"):
        run(define_event_handlers(), session(), mta=mta)


def test_what_is_no_script_is_refused():
    """A session is made with session()."""
    with pytest.raises(LocalProtocolError, match=r"expected a script, made with session.*'mail'"):
        run(define_event_handlers(), "mail")


@pytest.mark.parametrize(
    ("mta", "version", "actions"),
    [
        (Sendmail(release="8.12.11"), 2, 0x1F),
        (Sendmail(release="8.13.8"), 2, 0x3F),
        (Sendmail(release="8.14.0"), 6, 0xFF),
        (Sendmail(release="8.18.1"), 6, 0x1FF),
        (Postfix(release="2.5.17"), 2, 0x3F),
        (Postfix(release="3.9.0"), 6, 0x1FF),
    ],
)
def test_an_mta_offers_what_its_release_did(mta, version, actions):
    """A filter that asks for no more is served by it."""
    assert (mta.offer.version, mta.offer.actions) == (version, actions)
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.end_of_message
    def mark(event, ctx):
        return add_header(ctx, "X-Mark", "1")

    result = run(handlers, session().mail("a@b").rcpt("c@d").message(), mta=mta)
    assert result.message.get("X-Mark") == "1"


@pytest.mark.parametrize("release", ["2.2", "new"])
def test_a_release_without_milters_is_refused(release):
    """The first that had them is named."""
    with pytest.raises(LocalProtocolError, match=f"such as 2.3 or later, got '{release}'"):
        Postfix(release=release)

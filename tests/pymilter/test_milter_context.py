"""What an instance may ask for while a callback runs: edits, macros, replies, and what is refused."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DefineMacros,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    ReplaceBody,
    default_event_handler,
    new_context,
)
from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter.milter_context import MilterContext
from demyjpy.testing import Postfix, run, session

GRANTED = frozenset(
    {"add_header", "change_header", "change_body", "add_recipient", "add_recipient_par"}
    | {"delete_recipient", "change_sender", "quarantine"}
)
EMPTY = new_context().set("actions", GRANTED)


@pytest.fixture
def link() -> MilterContext:
    """At the end of a message."""
    link = MilterContext()
    link.begin("end_of_message", EMPTY)
    return link


def asked(link: MilterContext) -> list[Any]:
    """What was asked for."""
    return list(link.edited(EMPTY)["queue"])


@pytest.mark.parametrize(
    ("ask", "edit"),
    [
        (lambda one: one.addheader("A", "b"), AddHeader("A", "b")),
        (lambda one: one.addheader("A", "b", -2), AddHeader("A", "b")),
        (lambda one: one.addheader("A", "b", 0), InsertHeader(0, "A", "b")),
        (lambda one: one.addheader("A", "b\r\n c\nd\n"), AddHeader("A", "b\n c\n\td")),
        (lambda one: one.chgheader("A", 2, "b"), ChangeHeader(2, "A", "b")),
        (lambda one: one.chgheader("A", 0, "b"), ChangeHeader(1, "A", "b")),
        (lambda one: one.chgheader("A", True, "b"), ChangeHeader(1, "A", "b")),
        (lambda one: one.chgheader("A", False, None), DeleteHeader(1, "A")),
        (lambda one: one.addheader("A", "b", True), InsertHeader(1, "A", "b")),
        (lambda one: one.chgheader("A", 1, None), DeleteHeader(1, "A")),
        (lambda one: one.chgheader("A", 1, ""), DeleteHeader(1, "A")),
        (lambda one: one.addrcpt("<a@b>"), AddRecipient("a@b")),
        (lambda one: one.addrcpt("a@b", "NOTIFY=NEVER"), AddRecipient("a@b", "NOTIFY=NEVER")),
        (lambda one: one.addrcpt("a@b", ""), AddRecipient("a@b")),
        (lambda one: one.delrcpt("<a@b>"), DeleteRecipient("a@b")),
        (lambda one: one.replacebody("é"), ReplaceBody("é".encode())),
        (lambda one: one.replacebody(b"x"), ReplaceBody(b"x")),
        (lambda one: one.replacebody(memoryview(b"x")), ReplaceBody(b"x")),
        (lambda one: one.chgfrom("<>"), ChangeSender("")),
        (lambda one: one.chgfrom("a@b", "RET=HDRS"), ChangeSender("a@b", "RET=HDRS")),
        (lambda one: one.quarantine("odd"), Quarantine("odd")),
    ],
)
def test_an_edit(link: MilterContext, ask: Callable[[Any], None], edit: Any) -> None:
    """By pymilter's name for it."""
    ask(link)
    assert link.edits
    assert asked(link) == [edit]
    assert not link.edits


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda one: one.addheader("A B", "c"), Milter.error, "cannot add header: .*expected name"),
        (lambda one: one.addheader("A", "b\r\n\r\nc"), Milter.error, "value without an empty line, got"),
        (lambda one: one.chgheader("A", 1, "b\n\nc"), Milter.error, "value without an empty line, got"),
        (lambda one: one.addheader("A", None), TypeError, r"addheader\(\) argument 2 must be str, got"),
        (lambda one: one.addheader(b"A", "b"), TypeError, "argument 1 must be str"),
        (lambda one: one.chgheader("A", "1", "b"), TypeError, r"chgheader\(\) argument 2 must be int"),
        (lambda one: one.chgheader("A", 1, 0), TypeError, r"chgheader\(\) argument 3 must be str"),
        (lambda one: one.chgheader("A", -1, "b"), Milter.error, "cannot change header: .*index"),
        (lambda one: one.addrcpt("a@b", 1), TypeError, r"addrcpt\(\) argument 2 must be str"),
        (lambda one: one.addrcpt("a@b,c@d"), Milter.error, "cannot add recipient"),
        (lambda one: one.replacebody(None), TypeError, "a bytes-like object is required"),
        (lambda one: one.chgfrom(""), Milter.error, "cannot change sender"),
        (lambda one: one.quarantine(""), Milter.error, "cannot quarantine message"),
        (lambda one: one.setsymlist(0, "i"), Milter.error, "cannot set macro list: .* in negotiate"),
        (lambda one: one.getsymval(b"i"), TypeError, r"getsymval\(\) argument 1 must be str"),
        (lambda one: one.setreply(550), TypeError, r"setreply\(\) argument 1 must be str"),
        (lambda one: one.setreply("550", "5.7.1", b"x"), TypeError, "expects its text as str"),
        (lambda one: one.setreply("550", "5.7.1", "50%"), ValueError, "'%' must be doubled: 50%"),
        (lambda one: one.setreply("550", "5.7.1", "%%%"), ValueError, "'%' must be doubled"),
        (lambda one: one.setreply("250", "2.0.0", "x"), Milter.error, "cannot set reply"),
        (lambda one: one.setreply("550", "x", "x"), Milter.error, "cannot set reply"),
        (lambda one: one.setreply("550", "5.7.1", "a\nb"), Milter.error, "cannot set reply"),
        (lambda one: one.setreply("550", "5.7.1", "é" * 491), Milter.error, "cannot set reply"),
        (lambda one: one.setreply("550", "5.7.1", *["x"] * 33), Milter.error, "cannot set reply"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_where_it_is_asked_for(
    link: MilterContext, ask: Callable[[Any], None], error: type[Exception], words: str
) -> None:
    """With the exceptions that filters catch."""
    with pytest.raises(error, match=words):
        ask(link)
    assert not link.edits


@pytest.mark.parametrize(
    ("ask", "what", "flag"),
    [
        (lambda one: one.addheader("A", "b"), "add header", "ADDHDRS"),
        (lambda one: one.chgheader("A", 1, "b"), "change header", "CHGHDRS"),
        (lambda one: one.addrcpt("a@b"), "add recipient", "ADDRCPT"),
        (lambda one: one.delrcpt("a@b"), "delete recipient", "DELRCPT"),
        (lambda one: one.replacebody("x"), "replace message body", "CHGBODY"),
        (lambda one: one.chgfrom("a@b"), "change sender", "CHGFROM"),
        (lambda one: one.quarantine("x"), "quarantine message", "QUARANTINE"),
    ],
)
def test_an_edit_at_another_time_or_without_permission(
    link: MilterContext, ask: Callable[[Any], None], what: str, flag: str
) -> None:
    """Is refused: also between two callbacks."""
    link.begin("header", EMPTY)
    with pytest.raises(Milter.error, match=f"cannot {what}: expected it in eom, got it elsewhere"):
        ask(link)
    link.begin("end_of_message", EMPTY.set("actions", frozenset()))
    with pytest.raises(Milter.DisabledAction, match=flag):
        ask(link)
    link.ctx = None
    with pytest.raises(Milter.error, match=what):
        ask(link)


def test_parameters_of_a_recipient_need_a_permission_of_their_own(link: MilterContext) -> None:
    link.begin("end_of_message", EMPTY.set("actions", frozenset({"add_recipient"})))
    link.addrcpt("a@b")
    with pytest.raises(Milter.DisabledAction, match="ADDRCPT_PAR"):
        link.addrcpt("a@b", "NOTIFY=NEVER")


# ------------------------------------------------------------------------------------- macros
def with_macros(ctx: Any, event: str, **macros: str) -> Any:
    """The context when these macros have come for an event, in place of those of the event before."""
    return default_event_handler(DefineMacros(event, macros), ctx)


def test_macros_are_found_as_libmilter_finds_them() -> None:
    """A long name has braces."""
    link = MilterContext()
    link.begin(
        "recipient", with_macros(with_macros(EMPTY, "mail", i="Q1"), "recipient", rcpt_mailer="x")
    )
    names = ("i", "{i}", "{rcpt_mailer}", "rcpt_mailer", "", "x")
    assert [link.getsymval(name) for name in names] == ["Q1", "Q1", "x", None, None, None]
    link.ctx = None
    assert link.getsymval("i") is None


LETTER = session().mail("a@b.example").rcpt("c@d.example")
WHOLE = LETTER.message("Subject: hi\n\n")


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        (WHOLE.command("FOO"), {"unknown": ["a@b.example", "c@d.example"]}),
        (LETTER.command("FOO"), {"unknown": ["a@b.example", "c@d.example"]}),
        (LETTER.rset(), {"close": ["a@b.example", "c@d.example"]}),
        (session().mail("a@b.example"), {"close": ["a@b.example", None]}),
        (WHOLE, {"close": ["a@b.example", "c@d.example"]}),
        (WHOLE.mail("e@f.example"), {"envfrom": ["e@f.example", None]}),
        (WHOLE.mail("e@f.example").rset(), {"close": ["e@f.example", None]}),
        (WHOLE.mail("e@f.example").command("FOO"), {"unknown": ["e@f.example", None]}),
        (LETTER.rcpt("fail@d.example"), {"close": ["a@b.example", "fail@d.example"]}),
        (LETTER.rcpt("fail@d.example").command("FOO"), {"unknown": ["a@b.example", "fail@d.example"]}),
        (LETTER.rcpt("fail@d.example").message("\n"), {"eom": ["a@b.example", "fail@d.example"]}),
        (WHOLE.ehlo(), {"close": [None, None]}),
    ],
)
def test_macros_of_a_message_are_found_until_another_begins(script: Any, seen: dict[str, Any]) -> None:
    """As pymilter 1.0.5 was seen to find them: also those of a message that was given up."""
    found: dict[str, Any] = {}

    def asking(name: str) -> Callable[..., int]:
        def callback(self: Any, *given: Any) -> int:
            found[name] = [self.getsymval("{mail_addr}"), self.getsymval("{rcpt_addr}")]
            if given[:1] == ("<fail@d.example>",):
                raise ValueError("asked for")
            return Milter.CONTINUE

        return callback

    names = ("hello", "envfrom", "envrcpt", "unknown", "eom", "close")
    klass = type("Asking", (Milter.Base,), {name: asking(name) for name in names})
    run(Milter.filter_of(klass), script, mta=Postfix())
    ((name, value),) = seen.items()
    assert found[name] == value


# ------------------------------------------------------------------------------- and the rest
def test_a_value_is_kept_for_the_connection() -> None:
    link = MilterContext()
    assert link.getpriv() is None
    link.setpriv(5)
    assert link.getpriv() == 5


def test_an_instance_goes_with_its_connection() -> None:
    """At once: it may hold a message."""
    link = MilterContext()
    link.filter = Milter.Base()
    link.filter._setctx(link.way())
    assert repr(link) == "<Base on this connection>"
    vars(link.filter).update(waited=0, _own=1, name="a" * 50, to=["a", None], all=[1] * 4, at=object())
    words = f"waited=0, name='{'a' * 40}'..., to=['a', None], all=<list of 4>, at=<object>"
    assert repr(link) == f"<Base on this connection: {words}>"
    vars(link.filter).update(dict.fromkeys("abcdefghijklm", 10**18))
    assert repr(link).endswith(", g=<int>, ...>")
    seen, way = weakref.ref(link.filter), link.filter._ctx
    gc.disable()
    try:
        del link
        assert seen() is None
    finally:
        gc.enable()
    with pytest.raises(Milter.error, match="cannot use getsymval: expected a connection that is open"):
        way.getsymval("i")


def test_the_context_of_an_instance_may_be_a_key() -> None:
    """It stays the same, and keeps the instance until it is to keep something else."""
    seen: dict[Any, Any] = {}

    class Keeping(Milter.Base):
        def hello(self, hostname):
            seen[self._ctx] = self._ctx.getpriv() is self
            return Milter.CONTINUE

        def envfrom(self, *given):
            seen[self._ctx] = (seen[self._ctx], self._ctx.getpriv() is self)
            self._ctx.setpriv(5)
            return Milter.CONTINUE

        def close(self):
            seen[self._ctx] = (*seen[self._ctx], self._ctx.getpriv())
            return Milter.CONTINUE

    run(Milter.filter_of(Keeping), LETTER, mta=Postfix())
    assert list(seen.values()) == [(True, True, 5)]


def test_the_base_class_gives_on_what_it_is_asked(link: MilterContext) -> None:
    """Each function has its namesake."""
    filter_ = Milter.Base()
    filter_._setctx(link.way())
    filter_.addheader("A", "b")
    filter_.chgheader("A", 1, "b")
    filter_.addrcpt("a@b")
    filter_.delrcpt("a@b")
    filter_.replacebody("x")
    filter_.chgfrom("a@b")
    filter_.quarantine("x")
    filter_.progress()
    filter_.setreply("550", "5.7.1", "no")
    assert len(asked(link)) == 7
    assert filter_.getsymval("i") is None
    with pytest.raises(Milter.error):
        filter_.setsymlist(Milter.M_EOM, "i")

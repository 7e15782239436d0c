"""Filters and sessions as Hypothesis draws them: few names and addresses, so that filters collide."""

from typing import Any, Final

from attrs import evolve, frozen
from hypothesis import strategies as st

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    ReplaceBody,
)
from demyjpy.testing import Script, session
from tests.law.filters import CONTENT, EVENTS, REFUSALS, Plan
from tests.law.oracle import Foreseen, Letter, foresee

GREETING: Final = "client.example"
NAMES: Final = ("X-A", "X-B", "X-C", "Subject", "x-a")
ADDRESSES: Final = ("b@test", "c@test", "x@test", "X@test", "B@test")
SENT: Final = (
    ("Date", " Sat, 21 Nov 2026 10:00:00 +0000"),
    ("Message-ID", " <1@client.test>"),
    ("From", " a@test"),
)
SECOND_ID: Final = ("Message-ID", " <2@client.test>")
BODIES: Final = (b"first\r\n", b"second\r\n", b"no end", b"", b"line\nline\r\n")
OF_CLIENT: Final = ("connect", "hello")
OF_ENVELOPE: Final = ("mail", "recipient", "data", "RCPT b@test", "MAIL second@test")
VERDICTS: Final = ("reject", "tempfail", "550", "554", "451", "discard", "raise")


@frozen
class Draw:
    """Filters in a row, and a session."""

    plans: tuple[Plan, ...]
    letters: tuple[Letter, ...]

    @property
    def refuses_client(self) -> bool:
        """Whether a filter refuses the connection or the greeting."""
        said = (plan.answers.get(name) for plan in self.plans for name in OF_CLIENT)
        return any(answer in REFUSALS for answer in said)

    @property
    def told_of_refused_client(self) -> int | None:
        """How many replies are the same: all, if no filter before the one that refuses would, later.

        After a refusal Postfix goes on to ask the filters before that one, until the client leaves. A
        merged filter it does not ask any more.
        """
        for replies, name in enumerate(OF_CLIENT, 1):
            for number, plan in enumerate(self.plans):
                if plan.answers.get(name) in REFUSALS:
                    before = (answer for one in self.plans[:number] for answer in one.answers.values())
                    return replies if any(answer in REFUSALS for answer in before) else None
        return None

    @property
    def foreseen(self) -> list[Foreseen]:
        """What the contract says of each message."""
        return foresee(self.plans, self.letters, GREETING)

    @property
    def script(self) -> Script:
        """The session as `run` takes it."""
        script = session(helo=GREETING)
        for letter in self.letters:
            script = script.mail(letter.sender)
            for one in letter.recipients:
                script = script.rcpt(one)
            script = script.message(letter.content)
        return script


def _one_in(count: int) -> Any:
    return st.integers(0, count - 1).map(lambda number: number == 0)


@st.composite
def edits_of(
    draw: Any, names: tuple[str, ...], *, least: int, body: bool, tame: bool
) -> tuple[Any, ...]:
    """Edits of one filter; ``tame``: fewer of those that the MTAs do differently."""
    texts, numbers = st.sampled_from(("1", "2", "three")), st.sampled_from((1, 1, 1, 2, 3, 9))
    name = st.sampled_from(names)
    places = st.sampled_from((0, 1, 1000) if tame else (0, 1, 1, 2, 3, 1000))
    addresses = st.sampled_from(ADDRESSES[:3] if tame else ADDRESSES)
    header = st.one_of(
        st.builds(AddHeader, name, texts),
        st.builds(InsertHeader, places, name, texts),
        st.builds(ChangeHeader, numbers, name, texts),
        st.builds(DeleteHeader, numbers, name),
    )
    rest = st.one_of(
        st.builds(AddRecipient, addresses),
        st.builds(DeleteRecipient, addresses),
        st.builds(ChangeSender, st.sampled_from(("new@test", "newer@test"))),
        st.builds(Quarantine, st.sampled_from(("odd", "very odd"))) if not tame else header,
    )
    most = 2 if tame else 4
    edits = draw(st.lists(header, min_size=least, max_size=most)) + draw(st.lists(rest, max_size=2))
    if body:
        edits.append(ReplaceBody(draw(st.sampled_from(BODIES))))
    return tuple(edits)


@st.composite
def wishes_of(draw: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """What a filter makes of a message as a value; nothing is drawn, too: it only looks."""
    name, text = st.sampled_from(names), st.sampled_from(("1", "2", "three"))
    address = st.sampled_from(ADDRESSES)
    header = st.one_of(
        st.tuples(st.sampled_from(("set", "set_only", "add", "prepend")), name, text),
        st.tuples(st.sampled_from(("without", "first_only")), name),
    )
    rest = st.one_of(
        st.tuples(st.sampled_from(("add_recipient", "drop_recipient")), address),
        st.tuples(st.just("with_sender"), st.sampled_from(("new@test", "newer@test", "a@test"))),
        st.tuples(st.just("with_body"), st.sampled_from(BODIES[:-1])),
    )
    return tuple(draw(st.lists(header, max_size=3)) + draw(st.lists(rest, max_size=2)))


@st.composite
def with_wish(draw: Any, plan: Plan, names: tuple[str, ...]) -> Plan:
    """The same filter with a message handler, which may wish, and may say what it said elsewhere."""
    answers = dict(plan.answers)
    if answers and draw(_one_in(2)):
        at, answer = draw(st.sampled_from(sorted(answers.items())))
        if answer != "skip":
            del answers[at]
            answers["message"] = answer
    at = draw(st.sampled_from(("message", "end_of_message")))
    wish = draw(wishes_of(names))
    return Plan(answers, plan.edits, plan.listens, plan.silent, wish, at)


@st.composite
def plans(
    draw: Any, *, names: tuple[str, ...] = NAMES, least: int = 0, body: bool, refuses: bool, tame: bool
) -> Plan:
    """A filter; one in twelve that refuse refuses the client."""
    edits = (
        draw(edits_of(names, least=least, body=body, tame=tame))
        if draw(st.booleans()) or body or least
        else ()
    )
    answers: dict[str, str] = {}
    if refuses:
        if draw(_one_in(12)):
            at, verdicts = draw(st.sampled_from(OF_CLIENT)), ("reject", "tempfail", "550", "raise")
        else:
            at, verdicts = draw(st.sampled_from((*OF_ENVELOPE, *CONTENT, *CONTENT))), VERDICTS
        answers[at] = draw(st.sampled_from(verdicts))
    elif draw(_one_in(3)):
        at = draw(st.sampled_from(("connect", "hello", "mail", "recipient", "data", *CONTENT)))
        answers[at] = draw(st.sampled_from(("accept", "skip") if at == "body" else ("accept",)))
    listens = frozenset(EVENTS)
    if draw(_one_in(3)):
        listens = frozenset(draw(st.sets(st.sampled_from(EVENTS))))
    silent: frozenset[str] = frozenset()
    if draw(_one_in(4)):  # where it answers, it is no observer
        quiet = set(draw(st.sets(st.sampled_from(EVENTS[:-1]))))
        silent = frozenset(quiet - Plan(answers, listens=frozenset()).events)
    plan = Plan(answers, edits, listens, silent)
    if plan.actions and draw(_one_in(8)):  # it asks for what it has not declared, or another has
        less = plan.actions - {draw(st.sampled_from(sorted(plan.actions)))}
        return evolve(plan, actions=less)
    return plan


LETTERS: Final = st.builds(
    Letter,
    st.just("a@test"),
    st.sampled_from((("b@test",), ("b@test", "c@test"), ("c@test", "b@test"), ("B@test", "c@test"))),
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from((" s", " t", "u"))), min_size=1, max_size=5
    ).map(lambda fields: (*SENT, *fields)),
    st.sampled_from((b"", b"hello\r\n", b"hello\r\nworld\r\n")),
)


@st.composite
def draws(draw: Any) -> Draw:
    """Two or three filters that edit the same things, or of which the first refuses; a session."""
    tame = draw(st.booleans())
    kind = draw(st.sampled_from(("collide", "collide", "collide", "bodies", "first refuses", "any")))
    names = NAMES if kind != "collide" else (*draw(st.sampled_from((NAMES[:1], NAMES[:2], NAMES[3:4]))),)
    made = [
        draw(
            plans(
                names=names,
                least=int(kind == "collide" and number < 2),
                body=kind == "bodies" or draw(_one_in(4)),
                refuses=number == 0 if kind == "first refuses" else draw(_one_in(8)),
                tame=tame,
            )
        )
        for number in range(draw(st.sampled_from((2, 2, 3))))
    ]
    letters = draw(st.lists(LETTERS, min_size=1, max_size=2))
    if draw(_one_in(2)):  # the others are as they were before there were messages as values
        chosen = draw(st.sets(st.sampled_from(range(len(made))), min_size=1))
        made = [
            draw(with_wish(plan, names)) if number in chosen else plan
            for number, plan in enumerate(made)
        ]
    letters[1:] = [
        Letter("second@test", one.recipients, (SENT[0], SECOND_ID, *one.fields[2:]), one.body)
        for one in letters[1:]
    ]
    return Draw(tuple(made), tuple(letters))

"""The strategies: legal sessions with everything nasty in them, made of a filter's own words."""

import re
from itertools import pairwise
from random import Random

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from demyjpy import define_event_handlers, merge_handlers, reject, scoped
from demyjpy.mta import client_steps
from demyjpy.testing import Postfix, Script, Sendmail, run, session
from demyjpy.testing.strategies import addresses, bodies, chunks, headers, messages, sessions, words_of
from demyjpy.testing.strategies.simpler import simplest
from demyjpy.testing.strategies.trial import Example

IDLE = define_event_handlers()
FEW = settings(max_examples=30, deadline=None)


@FEW
@given(script=sessions(), chunk=chunks(), mta=st.sampled_from((Postfix(), Sendmail())))
def test_sessions_are_legal(script, chunk, mta):
    """Each can be built step by step, and be played under either MTA, with bodies cut at will."""
    assert Script(()).then(*script.steps) == script
    result = run(IDLE, script, mta=mta, chunk=chunk)
    assert result.troubles == result.failures == ()


def find_one(wanted, strategy=None, phases=(Phase.generate,)):
    strategy = sessions() if strategy is None else strategy
    chosen = settings(max_examples=5000, deadline=None, database=None, phases=phases)
    return find(strategy, wanted, settings=chosen, random=Random(0))


def shortest(wanted, strategy=None):
    return find_one(wanted, strategy, (Phase.generate, Phase.shrink))


def has(*kinds):
    return lambda script: all(any(isinstance(step, kind) for step in script.steps) for kind in kinds)


def test_sessions_shrink_to_short_dialogues():
    """Nothing stays that is not needed."""
    first = session().steps
    assert shortest(lambda script: True).steps == first
    assert shortest(has(client_steps.Data)) == session().mail("alice@example.org").rcpt(
        "alice@example.org"
    ).message(b"\r\n")
    assert [type(step) for step in shortest(has(client_steps.Drop)).steps] == [
        client_steps.Connect,
        client_steps.Ehlo,
        client_steps.Drop,
    ]


def test_everything_nasty_can_come():
    """Null sender, refused recipients, two RSET, TLS, AUTH, commands, a disconnect within a message."""
    twice = (client_steps.Rset(), client_steps.Rset())
    gone = (client_steps.Mail, client_steps.Rcpt)
    missing = {
        **{
            kind.__name__: has(kind)
            for kind in (client_steps.StartTls, client_steps.Auth, client_steps.Command)
        },
        "null sender": lambda script: any(getattr(step, "sender", None) == "" for step in script.steps),
        "two RSET": lambda script: any(pair == twice for pair in pairwise(script.steps)),
        "a refused recipient": lambda script: any(
            getattr(step, "refused", None) for step in script.steps
        ),
        "a disconnect within a message": lambda script: (
            script.steps[-1] == client_steps.Drop() and isinstance(script.steps[-2], gone)
        ),
        "no greeting": lambda script: not has(client_steps.Ehlo)(script),
    }

    def was_the_last(script):
        for what in [what for what, holds in missing.items() if holds(script)]:
            del missing[what]
        return not missing

    assert find_one(was_the_last), missing


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_bodies_and_header_fields_have_their_edges():
    """64 KiB, no line end, 8 bit, folds, a bare CR."""
    assert find_one(lambda body: len(body) > 65535, bodies())
    assert find_one(lambda body: body and not body.endswith(b"\n"), bodies())
    assert find_one(lambda field: not field.isascii(), headers())
    assert find_one(lambda field: b"\r\n " in field, headers())
    assert find_one(lambda field: re.search(rb"\r[^\n]", field), headers())
    assert shortest(lambda message: True, messages()) == b"\r\n"


def test_words_are_used():
    """As text, as names and as addresses, where they may be one."""
    words = ("X-Spam", "lottery", "spam.example", "joe@spam.example")
    assert find_one(lambda field: field.startswith(b"X-Spam: "), headers(words))
    assert find_one(lambda body: b"lottery" in body, bodies(words))
    for address in ("alice@spam.example", "joe@spam.example"):
        assert find_one(lambda found, wanted=address: found == wanted, addresses(words)) == address


def test_a_falsifying_example_is_code():
    """Hypothesis prints a session as it is written in a test, however large its body."""

    @settings(FEW, database=None, max_examples=1000, phases=(Phase.generate,))
    @given(script=sessions(most=1))
    def no_large_bodies(script):
        assert all(
            len(step.content) < 65535 for step in script.steps if isinstance(step, client_steps.Data)
        )

    with pytest.raises(AssertionError) as caught:
        no_large_bodies()
    notes = "\n".join(caught.value.__notes__)
    assert re.search(r"script=session\(.*\.mail\(.*\.message\(.*b'x' \* \d{5}", notes)


LIMITS = {"spam.example": 3}
TEXTS = ("one", b"tw\xf6", "line\nbreak", "x" * 100)


def helper(text):
    """This text is no word."""
    return text in LIMITS or text in TEXTS


def words_filter():
    own = {"of a closure"}
    handlers = define_event_handlers()

    @handlers.mail
    def judge(event, ctx):
        """Nor is this."""
        if helper(event.sender) or any(word in event.sender for word in ("lottery", *own)):
            return reject(ctx, "5.7.1", "No")
        return ctx

    class Judge:
        def __call__(self, event, ctx):
            return ctx

    handlers.hello(Judge())
    return handlers


def test_the_words_of_a_filter_are_its_constants():
    """Of its functions, of those that they call, and of what they look things up in; no docstrings."""
    expected = ("5.7.1", "No", "lottery", "of a closure", "one", "spam.example", "tw\udcf6")
    found = words_of(words_filter())
    assert found == expected
    assert words_of(merge_handlers(IDLE, scoped("a", words_filter()))) == expected
    assert words_of(IDLE) == ()


def test_what_a_filter_asks_about_is_among_its_words():
    """The functions under asking= look at what has come, as handlers do."""
    handlers = define_event_handlers()

    @handlers.mail(asking=lambda event, ctx: {} if event.sender == "ann@example.org" else None)
    def mail(event, ctx):
        return ctx

    assert words_of(handlers) == ("ann@example.org",)


def test_what_chance_leaves_over_is_taken_away():
    """Steps, parameters, addresses, clients, lines of header and body, and the cut."""
    script = session(client="::1", helo="x").starttls().ehlo("y").mail("z@z", SIZE="1")
    script = (
        script.rcpt("w@w", A="b")
        .rcpt("v@v", refused="no")
        .message(b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\n")
        .rset()
    )
    left = simplest(Example(script, (3, 4)), lambda example: has(client_steps.Data)(example.script))
    assert left == Example(session().mail(ALICE).rcpt(ALICE).message(b"\r\n"))
    left = simplest(Example(script), lambda example: b"two" in content(example))
    assert content(left) == b"\r\ntwo"
    left = simplest(Example(script), lambda example: b"B: 2" in content(example))
    assert content(left) == b"B: 2\r\n\r\n"


ALICE = "alice@example.org"


def content(example):
    return b"".join(step.content for step in example.script.steps if isinstance(step, client_steps.Data))

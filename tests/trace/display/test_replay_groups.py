"""Equal differences are one, verdicts come first, and a flood hides nothing that matters."""

from collections import Counter

from attrs import evolve

from demyjpy.actions import Accept, ReplyCode
from demyjpy.cli.replay_groups import MOST_GROUPS, MOST_OTHERS, Groups, differences
from demyjpy.cli.replay_page import ReportPage
from demyjpy.cli.replay_report import Change, MessageReport, SessionReport, StepReport, Tally
from demyjpy.trace import MessageStory
from demyjpy.trace.display.pages import LARGEST, Markup
from demyjpy.trace.replay.replaying import AskedAgain
from demyjpy.verdicts import Fate
from tests.pages.reading import Reader, is_self_contained

STORY = MessageStory("s", 1, 1, 2, Fate.ACCEPTED, "end_of_message", Accept(), sender="a@x")
WHY = StepReport(9, "end_of_message", ("x",), ("y",), "f.tag")


def verdict(new=Fate.REJECTED, code=550):
    """A message that is refused now."""
    refused = evolve(STORY, outcome=new, verdict=ReplyCode(code, None, "no"))
    return MessageReport(STORY, refused, ("verdict",), (Change("", "verdict: a -> b"),), WHY)


def headers(*changed, why=WHY):
    """A message with other headers."""
    return MessageReport(STORY, STORY, ("headers",), tuple(Change(*one) for one in changed), why)


def session(*messages, **settings):
    """What was found in a session."""
    return SessionReport("s", "t.jsonl", 1, is_same=False, differing=messages, **settings)


def grouped(*found):
    """A page's groups."""
    page = ReportPage("new, compared with old", ("t.jsonl",))
    for one in found:
        page.add(one)
    return page


def kinds(page):
    """How often there is what."""
    return [(one.first.what, one.count) for one in page.groups.groups]


def test_values_make_no_difference():
    """The same handler with the same kind of change is one group, whatever it is about."""
    found = [
        headers(("-", f"add header X-Size: {number}"), ("+", f"add header X-Size: {number}0"))
        for number in range(3)
    ]
    assert kinds(grouped(session(*found))) == [("other value: add header X-Size", 3)]
    other = headers(("-", "add header X-Size: 1"))
    elsewhere = evolve(found[0], why=evolve(WHY, handler="g.tag"))
    nowhere = evolve(found[0], why=None)
    assert kinds(grouped(session(found[0], other, elsewhere, nowhere))) == [
        ("other value: add header X-Size", 1),
        ("no more: add header X-Size", 1),
        ("other value: add header X-Size", 1),
        ("other value: add header X-Size", 1),
    ]
    addresses = [headers(("+", f"delete recipient <{one}@x>")) for one in "ab"]
    assert kinds(grouped(session(*addresses))) == [("new: delete recipient", 2)]


def test_verdicts_come_first():
    """Then refused sessions; then the most frequent; last what is not pure."""
    missing = session(asked=AskedAgain(missing=("spf CheckSpf()",)))
    failed = SessionReport("s", "t", 1, failure="no 7")
    frequent = session(*[headers(("+", "add header X: y"))] * 3)
    page = grouped(missing, frequent, failed, evolve(failed, failure="no 8"), session(verdict()))
    assert kinds(page) == [
        ("accepted \N{RIGHTWARDS ARROW} rejected", 1),
        ("the filter refuses the session", 2),
        ("new: add header X", 3),
        ("asked what the recording cannot answer", 1),
    ]
    text = page.as_text(Tally())
    assert is_self_contained(text)
    assert "<div>spf CheckSpf()</div>" in text


def test_what_a_verdict_became_is_what_counts():
    """Its fate, where, and its code; the page has a table of them."""
    page = grouped(session(verdict(), verdict(), verdict(code=554), verdict(Fate.DISCARDED)))
    assert [count for _, count in kinds(page)] == [2, 1, 1]
    text = page.as_text(Tally(kinds=Counter(verdict=4)))
    assert "4 messages have another verdict." in text
    assert text.count('class="mark rejected"') == 2
    assert "1 message has another verdict." in page.as_text(Tally(kinds=Counter(verdict=1)))


def test_one_goes_from_difference_to_difference():
    """And back to the index, which lists all."""
    text = grouped(session(verdict(), headers(("", "the order")), headers(("+", "x")))).as_text(Tally())
    groups = ["#group-1", "#group-2", "#group-3"]
    assert Reader(text).links == [
        *groups,
        *("#index", "#group-2"),
        *("#group-1", "#index", "#group-3"),
        *("#group-2", "#index"),
    ]


def test_others_of_a_group_are_named():
    """Some of them, and the rest is counted."""
    more = [headers(("+", f"add header X: {number}")) for number in range(MOST_OTHERS + 5)]
    text = grouped(session(*more)).as_text(Tally())
    assert "<h3>1. new: add header X<" in text
    assert f"{MOST_OTHERS + 4} more like it" in text
    assert "and 4 that are not listed" in text
    assert "new: add header X: 7" in text
    assert "X: 52" not in text


def test_a_flood_leaves_room_for_verdicts():
    """Each rank has room of its own; what has none is counted."""
    flood = [
        headers(("+", f"add header X-{'abcdefghij'[number % 10] * (number + 1)}: 1"))
        for number in range(MOST_GROUPS + 20)
    ]
    page = grouped(session(*flood, verdict()))
    assert len(page.groups.groups) == MOST_GROUPS + 1
    assert page.groups.groups[0].first.tags == ("verdict",)
    assert page.groups.left_out == 20
    big = Groups(room=100)
    one, *_ = differences(session(verdict()))
    other, *_ = differences(session(headers(("+", "x"))))
    big.add(other, lambda _: Markup("x" * 101), lambda _: Markup("y"))
    big.add(other, lambda _: Markup("z"), lambda _: Markup("y"))
    big.add(one, lambda _: Markup("z"), lambda _: Markup("y" * 101))
    big.add(one, lambda _: Markup("z"), lambda _: Markup("y" * 101))
    assert ([group.others for group in big.groups], big.left_out) == ([[]], 2)


def test_a_page_of_long_values_is_bounded():
    """However long they are."""
    long = StepReport(1, "header", ("x",), ("y",), "f", {f"k{one}": "v" * 2000 for one in range(99)})
    found = [headers(("+", f"add header X{'y' * number}: 1"), why=long) for number in range(90)]
    page = grouped(*(session(one) for one in found))
    assert page.groups.left_out
    assert len(page.as_text(Tally())) < LARGEST


def test_the_answer_stands_above():
    """Nothing differs, something does, or a handler is not pure."""
    page = grouped()
    assert " Nothing differs." in page.as_text(Tally())
    assert "Every verdict is the same; something else differs." in page.as_text(Tally(different=1))
    impure = Tally(impure=Counter(f=1))
    assert "Nothing differs, but a handler is not pure." in page.as_text(impure)

"""The law, of facts: merged filters know what the same filters in a row know, on each way."""

from typing import Any, Final

from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demyjpy import (
    DeleteHeader,
    InsertHeader,
    define_event_handlers,
    facts,
    merge_handlers,
    recipients,
    reject,
    send_action,
)
from demyjpy.known_facts import SOURCES, as_networks
from demyjpy.mta.smtp_session import new_session
from demyjpy.testing import Postfix, Script, Sendmail, run, session
from demyjpy.testing.run import play_steps
from tests.law.hot import HotFilter

EVENTS: Final = ("connect", "hello", "mail", "recipient", "data", "header", "end_of_headers", "body")
RELAYS: Final = "192.0.2.0/24"
FIELDS: Final = {
    "by a relay": "from r2.test (r2.test [192.0.2.2]) by r1.test (Postfix) with ESMTP",
    "by the last": "from evil (unknown [203.0.113.9]) by r2.test (8.17.1/8.17.1)",
    "made there": "by r1.test (Postfix, from userid 0)",
    "odd": "odd",
}

Seen = list[Any]


@frozen
class Plan:
    """A filter: the facts that it reads, its events, its edits, and whether it refuses one recipient."""

    facts: frozenset[str]
    listens: frozenset[str]
    edits: tuple[Any, ...] = ()
    refuses: bool = False

    def made(self, seen: Seen) -> Any:
        """The filter; what it knows at each event goes into ``seen``."""
        actions = {"add_header", "change_header"} if self.edits else set[str]()
        handlers = define_event_handlers(facts=self.facts, actions=actions)

        def act(name: str, event: Any, ctx: Any) -> Any:
            known = facts(ctx)
            seen.append(
                (
                    name,
                    *(getattr(known, one) for one in sorted(self.facts - {"recipients"})),
                    *(recipients(ctx) if "recipients" in self.facts else ()),
                )
            )
            if name == "recipient" and self.refuses and event.address == "bad@test":
                return reject(ctx)
            return send_action(ctx, *self.edits) if name == "end_of_message" else ctx

        def handler(name: str) -> Any:
            return lambda event, ctx: act(name, event, ctx)

        for name in (*self.listens, "end_of_message", *(["recipient"] if self.refuses else [])):
            if name not in handlers:
                handlers.add(name, handler(name))
        return handlers


texts = st.sampled_from(list(FIELDS.values()))
inserts = st.builds(InsertHeader, st.just(0), st.just("Received"), texts)
deletes = st.builds(DeleteHeader, st.sampled_from((1, 2)), st.just("received"))
names = st.one_of(st.sets(st.sampled_from(sorted(SOURCES))), st.just(set(SOURCES)))
listens = st.one_of(st.sets(st.sampled_from(EVENTS)), st.just(set(EVENTS)))


def plans(edits: st.SearchStrategy[Any], refuses: st.SearchStrategy[bool]) -> st.SearchStrategy[Plan]:
    """Filters that read some facts, or all, or none."""
    edit = st.lists(edits, max_size=1).map(tuple)
    return st.builds(Plan, names.map(frozenset), listens.map(frozenset), edit, refuses)


rows = st.builds(
    lambda first, others: [first, *others],
    plans(st.one_of(inserts, deletes), st.booleans()),
    # where an earlier one has deleted, the MTAs count in different ways
    st.lists(plans(inserts, st.just(False)), min_size=1, max_size=2),
)


@st.composite
def scripts(draw: Any) -> Script:
    """One or two messages from a relay, or from elsewhere; the user may log in."""
    script = session(client=draw(st.sampled_from(("192.0.2.1", "203.0.113.1"))), helo="r1.test")
    script = script.auth("ann") if draw(st.booleans()) else script
    for number in range(draw(st.sampled_from((1, 2)))):
        script = script.mail(draw(st.sampled_from(("a@test", ""))))
        for one in draw(st.sampled_from((("b@test",), ("bad@test", "b@test"), ("b@test", "bad@test")))):
            script = script.rcpt(one)
        fields = [("Received", text) for text in draw(st.lists(texts, max_size=3))]
        own = [
            ("Date", "Sat, 21 Nov 2026 10:00:00 +0000"),
            ("Message-ID", f"<{number}@test>"),
            ("From", "a@test"),
        ]
        head = "".join(f"{name}: {value}\r\n" for name, value in (*fields, *own))
        script = script.message(f"{head}\r\nhello\r\n".encode())
    return script


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows, scripts(), st.sampled_from((Postfix(), Sendmail())))
def test_merged_filters_know_what_the_row_knows(row: list[Plan], script: Script, mta: Any) -> None:
    """In turns and on the hot path: each filter at each of its events."""
    alone: list[Seen] = [[] for _ in row]
    merged: list[Seen] = [[] for _ in row]
    hot: list[Seen] = [[] for _ in row]
    options = {"mta": mta, "trusted_relays": RELAYS}
    made = [
        [plan.made(one) for plan, one in zip(row, seen, strict=True)] for seen in (alone, merged, hot)
    ]
    result = run(made[0], script, **options)
    assert not result.troubles
    run(merge_handlers(*made[1]), script, **options)
    assert merged == alone
    with HotFilter(merge_handlers(*made[2]), trusted_relays=as_networks(RELAYS)) as milter:
        for _ in play_steps(script, new_session(mta), [milter]):
            pass
        milter.end()
    assert hot == alone

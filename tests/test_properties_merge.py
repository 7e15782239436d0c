"""Laws of merging and scoping: one filter, none, several, in any grouping."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy.context import ENGINE_KEYS, Context, new_context, remember, take_actions
from demyjpy.handlers import (
    define_event_handlers,
    merge_handlers,
    scoped,
)
from demyjpy.registry import HANDLER_NAMES, Registry
from demyjpy.verdicts import is_verdict, strictest, strictness
from tests.anyfilters import (
    BAD,
    CONNECTION_EVENTS,
    EDITS,
    GOOD,
    MESSAGE_EVENTS,
    OVERRIDES,
    VERDICTS,
    AnyFilter,
    Notebook,
    any_filters,
    filters_of,
    several_filters,
)
from tests.engine.harness import ABORT, EOM, MAIL, MESSAGE, OPENING, QUIT, Session, offer
from tests.polite import Message, Mta, messages, offered_steps
from tests.strategies import verdicts

EVERYTHING = (*CONNECTION_EVENTS, *MESSAGE_EVENTS, *OVERRIDES)
histories = st.lists(messages(), min_size=1, max_size=2)
names = st.sampled_from(["acl", "spf", "x"])


def tell(registry: Registry, notebook: Notebook, steps: int, history: list[Message]) -> Any:
    """All that can be seen of a session with this filter."""
    session = Session.open(registry)
    mta = Mta(session, steps)
    if session.say(offer(steps=steps)) != "O":
        return session.sent, [repr(one) for one in session.troubles]
    session = mta.session = Session.open(registry)
    notebook.calls.clear()
    mta.open()
    for message in history:
        mta.deliver(message)
    mta.quit()
    return session.sent, notebook.calls, [repr(one) for one in session.troubles]


def with_notebook(filters: list[AnyFilter]) -> tuple[list[Registry], Notebook]:
    """The filters as registries, and what they write into."""
    notebook = Notebook()
    return [one.registry(notebook) for one in filters], notebook


def declared(registry: Registry) -> tuple[Any, ...]:
    """All that a filter declares, and its events."""
    return (
        registry.actions,
        registry.optional_actions,
        registry.optional_events,
        registry.macros,
        registry.state,
        set(registry),
        {name: (one.reply, one.blocking, one.rejected, one.progress) for name, one in registry.items()},
    )


@given(any_filters, offered_steps, histories)
def test_merging_one_filter_gives_that_filter(one, steps, history):
    """merge_handlers(a) does what a does, and declares what a declares."""
    (plain,), notebook = with_notebook([one])
    (other,), second = with_notebook([one])
    merged = merge_handlers(other)
    assert declared(merged) == declared(plain)
    assert tell(merged, second, steps, history) == tell(plain, notebook, steps, history)


@given(several_filters, st.integers(0, 3), offered_steps, histories)
def test_an_empty_registry_is_neutral(filters, place, steps, history):
    """Merged anywhere among others, a registry without handlers and declarations changes nothing."""
    registries, notebook = with_notebook(filters)
    padded, second = with_notebook(filters)
    padded[place:place] = [define_event_handlers(), merge_handlers()]
    assert declared(merge_handlers(*padded)) == declared(merge_handlers(*registries))
    assert tell(merge_handlers(*padded), second, steps, history) == tell(
        merge_handlers(*registries), notebook, steps, history
    )


@given(st.integers(0, 3), offered_steps, histories)
def test_nothing_merged_is_an_empty_registry(times, steps, history):
    """Merging no filters, or empty ones only, gives a filter that lets everything pass."""
    nothing = merge_handlers(*[define_event_handlers() for _ in range(times)])
    assert declared(nothing) == declared(define_event_handlers())
    assert tell(nothing, Notebook(), steps, history) == tell(
        define_event_handlers(), Notebook(), steps, history
    )


@given(st.tuples(any_filters, any_filters, any_filters), offered_steps, histories)
def test_merging_is_associative(filters, steps, history):
    """However three filters are grouped, the session and the declarations are the same."""
    told, found = [], []
    for group in (
        merge_handlers,
        lambda a, b, c: merge_handlers(merge_handlers(a, b), c),
        lambda a, b, c: merge_handlers(a, merge_handlers(b, c)),
    ):
        numbered = [AnyFilter(one.handlers, number) for number, one in enumerate(filters)]
        registries, notebook = with_notebook(numbered)
        merged = group(*registries)
        found.append(declared(merged))
        told.append(tell(merged, notebook, steps, history))
    assert told[0] == told[1] == told[2]
    assert found[0] == found[1] == found[2]


@given(st.lists(verdicts, max_size=5), st.lists(verdicts, max_size=5))
def test_the_strictest_verdict_does_not_depend_on_grouping(first, second):
    """The strictest of all is the strictest of the strictest, and no verdict is stricter than it."""
    found = strictest([*first, *second])
    assert all(strictness(one) <= strictness(found) for one in [*first, *second])
    if first and second:
        assert strictest([strictest(first), strictest(second)]) == found
    if not first and not second:
        assert found == act.Continue()


@given(st.lists(st.sampled_from(sorted(VERDICTS)), min_size=1, max_size=3))
def test_the_answer_is_the_strictest_of_what_the_filters_say(chosen):
    """At one event the merged verdict is the strictest of what each filter says when it is alone."""
    chosen = [name for name in chosen if name != "skip"] or ["accept"]
    registries = [
        define_event_handlers({"mail": lambda event, ctx, do=VERDICTS[name]: do(ctx)}) for name in chosen
    ]
    alone = [_verdict_at_mail(registry) for registry in registries]
    assert _verdict_at_mail(merge_handlers(*registries)) == max(alone, key=strictness)


def _verdict_at_mail(registry: Registry) -> act.Action:
    session = Session.open(registry)
    session.say(*OPENING)
    (answer,) = session.answers(MAIL)
    return answer


@given(st.lists(st.sampled_from(sorted({*GOOD, *EDITS, "reject", "accept"})), min_size=1, max_size=3))
def test_a_merged_handler_called_by_hand_queues_what_the_filters_queue(chosen):
    """merged["end_of_message"](event, ctx) queues all edits in order, then the strictest verdict."""
    do = {**GOOD, **VERDICTS, **EDITS}
    registries = [
        define_event_handlers({"end_of_message": lambda event, ctx, do=do[name]: do(ctx)})
        for name in chosen
    ]
    merged = merge_handlers(*registries)
    queue, _ = take_actions(merged["end_of_message"](None, new_context()))
    queues = [take_actions(one["end_of_message"](None, new_context()))[0] for one in registries]
    edits = [action for one in queues for action in one if not is_verdict(action)]
    said = [[action for action in one if is_verdict(action)] or [act.Continue()] for one in queues]
    verdict = strictest([one for (one,) in said])
    kept = [action for action in queue if action != act.Continue()]
    assert kept == [*edits, *([] if verdict == act.Continue() else [verdict])]


# --------------------------------------------------------------------------------------- scopes
@given(filters_of(GOOD, VERDICTS, EDITS, BAD, events=EVERYTHING), names, offered_steps, histories)
def test_a_scope_changes_nothing_for_the_mta(one, name, steps, history):
    """A filter in a corner of its own answers as it does outside, and its handlers see the same."""
    (plain,), notebook = with_notebook([one])
    (other,), second = with_notebook([one])
    assert tell(scoped(name, other), second, steps, history) == tell(plain, notebook, steps, history)


@given(filters_of(GOOD, VERDICTS, EDITS, BAD), offered_steps, histories)
def test_scoped_filters_do_not_see_each_other(one, steps, history):
    """Two filters that use the same keys in two scopes each see their own values only."""
    registries, notebook = with_notebook([one])
    twins = merge_handlers(scoped("left", spy("left", [], [])), *registries)
    alone, second = with_notebook([one])
    told = tell(twins, notebook, steps, history)
    assert [seen.view[0] for seen in told[1]] != [] or not one.handlers or told[1] == []
    seen_left: list[set[str]] = []
    remembered: list[set[str]] = []
    pair = merge_handlers(
        scoped("left", spy("left", seen_left, remembered)),
        scoped("right", spy("right", seen_left, remembered)),
        scoped("other", alone[0]),
    )
    tell(pair, second, steps, history)
    assert all(found in (set(), {"left"}, {"right"}) for found in seen_left)
    assert all(found in (set(), {"left"}, {"right"}) for found in remembered)
    assert all("left" not in repr(seen.view) for seen in second.calls)


def spy(name: str, seen: list[set[str]], remembered: list[set[str]]) -> Registry:
    """A filter that notes all keys that it sees, and leaves one of its own everywhere."""

    def look(event: Any, ctx: Context) -> Context:
        seen.append(set(ctx.keys()) - ENGINE_KEYS)
        remembered.append(set(ctx["connection"].keys()))
        return remember(ctx.set(name, True), {name: True})

    answered = {one: look for one in HANDLER_NAMES if one not in ("options", "define_macros")}
    return define_event_handlers(answered, optional_events=[*HANDLER_NAMES[:10]])


@given(several_filters, names)
def test_a_scope_keeps_the_declarations(filters, name):
    """Scoping changes nothing that is declared but the place of the state."""
    registries, _ = with_notebook(filters)
    merged = merge_handlers(
        *registries, define_event_handlers(state={"k": 1}), define_event_handlers(state={"l": 2})
    )
    inside = scoped(name, merged)
    before, after = declared(merged), declared(inside)
    assert before[:4] == after[:4]
    assert before[5:] == after[5:]
    assert {key: dict(value) for key, value in after[4].items()} == {name: {"k": 1, "l": 2}}


@given(st.lists(st.sampled_from([*MESSAGE, ABORT, EOM]), max_size=12))
def test_handlers_added_after_merging_run(stream):
    """Merging looks at the filters when a session begins: what is registered until then runs."""
    late, calls = define_event_handlers(), []
    merged = merge_handlers(late, scoped("x", late))
    late.add("disconnect", lambda event, ctx: calls.append(event) or ctx)
    session = Session.open(merged)
    session.say(*OPENING, *stream, QUIT)
    session.hang_up()
    assert len(calls) == 2

"""Laws of merging and scoping: one filter, none, several, in any grouping."""

from typing import Any

from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy.context import ENGINE_KEYS, Context, new_context, remember, take_actions
from demyjpy.engine.negotiation import DEFAULT_MACROS, MACRO_EVENTS
from demyjpy.errors import HandlerError
from demyjpy.handlers import (
    define_event_handlers,
    merge_handlers,
    scoped,
)
from demyjpy.registry import HANDLER_NAMES, Registry
from demyjpy.verdicts import fate_of, is_verdict, strictest, strictness, verdicts_in
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
from tests.engine.harness import ABORT, EOM, MESSAGE, OPENING, QUIT, Session, offer
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
        numbered = [evolve(one, number=number) for number, one in enumerate(filters)]
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


@given(st.lists(st.sampled_from(sorted({*GOOD, *EDITS, *VERDICTS})), min_size=1, max_size=4))
def test_a_merged_handler_called_by_hand_queues_what_the_filters_queue(chosen):
    """merged["body"](event, ctx): all edits in order up to the first refusal, which is the answer.

    If nobody refuses, it is Accept or Skip if all say so.
    """
    do = {**GOOD, **VERDICTS, **EDITS}
    calls: list[int] = []

    def filter_of(number: int, name: str) -> Registry:
        return define_event_handlers({"body": lambda event, ctx: calls.append(number) or do[name](ctx)})

    merged = merge_handlers(*[filter_of(number, name) for number, name in enumerate(chosen)])
    queue, _ = take_actions(merged["body"](None, new_context()))
    queues = [take_actions(do[name](new_context()))[0] for name in chosen]
    said = [next(iter(verdicts_in(one)), act.Continue()) for one in queues]
    refusals = [number for number, one in enumerate(said) if not fate_of(one).goes_on]
    asked = refusals[0] + 1 if refusals else len(chosen)
    assert calls == [*range(asked)]
    edits = [action for one in queues[:asked] for action in one if not is_verdict(action)]
    if refusals:
        answer: list[act.Verdict] = [said[refusals[0]]]
    elif act.Continue() in said:
        answer = []
    else:
        answer = [act.Skip() if act.Skip() in said else act.Accept()]
    assert [one for one in queue if one != act.Continue()] == [*edits, *answer]


# --------------------------------------------------------------------------------- declarations
macro_lists_asked = st.dictionaries(
    st.sampled_from(MACRO_EVENTS),
    st.lists(st.sampled_from(["i", "j", "{msg_id}", "{x}"]), max_size=3).map(tuple),
    max_size=3,
)
declaring = st.fixed_dictionaries(
    {
        "name": st.sampled_from([None, "acl", "spf"]),
        "after": st.sets(st.sampled_from(["acl", "spf"]), max_size=1),
        "actions": st.sets(st.sampled_from(["add_header", "quarantine"])),
        "optional_actions": st.sets(st.sampled_from(["add_header", "quarantine"])),
        "macros": macro_lists_asked,
        "state": st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1), max_size=1),
    }
)


@frozen
class Drawn:
    """A filter as Hypothesis chose it: what it declares, its events, and whether it is in a corner."""

    declared: dict[str, Any]
    events: frozenset[str]
    corner: str | None

    def registry(self) -> Registry:
        """The filter."""
        handlers = {event: lambda event, ctx: ctx for event in self.events}
        made = define_event_handlers(handlers, **self.declared)
        return made if self.corner is None else scoped(self.corner, made)


drawn = st.builds(
    Drawn,
    declaring,
    st.frozensets(st.sampled_from(["mail", "data"]), max_size=2),
    st.sampled_from([None, None, "x", "y"]),
)


def shape(merge: Any) -> Any:
    """All that merged filters declare, or the error."""
    try:
        registry = merge()
    except HandlerError as error:
        return str(error)
    parts = [(part.name, part.scope, part.state, part.actions) for part in registry.parts]
    return declared(registry), [part for part in parts if part[0] or part[1:] != ((), {}, set())]


@given(drawn, drawn, drawn)
def test_declarations_of_merged_filters_do_not_depend_on_grouping(one, two, three):
    """The same names, keys, macros and actions, or an error, however three filters are grouped."""
    a, b, c = one.registry(), two.registry(), three.registry()
    flat = shape(lambda: merge_handlers(a, b, c))
    left = shape(lambda: merge_handlers(merge_handlers(a, b), c))
    right = shape(lambda: merge_handlers(a, merge_handlers(b, c)))
    if isinstance(flat, str):
        assert isinstance(left, str)
        assert isinstance(right, str)
    else:
        assert flat == left == right


@given(drawn, drawn)
def test_two_filters_merge_unless_they_meet(one, two):
    """An error is due to one key, one corner, or an order that a filter has ruled out."""
    a, b = one.registry(), two.registry()
    keys = a.state.keys() & b.state.keys()
    is_wrong = bool(keys) or b.name in a.after
    assert isinstance(shape(lambda: merge_handlers(a, b)), str) == is_wrong


@given(drawn, st.booleans())
def test_an_empty_filter_changes_no_declarations(one, is_first):
    """On either side of a filter, or of none."""
    made = one.registry()
    pair = [define_event_handlers(), made] if is_first else [made, define_event_handlers()]
    assert shape(lambda: merge_handlers(*pair))[0] == declared(made)


@given(drawn, drawn)
def test_nobody_misses_macros_that_another_asks_for(one, two):
    """If only one of two filters asks at an event, the list has what both MTAs send unasked there."""
    a, b = (evolve(each, events=frozenset({"mail"}), corner=None) for each in (one, two))
    b = evolve(b, declared={**b.declared, "state": {}, "name": None})
    first = evolve(a, declared={**a.declared, "after": ()}).registry()
    second = b.registry()
    ends = {"end_of_headers", "end_of_message"}
    for event, names in merge_handlers(first, second).macros.items():
        asked = [
            event in one.macros or (event in ends and ends & one.macros.keys())
            for one in (first, second)
        ]
        own = {*first.macros.get(event, ()), *second.macros.get(event, ())}
        assert own <= set(names)
        assert len(names) == len(set(names))
        if not all(asked):
            assert set(DEFAULT_MACROS[event]) <= set(names)


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

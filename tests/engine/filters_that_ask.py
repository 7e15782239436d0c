"""Filters that ask whatever Hypothesis chooses, and a line on which answers come whenever it says."""

from typing import Any

from attrs import frozen
from hypothesis import strategies as st

from demyjpy import add_header, define_event_handlers, merge_handlers, reject
from demyjpy.engine.hot_path import Line
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import run_call
from demyjpy.message import Message
from demyjpy.questions import Answered, Failed, Late, Outcome, Question, Unasked, answer, ask
from tests.engine.harness import join


@frozen
class Look(Question, pure=True):
    """Look something up."""

    what: str


@frozen
class Scan(Question):
    """What is in messages."""

    messages: tuple[Message, ...]


OUTCOMES: tuple[Outcome, ...] = (Answered("good"), Answered(("bad", 5)), Failed("no server"), Late())
EARLY = ("connect", "hello", "mail", "recipient", "data", "header", "body")
OWN = ("hello", "mail", "recipient", "header", "end_of_message", "message")


def known_answer(asked: Asked) -> Outcome | None:
    """Some questions need not be performed."""
    return Answered("known") if getattr(asked.question, "what", "").endswith("known") else None


def one_filter(number: int, early: dict[str, str], own: dict[str, str], needed: str) -> Any:
    """A filter that asks early and at the event itself; it adds a field by what it learned."""
    handlers = define_event_handlers(name=f"f{number}", edits="all")

    def asks(event_name: str, how: str) -> Any:
        def handler(event: Any, ctx: Any) -> Any:
            ctx = ask(ctx, f"{event_name}{how}", Look(how))
            return reject(ask(ctx, "more", Look(how))) if how == "refuse" else ctx

        return handler

    def asking(how: str) -> Any:
        def questions(event: Any, ctx: Any) -> Any:
            if how == "raise":
                raise ValueError("no questions today")
            held = Scan((event,)) if isinstance(event, Message) else Look(how)
            return {"own": held, "other": Look(f"{how} known")}

        return questions

    def tell(event: Any, ctx: Any) -> Any:
        said = answer(ctx, "own")
        if getattr(said, "value", "") == "good" and type(event).__name__ == "Mail":
            return reject(ctx)
        return ctx.set("seen", repr(said))

    for name, how in early.items():
        handlers.add(name, asks(name, how))
    for name, how in own.items():
        if name not in early:
            handlers.add(name, tell, asking=asking(how))
    if "end_of_message" not in {*early, *own}:
        key = f"{needed}{early.get(needed, '')}"
        handlers.add(
            "end_of_message",
            lambda event, ctx: add_header(
                ctx, "X-Learned", type(answer(ctx, key)).__name__ if needed else Unasked.__name__
            ),
            needs={key},
        )
    handlers.add("abort", lambda event, ctx: ctx)
    return handlers


early = st.dictionaries(st.sampled_from(EARLY), st.sampled_from(["x", "known", "refuse"]), max_size=3)
own = st.dictionaries(st.sampled_from(OWN), st.sampled_from(["x", "raise"]), max_size=2)
asking_filters = st.lists(
    st.tuples(early, own, st.sampled_from(["mail", "recipient", "none"])), min_size=1, max_size=3
)


def chain(kinds: Any) -> Any:
    """These filters as one."""
    return merge_handlers(*[one_filter(number, *kind) for number, kind in enumerate(kinds)])


def feed(line: Line, packets: list[Any], choices: list[int], end: int) -> None:
    """Say these packets, each when it can be heard; answers come between them as ``choices`` say.

    The peer goes after so many turns.
    """
    waiting, turns = [*reversed(packets)], [*choices]
    for turn in range(1000):
        connection = line.leave()
        if connection.is_closed or turn == end:
            break
        if connection.call is not None:
            line.resume(run_call(connection.call), 0.5)
            continue
        choice = turns[turn % len(turns)]
        found = [*connection.open_questions]
        if found and (choice or connection.wait or not waiting):
            outcome = OUTCOMES[choice % len(OUTCOMES)]
            line.take_answer(found[choice % len(found)], outcome, choice / 8)
        elif connection.is_behind:
            line.go_on()
        elif waiting:
            line.receive_data(join([waiting.pop()]))
        else:
            break
    line.hang_up()
    while (call := line.leave().call) is not None:
        line.resume(run_call(call), 0.5)

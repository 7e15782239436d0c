"""``check_filter``: the stock properties, tried with generated sessions, shown with the shortest one."""

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from demyjpy.engine.connection import Setup
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.errors import LocalProtocolError
from demyjpy.filter_policy import OnError
from demyjpy.mta.profiles import Profile
from demyjpy.questions import Outcome
from demyjpy.settings.making import Settings, settle
from demyjpy.testing.answers import Answers, answering, as_code, by_example
from demyjpy.testing.run import profiles_of
from demyjpy.testing.strategies.classics import classics
from demyjpy.testing.strategies.filter_words import words_of
from demyjpy.testing.strategies.outcome_difference import Finding
from demyjpy.testing.strategies.properties import PROPERTIES
from demyjpy.testing.strategies.sessions import chunks, sessions
from demyjpy.testing.strategies.simpler import simplest
from demyjpy.testing.strategies.trial import Example, Trial


def check_filter(
    handlers: Any,
    *,
    mta: Profile | None = None,
    max_examples: int = 100,
    on_error: OnError | None = None,
    skip: Collection[str] = (),
    seed: int = 0,
    answers: Answers | None = None,
    settings: Settings = None,
) -> None:
    """Try a filter with generated sessions; `AssertionError` with the shortest one that goes wrong.

    It never raises; it gives exactly one verdict, if one is due; nothing leaks between messages;
    the result does not depend on how the body is cut; what it does not mean to touch stays
    byte-identical; both MTAs do the same; it negotiates what it uses. Of a filter that gets messages as
    values: no context keeps one after its end, and the wish for the same message sends nothing. Of a
    filter that asks questions: none is open after its message, and the result does not depend on the
    order in which answers come.

    ``handlers`` is a registry or an ``on_connect`` function. ``mta``: under this one only.
    ``on_error``: handlers may fail, and this is then answered (see `demyjpy.start_milter`); the other
    properties must hold nevertheless. ``skip``: short names of properties that do not hold on purpose,
    among ``negotiation verdicts errors values identity untouched questions leaks chunks order mtas``.
    ``max_examples``: so many sessions by chance, after the classic ones; the same ``seed`` gives the
    same. ``answers``: what questions are answered with, as for `demyjpy.testing.run`. Without it a
    question gets one of the ``examples`` of its class, always the same, and fails if that has none.
    ``settings``, as for `demyjpy.start_milter`, are for a filter that is a function of them.
    """
    unknown = sorted(set(skip) - set(PROPERTIES))
    if unknown:
        names = ", ".join(PROPERTIES)
        raise LocalProtocolError(f"expected skip= to hold names among {names}; got {', '.join(unknown)}")
    left_out = {*skip, *(() if on_error is None else ("errors",))}
    handlers = settle(handlers, settings).on_connect
    setup = Setup(as_on_connect(handlers), on_error or "tempfail")
    answer = by_example() if answers is None else answering(answers)
    search = _Search(setup, profiles_of(mta), left_out, answer)
    try:
        words = words_of(handlers)
    except Exception as error:  # the filter's own code runs here
        raise AssertionError(
            "expected of a filter: it never raises; got: on_connect failed: "
            f"{type(error).__name__}: {error}"
        ) from error
    wrong = next(filter(search.goes_wrong, classics(words)), None)
    if wrong is None:
        wrong = _find(search.goes_wrong, words, max_examples, seed)
    if wrong is not None:
        raise AssertionError(search.story_of(simplest(wrong, search.goes_wrong)))


def _find(
    goes_wrong: Callable[[Example], bool], words: Sequence[str], max_examples: int, seed: int
) -> Example | None:
    """A short example that goes wrong, or None."""
    try:
        return find(
            st.builds(Example, sessions(words=words), chunks()),
            goes_wrong,
            settings=settings(
                max_examples=max_examples,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
                database=None,
                deadline=None,
                verbosity=Verbosity.quiet,
            ),
            random=Random(seed),  # noqa: S311  # for sessions, not for secrets
        )
    except NoSuchExample:
        return None


class _Search:
    """Looks for a session that goes wrong, then for a shorter one that goes wrong in the same way.

    The outcome of an example is kept: a filter that leaks may do something else the next time.
    """

    def __init__(
        self,
        setup: Setup,
        profiles: tuple[Profile, ...],
        left_out: Collection[str],
        answer: Callable[[Asked], Outcome],
    ) -> None:
        self._setup, self._profiles, self._answer = setup, profiles, answer
        self._wanted = [name for name in PROPERTIES if name not in left_out]
        self._found: dict[Example, list[Finding]] = {}

    def goes_wrong(self, example: Example) -> bool:
        if example not in self._found:
            self._found[example] = self._look(Trial(self._setup, self._profiles, example, self._answer))
        return bool(self._found[example])

    def _look(self, trial: Trial) -> list[Finding]:
        """The first thing that is wrong, if there is any."""
        for name in self._wanted:
            for finding in PROPERTIES[name][1](trial):
                self._wanted = [name]
                return [finding]
        return []

    def story_of(self, example: Example) -> str:
        """The message for a person: property, what is wrong, the dialogue, what differs, code."""
        (finding,) = self._found[example]
        property_in_words = PROPERTIES[self._wanted[0]][0]
        asked = finding.result.asked
        answers = f", answers={as_code(asked)}" if asked else ""
        return "\n".join(
            [
                f"expected of a filter: {property_in_words}; got: {finding.words}",
                "",
                finding.result.dialogue,
                *(["", finding.details] if finding.details else []),
                "",
                f"run(handlers, {example.script!r}{answers})",
            ]
        )

"""Fuzzing where atheris is not installed: the corpus, damaged as Hypothesis likes."""

import time
from itertools import count

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, corpus


@st.composite
def damaged(draw: st.DrawFn, entries: list[bytes]) -> bytes:
    """An entry of the corpus with some places overwritten, taken out, repeated; or anything."""
    data = draw(st.sampled_from([b"", *entries]))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        put = draw(st.one_of(st.binary(max_size=12), st.just(data[start:end] * 2)))
        data = data[:start] + put + data[end:]
    return data


def look(target: str, until: float, examples: int = 200, first: int = 0) -> bytes | None:
    """The smallest bytes found that break a law, or None when the time (``monotonic``) is over."""
    last: list[bytes] = []
    entries = corpus(target)

    for number in count(first):

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(damaged(entries))
        def probe(data: bytes) -> None:
            last[:] = [data]
            TARGETS[target](data)

        try:
            probe()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what was looked for
            print(f"{target}: {type(error).__name__}: {error}")
            return last[0]
        if time.monotonic() > until:
            return None
    raise AssertionError

"""What a PromQL expression reads: metrics, and the labels that are used with them. Nothing is evaluated.

Source: https://prometheus.io/docs/prometheus/latest/querying/basics/ and operators/. Whatever is no
known word of the language counts as a metric, so a mistyped function is seen, too.
"""

import re
from collections.abc import Iterator
from typing import Final

from attrs import frozen

_TOKEN: Final = re.compile(
    r"""\s*(?: (?P<text>"(?:[^"\\]|\\.)*") | (?P<range>\[[^\]]*\]) | (?P<number>\d+(?:\.\d+)?[smhdwy]?)
        | (?P<word>[a-zA-Z_:][\w:]*) | (?P<sign>[!=]~|[!=<>]=|[-+*/%^(){},=<>]) )""",
    re.VERBOSE,
)
_GROUPING: Final = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
_OPERATORS: Final = frozenset(("and", "or", "unless", "offset", "bool"))
_FUNCTIONS: Final = frozenset(
    (
        *("sum", "min", "max", "topk", "rate", "increase", "vector"),
        *("histogram_quantile", "max_over_time"),
    )
)

OF_THE_SCRAPE: Final = frozenset(("job", "instance"))
"""Labels that Prometheus adds to all series of a target."""


@frozen
class Query:
    """``metrics`` that are read, each with the labels in its braces; ``grouped``: labels of by()."""

    metrics: tuple[tuple[str, frozenset[str]], ...]
    grouped: frozenset[str]


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while expression[at:].strip():
        found = _TOKEN.match(expression, at)
        if found is None:
            raise ValueError(f"expected PromQL, got {expression[at:]!r}")
        yield found.lastgroup or "", found[found.lastgroup or 0]
        at = found.end()


def read_query(expression: str) -> Query:
    """The metrics and labels of an expression; `ValueError` if it cannot be cut into words."""
    metrics: list[tuple[str, set[str]]] = []
    grouped: set[str] = set()
    place = before = ""
    for kind, text in _tokens(expression):
        if text == "{":
            place = "braces"
        elif text == "(" and before in _GROUPING:
            place = "grouping"
        elif text in ("}", ")"):
            place = ""
        elif kind == "word" and place == "braces":
            metrics[-1][1].add(text)
        elif kind == "word" and place == "grouping":
            grouped.add(text)
        elif kind == "word" and text not in _GROUPING | _OPERATORS | _FUNCTIONS:
            metrics.append((text, set()))
        before = text
    return Query(tuple((name, frozenset(labels)) for name, labels in metrics), frozenset(grouped))


def mistakes(expression: str, shown: dict[str, set[str]]) -> list[str]:
    """What an expression reads that is not ``shown``, which are the labels of each metric."""
    query = read_query(expression)
    found = [f"no metric {name}" for name, _ in query.metrics if name not in shown]
    known = [(name, labels, shown.get(name, set()) | OF_THE_SCRAPE) for name, labels in query.metrics]
    found += [f"{name} has no {one}" for name, labels, has in known for one in sorted(labels - has)]
    every = set().union(*(has for _, _, has in known))
    return found + [f"nothing has the label {one}" for one in sorted(query.grouped - every)]

"""What holds for one filter when it fails, is late, or is only tried: the value behind `with_policy`.

Only the value and its checks; `demyjpy.policies` gives it to filters, the engine acts on it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from attrs import evolve, field, frozen

from demyjpy.context import Context
from demyjpy.errors import HandlerError, describe
from demyjpy.questions import check_seconds

OnError: TypeAlias = (
    Literal["tempfail", "accept", "reject"] | Callable[[Exception, Any, Context], Context]
)
"""What is answered when a handler fails: a verdict, or a function ``(error, event, ctx) -> ctx``."""

ORIGINS: Final = ("smtp", "submission", "local", "bounce")
"""Where a message may come from: see the fact ``origin``."""


def check_on_error(value: object) -> None:
    """`HandlerError` if this is nothing that ``on_error`` may be."""
    is_known = isinstance(value, str) and value in ("tempfail", "accept", "reject")
    if not is_known and not callable(value):
        raise HandlerError(
            'expected on_error "tempfail", "accept", "reject" or a function '
            f"(error, event, ctx) -> ctx, got {value!r:.200}"
        )


def _answers(given: Any) -> Any:
    """``on_error`` of a filter, checked: one for all mail, or a map by origin."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        check_on_error(given)
        return given
    for origin, one in given.items():
        if origin not in ORIGINS:
            raise HandlerError(
                f"expected on_error= as a map with keys among {', '.join(ORIGINS)}, got {origin!r:.80}"
            )
        check_on_error(one)
    return MappingProxyType(dict(given))


def _seconds(given: Any) -> float | None:
    return None if given is None else check_seconds("timeout=", given)


def _enforce(given: Any) -> bool | None:
    if given is not None and not isinstance(given, bool):
        raise HandlerError(f"expected enforce= as True or False, got {describe(given)}")
    return given


@frozen
class Policy:
    """The policy of one filter; None: as the server says, or as it was said before.

    ``on_error``: what is answered if one of its handlers fails, or a map by origin to that. ``timeout``:
    the most seconds for its ``message`` and ``end_of_message`` handlers together. ``enforce``: whether
    its answers and edits count; None for True.
    """

    on_error: OnError | Mapping[str, OnError] | None = field(default=None, converter=_answers)
    timeout: float | None = field(default=None, converter=_seconds)
    enforce: bool | None = field(default=None, converter=_enforce)

    @property
    def is_enforced(self) -> bool:
        """Whether the filter's answers and edits count."""
        return self.enforce is not False

    def over(self, earlier: "Policy") -> "Policy":
        """This policy if it sets a value, else the earlier one."""
        return Policy(
            earlier.on_error if self.on_error is None else self.on_error,
            earlier.timeout if self.timeout is None else self.timeout,
            earlier.enforce if self.enforce is None else self.enforce,
        )

    def with_functions(self, change: Callable[[Any], Any]) -> "Policy":
        """The same with each function of ``on_error`` changed."""
        given = self.on_error
        if isinstance(given, Mapping):
            changed: Any = {key: change(one) if callable(one) else one for key, one in given.items()}
        else:
            changed = change(given) if callable(given) else given
        return evolve(self, on_error=changed)


NO_POLICY: Final = Policy()
"""All is as the server says, and what the filter says counts."""

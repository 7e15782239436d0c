"""Waiting: a tarpit that holds up one client, and no thread, no process and no other client."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import field, frozen

from demyjpy.questions import Question, check_seconds

__all__ = ["Sleep"]


def _seconds(value: Any) -> float:
    return check_seconds("Sleep", value)


@frozen
class Sleep(Question):
    """The answer is None, after so many seconds.

    Give ``within=`` more than that, or the answer is `Late`, which is as good. The handler's time limit
    holds, and so does the MTA's patience: docs/asking.md.
    """

    seconds: float = field(converter=_seconds)
    examples: ClassVar[tuple[Any, ...]] = (None,)

    async def perform(self, resources: Mapping[str, Any]) -> None:
        """Wait."""
        await asyncio.sleep(self.seconds)

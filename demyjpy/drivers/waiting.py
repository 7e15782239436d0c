"""Waiting for an end that may not come, also while a task cleans up after it was cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def within(seconds: float, what: Coroutine[Any, Any, object]) -> bool:
    """Whether this ends within so many seconds, or it is cancelled. What it raises is raised.

    Unlike `asyncio.timeout`, it does so in a task that was cancelled before, too: there, CPython before
    3.11.3 raises `asyncio.CancelledError` when the time is over (gh-102780).
    """
    task = asyncio.get_running_loop().create_task(what)
    try:
        done, _ = await asyncio.wait((task,), timeout=seconds)
    finally:
        task.cancel()
    for one in done:
        one.result()
    return bool(done)

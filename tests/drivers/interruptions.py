"""What comes in the midst of something else, at a moment that the test chooses."""

import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any


def interrupt(place: int, act: Callable[[], None], interruption: Callable[[], None]) -> bool:
    """Do something, and something else before an instruction of it; False if it has none there."""
    numbers = count()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode" and next(numbers) == place:
            interruption()
        return trace

    # CPython 3.12 looks for frames that want opcodes when the trace function is set, and not later
    sys._getframe().f_trace_opcodes = True  # there is no other
    before = sys.gettrace()  # that of a coverage measurement
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return next(numbers) > place

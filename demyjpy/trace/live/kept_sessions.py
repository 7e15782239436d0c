"""What observers keep of the sessions that are open: records in memory, as the lines of a file."""

from collections.abc import Callable
from typing import TypeVar

from attrs import define, field

from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import ended

T = TypeVar("T")


class OpenSessions(dict[str, T]):
    """Sessions by name; ``make`` makes what is kept of one when its first step comes."""

    def __init__(self, make: Callable[[str], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> T:
        self[name] = self._make(name)
        return self[name]


@define
class KeptSession:
    """The lines of one session, until it is too long (``is_full``)."""

    converter: StepConverter
    lines: list[bytes] = field(factory=list)
    size: int = 0
    is_full: bool = False

    def add(self, line: bytes) -> None:
        """Keep a line more."""
        self.lines.append(line)
        self.size += len(line)

    def cut(self, now: float) -> bytes:
        """The line that ends a session of which more was said than is kept."""
        return dump_record(ended(self.converter.session, now, "cut", "it was too long to be kept"))

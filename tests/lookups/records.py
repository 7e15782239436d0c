"""A resolver for the tests of questions that are performed in threads: it knows what the test says."""

from typing import Any

from demyjpy.lookups.dns import Resolver


class Records(Resolver):
    """It knows these records by name and kind, and no others; an exception among them is raised."""

    def __init__(self, records: Any) -> None:
        super().__init__("127.0.0.1")
        self.records = records
        self.seconds: list[float] = []

    def find_in_thread(self, name: str, kind: str, seconds: float) -> Any:
        self.seconds.append(seconds)
        found = self.records.get((name, kind), ())
        if isinstance(found, Exception):
            raise found
        return found

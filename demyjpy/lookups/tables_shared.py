"""The open tables of this process: each is loaded once, for all filters that name it.

The last filter that closes a table ends it. A process that was forked opens its own.
"""

import os
from threading import Lock
from typing import Final

from demyjpy.lookups.postfix_maps import Command, Opened, open_table


class _Entry:
    """A table, and how many hold it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.holders = 0
        self.table: Opened | None = None


class SharedTables:
    """Tables by name and by the command for those that postmap answers for. From any thread."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin again in a process that was forked: another thread may have held a lock then."""
        self._lock = Lock()
        self._entries: dict[tuple[str, Command], _Entry] = {}

    def take(self, name: str, postmap: Command) -> Opened:
        """A table, as its file is now; `TableError` if it cannot be used. Give it back once."""
        with self._lock:
            entry = self._entries.setdefault((name, postmap), _Entry())
            entry.holders += 1
        try:
            with entry.lock:
                if entry.table is None:
                    entry.table = open_table(name, postmap)
                else:
                    entry.table.renew()
                return entry.table
        except BaseException:
            self.give_back(name, postmap)
            raise

    def give_back(self, name: str, postmap: Command) -> None:
        """One who holds it needs it no more."""
        with self._lock:
            entry = self._entries[name, postmap]
            entry.holders -= 1
            if not entry.holders:
                del self._entries[name, postmap]


SHARED: Final = SharedTables()
"""Of this process: what stands in a file is the same for all filters in it."""

os.register_at_fork(after_in_child=SHARED.renew)

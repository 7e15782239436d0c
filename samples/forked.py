"""The byte count in four worker processes that share one listening socket.

The filter is the same as in ``bytecount.py``. Processes are for filters that compute: each may have a
processor to itself. A connection stays with the worker that took it, so what a handler remembers of
its connection is always there; the total of the process, though, is each worker's own. A total over
all of them would have to live outside: in a file, in a database.
"""

import logging
import sys

from bytecount import handlers

from demyjpy import start_milter

WORKERS = 4

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(process)d %(name)s: %(message)s")
    address = sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost"
    start_milter(address, handlers, workers=WORKERS)

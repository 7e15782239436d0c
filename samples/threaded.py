"""The byte count under the threads driver: one thread for each connection.

The filter is the same as in ``bytecount.py``: a handler only maps a context to a context, so it does
not matter to it who calls it. Threads are for filters that wait: for a database, a virus scanner, a
name server. All threads share one total, whose lock this is for.
"""

import logging
import sys

from bytecount import handlers

from demyjpy import start_milter

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    address = sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost"
    start_milter(address, handlers, driver="threads")

"""The command line: ``demyjpy run`` serves a filter from a file, ``demyjpy check`` looks at one.

What is here reads arguments, loads filters and prints; what it starts and asks is the library's.
"""

from demyjpy.cli.program import main

__all__ = ["main"]

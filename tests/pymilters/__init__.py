"""Public filters that use pymilter, on pymilter and on this library: `python -m tests.pymilters`.

Not part of the tests: it installs packages below `tests.integration.fetch_mtas.PREFIX`, and starts
programs of others as root. Nothing of those programs is kept here. What compares has small tests.
"""

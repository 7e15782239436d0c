"""Milters of others, unchanged, in the box and behind a real Postfix: `python -m tests.foreign`.

Not part of the tests: it installs some 200 packages below `tests.integration.fetch_mtas.PREFIX`.
"""

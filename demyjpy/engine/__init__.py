"""The engine: from what the MTA says to what is answered. Pure: a driver moves the bytes.

Authors of drivers begin at `demyjpy.engine.pipeline`. A packet's way: `arrival`, `handling`,
`conclusions`, each with a `turn`; and `hot_path`, which does the same for what is plain, in one loop.
"""

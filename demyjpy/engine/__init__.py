"""The engine: from what the MTA says to what is answered. Pure: a driver moves the bytes.

Authors of drivers begin at `demyjpy.engine.pipeline`.
"""

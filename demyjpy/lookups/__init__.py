"""Questions to use, each in a module of its own: ``from demyjpy.lookups.tables import Tables``.

What a filter asks the world, and the clients that answer it, live here. Handlers, engine and drivers
know nothing of it. This module imports none of them, so that a filter loads only what it uses.
"""

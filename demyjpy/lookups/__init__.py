"""Questions to use: what filters mostly want to know of the world (docs/lookups.md, docs/tables.md).

Each kind of question lives in a module of its own, with the client that asks it, and is imported by
that name. A module whose library is an extra imports it only when its client is made. Handlers, engine
and drivers know nothing of it.
"""

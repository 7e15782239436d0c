"""The exceptions that pymilter's filters catch by name."""


class error(Exception):  # noqa: N801, N818  # pymilter's name
    """``milter.error``: something was asked for at a time, or with a value, at which it cannot be."""


class DisabledAction(RuntimeError):  # noqa: N818  # pymilter's name
    """``Milter.DisabledAction``: the MTA did not grant what a filter wants to do to a message."""

"""What a command tells its user in one line, with exit status 2."""

from demyjpy.errors import MilterError


class InputError(MilterError):
    """What was given cannot be read, or makes no sense."""


class MissingExtraError(MilterError):
    """What a command needs is not installed."""

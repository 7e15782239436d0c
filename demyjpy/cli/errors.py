"""What a command prints for its user in one line, with exit status 2."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from demyjpy.errors import MilterError


class InputError(MilterError):
    """What was given cannot be read, or makes no sense."""


class MissingExtraError(MilterError):
    """What a command needs is not installed."""


@contextmanager
def failing_to(do: str, *, failures: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """One of these ``failures`` in the block is an `InputError`: it cannot ``do`` this, and why."""
    try:
        yield
    except failures as error:
        raise InputError(f"cannot {do}: {getattr(error, 'strerror', None) or error}") from error


EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    # the extra: the module that is imported, and what it is called
    "box": ("aiosmtpd", "aiosmtpd"),
    "hypothesis": ("hypothesis", "Hypothesis"),
    "metrics": ("prometheus_client", "prometheus-client"),
}


def check_extra(who: str, extra: str) -> None:
    """`MissingExtraError` if what ``who`` needs is not installed."""
    module, title = EXTRAS[extra]
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"{who} needs {title}: pip install 'demyjpy[{extra}]'")

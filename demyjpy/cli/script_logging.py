"""Whose the root logger is: a script of pymilter's says how it logs, as in a program of its own.

The log of the command line stands on the root logger, too, and `logging.basicConfig` does nothing if a
handler is there. So it steps aside while scripts run.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from attrs import frozen

OURS: Final = "demyjpy"
"""The logger above all of this library's."""


@frozen(eq=False)
class _Settings:
    """How a logger is set."""

    handlers: Sequence[logging.Handler]
    level: int
    propagate: bool

    @classmethod
    def of(cls, logger: logging.Logger) -> "_Settings":
        return cls(tuple(logger.handlers), logger.level, logger.propagate)

    def give(self, logger: logging.Logger) -> None:
        logger.handlers[:] = self.handlers
        logger.setLevel(self.level)
        logger.propagate = self.propagate


_AS_PYTHON_BEGINS: Final = _Settings((), logging.WARNING, propagate=True)
_UNSET: Final = _Settings((), logging.NOTSET, propagate=True)


@contextmanager
def as_scripts_log() -> Iterator[None]:
    """While the block runs, the root logger is as it is when a program begins.

    The handlers that it had take the records of this library only. They get all others again if nobody
    in the block has given the root logger a handler, and if the block fails.
    """
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    before = _Settings.of(root), _Settings.of(ours)
    own = before[0] if ours.propagate else before[1]
    _Settings(own.handlers, own.level, propagate=False).give(ours)
    _AS_PYTHON_BEGINS.give(root)
    try:
        with _asked_for_only():
            yield
    except BaseException:
        _close(root.handlers, before[0].handlers)
        before[0].give(root)
        before[1].give(ours)
        raise
    if not root.handlers:
        _Settings(own.handlers, own.level, propagate=True).give(root)
        (before[1] if before[1].propagate else _UNSET).give(ours)
    _close(before[0].handlers, [*root.handlers, *ours.handlers])


def _close(handlers: Sequence[logging.Handler], kept: Sequence[logging.Handler]) -> None:
    for handler in handlers:
        if handler not in kept:
            handler.close()


@contextmanager
def _asked_for_only() -> Iterator[None]:
    """While the block runs, `logging.basicConfig` without arguments does nothing.

    So `logging.info` calls it if there is no handler, here in a session that goes on meanwhile.
    """
    real = logging.basicConfig

    def configure(**options: Any) -> None:
        if options:
            real(**options)

    logging.basicConfig = configure
    try:
        yield
    finally:
        logging.basicConfig = real


def forget_scripts(handler: logging.Handler) -> None:
    """The log of the command line ends: its handler goes, from wherever it stands."""
    ours = logging.getLogger(OURS)
    if handler in ours.handlers:
        _UNSET.give(ours)
    logging.getLogger().removeHandler(handler)

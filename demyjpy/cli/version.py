"""``demyjpy --version``, which is looked up only when it is asked for."""

import argparse
from typing import NoReturn

from demyjpy.cli.output import say


class Version(argparse.Action):
    """Prints the version and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        say(f"{parser.prog} {version(parser.prog)}{' (compiled engine)' if is_compiled() else ''}")
        parser.exit()


def version(distribution: str) -> str:
    """The installed version of a distribution; what to say if it is not installed."""
    from importlib import metadata  # noqa: PLC0415  # costs time that only --version needs

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def is_compiled() -> bool:
    """Whether the engine is the one that was built with ``HATCH_BUILD_HOOKS_ENABLE=1``."""
    from importlib.machinery import EXTENSION_SUFFIXES  # noqa: PLC0415  # only --version needs it

    from demyjpy.engine import hot_path  # noqa: PLC0415

    return str(hot_path.__file__).endswith(tuple(EXTENSION_SUFFIXES))

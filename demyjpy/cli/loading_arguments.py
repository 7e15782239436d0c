"""What the arguments in `demyjpy.cli.arguments.LOADING` mean: which filter, under which driver."""

import argparse
import shlex
from typing import cast

from demyjpy.cli.errors import InputError
from demyjpy.cli.loading import OF_PYMILTER, Wanted
from demyjpy.drivers.start import Driver


def wanted_of(arguments: argparse.Namespace) -> Wanted:
    """The filters that were named, or the script of pymilter's with its arguments."""
    if arguments.pymilter is not None:
        script = f"{OF_PYMILTER}{shlex.quote(arguments.pymilter)}"
        return Wanted((script,), arguments.settings, arguments=arguments.filters)
    if not arguments.filters:
        raise InputError(
            f"expected a FILTER, or --pymilter FILE; see demyjpy {arguments.command} --help"
        )
    return Wanted(arguments.filters, arguments.settings)


def driver_of(arguments: argparse.Namespace) -> Driver:
    """The driver that was named, else the one that suits: pymilter's filters block."""
    if arguments.driver is not None:
        return cast(Driver, arguments.driver)
    has_script = any(one.startswith(OF_PYMILTER) for one in arguments.filters)
    return "threads" if has_script or arguments.pymilter is not None else "asyncio"

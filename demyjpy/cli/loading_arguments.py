"""What the arguments in `demyjpy.cli.arguments.LOADING` mean: which filter, under which driver."""

import argparse
import shlex
from typing import cast

from demyjpy.cli.errors import InputError
from demyjpy.cli.loading import Wanted
from demyjpy.cli.pymilter_words import OF_PYMILTER, merging_advice, same_word_advice
from demyjpy.drivers.start import Driver


def wanted_of(arguments: argparse.Namespace) -> Wanted:
    """The filters that were named, or the script of pymilter's with its arguments."""
    before = arguments.filters[: len(arguments.filters) - len(arguments.behind)]
    if arguments.pymilter is not None:
        if before:
            program = f"demyjpy {arguments.command}"
            raise InputError(merging_advice(program, arguments.pymilter, before))
        script = f"{OF_PYMILTER}{shlex.quote(arguments.pymilter)}"
        return Wanted((script,), arguments.settings, arguments=arguments.filters)
    if not arguments.filters:
        raise InputError(
            f"expected a FILTER, or --pymilter FILE; see demyjpy {arguments.command} --help"
        )
    scripts = [one for one in before if one.startswith(OF_PYMILTER)]
    if scripts and any(one.startswith("-") for one in arguments.behind):
        raise InputError(same_word_advice(scripts[-1], arguments.behind))
    return Wanted(arguments.filters, arguments.settings)


def driver_of(arguments: argparse.Namespace) -> Driver:
    """The driver that was named, else the one that suits: pymilter's filters block."""
    if arguments.driver is not None:
        return cast(Driver, arguments.driver)
    has_script = any(one.startswith(OF_PYMILTER) for one in arguments.filters)
    return "threads" if has_script or arguments.pymilter is not None else "asyncio"

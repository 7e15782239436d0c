"""Whether a filter can be loaded, found out in a process of its own: its program, and how to run that.

It says on its standard output that it could, or what is wrong. What a filter prints is not heard.
"""

import faulthandler
import os
import sys
from typing import Final

from demyjpy.cli.check_report import refuse_problems
from demyjpy.cli.loading import load_filter
from demyjpy.drivers.loading import LOADED, why

_START: Final = (
    "import sys; sys.path[:] = sys.argv[4:]; from demyjpy.cli.probing import main; main(*sys.argv[1:4])"
)


def probe_command(filter_name: str, driver: str, seconds: float) -> tuple[str, ...]:
    """The command that tries, with the path for imports as it is here now."""
    if not sys.executable:
        return ()  # this is no Python that could be run
    return (sys.executable, "-c", _START, filter_name, driver, str(seconds), *sys.path)


def main(filter_name: str, driver: str, seconds: str) -> None:
    """Try. Whatever it hangs in, it ends in time, and says where that was."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    faulthandler.dump_traceback_later(float(seconds), exit=True, file=said.fileno())
    status = 0
    try:
        refuse_problems(load_filter(filter_name), driver)
        said.write(LOADED)
    except BaseException as error:  # noqa: BLE001  # whatever a filter raises
        said.write(why(error))
        status = 1
    said.close()
    os._exit(status)  # threads of the filter's may live on

"""The pytest plugin (entry point ``pytest11``): fixtures, an option, and readable assertion failures."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest
from pyrsistent import PMap

from demyjpy.mta.profiles import MTAS, Profile
from demyjpy.testing.differences import explain_difference
from demyjpy.testing.result import Result
from demyjpy.testing.run import run
from demyjpy.testing.script import Script
from demyjpy.testing.server import Server, serving

_MTAS: Final[dict[str, Callable[[], Profile | None]]] = {
    "both": lambda: None,
    **MTAS,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--milter-mta``."""
    parser.getgroup("milter", "mail filters (demyjpy)").addoption(
        "--milter-mta",
        choices=tuple(_MTAS),
        default="both",
        help="the MTA that milter_run and milter_server play, where a test names none (default: both)",
    )


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: object, right: object) -> Any:
    """Contexts, messages and results that should be equal: what differs, line by line.

    Lines with ``-`` were expected (they stand at the right of ``==``), lines with ``+`` were got.
    """
    if op != "==":
        return None
    lines = explain_difference(left, right)
    if not lines:
        return None
    name, other = ("Context" if isinstance(one, PMap) else type(one).__name__ for one in (left, right))
    return [f"{name} == {other} (- expected, + got)", *lines]


@pytest.fixture
def milter_mta(pytestconfig: pytest.Config) -> Profile | None:
    """The MTA of ``--milter-mta``; None for both."""
    return _MTAS[pytestconfig.getoption("--milter-mta")]()


@pytest.fixture
def milter_run(milter_mta: Profile | None) -> Callable[..., Result]:
    """`demyjpy.testing.run`, under the MTA of ``--milter-mta`` unless a test names one."""

    def milter_run(handlers: Any, script: Script, **options: Any) -> Result:
        return run(handlers, script, **{"mta": milter_mta, **options})

    return milter_run


@pytest.fixture
def milter_server(milter_mta: Profile | None) -> Iterator[Callable[..., Server]]:
    """Starts filters on free ports: ``milter_server(handlers).address``, ``.run(session)``.

    Options are those of `demyjpy.running`.
    """
    with ExitStack() as stack:

        def milter_server(handlers: Any, **options: Any) -> Server:
            return stack.enter_context(serving(handlers, **{"mta": milter_mta, **options}))

        yield milter_server

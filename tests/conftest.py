"""What holds for all tests: no deadlines; with ``DEMYJPY_NO_SKIPS``, as in CI, a skip is a failure."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.examples import share_of

settings.register_profile(
    "demyjpy",
    deadline=None,
    print_blob=True,
    max_examples=share_of(240),
    database=None,
    derandomize="COVERAGE_PROCESS_START" in os.environ,  # it counts the same branches each time
)
settings.load_profile("demyjpy")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and os.environ.get("DEMYJPY_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped where nothing may be: {report.longrepr}"
    return report


_unfrozen: list[bool] = []
_unfreeze = gc.unfreeze


def _unfreeze_and_tell() -> None:
    _unfreeze()
    _unfrozen.append(True)


def pytest_collection_finish() -> None:
    """The tests themselves stay: what a test collects as garbage need not be looked for among them."""
    gc.collect()
    gc.freeze()
    gc.unfreeze = _unfreeze_and_tell  # to count what is frozen takes as long as to collect it


@pytest.fixture(autouse=True)
def tests_stay_frozen() -> Iterator[None]:
    """A server that ends in this process has unfrozen all; only what is young can be garbage then."""
    yield
    if _unfrozen:
        _unfrozen.clear()
        gc.collect(1)
        gc.freeze()


@pytest.fixture(autouse=True)
def no_module_stays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test imports from its own directory is gone after it: others have files of that name."""
    known = len(sys.modules)
    yield
    if len(sys.modules) > known:
        below = tmp_path_factory.getbasetemp()
        for name, module in tuple(sys.modules.items()):
            if below in Path(getattr(module, "__file__", None) or "/").parents:
                del sys.modules[name]

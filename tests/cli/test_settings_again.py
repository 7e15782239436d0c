"""``demyjpy run --settings``: SIGHUP reads the file again, and all is new or all is as it was."""

import shutil
from pathlib import Path

import pytest

from tests.cli.test_reloading import LOADED, NOT_LOADED, Served, served
from tests.drivers.filters import wait_until
from tests.drivers.program import workers

MAKE = """
import sqlite3
from contextlib import contextmanager
from demyjpy import add_header, define_event_handlers
from demyjpy.registry import Registry

@contextmanager
def opened(settings):
    assert settings["path"] != "bad", "no such table"
    yield 1

def handlers(*, version: str, path: str = "x") -> Registry:
    made = define_event_handlers(actions={"add_header"}, resources={"table": opened}, name="greylist")

    @made.end_of_message
    def end(event, ctx):
        return add_header(ctx, "X-Version", version)

    return made
"""


class WithSettings(Served):
    """The filter stays, its settings change."""

    def write(self, version: str, more: str = "") -> None:
        self.file.write_text(MAKE)
        self.file.with_name("rules.toml").write_text(f"[handlers]\nversion = '{version}'\n{more}")


@pytest.fixture
def options(tmp_path: Path) -> tuple[str, str]:
    """Which settings it has."""
    return "--settings", str(tmp_path / "rules.toml")


@pytest.mark.parametrize(("driver", "count"), [("asyncio", "1"), ("threads", "2")])
def test_settings_are_read_again_at_sighup(tmp_path, driver, count, options):
    """With what is wrong in them, or a resource that does not open with them, all stays as it was."""
    with served(tmp_path, *options, "--driver", driver, "--workers", count, kind=WithSettings) as milter:
        assert milter.version() == "0"
        milter.write("1", "api_key = 'hunter2'")
        milter.hang_up()
        said = milter.wait_for(NOT_LOADED)
        assert (
            f"{tmp_path}/rules.toml:3: [handlers] api_key: there is no such key; handlers takes:" in said
        )
        assert milter.version() == "0"
        milter.write("2", "path = 'bad'")
        milter.hang_up()
        said = milter.wait_for(NOT_LOADED)
        assert said.endswith(
            "the resource 'table' of greylist to open, got AssertionError: no such table"
        )
        assert milter.version() == "0"
        milter.write("3")
        milter.hang_up()
        milter.wait_for(LOADED)
        wait_until(lambda: milter.version() == "3")
        wait_until(lambda: len(workers(milter.process.pid)) == (2 if count == "2" else 0))
        shutil.move(tmp_path / "rules.toml", tmp_path / "gone.toml")
        milter.hang_up()
        assert "rules.toml, got: No such file or directory" in milter.wait_for(NOT_LOADED)
        assert milter.version() == "3"
        milter.end()
        assert "hunter2" not in milter.log.read_text()

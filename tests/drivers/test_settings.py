"""`start_milter` with a settings file: SIGHUP reads it again."""

import signal

import pytest

from demyjpy import HandlerError, start_milter
from demyjpy.errors import SettingsError
from tests.drivers.filters import wait_until
from tests.drivers.program import program
from tests.drivers.test_reloading import LOADED, NOT_LOADED, version_at

SERVE = """
def make(*, version: str) -> Registry:
    found = define_event_handlers(actions={"add_header"}, name="filter")
    found.add("end_of_message", lambda event, ctx: add_header(ctx, "X-Version", version))
    return found

again = {"reload": lambda: make} if sys.argv[3] == "reload" else {}
start_milter(
    "inet:0@127.0.0.1", make, workers=int(sys.argv[2]), on_ready=on_ready, settings=sys.argv[1],
    explain=True, **again
)
"""


@pytest.mark.parametrize(("workers", "how"), [("1", "alone"), ("2", "reload")])
def test_a_settings_file_is_read_again_at_sighup(tmp_path, workers, how):
    """Also without ``reload=``; what that gives may be a function of settings, too."""
    path = tmp_path / "rules.toml"
    path.write_text("make.version = 'a'")
    with program(SERVE, str(path), workers, how) as milter:
        address = milter.address()
        assert version_at(address) == "a"
        path.write_text("[make]\nversion = 3")
        milter.tell(signal.SIGHUP)
        said = milter.wait_for(NOT_LOADED)
        assert said == (f"{path}:2: [make] version: expected a text, got 3; make takes: version (str)")
        assert version_at(address) == "a"
        path.write_text("[make]\nversion = 'b'")
        milter.tell(signal.SIGHUP)
        milter.wait_for(LOADED)
        wait_until(lambda: version_at(address) == "b")
        milter.tell()
        milter.end()


def test_wrong_settings_end_the_start():
    """Before it listens."""

    def make(*, a: int):
        raise NotImplementedError

    with pytest.raises(SettingsError, match="make: a: expected a whole number, got nothing"):
        start_milter("inet:0@127.0.0.1", make)
    with pytest.raises(HandlerError, match="expected settings= for a registry, or for a function of"):
        start_milter("inet:0@127.0.0.1", lambda ctx: ctx, settings={"a": 1})

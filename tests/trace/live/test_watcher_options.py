"""What watches, given to `start_milter` as it is or as a directory, and the defaults of its options."""

import inspect
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from demyjpy.cli import main
from demyjpy.cli.observers import LIMITS
from demyjpy.starting import start_milter
from demyjpy.trace import CapsuleMaker, FlightRecorder, Recorder
from demyjpy.trace.live.explain_line import Explainer
from tests.integration.ports import wait_until
from tests.trace.live.test_background_writer import fail, traces


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_watchers_are_given_as_they_are_or_as_directories(tmp_path: Path, driver: Any) -> None:
    """Both are closed when the milter has ended."""
    given: list[dict[str, Any]] = [
        {"record": tmp_path / "r1", "capsules": str(tmp_path / "c1"), "explain": True},
        {
            "record": Recorder(tmp_path / "r2"),
            "capsules": CapsuleMaker(tmp_path / "c2"),
            "explain": Explainer(lambda line: None),
            "flight": FlightRecorder(tmp_path / "f2"),
        },
    ]
    from demyjpy.testing import Postfix, session  # noqa: PLC0415  # beside what it is used for
    from demyjpy.testing.server import Server  # noqa: PLC0415  # as above

    for options in given:
        seen: list[str] = []

        def ready(address: str, seen: list[str] = seen) -> None:
            def play() -> None:
                letter = session().mail("a@example.net").rcpt("b@example.org").message()
                Server(address).run(letter, mta=Postfix())
                os.kill(os.getpid(), 15)

            thread = threading.Thread(target=play)
            thread.start()
            seen.append(thread.name)

        start_milter("inet:0@127.0.0.1", {"mail": fail}, driver=driver, on_ready=ready, **options)
    for number in (1, 2):
        assert len(traces(tmp_path / f"r{number}")) == 1
        assert len([*(tmp_path / f"c{number}").iterdir()]) == 1
    wait_until(lambda: len([*(tmp_path / "f2").iterdir()]) == 1, "a flight")


def test_the_defaults_of_the_options_are_those_of_the_classes() -> None:
    """What ``--help`` says is what holds."""
    classes: dict[str, Any] = {
        "record": Recorder,
        "flight": FlightRecorder,
        "capsules": CapsuleMaker,
        "explain": Explainer,
    }
    for name, limits in LIMITS.items():
        found = inspect.signature(classes[name]).parameters
        for parameter, one in limits.items():
            default = f"(default: {found[parameter].default:.15g})"
            assert one.settings["help"].endswith(default), one.names


def test_a_limit_of_what_is_not_asked_for_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and which option it belongs to."""
    for option, needed in (("--flight-rate", "--flight"), ("--explain-length", "--explain")):
        assert main(["run", "x.py", option, "5"]) == 2
        assert f"{option} needs {needed}" in capsys.readouterr().err

"""What is built: pure Python by itself, a compiled engine for who asks (`tests.compiled` does)."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOOK = runpy.run_path(str(ROOT / ".ci/hatch_build.py"))


def build(target: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A wheel, as a frontend has it built."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HATCH_")}
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_wheel_is_pure_python(tmp_path):
    """It needs no compiler, and is for every machine."""
    assert build(tmp_path, CC="no-such-compiler").returncode == 0
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")


def test_a_compiled_engine_needs_a_compiler(tmp_path):
    """Who asks for it without having one is told, and gets nothing else."""
    done = build(tmp_path, CC="no-such-compiler", HATCH_BUILD_HOOKS_ENABLE="1")
    assert done.returncode != 0
    assert "it needs a C compiler, no-such-compiler" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_compiled_engine_needs_the_headers_of_python(monkeypatch, tmp_path):
    """The message names the file, and what to install."""
    monkeypatch.setenv("CC", sys.executable)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(SystemExit, match=r"Python's headers, .*/Python\.h.*apt install gcc"):
        HOOK["require_compiler"]()


def test_what_calls_handlers_has_a_frame():
    """Drivers and pipeline stay Python: a handler that blocks the loop is found by their frames."""
    for name in HOOK["MODULES"]:
        assert (ROOT / f"demyjpy/{name.replace('.', '/')}.py").exists()
        assert name not in ("pipeline", "handlers", "registry")
        assert not name.startswith("drivers")

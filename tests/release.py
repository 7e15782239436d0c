"""What would be released: builds the sdist and the wheel, and tries each in a bare virtual environment.

    python3 -m tests.release                     # build, check, try
    python3 -m tests.release --to dist           # the same, and keep both files there

It installs what the extra ``release`` names (build, twine), and asks the index for that and for what
demyjpy needs. Nothing is uploaded.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
NEEDED = {"attrs", "demyjpy", "pyrsistent"}
"""All that a bare installation has; pyrsistent and attrs need nothing themselves."""

SESSION = """
import sys

from demyjpy.testing import session
from demyjpy.testing.server import serving

sys.path.insert(0, "no-programs")
from no_programs import handlers

with serving(handlers) as server:
    letter = session().mail("ann@example.net").rcpt("bob@example.org").message("Subject: hi\\n\\nhi\\n")
    assert server.run(letter).is_delivered
"""
"""A session at the filter of a new project, over a socket."""


def run(*command, **options):
    """Run it, and give its output; if it fails, so does this program."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(words)}: status {done.returncode}")
    return done.stdout


def build(tools, into):
    """The sdist, and the wheel made of the sdist, as twine wants them."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = wanted["project"]["optional-dependencies"]["release"]
    run(tools / "bin/pip", "install", "-q", "--disable-pip-version-check", *extras)
    run(tools / "bin/python", "-m", "build", "--outdir", into, ROOT)
    print(run(tools / "bin/twine", "check", "--strict", *into.iterdir()), end="")
    (wheel,), (sdist,) = into.glob("*.whl"), into.glob("*.tar.gz")
    return wheel, sdist


def look_into(wheel, sdist):
    """The wheel is for every machine and has the whole package, and nothing else."""
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "demyjpy").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert names == package, names ^ package
    assert wheel.name.endswith("-py3-none-any.whl"), wheel.name
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert inside >= {*package, "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", "docs/index.md"}
    print(f"{wheel.name}: {len(names)} files; {sdist.name}: {len(inside)} files")


def try_out(tools, file, work):
    """Install it where nothing else is; make a project, and play a session at it."""
    work.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", work / "venv")
    python = work / "venv/bin/python"
    pip = (tools / "bin/pip", "--python", python, "-q", "--disable-pip-version-check")
    run(*pip, "install", file)
    freeze = run(tools / "bin/pip", "--python", python, "list", "--format", "freeze")
    installed = {line.partition("==")[0] for line in freeze.split()}
    assert installed == NEEDED, installed
    demyjpy = work / "venv/bin/demyjpy"
    print(f"{file.name}: {run(demyjpy, '--version', cwd=work)}", end="", flush=True)
    run(demyjpy, "new", "no-programs", cwd=work)
    run(demyjpy, "check", "no-programs/no_programs.py", cwd=work)
    run(python, "-I", "-c", SESSION, cwd=work)
    return demyjpy, pip


def try_extras(demyjpy, pip, file, work):
    """The demo with its extra; a new project is a distribution itself, found where its unit looks."""
    run(*pip, "install", f"{file}[box]", work / "no-programs")
    assert "6 mails in" in run(demyjpy, "demo", cwd=work)
    apart = work / "apart"
    apart.mkdir()
    assert "Nothing wrong found." in run(demyjpy, "check", "no_programs", cwd=apart)


def main():
    """Build, look, try; the exit status is 0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to", type=Path, help="keep the files there")
    keep = parser.parse_args().to
    begun = time.monotonic()
    with TemporaryDirectory(prefix="demyjpy-release-") as name:
        work = Path(name)
        run(sys.executable, "-m", "venv", work / "tools")
        wheel, sdist = build(work / "tools", work / "dist")
        look_into(wheel, sdist)
        try_out(work / "tools", sdist, work / "of-sdist")
        demyjpy, pip = try_out(work / "tools", wheel, work / "of-wheel")
        try_extras(demyjpy, pip, wheel, work / "of-wheel")
        if keep is not None:
            shutil.copytree(work / "dist", keep, dirs_exist_ok=True)
    print(f"both are fit to be released ({time.monotonic() - begun:.0f} s)")


if __name__ == "__main__":
    main()

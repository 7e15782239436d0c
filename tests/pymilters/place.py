"""Where the public filters are installed, and the two Pythons that run them.

Each filter has a directory of its own, which both Pythons read: they run the same bytes. One Python has
pymilter 1.0.5, the other is this one. What belongs to pymilter and is pure Python (`Milter.config`,
`mime`) has a directory, too, without the extension module, so that nobody takes it for ours.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.integration import fetch_milters
from tests.integration.fetch_mtas import PREFIX, run_loudly

ROOT: Final = PREFIX / "pymilters"
PROJECT: Final = Path(__file__).parents[2]
PURE: Final = ROOT / "pymilter-without-its-extension"
PIP: Final = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")


def directory_of(name: str) -> Path:
    """Where the files of a filter are."""
    return ROOT / "filters" / name


def install(name: str, packages: Sequence[str]) -> Path:
    """The directory of a filter, with these packages in it.

    ``packages`` are names with versions for pip, without what they depend on, and
    ``"debian:NAME"`` for a Debian package, and ``"sdist:NAME==VERSION"`` for the files of a source
    archive as they are.
    """
    directory = directory_of(name)
    if (directory / ".complete").exists():
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    by_pip = [one for one in packages if ":" not in one]
    if by_pip:
        run_loudly(*PIP, "install", "--no-deps", "--target", directory, *by_pip)
    for one in packages:
        kind, _, what = one.partition(":")
        if kind == "debian":
            _unpack_debian(what, directory)
        elif kind == "sdist":
            _unpack_sdist(what, directory)
    (directory / ".complete").touch()
    return directory


def install_pymilter() -> None:
    """Both: real pymilter in its environment, and what of it is pure Python apart."""
    fetch_milters.fetch()
    if (PURE / ".complete").exists():
        return
    shutil.rmtree(PURE, ignore_errors=True)
    run_loudly(*PIP, "install", "--no-deps", "--target", PURE, fetch_milters.PYMILTER)
    for extension in PURE.glob("milter*.so"):
        extension.unlink()
    (PURE / ".complete").touch()


def _unpack_debian(name: str, directory: Path) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        Path(downloads).chmod(0o777)  # apt downloads as its own user
        if subprocess.run(["apt-get", "download", "-q", name], cwd=downloads, check=False).returncode:
            run_loudly("apt-get", "update", "-q")
            run_loudly("apt-get", "download", "-q", name, cwd=downloads)
        for package in Path(downloads).glob("*.deb"):
            run_loudly("dpkg", "-x", package, directory)


def _unpack_sdist(requirement: str, directory: Path) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        options = ("--no-deps", "--no-binary", ":all:", "-d", downloads)
        run_loudly(*PIP, "download", *options, requirement)
        (archive,) = Path(downloads).glob("*.tar.gz")
        run_loudly("tar", "-xzf", archive, "-C", directory)


def environment(directory: Path, is_ours: bool) -> dict[str, str]:
    """What a filter's process gets: where its modules are."""
    debian = directory / "usr/lib/python3/dist-packages"
    paths = [directory, debian, *((PROJECT, PURE) if is_ours else ())]
    path = ":".join([*(str(one) for one in paths), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **settings, "PYTHONHASHSEED": "0"}  # some add fields in the order of a set

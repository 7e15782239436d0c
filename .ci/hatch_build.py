"""The compiled engine: a build hook of hatch that is off unless the environment asks for it.

    HATCH_BUILD_HOOKS_ENABLE=1 pip install .

Cython compiles the modules below, as they are, and the wheel holds the results beside the sources.
Nothing is written into the source tree. An editable install stays pure Python.
"""

import os
import shlex
import shutil
import sysconfig
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES: Final = (
    "actions",
    "codec.commands",
    "codec.responses",
    "context",
    "engine.arrival",
    "engine.conclusions",
    "engine.connection",
    "engine.handler_results",
    "engine.handling",
    "engine.hot_path",
    "engine.macros",
    "engine.negotiation",
    "engine.phases",
    "engine.plan",
    "engine.scope",
    "engine.smallmap",
    "engine.turn",
    "events",
    "verdicts",
    "wire.fields",
    "wire.framing",
)
"""All that a packet passes, but not `demyjpy.engine.pipeline` and the drivers: `demyjpy.drivers.watch`
finds a handler by the Python frame that called it."""

DIRECTIVES: Final = {"language_level": 3, "binding": True, "annotation_typing": False}
"""Functions as Python's, and annotations that say nothing to the compiler: the same behaviour."""


class CompiledEngine(BuildHookInterface[Any]):
    """Compiles `MODULES` for the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            self.app.display_warning("demyjpy: an editable install stays pure Python")
            return
        require_compiler()
        self._work = TemporaryDirectory(prefix="demyjpy-build-")
        built = compile_modules(Path(self.root), Path(self._work.name))
        build_data["force_include"].update(built)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._work.cleanup()


def require_compiler() -> None:
    """`SystemExit` where there is no C compiler, or no header of this Python."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    header = Path(sysconfig.get_path("include"), "Python.h")
    missing = [] if shutil.which(compiler) else [f"a C compiler, {compiler}"]
    missing += [] if header.exists() else [f"Python's headers, {header}"]
    if missing:
        raise SystemExit(
            f"demyjpy: the compiled engine was asked for; it needs {' and '.join(missing)}. "
            "On Debian: apt install gcc libc6-dev python3-dev. "
            "Without HATCH_BUILD_HOOKS_ENABLE demyjpy is installed as pure Python."
        )


def compile_modules(root: Path, work: Path) -> dict[str, str]:
    """Compile below ``work``: each file, and where in the wheel it belongs."""
    from Cython.Build import cythonize  # noqa: PLC0415  # only there where the hook is asked for
    from setuptools import Distribution, Extension  # noqa: PLC0415

    processors = os.cpu_count() or 1
    with chdir(root):  # tracebacks tell the path as it is given here
        extensions = [
            Extension(
                f"demyjpy.{name}",
                [f"demyjpy/{name.replace('.', '/')}.py"],
                extra_compile_args=["-O2", "-g0"],
            )
            for name in MODULES
        ]
        made = cythonize(
            extensions,
            build_dir=str(work / "c"),
            compiler_directives=DIRECTIVES,
            nthreads=processors,
            force=True,
            quiet=True,
        )
        command = Distribution({"name": "demyjpy", "ext_modules": made}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(work / "lib"), str(work / "objects")
        command.parallel = processors
        command.ensure_finalized()
        command.run()
    found = sorted((work / "lib").rglob("*.so"))
    if len(found) != len(MODULES):
        raise SystemExit(f"demyjpy: expected {len(MODULES)} compiled modules, got {len(found)}")
    return {str(path): path.relative_to(work / "lib").as_posix() for path in found}

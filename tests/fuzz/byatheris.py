"""One target under atheris: ``python -m tests.fuzz.byatheris TARGET CORPUS [libFuzzer's options]``."""

import sys

import atheris

with atheris.instrument_imports(include=["demyjpy"]):
    from tests.fuzz.targets import TARGETS


if __name__ == "__main__":
    _, target, *options = sys.argv
    atheris.Setup([sys.argv[0], *options], TARGETS[target])
    atheris.Fuzz()

"""The filters of `samples/filters/`, and the settings that the pages about them show."""

import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from demyjpy.testing import session
from tests.test_docs import ROOT, blocks

CLIENT = session(client="192.0.2.7", helo="mx.example.org")
USER = CLIENT.auth("ann")
HELLO = "From: Ann <ann@example.org>\nTo: bob@example.net\nSubject: hello\n\nHello Bob\n"


def sample(name: str) -> ModuleType:
    """The module of a filter, as `demyjpy run samples/filters/NAME.py:make` loads it."""
    spec = spec_from_file_location(name, ROOT / f"samples/filters/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def settings_of(page: str, **others: Any) -> dict[str, Any]:
    """The settings in the page of that name, with others in place of some."""
    ((_, code),) = blocks(ROOT / f"docs/{page}.md", "toml")
    return {**tomllib.loads(code)["make"], **others}


def sent(script: Any, content: str | bytes = HELLO, sender: str = "ann@example.org", *more: str) -> Any:
    """A session that sends a mail to bob, and to more."""
    letter = script.mail(sender).rcpt("bob@example.net")
    for one in more:
        letter = letter.rcpt(one)
    return letter.message(content)

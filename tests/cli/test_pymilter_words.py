"""What is said to users of pymilter's scripts who wrote something else than they meant."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from demyjpy.cli.commands.run import _listen

SCRIPT = "import Milter\n"
BEHIND = "arguments of the script stand behind --"
MERGE = f"{BEHIND}; to merge filters: demyjpy"
WORD = 'write the arguments of the script into its word: "pymilter:old.py --db x"'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --pymilter old.py tag.py:handlers", f"{MERGE} run pymilter:old.py tag.py:"),
        ("check tag.py --pymilter old.py -- --x", f"{MERGE} check pymilter:old.py tag.py"),
        ("run --pymilter a.py --pymilter b.py", "one --pymilter, got two; to merge scripts: pymilter:"),
        ("check --pymilter old.py --db x", f"--db; {BEHIND}, as in --pymilter old.py -- --db ...; see"),
        ("check pymilter:old.py --db x", f"--db x; {WORD}"),
        ("check pymilter:old.py -- --db x", f"check: {WORD}"),
        ("replay x.jsonl --pymilter old.py", "name the script as a filter, pymilter:FILE; see"),
        ("replay x.jsonl --setings x", "did you mean --settings?; see"),
        ("check --pymilter old.py:Old", "a script is named without :Old: did you mean old.py?"),
        ("check --pymilter no.py", "a script is given as a file, --pymilter FILE or pymilter:FILE"),
        ("check old.py", "Write run --pymilter old.py, or pymilter:old.py with any command"),
        ("check direct.py", "is it a script for pymilter? Write run --pymilter direct.py, or"),
        ("check tag.py:no", "filters there: handlers"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_says_what_was_meant(
    run: Callable[..., Any], write: Callable[..., None], words: str, said: str
) -> None:
    """With exit status 2, and nothing served."""
    write("old.py", SCRIPT)
    write("direct.py", "import sys\nimport demyjpy.pymilter as Milter\n")
    write("tag.py", "from demyjpy import define_event_handlers\nhandlers = define_event_handlers()\n")
    status, _, errors = run(*words.split())
    assert said in errors
    assert status == 2


def test_of_two_scripts_the_first_says_where_to_listen(caplog: pytest.LogCaptureFixture) -> None:
    """The log has what is not used."""
    scripts = [SimpleNamespace(address=f"inet:{port}@localhost") for port in (1, 2)]
    given: Any = SimpleNamespace(listen=None)
    with caplog.at_level(logging.WARNING):
        loaded: Any = SimpleNamespace(scripts=scripts)
        assert _listen(given, loaded) == "inet:1@localhost"
    told = "it listens at the first script's address, not at inet:2@localhost"
    assert [one.getMessage() for one in caplog.records] == [told]

"""The picture of `demyjpy explain` in README.md is what the command prints for the mail of the page."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from demyjpy.cli.program import main
from demyjpy.trace import write
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.reading import dump_record
from tests.test_docs import README, blocks


def test_the_readme_shows_what_explain_prints(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of the mail that its second filter refuses."""
    page = ModuleType("filters")  # a handler's name begins with that of its module
    for _, code in blocks(README, "python"):
        exec(code, vars(page))
    (picture,) = (text for _, text in blocks(README, "text") if text.startswith("Message "))
    path = tmp_path / "trace.jsonl"
    write(path, [page.refused.trace])
    kept = Privacy(keep="headers")  # as README has it; the default keeps no text of a reply
    lines = [dump_record(kept.of(json.loads(line))) for line in path.read_text().splitlines()]
    path.write_bytes(b"\n".join(lines))
    assert main(["explain", str(path)]) == 0
    assert capsys.readouterr().out == picture

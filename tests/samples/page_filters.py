"""The filter of a cookbook page as its reader gets it: with the settings that the page shows."""

from pathlib import Path
from typing import Any

from demyjpy import Registry
from demyjpy.cli.loading import Wanted, load_filters
from demyjpy.testing import Postfix
from demyjpy.testing.strategies import check_filter
from tests.test_docs import blocks

ROOT = Path(__file__).parents[2]


def filter_of_page(name: str, directory: Path) -> Registry:
    """``samples/filters/NAME.py`` with the first block of TOML of its page."""
    (_, text), *_ = blocks(ROOT / f"docs/filter-{name.replace('_', '-')}.md", "toml")
    file = directory / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return load_filters(Wanted([f"{ROOT}/samples/filters/{name}.py:make"], str(file))).on_connect


def check(handlers: Registry, answers: Any) -> None:
    """What holds for every filter, for one that looks at no body, without what takes longest."""
    left_out = {"negotiation", "chunks", "order", "mtas"}
    check_filter(handlers, answers=answers, mta=Postfix(), skip=left_out, max_examples=1)

"""Reference pages of the public names: which stand on which page. What is said there are the docstrings.

A public name is one in ``tests/public_names.txt`` or in ``__all__`` of a package in `MORE`. It stands on
the page of the module that it comes from, so a new name of a known module needs nothing here.
"""

import ast
import importlib
from collections.abc import Collection, Iterable, Iterator
from inspect import cleandoc, isroutine
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any, Final

from attrs import frozen

from docs.site.command_pages import heading

MORE: Final = (
    "demyjpy.message",
    "demyjpy.message.mime",
    "demyjpy.metrics",
    "demyjpy.testing.strategies",
)
"""Packages whose names users need, too, but which may still change."""


_LONGEST_VALUE: Final = 60
"""Characters of a constant's value that are shown."""


@frozen
class Page:
    """A page of names: those that come from these modules, or from modules in these packages."""

    name: str
    title: str
    purpose: str
    modules: tuple[str, ...]


PAGES: Final = (
    Page(
        "filters",
        "Filters and chains",
        "For authors of filters: how handlers become a filter, and filters a chain.",
        (
            "demyjpy.handlers",
            "demyjpy.registry",
            "demyjpy.merging",
            "demyjpy.scoping",
            "demyjpy.conditions",
            "demyjpy.policies",
            "demyjpy.filter_policy",
        ),
    ),
    Page(
        "events",
        "Events",
        "For authors of handlers: what a handler is called with.",
        ("demyjpy.events", "demyjpy.wire.fields"),
    ),
    Page(
        "actions",
        "Actions",
        "For authors of handlers: verdicts and edits, as classes and as functions on the context.",
        ("demyjpy.actions", "demyjpy.shorthands", "demyjpy.wishes"),
    ),
    Page(
        "context",
        "The context",
        "For authors of handlers: what is read from the context, and how another one is made.",
        ("demyjpy.context",),
    ),
    Page(
        "facts",
        "Facts, findings, notes and counts",
        "For authors of handlers: what is known of a mail, and what a filter says about it.",
        ("demyjpy.facts", "demyjpy.clients", "demyjpy.findings", "demyjpy.reports"),
    ),
    Page(
        "questions",
        "Questions and effects",
        "For filters that ask servers, or do something because of a mail.",
        ("demyjpy.questions", "demyjpy.effects"),
    ),
    Page(
        "message",
        "The message",
        "For filters that read or change whole mails: fields, addresses, parts.",
        ("demyjpy.message",),
    ),
    Page(
        "serving",
        "Serving and watching",
        "For programs that serve a filter themselves instead of using the command line.",
        ("demyjpy.starting", "demyjpy.drivers", "demyjpy.engine"),
    ),
    Page(
        "errors",
        "Errors",
        "For everybody who meets one: the exceptions as a tree, and what they carry.",
        ("demyjpy.errors",),
    ),
    Page(
        "lookups",
        "Questions to use",
        "For filters that ask DNS, databases, tables, scanners, programs.",
        ("demyjpy.lookups",),
    ),
    Page(
        "testing",
        "Testing",
        "For tests of filters: sessions, results, both servers' models, strategies for Hypothesis.",
        ("demyjpy.testing", "demyjpy.mta"),
    ),
    Page(
        "trace",
        "Traces",
        "For programs that record, read or compare sessions.",
        ("demyjpy.trace",),
    ),
    Page(
        "metrics",
        "Metrics",
        "For programs that serve figures themselves.",
        ("demyjpy.metrics",),
    ),
    Page(
        "pymilter",
        "Filters of pymilter",
        "For filters written for pymilter: the names that they import.",
        ("demyjpy.pymilter",),
    ),
)


@frozen
class Name:
    """A public name: the module that users import it from, itself, and the module that it is made in."""

    module: str
    name: str
    home: str

    @property
    def full(self) -> str:
        """As users write it."""
        return f"{self.module}.{self.name}"


def homes(module: ModuleType) -> dict[str, str]:
    """Which module each imported name of a module comes from."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def public_names(listed: Collection[str]) -> list[Name]:
    """All public names, those listed first."""
    more = [f"{name}.{one}" for name in MORE for one in importlib.import_module(name).__all__]
    found = []
    modules: dict[str, dict[str, str]] = {}
    seen: set[int] = set()
    first = set(listed)
    for full in dict.fromkeys((*listed, *more)):
        module, _, name = full.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        if full not in first and id(value) in seen:
            continue  # it has its entry by the name that users know
        seen.add(id(value))
        if module not in modules:
            modules[module] = homes(importlib.import_module(module))
        home = modules[module].get(name, module)
        found.append(Name(module, name, home if home.startswith("demyjpy") else module))
    return found


def page_of(name: Name) -> Page:
    """The page that a name stands on: that of the place users import it from, if this is no top name."""
    start = name.home if name.module == "demyjpy" else name.module
    for page in PAGES:
        if any(start == one or start.startswith(f"{one}.") for one in page.modules):
            return page
    raise ValueError(
        f"{name.full} comes from {start}, which is on no page: add it to one of docs/site/api_pages.py"
    )


def directive(name: Name, value: Any) -> str:
    """The directive that writes a name's entry."""
    if isinstance(value, type):
        kind = "exception" if issubclass(value, BaseException) else "class"
        return f".. auto{kind}:: {name.full}\n   :members:\n\n"
    if isroutine(value):
        return f".. autofunction:: {name.full}\n\n"
    if isinstance(value, ModuleType):
        return f".. py:data:: {name.name}\n   :type: module\n\n{indented(value.__doc__ or '')}\n\n"
    definition, doc = assignment_of(name)
    text = f"{indented(doc)}\n\n" if doc else ""
    if definition is None:
        shown = "" if len(repr(value)) > _LONGEST_VALUE else f"   :value: {value!r}\n"
        return f".. py:data:: {name.name}\n   :type: {type(value).__name__}\n{shown}\n{text}"
    return f".. py:type:: {name.name}\n   :canonical: {definition}\n\n{text}"


def indented(text: str) -> str:
    """A docstring as what a directive holds."""
    return indent(cleandoc(text), "   ")


def assignment_of(name: Name) -> tuple[str | None, str]:
    """What a name that is an alias of types is defined as, None if it is none; and its docstring."""
    module = importlib.import_module(name.home)
    body = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name.name and node.value:
            doc = (
                after.value.value
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                else ""
            )
            is_alias = ast.unparse(node.annotation) == "TypeAlias"
            return (ast.unparse(node.value) if is_alias else None), str(doc)
    return None, ""


def entry_order(name: Name) -> tuple[bool, str]:
    """Classes, types and constants first, then functions; each by name."""
    return (name.name[:1].islower(), name.name)


def page_text(page: Page, names: Iterable[Name]) -> str:
    """The page, with the entries of its names below a heading for each module they are imported from."""
    modules: dict[str, list[Name]] = {}
    for name in names:
        modules.setdefault(name.module, []).append(name)
    parts = [heading(page.title, "="), f"{page.purpose}\n\n"]
    for module, ours in sorted(modules.items()):
        parts += [
            heading(module, "-"),
            f".. py:module:: {module}\n   :no-index:\n\n.. py:currentmodule:: {module}\n\n",
        ]
        values = importlib.import_module(module)
        parts += [directive(name, getattr(values, name.name)) for name in sorted(ours, key=entry_order)]
    return "".join(parts)


def index_text() -> str:
    """The page that lists the others."""
    rows = "".join(f":doc:`{page.title} <{page.name}>`\n   {page.purpose}\n\n" for page in PAGES)
    entries = "".join(f"   {page.name}\n" for page in PAGES)
    return (
        heading("The API", "=")
        + "For authors of filters and of tests: every public name, with its types, from the docstrings. "
        "The pages about a subject explain when to use them.\n\n"
        + f"{rows}.. toctree::\n   :hidden:\n\n{entries}"
    )


def pages(listed: Collection[str]) -> Iterator[tuple[str, str]]:
    """The pages of the public names: where each stands, and its text."""
    used: dict[str, list[Name]] = {}
    for name in public_names(listed):
        used.setdefault(page_of(name).name, []).append(name)
    yield "api/index.rst", index_text()
    for page in PAGES:
        yield f"api/{page.name}.rst", page_text(page, used[page.name])

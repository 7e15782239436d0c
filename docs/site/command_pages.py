"""Reference pages of the commands, from the parsers that parse them. The man pages are made of the same.

Each page is reStructuredText, because it is what Sphinx has directives for options in.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from textwrap import dedent
from typing import Final

from demyjpy.cli.program import COMMANDS, build_parser

_FEATURES: Final = re.compile(r"([\\*`|_<>])")
_WIDTH: Final = 78

MAN_PAGES: Final = [
    ("commands/demyjpy", "demyjpy", "serve, check and try mail filters (milters)", "", 1),
    *((f"commands/{name}", f"demyjpy-{name}", text, "", 1) for name, text in COMMANDS.items()),
]
"""The man pages, as Sphinx wants them: the page, the name, what it is, no author, the section."""


def plain(text: str) -> str:
    """Text that stays as it is in reStructuredText."""
    return _FEATURES.sub(r"\\\1", text)


def heading(text: str, sign: str) -> str:
    """A heading; ``sign`` says of which level."""
    return f"{text}\n{sign * len(text)}\n\n"


def block(text: str, language: str = "text") -> str:
    """A block of code."""
    lines = "\n".join(f"   {line}".rstrip() for line in text.strip("\n").splitlines())
    return f".. code-block:: {language}\n\n{lines}\n\n"


def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the program, and those of its commands by name, filled."""
    top = build_parser(file="")
    (commands,) = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    for parser in (top, *commands.choices.values()):
        parser.formatter_class = _Formatter
    return top, dict(commands.choices)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide on every machine, and without colours."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_WIDTH)


def _usage(parser: argparse.ArgumentParser) -> str:
    lines = parser.format_usage().removeprefix("usage: ").splitlines()
    return "\n".join([lines[0], *(line.removeprefix(" " * 7) for line in lines[1:])])


def _signature(action: argparse.Action) -> str:
    """The argument as a person writes it: ``--queue-id ID``, ``TRACE``."""
    given = action.metavar
    metavar = " ".join(given) if isinstance(given, tuple) else given
    if metavar is None and action.choices is not None:
        metavar = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return metavar or action.dest
    value = "" if action.nargs == 0 else f" {metavar or action.dest.upper()}"
    return ", ".join(f"{option}{value}" for option in action.option_strings)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    return plain(_sentence(text) + ("" if text.endswith((".", ")")) else "."))


def _options(parser: argparse.ArgumentParser, actions: Sequence[argparse.Action]) -> Iterator[str]:
    for action in actions:
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction):
            yield f".. option:: {_signature(action)}\n\n   {_help(action, parser)}\n\n"


def _groups(parser: argparse.ArgumentParser) -> Iterator[str]:
    titles = {"positional arguments": "Arguments", "options": "Options"}
    for group in parser._action_groups:
        options = "".join(_options(parser, group._group_actions))
        if options:
            title, _, note = (group.title or "").partition(" (")
            title = titles.get(title, plain(_sentence(title)))
            yield (
                heading(title, "-")
                + (f"{plain(_sentence(note.removesuffix(')')))}.\n\n" if note else "")
                + options
            )


def _epilogue(text: str) -> tuple[str, str, str]:
    """The examples, the prose and the exit status of what stands below the options in the help."""
    examples, _, rest = text.removeprefix("examples:\n").partition("\n\n")
    prose, _, status = rest.partition("Exit status:")
    table = dedent(status.strip("\n")) if status.startswith("\n") else ""
    return (
        "\n".join(line.strip() for line in examples.splitlines()),
        prose.strip(),
        block(table) if table else f"{plain(_sentence(status.strip()))}\n\n",
    )


def command_page(name: str, parser: argparse.ArgumentParser) -> str:
    """The page of one command."""
    examples, prose, status = _epilogue(parser.epilog or "")
    others = ", ".join(f":manpage:`demyjpy-{other}(1)`" for other in COMMANDS if other != name)
    return "".join(
        (
            heading(parser.prog, "="),
            f".. program:: {parser.prog}\n\n",
            heading("Synopsis", "-"),
            block(_usage(parser)),
            heading("Description", "-"),
            f"{plain(parser.description or '')}\n\n",
            f"{plain(prose)}\n\n" if prose else "",
            *_groups(parser),
            heading("Exit status", "-") + status,
            heading("Examples", "-"),
            block(examples, "sh"),
            heading("See also", "-"),
            f":manpage:`demyjpy(1)`, {others}\n",
        )
    )


def program_page(parser: argparse.ArgumentParser) -> str:
    """The page of the program itself."""
    examples, _, _ = _epilogue(parser.epilog or "")
    others = ", ".join(f":manpage:`demyjpy-{name}(1)`" for name in COMMANDS)
    return "".join(
        (
            heading("demyjpy", "="),
            ".. program:: demyjpy\n\n",
            heading("Synopsis", "-"),
            block(_usage(parser)),
            heading("Description", "-"),
            f"{plain(parser.description or '')} Each command has a page of its own.\n\n",
            heading("Commands", "-"),
            _commands(),
            *_groups(parser),
            heading("Examples", "-"),
            block(examples, "sh"),
            heading("See also", "-"),
            f"{others}\n",
        )
    )


def _commands() -> str:
    return "".join(
        f":doc:`demyjpy {name} <{name}>`\n   {plain(_sentence(text))}.\n\n"
        for name, text in COMMANDS.items()
    )


def index_page() -> str:
    """The page that lists the others."""
    entries = "".join(f"   {name}\n" for name in ("demyjpy", *COMMANDS))
    text = "For everybody at a shell: what each command does, with all options that its ``--help`` has."
    toctree = f".. toctree::\n   :hidden:\n\n{entries}"
    return f"{heading('Commands', '=')}{text}\n\n{_commands()}{toctree}"


def pages() -> Iterator[tuple[str, str]]:
    """The pages of the program and its commands: where each stands, and its text."""
    top, commands = parsers()
    yield "commands/index.rst", index_page()
    yield "commands/demyjpy.rst", program_page(top)
    for name, parser in commands.items():
        yield f"commands/{name}.rst", command_page(name, parser)

"""The files of a new project: a filter, its tests, what builds it, its units, a page. Text only.

The filter is one that a mail server may really use, and short enough to be replaced.
"""

import sys
from collections.abc import Mapping
from keyword import iskeyword
from string import Template
from typing import Final

from attrs import Attribute, field, frozen

from demyjpy.cli.mta_configuration import POSTFIX_QUEUE, mta_lines
from demyjpy.cli.unit_files import Units, like, service_options
from demyjpy.drivers.address import parse_address

REQUIREMENT: Final = "demyjpy>=0.1,<0.2"
"""A minor version may take something away before 1.0: docs/stability.md."""

_HIDDEN: Final = frozenset({"attr", "attrs", "demyjpy", "pyrsistent", "pytest", "tests"})

_FILTER: Final = '''\
"""A mail filter: it refuses mail with attached programs."""

from pathlib import PurePath

from demyjpy import Context, Message, define_event_handlers, note, reject

PROGRAMS = frozenset({".bat", ".cmd", ".com", ".exe", ".js", ".msi", ".scr", ".vbs"})

handlers = define_event_handlers(name="$name")


# blocking=True: looking into large zip files takes time, so this runs in a thread
# beyond="reject": a mail above 25 MB would come without its body, so it is refused
@handlers.message(blocking=True, beyond="reject")
def refuse_programs(event: Message, ctx: Context) -> Context:
    """The first attached program decides, also one in a zip file."""
    for name in event.file_names().names:
        suffix = PurePath(name.lower().rstrip(" .")).suffix
        if suffix in PROGRAMS:
            ctx = note(ctx, "a program was attached", suffix=suffix)
            return reject(ctx, "5.7.1", "We take no mail with attached programs")
    return ctx
'''

_TEST: Final = '''\
"""What becomes of a mail: a session with the mail server in, the verdict out."""

from email.message import EmailMessage

from demyjpy import ReplyCode
from demyjpy.testing import Result, run, session

from $module import handlers

REFUSED = ReplyCode(550, "5.7.1", "We take no mail with attached programs")


def result_for(file_name: str) -> Result:
    """What becomes of a mail with an attached file of this name."""
    mail = EmailMessage()
    mail["Subject"] = "A file for you"
    mail.set_content("See the file.")
    mail.add_attachment(b"...", "application", "octet-stream", filename=file_name)
    script = session().mail("ann@example.net").rcpt("bob@example.org").message(mail)
    return run(handlers, script)


def test_a_program_is_refused() -> None:
    """The case of its name does not matter."""
    assert result_for("game.exe").verdict == REFUSED
    assert result_for("GAME.EXE").verdict == REFUSED


def test_other_files_pass() -> None:
    """The mail is delivered as it came."""
    result = result_for("report.pdf")
    assert result.recipients == ["bob@example.org"]
    assert result.message.get("Subject") == "A file for you"
'''

_PYPROJECT: Final = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1.0"
description = "A mail filter that refuses attached programs"
requires-python = ">=3.11"
dependencies = ["$requirement"]

[project.optional-dependencies]
test = ["pytest"]

[tool.hatch.build.targets.wheel]
only-include = ["$module.py"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]

[tool.mypy]
strict = true
files = ["$module.py", "tests"]
"""

_README: Final = """\
# $name

A mail filter for Postfix and Sendmail: it refuses mail with attached programs. All of it is in
`$module.py`.

## Try it

In a virtual environment that has pytest, and demyjpy with the extra `box`:

```sh
python -m pytest
demyjpy check $module.py
demyjpy demo $module.py
```

## Install it

On the mail server, as root, in this directory. `/path/to/demyjpy` is your clone of demyjpy, or a wheel
of it.

```sh
python3 -m venv /opt/$name
/opt/$name/bin/pip install /path/to/demyjpy
/opt/$name/bin/pip install .
cp systemd/$name.socket systemd/$name.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now $name.socket $name.service
```

The service writes below `/var/lib/$name` only. It keeps the sessions in which a message was refused:

```sh
/opt/$name/bin/demyjpy explain /var/lib/$name/flight --to bob@example.org
```

## Connect Postfix

```
$postfix
```

## Change it

Edit `$module.py`, run the tests, then:

```sh
/opt/$name/bin/pip install .
systemctl restart $name.service
```

systemd keeps the socket open meanwhile, so Postfix waits, and no mail is lost.
"""


def _hides_nothing(instance: object, attribute: "Attribute[str]", value: str) -> None:
    module = value.replace("-", "_")
    if iskeyword(module) or module in sys.stdlib_module_names or module in _HIDDEN:
        raise ValueError(
            f"expected a name that neither Python nor demyjpy uses, got {value!r}: take {value}-filter "
            "for example"
        )


@frozen
class Project:
    """A new project. ``name`` is that of the distribution, and of the units."""

    name: str = field(
        validator=[
            like(
                "(?=.{1,40}$)[a-z][a-z0-9]*(-[a-z0-9]+)*",
                "at most 40 small letters, digits and single hyphens, a letter first",
            ),
            _hides_nothing,
        ]
    )

    @property
    def module(self) -> str:
        """The module of the filter: ``my_rules`` of ``my-rules``."""
        return self.name.replace("-", "_")

    def files(self) -> Mapping[str, str]:
        """The texts, by the path of the file in the project's directory."""
        socket = f"{POSTFIX_QUEUE}/demyjpy/{self.name}.sock"
        command = [f"/opt/{self.name}/bin/demyjpy", "run", self.module, *service_options(self.name)]
        units = Units(self.name, command, socket, "postfix").files()
        lines = mta_lines(parse_address(f"unix:{socket}"), is_inherited=True)
        words = {
            "name": self.name,
            "module": self.module,
            "requirement": REQUIREMENT,
            "postfix": lines.partition("\n\n")[0],
        }
        templates = {
            f"{self.module}.py": _FILTER,
            f"tests/test_{self.module}.py": _TEST,
            "pyproject.toml": _PYPROJECT,
            "README.md": _README,
        }
        made = {path: Template(text).substitute(words) for path, text in templates.items()}
        return {**made, **{f"systemd/{file}": text for file, text in units.items()}}

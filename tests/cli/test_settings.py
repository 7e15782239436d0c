"""Filters that are functions of settings, on the command line: ``FILE:make=TABLE --settings FILE``."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from demyjpy.cli.commands.demo import _next_lines
from demyjpy.cli.loading import LoadError, Wanted, load_filters
from demyjpy.cli.program import build_parser
from demyjpy.errors import SettingsError
from demyjpy.testing import Postfix, session
from demyjpy.testing import run as play
from demyjpy.trace import CapsuleMaker
from demyjpy.trace import write as write_trace
from tests.trace.sessions import WHOLE, recorded, watched

Run = Callable[..., tuple[int, str, str]]
Write = Callable[..., None]

RULES = """
    from contextlib import contextmanager
    from demyjpy import add_header, define_event_handlers, with_handlers
    from demyjpy.registry import Registry

    @contextmanager
    def opened(settings):
        yield settings

    def make(*, text: str, times: int = 1, hosts: list[str] = [], api_key: str = "") -> Registry:
        if text == "bad":
            raise ValueError(f"no use for {api_key}")
        if text == "hangs":
            while True:
                pass
        made = define_event_handlers(actions={"add_header"}, state={"text": text})

        @made.end_of_message
        def end(event, ctx):
            for _ in range(times):
                ctx = add_header(ctx, "X-Text", ctx["text"])
            return ctx

        return made

    def other(a: str = "", *more: str) -> Registry: ...
    def number() -> Registry: return 3
    def connect(ctx): return with_handlers(ctx, make(text="c"))

    handlers = define_event_handlers(resources={"db": opened}, name="h")
    handlers.mail(lambda event, ctx: ctx)
"""
SETTINGS = """\
[make]
text = "a"

[strict]
text = "b"
times = 2
hosts = ["x", "y", "z", "x", "y", "z"]
api_key = "hunter2"
"""
LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


@pytest.fixture
def rules(write: Write) -> Write:
    """The filters, and their settings, in the current directory."""
    write("rules.py", RULES)
    write("rules.toml", SETTINGS)
    return write


def texts_of(*filters: str, settings: str | None = "rules.toml") -> list[str]:
    """What filters add to a letter."""
    message = play(load_filters(Wanted(filters, settings)).on_connect, LETTER).message
    return [one.value for one in message.fields if one.name == "X-Text"]


@pytest.mark.usefixtures("rules")
def test_filters_are_merged_in_the_order_given_each_with_its_table(rules: Write) -> None:
    """The name of a table also names the filter, and its corner: one function may be there twice."""
    assert texts_of("rules.py:make", "rules.py:make=strict") == ["a", "b", "b"]
    assert texts_of("rules.py:make=strict", "rules.py:handlers=h", "rules:make") == ["b", "b", "a"]
    loaded = load_filters(Wanted(["rules.py:make=strict", "rules.py:make"], "rules.toml"))
    assert loaded.name == "rules.py:make=strict rules.py:make"
    assert [one.name for one in loaded.on_connect.leaves] == ["strict", None]
    assert [(one.table.name, one.values["times"]) for one in loaded.made] == [
        ("strict", 2),
        ("make", 1),
    ]
    rules("one.toml", '[strict]\ntext = "z"')
    assert texts_of("rules.py:make=strict", settings="one.toml") == ["z"]


def test_a_file_is_loaded_once_for_all_filters_in_it(write: Write) -> None:
    """Else each would have classes of its own, such as those of questions."""
    write(
        "twice.py",
        """
        from pathlib import Path
        from demyjpy import define_event_handlers
        with Path("loads").open("a") as loads:
            loads.write("x")
        def make(): return define_event_handlers()
        """,
    )
    load_filters(Wanted(["twice.py:make", "twice.py:make=b", "./twice.py:make=c"]))
    assert Path("loads").read_text() == "xx"


@pytest.mark.usefixtures("rules")
def test_a_registry_has_a_table_for_its_resources(rules: Write) -> None:
    """Without settings it gets none."""
    rules("db.toml", "[handlers]\nx = 1\n[h]\nx = 2")
    filters = ("rules.py:handlers", "rules.py:handlers=h")
    for settings, wanted in (("db.toml", [1, 2]), (None, [None, None])):
        leaves = load_filters(Wanted(filters, settings)).on_connect.leaves
        found = []
        for leaf in leaves:
            with leaf.declarations.resources["db"]({}) as given:
                found.append(given.get("x"))
        assert found == wanted
    assert load_filters(Wanted(["rules.py:handlers", "rules.py:handlers"])).kind == "registry"


@pytest.mark.parametrize(
    ("filters", "settings", "said"),
    [
        (["make"], None, "; give --settings FILE.toml with the table [make]"),
        (["make=a b"], None, "or with =TABLE behind it, got 'rules.py:make=a b'"),
        (["make="], None, "or with =TABLE behind it, got 'rules.py:make='"),
        (
            ["make", "make"],
            "rules.toml",
            "got [make] for rules.py:make and for rules.py:make: give one of",
        ),
        (["make=x", "handlers=x"], None, "one of them another, as in rules.py:handlers=other"),
        (["handlers", "handlers"], "rules.toml", "expected filters with a table of their own"),
        (
            ["make"],
            "rules.toml",
            "rules.toml:4: expected only tables of the filters ([make]), got the table",
        ),
        (["make", "make=strict", "connect"], "rules.toml", "got rules.py:connect, which is called once"),
        (["connect=c"], None, "or functions of settings, to merge or to name, got rules.py:connect=c"),
        (["handlers=queue"], None, "rules.py:handlers=queue: expected a scope of your own, got 'queue'"),
        (
            ["other"],
            None,
            "rules.py:other: expected other to take settings by keyword only, got *more: str",
        ),
        (["number"], None, "number: expected a filter (define_event_handlers), got 3"),
        (["make"], "gone.toml", "expected settings in gone.toml, got: No such file or directory"),
        (
            ["make"],
            "bad.toml",
            'bad.toml:3: [make] times: expected a whole number, got "five"; bad.toml:1: ',
        ),
    ],
)
def test_what_cannot_be_made_is_told_with_status_2(
    run: Run, rules: Write, filters: list[str], settings: str | None, said: str
) -> None:
    """In a line: what was expected, what came, what to do."""
    rules("bad.toml", "[make]\n\ntimes = 'five'")
    options = [] if settings is None else ["--settings", settings]
    status, output, errors = run("check", *(f"rules.py:{one}" for one in filters), *options)
    assert (status, output) == (2, "")
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_a_function_that_raises_is_told_with_the_line_of_its_author(run: Run, rules: Write) -> None:
    """And without what a secret is."""
    rules("rules.toml", "[make]\ntext = 'bad'\napi_key = 'hunter2'")
    line = [one.strip() for one in RULES.splitlines()].index('raise ValueError(f"no use for {api_key}")')
    assert run("check", "rules.py:make", "--settings", "rules.toml")[2].splitlines() == [
        (
            "demyjpy check: rules.toml:1: [make] make: expected a filter, got ValueError: no use for "
            "(not shown)"
        ),
        f'  File "rules.py", line {line + 1}, in make',
        '    raise ValueError(f"no use for {api_key}")',
    ]


def test_a_function_that_hangs_is_told(run: Run, rules: Write) -> None:
    """It has the time for loading."""
    rules("rules.toml", "[make]\ntext = 'hangs'")
    status, _, errors = run(
        "check", "rules.py:make", "--settings", "rules.toml", "--load-timeout", "0.1"
    )
    assert status == 2
    assert "expected rules.py:make to load within 0.1 s (--load-timeout); it was still at" in errors


def test_files_are_loaded_first_and_filters_made_as_the_user(rules: Write) -> None:
    """Settings are read as who will read them again at SIGHUP."""
    seen: list[bool] = []

    @contextmanager
    def acting() -> Iterator[None]:
        seen.append("rules" in sys.modules)
        yield
        seen.append(True)

    with pytest.raises(SettingsError):
        load_filters(Wanted(["rules.py:make"], "gone.toml"), acting)
    assert seen == [True]
    load_filters(Wanted(["rules.py:make", "rules.py:make=strict"], "rules.toml"), acting)
    assert seen == [True] * 3
    with pytest.raises(LoadError, match="got no such name"):
        load_filters(Wanted(["rules.py:gone"]), acting)
    assert len(seen) == 3


@pytest.mark.usefixtures("rules")
def test_check_says_that_it_opens_no_resources(run: Run) -> None:
    """Whether a database or a table can be opened, only serving the filter tells."""
    _, output, _ = run("check", "rules.py:handlers")
    assert "  - resources are not opened: db\n" in output
    _, output, _ = run("check", "rules.py:make", "--settings", "rules.toml")
    assert "resources" not in output


@pytest.mark.usefixtures("rules")
def test_a_function_that_may_be_of_settings_is_told_how_it_is_one(run: Run, write: Write) -> None:
    """Its def line does not say so: it is taken for one that is called for each connection."""
    write("plain.py", "import rules\ndef make(text: str, times: int = 5): return rules.handlers")
    write("plain.toml", "[make]\ntext = 'a'\n")
    advice = "is make a function of settings? write def make(*, ...) -> Registry"
    _, _, errors = run("check", "plain.py:make", "--settings", "plain.toml")
    assert f"none of the filters takes any, got the table [make]; {advice}" in errors
    _, output, _ = run("check", "plain.py:make")
    assert "on_connect failed: " in output
    assert advice in output
    _, _, errors = run("check", "rules.py:connect", "--settings", "plain.toml")
    assert errors.endswith("got the table [make]\n")


# ------------------------------------------------------------------------------------- commands
@pytest.mark.usefixtures("rules")
def test_check_reports_what_a_file_makes_of_filters(run: Run) -> None:
    """Each setting with its value, which is not shown of a secret, and with where it comes from."""
    arguments = ("check", "rules.py:make", "rules.py:make=strict", "--settings", "rules.toml")
    status, output, _ = run(*arguments)
    assert status == 0
    lines = output.splitlines()
    assert lines[0] == "rules.py:make rules.py:make=strict (registry, 2 filters merged)"
    first = lines.index("Settings")
    assert lines[first + 1 : first + 9] == [
        '  [make]    text     "a"                             str        rules.toml:2',
        "  [make]    times    1                               int        default",
        "  [make]    hosts    []                              list[str]  default",
        "  [make]    api_key  a text (not shown)              str        default",
        '  [strict]  text     "b"                             str        rules.toml:5',
        "  [strict]  times    2                               int        rules.toml:6",
        '  [strict]  hosts    ["x", "y", "z", "x", "y", ...]  list[str]  rules.toml:7',
        "  [strict]  api_key  a text (not shown)              str        rules.toml:8",
    ]
    found = json.loads(run(*arguments, "--json")[1])["settings"]
    assert found[4] == {
        "table": "strict",
        "name": "text",
        "kind": "str",
        "value": '"b"',
        "origin": "rules.toml:5",
    }


def test_check_reports_further_keys_and_tables(run: Run, rules: Write) -> None:
    """Of a function that takes any."""
    rules(
        "open.py",
        """
        from demyjpy import define_event_handlers
        def make(**others: dict[str, int] | None): return define_event_handlers({"mail": print})
        """,
    )
    rules("open.toml", "make.'a b' = {x = 1, y = 2}\n")
    output = run("check", "open.py:make", "--settings", "open.toml")[1]
    assert '  [make]  "a b"  a table of 2  dict[str, int] | None  open.toml:1' in output.splitlines()


@pytest.mark.usefixtures("rules")
def test_two_settings_of_a_filter_are_compared(run: Run, tmp_path: Path) -> None:
    """By replay: each is in a table of the file."""
    filter_ = load_filters(Wanted(["rules.py:make=m"], str(make_file(tmp_path)))).on_connect
    write_trace(tmp_path / "trace.jsonl", [recorded(filter_, *WHOLE)])
    traces = ("replay", tmp_path / "trace.jsonl")
    settings = ("--settings", "rules.toml")
    status, output, _ = run(*traces, "--diff", "rules.py:make", "rules.py:make=strict", *settings)
    assert (status, "X-Text: b" in output) == (1, True)
    assert run(*traces, "--diff", "rules.py:make", "rules.py:make", *settings)[0] == 2
    again = ("--settings", tmp_path / "m.toml")
    assert run(*traces, "rules.py:make=m", *again)[0] == 0
    assert run(*traces, "rules.py:make=m", "rules.py:handlers=h", *again)[0] == 1  # it wants MAIL, too
    status, _, errors = run(*traces, *settings)
    assert (status, errors) == (2, "demyjpy replay: --settings needs a FILTER\n")


def make_file(directory: Path) -> Path:
    """Settings for one table."""
    path = directory / "m.toml"
    path.write_text("[m]\ntext = 'a'")
    return path


@pytest.mark.usefixtures("rules")
def test_the_demo_takes_settings(run: Run) -> None:
    """And says how to call it again."""
    assert run("demo", "--settings", "rules.toml")[::2] == (
        2,
        "demyjpy demo: --settings needs a FILTER\n",
    )
    given = build_parser().parse_args(["demo", "a b.py:make=x", "--settings", "r.toml"])
    lines = [*_next_lines(given)]
    assert "demo 'a b.py:make=x' --settings r.toml --stay" in lines[0]


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize("more", [[], ["--filter", "rules.py:handlers"]])
def test_a_capsule_becomes_a_test_that_loads_the_settings(
    run: Run, rules: Write, tmp_path: Path, more: list[str]
) -> None:
    """From wherever it is run; without ``--filter`` there is no use for them."""
    rules("rules.toml", "[make]\ntext = 'a'\ntimes = 2")
    text = RULES.replace('add_header(ctx, "X-Text", ctx["text"])', "1 / (times - 2)")
    rules("rules.py", text)
    maker = CapsuleMaker(tmp_path / "capsules")
    settings = ("--settings", "rules.toml")
    try:
        load = load_filters(Wanted(["rules.py:make"], "rules.toml"))
        play(load.on_connect, LETTER, mta=Postfix())
        for step in watched(load.on_connect, *WHOLE)[0]:
            maker(step)
    finally:
        maker.close()
    (path,) = (tmp_path / "capsules").iterdir()
    capsule = ("capsule", path, "--test", "test_made.py")
    assert run(*capsule, "--filter", "rules.py:make", *more, *settings)[0] == 0
    namespace: dict[str, object] = {}
    exec(Path("test_made.py").read_text(), namespace)
    (name,) = (one for one in namespace if one.startswith("test_"))
    assert f"{tmp_path}/rules.toml" in Path("test_made.py").read_text()
    with pytest.raises(AssertionError):
        cast("Callable[[], None]", namespace[name])()
    assert run(*capsule, *settings)[::2] == (2, "demyjpy capsule: --settings needs --filter\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_run_reads_settings_as_the_user_that_it_becomes(run: Run, rules: Write) -> None:
    """At the start, too: else SIGHUP could not read them again."""
    Path("rules.toml").chmod(0o600)
    options = ("--settings", "rules.toml", "--user", "nobody", "--listen", "inet:0@127.0.0.1")
    status, output, errors = run("run", "rules.py:make", *options)
    assert (status, output) == (2, "")
    assert "expected settings in rules.toml, got: Permission denied" in errors
    assert os.geteuid() == 0

"""The rules of the house hold, and each of them can fail. See `tests.house`."""

import pytest

from tests import house
from tests.house import RULES, Figures, Word, source_of

LONG = "def long():\n" + "    pass\n" * 61


@pytest.mark.parametrize("rule", RULES)
def test_the_house_is_in_order(rule: str):
    """No rule has anything to complain about."""
    assert [*RULES[rule]()] == []


def test_every_file_is_counted_in_one_package():
    """The rows add up to all files, and a package has its own row."""
    found = house.sources("demyjpy")
    rows = house.figures(found)
    assert sum(rows.values(), Figures()).files == len(found)
    assert {"demyjpy", "demyjpy/engine", "demyjpy/drivers"} <= rows.keys()


def test_statements_are_counted_without_docstrings():
    """Each statement counts once, however deep; what documents a module, class or function, does not."""
    text = '"""M."""\nclass A:\n  """C."""\n  x = 1\n  def f(self):\n    """F."""\n    return 2\n'
    assert house.statements(source_of("a.py", text).tree) == 4
    assert house.figures([source_of("demyjpy/a/b.py", text)]) == {"demyjpy/a": Figures(1, 7, 4)}


def test_an_import_from_above_is_seen():
    """And one from the same floor is allowed."""
    heights = {"low": 0, "high": 1, "higher": 1}
    imports = {"low": {"high"}, "high": {"low", "higher"}, "higher": set()}
    assert [*house.upward(imports, heights.__getitem__)] == ["low imports high, from above"]


def test_a_long_file_is_seen():
    """450 lines are fine, one more is not."""
    files = [source_of(f"tests/{lines}.py", "pass\n" * lines) for lines in (450, 451)]
    assert [*house.too_long(files)] == ["tests/451.py: 451 lines, 450 at most"]


def test_a_long_function_is_seen():
    """Its first and last line count, and so do those of a method."""
    method = "class A:\n" + "".join(f"    {line}\n" for line in LONG.splitlines())
    complaint = "long: 62 lines, 60 at most"
    files = [source_of("a.py", LONG), source_of("b.py", method)]
    assert [*house.long_functions(files, {})] == [f"a.py: {complaint}", f"b.py: {complaint}"]
    short = source_of("a.py", LONG.replace("    pass\n", "", 2))
    assert [*house.long_functions([short], {})] == []


def test_an_excuse_is_for_one_function_and_for_a_long_one():
    """A second function of the name is no exception; an excuse that none needs goes; there are three."""
    files = [source_of("a.py", LONG), source_of("b.py", LONG)]
    assert [*house.long_functions(files, {"long": "a reason"})] == ["b.py: long: 62 lines, 60 at most"]
    excused = dict.fromkeys(("long", "x", "y", "z"), "a reason")
    assert [*house.long_functions(files[:1], excused)] == [
        *(f"{name}: no function of this name is so long" for name in "xyz"),
        "4 exceptions, 3 at most",
    ]


def test_a_name_that_nobody_guesses_is_seen():
    """In any package; as a part of a longer name the word is fine."""
    names = ["mta.link", "trace.json_values", "values"]
    assert [one.partition(":")[0] for one in house.gone_again(names)] == ["mta.link", "values"]


def test_a_changed_public_name_is_seen():
    """One that is gone, and one that has come without a line in the list."""
    listed = [
        f"demyjpy.drivers.{name}"
        for name in ("AsyncServer", "running", "serve", "start", "ThreadServer")
    ]
    assert [*house.changed_names(listed)] == [
        "demyjpy.drivers.start: not public any more",
        "demyjpy.drivers.start_milter: public, but not in the list",
    ]


def test_a_second_meaning_is_seen():
    """A class with one of the words as its name elsewhere, private or not; a longer one is fine."""
    words = {"step": Word("one step", ("engine.steps:Step",))}
    text = "class {}: pass\n"
    files = [
        source_of("demyjpy/engine/steps.py", text.format("Step")),
        source_of("demyjpy/mta/steps.py", text.format("Step")),
        source_of("demyjpy/cli/steps.py", text.format("_Step")),
        source_of("demyjpy/cli/lines.py", text.format("StepLine")),
    ]
    assert [*house.other_meanings(files, words)] == [
        "demyjpy/mta/steps.py: class Step is not 'one step'",
        "demyjpy/cli/steps.py: class _Step is not 'one step'",
    ]


def test_a_word_without_its_place_is_seen():
    """The class, the attribute or the module that a word stands for is gone."""
    where = ("engine.connection:Step.session", "engine.connection:Step.gone", "engine.gone:Step")
    words = {"session": Word("a session", where)}
    assert [*house.lost_homes(words)] == [f"session: there is no {gone}" for gone in where[1:]]


def test_a_file_that_is_not_there_is_seen():
    """Files and folders, but not what is still to be made."""
    page = "`demyjpy/errors.py` `demyjpy/engine/` `demyjpy/gone.py` `tests/NAME.py` `errors.py`"
    assert [*house.lost_files(page)] == ["there is no demyjpy/gone.py"]


def test_a_change_in_too_many_files_is_seen():
    """In the table only; what is not of demyjpy is not counted."""
    four = " ".join(f"`demyjpy/{name}.py`" for name in "abcd")
    row = "| {} | `demyjpy/a.py` `demyjpy/b.py` `demyjpy/c.py` `docs/d.md` {}|\n"
    page = (
        f"{four}\n\n## Where does it go?\n\n{row.format('x', '')}{row.format('y', '`demyjpy/d.py`')}\n"
    )
    page += f"## Other\n\n| {four} |\n"
    assert [*house.wide_changes(page)] == ["y: 4 files, 3 at most"]


def test_the_figures_are_printed(capsys: pytest.CaptureFixture[str]):
    """By the program: a row for each package, each word, each rule."""
    assert house.main() == int(any([*complain()] for complain in RULES.values()))
    printed = capsys.readouterr().out
    for part in ("demyjpy/engine", "all of tests", *house.WORDS, *house.LONG_FUNCTIONS, *RULES):
        assert part in printed

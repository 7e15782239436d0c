"""On which line a key of a TOML file stands, however it is written."""

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy.settings.key_lines import line_of, lines_of
from tests.examples import share_of

TEXT = '''\
# make = 1
top = [ # a list of ]
  "]", '[', """
  x = 1
  """,
]
a . b."c d" = { x = 1, "y]" = ["=", "\\\\"] }
[make]  # [other]
text = """
key = 1
[no]
four \\""""""
raw = \'\'\'
it's = 'it' "\'\'\'
last = 07:30:00
[[make.hosts]]
name = "a"
[make.hosts.more]
deep = 1
[[ make . "hosts" ]]
name = "b"
["a]" . 'b"c']
z = 3'''


def test_each_way_to_write_a_key_has_its_line():
    """Comments, lists over lines, strings of all four kinds, dots, quotes, arrays of tables."""
    tomllib.loads(TEXT)
    written = TEXT.split("\n")
    assert {place: written[line - 1] for place, line in lines_of(TEXT).items()} == {
        ("top",): "top = [ # a list of ]",
        ("a",): written[6],
        ("a", "b"): written[6],
        ("a", "b", "c d"): written[6],
        ("make",): "[make]  # [other]",
        ("make", "text"): 'text = """',
        ("make", "raw"): "raw = '''",
        ("make", "last"): "last = 07:30:00",
        ("make", "hosts"): "[[make.hosts]]",
        ("make", "hosts", 0): "[[make.hosts]]",
        ("make", "hosts", 0, "name"): 'name = "a"',
        ("make", "hosts", 0, "more"): "[make.hosts.more]",
        ("make", "hosts", 0, "more", "deep"): "deep = 1",
        ("make", "hosts", 1): '[[ make . "hosts" ]]',
        ("make", "hosts", 1, "name"): 'name = "b"',
        ("a]",): written[-2],
        ("a]", 'b"c'): written[-2],
        ("a]", 'b"c', "z"): "z = 3",
    }


def test_what_has_no_line_has_that_of_what_is_around_it():
    """What is in a list or an inline table; nothing is around what is not there."""
    lines = lines_of("\n[make]\nlist = [\n 1,\n {a = 1}]\n")
    assert line_of(lines, ("make", "list", 1, "a")) == 3
    assert line_of(lines, ("make", "gone")) == 2
    assert line_of(lines, ("other", "gone")) is None


def test_a_key_of_very_many_parts_is_looked_at_in_part():
    """As many as it takes to find it; the parts of a key are told one by one."""
    lines = lines_of(f"{'.'.join('a' * 100)} = 1\n")
    assert max(map(len, lines)) == 32


VALUES = (
    '""',
    "'#'",
    '"]"',
    '"""\n[x]\na = 1\n"""',
    "'''\n'\n'''",
    "[\n1, # ]\n[2]]",
    "{b = '}'}",
    "1.5",
)
KEYS = st.lists(
    st.sampled_from(["a", "b-1", '"c d"', "'='", '"#"', '"\\u005d"']), min_size=1, max_size=3
)
STATEMENTS = st.tuples(
    KEYS, st.sampled_from(VALUES), st.sampled_from(["", " # c = 1", "\n", "\n\n# [d]"])
)


@settings(max_examples=share_of(100), deadline=None)
@given(st.lists(st.lists(STATEMENTS, max_size=4), max_size=3))
def test_the_line_of_a_key_is_that_on_which_its_statement_begins(tables):
    """Of any keys and values; each is in a table of its own number, so that none is there twice."""
    text, wanted = "", {}
    for table, statements in enumerate(tables):
        wanted["t", table] = text.count("\n") + 1
        text += f"[[t]] # {table}\n"
        for number, (key, value, after) in enumerate(statements):
            wanted["t", table, f"k{number}"] = text.count("\n") + 1
            text += f" k{number}.{' . '.join(key)} = {value}{after}\n"
    tomllib.loads(text)
    lines = lines_of(text)
    assert {place: lines[place] for place in wanted} == wanted

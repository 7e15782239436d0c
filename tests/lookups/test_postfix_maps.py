"""Tables by their names in Postfix, and what is asked of postmap and made of its answers.

The programs here stand in for postmap; tests/integration asks the real one.
"""

import sys

import pytest

from demyjpy.errors import HandlerError, TableError
from demyjpy.lookups.postfix_maps import PostmapTable, check_table_name, open_table
from demyjpy.lookups.tables_files import FileTable
from demyjpy.lookups.tables_rows import Terms

KINDS = [
    ("list", "Ann\n", "ann", "Ann"),
    ("hash", "ann 1\n", "ann", "1"),
    ("texthash", "ann 1\n", "ann", "1"),
    ("cidr", "10.0.0.0/8 1\n", "10.0.0.1", "1"),
    ("regexp", "/^a(nn)/ $1\n", "ann", "nn"),
]


def always(terms):
    return True


@pytest.mark.parametrize(("kind", "text", "key", "result"), KINDS)
def test_tables_of_text_are_read_here(tmp_path, kind, text, key, result):
    """From the text, not from what postmap has made of it."""
    path = tmp_path / "table"
    path.write_text(text)
    table = open_table(f"{kind}:{path}", ("no such program",))
    assert isinstance(table, FileTable)
    assert table.find((key,), always) == result


@pytest.mark.parametrize(
    "name",
    ["", "cidr", "cidr:", "/etc/x", "CIDR:/x", "-q:/x", "a b:/x", "cidr:/x\n", "postmap:/etc/x", 5],
)
def test_what_is_no_table_is_refused(name):
    """And the error shows what one looks like."""
    with pytest.raises(HandlerError, match=r"expected (a table as KIND:FILE, such as cidr:|the name)"):
        check_table_name(name)


ANSWERS = """
import sys
assert sys.argv[1:3] == ["-q", "-"], sys.argv
known = {"b": "1", "c": "2 until=2027-01-31", "d": "3"}
for key in sys.stdin.buffer.read().decode().split("\\n"):
    if key in known:
        print(key, known[key], sep="\\t")
"""


def program(text):
    return (sys.executable, "-S", "-c", text)


def test_other_kinds_are_asked_through_postmap():
    """All keys at once; the first that is there and holds is the answer."""
    table = open_table("ldap:/etc/x", program(ANSWERS))
    assert table.find(("a", "d", "b"), always) == "3"
    assert table.find(("c",), always) == "2"
    assert table.find(("c", "b"), lambda terms: terms == Terms()) == "1"
    assert table.find(("a", "--help"), always) is None


def test_the_name_of_a_table_is_given_as_it_is():
    """Without ``postmap:``; patterns are asked for the whole key only."""
    shows = program(
        "import sys; [print(key, sys.argv[3], sep='\\t') for key in sys.stdin.read().split()]"
    )
    for name, wanted in (
        ("inline:{a=b}", "inline:{a=b}"),
        ("cidr:{{10.0.0.0/8 a}}", "cidr:{{10.0.0.0/8 a}}"),
        ("postmap:regexp:/etc/x", "regexp:/etc/x"),
    ):
        assert open_table(name, shows).find(("a",), always) == wanted
    counts = program("import sys; n = len(sys.stdin.read().split()); print('a', n, sep='\\t')")
    assert PostmapTable("pcre:/x", counts).find(("a", "b"), always) == "1"
    assert PostmapTable("ldap:/x", counts).find(("a", "b"), always) == "2"


FAILURES = [
    (
        "import sys; sys.exit('postmap: warning: x\\npostmap: fatal: open /x: No such file')",
        "got: open /x: No",
    ),
    ("import sys; sys.exit(3)", "got: exit status 3"),
    ("import os; os.kill(os.getpid(), 9)", "got: exit status -9"),
    ("print('x' * 2_000_000)", "expected an answer"),
    ("print('a', 'b percent=x', sep='\\t')", "ldap:/x: expected percent="),
]


@pytest.mark.parametrize(("text", "why"), FAILURES)
def test_postmap_may_fail(text, why):
    """Then there is no answer; what it says on its way does not count as one."""
    with pytest.raises(TableError, match=why):
        PostmapTable("ldap:/x", program(text)).find(("a",), always)


def test_a_warning_is_no_failure():
    """With status 1 nothing was found."""
    quiet = program("import sys; sys.exit('postmap: warning: a duplicate')")
    assert PostmapTable("ldap:/x", quiet).find(("a",), always) is None


def test_postmap_may_be_missing_or_late():
    """Both are failures that name it."""
    with pytest.raises(TableError, match="expected /no/postmap to run for ldap:/x, got FileNotFound"):
        open_table("ldap:/x", ("/no/postmap",))
    late = PostmapTable("ldap:/x", program("import time; time.sleep(60)"), patience=0.01)
    with pytest.raises(TableError, match=r"to answer for ldap:/x within 0.01 s"):
        late.find(("a",), always)


@pytest.mark.parametrize("key", ["a\nb", "a\0"])
def test_a_key_is_one_line(key):
    """Else it would be two questions."""
    with pytest.raises(TableError, match="a key for postmap in one line"):
        PostmapTable("ldap:/x", ("/no/postmap",)).find((key,), always)


def test_a_key_may_have_tabs():
    """Else a sender with one would get past a table of patterns."""
    rejects = program(
        "import sys; [print(f'{key}\\tREJECT\\tx') for key in sys.stdin.read().split('\\n') if key]"
    )
    table = PostmapTable("pcre:/x", rejects)
    assert table.find(('"a\tb"@x',), always) == table.find(("a",), always) == "REJECT\tx"
    table = PostmapTable("ldap:/x", program(ANSWERS))
    assert table.find(('"a\tb"@x', "a\t", "b"), always) == "1"


def test_a_line_that_answers_two_keys_is_a_failure():
    """A sender could choose which: the first part has a result, or the longer key has another."""
    says = program("import sys; 'b' in sys.stdin.read() and print('a', 'b', 'OK', sep='\\t')")
    table = PostmapTable("ldap:/x", says)
    with pytest.raises(TableError, match="keys for ldap:/x of which none begins with another and a tab"):
        table.find(("a\tb", "a"), always)
    assert table.find(("a\tb", "c"), always) == "OK"

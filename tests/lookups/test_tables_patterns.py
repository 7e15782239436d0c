"""Tables of regular expressions: regexp_table(5), with the patterns of the C library."""

import pytest

from demyjpy.lookups import tables_patterns
from demyjpy.lookups.tables_patterns import load_patterns
from demyjpy.lookups.tables_posix import PatternError, for_re2
from demyjpy.lookups.tables_rows import RowError, Terms


def lines(text):
    return text.encode().splitlines(keepends=True)


def always(terms):
    return True


def answers(text, *keys, holds=always):
    table = load_patterns(lines(text))
    return [table.find(key, holds) for key in keys]


def test_the_first_pattern_counts_in_any_case():
    """Another sign may hold it, a key is matched anywhere, and the flag i makes case count."""
    rows = "/^Ann@/i a\n~^ann@~ b\n!/@example\\.org$/ c\n/x\\/y|z !/ d\n"
    keys = ["Ann@example.org", "ANN@example.org", "x@example.com", "x/Y@example.org", "w@example.org"]
    assert answers(rows, *keys) == ["a", "b", "c", "d", None]


def test_a_result_has_what_was_in_parentheses():
    """Each group by its number; what did not take part is empty, two dollars are one."""
    rows = "/^(.*)-outgoing@(.*)$/ 550 Use ${1}@$(2) instead, $$1\n/(a)|(b)/ [$1$2]\n/^c/ $$\n"
    keys = ["List-outgoing@Example.org", "xbx", "A", "c", "\udcff-outgoing@x"]
    assert answers(rows, *keys) == [
        "550 Use List@Example.org instead, $1",
        *("[b]", "[A]", "$"),
        "550 Use \udcff@x instead, $1",
    ]


def test_a_second_pattern_must_not_match():
    """An old way to write it, that Postfix still reads."""
    assert answers("/a/!/b/ x\n/a/!!/b/ y\n", "a", "ab", "b") == ["x", "y", None]


def test_if_holds_for_what_is_in_it():
    """In each other; it is over at its endif."""
    rows = "if /a/\nif !/b/\n/c/ 1\nendif\n/d/ 2\nENDIF\n/d/ 3\n"
    assert answers(rows, "ac", "abc", "abd", "d", "acd", "x") == ["1", None, "2", "3", "1", None]


def test_terms_are_asked_for_rows_that_match():
    """They stand behind the result."""
    rows = "/a/ 1 percent=5\n/a/ 2 until=2027-01-31\n/a/ $$3\n"
    assert answers(rows, "a") == ["1"]
    assert answers(rows, "a", holds=lambda terms: terms.until != "") == ["2"]
    assert answers(rows, "a", holds=lambda terms: terms == Terms()) == ["$3"]
    asked = []
    assert answers("/a/ 1 percent=5\n", "b", holds=asked.append) == [None]
    assert asked == []


def test_a_result_may_be_empty():
    """Postfix takes it with a warning."""
    assert answers("/a/\n/b/ c\n", "a", "b") == ["", "c"]


PATTERNS = [
    # pattern, what matches, what does not
    ("^a.c$", ["abc", "a\nc"], ["abbc", "xabc", "abc\n"]),
    ("^..$", ["é", "ab"], ["éa"]),  # bytes, as Postfix has them
    ("[]a]", ["]", "a"], ["b"]),
    ("^[^]a]$", ["b"], ["]", "A"]),
    ("^[a-]$", ["-", "a"], ["b"]),
    ("^[-a]$", ["-"], ["b"]),
    ("^[+--]$", ["+", ",", "-"], ["."]),
    (r"^[\d]$", ["\\", "d"], ["1"]),
    ("^[[:digit:]x]$", ["5", "X"], ["y"]),
    ("^[[:upper:]]$", ["a", "A"], ["1"]),
    ("^[^[:space:]]$", ["a"], [" "]),
    ("^[[.a.]b[=c=]]$", ["a", "b", "c"], ["."]),
    ("^[@-[]$", ["a", "A", "["], ["\\"]),
    ("^[^\x01-\x7f\x80-ÿ]", [], ["a", "é"]),
    (r"^\w\W\s\S$", ["a- b"], ["--  ", "a-bb"]),
    (r"\bann\b", ["x ann", "ann-y"], ["xann"]),
    (r"\Bn", ["ann"], ["n"]),
    (r"\`a\'", ["a"], ["ab"]),
    (r"\d", [], ["d", "1"]),  # so it is in the C library
    (r"\D", ["d"], ["1"]),
    ("a+?b", ["b", "aab"], ["a"]),
    ("^a{2}{2}$", ["aaaa"], ["aa"]),
    ("^a{,2}$", ["", "aa"], ["aaa"]),
    ("^a{1,}$", ["a", "aaa"], [""]),
    ("^(a|b|)c$", ["ac", "c"], ["abc"]),
    ("^()$", [""], ["a"]),
    ("a)", ["a)"], ["a"]),
    ("a}", ["a}"], ["a"]),
    ("a^b|c$d", [], ["ab", "a^b"]),
    ("(a|ab)(c|bcd)", ["abcd"], ["ad"]),
    ("", ["", "a"], []),
]


@pytest.mark.parametrize(("pattern", "good", "bad"), PATTERNS)
def test_a_pattern_is_read_as_the_c_library_does(pattern, good, bad):
    """It is POSIX's, with what GNU adds."""
    found = answers(f"/{pattern}/ x\n", *good, *bad)
    assert found == ["x"] * len(good) + [None] * len(bad)


def test_with_the_flag_m_lines_count():
    """The dot and what is not in a list match no line end then."""
    assert answers("/^b$/m x\n", "a\nb\nc", "ab") == ["x", None]
    assert answers("/a.b|a[^c]b|a[^c-d]b/m x\n", "a\nb", "axb") == [None, "x"]
    assert answers("/a[^c]b/mm x\n", "a\nb") == ["x"]


BAD = [
    # a row, what the error says
    ("foo", r"/pattern/ result, if, or endif"),
    ("!", "a pattern, got nothing"),
    ("/a", "'/' at the end of the pattern"),
    ("/a\\/", "at the end of the pattern"),
    ("/a/x b", r"the flags i and m behind a pattern, got 'x' \(.*postmap:regexp:FILE"),
    ("/a/!", "a pattern, got nothing"),
    ("/a/ $x", r"a number after \$"),
    ("/(a)/ ${1", r"a number after \$"),
    ("/(a)/ $0", r"a number after \$"),
    ("/(a)/ $", r"a number after \$"),
    ("/(a)/ $" + "9" * 5000, r"a number after \$"),
    ("/(a)/ $2", r"\$1 at most, got \$2"),
    ("!/(a)/ $1", "must not match"),
    ("/a/ x until=never", "until="),
    ("/(/ x", "a closing parenthesis"),
    ("/" + "(" * 101 + "/ x", "at most 100 groups"),
    ("/*a/ x", r"something before \* to repeat"),
    ("/^*a/ x", "something before"),
    ("/a|+/ x", "something before"),
    ("/a{x}/ x", "a number of times"),
    ("/a{1/ x", "a number of times"),
    ("/a{}/ x", "a number of times"),
    ("/a{3,2}/ x", "not to be less"),
    ("/a{1001}/ x", "a pattern that RE2 can do, got"),
    (r"/(a)\1/ x", r"no \\1, which RE2 does not have"),
    (r"/\<a/ x", r"no \\<"),
    ("~a\\", "at the end of the pattern"),
    ("/[a/ x", r"a closing \], got none"),
    ("/[a-c-e]/ x", r"a - in \[\] at the beginning"),
    ("/[b-a]/ x", "from the lower to the higher"),
    ("/[Z-a]/ x", "from the lower to the higher"),
    ("/[a-[:digit:]]/ x", "got a class"),
    ("/[[:foo:]]/ x", r"one of alpha, .* in \[: :\]"),
    ("/[[:alpha/ x", r"in \[: :\]"),
    ("/[[.ab.]]/ x", "one character between"),
    ("endif", "an if before endif"),
    ("if /a/ b", "nothing behind the pattern of if"),
]


@pytest.mark.parametrize(("row", "why"), BAD)
def test_a_line_that_is_no_row_is_an_error(row, why):
    """Postfix skips most of these with a warning; the others RE2 cannot do."""
    with pytest.raises(RowError, match=why) as caught:
        load_patterns(lines(f"/ok/ OK\n{row}\n"))
    assert caught.value.line == 2


def test_a_backslash_has_something_behind_it():
    """In a table it always has: it would hide the sign that ends the pattern."""
    with pytest.raises(PatternError, match="a character after the backslash"):
        for_re2(b"a\\", ignore_case=True, newline=False)


def test_an_if_has_an_endif():
    """In the file, and nothing behind that."""
    for text, line in (("if /a/\n/b/ c\n", 1), ("if /a/\nif /b/\nendif\n", 1)):
        with pytest.raises(RowError, match="an endif for this if") as caught:
            load_patterns(lines(text))
        assert caught.value.line == line
    with pytest.raises(RowError, match="nothing behind it"):
        load_patterns(lines("if /a/\nendif x\n"))


def test_a_table_has_so_many_rows(monkeypatch):
    """Each is tried for a key that no pattern matches."""
    monkeypatch.setattr(tables_patterns, "MOST_ROWS", 2)
    assert load_patterns(lines("/a/ b\n/c/ d\n")).rows == 2
    with pytest.raises(RowError, match="line 3: expected at most 2 rows"):
        load_patterns(lines("/a/ b\n/c/ d\n/e/ f\n"))


def test_no_key_makes_a_pattern_run_for_ever():
    """Python's `re` would still be at it when the sun burns out."""
    assert answers("/^(a+)+$/ x\n", "a" * 5000 + "!") == [None]

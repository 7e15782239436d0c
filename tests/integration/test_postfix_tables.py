"""Tables answer as the real Postfix does: ``postmap -q`` is asked the same.

What Postfix skips with a warning is an error of ours. So each such line is taken out for us, Postfix
must have warned of it, and then both must say the same of all keys.
"""

import os
import re
import subprocess
from ipaddress import ip_network

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demyjpy.errors import TableError
from demyjpy.lookups.postfix_maps import LOADERS, PostmapTable
from demyjpy.lookups.tables_rows import RowError
from tests.integration.fetch_mtas import PREFIX, library_path

PROGRAM = str(PREFIX / "postfix/usr/sbin/postmap")
SOME = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Site:
    """A directory with a table, and Postfix's own configuration."""

    def __init__(self, directory):
        self.path = directory / "table"
        (directory / "main.cf").write_text("compatibility_level = 3.6\n")
        (directory / "master.cf").touch()
        self.environment = {"LD_LIBRARY_PATH": library_path(), "MAIL_CONFIG": str(directory)}
        self.environment |= {"LANG": "C", "PATH": os.environ["PATH"]}

    @property
    def command(self):
        return ("env", *(f"{name}={one}" for name, one in self.environment.items()), PROGRAM)

    def postmap(self, *arguments, keys=()):
        given = "".join(f"{key}\n" for key in keys).encode()
        done = subprocess.run(
            [PROGRAM, *arguments], input=given, capture_output=True, env=self.environment, check=False
        )
        lines = [line.partition("\t") for line in done.stdout.decode().split("\n")]
        return {key: result for key, tab, result in lines if tab}, done.stderr.decode()

    def theirs(self, kind, text, keys):
        """What Postfix says, and the lines that it warns of."""
        self.path.write_text(text)
        os.utime(self.path, (1e9, 1e9))  # it waits until a younger file has cooled down
        found, errors = self.postmap("-q", "-", f"{kind}:{self.path}", keys=keys)
        return found, {int(one) for one in re.findall(r"line (\d+)", errors)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site(tmp_path_factory.mktemp("postfix"))


def ours(kind, text, keys):
    """What we say, and the lines that we refuse."""
    lines = text.encode().splitlines(keepends=True)
    refused = set()
    while True:
        try:
            table = LOADERS[kind](lines)
        except RowError as error:
            refused.add(error.line)
            lines[error.line - 1] = b"\n"
            continue
        found = {key: table.find(key, lambda terms: True) for key in keys}
        return {key: result for key, result in found.items() if result is not None}, refused


def agree(site, kind, rows, keys):
    """Both say the same, and what we refuse, Postfix has warned of."""
    text = "".join(f"{row}\n" for row in rows)
    keys = [*dict.fromkeys(key for key in keys if key)]
    found, warned = site.theirs(kind, text, keys)
    answers, refused = ours(kind, text, keys)
    assert answers == found
    assert refused <= warned


def nested(row, condition):
    """Rows, some of them between if and endif."""
    return st.recursive(
        st.lists(row, max_size=5),
        lambda inside: st.builds(
            lambda before, first, within, after: [*before, first, *within, "endif", *after],
            *(inside, condition, inside, inside),
        ),
        max_leaves=4,
    )


SIGNS = st.sampled_from(["", "", "", "!", "!!", "! "])

# --------------------------------------------------------------------------------------- networks
ADDRESSES = st.one_of(
    st.builds("{}.{}.{}.{}".format, *[st.sampled_from([0, 10, 128, 192])] * 4),
    st.sampled_from(["2001:db8::", "2001:DB8:0::1", "::", "::1", "fe80::", "::ffff:10.0.0.1"]),
)


@st.composite
def networks(draw):
    """A network as it may be written, and sometimes as it may not."""
    address = draw(ADDRESSES)
    longest = 128 if ":" in address else 32
    length = draw(st.sampled_from([0, 1, 8, 9, 16, 24, 31, longest]))
    network = str(ip_network(f"{address}/{length}", strict=False))
    forms = [address, network, f"[{network}]", "[{}]/{}".format(*network.split("/"))]
    wrong = [f"{address}/{length}", f"{network}x", f"{address}/", f"[{network}", f"{address}/129"]
    return draw(st.sampled_from([*forms * 3, *wrong]))


NETWORK_ROWS = nested(
    st.one_of(
        st.builds("{}{} {}".format, SIGNS, networks(), st.sampled_from(["a", "b  c \r"])),
        st.sampled_from(["# c", "", "garbage", "10.0.0.0/8", "\t"]),
    ),
    st.builds("{} {}{} ".format, st.sampled_from(["if", "IF"]), SIGNS, networks()),
)


@SOME
@given(rows=NETWORK_ROWS, keys=st.lists(ADDRESSES, min_size=5, max_size=30))
def test_networks_as_postfix_has_them(site, rows, keys):
    """cidr_table(5)."""
    agree(site, "cidr", rows, [*keys, "10.0.0", "x", "10.0.0.010"])


# ------------------------------------------------------------------------------------------- texts
LETTERS = [
    "a",
    "B",
    "Ab",
    "x@example.org",
    "é",
    "É",
    "ß",
    "SS",
    "\u0131",
    "İ",
    "Σ",
    "ς",
    "ﬁ",
    "a:",
    "a#",
    "\xa0",
    "\\",
    "a\\",
    '"',
    'a"b',
]
TEXT_KEYS = st.builds(
    "{}{}".format,
    st.sampled_from([*LETTERS, '"a b"', "a\\ b"]),
    st.sampled_from(["", "", "x", ".y"]),
)
TEXT_ROWS = st.lists(
    st.one_of(
        st.builds(
            "{}{}{}".format,
            *(
                TEXT_KEYS,
                st.sampled_from([" ", "\t", " \v "]),
                st.sampled_from(["OK", "x y ", "\xa0", "a #\r"]),
            ),
        ),
        st.sampled_from(["# c", " # c", "", " ", "key", "\r"]),
    ),
    max_size=12,
).map(lambda rows: ["first row", " goes on", *rows])


@SOME
@given(rows=TEXT_ROWS, keys=st.lists(TEXT_KEYS, min_size=5, max_size=30))
def test_texts_as_postfix_has_them(site, rows, keys):
    """postmap(1), as texthash reads it."""
    agree(site, "texthash", rows, [*keys, *map(str.upper, keys), "first"])


def test_a_hash_is_what_postmap_makes_of_its_text(site):
    """Ours reads the text, theirs what it has made of it."""
    keys = ["ann@example.org", "ANN@Example.ORG", "bob", '"a b"@x', "carol"]
    text = 'Ann@example.org 1\n 2\nbob 3\nBob 4\n# c\n"a b"@x 5\n'
    site.path.write_text(text)
    site.postmap(f"hash:{site.path}")
    found, _ = site.postmap("-q", "-", f"hash:{site.path}", keys=keys)
    assert found == ours("hash", text, keys)[0]
    assert len(found) == 4


# ---------------------------------------------------------------------------------------- patterns
ATOMS = st.one_of(
    st.sampled_from(
        [*"abcABZ@1-_ é.^$)}]", "\\.", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\b", "\\B"]
    ),
    st.sampled_from(
        ["[abc]", "[^a]", "[a-c]", "[]a]", "[^]a]", "[a-]", "[-a]", "[+--]", "[@-[]", "[A-_]"]
    ),
    st.sampled_from(
        ["[[:alpha:]]", "[[:digit:]x]", "[^[:space:]]", "[[:upper:]]", "[^[:lower:]]", "[é]"]
    ),
    st.sampled_from(
        ["[[.a.]]", "[[=b=]]", "[\\d]", "[_-a]", "[Z-a]", "[a-c-e]", "[[:foo:]]", "[a", "("]
    ),
)
REPEATS = st.sampled_from(
    ["", "", "", "", "*", "+", "?", "{2}", "{1,2}", "{,2}", "**", "+?", "{2,1}", "{x}"]
)
PIECES = st.builds("{}{}".format, ATOMS, REPEATS)
BRANCHES = st.lists(PIECES, max_size=4).map("".join)
GROUPS = st.recursive(
    BRANCHES,
    lambda inside: st.builds("({}|{}){}{}".format, inside, inside, REPEATS, BRANCHES),
    max_leaves=4,
)
FLAGS = st.sampled_from(["", "", "", "i", "m", "im", "z"])
PATTERNS = st.builds("/{}{}/{}".format, st.sampled_from(["", "^"]), GROUPS, FLAGS)
PATTERN_ROWS = nested(
    st.one_of(
        st.builds("{}{} {}".format, SIGNS, PATTERNS, st.sampled_from(["r", "a$$b", "$x", "$", "${1"])),
        # groups that can take part in one way only
        st.builds("/({})@({})/ {}".format, ATOMS, ATOMS, st.sampled_from(["<$1>", "${2}x$(1)", "$3"])),
        st.builds("{}!{} {}".format, PATTERNS, PATTERNS, st.just("r")),
        st.sampled_from(["# c", "", "foo", "/a"]),
    ),
    st.builds("if {}{}".format, SIGNS, PATTERNS),
)
SUBJECTS = st.lists(st.sampled_from("aabbccABZ@@.1-_ \\d/[]x"), min_size=1, max_size=6).map("".join)


@SOME
@given(rows=PATTERN_ROWS, keys=st.lists(SUBJECTS, min_size=5, max_size=40))
def test_patterns_as_postfix_has_them(site, rows, keys):
    """regexp_table(5): whether they match, and what groups hold if there is one way."""
    agree(site, "regexp", rows, keys)


def test_patterns_match_bytes(site):
    """Also those of other letters, whose case counts."""
    rows = ["/^..é$/ two", "/^É/ upper", "/^[é]/ one of its bytes"]
    agree(site, "regexp", rows, ["abé", "ébé", "éé", "É", "é", "ê", "x"])


# ----------------------------------------------------------------------------------------- postmap
def test_postmap_answers_for_other_kinds(site):
    """An inline table, one that is not there, and one that is no kind."""

    def find(name, *keys):
        return PostmapTable(name, site.command).find(keys, lambda terms: True)

    inline = "inline:{{ann@example.org=a b}, {example.org=OK}, {-q=x}}"
    assert find(inline, "bob@example.org", "example.org") == "OK"
    assert find(inline, "ann@example.org") == "a b"
    assert find(inline, "-q") == "x"
    assert find(inline, "carol") is None
    site.path.write_text("/@evil/ REJECT\n")
    assert find(f"regexp:{site.path}", '"a\tb"@evil') == "REJECT"
    with pytest.raises(TableError, match="expected an answer from env for nokind:/x, got: "):
        find("nokind:/x", "x")

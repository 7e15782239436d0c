"""A settings file: what is read, and what is said of one that cannot be."""

import os
from pathlib import Path

import pytest

from demyjpy.errors import SettingsError
from demyjpy.settings.toml_file import LARGEST, read_settings


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a settings file into the current directory, and gives its name."""
    monkeypatch.chdir(tmp_path)

    def file(content: str | bytes) -> str:
        Path("rules.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
        return "rules.toml"

    return file


def test_tables_are_read_and_have_lines(file):
    """Also with a byte order mark, and with lines that end as on Windows."""
    found = read_settings(file('\ufeff# x\r\n[make]\r\na = 1\r\nb = """\r\nx"""\r\n'))
    assert found.tables == {"make": {"a": 1, "b": "x"}}
    assert found.table("make") == {"a": 1, "b": "x"}
    assert found.table("other") == {}
    assert found.where("make", "b") == "rules.toml:4"
    assert found.where("other") == "rules.toml"
    assert "x" not in repr(found).replace("SettingsFile(path='rules.toml')", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = 1\nb = \xff\n", "rules.toml:2: expected UTF-8, got the byte 0xff"),
        ("a = 1\nb = \n", "rules.toml:2: expected TOML, got: Invalid value (column 5)"),
        ("a = 1\nb = [", "rules.toml:2: expected TOML, got: Invalid value"),
        ("a = 1\na = 2\n", "rules.toml:2: expected TOML, got: Cannot overwrite a value (column 6)"),
        ("a = '\x1b'", "rules.toml:1: expected TOML, got: Found invalid character '\\x1b' (column 6)"),
        ("password = hunter2\n", "rules.toml:1: expected TOML, got: Invalid value (column 12)"),
        (f"a = {'1' * 5000}\n", "rules.toml: expected TOML, got: Exceeds the limit (4300 digits)"),
        (f"a = {'[' * 100_000}", "expected settings in rules.toml, got lists in lists, too deep"),
        (b"#" * LARGEST + b"\n", f"expected settings in rules.toml, at most {LARGEST} bytes, got more"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(file, content, said):
    """Never what a value is."""
    with pytest.raises(SettingsError) as raised:
        read_settings(file(content))
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gone.toml", "expected settings in gone.toml, got: No such file or directory"),
        (".", "expected settings in ., got: Is a directory"),
        ("a\0b", "expected settings in a\\x00b, got: embedded null byte"),
        ("~/x\n", "expected settings in ~/x\\n, got: No such file or directory"),
        ("/dev/zero", f"expected settings in /dev/zero, at most {LARGEST} bytes, got more"),
    ],
)
def test_what_is_no_file_is_told(tmp_path, monkeypatch, path, said):
    """On one line; a tilde is no home, and what never ends is not read to its end."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as raised:
        read_settings(path)
    assert said in str(raised.value)
    assert str(raised.value).isprintable()


def test_what_may_not_be_read_is_told(file):
    """As any other file."""
    path = file("")
    Path(path).chmod(0)
    if os.access(path, os.R_OK):  # for root nothing is forbidden
        Path(path).unlink()
        Path(path).symlink_to(path)
    with pytest.raises(
        SettingsError, match=r"got: (Permission denied|Too many levels of symbolic links)"
    ):
        read_settings(path)


@pytest.mark.parametrize(
    ("content", "used", "said"),
    [
        (
            "[make]\n[mke]\n",
            ["make"],
            "2: expected only tables of the filters ([make]), got the table [mke]; did you mean [make]?",
        ),
        (
            "[a]\n[b]\n[c]",
            ["a", "b"],
            "3: expected only tables of the filters ([a], [b]), got the table [c]",
        ),
        (
            "\nmake.a = 1\nx = 1",
            ["make"],
            "3: expected only tables of the filters ([make]), got a whole number, x, outside of them",
        ),
        (
            '["a\\u001b"]',
            [],
            '1: expected no settings, because none of the filters takes any, got the table ["a\\x1b"]',
        ),
    ],
)
def test_a_table_that_nobody_uses_is_an_error(file, content, used, said):
    """It may be a name with a mistake in it."""
    found = read_settings(file(content))
    with pytest.raises(SettingsError) as raised:
        found.refuse_others(used)
    assert str(raised.value) == f"rules.toml:{said}"


def test_tables_that_are_used_are_no_error(file):
    """Nor one that is used and not there."""
    read_settings(file("[a]\n[b]")).refuse_others(["a", "b", "c"])


def test_what_is_no_table_is_an_error(file):
    """Of a name that one should have."""
    with pytest.raises(SettingsError) as raised:
        read_settings(file("\n[[make]]\n")).table("make")
    assert str(raised.value) == "rules.toml:2: expected the table [make], got a list of that name"

"""Tables follow their files: loaded again when they change, and never left without rows."""

import logging
import os
import threading

import pytest

from demyjpy.drivers.births import Births
from demyjpy.errors import TableError
from demyjpy.lookups import tables_files
from demyjpy.lookups.tables_files import FileTable
from demyjpy.lookups.tables_texts import load_texts


class Site:
    """A file, and the clocks by which its table looks at it. All it writes is an hour old."""

    def __init__(self, path):
        self.path, self.clock, self.wall, self.written = path, 0.0, 10_000.0, 0
        self.looked = 0

    def write(self, text, age=3600):
        self.path.write_bytes(text.encode())
        self.written += 1
        when = self.wall - age + self.written / 1000
        os.utime(self.path, (when, when))

    def table(self, load=load_texts):
        return FileTable("blocked", str(self.path), load, lambda: self.clock, lambda: self.wall)


@pytest.fixture
def site(tmp_path):
    found = Site(tmp_path / "blocked")
    found.write("a 1\n")
    return found


def find(table, key="a"):
    return table.find((key,), lambda terms: True)


def test_a_changed_file_is_loaded_again(site, caplog):
    """At the first question a second after the last look; the log says so."""
    table = site.table()
    site.write("a 2\nb 3\n")
    assert find(table) == "1"
    site.clock = 0.9
    assert find(table) == "1"
    site.clock = 1.0
    with caplog.at_level(logging.INFO, "demyjpy"):
        assert (find(table), find(table, "b")) == ("2", "3")
    assert caplog.messages == ["the table blocked was loaded again: 2 rows"]


def test_a_file_that_has_not_changed_is_not_read(site):
    """Only its status is looked at."""
    read = []

    def load(lines):
        read.append(1)
        return load_texts(lines)

    table = site.table(load)
    for site.clock in range(5):
        assert find(table) == "1"
    assert len(read) == 1


def test_a_file_that_takes_the_place_of_another_is_seen(site, tmp_path):
    """Even with the same size and time, as a file that is written beside and renamed may have."""
    table = site.table()
    other = tmp_path / "other"
    other.write_text("a 2\n")
    before = site.path.stat()
    os.utime(other, ns=(before.st_mtime_ns, before.st_mtime_ns))
    other.replace(site.path)
    site.clock = 1
    assert find(table) == "2"


@pytest.mark.parametrize("age", [0.5, 0])
def test_a_file_that_is_still_written_is_left_for_later(site, age):
    """Who writes into the file itself has a second; a time in the future is not waited for."""
    table = site.table()
    site.write("a 2\n", age=age)
    site.clock = 1
    assert find(table) == ("1" if age else "2")  # with 0 it is a moment ahead of the clock
    site.clock, site.wall = 2, site.wall + 1
    assert find(table) == "2"


def test_a_broken_version_changes_nothing(site, caplog):
    """One line says where and why, however often it is asked; the next good one is used."""
    table = site.table()
    site.write("a 2\nb\n")
    for site.clock in range(1, 4):
        assert find(table) == "1"
    why = f"{site.path}:2: expected a key, a space and a result, got no result"
    assert caplog.messages == [f"the table blocked was not loaded again and stays as it was: {why}"]
    site.write("a 3\n")
    site.clock = 4
    assert find(table) == "3"
    site.write("b\n")
    site.clock = 5
    assert find(table) == "3"
    assert len(caplog.messages) == 2


def test_a_file_that_goes_away_changes_nothing(site, caplog):
    """Until it is there again."""
    table = site.table()
    site.path.unlink()
    for site.clock in range(1, 4):
        assert find(table) == "1"
    why = f"expected to read {site.path}, got FileNotFoundError: No such file or directory"
    assert caplog.messages == [f"the table blocked was not loaded again and stays as it was: {why}"]
    site.write("a 2\n")
    site.clock = 4
    assert find(table) == "2"


def test_a_large_file_is_loaded_in_a_thread_of_its_own(site):
    """Who asks has an answer at once, from the rows before; one is loaded at a time."""
    go_on, loads = threading.Event(), []

    def load(lines):
        assert not loads or go_on.wait(10)
        loads.append(threading.current_thread())
        return load_texts(lines)

    table = FileTable("x", str(site.path), load, lambda: site.clock, lambda: site.wall, at_once=3)
    site.write("a 2\n")
    for site.clock in (1, 2, 3):
        assert find(table) == "1"
    go_on.set()
    (thread,) = [one for one in threading.enumerate() if one.name == "demyjpy-table"]
    thread.join(10)
    assert (find(table), len(loads)) == ("2", 2)
    site.write("a 3")  # three bytes are not large
    site.clock = 4
    assert find(table) == "3"
    assert loads[2] is threading.current_thread()


def test_without_a_thread_a_large_file_is_left_for_later(site, caplog, monkeypatch):
    """The log says so, and the next time it is tried again."""
    table = FileTable("x", str(site.path), load_texts, lambda: site.clock, lambda: site.wall, at_once=0)
    site.write("a 2\n")
    births = Births()
    births.end()
    with monkeypatch.context() as patched:
        patched.setattr(tables_files, "BIRTHS", births)
        for site.clock in (1, 2):
            assert find(table) == "1"
    assert [one.partition(": ")[2] for one in caplog.messages] == [
        "there is no thread to load it: can't start new thread: the program ends"
    ]
    site.clock = 3
    find(table)
    for one in threading.enumerate():
        if one.name == "demyjpy-table":
            one.join(10)
    assert find(table) == "2"


def test_what_nobody_expects_while_it_loads_changes_nothing(site, caplog):
    """Memory that is not there, or a fault of ours: the rows stay, and it is not tried each time."""
    loads = []

    def load(lines):
        loads.append(1)
        if len(loads) > 1:
            raise MemoryError
        return load_texts(lines)

    table = site.table(load)
    site.write("a 2\n")
    for site.clock in range(1, 4):
        assert find(table) == "1"
    assert len(loads) == 2
    assert "MemoryError" in caplog.text


def test_while_one_loads_the_others_get_answers(site):
    """From the version before; nobody waits."""
    loading, go_on = threading.Event(), threading.Event()
    first = []

    def load(lines):
        if first:
            loading.set()
            assert go_on.wait(10)
        first.append(1)
        return load_texts(lines)

    table = site.table(load)
    site.write("a 2\n")
    site.clock = 1
    found = []
    thread = threading.Thread(target=lambda: found.append(find(table)))
    thread.start()
    assert loading.wait(10)
    assert find(table) == "1"
    go_on.set()
    thread.join(10)
    assert found == ["2"]


def test_a_table_that_cannot_be_loaded_at_first_is_an_error(site, tmp_path):
    """No file, a directory, a pipe, a bad line."""
    site.path.write_text("a 1\nb\n")
    with pytest.raises(TableError, match=rf"^{site.path}:2: expected a key"):
        site.table()
    site.path.unlink()
    with pytest.raises(TableError, match="FileNotFoundError: No such file or directory"):
        site.table()
    os.mkfifo(site.path)
    with pytest.raises(TableError, match="expected a regular file, got another kind"):
        site.table()


def test_a_file_has_so_many_bytes(site, monkeypatch):
    """Also in one line."""
    monkeypatch.setattr(tables_files, "LARGEST_FILE", 8)
    site.path.write_text("a 1\nb 2\n")
    assert find(site.table(), "b") == "2"
    for text in ("a 1\nb 2\n\n", "a" * 1000):
        site.path.write_text(text)
        with pytest.raises(TableError, match="expected a file of at most 8 bytes"):
            site.table()


def test_patterns_are_asked_for_the_whole_key_only(site):
    """Plain keys for each, in order."""

    class Patterns:
        has_patterns, rows = True, 1

        def find(self, key, holds):
            return "found" if key == "b" else None

    assert site.table(lambda lines: Patterns()).find(("a", "b"), lambda terms: True) is None
    site.write("b 2\nc 3\n")
    assert site.table().find(("a", "c", "b"), lambda terms: True) == "3"


def test_without_re2_the_error_says_what_to_install(site):
    """Only tables of regular expressions need it."""

    def load(lines):
        raise ImportError("no module named re2")

    with pytest.raises(TableError, match=f"^{site.path}: no module named re2"):
        site.table(load)


def test_a_table_is_renewed_at_once(site, caplog):
    """Without waiting for a second, if its file has changed; one that cannot be loaded is an error."""
    table = site.table()
    table.renew()
    site.write("a 2\n", age=0.1)
    table.renew()
    assert find(table) == "2"
    site.write("a\n")
    with pytest.raises(TableError, match=rf"^{site.path}:1: expected a key"):
        table.renew()
    site.path.unlink()
    with pytest.raises(TableError, match="FileNotFoundError"):
        table.renew()
    assert find(table) == "2"
    assert not caplog.messages

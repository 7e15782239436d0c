"""The directory of effects: who has which files, and where they go."""

import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from demyjpy.drivers import effect_journal
from demyjpy.drivers.effect_files import DONE, FAILED, EffectFile
from demyjpy.drivers.effect_journal import Journal, Keeper
from demyjpy.errors import HandlerError
from tests.disks import fill, small_disk
from tests.drivers.test_effect_files import MESSAGE, Effect, requested


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where effects are kept; it is not there yet."""
    return tmp_path / "effects"


def room() -> bool:
    """There is always more."""
    return True


def files(directory: Path) -> list[str]:
    """All files there, by their paths without names that are chance."""
    return sorted(
        "/".join(part for part in path.relative_to(directory).parts if len(part) != 16)
        for path in directory.rglob("*")
        if path.is_file()
    )


def keep(journal: Journal, *effects: Any) -> EffectFile:
    """These are kept for one message."""
    due = requested(*effects)
    journal.keeper(due, "s").keep()
    found = [journal.take(one) for one in due]
    assert journal.take(due[0]) is None
    assert found[0] is not None
    return found[0][0]


def left(journal: Journal) -> list[EffectFile]:
    """All that others have left."""
    return list(journal.left(room))


def test_files_are_for_their_owner_only_and_have_numbers_as_names(directory: Path) -> None:
    """So is the directory; nothing of a mail is in a name."""
    journal = Journal(directory)
    keep(journal, Effect(MESSAGE))
    assert files(directory) == ["000000000001.effects"]
    for path in (directory, *directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    journal.close()


def test_a_file_is_synced_before_it_has_its_name_and_its_directory_after(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is there after a loss of power, and whole."""
    journal = Journal(directory)
    done: list[str] = []
    sync, rename = os.fsync, os.rename

    def noted_sync(descriptor: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def noted_rename(name: str, new: str, **where: int) -> None:
        done.append("rename")
        rename(name, new, **where)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    keep(journal, Effect(1))
    assert done == ["file", "rename", "directory"]
    done.clear()
    other = Journal(directory)
    assert done == ["rename", "directory"]
    other.close()
    journal.close()


def test_a_directory_that_was_never_finished_goes(directory: Path) -> None:
    """Its process has ended; one that is being made stays."""
    Journal(directory).close()
    stale, held = directory / f".{'0' * 16}.new", directory / f".{'1' * 16}.new"
    for path in (stale, held):
        path.mkdir()
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    Journal(directory).close()
    assert list(directory.iterdir()) == [held]
    os.close(descriptor)
    Journal(directory).close()
    assert list(directory.iterdir()) == []


def test_one_whose_directory_another_takes_for_left_makes_a_new_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for ever."""
    rename, left_to_fail = os.rename, [1] * 2

    def fail(name: str, new: str, **where: int) -> None:
        if left_to_fail:
            left_to_fail.pop()
            os.rmdir(name, dir_fd=where["src_dir_fd"])
        rename(name, new, **where)

    monkeypatch.setattr(os, "rename", fail)
    Journal(directory).close()
    assert list(directory.iterdir()) == []
    left_to_fail.extend([1] * 10)
    with pytest.raises(HandlerError, match="No such file"):
        Journal(directory)
    assert len(left_to_fail) == 5


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_directory_that_others_read_is_refused(mode: int, directory: Path) -> None:
    """The error says what to do."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(HandlerError, match=f"got mode {mode:o}: chmod 700 {directory}"):
        Journal(directory)


def test_a_directory_of_another_user_is_refused(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes there says what is done. A link to it is no way around."""
    directory.mkdir(0o700)
    (tmp_path / "link").symlink_to(directory)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    for path in (directory, tmp_path / "link"):
        with pytest.raises(HandlerError, match=f"got {owner}: if .*, chown -R {owner + 1} {path}"):
            Journal(path)
    assert list(directory.iterdir()) == []


def test_one_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """With what the system said."""
    with pytest.raises(HandlerError, match="expected a directory for effects=, got "):
        Journal(tmp_path / "gone" / "effects")
    (tmp_path / "file").touch(0o600)
    with pytest.raises(HandlerError, match="File exists"):
        Journal(tmp_path / "file")


def test_what_is_done_goes(directory: Path) -> None:
    """With the last effect of the message; until then it is marked. Then nothing is left."""
    journal = Journal(directory)
    file = keep(journal, Effect(1), Effect(2))
    journal.settle(file, 0, DONE)
    assert files(directory) == ["000000000001.effects"]
    journal.settle(file, 1, DONE)
    assert files(directory) == []
    journal.close()
    assert list(directory.iterdir()) == []


def test_what_has_failed_is_put_aside_and_can_be_freed(directory: Path) -> None:
    """With the last of its message; of one that is moved back the failed ones are done again."""
    for number in (1, 2):
        journal = Journal(directory)
        file = left(journal)[0] if number == 2 else keep(journal, Effect(1), Effect(2), Effect(3))
        assert [one.number for one in file.waiting] == ([1] if number == 2 else [0, 1, 2])
        for one in file.waiting:
            journal.settle(file, one.number, FAILED if one.number == 1 else DONE)
        (path,) = (directory / "failed").iterdir()
        path.rename(directory / path.name)
        journal.close()
    journal = Journal(directory)
    (file,) = left(journal)
    journal.settle(file, 1, DONE)
    assert left(journal) == []
    journal.close()
    assert [path.name for path in directory.iterdir()] == ["failed"]


def test_nobody_has_what_another_has(directory: Path) -> None:
    """Only when that one has ended; then all of it, in order."""
    first, second = Journal(directory), Journal(directory)
    kept = [keep(first, Effect(number)) for number in range(12)]
    assert left(second) == []
    first.close()
    found = left(second)
    assert [one.name for one in found] == [one.name for one in kept]
    assert [one.directory.name for one in found] == [kept[0].directory.name] * 12
    assert left(second) == []
    third = Journal(directory)
    assert left(third) == []
    for one in found:
        second.settle(one, 0, DONE)
    assert left(second) == []
    second.close()
    third.close()
    assert list(directory.iterdir()) == []


def test_they_are_taken_while_there_is_room(directory: Path) -> None:
    """The others later."""
    first, second = Journal(directory), Journal(directory)
    for number in range(3):
        keep(first, Effect(number))
    first.close()
    rooms = [True, True, False, True, True, True]
    found = [[one.name for one in second.left(lambda: rooms.pop(0))] for _ in range(2)]
    assert [len(one) for one in found] == [2, 1]
    second.close()


def test_nothing_is_kept_if_too_much_waits(directory: Path) -> None:
    """The message is refused for now."""
    journal = Journal(directory, lambda: True)
    with pytest.raises(HandlerError, match="expected fewer effects that wait to be done"):
        journal.keeper(requested(Effect(1)), "s").keep()
    assert files(directory) == []
    journal.close()


def test_what_could_not_be_kept_leaves_nothing(directory: Path) -> None:
    """An effect that is no data."""
    journal = Journal(directory)
    with pytest.raises(HandlerError, match="to hold data only"):
        journal.keeper(requested(Effect(1), Effect(object())), "s").keep()
    assert files(directory) == []
    journal.close()


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """Nothing of it is left; with room it can be kept."""
    with small_disk(tmp_path / "disk") as disk:
        journal = Journal(disk / "effects")
        filler = fill(disk)
        due = requested(Effect(MESSAGE))
        with pytest.raises(OSError, match="No space left"):
            journal.keeper(due, "s").keep()
        filler.unlink()
        assert files(disk / "effects") == []
        keep(journal, Effect(MESSAGE))
        journal.close()


def test_what_is_left_early_is_not_kept(directory: Path) -> None:
    """Whether it was written already or not; leaving it again does nothing."""
    journal = Journal(directory)
    due = requested(Effect(1))
    for is_first in (True, False):
        keeper = journal.keeper(due, "s")
        for act in (keeper.leave, keeper.keep) if is_first else (keeper.keep, keeper.leave):
            act()
        assert journal.take(due[0]) is None
        assert files(directory) == []
        keeper.leave()
    journal.close()


def test_what_is_left_late_leaves_to_others_what_they_have_kept(directory: Path) -> None:
    """Under the same key: another keeper was quicker."""
    journal = Journal(directory)
    due = requested(Effect(1))
    slow, quick = (journal.keeper(due, "s") for _ in range(2))
    slow.leave()
    quick.keep()
    slow.keep()
    slow.leave()
    ((file, _),) = quick.take()
    assert files(directory) == [file.name]
    journal.close()


def test_what_was_never_finished_goes_and_what_is_unknown_stays(directory: Path) -> None:
    """A part was of a message that was never answered."""
    first, second = Journal(directory), Journal(directory)
    home = keep(first, Effect(1)).directory.name
    for name in ("000000000002.part", "notes.txt", "x.effects"):
        (directory / home / name).write_text("x")
    (directory / "notes.txt").write_text("x")
    (directory / "other").mkdir()
    first.close()
    (file,) = left(second)
    second.settle(file, 0, DONE)
    assert left(second) == []
    second.close()
    assert files(directory) == ["notes.txt", "notes.txt", "x.effects"]


def test_a_damaged_file_is_set_aside(directory: Path, log: Any) -> None:
    """The log has one line; the others are done."""
    first, second = Journal(directory), Journal(directory)
    files_of_first = [keep(first, Effect(number)) for number in range(2)]
    home = directory / files_of_first[0].directory.name
    (home / files_of_first[0].name).write_bytes(b"torn")
    first.close()
    assert [one.name for one in left(second)] == [files_of_first[1].name]
    aside = directory / f"{home.name}-{files_of_first[0].name}.bad"
    assert aside.read_bytes() == b"torn"
    said = "expected a file of effects, got a damaged one: 4 bytes"
    assert log.take_one() == f"effects are not done, and set aside as {aside}: {said}"
    second.close()


def test_what_is_no_file_of_effects_stops_no_other(directory: Path, log: Any) -> None:
    """A pipe and directories, also where somebody moves files: each is set aside."""
    first, second = Journal(directory), Journal(directory)
    kept = keep(first, Effect(1))
    home = directory / kept.directory.name
    os.mkfifo(home / "000000000000.effects")
    os.mkfifo(directory / "x.effects")
    for path in (home / "000000000009.part", home / "000000000009.effects"):
        path.mkdir()
    first.close()
    assert [one.name for one in left(second)] == [kept.name]
    lines = sorted(line.rpartition(".bad: ")[2] for line in log.take())
    assert lines[0].startswith("IsADirectoryError: [Errno 21]")
    assert lines[1:] == ["expected a file of effects, got a damaged one: no regular file"] * 3
    assert len(list(directory.glob("*.bad"))) == 4
    second.close()


@pytest.mark.parametrize("error", [ZeroDivisionError, MemoryError])
def test_an_error_that_nobody_has_foreseen_stops_no_other(
    error: type[Exception], directory: Path, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is set aside; for want of memory it is tried again."""

    def fail(*_: Any) -> EffectFile:
        monkeypatch.undo()
        raise error("odd")

    first, second = Journal(directory), Journal(directory)
    kept = [keep(first, Effect(number)) for number in range(2)]
    first.close()
    monkeypatch.setattr(effect_journal, "read_effects", fail)
    if error is MemoryError:
        with pytest.raises(OSError, match="cannot be read: odd"):
            left(second)
        assert {one.name for one in left(second)} == {one.name for one in kept}
    else:
        assert [one.name for one in left(second)] == [kept[1].name]
        assert log.take_one().endswith(f"{kept[0].name}.bad: ZeroDivisionError: odd")
    second.close()


def test_a_file_that_cannot_be_read_comes_again_and_stops_no_other(directory: Path) -> None:
    """As one that is a link: nobody follows it. One that has gone is forgotten."""
    journals = [Journal(directory) for _ in range(3)]
    first, second, other = journals
    kept = [keep(first, Effect(number)) for number in range(3)] + [keep(second, Effect(3))]
    path, gone = (directory / one.directory.name / one.name for one in kept[:2])
    path.rename(directory / "moved")
    path.symlink_to(directory / "moved")
    first.close()
    second.close()
    found: list[EffectFile] = []
    for _ in range(2):
        with pytest.raises(OSError, match=f"{path} cannot be read: "):
            found.extend(other.left(room))
        gone.unlink(missing_ok=True)
    assert {one.effects[0].key for one in found} == {one.effects[0].key for one in kept[2:]}
    (directory / "moved").rename(path)
    assert [other.path_of(one) for one in left(other)] == [path]
    other.close()


def test_a_file_that_could_not_be_read_just_now_comes_again(directory: Path) -> None:
    """At the next look, and not in the same one."""
    first, second = Journal(directory), Journal(directory)
    keep(first, Effect(1))
    first.close()
    for _ in range(2):
        (file,) = left(second)
        second.put_off(file, is_passing=True)
    assert [one.name for one in left(second)] == [file.name]
    assert left(second) == []
    second.close()


def test_what_nobody_can_do_is_given_once_more_if_asked_for(directory: Path) -> None:
    """And not before; one of our own has nobody to be given by."""
    first, second = Journal(directory), Journal(directory)
    keep(first, Effect(1))
    first.close()
    (file,) = left(second)
    second.put_off(file)
    second.put_off(keep(second, Effect(2)))
    assert left(second) == []
    second.try_again()
    assert [one.name for one in left(second)] == [file.name]
    second.close()


def test_one_who_ends_just_now_is_no_matter(directory: Path) -> None:
    """Its directory was removed after it was opened, and before it was claimed."""
    first, second = Journal(directory), Journal(directory)
    name = first._own.name
    first.close()
    (directory / name).mkdir()
    second._claim(name)
    (directory / name).rmdir()
    assert left(second) == []
    second._claim("0" * 16)
    second.close()
    assert list(directory.iterdir()) == []


def test_many_keep_at_once(directory: Path) -> None:
    """Each in a file of its own."""
    journal = Journal(directory)
    keepers = [Keeper(journal, tuple(requested(Effect(number))), "s") for number in range(20)]
    threads = [threading.Thread(target=one.keep) for one in keepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(directory)) == 20
    journal.close()

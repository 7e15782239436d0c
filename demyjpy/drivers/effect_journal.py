"""The directory of ``effects=``: who of all processes has which files, and where they go.

Each process that serves makes a directory of its own in it, with a random name, and holds a lock on
that, which the system gives up when the process ends, however it ends. In it lie its files, with numbers
as names, so nothing of a mail is in a name. Whoever gets the lock of a directory that another has left
does what is in it. What cannot be read goes to ``*.bad``, what was tried often enough to ``failed/``; a
file from there that is moved up into the directory is done again. What this module does not know it
leaves. What is in a file is `demyjpy.drivers.effect_files`; when effects are performed is not known
here.
"""

import fcntl
import itertools
import os
import re
import secrets
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import define, field

from demyjpy.drivers.effect_files import (
    FAILED,
    WAITS,
    Directory,
    EffectFile,
    KeptEffect,
    read_effects,
    write_effects,
)
from demyjpy.drivers.loading import why
from demyjpy.drivers.report import log
from demyjpy.engine.connection import Requested
from demyjpy.errors import HandlerError

_HOME: Final = re.compile(r"[0-9a-f]{16}")
_FILE: Final = re.compile(r"[0-9]{12}\.effects")
_NEW: Final = re.compile(r"\.[0-9a-f]{16}\.new")
_ATTEMPTS: Final = 5  # to make a directory of our own: another that starts may take one for left
_PART: Final = re.compile(r"[0-9]{12}\.part")
_FREED: Final = re.compile(r"[0-9A-Za-z-]{1,80}\.effects")
"""A file in the directory itself: somebody has moved it there to have it done again."""
_FAILED_ONES: Final = "failed"


@define(eq=False)
class _Left:
    """A directory that another process has left: the names of files that nobody has looked at yet."""

    directory: Directory
    names: "deque[str]"
    put_off: list[str] = field(factory=list)
    """Files that nobody here can do."""
    later: list[str] = field(factory=list)
    """Files that could not be read just now: for the next look."""


class Journal:
    """Keeps effects in a directory; ``is_full`` says that no more may wait.

    `HandlerError` says why that directory cannot be used.
    """

    def __init__(self, path: Path, is_full: Callable[[], bool] = lambda: False) -> None:
        self.path, self._is_full = path, is_full
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            self._root = Directory(".", os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            self._check_owner(os.fstat(self._root.descriptor))
            self._own = self._make_home()
        except OSError as error:
            raise HandlerError(f"expected a directory for effects=, got {error}") from None
        self._numbers = itertools.count(1)
        self._kept: dict[str, tuple[EffectFile, KeptEffect]] = {}
        """Those that were kept, and whose verdict has not left yet, by their key."""
        self._publishing = threading.Lock()
        self._left: dict[str, _Left] = {}

    def _check_owner(self, found: os.stat_result) -> None:
        """Whoever writes here says what is done, and whoever reads here reads mail."""
        user, mode = os.geteuid(), stat.S_IMODE(found.st_mode)
        if found.st_uid != user:
            raise HandlerError(
                f"expected the directory of effects= to belong to the user id that serves, {user}, got "
                f"{found.st_uid}: if what is in it can be trusted, chown -R {user} {self.path}"
            )
        if mode & 0o077:
            raise HandlerError(
                f"expected a directory for effects= that only its owner can read: it holds mail; "
                f"got mode {mode:o}: chmod 700 {self.path}"
            )

    def _make_home(self) -> Directory:
        with suppress(OSError):  # it is read again when something is looked for
            for name in self._root.names():
                if _NEW.fullmatch(name):
                    self._remove_stale(name)
        for _ in range(_ATTEMPTS - 1):
            with suppress(FileNotFoundError, BlockingIOError):
                return self._try_home()
        return self._try_home()

    def _remove_stale(self, name: str) -> None:
        """A directory whose process has ended before it was done with it."""
        with suppress(OSError):  # another has it, or it has gone
            home = Directory(name, self._root.open(name, os.O_RDONLY | os.O_DIRECTORY))
            fcntl.flock(home.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rmdir(name, dir_fd=self._root.descriptor)

    def _try_home(self) -> Directory:
        name = secrets.token_hex(8)
        new = f".{name}.new"  # no other process looks at it before it is locked
        os.mkdir(new, 0o700, dir_fd=self._root.descriptor)
        home = Directory(name, self._root.open(new, os.O_RDONLY | os.O_DIRECTORY))
        fcntl.flock(home.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._rename(self._root, new, self._root, name)
        os.fsync(self._root.descriptor)  # or all that is in it goes with a loss of power
        return home

    def close(self) -> None:
        """Others may do what is left."""
        for home in (self._own, *(one.directory for one in self._left.values())):
            self._drop(home)
        self._left.clear()

    # --------------------------------------------------------------------------------- keeping
    def keeper(self, due: Sequence[Requested], session: str) -> "Keeper":
        """What keeps these effects of one message of a session."""
        return Keeper(self, tuple(due), session)

    def next_name(self) -> str:
        """A name for a file, after all before it."""
        return f"{next(self._numbers):012d}"

    def keep(
        self,
        due: Sequence[Requested],
        session: str,
        name: str,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Keep these: they are on the disk. `OSError`, `HandlerError` if not.

        ``is_wanted``: whether nobody has given that up meanwhile. Then nothing is kept.
        """
        if self._is_full():
            raise HandlerError(
                "expected fewer effects that wait to be done, got as many as may: the log says why they "
                "are not done"
            )
        part, final = f"{name}.part", f"{name}.effects"
        try:
            descriptor = self._own.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(descriptor, "wb") as file:
                effects, marks_at = write_effects(
                    file, due, lambda key: f"{self._own.name}-{key}", session
                )
                file.flush()
                os.fsync(descriptor)
            self._rename(self._own, part, self._own, final)
            os.fsync(self._own.descriptor)
        except BaseException:
            self._remove(part)
            self._remove(final)
            raise
        marks = bytearray([WAITS] * len(effects))
        kept = EffectFile(self._own, final, session, effects, marks, marks_at)
        with self._publishing:
            if is_wanted():
                pairs = zip(due, effects, strict=True)
                self._kept.update((one.key, (kept, effect)) for one, effect in pairs)
                return
        self._remove(final)

    def forget(self, due: Sequence[Requested], name: str) -> None:
        """What was kept under this name is not to be done; what another keeper has kept stays."""
        final = f"{name}.effects"
        with self._publishing:
            for one in due:
                if one.key in self._kept and self._kept[one.key][0].name == final:
                    del self._kept[one.key]
        self._remove(final)

    def take(self, requested: Requested) -> tuple[EffectFile, KeptEffect] | None:
        """Where an effect was kept, now that it is to be done; None if it was not."""
        with self._publishing:
            return self._kept.pop(requested.key, None)

    def _remove(self, name: str) -> None:
        with suppress(OSError):  # it is not there, or nothing can be done about it
            os.unlink(name, dir_fd=self._own.descriptor)

    def settle(self, file: EffectFile, number: int, what: int) -> None:
        """What became of an effect. With the last of its message the file goes; `OSError`."""
        file.mark(number, what)
        if not file.waiting and not file.has_failed:
            os.unlink(file.name, dir_fd=file.directory.descriptor)
            return
        file.write_mark(number)
        if not file.waiting:
            with suppress(FileExistsError):
                os.mkdir(_FAILED_ONES, 0o700, dir_fd=self._root.descriptor)
            name = f"{_FAILED_ONES}/{file.directory.name}-{file.name}"
            self._rename(file.directory, file.name, self._root, name)

    # ------------------------------------------------------------------------- what others have left
    def left(self, has_room: Callable[[], bool]) -> Iterator[EffectFile]:
        """The files that others have left and nobody does, in their order; while there is room.

        `put_off` is for those that cannot be done here. `OSError` if the directory cannot be read, or,
        after all others, if a file cannot: it comes again at the next look.
        """
        self._claim_freed()
        trouble: OSError | None = None
        for left in self._left.values():
            left.names.extend(left.later)
            left.later.clear()
        for name in self._root.names():
            if _HOME.fullmatch(name) and name != self._own.name and name not in self._left:
                self._claim(name)
        for name, left in tuple(self._left.items()):
            while left.names and has_room():
                one = left.names.popleft()
                try:
                    found = self._read(left.directory, one)
                except FileNotFoundError:  # somebody has removed it
                    continue
                except (OSError, MemoryError) as error:
                    # there may be no descriptors: the others of this process have to wait, too
                    left.later.append(one)
                    path = self.path / left.directory.name / one
                    trouble = OSError(f"{path} cannot be read: {error}")
                    break
                if found is not None:
                    yield found
            is_empty = not (left.names or left.put_off or left.later)
            if is_empty and self._is_gone(left.directory):
                del self._left[name]
        if trouble is not None:
            raise trouble

    def path_of(self, file: EffectFile) -> Path:
        """Where a file is, for people."""
        return self.path / file.directory.name / file.name

    def put_off(self, file: EffectFile, *, is_passing: bool = False) -> None:
        """Nobody can do it here, until another filter is served: see `try_again`.

        ``is_passing``: it could not be read just now, so it comes again at the next look.
        """
        left = self._left.get(file.directory.name)
        if left is not None:
            (left.later if is_passing else left.put_off).append(file.name)

    def try_again(self) -> None:
        """Give those that were put off once more."""
        for left in self._left.values():
            left.names.extend(left.put_off)
            left.put_off.clear()

    def _claim(self, name: str) -> None:
        """Take over what is in a directory, if nobody has it."""
        try:
            home = Directory(name, self._root.open(name, os.O_RDONLY | os.O_DIRECTORY))
            fcntl.flock(home.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            names = home.names()
        except OSError:
            return  # another has it, or it has gone meanwhile
        for one in names:
            if _PART.fullmatch(one):  # it was never finished, and its message never answered
                try:
                    os.unlink(one, dir_fd=home.descriptor)
                except OSError as error:  # it is a directory
                    self._set_aside(home, one, error)
        self._left[name] = _Left(home, deque(one for one in names if _FILE.fullmatch(one)))

    def _claim_freed(self) -> None:
        """What somebody has moved into the directory is done again, as if a process had left it."""
        for name in self._root.names():
            if not _FREED.fullmatch(name):
                continue
            new = f"{self.next_name()}.effects"
            with suppress(OSError):  # another was faster
                self._rename(self._root, name, self._own, new)
                own = self._left.setdefault(self._own.name, _Left(self._own, deque()))
                own.names.append(new)

    def _read(self, home: Directory, name: str) -> EffectFile | None:
        """A file; what is damaged is set aside, and the log says so. `OSError` if it cannot be read."""
        try:
            found = read_effects(home, name)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # nobody knows what somebody has put there
            self._set_aside(home, name, error)
            return None
        for effect in found.effects:
            if found.marks[effect.number] == FAILED:
                found.mark(effect.number, WAITS)
        return found

    def _set_aside(self, home: Directory, name: str, error: Exception) -> None:
        aside = f"{home.name}-{name}.bad"
        with suppress(OSError):
            self._rename(home, name, self._root, aside)
        log.error("effects are not done, and set aside as %s: %s", self.path / aside, why(error))

    @staticmethod
    def _rename(where: Directory, name: str, to: Directory, new: str) -> None:
        os.rename(name, new, src_dir_fd=where.descriptor, dst_dir_fd=to.descriptor)

    def _is_gone(self, home: Directory) -> bool:
        """Whether nothing is left in a directory, which then is removed. Our own stays."""
        if home is self._own:
            return True
        try:
            os.rmdir(home.name, dir_fd=self._root.descriptor)
        except FileNotFoundError:  # its owner has removed it, just as it was claimed
            return True
        except OSError:  # something is left in it
            return False
        return True

    def _drop(self, home: Directory) -> None:
        with suppress(OSError):  # something is left in it
            os.rmdir(home.name, dir_fd=self._root.descriptor)
        fcntl.flock(home.descriptor, fcntl.LOCK_UN)


class Keeper:
    """Keeps the effects of one message: `demyjpy.effects.EffectKeeper`."""

    def __init__(self, journal: Journal, due: tuple[Requested, ...], session: str) -> None:
        self._journal, self._due, self._session = journal, due, session
        self._number = journal.next_name()  # the order is that in which they were asked for
        self._is_left = False

    def keep(self) -> None:
        """Keep them, all or none: they are on the disk when this returns. It blocks."""
        self._journal.keep(self._due, self._session, self._number, lambda: not self._is_left)

    def take(self) -> list[tuple[EffectFile, KeptEffect]]:
        """Where those are that were kept."""
        found = [self._journal.take(one) for one in self._due]
        return [one for one in found if one is not None]

    def leave(self) -> None:
        """They are not to be done, although `keep` may still be at it."""
        self._is_left = True
        self._journal.forget(self._due, self._number)

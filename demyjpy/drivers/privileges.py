"""Giving up what only root may, once the socket is there."""

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager

from demyjpy.errors import AddressError


def is_root() -> bool:
    """Whether handlers would run as root."""
    return os.geteuid() == 0


def become(user: str | None, group: str | None) -> None:
    """Run as this user, and in this group or else the user's own ones, for good.

    `AddressError` if there is no such user or group, or if only root may do that.
    """
    uid, gid = _ids(user, group)
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return
    try:
        _change(user, uid, gid)
    except PermissionError as error:
        raise AddressError(
            f"cannot run as user {user or '(unchanged)'}, group {group or '(its own)'}: "
            f"{error.strerror}; start as root, or as that user without these options"
        ) from error


@contextmanager
def acting_as(user: str | None, group: str | None) -> Iterator[None]:
    """While the block runs, files are made and opened in their name, if we are root.

    For what is to be there before the socket is, and used by the user that `become` makes us. Not while
    other threads run: they would act as that user, too.
    """
    uid, gid = _ids(user, group)
    me, mine = os.geteuid(), os.getegid()
    if not is_root() or (uid, gid) == (me, mine):
        yield
        return
    others = os.getgroups()
    try:
        _take_groups(user, gid)
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(me)
        os.setegid(mine)
        os.setgroups(others)


def _take_groups(user: str | None, gid: int) -> None:
    if user is None:
        os.setgroups([gid])
    else:
        os.initgroups(user, gid)


def _ids(user: str | None, group: str | None) -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(user) if user is not None else None
        gid = grp.getgrnam(group).gr_gid if group is not None else None
    except KeyError as error:
        raise AddressError(f"expected a user and a group that there are, got {error}") from None
    uid = os.geteuid() if entry is None else entry.pw_uid
    if gid is None:
        gid = os.getegid() if entry is None else entry.pw_gid
    return uid, gid


def _change(user: str | None, uid: int, gid: int) -> None:  # pragma: no cover
    """For good. Who has become another may not write down that this was covered."""
    _take_groups(user, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)

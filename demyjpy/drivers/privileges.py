"""Giving up what only root may, once the socket is there."""

import grp
import os
import pwd

from demyjpy.errors import AddressError


def is_root() -> bool:
    """Whether handlers would run as root."""
    return os.geteuid() == 0


def become(user: str | None, group: str | None) -> None:
    """Run as this user, and in this group or else the user's own ones, for good.

    `AddressError` where there is no such user or group, or where only root may do that.
    """
    if user is None and group is None:
        return
    try:
        entry = pwd.getpwnam(user) if user is not None else None
        gid = grp.getgrnam(group).gr_gid if group is not None else None
    except KeyError as error:
        raise AddressError(f"expected a user and a group that there are, got {error}") from None
    uid = os.geteuid() if entry is None else entry.pw_uid
    if gid is None:
        gid = os.getegid() if entry is None else entry.pw_gid
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return
    try:
        _change(user, uid, gid)
    except PermissionError as error:
        raise AddressError(
            f"cannot run as user {user or '(unchanged)'}, group {group or '(its own)'}: "
            f"{error.strerror}; start as root, or as that user without these options"
        ) from error


def _change(user: str | None, uid: int, gid: int) -> None:  # pragma: no cover
    """For good. Who has become another may not write down that this was covered."""
    if user is None:
        os.setgroups([gid])
    else:
        os.initgroups(user, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)

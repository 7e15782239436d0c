"""As whom handlers run."""

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from demyjpy import AddressError, Continue
from demyjpy.drivers.privileges import acting_as, become, is_root
from tests.drivers.peer import Peer
from tests.drivers.program import ROOT, program

SERVE = """
@handlers.mail
def mail(event, ctx):
    say("runs as", os.getuid(), os.getgid(), os.getgroups())
    return ctx

start_milter(sys.argv[3], handlers, driver=sys.argv[1], workers=int(sys.argv[2]), on_ready=on_ready,
             user=sys.argv[4] or None, group=sys.argv[5] or None)
"""
NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(not is_root(), reason="only root may become somebody else")


@needs_root
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("user", "group", "ids"),
    [
        ("nobody", "", rf"{NOBODY.pw_uid} {NOBODY.pw_gid} "),
        ("nobody", "mail", rf"{NOBODY.pw_uid} 8 \[8"),
        ("", "mail", r"0 8 \[8\]"),
    ],
)
def test_handlers_run_as_the_user_that_was_asked_for(workers, user, group, ids):
    """After the socket was made, which only root could do; workers, too."""
    with program(SERVE, "asyncio", workers, "inet:0@127.0.0.1", user, group) as milter:
        with Peer(milter.address()) as peer:
            assert peer.begin().message() == (Continue(),)
        milter.wait_for(f"runs as {ids}")
        milter.tell()
        milter.end()


def test_who_is_that_already_stays():
    """Whoever may not change need not."""
    me = pwd.getpwuid(os.geteuid())
    become(me.pw_name, None)
    become(None, None)
    assert os.geteuid() == me.pw_uid


@pytest.mark.parametrize(("user", "group"), [("no-such-user", None), (None, "no-such-group")])
def test_a_user_that_is_not_there(user, group):
    """Is an error that names it."""
    with pytest.raises(AddressError, match=r"expected a user and a group that there are, got .*no-such"):
        become(user, group)


@needs_root
def test_files_are_made_in_the_name_of_who_will_use_them(tmp_path):
    """And afterwards we are who we were, whatever came of it."""
    before = os.getresuid(), os.getresgid(), os.getgroups()
    for directory in (tmp_path, *tmp_path.parents):
        if directory != Path(tempfile.gettempdir()) and directory.is_relative_to(tempfile.gettempdir()):
            directory.chmod(0o777 if directory == tmp_path else 0o755)
    with acting_as("nobody", "mail"):
        (tmp_path / "made").mkdir()
    found = (tmp_path / "made").stat()
    assert (found.st_uid, found.st_gid) == (NOBODY.pw_uid, 8)
    (tmp_path / "ours").mkdir(mode=0o700)
    with pytest.raises(PermissionError), acting_as("nobody", None):
        (tmp_path / "ours" / "made").mkdir()
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


def test_who_is_that_already_makes_files_as_ever(tmp_path):
    """Nothing changes."""
    with acting_as(None, None):
        (tmp_path / "made").mkdir()
    assert (tmp_path / "made").stat().st_uid == os.geteuid()


@needs_root
def test_only_who_has_the_right_may():
    """Others are told what to do."""
    script = """
from demyjpy import AddressError
from demyjpy.drivers.privileges import become
try:
    become("nobody", None)
except AddressError as error:
    print(error)
"""
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*powerless, sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("cannot run as user nobody, group (its own): Operation not permitted;")

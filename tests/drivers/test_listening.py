"""How a listening socket comes from an address, and how it goes."""

import errno
import grp
import os
import pwd
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from demyjpy import AddressError
from demyjpy.drivers import address as address_module
from demyjpy.drivers.address import Address, Listener, listen, parse_address


def listening(text: object) -> "closing[Listener]":
    """Listens while the block runs."""
    return closing(listen(parse_address(str(text))))


def accepts(listener: Listener) -> bool:
    """Whether one can connect there."""
    with socket.socket(listener.socket.family) as client:
        client.connect(listener.socket.getsockname())
        listener.socket.setblocking(True)
        listener.socket.settimeout(10)
        listener.socket.accept()[0].close()
    return True


@pytest.mark.parametrize("text", ["inet:0@127.0.0.1", "inet:0@localhost", "inet6:0@::1", "inet:0@::1"])
def test_a_free_port(text):
    """With port 0 the system chooses one, and the listener knows which."""
    with listening(text) as listener:
        assert listener.address.port == listener.socket.getsockname()[1] > 0
        assert listener.address.host == parse_address(text).host
        assert accepts(listener)


def test_a_port_that_is_taken():
    """A port on which another program listens is refused."""
    with listening("inet:0@127.0.0.1") as listener:
        text = str(listener.address)
        with pytest.raises(AddressError, match=f"cannot listen on {text}: Address already in use"):
            listening(text)


@pytest.mark.parametrize(
    ("text", "number", "words"),
    [
        ("unix:/run/d/m.sock", errno.ENOENT, ": make the directory /run/d for the user of the milter"),
        (
            "inet:25@127.0.0.1",
            errno.EADDRINUSE,
            ": another program listens there; stop it (ss -ltnp names it) or choose another port",
        ),
        ("inet:25@203.0.113.1", errno.EADDRNOTAVAIL, ": no network interface here has this address; "),
        ("inet:25@127.0.0.1", errno.EACCES, ": only root may listen below 1024; choose another port"),
        (
            "unix:/run/d/m.sock",
            errno.EACCES,
            ": the user of the milter needs the right to write in /run/d",
        ),
        ("inet:25@127.0.0.1", errno.EMFILE, os.strerror(errno.EMFILE)),
    ],
)
def test_the_error_says_what_to_do(monkeypatch, text, number, words):
    """After what the system says."""

    def fail(address):
        raise OSError(number, os.strerror(number))

    for kind in ("unix", "inet"):
        monkeypatch.setattr(address_module, f"_listen_{kind}", fail)
    with pytest.raises(AddressError, match=f": {os.strerror(number)}") as raised:
        listen(parse_address(text))
    assert words in str(raised.value)


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "256.256.256.256"])
def test_a_host_that_is_none(host):
    """A host name that means nothing is refused."""
    with pytest.raises(AddressError, match=f"cannot listen on inet:0@{host}: "):
        listening(f"inet:0@{host}")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("query", "mode"), [("", 0o600), ("?mode=666", 0o666), ("?mode=0640", 0o640)])
def test_the_mode_of_a_file(tmp_path, query, mode):
    """The file of a Unix socket has the mode asked for; else only its owner may connect."""
    path = tmp_path / "x.sock"
    with listening(f"{path}{query}") as listener:
        assert mode_of(path) == mode
        assert accepts(listener)
    assert not path.exists()


def test_the_owner_of_a_file(tmp_path):
    """The file of a Unix socket belongs to the user and group asked for; the group may connect."""
    path = tmp_path / "x.sock"
    user = pwd.getpwuid(os.getuid()).pw_name
    group = grp.getgrgid(os.getgid()).gr_name
    with listening(f"{path}?user={user}&group={group}"):
        assert (path.owner(), path.group()) == (user, group)
        assert mode_of(path) == 0o660


@pytest.mark.parametrize("option", ["group=no-such-group", "user=no-such-user"])
def test_an_owner_that_does_not_exist(tmp_path, option):
    """Where the file cannot be given away nothing is left of it."""
    with pytest.raises(AddressError, match=r"no such (user|group): 'no-such"):
        listening(tmp_path / f"x.sock?{option}")
    assert list(tmp_path.iterdir()) == []


def test_a_stale_file_is_replaced(tmp_path):
    """The file of a socket on which nobody listens any more is replaced."""
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listening(path) as listener:
        assert accepts(listener)
    assert not path.exists()


@pytest.mark.parametrize("waiting", [0, 3])
def test_a_live_socket_is_refused(tmp_path, waiting):
    """A socket on which another program listens is refused, also where that has a full backlog."""
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(1)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(AddressError, match="another program listens there"):
            listening(path)
        for client in clients:
            client.close()
    assert path.exists()


def test_a_file_that_is_no_socket_is_refused(tmp_path):
    """A file that is no socket is refused, and stays as it is."""
    path = tmp_path / "x.sock"
    path.write_text("precious")
    with pytest.raises(AddressError, match="the file there is no socket; remove it"):
        listening(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "reason"), [("missing/x.sock", "No such file or directory"), ("x" * 200, "path too long")]
)
def test_a_path_that_cannot_be(tmp_path, name, reason):
    """A path where no socket can be is refused with the reason."""
    with pytest.raises(AddressError, match=reason):
        listening(tmp_path / name)


def test_only_its_own_file_is_removed(tmp_path):
    """A file that another program has put in its place stays when the listener is closed."""
    path = tmp_path / "x.sock"
    first = listen(parse_address(path))
    path.unlink()
    with listening(path) as second:
        first.close()
        first.close()
        assert accepts(second)
    assert not path.exists()


def test_a_file_that_is_gone(tmp_path):
    """A file that somebody has removed is no trouble."""
    path = tmp_path / "x.sock"
    with listening(path):
        path.unlink()


@pytest.mark.parametrize("text", ["inet:0@127.0.0.1", "inet6:0@::1", "unix"])
def test_an_inherited_socket(tmp_path, text):
    """A socket that listens already is taken over by its number; its file is not ours to remove."""
    path = tmp_path / "x.sock"
    where = parse_address(path if text == "unix" else text)
    with closing(listen(where)) as mother:
        with listening(f"fd:{mother.socket.fileno()}") as child:
            assert child.address == mother.address
            assert accepts(child)
        assert accepts(mother)
        assert path.exists() == (text == "unix")


def test_an_inherited_socket_that_does_not_listen():
    """A socket that does not listen, or is closed, is refused, and so is any other file."""
    with socket.socket() as idle:
        number = idle.fileno()
        with pytest.raises(AddressError, match=f"fd:{number}: expected a socket that listens"):
            listening(f"fd:{number}")
    with pytest.raises(AddressError, match=f"fd:{number}: Bad file descriptor"):
        listening(f"fd:{number}")
    with (
        Path(os.devnull).open() as file,
        pytest.raises(AddressError, match="expected a socket, got another"),
    ):
        listening(f"fd:{file.fileno()}")


def test_an_abstract_socket():
    """A socket without a file, as Linux has them, can be inherited."""
    with socket.socket(socket.AF_UNIX) as mother:
        mother.bind("")
        mother.listen()
        with closing(listen(Address("fd", fd=mother.fileno()))) as child:
            assert accepts(child)
            assert child.address.path.startswith("\0")


def test_a_directory_that_everybody_may_write_to(tmp_path):
    """It is refused, for anybody could put another socket there; with the sticky bit nobody can."""
    tmp_path.chmod(0o777)
    with pytest.raises(AddressError, match=r"got .* with mode 777, which everybody can change"):
        listening(tmp_path / "x.sock")
    tmp_path.chmod(0o1777)
    with listening(tmp_path / "x.sock") as listener:
        assert accepts(listener)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_another_file_in_the_place_of_the_socket(tmp_path, monkeypatch, kind):
    """Whoever swaps the file before it has mode and owner gains nothing: the other is left as it is."""
    precious = tmp_path / "precious"
    precious.write_text("secret")
    precious.chmod(0o600)
    path = tmp_path / "x.sock"

    def swap(mask: int) -> int:
        if mask == 0o177:
            return umask(mask)
        path.unlink()
        if kind == "link":
            path.symlink_to(precious)
        else:
            path.write_text("mine")
        return umask(mask)

    umask = os.umask
    monkeypatch.setattr(os, "umask", swap)
    with pytest.raises(
        AddressError, match=r"expected the socket just made|Too many levels|another file"
    ):
        listening(f"{path}?mode=666")
    assert mode_of(precious) == 0o600


def test_a_directory_above_that_others_may_change(tmp_path):
    """Who may change one on the way may put another in its place; the message names it."""
    above = tmp_path / "above"
    place = above / "middle" / "own"
    place.mkdir(parents=True, mode=0o755)
    above.chmod(0o777)
    with pytest.raises(AddressError, match=f"got {above} with mode 777, which everybody can change"):
        listen(parse_address(f"unix:{place}/x.sock"))
    assert not (place / "x.sock").exists()
    above.chmod(0o1777)
    with listening(f"unix:{place}/x.sock") as listener:
        assert accepts(listener)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_directory_that_another_group_may_change(tmp_path):
    """Nor may a group, but for root's and our own; the sticky bit keeps it from doing so."""
    above = tmp_path / "above"
    (above / "own").mkdir(parents=True)
    above.chmod(0o775)
    with listening(f"unix:{above}/own/x.sock"):
        pass
    os.chown(above, 0, 7)
    with pytest.raises(AddressError, match=f"got {above} with mode 775, which group 7 can change"):
        listen(parse_address(f"unix:{above}/own/x.sock"))
    above.chmod(0o1775)
    with listening(f"unix:{above}/own/x.sock"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_link_on_the_way(tmp_path):
    """It is followed, and so is what it leads through; somebody else's is refused."""
    above = tmp_path / "above"
    (above / "own").mkdir(parents=True)
    (tmp_path / "one").symlink_to("above/../above/own")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with listening(f"unix:{tmp_path}/two/x.sock") as listener:
        assert accepts(listener)
    above.chmod(0o777)
    with pytest.raises(AddressError, match=f"got {above} with mode 777"):
        listen(parse_address(f"unix:{tmp_path}/two/x.sock"))
    above.chmod(0o755)
    os.lchown(tmp_path / "one", 7, 7)
    with pytest.raises(
        AddressError, match=f"got {tmp_path}/one .* user 7, whose link it is, can change"
    ):
        listen(parse_address(f"unix:{tmp_path}/two/x.sock"))


def test_links_that_lead_in_a_circle(tmp_path):
    """Are an error like any other."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(AddressError, match="Too many levels of symbolic links"):
        listen(parse_address(f"unix:{tmp_path}/one/x.sock"))

"""What a script says before it serves, in both ways that pymilter has for it, and where it listens."""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demyjpy import AddressError, ReplyCode
from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter import milter, registration
from demyjpy.pymilter.registration import REGISTRATION, Registered, address_of
from demyjpy.testing import Postfix, run, session

ONE = session().mail("ann@example.org").rcpt("bob@example.net").message("Subject: hi\n\nhello\n")


@pytest.fixture
def taken() -> Iterator[list[Registered]]:
    """What was to be served, in place of serving it."""
    found: list[Registered] = []
    with REGISTRATION.taking(found.append):
        yield found


@pytest.mark.parametrize(
    ("socketname", "address"),
    [
        ("inet:8800", "inet:8800@0.0.0.0"),
        ("inet:8800@mail.example", "inet:8800@mail.example"),
        ("INET:8800", "inet:8800@0.0.0.0"),
        ("/run/x:1", "unix:/run/x:1?mode=750"),
        ("inet6:8020", "inet6:8020@::"),
        ("unix:/run/x.sock", "unix:/run/x.sock?mode=750"),
        ("local:/run/x.sock", "unix:/run/x.sock?mode=750"),
        ("/run/x.sock", "unix:/run/x.sock?mode=750"),
        ("x.sock", "unix:x.sock?mode=750"),
        ("/run/a:b", "unix:/run/a:b?mode=750"),
        ("Unix:x.sock", "unix:x.sock?mode=750"),
        ("inet:smtp@127.0.0.1", "inet:25@127.0.0.1"),
    ],
)
def test_addresses_are_those_of_libmilter(socketname: str, address: str) -> None:
    """Without a host on each address of the machine; a Unix socket with the mode of the umask."""
    before = os.umask(0o027)
    try:
        assert address_of(socketname) == address
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("socketname", "words"),
    [
        ("foo:20205", "got 'foo:20205'; did you mean inet:20205\\?"),
        ("foo:x", "inet6:, unix: or local:, got 'foo:x'; a path needs a /"),
        *[(one, "expected") for one in ("", "unix:", "inet:no such@localhost", "inet:99999")],
        ("unix:x?mode=5", "expected an address"),
    ],
)
def test_an_address_that_is_none_is_an_error_of_pymilters(
    socketname: str, words: str, taken: list[Registered]
) -> None:
    """Which scripts catch."""
    with pytest.raises(AddressError, match=words):
        address_of(socketname)
    with pytest.raises(Milter.error, match="cannot set socket: "):
        Milter.runmilter("x", socketname)
    assert taken == []


def test_a_filter_is_what_the_script_has_said(
    taken: list[Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its class, its policy, its name. Its flags change nothing: all edits are optional."""

    class Failing(Milter.Base):
        def eom(self):
            raise ValueError("asked for")

    monkeypatch.setattr(Milter, "factory", Failing)
    Milter.set_flags(Milter.ADDHDRS)
    Milter.set_exception_policy(Milter.REJECT)
    Milter.runmilter("named", "inet:8800@localhost", 600)
    (found,) = taken
    assert (found.name, found.address) == ("named", "inet:8800@localhost")
    assert found.registry.actions == frozenset()
    assert found.registry.optional_actions == Milter.filter_of(Failing).actions
    assert run(found.registry, ONE).verdict == ReplyCode(
        554, "5.3.0", "pymilter: untrapped exception in named"
    )


def test_what_one_script_has_said_is_nothing_to_the_next(taken: list[Registered]) -> None:
    """When a script is run again."""
    Milter.set_exception_policy(Milter.REJECT)
    with pytest.raises(Milter.error):
        Milter.runmilter("x", "")
    assert "cannot set socket" in REGISTRATION.failed
    with REGISTRATION.taking(taken.append):
        assert (REGISTRATION.policy, REGISTRATION.failed) == (Milter.TEMPFAIL, "")


@pytest.mark.parametrize("policy", [99, Milter.DISCARD, "x"])
def test_a_policy_that_is_none_is_an_error_at_once(policy: Any) -> None:
    with pytest.raises(Milter.error, match="invalid exception policy: expected"):
        Milter.set_exception_policy(policy)


def test_a_context_of_somebody_elses_is_given_to_the_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As pymilter's own ``Milter.testctx`` does it, which plays an MTA."""

    class Ctx:
        private: Any = None

        def getpriv(self) -> Any:
            return self.private

        def setpriv(self, value: Any) -> None:
            self.private = value

    class Naming(Milter.Base):
        def connect(self, *given: Any) -> Any:
            return self._ctx, *given

        def close(self) -> Any:
            return self._ctx

    monkeypatch.setattr(Milter, "factory", Naming)
    client = ("h", 2, ("192.0.2.1", 25))
    one, other = Ctx(), Ctx()
    opts = [Milter.CURR_ACTS, 0x1FFFFF, 0, 0]
    assert Milter.negotiate_callback(one, opts) == Milter.CONTINUE
    assert not opts[1] & Milter.P_NOCONNECT
    instance = one.private
    assert Milter.connect_callback(one, *client) == (one, *client)
    assert Milter.close_callback(one) is one
    assert (one.private, instance._ctx) == (instance, None)
    assert Milter.close_callback(other) == Milter.CONTINUE
    assert Milter.connect_callback(other, *client) == (other, *client)


def test_a_filter_of_functions(taken: list[Registered]) -> None:
    """They get the context, and texts as bytes, as pymilter gives them."""
    seen: list[Any] = []

    def noting(name: str, said: int = Milter.CONTINUE) -> Callable[..., int]:
        def callback(ctx: Any, *given: Any) -> int:
            ctx.setpriv(name)
            seen.append((name, *given, ctx.getpriv()))
            return said

        return callback

    milter.set_connect_callback(noting("connect"))
    milter.set_helo_callback(None)
    milter.set_envfrom_callback(noting("envfrom"))
    milter.set_envrcpt_callback(noting("envrcpt"))
    milter.set_header_callback(noting("header"))
    milter.set_body_callback(noting("body"))
    milter.set_eom_callback(noting("eom", Milter.REJECT))
    milter.setconn("inet:8800@localhost")
    milter.opensocket(True)
    milter.settimeout(1)
    milter.setbacklog(1)
    milter.setdbg(1)
    with pytest.raises(Milter.error, match=r"expected register\(name\) before main\(\)"):
        milter.main()
    milter.register("low", data=noting("data"))
    milter.main()
    milter.main()
    found, empty = taken
    assert set(empty.registry) == set()
    assert run(found.registry, ONE, mta=Postfix()).reply.code == 550
    assert [one[:-1] for one in seen[1:]] == [
        ("envfrom", b"<ann@example.org>"),
        ("envrcpt", b"<bob@example.net>"),
        ("data",),
        ("header", "Subject", b"hi"),
        ("body", b"hello\r\n"),
        ("eom",),
    ]
    assert (milter.getdiag(), milter.getversion()) == ((0, 0), (1, 0, 1))


def test_without_anybody_who_takes_it_over_it_is_served_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thread for each connection; ``stop`` is SIGTERM."""
    served: list[Any] = []
    monkeypatch.setattr(
        registration, "start_milter", lambda *given, **more: served.append((given, more))
    )
    Milter.runmilter("alone", "inet:8800@localhost")
    (((address, _), more),) = served
    assert (address, more) == ("inet:8800@localhost", {"driver": "threads"})
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        milter.stop()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


# ------------------------------------------------------------------------------------- install()
@pytest.fixture
def own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test imports is forgotten."""
    for name in ("Milter", "milter", "Milter.utils", "Milter.dsn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(Milter, "__path__", list(Milter.__path__))


@pytest.mark.usefixtures("own_modules")
def test_nothing_is_found_under_pymilters_names_before_install() -> None:
    """And then both modules, and what belongs to them."""
    with pytest.raises(ImportError):
        importlib.import_module("Milter")
    assert Milter.install() is Milter
    names = ("Milter", "milter", "Milter.utils")
    assert [importlib.import_module(name) for name in names] == [Milter, milter, Milter.utils]
    assert Milter.error is milter.error


@pytest.mark.usefixtures("own_modules")
def test_pymilters_plain_modules_are_found_where_it_is_installed(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not those that are here."""
    (tmp_path / "Milter").mkdir()
    (tmp_path / "Milter/__init__.py").write_text("raise ImportError('never')")
    (tmp_path / "Milter/utils.py").write_text("raise ImportError('never')")
    (tmp_path / "Milter/dsn.py").write_text("import Milter\nBASE = Milter.Base\n")
    monkeypatch.syspath_prepend(tmp_path)
    Milter.install()
    Milter.install()
    assert importlib.import_module("Milter.utils") is Milter.utils
    assert importlib.import_module("Milter.dsn").BASE is Milter.Base
    assert Milter.__path__.count(str(tmp_path / "Milter")) == 1

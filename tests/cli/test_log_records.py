"""What arrives in a log: one record for each, bounded and printable, whatever it is about."""

import logging
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import HandlerError, LocalProtocolError, RemoteProtocolError
from demyjpy.actions import AddHeader
from demyjpy.drivers.report import log, log_trouble
from demyjpy.engine.connection import Trouble
from tests.logrecords import log_everywhere

NASTY = "x\x1b]0;pwned\x07\r\n2026-01-01 00:00:00,000 ERROR forged \udca6\u202e\x7f\x85\u2028é\U0001f600"


class MuteError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class OddError(Exception):
    """Its text is no plain one."""

    def __str__(self) -> str:
        return _Odd("long" * 1000)


class _Odd(str):
    __slots__ = ()

    def __getitem__(self, key):
        return "short"


def deep(number):
    """A long traceback."""
    if number:
        deep(number - 1)
    raise RecursionError("deep down")


def raised(act):
    """An exception with its traceback."""
    try:
        act()
    except BaseException as error:  # noqa: BLE001  # all kinds are tested
        return error
    raise AssertionError


def chained():
    """Longer than is shown."""
    error = None
    for number in range(20):
        try:
            raise ValueError(f"{number}" + NASTY * 20) from error
        except ValueError as problem:
            error = problem
    raise error


def noted():
    """With notes and parts."""
    error = ExceptionGroup(NASTY * 20, [ValueError(NASTY * 20) for _ in range(50)])
    for _ in range(50):
        error.add_note(NASTY * 20)
    raise error


def wrongly_noted():
    """With something else in place of notes."""
    error = ValueError("x")
    error.__notes__ = NASTY
    raise error


def circular():
    """Each the cause of the other."""
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def named():
    """Code with the name of a mail."""
    code = compile("def f():\n raise ValueError('x')\nf()", NASTY.replace("\udca6", ""), "exec")
    exec(code, {"__name__": NASTY})  # as some filters do


def in_passing():
    """While another was handled."""
    try:
        named()
    except ValueError:
        deep(1)


class OddLoader:
    """Has no source, and says so in its own way."""

    def get_source(self, name):
        raise RuntimeError(NASTY)


def loaded_oddly():
    """Code of a loader that fails."""
    scope = {"__name__": "odd", "__loader__": OddLoader()}
    exec(compile("def f():\n raise ValueError('x')\nf()", "odd.py", "exec"), scope)


def deep_and_named():
    """Long names at each step of a long way."""
    text = f"def f(n):\n if n: f(n - 1)\n raise {'ValueError'}('x')\nf(50)"
    exec(compile(text, "\x1b\n\x85é" * 100, "exec"), {})


def not_python():
    """A syntax error shows the text that it is in."""
    compile("TERCES = = 1"[5::-1] + " = = 1", "mail", "exec")


def chain_of(one, other):
    """The second because of the first."""
    other.__cause__ = one
    return other


ERRORS = {
    "long": lambda: ValueError(NASTY * 100_000),
    "key": lambda: KeyError(NASTY),
    "mute": lambda: raised(lambda: (_ for _ in ()).throw(MuteError())),
    "odd": OddError,
    "deep": lambda: raised(lambda: deep(500)),
    "chained": lambda: raised(chained),
    "noted": lambda: raised(noted),
    "wrongly noted": lambda: raised(wrongly_noted),
    "circular": lambda: raised(circular),
    "named": lambda: raised(named),
    "in passing": lambda: raised(in_passing),
    "loaded oddly": lambda: raised(loaded_oddly),
    "deep and named": lambda: raised(deep_and_named),
    "deep, named and chained": lambda: chain_of(raised(deep_and_named), raised(deep_and_named)),
    "syntax": lambda: raised(not_python),
    "its class": lambda: type("x\x1b\n" * 999, (Exception,), {"__module__": NASTY})("x"),
    "exit": lambda: raised(lambda: (_ for _ in ()).throw(SystemExit(NASTY))),
    "a lone surrogate": lambda: ValueError("cannot parse caf\udca6"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_any_exception_is_one_record(kind, tmp_path):
    """In every sink and format: no line is forged, no record is lost, nothing is longer than 8 kB."""
    trouble = Trouble(ERRORS[kind](), "mail", "filter.check", "4dX", "192.0.2.1")
    for found in log_everywhere(tmp_path, lambda: log_trouble(trouble, "1a-1")):
        assert b"filter.check failed at mail" in found
        assert b"SECRET" not in found


@pytest.mark.parametrize("size", [1, 300_000])
def test_whatever_a_peer_says_to_be_a_queue_id_or_an_address(size, tmp_path):
    """And whatever a function is called."""
    text = NASTY * (size // len(NASTY) + 1)
    trouble = Trouble(RemoteProtocolError("a", text), text, text, text, text)
    for found in log_everywhere(tmp_path, lambda: log_trouble(trouble, "1a-1")):
        assert b"broke the protocol" in found


@pytest.mark.parametrize(
    "arguments",
    [
        (NASTY,),
        ("%s", NASTY * 10_000),
        ("%d", NASTY),
        ("%s", MuteError()),
        (MuteError(), 1),
        (_Odd("x"),),
    ],
    ids=range(6),
)
@pytest.mark.parametrize("extra", [{}, {"stack_info": True}, {"exc_info": ValueError(NASTY)}], ids=str)
def test_what_others_log_keeps_the_law(arguments, extra, tmp_path):
    """A filter's own logger comes through the same sinks: arguments that do not fit lose no record."""
    log_everywhere(tmp_path, lambda: logging.getLogger(f"my{NASTY}").error(*arguments, **extra))


def test_an_exception_that_is_none(tmp_path):
    """As with `log.exception` where no exception is handled."""
    log_everywhere(tmp_path, lambda: logging.getLogger("filter").error("x", exc_info=True))  # noqa: LOG014


texts = st.text(st.characters(), max_size=300).map(lambda text: text * (1 + len(text) % 50))


@settings(max_examples=25, deadline=None)
@given(texts, texts, texts)
def test_any_text_of_anybody_is_one_record(tmp_path_factory, of_author, of_peer, name):
    """Any characters at all, lone surrogates, too."""
    directory = tmp_path_factory.mktemp("log")
    trouble = Trouble(ValueError(of_author), "mail", name, of_peer, of_peer)
    log_everywhere(directory, lambda: log_trouble(trouble, "1a-1"))


def test_the_handlers_own_frames_are_shown(tmp_path):
    """Those of the engine, which called it, are not."""

    def handler():
        return AddHeader("Subject", "SECRET\0")

    error = raised(handler)
    for found in log_everywhere(tmp_path, lambda: log_trouble(Trouble(error, "mail", "h"), "1a-1")):
        assert b"in handler" in found
        assert b"AddHeader: expected value" in found
        assert b"got text of 7 characters with NUL" in found
    assert isinstance(error, LocalProtocolError)


def test_a_text_of_ours_is_not_cut_where_it_tells_what_to_do(tmp_path):
    """Only what an author raises himself is cut at 200 characters, though it be our class."""
    theirs = raised(lambda: (_ for _ in ()).throw(HandlerError("x" * 500)))
    for error, length in ((HandlerError("x" * 500), 500), (theirs, 200)):
        trouble = Trouble(error, "mail", "h")
        for found in log_everywhere(tmp_path, partial(log_trouble, trouble, "1a-1")):
            assert (b"x" * (length + 1) in found, b"x" * (length - 20) in found) == (False, True)


def test_a_program_with_its_own_logging_gets_harmless_records(caplog):
    """The records of ``demyjpy`` are so before any handler sees them."""
    error = raised(chained)
    log_trouble(Trouble(error, "mail", "filter.check", NASTY, NASTY), "1a-1")
    log.warning("%s", NASTY)
    for record, line in zip(caplog.records, caplog.text.split("\nWARNING"), strict=True):
        assert record.getMessage().isprintable()
        assert all(part.isprintable() for part in line.rstrip().split("\n"))
    assert len(caplog.text) < 8192
